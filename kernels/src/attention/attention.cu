// Attention of few queries over the filled part of a cache, split among blocks ("flash decoding", Dao et al. 2023).
#include "../gpu/device.h"

// Warps of a block; elements that a lane has of a head, at most.
constexpr int WARPS = 4;
constexpr int LANE_DIMS = 8;

// Row `row` of a cache of halves, or of blocks of an f32 scale and 32 signed bytes: element `lane + 32 * j`.
DEVICE void load_row(const uint8_t* cache, size_t row, int head_dim, int bytes, float* out) {
    const int lane = lane_id();
    if (bytes) {
        const uint8_t* block = cache + row * (head_dim + 4 * ((head_dim + WARP - 1) / WARP));
        for (int j = 0; j < LANE_DIMS; j++, block += 4 + WARP) {
            const bool has = lane + WARP * j < head_dim;
            out[j] = has ? from_bits(load32(block)) * (int8_t)block[4 + lane] : 0.0f;
        }
    } else {
        const uint16_t* values = (const uint16_t*)cache + row * head_dim;
        for (int j = 0; j < LANE_DIMS; j++) {
            const int e = lane + WARP * j;
            out[j] = e < head_dim ? from_half(values[e]) : 0.0f;
        }
    }
}

// The highest score of a part of the keys, the sum of exp(score - highest), and with those weights the values' sum.
struct Part {
    float highest, sum, values[LANE_DIMS];
};

DEVICE void merge(Part& into, float highest, float sum, const float* values, int stride) {
    const float top = fmaxf(into.highest, highest);
    // No keys on either side: nothing to weigh.
    const float mine = top == -INFINITY ? 0.0f : expf(into.highest - top);
    const float theirs = top == -INFINITY ? 0.0f : expf(highest - top);
    into.highest = top;
    into.sum = into.sum * mine + sum * theirs;
    for (int j = 0; j < LANE_DIMS; j++) into.values[j] = into.values[j] * mine + values[j * stride] * theirs;
}

// blockIdx.x is a query's head ([m, heads]), blockIdx.y a part of the keys it sees. Query `i` of `m` stands at
// `*filled - m + i` and, if `causal`, sees nothing behind and `window` positions in all (0: any number); else it sees all
// `*filled` keys.
// From key `filled[1]` on each stands for `filled[2]` of its kind. Writes parts [m * heads, splits, 2 + head_dim].
KERNEL void attention_split(const float* q, const uint8_t* k_cache, const uint8_t* v_cache, const int* filled,
                            float* parts, int m, int heads, int kv_heads, int capacity, int causal, int window,
                            float scale, int bytes, int head_dim) {
    SHARED(float, shared);
    const int lane = lane_id(), warp = warp_id(), splits = gridDim.y, sampled = filled[1];
    const float raise = logf((float)filled[2]);
    const int i = blockIdx.x / heads, head = blockIdx.x % heads;
    const int end = *filled - (causal ? m - i - 1 : 0);
    const int begin = causal && window > 0 && end > window ? end - window : 0;
    const int each = (end - begin + splits - 1) / splits;
    const int from = begin + each * (int)blockIdx.y, to = min(from + each, end);
    const size_t rows = (size_t)(head * kv_heads / heads) * capacity;

    float query[LANE_DIMS];
    for (int j = 0; j < LANE_DIMS; j++) {
        const int e = lane + WARP * j;
        query[j] = e < head_dim ? q[(size_t)blockIdx.x * head_dim + e] * scale : 0.0f;
    }
    Part part = {-INFINITY, 0.0f, {}};
    for (int key = from + warp; key < to; key += WARPS) {
        float row[LANE_DIMS];
        load_row(k_cache, rows + key, head_dim, bytes, row);
        float score = 0.0f;
        for (int j = 0; j < LANE_DIMS; j++) score += query[j] * row[j];
        score = warp_sum(score) + (key >= sampled ? raise : 0.0f);
        load_row(v_cache, rows + key, head_dim, bytes, row);
        merge(part, score, 1.0f, row, 1);
    }
    // The warps' parts, one behind the other in shared memory.
    float* mine = shared + warp * (2 + WARP * LANE_DIMS);
    if (lane == 0) mine[0] = part.highest, mine[1] = part.sum;
    for (int j = 0; j < LANE_DIMS; j++) mine[2 + lane + WARP * j] = part.values[j];
    sync();
    if (warp > 0) return;
    for (int w = 1; w < WARPS; w++) {
        const float* other = shared + w * (2 + WARP * LANE_DIMS);
        merge(part, other[0], other[1], other + 2 + lane, WARP);
    }
    float* out = parts + ((size_t)blockIdx.x * splits + blockIdx.y) * (2 + head_dim);
    if (lane == 0) out[0] = part.highest, out[1] = part.sum;
    for (int j = 0, e = lane; e < head_dim; j++, e += WARP) out[2 + e] = part.values[j];
}

// A warp a query's head: its parts as one. Output [m, heads * head_dim].
KERNEL void attention_join(const float* parts, float* out, int splits, int head_dim) {
    const int lane = lane_id();
    Part part = {-INFINITY, 0.0f, {}};
    for (int s = 0; s < splits; s++) {
        const float* other = parts + ((size_t)blockIdx.x * splits + s) * (2 + head_dim);
        float values[LANE_DIMS];
        for (int j = 0; j < LANE_DIMS; j++) {
            const int e = lane + WARP * j;
            values[j] = e < head_dim ? other[2 + e] : 0.0f;
        }
        merge(part, other[0], other[1], values, 1);
    }
    for (int j = 0, e = lane; e < head_dim; j++, e += WARP) {
        out[(size_t)blockIdx.x * head_dim + e] = part.values[j] / part.sum;
    }
}

// What a block of WARPS warps has of queries, 16 each, and of KEYS keys with their values, as halves. Rows are longer by
// eight, so that they begin in different banks.
template <int DIM, int WARPS, int KEYS> struct Tiles {
    static constexpr int PITCH = DIM + 8;
    uint16_t q[16 * WARPS][PITCH], k[KEYS][PITCH], v[KEYS][PITCH];
};

// A row of a cache as halves.
template <int DIM> DEVICE void fetch_row(const uint8_t* cache, size_t row, int bytes, bool has, int from, int step, uint16_t* to) {
    const uint8_t* blocks = cache + row * (DIM + 4 * (DIM / 32));
    const uint16_t* values = (const uint16_t*)cache + row * DIM;
    for (int e = from; e < DIM; e += step) {
        const uint8_t* block = blocks + e / 32 * 36;
        // What is not there must be numbers: no weight makes nothing of a NaN.
        to[e] = !has ? 0 : bytes ? to_half(from_bits(load32(block)) * (int8_t)block[4 + e % 32]) : values[e];
    }
}

// Many queries, by tensor cores ("FlashAttention-2", Dao 2023): blockIdx.x is a tile of queries, blockIdx.y a head; what
// they see is as in attention_split. `q` and `out` are [m, heads * DIM].
template <int DIM, int WARPS, int KEYS>
DEVICE void tiled(const float* q, const uint8_t* k_cache, const uint8_t* v_cache, const int* filled, float* out, int m,
                  int heads, int kv_heads, int capacity, int causal, int window, float scale, int bytes) {
    using T = Tiles<DIM, WARPS, KEYS>;
    SHARED(T, tile);
    constexpr int QUERIES = 16 * WARPS;
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x, lane = lane_id();
    const int head = blockIdx.y, first = blockIdx.x * QUERIES, sampled = filled[1];
    const float raise = logf((float)filled[2]);
    const size_t rows = (size_t)(head * kv_heads / heads) * capacity;
    for (int n = thread; n < QUERIES * DIM; n += threads) {
        const int i = n / DIM, e = n % DIM;
        const float value = first + i < m ? q[((size_t)(first + i) * heads + head) * DIM + e] * scale : 0.0f;
        tile->q[i][e] = to_half(value);
    }
    auto end_of = [&](int i) { return i >= m ? 0 : *filled - (causal ? m - i - 1 : 0); };
    auto begin_of = [&](int i) {
        const int end = end_of(i);
        return causal && window > 0 && end > window ? end - window : 0;
    };
    const int last = min(first + QUERIES, m) - 1;
    // Of a tile of 16 x 8 a lane has rows `lane / 4` and 8 further, columns 2 * (lane % 4) and the next.
    const int own = warp_id() * 16 + lane / 4, column = 2 * (lane % 4);
    const int begins[2] = {begin_of(first + own), begin_of(first + own + 8)};
    const int ends[2] = {end_of(first + own), end_of(first + own + 8)};
    float highest[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    float acc[DIM / 8][4] = {};

    for (int from = begin_of(first) / KEYS * KEYS; from < end_of(last); from += KEYS) {
        sync();
        constexpr int LANES_A_ROW = 8;
        for (int key = thread / LANES_A_ROW; key < KEYS; key += threads / LANES_A_ROW) {
            const bool has = from + key < *filled;
            fetch_row<DIM>(k_cache, rows + from + key, bytes, has, thread % LANES_A_ROW, LANES_A_ROW, tile->k[key]);
            fetch_row<DIM>(v_cache, rows + from + key, bytes, has, thread % LANES_A_ROW, LANES_A_ROW, tile->v[key]);
        }
        sync();
        float scores[KEYS / 8][4] = {};
        for (int e = 0; e < DIM; e += 16) {
            const uint16_t *top = &tile->q[own][e + column], *bottom = &tile->q[own + 8][e + column];
            const uint32_t a[4] = {pair(top), pair(bottom), pair(top + 8), pair(bottom + 8)};
            for (int n = 0; n < KEYS / 8; n++) {
                const uint16_t* key = &tile->k[n * 8 + lane / 4][e + column];
                const uint32_t b[2] = {pair(key), pair(key + 8)};
                multiply_halves(scores[n], a, b);
            }
        }
        for (int r = 0; r < 2; r++) {
            float top = highest[r];
            for (int n = 0; n < KEYS / 8; n++) {
                for (int c = 0; c < 2; c++) {
                    const int key = from + n * 8 + column + c;
                    float& score = scores[n][2 * r + c];
                    score += key >= sampled ? raise : 0.0f;
                    score = key >= begins[r] && key < ends[r] ? score : -INFINITY;
                    top = fmaxf(top, score);
                }
            }
            // The four lanes of a row.
            top = fmaxf(top, shuffle_xor(top, 1));
            top = fmaxf(top, shuffle_xor(top, 2));
            const float keep = top == -INFINITY ? 1.0f : expf(highest[r] - top);
            highest[r] = top;
            sum[r] *= keep;
            for (int n = 0; n < DIM / 8; n++) {
                acc[n][2 * r] *= keep;
                acc[n][2 * r + 1] *= keep;
            }
            for (int n = 0; n < KEYS / 8; n++) {
                for (int c = 0; c < 2; c++) {
                    float& score = scores[n][2 * r + c];
                    score = top == -INFINITY ? 0.0f : expf(score - top);
                    sum[r] += score;
                }
            }
        }
        for (int key = 0; key < KEYS; key += 16) {
            // The result of one product lies as the left side of the next.
            const float(*p)[4] = &scores[key / 8];
            const uint32_t a[4] = {halves(p[0][0], p[0][1]), halves(p[0][2], p[0][3]), halves(p[1][0], p[1][1]),
                                   halves(p[1][2], p[1][3])};
            for (int n = 0; n < DIM / 8; n++) {
                const int e = n * 8 + lane / 4;
                auto two = [&](int k) { return (uint32_t)tile->v[k][e] | (uint32_t)tile->v[k + 1][e] << 16; };
                const uint32_t b[2] = {two(key + column), two(key + column + 8)};
                multiply_halves(acc[n], a, b);
            }
        }
    }
    for (int r = 0; r < 2; r++) {
        float total = sum[r];
        total += shuffle_xor(total, 1);
        total += shuffle_xor(total, 2);
        const int i = first + own + 8 * r;
        if (i >= m) continue;
        float* to = out + ((size_t)i * heads + head) * DIM + column;
        for (int n = 0; n < DIM / 8; n++) {
            to[n * 8] = acc[n][2 * r] / total;
            to[n * 8 + 1] = acc[n][2 * r + 1] / total;
        }
    }
}

#define INSTANCE(NAME, DIM, WARPS, KEYS)                                                                            \
    KERNEL void NAME(const float* q, const uint8_t* k_cache, const uint8_t* v_cache, const int* filled, float* out,  \
                     int m, int heads, int kv_heads, int capacity, int causal, int window, float scale, int bytes) { \
        tiled<DIM, WARPS, KEYS>(q, k_cache, v_cache, filled, out, m, heads, kv_heads, capacity, causal, window,     \
                                scale, bytes);                                                                      \
    }
INSTANCE(attention_tiles_64, 64, 4, 32)
INSTANCE(attention_tiles_128, 128, 4, 32)
// Within 48 KiB of shared memory.
INSTANCE(attention_tiles_256, 256, 2, 16)
#undef INSTANCE
