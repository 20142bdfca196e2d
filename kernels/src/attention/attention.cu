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
// From key `sampled` on (if not negative) scores are raised by `raise`. Writes parts [m * heads, splits, 2 + head_dim].
KERNEL void attention_split(const float* q, const uint8_t* k_cache, const uint8_t* v_cache, const int* filled,
                            float* parts, int m, int heads, int kv_heads, int head_dim, int capacity, int causal,
                            int window, float scale, int sampled, float raise, int bytes) {
    SHARED(float, shared);
    const int lane = lane_id(), warp = warp_id(), splits = gridDim.y;
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
        score = warp_sum(score) + (sampled >= 0 && key >= sampled ? raise : 0.0f);
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
