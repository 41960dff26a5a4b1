// What the kernels are called with: plain C, so that no headers of torch or Python are needed.
// abi.py declares the same records for ctypes; `lc_abi` guards against a library of another shape.
#pragma once
#include <cstdint>

constexpr int32_t ABI = 3;

// The libraries show these functions and nothing else: several of them may be loaded at once.
#define EXPORT extern "C" __attribute__((visibility("default")))

enum Type : int32_t { F32 = 0, BF16 = 1, F16 = 2 };
enum Kind : int32_t { ADD = 0, GAIN = 1, WEIGH = 2 };

enum Status : int32_t {
    OK = 0,
    BAD_SHAPE = 1,    // sizes that are negative or do not fit each other
    BAD_LISTS = 2,    // tile lists or ranges that do not ascend, or point outside
    NO_MEMORY = 3,
};

// u_i w_j of an edit. Strides in numbers: over the batch, over heads; 0 where shared.
struct Term {
    int32_t kind;
    int32_t unused;
    const float *u;  // [m], or null for 1
    const float *w;  // [n]
    int64_t u_stride[2];
    int64_t w_stride[2];
};

struct Call {
    const void *q, *k, *v;  // strides below: batch, head, row, in elements; the last one is 1
    void *o;
    float *lse;  // [B, H, m], or null
    int64_t q_stride[3], k_stride[3], v_stride[3], o_stride[3];
    int64_t batch, heads, kv_heads, m, n, d, e;
    int32_t type, threads;
    float scale, softcap;  // softcap 0: none
    // tiles (prefill) or ranges (decode)
    int32_t q_tile, k_tile, planes, unused;
    const int32_t *starts;
    const int32_t *columns;  // prefill: [count]; decode: pairs [count, 2]
    const int32_t *masks;    // prefill: [count]
    const uint8_t *bitmaps;  // prefill: [bitmap_count, q_tile, k_tile / 8]
    int64_t start_count, count, bitmap_count;
    const Term *terms;
    int64_t term_count;
    const float *head_scale;  // [B or 1, H], or null
    int64_t head_scale_stride;
};
