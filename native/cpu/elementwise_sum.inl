// Elementwise programs whose last outputs are sums over some dims: each chunk of tiles adds into sums of its own, which
// are then added in order, so that the result does not depend on the threads. Included by elementwise.inl.

constexpr int64_t kMostChunks = 64;

struct Sums {
  CpuPlan tiles;
  int32_t count, first;  // sums, and the output that is the first of them
  int64_t chunks, grain;
  struct Sum {
    int64_t size, bytes, at;  // elements, bytes of one in a chunk's memory, and where they begin there
    int32_t dtype, compute;
    double divisor;
  } sum[kMaxOutputs];
  int64_t bytes;  // a chunk's sums
};

// Sums of one chunk after the other, in double or 64-bit integers, then to where they go.
template <class T, class Wide, class S>
void gather_sums(const Sums& s, const typename Sums::Sum& sum, const char* partial, S* to) {
  for (int64_t i = 0; i < sum.size; ++i) {
    Wide total = 0;
    for (int64_t c = 0; c < s.chunks; ++c) total += reinterpret_cast<const T*>(partial + c * s.bytes + sum.at)[i];
    if constexpr (kSame<Wide, double>)
      store_one(to + i, Compute<S>(total / sum.divisor));
    else
      store_one(to + i, Compute<S>(total));
  }
}

Status run_sums(const CpuPlan& plan, const Args& args) {
  const Sums& s = *static_cast<const Sums*>(plan.state);
  const Program& p = *static_cast<const Program*>(s.tiles.state);
  char* partial = static_cast<char*>(scratch(1, s.chunks * s.bytes));
  if (!partial) return kOutOfMemory;
  bool failed = false;
  parallel(p.total, s.grain, [&](int64_t begin, int64_t end) {
    void* out[kMaxOutputs];
    char* own = partial + begin / s.grain * s.bytes;
    __builtin_memset(own, 0, s.bytes);
    for (int32_t i = 0; i < p.nout; ++i) out[i] = i < s.first ? args.out[i] : own + s.sum[i - s.first].at;
    if (!run_tiles(p, {args.in, out, args.scalars, args.fault}, begin, end))
      __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
  });
  if (failed) return kOutOfMemory;
  for (int32_t k = 0; k < s.count; ++k) {
    const auto& sum = s.sum[k];
    void* to = args.out[s.first + k];
    visit_dtype(sum.dtype, [&](auto x) {
      using S = decltype(x);
      if (sum.compute == k_f32)
        gather_sums<float, double>(s, sum, partial, static_cast<S*>(to));
      else if (sum.compute == k_f64)
        gather_sums<double, double>(s, sum, partial, static_cast<S*>(to));
      else
        gather_sums<int64_t, int64_t>(s, sum, partial, static_cast<S*>(to));
      return 0;
    });
  }
  return kOk;
}

Status make_sums(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nin < 1 || call.nparams < 1) return kInvalid;
  const int32_t count = int32_t(call.params[0]);
  if (count < 1 || count > call.nout || call.nout > kMaxOutputs || call.nparams <= 1 + count) return kInvalid;
  Sums* s = static_cast<Sums*>(plan_alloc(plan, sizeof(Sums)));
  Layout* layouts = static_cast<Layout*>(plan_alloc(plan, call.nout * sizeof(Layout)));
  if (!s || !layouts) return kOutOfMemory;
  const Layout& whole = call.in[0];
  s->count = count;
  s->first = call.nout - count;
  for (int32_t i = 0; i < call.nout; ++i) {
    layouts[i] = call.out[i];
    if (i < s->first) continue;
    auto& sum = s->sum[i - s->first];
    sum.dtype = layouts[i].dtype;
    sum.compute = layouts[i].dtype = compute_dtype(layouts[i].dtype);
    sum.divisor = call.params[1 + i - s->first];
    if (sum.compute == k_i32) return kUnsupported;
    if (layouts[i].ndim != whole.ndim) return kInvalid;
    sum.size = 1;
    for (int32_t d = 0; d < whole.ndim; ++d) {
      if (layouts[i].shape[d] == 1) layouts[i].strides[d] = 0;
      sum.size *= layouts[i].shape[d];
      layouts[i].shape[d] = whole.shape[d];
    }
    sum.at = s->bytes;
    sum.bytes = sum.size * dtype_bytes(sum.compute);
    s->bytes += (sum.bytes + 63) / 64 * 64;
  }
  s->tiles.call = call;
  s->tiles.call.out = layouts;
  s->tiles.call.params = call.params + 1 + count;
  s->tiles.call.nparams = call.nparams - 1 - count;
  s->tiles.owner = &plan;
  const Status status = make_tiles(s->tiles, count);
  if (status != kOk) return status;
  if (!s->tiles.state) return kInvalid;  // no elements: nothing would be written
  const Program& p = *static_cast<const Program*>(s->tiles.state);
  s->grain = p.grain > p.total / kMostChunks ? p.grain : p.total / kMostChunks + 1;
  s->chunks = (p.total + s->grain - 1) / s->grain;
  plan.state = s;
  plan.run = run_sums;
  return kOk;
}
