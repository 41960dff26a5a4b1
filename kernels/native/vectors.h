// Vectors of floats as the compiler knows them, and functions of them. One source serves AVX-512,
// AVX2 and everything else; nothing here depends on the processor it is compiled on.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

// Rows and vectors of a block that stays in registers.
#if defined(__AVX512F__)
constexpr int ROWS = 8, VECTORS = 2;
#elif defined(__AVX2__)
constexpr int ROWS = 4, VECTORS = 2;
#else
constexpr int ROWS = 4, VECTORS = 2;
#endif

#if defined(__AVX512BF16__)
constexpr bool HAS_DOT = true;
#else
constexpr bool HAS_DOT = false;
#endif

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LANES * 2)));

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, decltype(a){__VA_ARGS__})
#endif

#define INLINE static inline __attribute__((always_inline))

template <class V, class T>
INLINE V load(const T *p) {
    V x;
    std::memcpy(&x, p, sizeof(V));
    return x;
}
template <class V, class T>
INLINE void store(T *p, V x) {
    std::memcpy(p, &x, sizeof(V));
}
INLINE vf all(float x) { return x - vf{}; }
INLINE vi bits(vf x) { return (vi)x; }
INLINE vf larger(vf a, vf b) { return a > b ? a : b; }

INLINE vi lane_numbers() {
    vi x;
    for (int i = 0; i < LANES; i++) x[i] = i;
    return x;
}

INLINE float largest(vf x) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)x);
#else
    float top = x[0];
    for (int i = 1; i < LANES; i++) top = x[i] > top ? x[i] : top;
    return top;
#endif
}

INLINE float sum(vf x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    float total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
#endif
}

// 2^x for x <= 0, relative error 2e-7; exactly 0 below -126, which takes in -infinity. What is not a
// number stays so.
INLINE vf exp2_of(vf x) {
    const vf magic = all(12582912.0f);  // 1.5 * 2^23: adding it leaves an integer in the low bits
    vf t = x + magic;
    vf f = x - (t - magic);
    vf y = all(1.5403530394e-4f);
    y = y * f + 1.3333558146e-3f;
    y = y * f + 9.6181291076e-3f;
    y = y * f + 5.5504108665e-2f;
    y = y * f + 2.4022650696e-1f;
    y = y * f + 6.9314718056e-1f;
    y = y * f + 1.0f;
    // not by adding to the exponent, which would make numbers of some that are not
#if defined(__AVX512F__)
    vf scaled = (vf)_mm512_scalef_ps((__m512)y, (__m512)(t - magic));
#else
    vf scaled = y * (vf)(((vu)bits(t) << 23) + 0x3f800000u);
#endif
    return x < all(-126.0f) ? vf{} : scaled;
}

INLINE vf tanh_of(vf x) {
    vf a = x < vf{} ? -x : x;
    vf t = exp2_of(a * -2.885390082f);  // e^(-2a)
    vf big = (1.0f - t) / (1.0f + t);
    vf b = a * a;  // a series near 0, where the quotient cancels
    vf series = -0.33333333f + b * (0.13333333f + b * (-0.05396825f + b * 0.02186949f));
    vf y = a < all(0.3f) ? a * (1.0f + b * series) : big;
    return x < vf{} ? -y : y;
}
