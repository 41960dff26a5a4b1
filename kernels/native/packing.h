// Bringing Q, K and V into the layouts that products.h reads.
#pragma once
#include "abi.h"
#include "numbers.h"

// How a call computes: on floats with V in place, on floats with V converted, on pairs of bfloat16.
enum class Mode { PLAIN, CONVERTED, PAIRS };

INLINE int64_t up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// Sizes in memory words (4 bytes) of one tile of K and of V, and of a row of Q.
struct Layout {
    Mode mode;
    int64_t k_tile, d, e;      // as called
    int64_t width, e_padded;   // words of a row of Q; numbers of a row of O
    int64_t k_words, v_words;  // V: 0 where it is read in place

    Layout(const Call &c, Mode m) : mode(m), k_tile(c.k_tile), d(c.d), e(c.e) {
        width = m == Mode::PAIRS ? (d + 1) / 2 : d;
        e_padded = up(e, LANES);
        k_words = width * k_tile;
        v_words = m == Mode::PLAIN ? 0 : (m == Mode::PAIRS ? k_tile / 2 : k_tile) * e_padded;
    }
};

// Words [count, width], `stride` apart, to [width, k_tile], four by four. What they hold are other
// types, so they are read as bytes.
INLINE void transpose(const uint32_t *from, int64_t stride, int64_t count, int64_t width,
                      uint32_t *to, int64_t k_tile) {
    typedef uint32_t four __attribute__((vector_size(16)));
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const uint32_t *rows = from + j * stride;
        int64_t x = 0;
        for (; x + 4 <= width; x += 4) {
            four a = load<four>(rows + x), b = load<four>(rows + stride + x);
            four c = load<four>(rows + 2 * stride + x), d = load<four>(rows + 3 * stride + x);
            four ab = SHUFFLE(a, b, 0, 4, 1, 5), cd = SHUFFLE(c, d, 0, 4, 1, 5);
            four ef = SHUFFLE(a, b, 2, 6, 3, 7), gh = SHUFFLE(c, d, 2, 6, 3, 7);
            store(to + x * k_tile + j, SHUFFLE(ab, cd, 0, 1, 4, 5));
            store(to + (x + 1) * k_tile + j, SHUFFLE(ab, cd, 2, 3, 6, 7));
            store(to + (x + 2) * k_tile + j, SHUFFLE(ef, gh, 0, 1, 4, 5));
            store(to + (x + 3) * k_tile + j, SHUFFLE(ef, gh, 2, 3, 6, 7));
        }
        for (; x < width; x++)
            for (int64_t i = 0; i < 4; i++) 
                to[x * k_tile + j + i] = load<uint32_t>(rows + i * stride + x);
    }
    for (; j < count; j++)
        for (int64_t x = 0; x < width; x++)
            to[x * k_tile + j] = load<uint32_t>(from + j * stride + x);
}

// Keys `count` of a tile, from `at` with `stride` between them, to [width, k_tile]; missing keys 0.
INLINE void pack_keys(const Layout &l, const void *from, int64_t at, int64_t stride, int64_t count,
                      int32_t type, uint32_t *to) {
    if (count < l.k_tile) std::memset(to, 0, l.k_words * 4);
    if (l.mode == Mode::PAIRS) {
        const uint16_t *h = static_cast<const uint16_t *>(from) + at;
        if (stride % 2 == 0 && reinterpret_cast<uintptr_t>(h) % 4 == 0)
            transpose(reinterpret_cast<const uint32_t *>(h), stride / 2, count, l.d / 2, to,
                      l.k_tile);
        else
            for (int64_t x = 0; x + 1 < l.d; x += 2)
                for (int64_t j = 0; j < count; j++)
                    std::memcpy(to + (x / 2) * l.k_tile + j, h + j * stride + x, 4);
        if (l.d % 2)
            for (int64_t j = 0; j < count; j++)
                to[(l.width - 1) * l.k_tile + j] = h[j * stride + l.d - 1];
    } else if (type == F32) {
        transpose(static_cast<const uint32_t *>(from) + at, stride, count, l.d, to, l.k_tile);
    } else {
        const uint16_t *h = static_cast<const uint16_t *>(from) + at;
        for (int64_t x = 0; x < l.d; x++)
            for (int64_t j = 0; j < count; j++) {
                uint16_t one = h[j * stride + x];
                float y = type == BF16 ? widen_bf16(one) : widen_f16(one);
                std::memcpy(to + x * l.k_tile + j, &y, 4);
            }
    }
}

// Values of a tile to floats [k_tile, e_padded], or to pairs of neighbours [k_tile / 2, e_padded].
INLINE void pack_values(const Layout &l, const void *from, int64_t at, int64_t stride,
                        int64_t count, int32_t type, uint32_t *to) {
    if (count < l.k_tile || l.e_padded > l.e) std::memset(to, 0, l.v_words * 4);
    if (l.mode == Mode::PAIRS) {
        const uint16_t *h = static_cast<const uint16_t *>(from) + at;
        for (int64_t j = 0; j < count; j += 2) {
            const uint16_t *a = h + j * stride;
            uint32_t *row = to + (j / 2) * l.e_padded;
            if (j + 1 < count) {
                const uint16_t *b = a + stride;
                for (int64_t x = 0; x < l.e; x++) row[x] = a[x] | uint32_t(b[x]) << 16;
            } else {
                for (int64_t x = 0; x < l.e; x++) row[x] = a[x];
            }
        }
    } else {
        for (int64_t j = 0; j < count; j++)
            widen(reinterpret_cast<float *>(to) + j * l.e_padded, from, at + j * stride, l.e, type);
    }
}

// Queries to rows [rows, width], missing ones 0.
INLINE void pack_queries(const Layout &l, const void *from, int64_t at, int64_t stride,
                         int64_t count, int64_t rows, int32_t type, uint32_t *to) {
    std::memset(to, 0, rows * l.width * 4);
    for (int64_t r = 0; r < count; r++) {
        if (l.mode == Mode::PAIRS)
            std::memcpy(to + r * l.width, static_cast<const uint16_t *>(from) + at + r * stride,
                        l.d * 2);
        else
            widen(reinterpret_cast<float *>(to) + r * l.width, from, at + r * stride, l.d, type);
    }
}
