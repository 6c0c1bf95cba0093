// Node-API in few words, for addon.cc.
#pragma once
#include <node_api.h>
#include <stdint.h>

namespace brasa {
namespace {

inline napi_value number(napi_env env, double value) {
  napi_value out;
  napi_create_double(env, value, &out);
  return out;
}

inline void set(napi_env env, napi_value object, const char* key, napi_value value) {
  napi_set_named_property(env, object, key, value);
}

inline napi_value string(napi_env env, const char* text) {
  napi_value out;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &out);
  return out;
}

inline napi_value view(napi_env env, napi_typedarray_type type, size_t length, napi_value buffer, size_t offset) {
  napi_value out;
  napi_create_typedarray(env, type, length, buffer, offset, &out);
  return out;
}

// What a function was called with, and the environment given when it was made.
template <class Env>
struct ArgumentsOf {
  napi_value values[8];
  size_t count = 8;
  Env* env = nullptr;
  napi_env napi;
  ArgumentsOf(napi_env n, napi_callback_info info) : napi(n) {
    napi_get_cb_info(n, info, &count, values, nullptr, reinterpret_cast<void**>(&env));
  }
  double number(size_t i) const {
    double value = 0;
    if (i < count) napi_get_value_double(napi, values[i], &value);
    return value;
  }
  int32_t integer(size_t i) const { return static_cast<int32_t>(number(i)); }
  // The bytes of a typed array; empty for anything else.
  uint8_t* bytes(size_t i, size_t* length) const {
    static const int kItem[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
    void* data = nullptr;
    napi_typedarray_type type;
    *length = 0;
    size_t count_items = 0;
    if (i < count &&
        napi_get_typedarray_info(napi, values[i], &type, &count_items, &data, nullptr, nullptr) == napi_ok) {
      *length = count_items * (type < 11 ? kItem[type] : 0);
    }
    return static_cast<uint8_t*>(data);
  }
};

// For Slots::sweep. Handles are given back now and then: a sweep may ask for millions.
struct Weak {
  static constexpr int kBatch = 4096;
  napi_env env;
  napi_handle_scope scope = nullptr;
  int asked = 0;

  explicit Weak(napi_env e) : env(e) { napi_open_handle_scope(env, &scope); }
  ~Weak() { napi_close_handle_scope(env, scope); }
  bool alive(void* ref) {
    if (++asked % kBatch == 0) {
      napi_close_handle_scope(env, scope);
      napi_open_handle_scope(env, &scope);
    }
    napi_value value = nullptr;
    napi_get_reference_value(env, static_cast<napi_ref>(ref), &value);
    return value != nullptr;
  }
  void forget(void* ref) { napi_delete_reference(env, static_cast<napi_ref>(ref)); }
};

inline napi_ref weak_reference(napi_env env, napi_value object) {
  napi_ref ref = nullptr;
  napi_create_reference(env, object, 0, &ref);
  return ref;
}

}  // namespace
}  // namespace brasa
