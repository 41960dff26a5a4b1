// The arithmetic of a few queries on rows of a cache, as they lie there: nothing is packed.
#pragma once
#include <algorithm>

#include "abi.h"
#include "numbers.h"

constexpr int64_t STRETCH = 128;  // keys at a time; scores of heads are so far apart
constexpr int64_t AHEAD = 8192;   // bytes to ask memory for before they are read

// Sums of LANES vectors, side by side.
INLINE vf sums_of(const vf (&x)[LANES]) {
#if LANES == 16
    __m512 a[16];
    for (int i = 0; i < 16; i++) a[i] = (__m512)x[i];
    __m512 b[8], c[4];
    for (int i = 0; i < 8; i++)  // pairs within quarters
        b[i] = _mm512_add_ps(_mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]),
                             _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]));
    for (int i = 0; i < 4; i++)
        c[i] = _mm512_add_ps(
            _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b[2 * i]),
                                                _mm512_castps_pd(b[2 * i + 1]))),
            _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b[2 * i]),
                                                _mm512_castps_pd(b[2 * i + 1]))));
    // quarters of c[i] hold partial sums of vectors 4i .. 4i + 3
    __m512 p = _mm512_add_ps(_mm512_shuffle_f32x4(c[0], c[1], 0x88),
                             _mm512_shuffle_f32x4(c[0], c[1], 0xdd));
    __m512 q = _mm512_add_ps(_mm512_shuffle_f32x4(c[2], c[3], 0x88),
                             _mm512_shuffle_f32x4(c[2], c[3], 0xdd));
    return (vf)_mm512_add_ps(_mm512_shuffle_f32x4(p, q, 0x88), _mm512_shuffle_f32x4(p, q, 0xdd));
#else
    vf y;
    for (int i = 0; i < LANES; i++) y[i] = sum(x[i]);
    return y;
#endif
}

template <int TYPE>
INLINE vf read(const void *p, int64_t at) {
    if (TYPE == F32) return load<vf>(static_cast<const float *>(p) + at);
    const uint16_t *h = static_cast<const uint16_t *>(p) + at;
    return TYPE == BF16 ? widen_bf16(h) : widen_f16(h);
}

template <int TYPE>
INLINE float read_one(const void *p, int64_t at) {
    if (TYPE == F32) return static_cast<const float *>(p)[at];
    uint16_t h = static_cast<const uint16_t *>(p)[at];
    return TYPE == BF16 ? widen_bf16(h) : widen_f16(h);
}

// Ask for a row of keys or values that comes later; into the second cache, there is much of it.
// Behind the last row there may be nothing: the address is a number, and asking cannot fail.
INLINE void expect(const void *p, int64_t at, int64_t width, int64_t size) {
    uintptr_t from = reinterpret_cast<uintptr_t>(p) + uintptr_t(at * size);
    for (int64_t x = 0; x < width * size; x += 64)
        __builtin_prefetch(reinterpret_cast<const void *>(from + uintptr_t(x)), 0, 2);
}

// bfloat16 is read in blocks of 2 LANES numbers, as words of two: those at even places are made
// floats by a shift, those at odd ones by a mask. Queries and outputs are kept in that order.
constexpr int64_t BLOCK = 2 * LANES;
INLINE vf even(vu x) { return (vf)(x << 16); }
INLINE vf odd(vu x) { return (vf)(x & 0xffff0000u); }

// How many numbers of a row are in blocks of bfloat16.
template <int TYPE>
INLINE int64_t blocked(int64_t width) {
    return TYPE == BF16 ? width / BLOCK * BLOCK : 0;
}

// From the plain order to that of blocks, or back.
INLINE void reorder(float *x, int64_t count, bool back) {
    float block[BLOCK];
    for (; count >= BLOCK; count -= BLOCK, x += BLOCK) {
        for (int64_t i = 0; i < BLOCK; i++) {
            int64_t split = i % 2 * LANES + i / 2;
            block[back ? i : split] = x[back ? split : i];
        }
        std::memcpy(x, block, sizeof block);
    }
}

// Products of one key with G queries, each `apart` from the next.
template <int TYPE, int G>
INLINE void products(const float *q, int64_t apart, const void *k, int64_t at, int64_t width,
                     vf (&sums)[G]) {
    for (int g = 0; g < G; g++) sums[g] = vf{};
    int64_t y = 0;
    for (; y < blocked<TYPE>(width); y += BLOCK) {
        vu x = load<vu>(static_cast<const uint16_t *>(k) + at + y);
        vf first = even(x), second = odd(x);
        for (int g = 0; g < G; g++) {
            sums[g] += load<vf>(q + g * apart + y) * first;
            sums[g] += load<vf>(q + g * apart + y + LANES) * second;
        }
    }
    for (; y + LANES <= width; y += LANES) {
        vf x = read<TYPE>(k, at + y);
        for (int g = 0; g < G; g++) sums[g] += load<vf>(q + g * apart + y) * x;
    }
    for (; y < width; y++)
        for (int g = 0; g < G; g++) sums[g][0] += q[g * apart + y] * read_one<TYPE>(k, at + y);
}

// Keys or values in the cache: rows of `width` numbers, `stride` apart.
struct Rows {
    const void *at;
    int64_t stride, width;
};

// Scores of a stretch of keys from `first` on, for G heads with queries `apart` from each other.
template <int TYPE, int G>
INLINE void scores(const float *q, int64_t apart, const Rows &k, int64_t first, int64_t count,
                   bool fetch, float *s) {
    constexpr int64_t size = TYPE == F32 ? 4 : 2;
    int64_t ahead = AHEAD / (k.width * size) + 1;
    for (int64_t j = 0; j < count; j += LANES) {
        int64_t some = std::min<int64_t>(LANES, count - j);
        vf sums[G][LANES];
        for (int64_t x = 0; x < LANES; x++) {
            // behind the end the last key is read again
            int64_t at = first + (j + std::min(x, some - 1)) * k.stride;
            if (fetch) expect(k.at, at + ahead * k.stride, k.width, size);
            vf own[G];
            products<TYPE, G>(q, apart, k.at, at, k.width, own);
            for (int g = 0; g < G; g++) sums[g][x] = own[g];
        }
        for (int g = 0; g < G; g++) store(s + g * STRETCH + j, sums_of(sums[g]));
    }
}

// Adds N vectors of weighted values to the outputs of G heads; of bfloat16 where N is even, in the
// order of blocks.
template <int TYPE, int G, int N>
INLINE void values(const float *p, const Rows &v, int64_t first, int64_t count, float *o,
                   int64_t apart) {
    constexpr int64_t size = TYPE == F32 ? 4 : 2;
    int64_t ahead = AHEAD / (v.width * size) + 1;
    vf sums[G][N];
    for (int g = 0; g < G; g++)
        for (int x = 0; x < N; x++) sums[g][x] = load<vf>(o + g * apart + x * LANES);
    for (int64_t j = 0; j < count; j++) {
        int64_t at = first + j * v.stride;
        expect(v.at, at + ahead * v.stride, N * LANES, size);
        vf row[N];
        if constexpr (TYPE == BF16 && N % 2 == 0) {
            for (int x = 0; x < N; x += 2) {
                vu y = load<vu>(static_cast<const uint16_t *>(v.at) + at + x * LANES);
                row[x] = even(y);
                row[x + 1] = odd(y);
            }
        } else {
            for (int x = 0; x < N; x++) row[x] = read<TYPE>(v.at, at + x * LANES);
        }
        for (int g = 0; g < G; g++)
            for (int x = 0; x < N; x++) sums[g][x] += p[g * STRETCH + j] * row[x];
    }
    for (int g = 0; g < G; g++)
        for (int x = 0; x < N; x++) store(o + g * apart + x * LANES, sums[g][x]);
}

template <int TYPE, int G>
INLINE void add_values(const float *p, const Rows &v, int64_t first, int64_t count, float *o,
                       int64_t apart) {
    constexpr int N = LANES >= 16 ? 4 : 2;  // with G = 4 they fill half of the registers
    int64_t x = 0;
    for (; x + N * LANES <= v.width; x += N * LANES)
        values<TYPE, G, N>(p, v, first + x, count, o + x, apart);
    for (; x + 2 * LANES <= v.width; x += 2 * LANES)
        values<TYPE, G, 2>(p, v, first + x, count, o + x, apart);
    for (; x + LANES <= v.width; x += LANES)
        values<TYPE, G, 1>(p, v, first + x, count, o + x, apart);
    for (; x < v.width; x++)
        for (int g = 0; g < G; g++)
            for (int64_t j = 0; j < count; j++)
                o[g * apart + x] +=
                    p[g * STRETCH + j] * read_one<TYPE>(v.at, first + j * v.stride + x);
}
