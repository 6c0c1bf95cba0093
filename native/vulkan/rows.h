// Rows of elements, each the work of some invocations of a work group: what folds, softmax, norms and their gradients
// are made of. Lanes of a row read neighbours; where neighbours belong to other rows, rows lie beside each other
// instead.
#pragma once
#include <functional>

#include "shade.h"

namespace brasa::vk {
namespace {

// Dims of a nest over some operands, merged where one walk goes over all of them.
struct Dims {
  std::vector<int64_t> shape;
  std::vector<std::vector<int64_t>> strides;  // of each dim: those of the operands
  size_t lead = 0;                            // the operand whose memory matters most

  int64_t count() const {
    int64_t n = 1;
    for (const int64_t size : shape) n *= size;
    return n;
  }
  int64_t least() const {  // stride of the leading operand
    int64_t stride = INT64_MAX;
    for (const auto& s : strides)
      if (s[lead] > 0 && s[lead] < stride) stride = s[lead];
    return stride;
  }
  void push(int64_t size, const std::vector<int64_t>& by) {
    if (size == 1) return;
    bool merge = !shape.empty();
    for (size_t i = 0; merge && i < by.size(); ++i) merge = strides.back()[i] == by[i] * size;
    if (!merge) {
      shape.push_back(size);
      strides.push_back(by);
      return;
    }
    shape.back() *= size;
    strides.back() = by;
  }
  // The dims for which the mask has a bit, the leading layout's largest stride first. Along dims of size 1 a layout has
  // stride 0; its other sizes are those of the leading one.
  static Dims of(const std::vector<Layout>& layouts, uint32_t mask, size_t lead = 0) {
    const Layout& first = layouts[lead];
    std::vector<int> order;
    for (int d = 0; d < first.ndim; ++d) {
      if (!(mask >> d & 1)) continue;
      size_t at = order.size();
      while (at > 0 && first.strides[order[at - 1]] < first.strides[d]) --at;
      order.insert(order.begin() + static_cast<int64_t>(at), d);
    }
    Dims dims;
    dims.lead = lead;
    for (const int d : order) {
      std::vector<int64_t> by;
      for (const Layout& layout : layouts) by.push_back(layout.shape[d] == 1 ? 0 : layout.strides[d]);
      dims.push(first.shape[d], by);
    }
    return dims;
  }
};

// Some values of compute types, and how two such become one: associative and commutative, to the bit.
using State = std::vector<Id>;
struct Monoid {
  std::vector<int32_t> types;
  std::function<State()> identity;
  std::function<State(const State&, const State&)> combine;
};

enum class Fold { kSum, kProd, kMax, kMin };

template <class T>
Vec<T> identity_of(Fold fold) {
  if (fold == Fold::kSum) return Vec<T>(T(0));
  if (fold == Fold::kProd) return Vec<T>(T(1));
  T low, high;
  if constexpr (kIsFloat<T>) {
    high = T(__builtin_inf());
    low = -high;
  } else {
    high = T(sizeof(T) == 8 ? INT64_MAX : INT32_MAX);
    low = T(-high - 1);
  }
  return Vec<T>(fold == Fold::kMax ? low : high);
}
template <class T>
Vec<T> folded(Fold fold, Vec<T> a, Vec<T> b) {
  switch (fold) {
    case Fold::kSum:
      return a + b;
    case Fold::kProd:
      return a * b;
    case Fold::kMax:
      return maximum(a, b);
    default:
      return minimum(a, b);
  }
}
// The fold of some values, each by itself.
template <class T>
Monoid monoid_of(Fold fold, size_t values = 1) {
  return {std::vector<int32_t>(values, kDtypeOf<T>), [=] { return State(values, identity_of<T>(fold).id()); },
          [=](const State& a, const State& b) {
            State c;
            for (size_t i = 0; i < values; ++i) c.push_back(folded(fold, Vec<T>::of(a[i]), Vec<T>::of(b[i])).id());
            return c;
          }};
}

inline int64_t power_from(int64_t n) {  // the least power of 2 that is not below n
  int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

// How rows are shared out, by their sizes and the device's.
struct Spread {
  uint32_t group = 256, lanes = 1;  // invocations of a work group, and of a row of it
  bool across = false;              // rows lie beside each other
  uint32_t held = 0;                // elements that a lane keeps, when that is all; 0: they are read again
  int64_t chunks = 1;               // pieces of a row, each the work of other invocations

  uint32_t rows() const { return group / lanes; }
  int64_t groups(int64_t count) const { return (count + rows() - 1) / rows() * chunks; }

  static constexpr uint32_t kHeld = 8, kColumns = 32;
  static Spread of(const Gpu& gpu, const Dims& kept, const Dims& over, bool hold) {
    const Features& has = gpu.features();
    const int64_t n = over.count(), rows = kept.count();
    Spread s;
    s.group = has.group;
    s.across = over.least() > kept.least();
    // More invocations where the row is held by them only, or there are few rows.
    if (hold && !s.across && n > kHeld * int64_t{s.group} && has.most_invocations >= 1024 && has.subgroup)
      s.group = 1024;
    int64_t lanes = power_from((n + 3) / 4);
    if (s.across) {
      const int64_t columns = power_from(rows) < kColumns ? power_from(rows) : kColumns;
      lanes = lanes < s.group / columns ? lanes : s.group / columns;
    }
    s.lanes = static_cast<uint32_t>(lanes < s.group ? lanes : s.group);
    if (hold && n <= int64_t{kHeld} * s.lanes) s.held = static_cast<uint32_t>((n + s.lanes - 1) / s.lanes);
    return s;
  }
};

class Rows {
 public:
  // An element: its place in each operand, its number in the row, and for those held which of the lane's it is.
  struct Slot {
    std::vector<U32> at;
    U32 j;
    int32_t number;
    Id inside;  // whether there is such an element; 0: there is
  };

  // To be made before anything else of the shader but its operands.
  Rows(Shade& s, const Spread& spread, const Dims& kept, const Dims& over, size_t operands)
      : s_(s), spread_(spread), start_(operands, U32(0)) {
    const auto count = kept.count();
    const auto arguments = [&](const Dims& dims, std::vector<U32>& sizes, std::vector<std::vector<U32>>& strides) {
      for (size_t d = 0; d < dims.shape.size(); ++d) {
        sizes.push_back(s.u32(dims.shape[d]));
        strides.emplace_back();
        for (const int64_t by : dims.strides[d]) strides.back().push_back(s.u32(by));
      }
    };
    std::vector<U32> kept_sizes;
    std::vector<std::vector<U32>> kept_strides;
    arguments(kept, kept_sizes, kept_strides);
    arguments(over, over_sizes_, over_strides_);
    length_ = s.u32(over.count());
    const U32 rows = s.u32(count), chunks = s.u32(spread.chunks), lanes(spread.lanes), beside(spread.rows());
    s.groups(count == 0 ? 0 : spread.groups(count));
    s.turns(over.count() / (spread.lanes * spread.chunks) + 2);
    const U32 local = s.local();
    const U32 own = spread.across ? local % beside : local / lanes;
    lane_ = spread.across ? local / beside : local % lanes;
    const U32 block = spread.chunks > 1 ? s.group() / chunks : s.group();
    chunk_ = spread.chunks > 1 ? s.group() % chunks : U32(0);
    const U32 given = block * beside + own;
    there_ = given < rows;
    row_ = smaller(given, rows - U32(1));
    const auto along = s.unravel(row_, kept_sizes);
    for (size_t d = 0; d < along.size(); ++d)
      for (size_t i = 0; i < start_.size(); ++i) start_[i] = start_[i] + along[d] * kept_strides[d][i];
    step_ = spread.chunks > 1 ? chunks * lanes : lanes;
    first_ = spread.chunks > 1 ? chunk_ * lanes + lane_ : lane_;
  }

  U32 row() const { return row_; }
  U32 chunk() const { return chunk_; }
  U32 length() const { return length_; }
  // The row's first element in an operand.
  U32 start(size_t operand) const { return start_[operand]; }

  // f(slot) for each of the lane's elements. plain: f has no effect but what it answers, also where there is no
  // element.
  template <class F>
  void each(const F& f, bool plain = false, int32_t unrolled = 1) {
    for (uint32_t k = 0; k < spread_.held; ++k) {
      const U32 j = k == 0 ? first_ : first_ + U32(k * spread_.lanes);
      const Id inside = j < length_;
      const auto run = [&] { f(slot(smaller(j, length_ - U32(1)), static_cast<int32_t>(k), inside)); };
      if (plain)
        run();
      else
        s_.module().when(inside, run);
    }
    if (spread_.held) return;
    U32 first = first_;
    if (unrolled > 1) {
      const U32 ahead = step_ * U32(static_cast<uint32_t>(unrolled - 1));
      const U32 most = choose(ahead < length_, length_ - ahead, U32(0));
      first = s_.loop(first, most, step_ * U32(static_cast<uint32_t>(unrolled)), [&](U32 j) {
        for (int k = 0; k < unrolled; ++k) f(slot(k == 0 ? j : j + step_ * U32(static_cast<uint32_t>(k)), -1, 0));
      });
    }
    s_.loop(first, length_, step_, [&](U32 j) { f(slot(j, -1, 0)); });
  }

  // f(slot) of all of the row's elements as one, known to each lane; of the chunk's where there are chunks.
  template <class F>
  State fold(const Monoid& monoid, const F& f, int32_t unrolled = 1) {
    std::vector<Id> variables;
    const State none = monoid.identity();
    for (size_t i = 0; i < none.size(); ++i)
      variables.push_back(s_.module().variable(storage_type(monoid.types[i]), none[i]));
    const auto now = [&] {
      State state;
      for (size_t i = 0; i < none.size(); ++i)
        state.push_back(s_.module().get(storage_type(monoid.types[i]), variables[i]));
      return state;
    };
    holds_ = true;
    each(
        [&](const Slot& slot) {
          State state = f(slot);
          for (size_t i = 0; slot.inside && i < state.size(); ++i)
            state[i] = s_.module().pure(spv::Select, storage_type(monoid.types[i]), {slot.inside, state[i], none[i]});
          state = monoid.combine(now(), state);
          for (size_t i = 0; i < state.size(); ++i) s_.module().set(variables[i], state[i]);
        },
        true, unrolled);
    holds_ = false;
    return together(monoid, now());
  }
  template <class T, class F>
  Vec<T> fold_of(Fold fold, const F& f) {
    return Vec<T>::of(this->fold(monoid_of<T>(fold), [&](const Slot& slot) { return State{f(slot).id()}; })[0]);
  }

  // Runs f once for the row, or its chunk.
  template <class F>
  void once(const F& f) {
    s_.module().when(both(lane_ < U32(1), there_), f);
  }
  Id there() const { return there_; }  // whether this is a row, not one more turn of the last
  // Runs f(slot) for each element of the row.
  template <class F>
  void write(const F& f) {
    s_.module().when(there_, [&] { each(f); });
  }

  // The element, as T; one that is held is read once.
  template <class T>
  Vec<T> load(const Shade::Tensor& x, size_t operand, const Slot& slot) {
    const auto read = [&] { return cast_value(compute_dtype(x.dtype), kDtypeOf<T>, s_.load(x, slot.at[operand])); };
    const auto known = held_.find({x.base, slot.number});
    if (known != held_.end()) return Vec<T>::of(known->second);
    const Id value = read();
    if (holds_ && slot.number >= 0) held_[{x.base, slot.number}] = value;
    return Vec<T>::of(value);
  }

 private:
  static Id both(Id a, Id b) { return recording->pure(spv::LogicalAnd, Type::kBool, {a, b}); }
  Slot slot(U32 j, int32_t number, Id inside) {
    Slot made = {start_, j, number, inside};
    const auto along = s_.unravel(j, over_sizes_);
    for (size_t d = 0; d < along.size(); ++d)
      for (size_t i = 0; i < made.at.size(); ++i) made.at[i] = made.at[i] + along[d] * over_strides_[d][i];
    return made;
  }

  // What the lanes of a row have as one: by exchange in the subgroup, then through shared memory.
  State together(const Monoid& monoid, State state) {
    Module& module = s_.module();
    const uint32_t lanes = spread_.lanes;
    uint32_t beside = spread_.across ? 1 : lanes;
    for (const int32_t dtype : monoid.types)
      beside = beside < s_.subgroup(dtype) ? beside : s_.subgroup(dtype) ? s_.subgroup(dtype) : 1;
    const U32 local = s_.local();
    for (uint32_t step = 1; step < beside; step *= 2) {
      const U32 lane =
          U32::of(module.pure(spv::UMod, Type::kU32, {local.id(), U32(s_.subgroup(k_f32)).id()})) ^ U32(step);
      State other;
      for (size_t i = 0; i < state.size(); ++i)
        other.push_back(module.shuffle(storage_type(monoid.types[i]), state[i], lane.id()));
      state = monoid.combine(state, other);
    }
    if (beside == lanes) return state;
    const uint32_t parts = lanes / beside;
    const uint32_t places = spread_.group / beside;
    std::vector<Id> arrays;
    for (const int32_t dtype : monoid.types) arrays.push_back(shared(storage_type(dtype), places, arrays));
    const auto get = [&](U32 at) {
      State values;
      for (size_t i = 0; i < arrays.size(); ++i)
        values.push_back(module.get_shared(storage_type(monoid.types[i]), arrays[i], at.id()));
      return values;
    };
    const auto set = [&](U32 at, const State& values) {
      for (size_t i = 0; i < arrays.size(); ++i)
        module.set_shared(storage_type(monoid.types[i]), arrays[i], at.id(), values[i]);
    };
    const U32 place = beside == 1 ? local : local / U32(beside);
    if (beside == 1)
      set(place, state);
    else
      module.when(local % U32(beside) < U32(1), [&] { set(place, state); });
    // Part p of this row lies at first + p * apart.
    const U32 apart(spread_.across ? spread_.rows() : 1), part = spread_.across ? lane_ : lane_ / U32(beside);
    const U32 first = place - part * apart;
    for (uint32_t step = parts / 2; step >= 1; step /= 2) {
      module.barrier();
      const Id works = beside == 1 ? part < U32(step) : both(part < U32(step), local % U32(beside) < U32(1));
      module.when(works, [&] { set(place, monoid.combine(get(place), get(place + U32(step) * apart))); });
    }
    module.barrier();
    state = get(first);
    module.barrier();
    return state;
  }
  // Shared memory of the type that `taken` does not hold; each is used again.
  Id shared(Type t, uint32_t count, const std::vector<Id>& taken) {
    for (const Array& array : arrays_) {
      bool free = array.type == t && array.count >= count;
      for (const Id id : taken) free &= id != array.id;
      if (free) return array.id;
    }
    arrays_.push_back({t, count, s_.module().shared(t, count)});
    return arrays_.back().id;
  }

  struct Array {
    Type type;
    uint32_t count;
    Id id;
  };
  Shade& s_;
  Spread spread_;
  std::vector<U32> start_, over_sizes_;
  std::vector<std::vector<U32>> over_strides_;
  U32 length_, lane_, row_, step_, first_, chunk_;
  Id there_ = 0;
  bool holds_ = false;  // what is read now is there for whatever follows
  std::map<std::pair<Id, int32_t>, Id> held_;
  std::vector<Array> arrays_;
};

}  // namespace
}  // namespace brasa::vk
