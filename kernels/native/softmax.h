// What happens to the scores of a tile between the two products: masks, edits, running softmax.
#pragma once
#include "abi.h"
#include "vectors.h"

constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

// The edits of a call as one head sees them.
struct Terms {
    const Term *terms;
    int64_t count;
    int64_t b, h;

    const float *u(int64_t t) const {
        const Term &x = terms[t];
        return x.u ? x.u + b * x.u_stride[0] + h * x.u_stride[1] : nullptr;
    }
    const float *w(int64_t t) const {
        const Term &x = terms[t];
        return x.w + b * x.w_stride[0] + h * x.w_stride[1];
    }
};

// Scores of a row, those from `from` to `to`, in units of log 2, with cap, edits and mask; `count`
// keys are there. `w` holds the keys' factors of each term, side by side, `apart` apart.
INLINE void finish_scores(float *s, int64_t from, int64_t to, int64_t count, float scale, float cap,
                          const uint8_t *mask, const Terms &terms, int64_t i, const float *w,
                          const uint8_t *touched, int64_t apart) {
    const vi numbers = lane_numbers();
    for (int64_t j = from; j < to; j += LANES) {
        vf x = load<vf>(s + j) * scale;
        if (cap != 0.0f) x = cap * tanh_of(x / cap);
        for (int64_t t = 0; t < terms.count; t++) {
            if (!touched[t] || terms.terms[t].kind == WEIGH) continue;
            float u = terms.u(t) ? terms.u(t)[i] : 1.0f;
            vf amount = u * load<vf>(w + t * apart + j);
            if (terms.terms[t].kind == ADD)
                x += amount * LOG2E;
            else
                x += amount * (x < vf{} ? -x : x);
        }
        if (mask) {
            uint32_t word = 0;
            std::memcpy(&word, mask + j / 8, LANES >= 8 ? LANES / 8 : 1);
            if (LANES < 8) word >>= j % 8;
            vi shown = (vi)((vu{} + word) >> (vu)numbers) & 1;
            x = shown != 0 ? x : all(-INFINITY);
        }
        if (j + LANES > count) {
            x = numbers < vi{} + int32_t(count - j) ? x : all(-INFINITY);
        }
        store(s + j, x);
    }
}

INLINE float largest_of(const float *s, int64_t width) {
    vf most = load<vf>(s);
    for (int64_t j = LANES; j < width; j += LANES) most = larger(most, load<vf>(s + j));
    return largest(most);
}

// The largest score of a row, and of those before it: what to subtract from scores now, and the
// factor of what was summed up so far. For as many rows as there are lanes.
INLINE void raise(const float *largest_now, float *top, float *total, float *reference,
                  float *kept) {
    vf before = load<vf>(top), now = larger(load<vf>(largest_now), before);
    vf subtract = now == all(-INFINITY) ? vf{} : now;
    vf factor = exp2_of(before - subtract);
    store(top, now);
    store(reference, subtract);
    store(kept, factor);
    store(total, load<vf>(total) * factor);
}

// Scores of a row to weights, and their sum. `factor` multiplies the scores (1 if finished).
INLINE float weights_of(float *s, int64_t width, float factor, float reference) {
    vf sums{};
    for (int64_t j = 0; j < width; j += LANES) {
        vf p = exp2_of(load<vf>(s + j) * factor - reference);
        store(s + j, p);
        sums += p;
    }
    return sum(sums);
}

// Factors on weights, after their sum was taken.
INLINE void weigh(float *p, int64_t width, const Terms &terms, int64_t i, const float *w,
                  const uint8_t *touched, int64_t apart) {
    for (int64_t t = 0; t < terms.count; t++) {
        if (!touched[t] || terms.terms[t].kind != WEIGH) continue;
        float u = terms.u(t) ? terms.u(t)[i] : 1.0f;
        if (u == 0.0f) continue;
        for (int64_t j = 0; j < width; j += LANES)
            store(p + j, load<vf>(p + j) * (1.0f + u * load<vf>(w + t * apart + j)));
    }
}

// Copies the keys' factors of a stretch, 0 behind its end; says which terms touch it at all.
INLINE void gather_terms(const Terms &terms, int64_t first, int64_t count, int64_t width, float *w,
                         uint8_t *touched) {
    for (int64_t t = 0; t < terms.count; t++) {
        const float *from = terms.w(t) + first;
        uint8_t any = 0;
        for (int64_t j = 0; j < width; j++) {
            float x = j < count ? from[j] : 0.0f;
            w[t * width + j] = x;
            any |= x != 0.0f;
        }
        touched[t] = any;
    }
}
