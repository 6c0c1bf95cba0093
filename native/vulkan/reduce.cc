// Reductions along any dims: folds of x, its squares, moments, the place of an extreme, and of a program's outputs.
#include "reduction.h"

namespace brasa::vk {
namespace {

uint32_t reduced_dims(const Layout& in, const Layout& out) {
  uint32_t mask = 0;
  for (int d = 0; d < in.ndim; ++d) mask |= static_cast<uint32_t>(out.shape[d] != in.shape[d]) << d;
  return mask;
}
bool reduces(const Layout& in, const Layout& out) {
  if (in.ndim != out.ndim) return false;
  for (int d = 0; d < in.ndim; ++d)
    if (out.shape[d] != in.shape[d] && out.shape[d] != 1) return false;
  return true;
}

// One input, one output. C: the compute type of the elements; element(value, j) answers a state, result(state, divisor)
// what is stored, in the output's compute type.
template <class C, class E, class R>
Status make_plain(Maker& m, const Monoid& monoid, uint32_t mask, double divisor, const E& element, const R& result) {
  Shade::Tensor x, y;
  Vec<C> by;
  Shade* shade = nullptr;
  Reduction r;
  r.monoid = monoid;
  const std::vector<Layout> layouts = {m.call.in[0], m.call.out[0]};
  r.kept = Dims::of(layouts, ~mask);
  r.over = Dims::of(layouts, mask);
  r.operands = 2;
  r.open = [&](Shade& s) { x = s.in(0); };
  r.open_results = [&](Shade& s) { y = s.out(0), shade = &s; };
  r.numbers = [&](Shade& s) { by = s.number(static_cast<C>(divisor)); };
  r.element = [&](Rows& rows, const Rows::Slot& slot) { return element(rows.load<C>(x, 0, slot), slot.j); };
  r.finish = [&](Rows& rows, const State& state) { shade->store(y, rows.start(1), result(state, by)); };
  return add_reduction(m, r);
}

template <class C>
Status make_folds(Maker& m, Fold fold, bool squares, double divisor) {
  const int32_t out = compute_dtype(m.call.out[0].dtype);
  return make_plain<C>(
      m, monoid_of<C>(fold), reduced_dims(m.call.in[0], m.call.out[0]), divisor,
      [=](Vec<C> x, U32) { return State{(squares ? x * x : x).id()}; },
      [=](const State& state, Vec<C> by) {
        Vec<C> total = Vec<C>::of(state[0]);
        if constexpr (kIsFloat<C>)
          if (divisor != 1) total = total / by;
        return cast_value(kDtypeOf<C>, out, total.id());
      });
}

Status make_fold(Maker& m, Fold fold, bool squares = false, double divisor = 1) {
  if (m.call.nin != 1 || m.call.nout != 1 || !reduces(m.call.in[0], m.call.out[0])) return kInvalid;
  const Layout &in = m.call.in[0], &out = m.call.out[0];
  const bool extreme = fold == Fold::kMax || fold == Fold::kMin;
  const int32_t compute = compute_dtype(in.dtype);
  const bool floats = compute == k_f32 || compute == k_f64;
  if (floats || extreme ? out.dtype != in.dtype : out.dtype != k_i64) return kUnsupported;
  if (!floats && squares) return kUnsupported;
  if (compute == k_f64) return make_folds<double>(m, fold, squares, divisor);
  if (compute == k_f32) return make_folds<float>(m, fold, squares, divisor);
  if (extreme && compute == k_i32) return make_folds<int32_t>(m, fold, squares, divisor);
  return make_folds<int64_t>(m, fold, squares, divisor);
}

// The first of equals, and NaN before all: a value and its number.
template <class T>
Monoid first_of(Fold fold) {
  using V = Vec<T>;
  return {{kDtypeOf<T>, k_i32},
          [=] {
            return State{identity_of<T>(fold).id(), I32(0).id()};
          },
          [=](const State& a, const State& b) {
            const V x = V::of(a[0]), y = V::of(b[0]);
            const I32 i = I32::of(a[1]), j = I32::of(b[1]);
            auto better = fold == Fold::kMax ? y > x : y < x, same = x == y;
            if constexpr (kIsFloat<T>) {
              better = better | ((y != y) & (x == x));
              same = same | ((x != x) & (y != y));
            }
            const I32 earlier = I32::mask(same.condition()) & (j < i), takes = I32::mask(better.condition()) | earlier;
            return State{recording->pure(spv::Select, kType<T>, {takes.condition(), y.id(), x.id()}),
                         select(takes, j, i).id()};
          }};
}

Status make_arg(Maker& m, Fold fold) {
  const Call& call = m.call;
  if (call.nin != 1 || call.nout != 1 || call.nparams < 1 || !reduces(call.in[0], call.out[0])) return kInvalid;
  const int dim = static_cast<int>(call.params[0]);
  if (dim < 0 || dim >= call.in[0].ndim) return kInvalid;
  if (call.out[0].dtype != k_i32) return kUnsupported;
  return visit_compute(compute_dtype(call.in[0].dtype), [&](auto zero) {
    using T = decltype(zero);
    return make_plain<T>(
        m, first_of<T>(fold), 1u << dim, 1,
        [](Vec<T> x, U32 j) {
          return State{x.id(), j.id()};
        },
        [](const State& state, Vec<T>) { return state[1]; });
  });
}

}  // namespace

Status make_sum(Maker& m) { return make_fold(m, Fold::kSum); }
Status make_prod(Maker& m) { return make_fold(m, Fold::kProd); }
Status make_amax(Maker& m) { return make_fold(m, Fold::kMax); }
Status make_amin(Maker& m) { return make_fold(m, Fold::kMin); }
Status make_sum_squares(Maker& m) { return make_fold(m, Fold::kSum, true); }
Status make_argmax(Maker& m) { return make_arg(m, Fold::kMax); }
Status make_argmin(Maker& m) { return make_arg(m, Fold::kMin); }
Status make_mean(Maker& m) {
  if (m.call.nin != 1 || m.call.nout != 1) return kInvalid;
  const int64_t outputs = count_of(m.call.out[0]);
  const double n = outputs > 0 ? static_cast<double>(count_of(m.call.in[0])) / static_cast<double>(outputs) : 1;
  return make_fold(m, Fold::kSum, false, n);
}
Status make_variance(Maker& m) {
  const Call& call = m.call;
  if (call.nin != 1 || call.nout != 1 || call.nparams < 1 || !reduces(call.in[0], call.out[0])) return kInvalid;
  const int32_t compute = compute_dtype(call.in[0].dtype);
  if ((compute != k_f32 && compute != k_f64) || call.out[0].dtype != call.in[0].dtype) return kUnsupported;
  const uint32_t mask = reduced_dims(call.in[0], call.out[0]);
  int64_t n = 1;
  for (int d = 0; d < call.in[0].ndim; ++d)
    if (mask >> d & 1) n *= call.in[0].shape[d];
  const double degrees = static_cast<double>(n) - call.params[0];
  const auto make = [&](auto zero) {
    using T = decltype(zero);
    return make_plain<T>(
        m, moments<T>(), mask, degrees > 0 ? degrees : 0, [](Vec<T> x, U32) { return moment_of(x); },
        [](const State& state, Vec<T> by) { return (Vec<T>::of(state[2]) / by).id(); });
  };
  return compute == k_f64 ? make(double{}) : make(float{});
}

namespace {

// A program's outputs, of which the last `sums` are summed over the same dims: one pass, in f64 or i64 for those types.
template <class C>
Status make_program_sums(Maker& m, const Call& program, int32_t sums, uint32_t mask) {
  const Call& call = m.call;
  const int32_t plain = call.nout - sums;
  std::vector<Layout> layouts(call.in, call.in + call.nin);
  layouts.insert(layouts.end(), call.out, call.out + call.nout);
  // The first that is no broadcast leads.
  size_t lead = 0;
  for (int32_t i = call.nin; i-- > 0;) {
    bool whole = true;
    for (int d = 0; d < layouts[i].ndim; ++d) whole &= layouts[i].shape[d] == 1 || layouts[i].strides[d] != 0;
    if (whole) lead = static_cast<size_t>(i);
  }
  std::vector<Shade::Tensor> in, out;
  std::vector<Id> scalars;
  std::vector<Vec<C>> divisors;
  Shade* shade = nullptr;
  const double* const code = program.params + call.nin + call.nscalars;
  const auto instructions = static_cast<int32_t>(code[0]);
  bool takes = true;
  Reduction r;
  r.monoid = monoid_of<C>(Fold::kSum, static_cast<size_t>(sums));
  r.kept = Dims::of(layouts, ~mask, lead);
  r.over = Dims::of(layouts, mask, lead);
  r.operands = layouts.size();
  r.late = true;
  if (instructions > 8) r.unrolled = 1;
  r.open = [&](Shade& s) {
    shade = &s;
    for (int32_t i = 0; i < call.nin; ++i) in.push_back(s.in(i));
    for (int32_t i = 0; i < plain; ++i) out.push_back(s.out(i));
  };
  r.numbers = [&](Shade& s) {
    shade = &s;
    scalars.clear(), divisors.clear();
    for (int32_t i = 0; i < call.nscalars; ++i)
      scalars.push_back(visit_compute(static_cast<int32_t>(program.params[call.nin + i]),
                                      [&](auto zero) { return s.scalar<decltype(zero)>(i).id(); }));
    for (int32_t i = 0; i < sums; ++i) divisors.push_back(s.number(static_cast<C>(call.params[1 + i])));
  };
  r.open_results = [&](Shade& s) {
    out.resize(plain);
    for (int32_t i = plain; i < call.nout; ++i) out.push_back(s.out(i));
  };
  r.element = [&](Rows& rows, const Rows::Slot& slot) {
    std::vector<Id> reg;
    std::vector<int32_t> type;
    for (int32_t i = 0; i < call.nin + call.nscalars; ++i) type.push_back(static_cast<int32_t>(program.params[i]));
    for (int32_t i = 0; i < call.nin; ++i)
      reg.push_back(cast_value(compute_dtype(in[i].dtype), type[i], shade->load(in[i], slot.at[i])));
    reg.insert(reg.end(), scalars.begin(), scalars.end());
    State state(sums, 0);
    takes &= record_instructions(code + 1, instructions, reg, type);
    if (!takes) return r.monoid.identity();
    const double* const results = code + 1 + 5 * instructions;
    const auto result = [&](int32_t i) { return static_cast<int32_t>(results[i]); };
    for (int32_t i = 0; i < sums; ++i)
      state[i] = cast_value(type[result(plain + i)], kDtypeOf<C>, reg[result(plain + i)]);
    if (plain > 0)
      shade->module().when(rows.there(), [&] {
        for (int32_t i = 0; i < plain; ++i)
          shade->store(out[i], slot.at[call.nin + i], stored_value(out[i].dtype, type[result(i)], reg[result(i)]));
      });
    return state;
  };
  r.finish = [&](Rows& rows, const State& state) {
    for (int32_t i = 0; i < sums; ++i) {
      const Shade::Tensor& y = out[plain + i];
      Vec<C> total = Vec<C>::of(state[i]);
      if constexpr (kIsFloat<C>)
        if (call.params[1 + i] != 1) total = total / divisors[i];
      shade->store(y, rows.start(call.nin + plain + i), cast_value(kDtypeOf<C>, compute_dtype(y.dtype), total.id()));
    }
  };
  const size_t before = m.plan.dispatches.size();
  const Status status = add_reduction(m, r);
  if (takes) return status;
  m.plan.dispatches.resize(before);
  return kUnsupported;
}

// Sums over different dims, or of different types: the program into scratch memory, then each by itself.
Status make_program_then_sums(Maker& m, Call program, int32_t sums) {
  const Call& call = m.call;
  std::vector<Layout> out(call.out, call.out + call.nout);
  std::vector<Source> operands = m.operands;
  for (int32_t i = call.nout - sums; i < call.nout; ++i) {
    int64_t stride = 1;
    for (int d = call.in[0].ndim - 1; d >= 0; --d) {
      out[i].shape[d] = call.in[0].shape[d];
      out[i].strides[d] = stride;
      stride *= call.in[0].shape[d];
    }
    // A half type would lose bits: its sums are of f32.
    if (out[i].dtype == k_f16 || out[i].dtype == k_bf16) out[i].dtype = k_f32;
    operands[call.nin + i] = m.scratch(stride * item_bytes(out[i].dtype));
  }
  program.out = out.data();
  Maker part = {m.gpu, m.plan, program, operands, m.first_scalar};
  Status status = make_elementwise(part);
  for (int32_t i = 0; i < sums && status == kOk; ++i) {
    const int32_t at = call.nout - sums + i;
    const Call one = {op_id("sum"), 1, 1, 0, 0, &out[at], &call.out[at], nullptr};
    Maker sum = {m.gpu, m.plan, one, {operands[call.nin + at], m.out(at)}, 0};
    const double divisor = call.params[1 + i];
    status = out[at].dtype == k_f32   ? make_folds<float>(sum, Fold::kSum, false, divisor)
             : out[at].dtype == k_f64 ? make_folds<double>(sum, Fold::kSum, false, divisor)
             : out[at].dtype == k_i64 ? make_folds<int64_t>(sum, Fold::kSum, false, divisor)
                                      : kUnsupported;
  }
  return status;
}

}  // namespace

Status make_elementwise_sum(Maker& m) {
  const Call& call = m.call;
  const auto sums = static_cast<int32_t>(call.nparams > 0 ? call.params[0] : 0);
  if (sums < 1 || sums > call.nout || call.nparams < 1 + sums || call.nin < 1) return kInvalid;
  const Call program = {call.op,       call.nin, call.nout, call.nparams - 1 - sums,
                        call.nscalars, call.in,  call.out,  call.params + 1 + sums};
  if (!sane_program(program)) return kInvalid;
  const Layout& x = call.in[0];
  const int32_t compute = compute_dtype(call.out[call.nout - 1].dtype);
  const uint32_t mask = reduced_dims(x, call.out[call.nout - 1]);
  bool alike = true;
  for (int32_t i = 0; i < call.nout; ++i) {
    if (!reduces(x, call.out[i])) return kInvalid;
    if (i >= call.nout - sums)
      alike &= compute_dtype(call.out[i].dtype) == compute && reduced_dims(x, call.out[i]) == mask;
  }
  if (!alike) return make_program_then_sums(m, program, sums);
  if (compute == k_f64) return make_program_sums<double>(m, program, sums, mask);
  if (compute == k_f32) return make_program_sums<float>(m, program, sums, mask);
  return compute == k_i64 ? make_program_sums<int64_t>(m, program, sums, mask) : kUnsupported;
}

}  // namespace brasa::vk
