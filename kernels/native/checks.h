// What is refused before anything is read.
#pragma once
#include "abi.h"

// Of positions, and of heads and widths: so that no product of sizes leaves 64 bits.
constexpr int64_t MOST = INT32_MAX, WIDEST = 1 << 20;
constexpr double LONGEST = 1e15;

// Sizes, and that what is needed is there.
static inline bool sizes_fit(const Call &c) {
    for (int64_t size : {c.batch, c.m, c.n, c.term_count})
        if (size < 0 || size > MOST) return false;
    for (int64_t size : {c.heads, c.kv_heads, c.d, c.e, int64_t(c.planes)})
        if (size < 1 || size > WIDEST) return false;
    if (double(c.batch) * double(c.heads) * double(c.m) > LONGEST) return false;
    if (c.heads % c.kv_heads || c.heads % c.planes) return false;
    if (c.planes < c.kv_heads ? c.kv_heads % c.planes : c.planes % c.kv_heads) return false;
    if (c.type < F32 || c.type > F16) return false;
    if (c.batch && c.m && !(c.q && c.o)) return false;
    if (c.batch && c.m && c.n && !(c.k && c.v)) return false;
    if (c.term_count && !c.terms) return false;
    for (int64_t t = 0; t < c.term_count; t++) {
        const Term &term = c.terms[t];
        if (term.kind < ADD || term.kind > WEIGH || (c.n && !term.w)) return false;
    }
    return true;
}

// Sizes, and that lists of `lines` per plane ascend from 0 to their end.
static inline int32_t check_call(const Call &c, int64_t lines) {
    if (!sizes_fit(c)) return BAD_SHAPE;
    if (!c.starts || c.start_count != c.planes * lines + 1 || c.starts[0] != 0) return BAD_LISTS;
    for (int64_t r = 1; r < c.start_count; r++)
        if (c.starts[r] < c.starts[r - 1]) return BAD_LISTS;
    if (c.starts[c.start_count - 1] != c.count || (c.count && !c.columns)) return BAD_LISTS;
    return OK;
}
