#include "addon_table.h"

#include "cpu/isa.h"
#include "cpu/jit/jit.h"
#include "device.h"
#include "napi.h"

namespace brasa {

napi_value table(napi_env env) {
  napi_value out, ops, dtypes;
  napi_create_object(env, &out);
  napi_create_array(env, &ops);
  napi_create_array(env, &dtypes);
  uint32_t count = 0;
  auto op = [&](int id, const char* name, int arity, const char* types, const char* result) {
    napi_value row;
    napi_create_object(env, &row);
    set(env, row, "id", number(env, id));
    set(env, row, "name", string(env, name));
    set(env, row, "arity", number(env, arity));
    set(env, row, "types", string(env, types));
    set(env, row, "result", string(env, result));
    napi_set_element(env, ops, count++, row);
  };
#define UNARY(id, name, types, result, expr) op(id, #name, 1, #types, #result);
#define BINARY(id, name, types, result, expr) op(id, #name, 2, #types, #result);
#define TERNARY(id, name, types, result, expr) op(id, #name, 3, #types, #result);
#define KERNEL(id, name) op(id, #name, 0, "", "");
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
  count = 0;
  auto dtype = [&](int id, const char* name, int bytes, const char* compute) {
    napi_value row;
    napi_create_object(env, &row);
    set(env, row, "id", number(env, id));
    set(env, row, "name", string(env, name));
    set(env, row, "bytes", number(env, bytes));
    set(env, row, "compute", string(env, compute));
    napi_set_element(env, dtypes, count++, row);
  };
#define DTYPE(id, name, ctype, bytes, compute) dtype(id, #name, bytes, #compute);
#include "dtypes.def"
#undef DTYPE
  set(env, out, "ops", ops);
  set(env, out, "dtypes", dtypes);
  return out;
}

napi_value devices(napi_env env, napi_callback_info) {
  napi_value out;
  napi_create_array(env, &out);
  for (int i = 0; i < device_count(); ++i) {
    DeviceInfo d;
    const Backend& backend = device(i)->backend;
    backend.info(backend.self, &d);
    napi_value object;
    napi_create_object(env, &object);
    set(env, object, "backend", string(env, backend.name));
    set(env, object, "name", string(env, d.name));
    set(env, object, "isa", string(env, d.isa));
    set(env, object, "memoryTotal", number(env, static_cast<double>(d.memory_total)));
    set(env, object, "memoryFree", number(env, static_cast<double>(d.memory_free)));
    set(env, object, "threads", number(env, d.threads));
    set(env, object, "emulated", number(env, d.emulated));
    set(env, object, "messages", number(env, static_cast<double>(d.messages)));
    set(env, object, "dtypes", number(env, d.dtypes));
    set(env, object, "type", string(env, d.type));
    set(env, object, "objects", number(env, static_cast<double>(d.objects)));
    set(env, object, "vnni", number(env, i == 0 && cpu::has_vnni()));
    set(env, object, "bf16", number(env, i == 0 && cpu::has_bf16()));
    set(env, object, "code", string(env, i == 0 ? cpu::jit::state() : ""));
    napi_set_element(env, out, i, object);
  }
  return out;
}

napi_value kernels(napi_env env, napi_callback_info info) {
  const ArgumentsOf<void> args(env, info);
  napi_value out;
  napi_create_array(env, &out);
  const Device* on = device(args.integer(0));
  uint32_t count = 0;
  const auto add = [&](int32_t op) {
    if (on && on->backend.has(on->backend.self, op)) napi_set_element(env, out, count++, number(env, op));
  };
#define KERNEL(id, name) add(id);
#define UNARY(id, name, types, result, expr)
#define BINARY UNARY
#define TERNARY UNARY
#include "ops.def"
#undef KERNEL
#undef UNARY
#undef BINARY
#undef TERNARY
  return out;
}

}  // namespace brasa
