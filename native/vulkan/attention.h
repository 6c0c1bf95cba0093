// What attention and its gradient share: a work group of kGroup invocations has a block of queries by keys, kOwn by
// kOwn of it each, and goes on to the next; scores are never all in memory (Dao et al. 2022, arXiv:2205.14135).
#pragma once
#include "shade.h"

namespace brasa::vk {
namespace {

constexpr uint32_t kGroup = 64, kBlock = 32, kPitch = kBlock + 1;  // queries, keys and depth of a block
constexpr uint32_t kDown = 8, kOwn = kBlock / kDown;               // an invocation has rows and columns 8 apart
constexpr int64_t kMostWidth = 128;                                // columns of sums: they stay in registers

inline Id both(Id a, Id b) { return recording->pure(spv::LogicalAnd, Type::kBool, {a, b}); }
inline I32 whole(U32 x) { return I32::of(x.id()); }

// As the op's parameters and operands have it; own: how many inputs come before q.
struct Attention {
  int own, causal;
  bool masked, has_lengths;
  int64_t batch, heads, groups, queries, keys, depth, width;

  static Status of(const Call& call, int own, Attention* out) {
    if (call.nparams != 4) return kInvalid;
    const bool masked = call.params[2] != 0, has_lengths = call.params[3] != 0;
    if (call.nin != own + 3 + masked + has_lengths) return kInvalid;
    const Layout &q = call.in[own], &k = call.in[own + 1], &v = call.in[own + 2];
    for (const Layout* layout : {&q, &k, &v})
      if (layout->ndim != 4) return kInvalid;
    *out = {own,        static_cast<int>(call.params[1]),
            masked,     has_lengths,
            q.shape[0], q.shape[1],
            k.shape[1], q.shape[2],
            k.shape[2], q.shape[3],
            v.shape[3]};
    if (out->groups == 0 || out->heads % out->groups != 0) return kInvalid;
    if (compute_dtype(q.dtype) != k_f32 || out->batch * out->heads * out->queries * out->keys == 0 ||
        out->depth * out->width == 0)
      return kUnsupported;
    return kOk;
  }
};

inline int64_t blocks_of(int64_t n) { return (n + kBlock - 1) / kBlock; }

// A row of four dims: x[i, j, row, ...].
struct Plane {
  Shade::Tensor tensor;
  U32 base, rows, columns;
  U32 at(U32 row, U32 column) const { return base + row * tensor.strides[2] + column * tensor.strides[3]; }
};

// Sums of an invocation: (kOwn, chunks of kBlock columns, kOwn).
class Sums {
 public:
  explicit Sums(uint32_t chunks) : chunks_(chunks) {
    for (uint32_t i = 0; i < kOwn * kOwn * chunks; ++i) all_.emplace_back(F32(0.f));
  }
  uint32_t chunks() const { return chunks_; }
  Var<float>& at(uint32_t i, uint32_t chunk, uint32_t j) { return all_[(i * chunks_ + chunk) * kOwn + j]; }
  void scale_row(uint32_t i, F32 by) {
    for (uint32_t j = 0; j < chunks_ * kOwn; ++j) {
      Var<float>& one = all_[i * chunks_ * kOwn + j];
      one.set(one.get() * by);
    }
  }

 private:
  uint32_t chunks_;
  std::vector<Var<float>> all_;
};

class AttentionBlocks {
 public:
  Plane q, k, v;

  // Operands: those of the op's inputs here; then the kernel's own, then the numbers.
  AttentionBlocks(Shade& s, const Call& call, const Attention& p) : s_(s), call_(call), p_(p) {
    q.tensor = s.in(p.own), k.tensor = s.in(p.own + 1), v.tensor = s.in(p.own + 2);
    if (p.masked) mask_.tensor = s.in(p.own + 3);
    if (p.has_lengths) lengths_ = s.in(p.own + 3 + p.masked);
  }
  void numbers() {
    queries = s_.u32(p_.queries), keys = s_.u32(p_.keys);
    const U32 depth = s_.u32(p_.depth), width = s_.u32(p_.width);
    open(q, call_.in[p_.own], queries, depth);
    open(k, call_.in[p_.own + 1], keys, depth);
    open(v, call_.in[p_.own + 2], keys, width);
    if (p_.masked) open(mask_, call_.in[p_.own + 3], queries, keys);
    if (p_.has_lengths) s_.strides(lengths_, call_.in[p_.own + 3 + p_.masked]);
    heads = s_.u32(p_.heads), shared_by = s_.u32(p_.heads / p_.groups);
    scale = s_.number(static_cast<float>(call_.params[0]));
    local = s_.local();
    down = local / U32(kDown), across = local % U32(kDown);
    left = array(kBlock * kPitch), right = array(kBlock * kPitch), score = array(kBlock * kPitch);
  }
  void open(Plane& x, const Layout& layout, U32 rows, U32 columns) {
    s_.strides(x.tensor, layout);
    x.rows = rows, x.columns = columns;
  }
  void begin(Plane& x, U32 example, U32 head) const {
    x.base = example * x.tensor.strides[0] + head * x.tensor.strides[1];
  }
  // What of the operands head `head` of an example uses.
  void begin_head(U32 example, U32 head) {
    begin(q, example, head);
    begin(k, example, head / shared_by);
    begin(v, example, head / shared_by);
    if (p_.masked) begin(mask_, example, head);
  }
  // Queries see keys below `known`, and with a causal mask up to their own number and `ahead` more.
  void look(U32 example) {
    known = whole(keys), ahead = I32(0);
    if (p_.has_lengths) {
      const Id given = s_.load(lengths_, example * lengths_.strides[0]);
      known = max(I32(0), min(I32::of(cast_value(compute_dtype(lengths_.dtype), k_i32, given)), known));
    }
    if (p_.causal == 2) ahead = known - whole(queries);
  }

  Id array(uint32_t count) { return s_.module().shared(Type::kF32, count); }
  F32 get(Id from, U32 i) { return F32::of(s_.module().get_shared(Type::kF32, from, i.id())); }
  void set(Id to, U32 i, F32 x) { s_.module().set_shared(Type::kF32, to, i.id(), x.id()); }
  U32 row_of(uint32_t i) const { return down + U32(i * kDown); }
  U32 column_of(uint32_t j) const { return across + U32(j * kDown); }
  U32 cell(uint32_t i, uint32_t j) const { return row_of(i) * U32(kPitch) + column_of(j); }

  // A block of x into shared memory, 0 beyond its rows and columns.
  void bring(Id to, const Plane& x, U32 row, U32 column) {
    s_.loop(local, U32(kBlock * kBlock), U32(kGroup), [&](U32 i) {
      const U32 r = i / U32(kBlock), c = i % U32(kBlock), from_row = row + r, from_column = column + c;
      const Id inside = both(from_row < x.rows, from_column < x.columns);
      const U32 at = x.at(smaller(from_row, x.rows - U32(1)), smaller(from_column, x.columns - U32(1)));
      const Id value = recording->pure(spv::Select, Type::kF32, {inside, s_.load(x.tensor, at), F32(0.f).id()});
      set(to, r * U32(kPitch) + c, F32::of(value));
    });
  }
  // dot += rows of x by rows of w.
  void multiply(const Plane& x, U32 row, const Plane& w, U32 w_row, Sums& dot) {
    s_.loop(U32(0), x.columns, U32(kBlock), [&](U32 column) {
      s_.module().barrier();
      bring(left, x, row, column);
      bring(right, w, w_row, column);
      s_.module().barrier();
      s_.loop(U32(0), U32(kBlock), U32(1), [&](U32 p) {
        F32 a[kOwn], b[kOwn];
        for (uint32_t i = 0; i < kOwn; ++i) a[i] = get(left, row_of(i) * U32(kPitch) + p);
        for (uint32_t j = 0; j < kOwn; ++j) b[j] = get(right, column_of(j) * U32(kPitch) + p);
        add_products(a, b, dot, 0);
      });
    });
  }
  // out += what lies in `score`, or its transpose, by rows of x. To be called when score is complete; ends so that it
  // may be written.
  void add_weighted(bool turned, const Plane& x, U32 row, Sums& out) {
    for (uint32_t chunk = 0; chunk < out.chunks(); ++chunk) {
      bring(right, x, row, U32(chunk * kBlock));
      s_.module().barrier();
      s_.loop(U32(0), U32(kBlock), U32(1), [&](U32 p) {
        F32 a[kOwn], b[kOwn];
        for (uint32_t i = 0; i < kOwn; ++i)
          a[i] = get(score, turned ? p * U32(kPitch) + row_of(i) : row_of(i) * U32(kPitch) + p);
        for (uint32_t j = 0; j < kOwn; ++j) b[j] = get(right, p * U32(kPitch) + column_of(j));
        add_products(a, b, out, chunk);
      });
      s_.module().barrier();
    }
  }
  // A product of query and key, scaled and with what the mask adds; and whether the query sees the key.
  F32 scored(F32 product, U32 row, U32 column, I32* seen) {
    F32 value = product * scale;
    *seen = (whole(row) < whole(queries)) & (whole(column) < known);
    if (p_.causal != 0) *seen = *seen & (whole(column) <= whole(row) + ahead);
    if (!p_.masked) return value;
    const U32 at = mask_.at(smaller(row, queries - U32(1)), smaller(column, keys - U32(1)));
    const Id given = s_.load(mask_.tensor, at);
    if (mask_.tensor.dtype == k_bool)
      *seen = *seen & (I32::of(given) != I32(0));
    else
      value = value + F32::of(cast_value(compute_dtype(mask_.tensor.dtype), k_f32, given));
    return value;
  }
  // Writes rows from `first` on, each times or by what belongs to it: value(i, sum). Through shared memory, so that
  // neighbours are written together.
  template <class F>
  void write(const Plane& y, U32 first, Id there, Sums& sums, const F& value) {
    for (uint32_t chunk = 0; chunk < sums.chunks(); ++chunk) {
      s_.module().barrier();
      for (uint32_t i = 0; i < kOwn; ++i)
        for (uint32_t j = 0; j < kOwn; ++j) set(score, cell(i, j), value(i, sums.at(i, chunk, j).get()));
      s_.module().barrier();
      s_.loop(local, U32(kBlock * kBlock), U32(kGroup), [&](U32 e) {
        const U32 r = e / U32(kBlock), c = e % U32(kBlock), row = first + r, column = U32(chunk * kBlock) + c;
        s_.module().when(both(there, both(row < y.rows, column < y.columns)),
                         [&] { s_.store(y.tensor, y.at(row, column), get(score, r * U32(kPitch) + c).id()); });
      });
    }
  }

  U32 queries, keys, heads, shared_by, local, down, across;
  F32 scale;
  I32 known, ahead;
  Id left = 0, right = 0, score = 0;

 private:
  void add_products(const F32* a, const F32* b, Sums& to, uint32_t chunk) {
    for (uint32_t i = 0; i < kOwn; ++i)
      for (uint32_t j = 0; j < kOwn; ++j) to.at(i, chunk, j).set(fma(a[i], b[j], to.at(i, chunk, j).get()));
  }

  Shade& s_;
  const Call& call_;
  const Attention& p_;
  Plane mask_;
  Shade::Tensor lengths_ = {};
};

// Of loops, for one product of blocks along so many columns, and for one weighted sum.
constexpr int64_t kTurnsOfSum = kBlock * kBlock / kGroup + kBlock + 2;
inline int64_t turns_of_product(int64_t columns) {
  return blocks_of(columns) * (kTurnsOfSum + kBlock * kBlock / kGroup);
}

}  // namespace
}  // namespace brasa::vk
