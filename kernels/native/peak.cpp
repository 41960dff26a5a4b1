// What one core can do: products on registers alone. Measurements are held against it.
#include <chrono>

#include "abi.h"
#include "vectors.h"

// Operations per second of one thread, on floats or, where there are such, pairs of bfloat16.
EXPORT double lc_peak(int32_t type) {
    constexpr int CHAINS = 12;
    double best = 0;
    for (int trial = 0; trial < 5; trial++) {
        vf sums[CHAINS];
        for (int i = 0; i < CHAINS; i++) sums[i] = all(float(i));
        vf a = all(0.999f), b = all(1e-3f);
        const int64_t rounds = 400000;
        double flops = 2.0 * LANES * CHAINS * rounds;
        auto start = std::chrono::steady_clock::now();
#if defined(__AVX512BF16__)
        if (type == BF16) {
            __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f803f80);
            for (int64_t r = 0; r < rounds; r++) {
                for (int i = 0; i < CHAINS; i++)
                    sums[i] = (vf)_mm512_dpbf16_ps((__m512)sums[i], x, x);
                asm volatile("" : "+v"(x));
            }
            flops *= 2;
        } else
#endif
        {
            (void)type;
            for (int64_t r = 0; r < rounds; r++) {
                for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * a + b;
#if defined(__x86_64__)
                asm volatile("" : "+x"(a));
#else
                asm volatile("" ::: "memory");
#endif
            }
        }
        std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        float rest = 0;
        for (int i = 0; i < CHAINS; i++) rest += sum(sums[i]);
        volatile float keep = rest;
        (void)keep;
        best = flops / took.count() > best ? flops / took.count() : best;
    }
    return best;
}
