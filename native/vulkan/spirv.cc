#include "spirv.h"

#include <string.h>

namespace brasa::vk {
namespace {

constexpr uint32_t kBlock = 2, kBuiltIn = 11, kOffset = 35, kNoContraction = 42;
constexpr uint32_t kAligned = 2, kPhysicalBuffer64 = 5348, kGlsl450 = 1, kVulkan = 3, kNonPrivate = 32;
constexpr uint32_t kNumWorkgroups = 24, kWorkgroupId = 26, kGlobalInvocationId = 28, kLocalInvocationIndex = 29,
                   kSubgroupId = 40, kSubgroupLocalInvocationId = 41;
constexpr uint32_t kWorkgroupScope = 2, kSubgroupScope = 3, kAcquireRelease = 8, kWorkgroupMemory = 256,
                   kMakeAvailable = 0x2000, kMakeVisible = 0x4000;

constexpr uint32_t kDeviceScope = 1;

bool is_float(Type t) { return t == Type::kF32 || t == Type::kF64; }
uint32_t bytes_of(Type t) {
  static const uint32_t bytes[] = {0, 0, 1, 2, 4, 8, 4, 8, 16};
  return bytes[static_cast<int>(t)];
}
uint32_t mask_of(Type t) { return t == Type::kU8 ? 0xff : 0xffff; }
// Whether the result may differ when it is computed together with others: forbidden, as math.inl counts on each.
bool contracts(spv::Op op) {
  return op == spv::FAdd || op == spv::FSub || op == spv::FMul || op == spv::FDiv || op == spv::FNegate ||
         op == spv::ExtInst;
}

}  // namespace

void Module::put(Words& to, spv::Op op, std::initializer_list<uint32_t> words) {
  to.push_back(static_cast<uint32_t>(words.size() + 1) << 16 | op);
  to.insert(to.end(), words);
}

void Module::put_text(Words& to, spv::Op op, std::initializer_list<uint32_t> words, const char* text) {
  Words packed(strlen(text) / 4 + 1);
  memcpy(packed.data(), text, strlen(text));
  to.push_back(static_cast<uint32_t>(words.size() + packed.size() + 1) << 16 | op);
  to.insert(to.end(), words);
  to.insert(to.end(), packed.begin(), packed.end());
}

Id Module::unique(Words& to, spv::Op op, std::initializer_list<uint32_t> words, Id type_first) {
  Words key = {op, type_first};
  key.insert(key.end(), words);
  Id& known = unique_[key];
  if (known) return known;
  known = next();
  to.push_back(static_cast<uint32_t>(words.size() + (type_first ? 3 : 2)) << 16 | op);
  if (type_first) to.push_back(type_first);
  to.push_back(known);
  to.insert(to.end(), words);
  return known;
}

Id Module::type(Type t) {
  Id& known = types_[static_cast<int>(t)];
  if (known) return known;
  switch (t) {
    case Type::kVoid:
      return known = unique(globals_, spv::TypeVoid, {});
    case Type::kBool:
      return known = unique(globals_, spv::TypeBool, {});
    case Type::kU8:
      put(capabilities_, spv::Capability, {spv::StorageBuffer8BitAccess});
      break;
    case Type::kU16:
      put(capabilities_, spv::Capability, {spv::StorageBuffer16BitAccess});
      break;
    case Type::kF64:
      put(capabilities_, spv::Capability, {spv::Float64});
      break;
    case Type::kU32x4:
      return known = unique(globals_, spv::TypeVector, {type(Type::kU32), 4});
    default:
      break;
  }
  const uint32_t bits = bytes_of(t) * 8;
  if (!is_float(t)) return known = unique(globals_, spv::TypeInt, {bits, 0});
  known = unique(globals_, spv::TypeFloat, {bits});
  const int wide = t == Type::kF64;
  if (target_.preserve[wide]) put(modes_, spv::ExecutionMode, {main_, spv::PreserveMode, bits});
  if (target_.nearest[wide]) put(modes_, spv::ExecutionMode, {main_, spv::NearestMode, bits});
  return known;
}

Id Module::constant(Type t, uint64_t bits) {
  if (t == Type::kBool) return unique(globals_, bits ? spv::ConstantTrue : spv::ConstantFalse, {}, type(t));
  const auto low = static_cast<uint32_t>(bits), high = static_cast<uint32_t>(bits >> 32);
  if (t == Type::kU32x4) {
    const Id part = constant(Type::kU32, bits);
    return unique(globals_, spv::ConstantComposite, {part, part, part, part}, type(t));
  }
  if (bytes_of(t) == 8) return unique(globals_, spv::Constant, {low, high}, type(t));
  return unique(globals_, spv::Constant, {low}, type(t));
}

Id Module::pointer(spv::Storage storage, Id to) { return unique(globals_, spv::TypePointer, {storage, to}); }

Module::Module(uint32_t group, const TargetDevice& target) : group_(group), target_(target) {
  main_ = next();
  std_ = next();
  for (const uint32_t name : {spv::Shader, spv::Int64, spv::PhysicalStorageBufferAddresses})
    put(capabilities_, spv::Capability, {name});
  bool preserve = false, nearest = false;
  for (int i = 0; i < 2; ++i) preserve |= target.preserve[i], nearest |= target.nearest[i];
  if (preserve) put(capabilities_, spv::Capability, {spv::SignedZeroInfNanPreserve});
  if (nearest) put(capabilities_, spv::Capability, {spv::RoundingModeRTE});

  const Id u32 = type(Type::kU32), u64 = type(Type::kU64);
  const Id u32x3 = unique(globals_, spv::TypeVector, {u32, 3});
  const Id push = next();
  put(globals_, spv::TypeStruct, {push, u64});
  put(decorations_, spv::Decorate, {push, kBlock});
  put(decorations_, spv::MemberDecorate, {push, 0, kOffset, 0});
  const Id arguments = global(spv::PushConstant, push, 0);
  const Id number = global(spv::Input, u32x3, kGlobalInvocationId);
  const Id groups = global(spv::Input, u32x3, kNumWorkgroups);

  const Id function = unique(globals_, spv::TypeFunction, {type(Type::kVoid)});
  // Variables come first in the first block.
  put(variables_, spv::Function, {type(Type::kVoid), main_, 0, function});
  here_ = next();
  put(variables_, spv::Label, {here_});
  const Id at = next();
  put(body_, spv::AccessChain, {pointer(spv::PushConstant, u64), at, arguments, constant(Type::kU32, 0)});
  block_ = emit(spv::Load, Type::kU64, {at});
  invocation_ = part_of(number, 0);
  groups_across_ = part_of(groups, 0);
  invocations_ = emit(spv::IMul, Type::kU32, {groups_across_, constant(Type::kU32, group)});
}

Id Module::global(spv::Storage storage, Id of, uint32_t built_in) {
  const Id id = next();
  put(globals_, spv::Variable, {pointer(storage, of), id, storage});
  if (built_in) put(decorations_, spv::Decorate, {id, kBuiltIn, built_in});
  interface_.push_back(id);
  return id;
}

// Of a vector of three that is a global.
Id Module::part_of(Id vector, uint32_t i) {
  const Id loaded = next();
  put(body_, spv::Load, {unique(globals_, spv::TypeVector, {type(Type::kU32), 3}), loaded, vector});
  return emit(spv::CompositeExtract, Type::kU32, {loaded, i});
}

void Module::open_group(uint32_t subgroup) {
  const Id u32 = type(Type::kU32),
           number = global(spv::Input, unique(globals_, spv::TypeVector, {u32, 3}), kWorkgroupId);
  const Id above = emit(spv::IMul, Type::kU32, {part_of(number, 1), groups_across_});
  group_index_ = emit(spv::IAdd, Type::kU32, {part_of(number, 0), above});
  const auto input = [&](uint32_t built_in) {
    return emit(spv::Load, Type::kU32, {global(spv::Input, u32, built_in)});
  };
  if (!subgroup) {
    local_ = input(kLocalInvocationIndex);
    return;
  }
  put(capabilities_, spv::Capability, {spv::GroupNonUniform});
  put(capabilities_, spv::Capability, {spv::SubgroupShuffle});
  subgroup_ = input(kSubgroupId);
  const Id before = emit(spv::IMul, Type::kU32, {subgroup_, constant(Type::kU32, subgroup)});
  local_ = emit(spv::IAdd, Type::kU32, {before, input(kSubgroupLocalInvocationId)});
}

Id Module::shared(Type t, uint32_t count) {
  return global(spv::Workgroup, unique(globals_, spv::TypeArray, {type(t), constant(Type::kU32, count)}), 0);
}
Id Module::shared_place(Type t, Id array, Id index) {
  const Id to = pointer(spv::Workgroup, type(t)), id = next();
  put(body_, spv::AccessChain, {to, id, array, index});
  return id;
}
Id Module::get_shared(Type t, Id array, Id index) {
  const Id at = shared_place(t, array, index);
  return matrices_ ? emit(spv::Load, t, {at, kNonPrivate}) : emit(spv::Load, t, {at});
}
void Module::set_shared(Type t, Id array, Id index, Id value) {
  const Id at = shared_place(t, array, index);
  if (matrices_)
    put(body_, spv::Store, {at, value, kNonPrivate});
  else
    put(body_, spv::Store, {at, value});
}

void Module::barrier() {
  const Id scope = constant(Type::kU32, kWorkgroupScope);
  const uint32_t shown = matrices_ ? kMakeAvailable | kMakeVisible : 0;
  put(body_, spv::ControlBarrier, {scope, scope, constant(Type::kU32, kAcquireRelease | kWorkgroupMemory | shown)});
}

Id Module::shuffle(Type t, Id value, Id lane) {
  return emit(spv::GroupNonUniformShuffle, t, {constant(Type::kU32, kSubgroupScope), value, lane});
}

void Module::label(Id id) {
  put(body_, spv::Label, {id});
  here_ = id;
}

Id Module::emit(spv::Op op, Type result, std::initializer_list<uint32_t> operands) {
  const Id t = type(result), id = next();
  body_.push_back(static_cast<uint32_t>(operands.size() + 3) << 16 | op);
  body_.push_back(t);
  body_.push_back(id);
  body_.insert(body_.end(), operands);
  if (contracts(op) && is_float(result)) put(decorations_, spv::Decorate, {id, kNoContraction});
  return id;
}

Id Module::pure(spv::Op op, Type result, std::initializer_list<uint32_t> operands) {
  Words key = {op, static_cast<uint32_t>(result)};
  key.insert(key.end(), operands);
  Id& known = known_[key];
  if (!known) known = emit(op, result, operands);
  return known;
}

Id Module::std_call(spv::Std call, Type result, std::initializer_list<uint32_t> operands) {
  Words key = {spv::ExtInst, static_cast<uint32_t>(result), call};
  key.insert(key.end(), operands);
  Id& known = known_[key];
  if (known) return known;
  const Id t = type(result);
  known = next();
  body_.push_back(static_cast<uint32_t>(operands.size() + 5) << 16 | spv::ExtInst);
  body_.insert(body_.end(), {t, known, std_, call});
  body_.insert(body_.end(), operands);
  put(decorations_, spv::Decorate, {known, kNoContraction});
  return known;
}

Id Module::address(Type t, Id from) {
  const Id to = pointer(spv::PhysicalBuffer, type(t)), id = next();
  put(body_, spv::ConvertUToPtr, {to, id, from});
  return id;
}

Id Module::load(Type t, Id from) {
  const Id at = address(t, from), id = next();
  put(body_, spv::Load, {type(t), id, at, kAligned, bytes_of(t)});
  return id;
}

void Module::store(Type t, Id to, Id value) {
  const Id at = address(t, to);
  put(body_, spv::Store, {at, value, kAligned, bytes_of(t)});
}

Module::Part Module::part_of_word(Id from) {
  const Id three = constant(Type::kU64, 3), inside = pure(spv::BitwiseAnd, Type::kU64, {from, three});
  const Id bytes = pure(spv::UConvert, Type::kU32, {inside});
  return {address(Type::kU32, pure(spv::ISub, Type::kU64, {from, inside})),
          pure(spv::ShiftLeftLogical, Type::kU32, {bytes, constant(Type::kU32, 3)})};
}

Id Module::load_narrow(Type t, Id from) {
  if (stores(t)) return emit(spv::UConvert, Type::kU32, {load(t, from)});
  const Part part = part_of_word(from);
  const Id scope = constant(Type::kU32, kDeviceScope), relaxed = constant(Type::kU32, 0);
  const Id word = emit(spv::AtomicLoad, Type::kU32, {part.word, scope, relaxed});
  const Id low = emit(spv::ShiftRightLogical, Type::kU32, {word, part.shift});
  return emit(spv::BitwiseAnd, Type::kU32, {low, constant(Type::kU32, mask_of(t))});
}

void Module::store_narrow(Type t, Id to, Id value) {
  if (stores(t)) return store(t, to, emit(spv::UConvert, t, {value}));
  const Part part = part_of_word(to);
  const Id scope = constant(Type::kU32, kDeviceScope), relaxed = constant(Type::kU32, 0);
  const Id mask = constant(Type::kU32, mask_of(t));
  const auto shifted = [&](Id x) { return emit(spv::ShiftLeftLogical, Type::kU32, {x, part.shift}); };
  const Id others = emit(spv::Not, Type::kU32, {shifted(mask)});
  const Id own = shifted(emit(spv::BitwiseAnd, Type::kU32, {value, mask}));
  emit(spv::AtomicAnd, Type::kU32, {part.word, scope, relaxed, others});
  emit(spv::AtomicOr, Type::kU32, {part.word, scope, relaxed, own});
}

void Module::atomic_add(Type t, Id to, Id value) {
  static const uint32_t needs[] = {0, spv::Int64Atomics, spv::AtomicFloat32AddEXT, spv::AtomicFloat64AddEXT};
  const uint32_t capability = needs[static_cast<int>(t) - static_cast<int>(Type::kU32)];
  if (capability) put(capabilities_, spv::Capability, {capability});  // (which may be said twice)
  if (is_float(t)) put_text(extensions_, spv::Extension, {}, "SPV_EXT_shader_atomic_float_add");
  const Id scope = constant(Type::kU32, kDeviceScope), relaxed = constant(Type::kU32, 0);
  emit(is_float(t) ? spv::AtomicFAddEXT : spv::AtomicIAdd, t, {address(t, to), scope, relaxed, value});
}

Id Module::variable(Type t, Id first) {
  const Id of = pointer(spv::Own, type(t)), id = next();
  put(variables_, spv::Variable, {of, id, spv::Own});
  set(id, first);
  return id;
}

Id Module::begin_loop(Id first, Id count, Id step) {
  const Loop loop = {next(), next(), next(), next(), next(), step, known_};
  const Id body = next(), inside = next(), before = here_;
  put(body_, spv::Branch, {loop.header});
  label(loop.header);
  put(body_, spv::Phi, {type(Type::kU32), loop.index, first, before, loop.next, loop.further});
  put(body_, spv::ULessThan, {type(Type::kBool), inside, loop.index, count});
  put(body_, spv::LoopMerge, {loop.merge, loop.further, 0});
  put(body_, spv::BranchConditional, {inside, body, loop.merge});
  label(body);
  loops_.push_back(loop);
  return loop.index;
}

void Module::end_loop() {
  const Loop loop = loops_.back();
  loops_.pop_back();
  put(body_, spv::Branch, {loop.further});
  label(loop.further);
  put(body_, spv::IAdd, {type(Type::kU32), loop.next, loop.index, loop.step});
  put(body_, spv::Branch, {loop.header});
  label(loop.merge);
  known_ = loop.known;
}

Module::Branch Module::begin_branch(Id condition) {
  const Branch at = {here_, next(), known_};
  const Id taken = next();
  put(body_, spv::SelectionMerge, {at.merge, 0});
  put(body_, spv::BranchConditional, {condition, taken, at.merge});
  label(taken);
  return at;
}

Id Module::end_branch(const Branch& at, Type t, Id value, Id other) {
  const Id taken = here_;
  put(body_, spv::Branch, {at.merge});
  label(at.merge);
  known_ = at.known;
  return emit(spv::Phi, t, {value, at.from, other, taken});
}

void Module::end_branch(const Branch& at) {
  put(body_, spv::Branch, {at.merge});
  label(at.merge);
  known_ = at.known;
}

std::vector<uint32_t> Module::finish() {
  put(body_, spv::Return, {});
  put(body_, spv::FunctionEnd, {});
  Words head = {0x07230203, 0x00010500, 0, bound_, 0};  // SPIR-V 1.5, which Vulkan 1.2 takes
  head.insert(head.end(), capabilities_.begin(), capabilities_.end());
  head.insert(head.end(), extensions_.begin(), extensions_.end());
  put_text(head, spv::ExtInstImport, {std_}, "GLSL.std.450");
  put(head, spv::MemoryModel, {kPhysicalBuffer64, matrices_ ? kVulkan : kGlsl450});
  constexpr uint32_t kCompute = 5;
  Words entry;
  put_text(entry, spv::EntryPoint, {kCompute, main_}, "main");
  entry.insert(entry.end(), interface_.begin(), interface_.end());
  entry[0] += static_cast<uint32_t>(interface_.size()) << 16;
  head.insert(head.end(), entry.begin(), entry.end());
  put(head, spv::ExecutionMode, {main_, spv::LocalSize, group_, 1, 1});
  for (const Words* part : {&modes_, &decorations_, &globals_, &variables_, &body_})
    head.insert(head.end(), part->begin(), part->end());
  return head;
}

}  // namespace brasa::vk
