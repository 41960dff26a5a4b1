// What is refused before anything is read.
#pragma once
#include "abi.h"

// Sizes, and that lists of `lines` per plane ascend from 0 to their end.
static inline int32_t check_call(const Call &c, int64_t lines) {
    if (c.batch < 0 || c.m < 0 || c.n < 0 || c.d < 1 || c.e < 1 || c.heads < 1 || c.kv_heads < 1)
        return BAD_SHAPE;
    if (c.heads % c.kv_heads || c.planes < 1 || c.heads % c.planes) return BAD_SHAPE;
    if (c.planes < c.kv_heads ? c.kv_heads % c.planes : c.planes % c.kv_heads) return BAD_SHAPE;
    if (c.type < F32 || c.type > F16) return BAD_SHAPE;
    if (c.start_count != c.planes * lines + 1 || c.starts[0] != 0) return BAD_LISTS;
    for (int64_t r = 1; r < c.start_count; r++)
        if (c.starts[r] < c.starts[r - 1]) return BAD_LISTS;
    return c.starts[c.start_count - 1] == c.count ? OK : BAD_LISTS;
}
