// The two products of a tile, S = Q K^T and O += P V, in blocks of rows and vectors that stay in
// registers. K comes packed: number by number of the width, the keys of a tile side by side.
#pragma once
#include "vectors.h"

// s[ROWS, LANES * N] = sum_x q[row, x] k[x, key]
template <int N>
INLINE void block_scores(const float *q, int64_t q_row, const float *k, int64_t k_tile,
                         int64_t width, float *s) {
    vf sums[ROWS][N] = {};
    for (int64_t x = 0; x < width; x++) {
        vf keys[N];
        for (int c = 0; c < N; c++) keys[c] = load<vf>(k + x * k_tile + c * LANES);
        for (int r = 0; r < ROWS; r++) {
            float one = q[r * q_row + x];
            for (int c = 0; c < N; c++) sums[r][c] += one * keys[c];
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < N; c++) store(s + r * k_tile + c * LANES, sums[r][c]);
}

// o[ROWS, LANES * N] += sum_key p[row, key] v[key, ...]
template <int N>
INLINE void block_values(const float *p, int64_t p_row, const float *v, int64_t v_row, int64_t keys,
                         float *o, int64_t o_row) {
    vf sums[ROWS][N];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < N; c++) sums[r][c] = load<vf>(o + r * o_row + c * LANES);
    for (int64_t j = 0; j < keys; j++) {
        vf values[N];
        for (int c = 0; c < N; c++) values[c] = load<vf>(v + j * v_row + c * LANES);
        for (int r = 0; r < ROWS; r++) {
            float one = p[r * p_row + j];
            for (int c = 0; c < N; c++) sums[r][c] += one * values[c];
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < N; c++) store(o + r * o_row + c * LANES, sums[r][c]);
}

#if defined(__AVX512BF16__)
INLINE __m512 dot(__m512 sum, uint32_t pair, __m512i pairs) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(int(pair)), (__m512bh)pairs);
}

// The same on pairs of bfloat16: `width` and `keys` count pairs.
template <int N>
INLINE void block_scores(const uint32_t *q, int64_t q_row, const uint32_t *k, int64_t k_tile,
                         int64_t width, float *s) {
    __m512 sums[ROWS][N];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < N; c++) sums[r][c] = _mm512_setzero_ps();
    for (int64_t x = 0; x < width; x++) {
        __m512i keys[N];
        for (int c = 0; c < N; c++) keys[c] = load<__m512i>(k + x * k_tile + c * LANES);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < N; c++) sums[r][c] = dot(sums[r][c], q[r * q_row + x], keys[c]);
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < N; c++) store(s + r * k_tile + c * LANES, sums[r][c]);
}

template <int N>
INLINE void block_values(const uint32_t *p, int64_t p_row, const uint32_t *v, int64_t v_row,
                         int64_t keys, float *o, int64_t o_row) {
    __m512 sums[ROWS][N];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < N; c++) sums[r][c] = load<__m512>(o + r * o_row + c * LANES);
    for (int64_t j = 0; j < keys; j++) {
        __m512i values[N];
        for (int c = 0; c < N; c++) values[c] = load<__m512i>(v + j * v_row + c * LANES);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < N; c++) sums[r][c] = dot(sums[r][c], p[r * p_row + j], values[c]);
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < N; c++) store(o + r * o_row + c * LANES, sums[r][c]);
}
#endif

// Which keys of a tile a block of rows needs: none behind `to`, none before `from`.
struct Stretch {
    int32_t from, to;
};
constexpr int STEP = LANES < 8 ? 8 : LANES;  // what the ends of a stretch are multiples of

// S of a tile: `rows` is a multiple of ROWS, `k_tile` of LANES * VECTORS.
template <class T>
INLINE void tile_scores(const T *q, int64_t rows, const T *k, int64_t k_tile, int64_t width,
                        const Stretch *needed, float *s) {
    for (int64_t r = 0; r < rows; r += ROWS) {
        int64_t j = needed[r / ROWS].from, to = needed[r / ROWS].to;
        for (; j + LANES * VECTORS <= to; j += LANES * VECTORS)
            block_scores<VECTORS>(q + r * width, width, k + j, k_tile, width, s + r * k_tile + j);
        for (; j < to; j += LANES)
            block_scores<1>(q + r * width, width, k + j, k_tile, width, s + r * k_tile + j);
    }
}

// O of a tile: `e` is a multiple of LANES. `keys` and rows of `p` and `v` count `unit` keys each.
template <class T>
INLINE void tile_values(const T *p, int64_t rows, int64_t p_row, const T *v, int64_t v_row,
                        const Stretch *needed, int64_t keys, int64_t unit, float *o, int64_t e) {
    for (int64_t x = 0, step; x < e; x += step) {
        bool wide = x + LANES * VECTORS <= e;
        step = wide ? LANES * VECTORS : LANES;
        for (int64_t r = 0; r < rows; r += ROWS) {
            int64_t from = needed[r / ROWS].from / unit, to = needed[r / ROWS].to / unit;
            to = to < keys ? to : keys;
            if (from >= to) continue;
            const T *p_at = p + r * p_row + from, *v_at = v + from * v_row + x;
            if (wide)
                block_values<VECTORS>(p_at, p_row, v_at, v_row, to - from, o + r * e + x, e);
            else
                block_values<1>(p_at, p_row, v_at, v_row, to - from, o + r * e + x, e);
        }
    }
}
