// bfloat16 and float16 to floats and back, rounded to the nearest, ties to even.
#pragma once
#include "vectors.h"

INLINE vf widen_bf16(const uint16_t *p) {
    return (vf)(__builtin_convertvector(load<vh>(p), vu) << 16);
}
INLINE float widen_bf16(uint16_t x) {
    uint32_t wide = uint32_t(x) << 16;
    float y;
    std::memcpy(&y, &wide, 4);
    return y;
}
INLINE uint16_t narrow_bf16(float x) {
    uint32_t b;
    std::memcpy(&b, &x, 4);
    if ((b & 0x7fffffffu) > 0x7f800000u) return uint16_t((b >> 16) | 0x40);  // not a number
    return uint16_t((b + 0x7fffu + ((b >> 16) & 1)) >> 16);
}
INLINE void narrow_bf16(uint16_t *p, vf x) {
#if defined(__AVX512BF16__)
    __m256bh y = _mm512_cvtneps_pbh((__m512)x);
    std::memcpy(p, &y, sizeof y);
#else
    vu b = (vu)bits(x);
    vu rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    vu nan = (b >> 16) | 0x40u;
    vu y = ((b & 0x7fffffffu) > 0x7f800000u) ? nan : rounded;
    store(p, __builtin_convertvector(y, vh));
#endif
}

INLINE float widen_f16(uint16_t x) {
#if defined(__F16C__)
    return _cvtsh_ss(x);
#else
    uint32_t sign = uint32_t(x & 0x8000) << 16, exponent = (x >> 10) & 31, mantissa = x & 1023, b;
    if (exponent == 0) {
        float y = std::ldexp(float(mantissa), -24);
        return sign ? -y : y;
    }
    b = exponent == 31 ? sign | 0x7f800000u | (mantissa << 13)
                       : sign | ((exponent + 112) << 23) | (mantissa << 13);
    float y;
    std::memcpy(&y, &b, 4);
    return y;
#endif
}
INLINE uint16_t narrow_f16(float x) {
#if defined(__F16C__)
    return uint16_t(_cvtss_sh(x, 0));
#else
    uint32_t b;
    std::memcpy(&b, &x, 4);
    uint32_t sign = (b >> 16) & 0x8000u, rest = b & 0x7fffffffu;
    if (rest > 0x7f800000u) return uint16_t(sign | 0x7e00);
    if (rest >= 0x477ff000u) return uint16_t(sign | 0x7c00);  // rounds to infinity
    if (rest < 0x38800000u) {                                // subnormal: let the addition round
        float y;
        std::memcpy(&y, &rest, 4);
        y += 0.5f;
        std::memcpy(&rest, &y, 4);
        return uint16_t(sign | (rest - 0x3f000000u));
    }
    rest += 0xfffu + ((rest >> 13) & 1);
    return uint16_t(sign | ((rest - 0x38000000u) >> 13));
#endif
}
INLINE vf widen_f16(const uint16_t *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(load<__m256i>(p));
#elif defined(__AVX2__) && defined(__F16C__)
    return (vf)_mm256_cvtph_ps(load<__m128i>(p));
#else
    vf y;
    for (int i = 0; i < LANES; i++) y[i] = widen_f16(p[i]);
    return y;
#endif
}

// `count` numbers of a type as floats.
INLINE void widen(float *to, const void *from, int64_t at, int64_t count, int32_t type) {
    if (type == 0) {
        std::memcpy(to, static_cast<const float *>(from) + at, count * sizeof(float));
        return;
    }
    const uint16_t *h = static_cast<const uint16_t *>(from) + at;
    int64_t i = 0;
    if (type == 1) {
        for (; i + LANES <= count; i += LANES) store(to + i, widen_bf16(h + i));
        for (; i < count; i++) to[i] = widen_bf16(h[i]);
    } else {
        for (; i + LANES <= count; i += LANES) store(to + i, widen_f16(h + i));
        for (; i < count; i++) to[i] = widen_f16(h[i]);
    }
}

// `count` numbers of a type that are 0.
INLINE void blank(void *to, int64_t at, int64_t count, int32_t type) {
    int64_t size = type == 0 ? sizeof(float) : sizeof(uint16_t);
    std::memset(static_cast<char *>(to) + at * size, 0, count * size);
}

// `count` floats, times a factor, as numbers of a type.
INLINE void narrow(void *to, int64_t at, const float *from, float factor, int64_t count,
                   int32_t type) {
    if (type == 0) {
        float *f = static_cast<float *>(to) + at;
        for (int64_t i = 0; i < count; i++) f[i] = from[i] * factor;
    } else {
        uint16_t *h = static_cast<uint16_t *>(to) + at;
        for (int64_t i = 0; i < count; i++)
            h[i] = type == 1 ? narrow_bf16(from[i] * factor) : narrow_f16(from[i] * factor);
    }
}
