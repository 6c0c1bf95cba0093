// What JavaScript is told of the op table and of devices.
#pragma once
#include <node_api.h>

namespace brasa {

// { ops: [{ id, name, arity, types, result }], dtypes: [{ id, name, bytes, compute }] }; arity 0 is a KERNEL.
napi_value table(napi_env env);
// devices() -> a row for each
napi_value devices(napi_env env, napi_callback_info info);
// kernels(device) -> ids of ops that it has a kernel of
napi_value kernels(napi_env env, napi_callback_info info);

}  // namespace brasa
