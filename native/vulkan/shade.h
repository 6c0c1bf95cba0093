// Kernels written in C++: what a Shade is told to do goes into a shader, and what sizes and strides it asks for into
// the argument block of the dispatch, so that calls of other sizes share the pipeline. An invocation goes round over
// the elements of one shape.
#pragma once
#include "expressions.h"
#include "kernel.h"

namespace brasa::vk {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 31;

class U32 {  // an index; wraps
 public:
  U32() = default;
  explicit U32(uint32_t s) : id_(recording->constant(Type::kU32, s)) {}
  static U32 of(Id id) {
    U32 u;
    u.id_ = id;
    return u;
  }
  Id id() const { return id_; }
#define BRASA_OPERATOR(op, name) \
  friend U32 operator op(U32 a, U32 b) { return of(recording->pure(spv::name, Type::kU32, {a.id_, b.id_})); }
  BRASA_OPERATOR(+, IAdd)
  BRASA_OPERATOR(-, ISub)
  BRASA_OPERATOR(*, IMul)
  BRASA_OPERATOR(/, UDiv)
  BRASA_OPERATOR(%, UMod)
  BRASA_OPERATOR(&, BitwiseAnd)
  BRASA_OPERATOR(|, BitwiseOr)
  BRASA_OPERATOR(^, BitwiseXor)
  BRASA_OPERATOR(<<, ShiftLeftLogical)
  BRASA_OPERATOR(>>, ShiftRightLogical)
#undef BRASA_OPERATOR
  Id nonzero() const { return recording->pure(spv::INotEqual, Type::kBool, {id_, U32(0).id_}); }
  friend Id operator<(U32 a, U32 b) { return recording->pure(spv::ULessThan, Type::kBool, {a.id_, b.id_}); }

 private:
  Id id_ = 0;
};

inline U32 choose(Id condition, U32 a, U32 b) {
  return U32::of(recording->pure(spv::Select, Type::kU32, {condition, a.id(), b.id()}));
}
inline U32 smaller(U32 a, U32 b) { return choose(a < b, a, b); }

class Shade {
 public:
  // An operand whose elements are found by their index along each dim.
  struct Tensor {
    Id base;
    int32_t dtype;
    std::vector<U32> strides;
  };

  explicit Shade(Maker& m) : m_(m), module_(m.gpu.features().group, m.gpu.features().target) { recording = &module_; }
  // One whose work groups, of so many invocations, each work on something together.
  Shade(Maker& m, uint32_t group) : m_(m), module_(group, m.gpu.features().target) {
    recording = &module_;
    subgroup_ = group % (m.gpu.features().subgroup + !m.gpu.features().subgroup) ? 0 : m.gpu.features().subgroup;
    module_.open_group(subgroup_);
  }
  ~Shade() { recording = nullptr; }

  Module& module() { return module_; }

  // All operands come before anything else.
  Tensor in(int i) { return operand(m_.in(i), m_.call.in[i], false); }
  Tensor out(int i) { return operand(m_.out(i), m_.call.out[i], true); }
  Tensor operand(const Source& source, const Layout& layout, bool written) {
    const int64_t reach = reach_of(layout);
    fits_ &= reach < kMostElements && count_of(layout) < kMostElements;
    layouts_.push_back(&layout);
    return {add_port(source, reach * item_bytes(layout.dtype), written), layout.dtype, {}};
  }
  Id fault() { return add_port({kFaultWord}, sizeof(FaultWord), true); }

  U32 u32(int64_t value) { return U32::of(module_.load(Type::kU32, at(dispatch_.put(static_cast<uint32_t>(value))))); }
  template <class T>
  Vec<T> number(T value) {
    if (sizeof value == 8) align();
    return Vec<T>::of(module_.load(kType<T>, at(dispatch_.put(value))));
  }
  // A number of the run.
  template <class T>
  Vec<T> scalar(int32_t i, Of of = Of::kItself) {
    align();
    const int32_t place = dispatch_.put(int64_t{0});
    dispatch_.scalars.push_back({m_.first_scalar + i, kDtypeOf<T>, place, of});
    return Vec<T>::of(module_.load(kType<T>, at(place)));
  }
  std::vector<U32> sizes(const Layout& layout) {
    std::vector<U32> list;
    for (int d = 0; d < layout.ndim; ++d) list.push_back(u32(layout.shape[d]));
    return list;
  }
  void strides(Tensor& x, const Layout& layout) {
    for (int d = 0; d < layout.ndim; ++d) x.strides.push_back(u32(layout.strides[d]));
  }

  // f(index) for each of so many elements.
  template <class F>
  void each(int64_t count, const F& f) {
    fits_ &= count < kMostElements;
    dispatch_.groups[0] = groups_for(m_.gpu, count, m_.gpu.features().group);
    const U32 n = u32(count);
    empty_ = count == 0;
    f(U32::of(module_.begin_loop(module_.invocation(), n.id(), module_.invocations())));
    module_.end_loop();
  }
  // So many work groups; more than those may run, the last ones have nothing to do.
  void groups(int64_t count) {
    const int64_t most = m_.gpu.features().most_groups, across = count < most ? count : most;
    empty_ = count == 0;
    if (empty_) return;
    const int64_t down = (count + across - 1) / across;
    fits_ &= count < kMostElements && down <= 65535;
    dispatch_.groups[0] = static_cast<uint32_t>(across);
    dispatch_.groups[1] = static_cast<uint32_t>(down);
  }
  U32 group() { return U32::of(module_.group()); }
  U32 local() { return U32::of(module_.local()); }
  // How many invocations exchange values of a compute type without shared memory.
  uint32_t subgroup(int32_t dtype) const { return dtype == k_i64 && !m_.gpu.features().subgroup_i64 ? 0 : subgroup_; }
  // So many turns of the loops of an invocation are to come.
  void turns(int64_t n) { fits_ &= n <= m_.gpu.features().most_turns; }
  // f(i) for i = first, first + step, ... below count; answers where it ends.
  template <class F>
  U32 loop(U32 first, U32 count, U32 step, const F& f) {
    const U32 i = U32::of(module_.begin_loop(first.id(), count.id(), step.id()));
    f(i);
    module_.end_loop();
    return i;
  }

  // The place of a row-major index along each dim.
  std::vector<U32> unravel(U32 index, const std::vector<U32>& sizes) {
    std::vector<U32> along(sizes.size());
    for (size_t d = sizes.size(); d-- > 1;) {
      const U32 above = index / sizes[d];
      along[d] = index - above * sizes[d];
      index = above;
    }
    if (!along.empty()) along[0] = index;
    return along;
  }
  U32 offset(const Tensor& x, const std::vector<U32>& along) {
    U32 sum(0);
    for (size_t d = 0; d < x.strides.size(); ++d)
      sum = d == 0 ? along[0] * x.strides[0] : sum + along[d] * x.strides[d];
    return sum;
  }
  // The element so many elements behind the first, as its compute type.
  Id load(const Tensor& x, U32 element) { return load_element(x.dtype, address(x, element)); }
  void store(const Tensor& x, U32 element, Id value) { store_element(x.dtype, address(x, element), value); }
  Id address(const Tensor& x, U32 element) {
    const Id bytes = module_.pure(spv::IMul, Type::kU64,
                                  {module_.pure(spv::UConvert, Type::kU64, {element.id()}),
                                   module_.constant(Type::kU64, static_cast<uint64_t>(item_bytes(x.dtype)))});
    return module_.pure(spv::IAdd, Type::kU64, {x.base, bytes});
  }
  // Its bits as they are.
  Id load_raw(const Tensor& x, U32 element) { return load_bits(x.dtype, address(x, element)); }
  void store_raw(const Tensor& x, U32 element, Id value) { store_bits(x.dtype, address(x, element), value); }
  Id zero_raw(int32_t dtype) { return module_.constant(is_narrow(dtype) ? Type::kU32 : storage_type(dtype), 0); }

  // An index outside of a dim.
  void raise(Id fault, I64 index, I64 size) {
    module_.store(Type::kU64, plus(fault, offsetof(FaultWord, index)), index.id());
    module_.store(Type::kU64, plus(fault, offsetof(FaultWord, size)), size.id());
    module_.store(Type::kU32, fault, U32(1).id());
  }

  // An index of any integer type, counted from the end when negative; a fault, and 0, when outside of [-size, size).
  U32 checked_index(Id fault, const Tensor& x, U32 element, U32 size) {
    const Id given = load(x, element);
    return visit_compute(compute_dtype(x.dtype), [&](auto zero) {
      using T = decltype(zero);
      if constexpr (kIsFloat<T>) {
        return U32(0);
      } else {
        using I = Vec<T>;
        const I value = I::of(given), n = cast<T>(I32::of(size.id())), none(T(0));
        const I low = value < none, inside = (value >= -n) & (value < n);
        module_.when((~inside).condition(), [&] { raise(fault, cast<int64_t>(value), cast<int64_t>(n)); });
        return U32::of(cast<int32_t>(select(inside, select(low, value + n, value), none)).id());
      }
    });
  }

  Status finish() {
    if (!fits_) return kUnsupported;
    for (const Layout* layout : layouts_)
      if (layout->dtype == k_f64 && !m_.gpu.features().target.float64) return kUnsupported;
    if (empty_) return kOk;
    if (module_.uses(Type::kF64) && !m_.gpu.features().target.float64) return kUnsupported;
    const Status status = m_.gpu.pipeline(module_.finish(), &dispatch_.pipeline);
    if (status == kOk) m_.add() = std::move(dispatch_);
    return status;
  }

 private:
  Id plus(Id base, int64_t bytes) {
    return module_.pure(spv::IAdd, Type::kU64, {base, module_.constant(Type::kU64, static_cast<uint64_t>(bytes))});
  }
  Id at(int64_t bytes) { return plus(module_.argument_block(), bytes); }
  void align() {
    while (dispatch_.block.size() % 8) dispatch_.block.push_back(0);
  }
  Id add_port(const Source& source, int64_t bytes, bool written) {
    dispatch_.port(source.operand, source.begin, bytes, written);
    return module_.load(Type::kU64, at(static_cast<int64_t>(dispatch_.block.size()) - 8));
  }
  Maker& m_;
  Module module_;
  Dispatch dispatch_;
  std::vector<const Layout*> layouts_;
  bool fits_ = true, empty_ = false;
  uint32_t subgroup_ = 0;
};

// A variable of a compute type, set anew wherever it is declared.
template <class T>
class Var {
 public:
  explicit Var(Vec<T> first) : id_(recording->variable(kType<T>, first.id())) {}
  Vec<T> get() const { return Vec<T>::of(recording->get(kType<T>, id_)); }
  void set(Vec<T> value) { recording->set(id_, value.id()); }

 private:
  Id id_;
};

}  // namespace
}  // namespace brasa::vk
