// Rotary position embedding of queries and keys, and the new keys and values written to a cache.
#include "../gpu/device.h"

// Elements that a thread of a warp has of a head, at most: heads of up to 256.
constexpr int MOST = 8;

// Element `e` of a head turned by `angle * position`, from the head as it was.
DEVICE float turned(const float* head, int e, int dim, float position, const float* inv_freq, int halves) {
    const int half = dim / 2;
    const int pair = halves ? e % half : e / 2;
    const bool first = halves ? e < half : e % 2 == 0;
    const int partner = halves ? (first ? e + half : e - half) : (first ? e + 1 : e - 1);
    float sine, cosine;
    sincosf(position * inv_freq[pair], &sine, &cosine);
    return first ? head[e] * cosine - head[partner] * sine : head[partner] * sine + head[e] * cosine;
}

// A warp a head: blockIdx.x is the token, blockIdx.y counts the heads of queries, then keys, then values. Queries
// are turned in place. `k_cache` and `v_cache` are [kv_heads, capacity] rows of halves, or with `bytes` of blocks of an
// f32 scale and 32 signed bytes. The tokens are the last of `*filled` positions. Without `inv_freq` nothing is turned.
KERNEL void rope_append(float* q, const float* k, const float* v, const float* inv_freq, const int* filled,
                        uint8_t* k_cache, uint8_t* v_cache, int heads, int kv_heads, int head_dim, int capacity,
                        int halves, int bytes) {
    const int token = blockIdx.x, lane = lane_id();
    int head = blockIdx.y;
    const bool is_query = head < heads, is_key = !is_query && head < heads + kv_heads;
    if (!is_query) head -= is_key ? heads : heads + kv_heads;
    const int at = *filled - (int)gridDim.x + token;
    const size_t row = (size_t)token * (is_query ? heads : kv_heads) + head;
    const float* from = (is_query ? q : is_key ? k : v) + row * head_dim;
    float x[MOST];
    for (int j = 0; j < MOST; j++) {
        const int e = lane + WARP * j;
        if (e >= head_dim) break;
        const bool turns = inv_freq && (is_query || is_key);
        x[j] = turns ? turned(from, e, head_dim, (float)at, inv_freq, halves) : from[e];
    }
    // All have read before one writes.
    sync();
    if (is_query) {
        for (int j = 0, e = lane; e < head_dim; j++, e += WARP) q[row * head_dim + e] = x[j];
        return;
    }
    const size_t place = (size_t)head * capacity + at;
    uint8_t* const cache = is_key ? k_cache : v_cache;
    if (!bytes) {
        uint16_t* to = (uint16_t*)cache + place * head_dim;
        for (int j = 0, e = lane; e < head_dim; j++, e += WARP) to[e] = to_half(x[j]);
        return;
    }
    const int blocks = (head_dim + WARP - 1) / WARP;
    uint8_t* to = cache + place * (head_dim + 4 * blocks);
    for (int j = 0; j < blocks; j++, to += 4 + WARP) {
        const bool has = lane + WARP * j < head_dim;
        const float most = warp_max(has ? fabsf(x[j]) : 0.0f);
        // What is too small for an inverse stands for zero.
        const float inverse = most > 1e-30f ? 127.0f / most : 0.0f;
        const uint32_t scale = to_bits(most / 127.0f);
        if (lane < 4) to[lane] = (uint8_t)(scale >> 8 * lane);
        if (has) to[4 + lane] = (uint8_t)(int8_t)rintf(x[j] * inverse);
    }
}

// Of each head (blockIdx.y) the first `len` pairs of bytes of `from`, where a head has `from_len`, to where it has `to_len`.
KERNEL void kv_copy(const uint16_t* from, uint16_t* to, int from_len, int to_len, int len) {
    from += (size_t)blockIdx.y * from_len;
    to += (size_t)blockIdx.y * to_len;
    const int end = min((int)(blockIdx.x + 1) * 4 * (int)blockDim.x, len);
    for (int i = blockIdx.x * 4 * blockDim.x + threadIdx.x; i < end; i += blockDim.x) to[i] = from[i];
}
