// sort and topk. An element becomes an item: a key in the order of the elements (NaN above all, -0 as 0; all bits
// flipped when descending) and its place, which decides among equals. A work group sorts a block of items in shared
// memory (Batcher's bitonic network); sorted runs are merged in pairs, each item finding its place in the other run; of
// a topk with small k the first k of each block go on.
#include <utility>

#include "shade.h"

namespace brasa::vk {
namespace {

// Where items lie between dispatches: lines of `length` keys and places.
struct Items {
  Source keys, places;
  int64_t length;
};

struct Order {
  Layout lines;  // x with one element along dim
  int dim;
  bool descending;
  int64_t k;
};

template <class T>
using KeyOf = typename IntOf<T>::type;

// In the order of the elements, as a signed integer.
template <class T>
Vec<KeyOf<T>> key_of(Vec<T> x, bool descending) {
  using K = Vec<KeyOf<T>>;
  using E = KeyOf<T>;
  K key;
  if constexpr (!kIsFloat<T>) {
    key = x;
  } else {
    key = bits(x);
    constexpr int top = 8 * sizeof(E) - 1;
    const K most(E(sizeof(E) == 8 ? INT64_MAX : INT32_MAX));
    key = key ^ ((key >> top) & most);
    key = select(x == Vec<T>(T(0)), K(E(0)), select(x != x, most, key));
  }
  return descending ? ~key : key;
}

template <class K>
struct Item {
  Vec<K> key;
  I32 place;
};
template <class K>
Id precedes(const Item<K>& a, const Item<K>& b) {
  const auto less = a.key < b.key, same = a.key == b.key, earlier = a.place < b.place;
  return (I32::mask(less.condition()) | (I32::mask(same.condition()) & I32::mask(earlier.condition()))).condition();
}

template <class T>
class Sorter {
 public:
  using K = KeyOf<T>;
  Sorter(Maker& m, const Order& order) : m_(m), order_(order) {
    block_ = sizeof(K) == 8 ? 1024 : 2048;
    while (block_ * static_cast<int64_t>(4 + sizeof(K)) > m.gpu.features().shared_bytes) block_ /= 2;
  }

  Status sort() {
    const int64_t n = m_.call.in[0].shape[order_.dim];
    Items items = {{}, {}, n};
    const Items* from = nullptr;
    // Tournament: as long as a block's first k are few beside it.
    while (items.length > block_) {
      const int64_t blocks = (items.length + block_ - 1) / block_;
      const bool few = 2 * order_.k <= block_;
      const Items next = scratch(few ? blocks * order_.k : items.length);
      Status status = add_blocks(from, items.length, block_, few ? order_.k : block_, &next);
      if (status != kOk) return status;
      if (!few) return merge(next);
      items = next;
      from = &items;
    }
    int64_t width = 2;
    while (width < items.length) width *= 2;
    return add_blocks(from, items.length, width, order_.k, nullptr);
  }

 private:
  Items scratch(int64_t length) {
    const int64_t count = count_of(order_.lines) * length;
    return {m_.scratch(count * static_cast<int64_t>(sizeof(K))), m_.scratch(count * 4), length};
  }
  Layout line(int32_t dtype, int64_t length) const { return {dtype, 1, {count_of(order_.lines) * length}, {1}}; }

  // What a dispatch reads and writes: x, or items; the results, or items.
  struct Ends {
    Shade::Tensor x, keys, places, y, indices, to_keys, to_places;
    std::vector<U32> sizes;
  };
  // keys and places are layouts that last as long as the shade.
  Ends open(Shade& s, const Items* from, const Items* to, Layout* layouts) {
    Ends e;
    const Call& call = m_.call;
    layouts[0] = line(kDtypeOf<K>, from ? from->length : 0), layouts[1] = line(k_i32, from ? from->length : 0);
    layouts[2] = line(kDtypeOf<K>, to ? to->length : 0), layouts[3] = line(k_i32, to ? to->length : 0);
    e.x = s.in(0);
    if (from) e.keys = s.operand(from->keys, layouts[0], false), e.places = s.operand(from->places, layouts[1], false);
    if (to)
      e.to_keys = s.operand(to->keys, layouts[2], true), e.to_places = s.operand(to->places, layouts[3], true);
    else
      e.y = s.out(0), e.indices = s.out(1);
    s.strides(e.x, call.in[0]);
    if (!to) s.strides(e.y, call.out[0]), s.strides(e.indices, call.out[1]);
    e.sizes = s.sizes(order_.lines);
    return e;
  }
  // Item `rank` of a line, as results.
  void give(Shade& s, const Ends& e, const std::vector<U32>& at, U32 rank, I32 place) {
    std::vector<U32> source = at, target = at;
    source[order_.dim] = U32::of(place.id());
    target[order_.dim] = rank;
    s.store_raw(e.y, s.offset(e.y, target), s.load_raw(e.x, s.offset(e.x, source)));
    s.store(e.indices, s.offset(e.indices, target), place.id());
  }

  // Sorts blocks of `width` items of lines of `length`, and writes the first `kept` of each.
  Status add_blocks(const Items* from, int64_t length, int64_t width, int64_t kept, const Items* to) {
    const uint32_t group = m_.gpu.features().group;
    const int64_t lines = count_of(order_.lines), blocks = (length + width - 1) / width;
    // Short lines share a work group.
    const int64_t beside = width < 2 * group ? 2 * group / width : 1, held = beside * width;
    Shade s(m_, group);
    Layout layouts[4];
    const Ends e = open(s, from, to, layouts);
    const U32 n = s.u32(length), count = s.u32(lines * blocks), per_line = s.u32(blocks), keeps = s.u32(kept),
              room = s.u32(to ? to->length : 0);
    s.groups((lines * blocks + beside - 1) / beside);
    s.turns(512);
    Module& module = s.module();
    const Id keys = module.shared(kType<K>, static_cast<uint32_t>(held)),
             places = module.shared(Type::kU32, static_cast<uint32_t>(held));
    const auto get = [&](U32 i) {
      return Item<K>{Vec<K>::of(module.get_shared(kType<K>, keys, i.id())),
                     I32::of(module.get_shared(Type::kU32, places, i.id()))};
    };
    const auto set = [&](U32 i, const Item<K>& item) {
      module.set_shared(kType<K>, keys, i.id(), item.key.id());
      module.set_shared(Type::kU32, places, i.id(), item.place.id());
    };
    const U32 w(static_cast<uint32_t>(width)), first = s.group() * U32(static_cast<uint32_t>(beside));
    // f(place in shared memory, in the block, the line, the block's first element, whether there is such a block)
    const auto each = [&](const auto& f) {
      s.loop(s.local(), U32(static_cast<uint32_t>(held)), U32(group), [&](U32 i) {
        const U32 block = first + i / w, there = smaller(block, count - U32(1));
        f(i, i % w, there / per_line, there % per_line * w, block < count);
      });
    };
    each([&](U32 i, U32 own, U32 line, U32 start, Id) {
      // Behind the last item come some that come after all.
      const U32 j = start + own, inside = smaller(j, n - U32(1));
      Item<K> item;
      if (from) {
        const U32 at = line * n + inside;
        item = {Vec<K>::of(s.load(e.keys, at)), I32::of(s.load(e.places, at))};
      } else {
        const U32 element = s.offset(e.x, s.unravel(line, e.sizes)) + inside * e.x.strides[order_.dim];
        item = {key_of(Vec<T>::of(s.load(e.x, element)), order_.descending), I32::of(inside.id())};
      }
      const I32 there = I32::mask(j < n);
      const Vec<K> last(K(sizeof(K) == 8 ? INT64_MAX : INT32_MAX));
      set(i, {Vec<K>::of(recording->pure(spv::Select, kType<K>, {j < n, item.key.id(), last.id()})),
              select(there, item.place, I32(INT32_MAX))});
    });
    module.barrier();
    uint32_t stages = 0;
    while (int64_t{1} << stages < width) ++stages;
    s.loop(U32(0), U32(stages), U32(1), [&](U32 stage) {
      const U32 run = U32(2) << stage;
      s.loop(U32(0), stage + U32(1), U32(1), [&](U32 step) {
        const U32 apart = U32(1) << (stage - step);
        s.loop(s.local(), U32(static_cast<uint32_t>(held / 2)), U32(group), [&](U32 pair) {
          const U32 low = pair & (apart - U32(1)), i = ((pair - low) << U32(1)) | low, j = i + apart;
          // Runs rise and fall in turn; the last one rises.
          const I32 falls = I32::mask(((i & (w - U32(1))) & run).nonzero());
          const Item<K> a = get(i), b = get(j);
          const I32 wrong = I32::mask(precedes(b, a)), right = I32::mask(precedes(a, b));
          module.when(select(falls, right, wrong).condition(), [&] {
            set(i, b);
            set(j, a);
          });
        });
        module.barrier();
      });
    });
    each([&](U32 i, U32 own, U32 line, U32 start, Id there) {
      // A block that is cut short has fewer, unless the first of each are kept: then those go on that come after all.
      const U32 last = to && kept < width ? keeps : smaller(keeps, n - start);
      module.when(recording->pure(spv::LogicalAnd, Type::kBool, {own < last, there}), [&] {
        const Item<K> item = get(i);
        if (!to) return give(s, e, s.unravel(line, e.sizes), own, item.place);
        const U32 at = line * room + start / w * keeps + own;
        s.store(e.to_keys, at, item.key.id());
        s.store(e.to_places, at, item.place.id());
      });
    });
    return s.finish();
  }

  // Sorted runs of a block each, pair by pair.
  Status merge(Items from) {
    Items to = from;
    for (int64_t run = block_; run < from.length; run *= 2) {
      const bool last = 2 * run >= from.length;
      if (!last && run == block_) to = scratch(from.length);
      const Status status = add_merge(from, run, last ? nullptr : &to);
      if (status != kOk) return status;
      std::swap(from, to);
    }
    return kOk;
  }
  Status add_merge(const Items& from, int64_t run, const Items* to) {
    Shade s(m_);
    Layout layouts[4];
    const Ends e = open(s, &from, to, layouts);
    const U32 n = s.u32(from.length), length = s.u32(run), keeps = s.u32(order_.k), steps = s.u32(steps_of(run));
    s.turns(64);
    s.each(count_of(order_.lines) * from.length, [&](U32 index) {
      const U32 line = index / n, base = line * n, j = index - base, own = j / length, start = own * length;
      const auto get = [&](U32 i) {
        return Item<K>{Vec<K>::of(s.load(e.keys, base + i)), I32::of(s.load(e.places, base + i))};
      };
      const Item<K> item = get(j);
      // The other run of the pair, which may be short or not there at all.
      const U32 other = smaller((own ^ U32(1)) * length, n), end = smaller(other + length, n), count = end - other;
      Var<int32_t> before(I32(0));
      s.loop(U32(0), steps, U32(1), [&](U32 step) {
        const U32 found = U32::of(before.get().id()), next = found + (length >> step);
        const Id fits = next < count + U32(1);
        const U32 probe = other + choose(fits, next, U32(1)) - U32(1);
        const Item<K> that = get(smaller(probe, n - U32(1)));
        const I32 moves = I32::mask(fits) & I32::mask(precedes(that, item));
        before.set(select(moves, I32::of(next.id()), before.get()));
      });
      const U32 rank = (own - (own & U32(1))) * length + (j - start) + U32::of(before.get().id());
      if (to) {
        s.store(e.to_keys, base + rank, item.key.id());
        s.store(e.to_places, base + rank, item.place.id());
      } else {
        s.module().when(rank < keeps, [&] { give(s, e, s.unravel(line, e.sizes), rank, item.place); });
      }
    });
    return s.finish();
  }
  static int64_t steps_of(int64_t run) {  // halvings until 0
    int64_t steps = 1;
    while (run >>= 1) ++steps;
    return steps;
  }

  Maker& m_;
  Order order_;
  int64_t block_;
};

// Values and i32 indices of the first k of each line along dim.
Status make_order(Maker& m, int dim, bool descending) {
  const Call& call = m.call;
  if (call.nin != 1 || call.nout != 2) return kInvalid;
  const Layout &in = call.in[0], &out = call.out[0], &places = call.out[1];
  if (dim < 0 || dim >= in.ndim || out.ndim != in.ndim || places.ndim != in.ndim) return kInvalid;
  if (out.dtype != in.dtype || places.dtype != k_i32) return kUnsupported;
  if (count_of(out) == 0) return kOk;
  Order order = {in, dim, descending, out.shape[dim]};
  order.lines.shape[dim] = 1;
  return visit_compute(compute_dtype(in.dtype), [&](auto zero) { return Sorter<decltype(zero)>(m, order).sort(); });
}

}  // namespace

Status make_sort(Maker& m) {
  if (m.call.nparams != 2) return kInvalid;
  return make_order(m, static_cast<int>(m.call.params[0]), m.call.params[1] != 0);
}
Status make_topk(Maker& m) {
  if (m.call.nparams != 4) return kInvalid;
  return make_order(m, static_cast<int>(m.call.params[1]), m.call.params[2] != 0);
}

}  // namespace brasa::vk
