// The level of the processor: 0 plain, 1 AVX2 with FMA, 2 AVX-512, 3 AVX-512 with bfloat16. Compiled
// for any processor, whatever the level of the library that it is in.
#include "abi.h"
#if defined(__x86_64__)
#include <cpuid.h>

static bool has(unsigned bits, int bit) { return bits >> bit & 1; }
#endif

EXPORT int32_t lc_level() {
#if defined(__x86_64__)
    // asked of the processor itself, because compilers know newer features by name only since lately
    __builtin_cpu_init();  // this one asks the system too, whether it keeps the registers
    unsigned a, b, c, d;
    if (!__builtin_cpu_supports("avx2") || !__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!has(c, 12) || !has(c, 29)) return 0;  // fma, f16c
    if (!__builtin_cpu_supports("avx512f") || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 1;
    if (!has(b, 17) || !has(b, 30) || !has(b, 31)) return 1;  // avx512 dq, bw, vl
    bool more = a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d);
    return more && has(a, 5) ? 3 : 2;  // avx512_bf16
#else
    return 0;
#endif
}
