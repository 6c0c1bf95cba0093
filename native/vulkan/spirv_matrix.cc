// Cooperative matrices in the shaders that spirv.cc writes.
#include "spirv.h"

namespace brasa::vk {
namespace {

constexpr uint32_t kSubgroupScope = 3, kByRows = 0, kByColumns = 1, kNonPrivate = 32, kBfloat16Encoding = 0;

}  // namespace

void Module::open_matrices() {
  matrices_ = true;
  for (const uint32_t name : {spv::VulkanMemoryModel, spv::CooperativeMatrix})
    put(capabilities_, spv::Capability, {name});
  put_text(extensions_, spv::Extension, {}, "SPV_KHR_cooperative_matrix");
}

Id Module::matrix_type(Element element, uint32_t rows, uint32_t columns, Role role) {
  Id& of = elements_[static_cast<int>(element)];
  if (!of) {
    switch (element) {
      case Element::kF16:
        put(capabilities_, spv::Capability, {spv::Float16});
        of = unique(globals_, spv::TypeFloat, {16});
        break;
      case Element::kBf16:
        for (const uint32_t name : {spv::BFloat16Type, spv::BFloat16CooperativeMatrix})
          put(capabilities_, spv::Capability, {name});
        put_text(extensions_, spv::Extension, {}, "SPV_KHR_bfloat16");
        of = unique(globals_, spv::TypeFloat, {16, kBfloat16Encoding});
        break;
      case Element::kF32:
        of = type(Type::kF32);
    }
  }
  const auto number = [&](uint32_t value) { return constant(Type::kU32, value); };
  return unique(globals_, spv::TypeCooperativeMatrix,
                {of, number(kSubgroupScope), number(rows), number(columns), number(static_cast<uint32_t>(role))});
}

Id Module::matrix_variable(Id type) {
  const Id id = next(), zeros = unique(globals_, spv::ConstantComposite, {constant(Type::kF32, 0)}, type);
  put(variables_, spv::Variable, {pointer(spv::Own, type), id, spv::Own});
  set(id, zeros);
  return id;
}

Id Module::get_matrix(Id type, Id variable) {
  const Id id = next();
  put(body_, spv::Load, {type, id, variable});
  return id;
}

Id Module::load_matrix(Id type, Id array, Id at, Id pitch, bool by_columns) {
  const Id from = shared_place(Type::kU32x4, array, at), id = next();
  const Id order = constant(Type::kU32, by_columns ? kByColumns : kByRows);
  put(body_, spv::CooperativeMatrixLoad, {type, id, from, order, pitch, kNonPrivate});
  return id;
}

void Module::store_matrix(Id array, Id at, Id pitch, Id value) {
  const Id to = shared_place(Type::kU32x4, array, at);
  put(body_, spv::CooperativeMatrixStore, {to, value, constant(Type::kU32, kByRows), pitch, kNonPrivate});
}

Id Module::multiply_add(Id type, Id left, Id right, Id sum) {
  const Id id = next();
  put(body_, spv::CooperativeMatrixMulAdd, {type, id, left, right, sum});
  return id;
}

}  // namespace brasa::vk
