// Attention of a few queries to a long cache: each reads ranges of keys, once for all heads that
// share them. Memory is the limit, so nothing is packed or converted ahead; the ranges of a query
// are split over threads, and the parts are merged by their log-sum-exp.
#include <algorithm>
#include <atomic>
#include <type_traits>

#include "checks.h"
#include "memory.h"
#include "packing.h"
#include "rows.h"
#include "softmax.h"

namespace {

constexpr int64_t TASKS = 128;      // units and their splits, enough for many threads
constexpr int64_t SHARE = 1 << 18;  // bytes of keys and values that are worth a thread

struct Job {
    const Call &c;
    int64_t groups, sharing, units, threads, splits, d_padded, e_padded, part;

    explicit Job(const Call &call) : c(call) {
        groups = c.heads / c.kv_heads;
        sharing = c.planes > c.kv_heads ? 1 : groups;
        units = c.batch * (c.heads / sharing) * c.m;
        d_padded = up(c.d, LANES);
        e_padded = up(c.e, LANES);
        int64_t size = c.type == F32 ? 4 : 2, read = 0;
        for (int64_t u = 0; u < units; u++) read += keys(u);
        // splits do not depend on the number of threads, and so the result does not
        read *= (c.d + c.e) * size;
        splits = std::max<int64_t>(1, std::min(TASKS / units, read / units / SHARE));
        threads = std::clamp<int64_t>(read / SHARE, 1, std::max(1, c.threads));
        part = sharing * head_part();
    }
    // Of one head: outputs, then the largest score and the sum.
    int64_t head_part() const { return e_padded + 16; }
    int64_t line(int64_t unit) const {  // of the lists
        int64_t head = unit / c.m % (c.heads / sharing) * sharing;
        return head * c.planes / c.heads * c.m + unit % c.m;
    }
    int64_t keys(int64_t unit) const {
        int64_t total = 0, r = line(unit);
        for (int64_t x = c.starts[r]; x < c.starts[r + 1]; x++)
            total += c.columns[2 * x + 1] - c.columns[2 * x];
        return total;
    }
};

struct Workspace {
    float *q, *s, *w;
    uint8_t *touched;
    int64_t ready = -1;  // the unit that q is of
    Workspace(Pieces &pieces, const Job &job) {
        q = pieces.take<float>(job.sharing * job.d_padded);
        s = pieces.take<float>(job.sharing * STRETCH);
        w = pieces.take<float>(job.c.term_count * STRETCH);
        touched = pieces.take<uint8_t>(job.c.term_count);
    }
};

// Calls `f` for the heads of a unit, four, two or one at a time.
template <class F>
INLINE void by_groups(int64_t heads, F f) {
    int64_t head = 0;
    for (; head + 4 <= heads; head += 4) f(head, std::integral_constant<int, 4>());
    for (; head + 2 <= heads; head += 2) f(head, std::integral_constant<int, 2>());
    for (; head < heads; head++) f(head, std::integral_constant<int, 1>());
}

// One unit, or one of the parts its keys are split into.
template <int TYPE>
void attend(const Job &job, Workspace &mine, int64_t unit, int64_t split, float *part) {
    const Call &c = job.c;
    int64_t t = unit % c.m, rest = unit / c.m, per = c.heads / job.sharing;
    int64_t b = rest / per, head = rest % per * job.sharing, g = head / job.groups;
    if (mine.ready != unit) {
        std::fill_n(mine.q, job.sharing * job.d_padded, 0.0f);
        for (int64_t x = 0; x < job.sharing; x++) {
            widen(mine.q + x * job.d_padded, c.q,
                  b * c.q_stride[0] + (head + x) * c.q_stride[1] + t * c.q_stride[2], c.d, c.type);
            reorder(mine.q + x * job.d_padded, blocked<TYPE>(c.d), false);
        }
        mine.ready = unit;
    }
    for (int64_t x = 0; x < job.sharing; x++) {
        float *own = part + x * job.head_part();
        std::fill_n(own, job.head_part(), 0.0f);
        own[job.e_padded] = -INFINITY;
    }
    int64_t total = job.keys(unit), line = job.line(unit);
    int64_t from = total * split / job.splits, to = total * (split + 1) / job.splits, before = 0;
    int64_t k_base = b * c.k_stride[0] + g * c.k_stride[1];
    int64_t v_base = b * c.v_stride[0] + g * c.v_stride[1];
    Rows k{c.k, c.k_stride[2], c.d}, v{c.v, c.v_stride[2], c.e};
    for (int64_t r = c.starts[line]; r < c.starts[line + 1] && before < to; r++) {
        int64_t first = c.columns[2 * r], behind = c.columns[2 * r + 1];
        int64_t low = first + std::max<int64_t>(0, from - before);
        int64_t high = std::min(behind, first + to - before);
        before += behind - first;
        for (int64_t j = low; j < high; j += STRETCH) {
            int64_t count = std::min(STRETCH, high - j), width = up(count, LANES);
            by_groups(job.sharing, [&](int64_t first_head, auto g) {
                scores<TYPE, decltype(g)::value>(
                    mine.q + first_head * job.d_padded, job.d_padded, k,
                    k_base + j * k.stride, count, first_head == 0, mine.s + first_head * STRETCH);
            });
            for (int64_t x = 0; x < job.sharing; x++) {
                Terms terms{c.terms, c.term_count, b, head + x};
                gather_terms(terms, j, count, STRETCH, mine.w, mine.touched);
                float *row = mine.s + x * STRETCH, *own = part + x * job.head_part();
                finish_scores(row, 0, width, count, c.scale * LOG2E, c.softcap * LOG2E, nullptr,
                              terms, t, mine.w, mine.touched, STRETCH);
                float *top = own + job.e_padded, *total = top + 1;
                float now = std::max(*top, largest_of(row, width));
                float reference = now == -INFINITY ? 0.0f : now;
                float kept = now == *top ? 1.0f : std::exp2(*top - reference);
                *total = *total * kept + weights_of(row, width, 1.0f, reference);
                *top = now;
                if (kept != 1.0f)
                    for (int64_t y = 0; y < job.e_padded; y++) own[y] *= kept;
                weigh(row, width, terms, t, mine.w, mine.touched, STRETCH);
            }
            by_groups(job.sharing, [&](int64_t first_head, auto g) {
                add_values<TYPE, decltype(g)::value>(
                    mine.s + first_head * STRETCH, v, v_base + j * v.stride, count,
                    part + first_head * job.head_part(), job.head_part());
            });
        }
    }
}

template <int TYPE>
void finish(const Job &job, int64_t unit, float *parts) {
    const Call &c = job.c;
    int64_t t = unit % c.m, rest = unit / c.m, per = c.heads / job.sharing;
    int64_t b = rest / per, head = rest % per * job.sharing;
    for (int64_t x = 0; x < job.sharing; x++) {
        float *first = parts + x * job.head_part();
        float top = -INFINITY, total = 0.0f;
        for (int64_t s = 0; s < job.splits; s++)
            top = std::max(top, first[s * job.part + job.e_padded]);
        for (int64_t s = 0; s < job.splits; s++) {
            float *o = first + s * job.part;
            float share = o[job.e_padded] == -INFINITY ? 0.0f : std::exp2(o[job.e_padded] - top);
            total += share * o[job.e_padded + 1];
            for (int64_t y = 0; y < c.e; y++) first[y] = (s ? first[y] : 0.0f) + share * o[y];
        }
        reorder(first, blocked<TYPE>(c.e), true);
        float scale = c.head_scale ? c.head_scale[b * c.head_scale_stride + head + x] : 1.0f;
        int64_t place = b * c.o_stride[0] + (head + x) * c.o_stride[1] + t * c.o_stride[2];
        if (total == 0.0f)
            blank(c.o, place, c.e, c.type);
        else
            narrow(c.o, place, first, scale / total, c.e, c.type);
        if (c.lse)
            c.lse[(b * c.heads + head + x) * c.m + t] =
                total == 0.0f ? -INFINITY : (top + std::log2(total)) * LN2;
    }
}

template <int TYPE>
int32_t run(const Call &c) {
    Job job(c);
    int threads = int(job.threads);
    Pieces measure(nullptr);
    Workspace(measure, job);
    size_t each = Scratch::round_up(measure.used());
    Scratch scratch(each * threads + size_t(job.units * job.splits * job.part) * 4);
    if (!scratch.get()) return NO_MEMORY;
    float *parts = reinterpret_cast<float *>(scratch.get() + each * threads);
    std::atomic<int64_t> next{0};
    auto work = [&](int thread) {
        Pieces pieces(scratch.get() + each * thread);
        Workspace mine(pieces, job);
        for (int64_t x; (x = next++) < job.units * job.splits;)
            attend<TYPE>(job, mine, x / job.splits, x % job.splits, parts + x * job.part);
    };
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
#endif
    for (int thread = 0; thread < threads; thread++) work(thread);
    for (int64_t u = 0; u < job.units; u++) finish<TYPE>(job, u, parts + u * job.splits * job.part);
    return OK;
}

int32_t check(const Call &c) {
    if (int32_t wrong = check_call(c, c.m)) return wrong;
    for (int64_t r = 0; r + 1 < c.start_count; r++) {
        int32_t before = 0;
        for (int64_t x = c.starts[r]; x < c.starts[r + 1]; x++) {
            int32_t first = c.columns[2 * x], behind = c.columns[2 * x + 1];
            if (first < before || first > behind || behind > c.n) return BAD_LISTS;
            before = behind;
        }
    }
    return OK;
}

}  // namespace

EXPORT int32_t lc_decode(const Call *call) {
    const Call &c = *call;
    if (int32_t wrong = check(c)) return wrong;
    if (!c.batch || !c.m) return OK;
    if (c.type == BF16) return run<BF16>(c);
    return c.type == F32 ? run<F32>(c) : run<F16>(c);
}
