// SPIR-V written at run time: a compute shader of one function whose argument is one push constant, the address of its
// argument block. Instructions go to the block that is open; equal ones of equal operands are written once.
#pragma once
#include <stdint.h>

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

namespace brasa::vk {

using Id = uint32_t;

// The words of the standard that are used here.
namespace spv {
enum Op : uint16_t {
  Extension = 10,
  ExtInstImport = 11,
  ExtInst = 12,
  MemoryModel = 14,
  EntryPoint = 15,
  ExecutionMode = 16,
  Capability = 17,
  TypeVoid = 19,
  TypeBool = 20,
  TypeInt = 21,
  TypeFloat = 22,
  TypeVector = 23,
  TypeArray = 28,
  TypeStruct = 30,
  TypePointer = 32,
  TypeFunction = 33,
  ConstantTrue = 41,
  ConstantFalse = 42,
  Constant = 43,
  ConstantComposite = 44,
  Function = 54,
  FunctionEnd = 56,
  Variable = 59,
  Load = 61,
  Store = 62,
  AccessChain = 65,
  Decorate = 71,
  MemberDecorate = 72,
  CompositeConstruct = 80,
  CompositeExtract = 81,
  ConvertFToS = 110,
  ConvertSToF = 111,
  ConvertUToF = 112,
  UConvert = 113,
  SConvert = 114,
  FConvert = 115,
  ConvertUToPtr = 120,
  Bitcast = 124,
  SNegate = 126,
  FNegate = 127,
  IAdd = 128,
  FAdd = 129,
  ISub = 130,
  FSub = 131,
  IMul = 132,
  FMul = 133,
  UDiv = 134,
  SDiv = 135,
  FDiv = 136,
  UMod = 137,
  LogicalNotEqual = 165,
  LogicalOr = 166,
  LogicalAnd = 167,
  LogicalNot = 168,
  Select = 169,
  IEqual = 170,
  INotEqual = 171,
  SGreaterThan = 173,
  SGreaterThanEqual = 175,
  UGreaterThanEqual = 174,
  ULessThan = 176,
  SLessThan = 177,
  SLessThanEqual = 179,
  FOrdEqual = 180,
  FUnordNotEqual = 183,
  FOrdLessThan = 184,
  FOrdGreaterThan = 186,
  FOrdLessThanEqual = 188,
  FOrdGreaterThanEqual = 190,
  ShiftRightLogical = 194,
  ShiftRightArithmetic = 195,
  ShiftLeftLogical = 196,
  BitwiseOr = 197,
  BitwiseXor = 198,
  BitwiseAnd = 199,
  Not = 200,
  ControlBarrier = 224,
  AtomicLoad = 227,
  AtomicIAdd = 234,
  AtomicAnd = 240,
  AtomicOr = 241,
  Phi = 245,
  LoopMerge = 246,
  SelectionMerge = 247,
  Label = 248,
  Branch = 249,
  BranchConditional = 250,
  Return = 253,
  GroupNonUniformShuffle = 345,
  TypeCooperativeMatrix = 4456,
  CooperativeMatrixLoad = 4457,
  CooperativeMatrixStore = 4458,
  CooperativeMatrixMulAdd = 4459,
  AtomicFAddEXT = 6035,
};
// Of the instruction set GLSL.std.450.
enum Std : uint32_t { RoundEven = 2, Trunc = 3, Floor = 8, Ceil = 9, Sqrt = 31, Fma = 50 };
enum Storage : uint32_t { Input = 1, Workgroup = 4, Own = 7, PushConstant = 9, PhysicalBuffer = 5349 };
enum Name : uint32_t {
  Shader = 1,
  Float16 = 9,
  Float64 = 10,
  Int64 = 11,
  Int64Atomics = 12,
  GroupNonUniform = 61,
  SubgroupShuffle = 65,
  StorageBuffer16BitAccess = 4433,
  StorageBuffer8BitAccess = 4448,
  SignedZeroInfNanPreserve = 4466,
  RoundingModeRTE = 4467,
  BFloat16Type = 5116,
  BFloat16CooperativeMatrix = 5118,
  VulkanMemoryModel = 5345,
  PhysicalStorageBufferAddresses = 5347,
  CooperativeMatrix = 6022,
  AtomicFloat32AddEXT = 6033,
  AtomicFloat64AddEXT = 6034,
};
enum Mode : uint32_t { LocalSize = 17, PreserveMode = 4461, NearestMode = 4462 };
}  // namespace spv

enum class Type : uint8_t { kVoid, kBool, kU8, kU16, kU32, kU64, kF32, kF64, kU32x4, kCount };

// What a shader may count on: what of floating-point arithmetic the device leaves as the standard says, and types.
struct TargetDevice {
  bool preserve[2] = {}, nearest[2] = {};  // f32, f64
  bool float64 = false, storage8 = false, storage16 = false;
};

class Module {
 public:
  explicit Module(uint32_t group, const TargetDevice& target);
  const TargetDevice& target() const { return target_; }

  Id type(Type t);
  Id constant(Type t, uint64_t bits);
  // In the open block. emit: no result is like another; pure: an equal one that reaches here is answered.
  Id emit(spv::Op op, Type result, std::initializer_list<uint32_t> operands);
  Id pure(spv::Op op, Type result, std::initializer_list<uint32_t> operands);
  Id std_call(spv::Std call, Type result, std::initializer_list<uint32_t> operands);
  Id load(Type t, Id address);  // aligned to the type
  void store(Type t, Id address, Id value);
  // The bits of an element of 8 or 16, in a u32. Where the device has no such storage it is a part of a whole word,
  // whose other parts may be written at the same time.
  Id load_narrow(Type t, Id address);
  void store_narrow(Type t, Id address, Id value);
  // Adds to the number there, of 32 or 64 bits, while others may too; floats by SPV_EXT_shader_atomic_float_add.
  void atomic_add(Type t, Id address, Id value);

  Id argument_block() const { return block_; }   // u64
  Id invocation() const { return invocation_; }  // u32, of the x dimension
  Id invocations() const { return invocations_; }

  // What the invocations of a work group share. subgroup: invocations of one, which are all there; 0: of any number.
  // To be called first of all.
  void open_group(uint32_t subgroup);
  Id group() const { return group_index_; }  // u32, among all of the dispatch
  Id subgroup() const { return subgroup_; }  // u32, of the work group's, where there are any
  Id local() const { return local_; }        // u32, of the invocation in its work group; subgroups one behind the other
  uint32_t locals() const { return group_; }
  Id shared(Type t, uint32_t count);  // an array, of compute types
  Id get_shared(Type t, Id array, Id index);
  void set_shared(Type t, Id array, Id index, Id value);
  void barrier();                         // of the work group and its shared memory
  Id shuffle(Type t, Id value, Id lane);  // the value of that invocation of the subgroup

  // Matrices whose elements the invocations of a subgroup have together (SPV_KHR_cooperative_matrix). A shader with
  // them says so first of all; they are read from and written to shared arrays of kU32x4, of which `at` is the place
  // of the first element and `pitch` how far rows (by_columns: columns) are apart.
  enum class Element : uint8_t { kF16, kBf16, kF32 };
  enum class Role : uint8_t { kLeft, kRight, kSum };
  void open_matrices();
  Id matrix_type(Element element, uint32_t rows, uint32_t columns, Role role);
  Id matrix_variable(Id type);  // zeros
  Id get_matrix(Id type, Id variable);
  Id load_matrix(Id type, Id array, Id at, Id pitch, bool by_columns);
  void store_matrix(Id array, Id at, Id pitch, Id value);  // by rows
  Id multiply_add(Id type, Id left, Id right, Id sum);

  // for (i = first; i < count; i += step) { ... } from here to end_loop(); answers i, a u32, which is
  // the first that is not below count after the loop.
  Id begin_loop(Id first, Id count, Id step);
  void end_loop();
  // Memory of an invocation, which loops may change.
  Id variable(Type t, Id first);
  Id get(Type t, Id variable) { return emit(spv::Load, t, {variable}); }
  void set(Id variable, Id value) { put(body_, spv::Store, {variable, value}); }
  // Runs f() where the condition holds.
  template <class F>
  void when(Id condition, const F& f) {
    const Branch at = begin_branch(condition);
    f();
    end_branch(at);
  }
  // value, but what f() answers where the condition holds.
  template <class F>
  Id branch(Id condition, Type t, Id value, const F& f) {
    const Branch at = begin_branch(condition);
    const Id other = f();
    return end_branch(at, t, value, other);
  }

  std::vector<uint32_t> finish();
  bool uses(Type t) const { return types_[static_cast<int>(t)] != 0; }

 private:
  struct Branch {
    Id from, merge;
    std::map<std::vector<uint32_t>, Id> known;
  };
  using Words = std::vector<uint32_t>;
  static void put(Words& to, spv::Op op, std::initializer_list<uint32_t> words);
  static void put_text(Words& to, spv::Op op, std::initializer_list<uint32_t> words, const char* text);
  Id next() { return bound_++; }
  Id pointer(spv::Storage storage, Id to);
  Id global(spv::Storage storage, Id of, uint32_t built_in);
  Id part_of(Id vector, uint32_t i);
  Id shared_place(Type t, Id array, Id index);
  Id address(Type t, Id from);
  bool stores(Type t) const { return t == Type::kU8 ? target_.storage8 : target_.storage16; }
  struct Part {
    Id word, shift;  // a pointer, bits
  };
  Part part_of_word(Id address);
  Id unique(Words& to, spv::Op op, std::initializer_list<uint32_t> words, Id type_first = 0);
  void label(Id id);
  Branch begin_branch(Id condition);
  Id end_branch(const Branch& at, Type t, Id value, Id other);
  void end_branch(const Branch& at);

  uint32_t bound_ = 1, group_;
  bool matrices_ = false;  // and with them the Vulkan memory model, in which what is shared is said to be
  TargetDevice target_;
  Words capabilities_, extensions_, modes_, decorations_, globals_, variables_, body_;
  Id types_[static_cast<int>(Type::kCount)] = {};
  Id elements_[3] = {};  // of matrices
  std::map<Words, Id> unique_, known_;
  Id std_ = 0, main_ = 0, here_ = 0, block_ = 0, invocation_ = 0, invocations_ = 0;
  Id groups_across_ = 0, group_index_ = 0, local_ = 0, subgroup_ = 0;
  std::vector<Id> interface_;
  struct Loop {
    Id header, merge, further, index, next, step;
    std::map<Words, Id> known;
  };
  std::vector<Loop> loops_;
};

}  // namespace brasa::vk
