// Attention of many queries: over tiles of keys that a list names, with a running softmax.
//
// A unit of work is a tile of queries of all heads that share keys and a list. K is packed once per
// call, for as many heads at a time as fit into a bounded block, or on the way where it is read by
// one unit only. The order of tiles within a row is fixed, so that threads do not change a bit.
#include <algorithm>
#include <atomic>
#include <new>
#include <vector>

#include "checks.h"
#include "memory.h"
#include "packing.h"
#include "products.h"
#include "softmax.h"

namespace {

constexpr int32_t LARGEST_TILE = 1 << 15;
constexpr size_t PACKED = size_t(4) << 20;  // bytes of packed keys and values at a time

struct Job {
    const Call &c;
    Layout l;
    int64_t q_tiles, k_tiles, groups, sharing, streams, rows;
    bool ahead;  // whether K is packed before it is used

    Job(const Call &call, Mode mode) : c(call), l(call, mode) {
        q_tiles = (c.m + c.q_tile - 1) / c.q_tile;
        k_tiles = (c.n + c.k_tile - 1) / c.k_tile;
        groups = c.heads / c.kv_heads;
        sharing = c.planes > c.kv_heads ? 1 : groups;  // heads of a unit
        streams = groups / sharing;                    // units that read the same keys
        rows = up(up(c.q_tile, ROWS), LANES);
        ahead = q_tiles * streams > 1;
    }
    int64_t keys_in(int64_t column) const {
        return std::min<int64_t>(c.k_tile, c.n - column * c.k_tile);
    }
    void pack(int64_t b, int64_t g, int64_t column, uint32_t *k, uint32_t *v) const {
        int64_t first = column * c.k_tile, count = keys_in(column);
        pack_keys(l, c.k, b * c.k_stride[0] + g * c.k_stride[1] + first * c.k_stride[2],
                  c.k_stride[2], count, c.type, k);
        if (l.v_words)
            pack_values(l, c.v, b * c.v_stride[0] + g * c.v_stride[1] + first * c.v_stride[2],
                        c.v_stride[2], count, c.type, v);
    }
};

// The memory of a thread.
struct Workspace {
    uint32_t *q, *k, *v;
    uint16_t *narrow;
    float *s, *o, *top, *total, *now, *reference, *kept, *w;
    Stretch *needed;
    uint8_t *touched;

    Workspace(Pieces &pieces, const Job &job) {
        const Layout &l = job.l;
        int64_t rows = job.rows * job.sharing;  // a multiple of LANES
        q = pieces.take<uint32_t>(rows * l.width);
        k = pieces.take<uint32_t>(job.ahead ? 0 : l.k_words);
        v = pieces.take<uint32_t>(job.ahead ? 0 : l.v_words);
        narrow = pieces.take<uint16_t>(l.mode == Mode::PAIRS ? job.rows * l.k_tile : 0);
        s = pieces.take<float>(job.rows * l.k_tile);
        o = pieces.take<float>(rows * l.e_padded);
        top = pieces.take<float>(rows);
        total = pieces.take<float>(rows);
        now = pieces.take<float>(job.rows);
        reference = pieces.take<float>(job.rows);
        kept = pieces.take<float>(job.rows);
        w = pieces.take<float>(job.c.term_count * l.k_tile);
        needed = pieces.take<Stretch>(job.rows / ROWS);
        touched = pieces.take<uint8_t>(job.c.term_count);
    }
};

// Which keys blocks of rows need of a tile of `keys`, by its mask.
void find_needed(const Call &c, const uint8_t *mask, int64_t count, int64_t keys, Stretch *needed) {
    int64_t bytes = c.k_tile / 8;
    for (int64_t r = 0; r < count; r += ROWS) {
        Stretch found{0, int32_t(up(keys, STEP))};
        if (mask) {
            found = {int32_t(c.k_tile), 0};
            for (int64_t j = 0; j < c.k_tile; j += STEP) {
                uint8_t any = 0;
                for (int64_t i = r; i < std::min<int64_t>(r + ROWS, count); i++)
                    for (int64_t x = j / 8; x < (j + STEP) / 8; x++) any |= mask[i * bytes + x];
                if (!any) continue;
                found.from = std::min<int32_t>(found.from, j);
                found.to = j + STEP;
            }
        }
        needed[r / ROWS] = found;
    }
}

// One head's tile of queries meets one tile of keys.
template <Mode MODE>
void meet(const Job &job, const Workspace &mine, int64_t b, int64_t h, int64_t slot, int64_t qt,
          int64_t count, int64_t entry, const uint32_t *k, const uint32_t *v, const void *v_here) {
    const Call &c = job.c;
    const Layout &l = job.l;
    int64_t column = c.columns[entry], keys = job.keys_in(column), rows = up(count, ROWS);
    uint32_t *q = mine.q + slot * job.rows * l.width;
    float *o = mine.o + slot * job.rows * l.e_padded;
    float *s = mine.s;
    const uint8_t *mask = nullptr;
    if (c.masks[entry] >= 0)
        mask = c.bitmaps + int64_t(c.masks[entry]) * c.q_tile * (c.k_tile / 8);
    find_needed(c, mask, count, keys, mine.needed);
    if constexpr (MODE == Mode::PAIRS) {
#if defined(__AVX512BF16__)
        tile_scores(q, rows, k, l.k_tile, l.width, mine.needed, s);
#endif
    } else {
        tile_scores(reinterpret_cast<float *>(q), rows, reinterpret_cast<const float *>(k),
                    l.k_tile, l.width, mine.needed, s);
    }
    Terms terms{c.terms, c.term_count, b, h};
    gather_terms(terms, column * c.k_tile, keys, l.k_tile, mine.w, mine.touched);
    bool edited = false;
    for (int64_t t = 0; t < terms.count; t++) edited |= mine.touched[t] != 0;
    bool plain = !edited && !mask && keys == l.k_tile && c.softcap == 0.0f && c.scale > 0.0f;
    float factor = plain ? c.scale * LOG2E : 1.0f;
    for (int64_t r = 0; r < count; r++) {
        float *row = s + r * l.k_tile;
        auto [from, to] = mine.needed[r / ROWS];
        if (!plain)
            finish_scores(row, from, to, keys, c.scale * LOG2E, c.softcap * LOG2E,
                          mask ? mask + r * (c.k_tile / 8) : nullptr, terms, qt * c.q_tile + r,
                          mine.w, mine.touched, l.k_tile);
        mine.now[r] = from < to ? largest_of(row + from, to - from) * factor : -INFINITY;
    }
    float *top = mine.top + slot * job.rows, *total = mine.total + slot * job.rows;
    for (int64_t r = 0; r < count; r += LANES)
        raise(mine.now + r, top + r, total + r, mine.reference + r, mine.kept + r);
    for (int64_t r = 0; r < count; r++) {
        float *row = s + r * l.k_tile;
        auto [from, to] = mine.needed[r / ROWS];
        if (from >= to) continue;
        total[r] += weights_of(row + from, to - from, factor, mine.reference[r]);
        if (edited)
            weigh(row + from, to - from, terms, qt * c.q_tile + r, mine.w + from, mine.touched,
                  l.k_tile);
        if (MODE == Mode::PAIRS)
            for (int64_t j = from; j < to; j += LANES)
                narrow_bf16(mine.narrow + r * l.k_tile + j, load<vf>(row + j));
        if (mine.kept[r] != 1.0f)
            for (int64_t x = 0; x < l.e_padded; x += LANES)
                store(o + r * l.e_padded + x, load<vf>(o + r * l.e_padded + x) * mine.kept[r]);
    }
    if constexpr (MODE == Mode::PAIRS) {
#if defined(__AVX512BF16__)
        tile_values(reinterpret_cast<const uint32_t *>(mine.narrow), rows, l.k_tile / 2, v,
                    l.e_padded, mine.needed, l.k_tile / 2, 2, o, l.e_padded);
#endif
    } else if (MODE == Mode::CONVERTED) {
        tile_values(s, rows, l.k_tile, reinterpret_cast<const float *>(v), l.e_padded, mine.needed,
                    l.k_tile, 1, o, l.e_padded);
    } else {
        tile_values(s, rows, l.k_tile,
                    static_cast<const float *>(v_here) + column * c.k_tile * c.v_stride[2],
                    c.v_stride[2], mine.needed, keys, 1, o, l.e_padded);
    }
}

// One unit: heads `h .. h + sharing - 1` of key head g, one tile of queries, all its tiles of keys.
template <Mode MODE>
void unit(const Job &job, const Workspace &mine, int64_t b, int64_t g, int64_t stream, int64_t qt,
          const uint32_t *packed_k, const uint32_t *packed_v) {
    const Call &c = job.c;
    const Layout &l = job.l;
    int64_t first_head = g * job.groups + stream * job.sharing;
    int64_t count = std::min<int64_t>(c.q_tile, c.m - qt * c.q_tile);
    for (int64_t slot = 0; slot < job.sharing; slot++) {
        int64_t h = first_head + slot;
        pack_queries(l, c.q,
                     b * c.q_stride[0] + h * c.q_stride[1] + qt * c.q_tile * c.q_stride[2],
                     c.q_stride[2], count, job.rows, c.type, mine.q + slot * job.rows * l.width);
    }
    int64_t rows = job.rows * job.sharing;
    std::fill_n(mine.o, rows * l.e_padded, 0.0f);
    std::fill_n(mine.top, rows, -INFINITY);
    std::fill_n(mine.total, rows, 0.0f);
    // rows of a block behind the last query take part in the second product: give them no garbage
    std::fill_n(mine.s, job.rows * l.k_tile, 0.0f);
    std::fill_n(mine.now, job.rows, -INFINITY);
    if (mine.narrow && l.mode == Mode::PAIRS)
        std::memset(mine.narrow, 0, job.rows * l.k_tile * 2);  // read as words
    const void *v_here = nullptr;
    if (MODE == Mode::PLAIN && c.n)
        v_here = static_cast<const float *>(c.v) + b * c.v_stride[0] + g * c.v_stride[1];
    int64_t line = first_head * c.planes / c.heads * job.q_tiles + qt;
    for (int64_t entry = c.starts[line]; entry < c.starts[line + 1]; entry++) {
        const uint32_t *k, *v;
        if (job.ahead) {
            k = packed_k + c.columns[entry] * l.k_words;
            v = packed_v + c.columns[entry] * l.v_words;
        } else {
            job.pack(b, g, c.columns[entry], mine.k, mine.v);
            k = mine.k;
            v = mine.v;
        }
        for (int64_t slot = 0; slot < job.sharing; slot++)
            meet<MODE>(job, mine, b, first_head + slot, slot, qt, count, entry, k, v, v_here);
    }
    for (int64_t slot = 0; slot < job.sharing; slot++) {
        int64_t h = first_head + slot;
        float scale = c.head_scale ? c.head_scale[b * c.head_scale_stride + h] : 1.0f;
        for (int64_t r = 0; r < count; r++) {
            int64_t i = qt * c.q_tile + r, at = slot * job.rows + r;
            int64_t place = b * c.o_stride[0] + h * c.o_stride[1] + i * c.o_stride[2];
            float total = mine.total[at];
            if (total == 0.0f)  // it sees nothing; what it does not see may be infinite
                blank(c.o, place, l.e, c.type);
            else
                narrow(c.o, place, mine.o + at * l.e_padded, scale / total, l.e, c.type);
            if (c.lse)
                c.lse[(b * c.heads + h) * c.m + i] =
                    total == 0.0f ? -INFINITY : (mine.top[at] + std::log2(total)) * LN2;
        }
    }
}

template <Mode MODE>
int32_t run(const Call &c) {
    Job job(c, MODE);
    const Layout &l = job.l;
    int threads = std::max(1, c.threads);
    Pieces measure(nullptr);
    Workspace(measure, job);
    size_t each = Scratch::round_up(measure.used());
    int64_t pairs = c.batch * c.kv_heads, units = job.q_tiles * job.streams;
    size_t words = job.ahead ? size_t(l.k_words + l.v_words) * job.k_tiles : 0;
    int64_t at_once = pairs;
    if (words) at_once = std::clamp<int64_t>(PACKED / (words * 4), 1, pairs);
    Scratch scratch(each * threads + words * 4 * at_once);
    if (!scratch.get()) return NO_MEMORY;
    uint32_t *packed = reinterpret_cast<uint32_t *>(scratch.get() + each * threads);
    // within a head the longest lists first, so that threads end together
    std::vector<int64_t> order(units);
    for (int64_t u = 0; u < units; u++) order[u] = u;
    auto length = [&](int64_t u) {
        int64_t line = (u / job.q_tiles) * job.sharing * c.planes / c.heads * job.q_tiles;
        line += u % job.q_tiles;
        return c.starts[line + 1] - c.starts[line];
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t x, int64_t y) { return length(x) > length(y); });
    for (int64_t from = 0; from < pairs; from += at_once) {
        int64_t some = std::min(at_once, pairs - from);
        std::atomic<int64_t> next_tile{0}, next_unit{0};
        auto work = [&](int thread, bool packing) {
            Pieces pieces(scratch.get() + each * thread);
            Workspace mine(pieces, job);
            if (packing) {
                for (int64_t t; (t = next_tile++) < some * job.k_tiles;) {
                    int64_t p = t / job.k_tiles, column = t % job.k_tiles;
                    uint32_t *k = packed + p * words + column * l.k_words;
                    uint32_t *v = packed + p * words + job.k_tiles * l.k_words + column * l.v_words;
                    job.pack((from + p) / c.kv_heads, (from + p) % c.kv_heads, column, k, v);
                }
                return;
            }
            for (int64_t t; (t = next_unit++) < some * units;) {
                int64_t p = t / units, u = order[t % units];
                const uint32_t *k = packed + p * words;
                unit<MODE>(job, mine, (from + p) / c.kv_heads, (from + p) % c.kv_heads,
                           u / job.q_tiles, u % job.q_tiles, k, k + job.k_tiles * l.k_words);
            }
        };
        for (bool packing : {true, false}) {
            if (packing && !job.ahead) continue;
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) schedule(static, 1)
#endif
            for (int thread = 0; thread < threads; thread++) work(thread, packing);
        }
    }
    return OK;
}

int32_t check(const Call &c) {
    constexpr int step = LANES * VECTORS;
    if (c.q_tile < 1 || c.k_tile < step || c.k_tile % step) return BAD_SHAPE;
    if (c.q_tile > LARGEST_TILE || c.k_tile > LARGEST_TILE || c.m < 0 || c.m > MOST)
        return BAD_SHAPE;
    if (int32_t wrong = check_call(c, (c.m + c.q_tile - 1) / c.q_tile)) return wrong;
    if (c.count && !c.masks) return BAD_LISTS;
    int64_t k_tiles = (c.n + c.k_tile - 1) / c.k_tile;
    for (int64_t r = 0; r + 1 < c.start_count; r++) {
        int32_t before = -1;
        for (int64_t t = c.starts[r]; t < c.starts[r + 1]; t++) {
            if (c.columns[t] <= before || c.columns[t] >= k_tiles) return BAD_LISTS;
            if (c.masks[t] < -1 || c.masks[t] >= c.bitmap_count) return BAD_LISTS;
            if (c.masks[t] >= 0 && !c.bitmaps) return BAD_LISTS;
            before = c.columns[t];
        }
    }
    return OK;
}

}  // namespace

EXPORT int32_t lc_prefill(const Call *call) {
    const Call &c = *call;
    if (int32_t wrong = check(c)) return wrong;
    if (!c.batch || !c.m) return OK;
    try {
        if (c.type == BF16 && HAS_DOT) return run<Mode::PAIRS>(c);
        if (c.type == F32 && c.e % LANES == 0) return run<Mode::PLAIN>(c);
        return run<Mode::CONVERTED>(c);
    } catch (const std::bad_alloc &) {
        return NO_MEMORY;
    }
}

EXPORT int32_t lc_abi() { return ABI; }
