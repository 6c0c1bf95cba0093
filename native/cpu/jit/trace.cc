// The op table over values that record: what a program of ops consists of, in intrinsics. Compiled for each instruction
// set that code is generated for, without its flags. The interpreter's formulas are compiled with contraction: a
// product whose every use is a sum or a difference is fused with it. contract() does what the compiler does, so that
// both give the same bits.
#include "trace.h"

#include "traced.h"

namespace brasa::cpu::jit::BRASA_ISA {
namespace {

template <class T>
Vec<T> as_SAME(Vec<T> x) {
  return x.lanes();
}
template <class T>
Vec<T> as_BOOL(typename Vec<T>::Int mask) {
  return select(mask, Vec<T>(T(1)), Vec<T>(T(0)));
}
// The node of an op's result; -1: there is no such op.
template <class E>
int32_t apply(int32_t op, const int32_t* node) {
  using T = Vec<E>;
  const T x = T::of(node[0]), y = T::of(node[1]), z = T::of(node[2]);
  switch (op) {
#define UNARY(number, name, types, result, expr)                     \
  case number:                                                       \
    if constexpr (kTypes_##types<E>) return as_##result<E>(expr).id; \
    break;
#define BINARY UNARY
#define TERNARY UNARY
#define KERNEL(id, name)
#include "../../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
  }
  return -1;
}

// ---- contraction

// Where a node is used among those from `begin` on; the result is used once more, by what follows.
struct Uses {
  std::vector<std::vector<int32_t>> of;
  int32_t begin;
  Uses(const std::vector<Node>& nodes, int32_t begin, int32_t result) : of(nodes.size() - begin), begin(begin) {
    for (int32_t i = begin; i < int32_t(nodes.size()); ++i)
      for (const int32_t x : nodes[i].x)
        if (x >= begin) of[x - begin].push_back(i);
    if (result >= begin) of[result - begin].push_back(-1);
  }
};

bool is_sum(const std::vector<Node>& nodes, int32_t user, int32_t product) {
  if (user < 0) return false;
  const Node& n = nodes[user];
  return (n.code == Code::kAdd || n.code == Code::kSub) && (n.x[0] == product) != (n.x[1] == product);
}

void fuse(Node& sum, int32_t product, bool negated, const Node& factors) {
  const bool first = sum.x[0] == product, minus = sum.code == Code::kSub;
  sum.imm = (negated != (minus && !first) ? kNegateProduct : 0) | (minus && first ? kNegateAddend : 0);
  sum.code = Code::kFma;
  sum.x[2] = sum.x[first ? 1 : 0];
  sum.x[0] = factors.x[0];
  sum.x[1] = factors.x[1];
}

void contract(std::vector<Node>& nodes, int32_t begin, int32_t result) {
  const Uses uses(nodes, begin, result);
  for (int32_t i = begin; i < int32_t(nodes.size()); ++i) {
    const Node product = nodes[i];
    if (product.code != Code::kMul || !is_float(product.type)) continue;
    const std::vector<int32_t>& users = uses.of[i - begin];
    bool all = !users.empty();
    for (const int32_t user : users) {
      if (user >= 0 && nodes[user].code == Code::kNegate) {
        const std::vector<int32_t>& further = uses.of[user - begin];
        all &= further.size() == 1 && is_sum(nodes, further[0], user);
      } else {
        all &= is_sum(nodes, user, i);
      }
    }
    if (!all) continue;
    for (const int32_t user : users) {
      if (nodes[user].code == Code::kNegate)
        fuse(nodes[uses.of[user - begin][0]], user, true, product);
      else
        fuse(nodes[user], i, false, product);
    }
  }
}

// x + -y and the like without the negation; what is left of them, and of ~x, as exclusive or.
void lower(std::vector<Node>& nodes, int32_t begin) {
  const int32_t end = int32_t(nodes.size());
  const auto negation = [&](int32_t i) { return i >= 0 && nodes[i].code == Code::kNegate && is_float(nodes[i].type); };
  for (int32_t i = begin; i < end; ++i) {
    Node n = nodes[i];
    if (n.code == Code::kFma) {
      for (int j = 0; j < 3; ++j)
        if (negation(n.x[j])) {
          n.imm ^= j < 2 ? kNegateProduct : kNegateAddend;
          n.x[j] = nodes[n.x[j]].x[0];
        }
    } else if ((n.code == Code::kAdd || n.code == Code::kSub) && negation(n.x[1])) {
      n.code = n.code == Code::kAdd ? Code::kSub : Code::kAdd;
      n.x[1] = nodes[n.x[1]].x[0];
    }
    nodes[i] = n;
  }
}

// Operands before what uses them, and only what a store needs.
Trace in_order(const Trace& from) {
  Trace to;
  to.lanes = from.lanes;
  std::vector<int32_t> place(from.nodes.size(), -1);
  std::vector<char> needed(from.nodes.size(), 0);
  for (const Store& s : from.stores) needed[s.node] = 1;
  for (size_t i = from.nodes.size(); i-- > 0;)
    if (needed[i])
      for (const int32_t x : from.nodes[i].x)
        if (x >= 0) needed[x] = 1;
  for (size_t i = 0; i < from.nodes.size(); ++i) {
    if (!needed[i]) continue;
    Node n = from.nodes[i];
    for (int32_t& x : n.x)
      if (x >= 0) x = place[x];
    const auto constant = [&](uint64_t bits) {
      to.nodes.push_back(
          {Code::kConstant, int8_t(is_wide(n.type) ? k_i64 : k_i32), false, 0, 0, {-1, -1, -1, -1}, bits});
      return int32_t(to.nodes.size()) - 1;
    };
    if (n.code == Code::kNegate) {
      if (is_float(n.type)) {
        n.code = Code::kXor;
        n.x[1] = constant(n.type == k_f64 ? uint64_t(1) << 63 : uint64_t(1) << 31);
      } else {
        n.code = Code::kSub;
        n.x[1] = n.x[0];
        n.x[0] = constant(0);
      }
    } else if (n.code == Code::kNot && !n.condition) {
      n.code = Code::kXor;
      n.x[1] = constant(is_wide(n.type) ? ~uint64_t(0) : 0xffffffffu);
    }
    place[i] = int32_t(to.nodes.size());
    to.nodes.push_back(n);
  }
  to.stores = from.stores;
  for (Store& s : to.stores) s.node = place[s.node];
  return to;
}

// ---- programs

struct Parts {
  int32_t node[2] = {-1, -1};
};

// A compute type made of an element as it was loaded, and back.
int32_t from_storage(int32_t dtype, int32_t raw) {
  const I32 x = I32::of(raw);
  if (dtype == k_bf16) return (x << 16).id;
  if (dtype == k_bool) return as_BOOL<int32_t>(x != I32(0)).id;
  return raw;
}
int32_t to_storage(int32_t dtype, int32_t value) {
  const I32 b = I32::of(value);
  if (dtype == k_bool) return as_BOOL<int32_t>(b != I32(0)).id;
  if (dtype != k_bf16) return value;
  const F32 x = F32::of(value);
  const I32 rounded = (b + I32(0x7fff) + ((b >> 16) & I32(1))) >> 16;
  return select(x != x, (b >> 16) | I32(0x40), rounded).id;
}

Parts cast(int32_t from, int32_t to, const Parts& x, int32_t parts) {
  Parts y;
  if (from == to) return x;
  if (is_wide(from) == is_wide(to)) {
    for (int p = 0; p < (is_wide(to) ? parts : 1); ++p) y.node[p] = convert(from, to, x.node[p], -1, 0);
  } else if (is_wide(to)) {
    for (int p = 0; p < 2; ++p) y.node[p] = convert(from, to, x.node[0], -1, p);
  } else {
    y.node[0] = convert(from, to, x.node[0], x.node[1], 0);
  }
  return y;
}

}  // namespace

bool record(const Kernel& kernel, Trace* out) {
  Trace trace;
  recorder = Recorder();
  recorder.trace = &trace;
  bool narrow = false;
  for (int32_t r = 0; r < kernel.nregs; ++r) narrow |= !is_wide(kernel.types[r]);
  const int32_t parts = narrow ? 2 : 1;  // vectors of 64-bit lanes
  trace.lanes = BRASA_SIMD_BYTES / (narrow ? 4 : 8);
  const auto count = [&](int32_t type) { return is_wide(type) ? parts : 1; };

  std::vector<Parts> reg(kernel.nregs);
  for (int32_t i = 0; i < kernel.noperands; ++i) {
    const Operand& o = kernel.operands[i];
    if (o.role == kResult) continue;
    const int32_t type = kernel.types[o.reg];
    for (int32_t p = 0; p < count(type); ++p) {
      const bool number = o.role == kNumber;
      const int32_t node = recorder.add(number ? Code::kCell : Code::kLoad, type, -1, -1, -1, i, number ? 0 : p);
      recorder.begin = int32_t(trace.nodes.size());
      reg[o.reg].node[p] = number ? node : from_storage(o.dtype, node);
    }
  }
  for (int32_t k = 0; k < kernel.nsteps; ++k) {
    const Step& step = kernel.steps[k];
    Parts& y = reg[step.out];
    const int32_t from = kernel.types[step.x[0]];
    recorder.begin = int32_t(trace.nodes.size());
    if (step.op == kTruth) {
      Parts truth;
      for (int32_t p = 0; p < count(from); ++p)
        truth.node[p] = visit_compute(from, [&](auto t) {
          using T = decltype(t);
          using I = typename IntOf<T>::type;
          return as_BOOL<I>(Vec<T>::of(reg[step.x[0]].node[p]) != Vec<T>(T(0))).id;
        });
      y = cast(is_wide(from) ? k_i64 : k_i32, k_i32, truth, parts);
      continue;
    }
    if (from != step.type) {
      y = cast(from, step.type, reg[step.x[0]], parts);
      continue;
    }
    for (int32_t p = 0; p < count(step.type); ++p) {
      recorder.begin = int32_t(trace.nodes.size());
      int32_t node[3] = {-1, -1, -1};
      for (int j = 0; j < 3; ++j)
        if (step.x[j] >= 0) node[j] = reg[step.x[j]].node[p];
      recorder.possible = true;
      recorder.rare = -1;
      y.node[p] = visit_compute(step.type, [&](auto t) { return apply<decltype(t)>(step.op, node); });
      if (y.node[p] < 0) return false;
      if (recorder.possible) {
        contract(trace.nodes, recorder.begin, y.node[p]);
        lower(trace.nodes, recorder.begin);
        if (recorder.rare < 0) continue;
      } else {
        trace.nodes.resize(recorder.begin);
      }
      if (step.arity == 0 || step.arity > (recorder.possible ? 2 : 3)) return false;
      const uint64_t loop = reinterpret_cast<uintptr_t>(step.loop);
      Node call = {Code::kCall, int8_t(step.type), false, int8_t(p), step.arity, {node[0], node[1], node[2], -1}, loop};
      if (recorder.possible) {
        call.code = Code::kGuard;
        const int32_t operands[] = {y.node[p], recorder.rare, node[0], node[1]};
        for (int j = 0; j < 4; ++j) call.x[j] = operands[j];
      }
      y.node[p] = int32_t(trace.nodes.size());
      trace.nodes.push_back(call);
    }
  }
  recorder.begin = int32_t(trace.nodes.size());
  for (int32_t i = 0; i < kernel.noperands; ++i) {
    const Operand& o = kernel.operands[i];
    if (o.role != kResult) continue;
    for (int32_t p = 0; p < count(kernel.types[o.reg]); ++p)
      trace.stores.push_back({i, p, to_storage(o.dtype, reg[o.reg].node[p])});
  }
  *out = in_order(trace);
  recorder.trace = nullptr;
  return true;
}

}  // namespace brasa::cpu::jit::BRASA_ISA
