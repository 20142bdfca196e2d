// y = x Wᵀ + b of few rows over quantised or dense weights, and rows of a weight (token embedding).
#include "../gpu/blocks.h"

// Activations as bytes: for each 32 a scale, and the sums of the first and of the last 16 in the halves of a word. A warp a
// group; blockIdx.y is the row.
KERNEL void round_rows(const float* x, int* q, float* scales, int* sums, int groups) {
    const int group = blockIdx.x * (blockDim.x / WARP) + warp_id(), lane = lane_id();
    if (group >= groups) return;
    const size_t at = (size_t)blockIdx.y * groups + group;
    const float v = x[at * 32 + lane], most = warp_max(fabsf(v));
    const float inverse = most > 1e-30f ? 127.0f / most : 0.0f;
    const int byte = (int)rintf(v * inverse);
    ((int8_t*)q)[at * 32 + lane] = (int8_t)byte;
    int sum = byte;
    for (int mask = 8; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    const int first = shuffle(sum, 0), last = shuffle(sum, 16);
    if (lane == 0) {
        scales[at] = most / 127.0f;
        sums[at] = (first & 0xffff) | last << 16;
    }
}

// A lane's part of a row `w` of the weight times ROWS rows of activations, of which `m` are there: a lane has every 32nd group.
template <int TYPE, int ROWS>
DEVICE void dot_rows(const uint8_t* w, const int* q, const float* scales, const int* sums, int groups, int m,
                     float (&acc)[ROWS]) {
    for (int group = lane_id(); group < groups; group += WARP) {
        Group g;
        read_group<TYPE>(w, group, g);
        for (int i = 0; i < ROWS; i++) {
            if (i >= m) break;
            const size_t at = (size_t)i * groups + group;
            int first = 0, last = 0;
            for (int k = 0; k < 4; k++) {
                first = dot4(g.q[k], q[at * 8 + k], first);
                last = dot4(g.q[k + 4], q[at * 8 + k + 4], last);
            }
            const int sum = sums[at];
            acc[i] += scales[at] * (g.scale[0] * first + g.offset[0] * (int16_t)sum +
                                    (g.scale[1] * last + g.offset[1] * (sum >> 16)));
        }
    }
}

// A warp a row of the weight: row `ids[i]` for the i-th of y, or the i-th.
template <int TYPE, int ROWS>
DEVICE void quantized(const uint8_t* w, const int* ids, const int* q, const float* scales, const int* sums,
                      const float* bias, float* y, int rows, int cols, int m) {
    const int row = blockIdx.x * (blockDim.x / WARP) + warp_id();
    if (row >= rows) return;
    const int from = ids ? ids[row] : row;
    float acc[ROWS] = {};
    dot_rows<TYPE>(w + (size_t)from * (cols / Blocks<TYPE>::LEN) * Blocks<TYPE>::BYTES, q, scales, sums, cols / 32, m, acc);
    for (int i = 0; i < ROWS; i++) {
        const float sum = warp_sum(acc[i]);
        if (lane_id() == 0 && i < m) y[(size_t)i * rows + row] = sum + (bias ? bias[from] : 0.0f);
    }
}

// The gated first half of a perceptron: a warp has the same row of both weights.
template <int TYPE, int ROWS>
DEVICE void gated_rows(const uint8_t* gate, const uint8_t* up, const int* q, const float* scales, const int* sums, float* y,
                       int rows, int cols, int m, int silu) {
    const int row = blockIdx.x * (blockDim.x / WARP) + warp_id();
    if (row >= rows) return;
    const size_t at = (size_t)row * (cols / Blocks<TYPE>::LEN) * Blocks<TYPE>::BYTES;
    float gates[ROWS] = {}, ups[ROWS] = {};
    dot_rows<TYPE>(gate + at, q, scales, sums, cols / 32, m, gates);
    dot_rows<TYPE>(up + at, q, scales, sums, cols / 32, m, ups);
    for (int i = 0; i < ROWS; i++) {
        const float g = warp_sum(gates[i]), u = warp_sum(ups[i]);
        if (lane_id() == 0 && i < m) y[(size_t)i * rows + row] = gated_of(g, u, silu);
    }
}

DEVICE float dense(const uint8_t* w, size_t i, int type) {
    if (type == TYPE_F32) return ((const float*)w)[i];
    const uint16_t bits = ((const uint16_t*)w)[i];
    return type == TYPE_F16 ? from_half(bits) : from_brain(bits);
}

// The same over dense weights, of activations as they are.
KERNEL void linear_dense(const uint8_t* w, const int* ids, const float* x, const float* bias, float* y, int rows, int cols,
                         int m, int type) {
    const int row = blockIdx.x * (blockDim.x / WARP) + warp_id(), lane = lane_id();
    if (row >= rows) return;
    const int from = ids ? ids[row] : row;
    for (int i = 0; i < m; i++) {
        float acc = 0.0f;
        for (int j = lane; j < cols; j += WARP) acc += dense(w, (size_t)from * cols + j, type) * x[(size_t)i * cols + j];
        acc = warp_sum(acc);
        if (lane == 0) y[(size_t)i * rows + row] = acc + (bias ? bias[from] : 0.0f);
    }
}

#define INSTANCE(NAME, TYPE, ROWS)                                                                                      \
    KERNEL void NAME(const uint8_t* w, const int* ids, const int* q, const float* scales, const int* sums,                \
                     const float* bias, float* y, int rows, int cols, int m) {                                            \
        quantized<TYPE, ROWS>(w, ids, q, scales, sums, bias, y, rows, cols, m);                                           \
    }
INSTANCE(linear_q4_0_1, TYPE_Q4_0, 1)
INSTANCE(linear_q4_0_4, TYPE_Q4_0, 4)
INSTANCE(linear_q4_0_8, TYPE_Q4_0, 8)
INSTANCE(linear_q4_0_16, TYPE_Q4_0, 16)
INSTANCE(linear_q4_1_1, TYPE_Q4_1, 1)
INSTANCE(linear_q4_1_4, TYPE_Q4_1, 4)
INSTANCE(linear_q4_1_8, TYPE_Q4_1, 8)
INSTANCE(linear_q4_1_16, TYPE_Q4_1, 16)
INSTANCE(linear_q5_0_1, TYPE_Q5_0, 1)
INSTANCE(linear_q5_0_4, TYPE_Q5_0, 4)
INSTANCE(linear_q5_0_8, TYPE_Q5_0, 8)
INSTANCE(linear_q5_0_16, TYPE_Q5_0, 16)
INSTANCE(linear_q5_1_1, TYPE_Q5_1, 1)
INSTANCE(linear_q5_1_4, TYPE_Q5_1, 4)
INSTANCE(linear_q5_1_8, TYPE_Q5_1, 8)
INSTANCE(linear_q5_1_16, TYPE_Q5_1, 16)
INSTANCE(linear_q8_0_1, TYPE_Q8_0, 1)
INSTANCE(linear_q8_0_4, TYPE_Q8_0, 4)
INSTANCE(linear_q8_0_8, TYPE_Q8_0, 8)
INSTANCE(linear_q8_0_16, TYPE_Q8_0, 16)
INSTANCE(linear_q4_k_1, TYPE_Q4_K, 1)
INSTANCE(linear_q4_k_4, TYPE_Q4_K, 4)
INSTANCE(linear_q4_k_8, TYPE_Q4_K, 8)
INSTANCE(linear_q4_k_16, TYPE_Q4_K, 16)
INSTANCE(linear_q5_k_1, TYPE_Q5_K, 1)
INSTANCE(linear_q5_k_4, TYPE_Q5_K, 4)
INSTANCE(linear_q5_k_8, TYPE_Q5_K, 8)
INSTANCE(linear_q5_k_16, TYPE_Q5_K, 16)
INSTANCE(linear_q6_k_1, TYPE_Q6_K, 1)
INSTANCE(linear_q6_k_4, TYPE_Q6_K, 4)
INSTANCE(linear_q6_k_8, TYPE_Q6_K, 8)
INSTANCE(linear_q6_k_16, TYPE_Q6_K, 16)
#undef INSTANCE

#define INSTANCE(NAME, TYPE, ROWS)                                                                                      \
    KERNEL void NAME(const uint8_t* gate, const uint8_t* up, const int* q, const float* scales, const int* sums,          \
                     float* y, int rows, int cols, int m, int silu) {                                                     \
        gated_rows<TYPE, ROWS>(gate, up, q, scales, sums, y, rows, cols, m, silu);                                        \
    }
INSTANCE(gated_q4_0_1, TYPE_Q4_0, 1)
INSTANCE(gated_q4_0_4, TYPE_Q4_0, 4)
INSTANCE(gated_q4_0_8, TYPE_Q4_0, 8)
INSTANCE(gated_q4_0_16, TYPE_Q4_0, 16)
INSTANCE(gated_q4_1_1, TYPE_Q4_1, 1)
INSTANCE(gated_q4_1_4, TYPE_Q4_1, 4)
INSTANCE(gated_q4_1_8, TYPE_Q4_1, 8)
INSTANCE(gated_q4_1_16, TYPE_Q4_1, 16)
INSTANCE(gated_q5_0_1, TYPE_Q5_0, 1)
INSTANCE(gated_q5_0_4, TYPE_Q5_0, 4)
INSTANCE(gated_q5_0_8, TYPE_Q5_0, 8)
INSTANCE(gated_q5_0_16, TYPE_Q5_0, 16)
INSTANCE(gated_q5_1_1, TYPE_Q5_1, 1)
INSTANCE(gated_q5_1_4, TYPE_Q5_1, 4)
INSTANCE(gated_q5_1_8, TYPE_Q5_1, 8)
INSTANCE(gated_q5_1_16, TYPE_Q5_1, 16)
INSTANCE(gated_q8_0_1, TYPE_Q8_0, 1)
INSTANCE(gated_q8_0_4, TYPE_Q8_0, 4)
INSTANCE(gated_q8_0_8, TYPE_Q8_0, 8)
INSTANCE(gated_q8_0_16, TYPE_Q8_0, 16)
INSTANCE(gated_q4_k_1, TYPE_Q4_K, 1)
INSTANCE(gated_q4_k_4, TYPE_Q4_K, 4)
INSTANCE(gated_q4_k_8, TYPE_Q4_K, 8)
INSTANCE(gated_q4_k_16, TYPE_Q4_K, 16)
INSTANCE(gated_q5_k_1, TYPE_Q5_K, 1)
INSTANCE(gated_q5_k_4, TYPE_Q5_K, 4)
INSTANCE(gated_q5_k_8, TYPE_Q5_K, 8)
INSTANCE(gated_q5_k_16, TYPE_Q5_K, 16)
INSTANCE(gated_q6_k_1, TYPE_Q6_K, 1)
INSTANCE(gated_q6_k_4, TYPE_Q6_K, 4)
INSTANCE(gated_q6_k_8, TYPE_Q6_K, 8)
INSTANCE(gated_q6_k_16, TYPE_Q6_K, 16)
#undef INSTANCE

// Products of many rows: a block has TILE rows of activations and TILE rows of the weight, a warp 16 of the former, and
// goes over the columns 32 at a time; bytes are multiplied by tensor cores, 16 columns at once, for which scales may
// differ.
constexpr int TILE = 64;
// Words of a row of 32 bytes in shared memory, and one so that rows begin in different banks.
constexpr int PITCH = 9;

struct Tile {
    int x[TILE][PITCH], w[TILE][PITCH];
    float x_scale[TILE], x_first[TILE], x_last[TILE];
    float scale[2][TILE], offset[2][TILE];
};

template <int TYPE>
DEVICE void many(const uint8_t* w, const int* q, const float* scales, const int* sums, const float* bias, float* y,
                 int rows, int cols, int m) {
    SHARED(Tile, tile);
    const int groups = cols / 32, thread = (int)threadIdx.x, lane = lane_id();
    const int first_row = blockIdx.x * TILE, first_x = blockIdx.y * TILE;
    const size_t row_bytes = (size_t)(cols / Blocks<TYPE>::LEN) * Blocks<TYPE>::BYTES;
    // Of a tile of 16 x 8 a lane has rows `lane / 4` and 8 further, columns 2 * (lane % 4) and the next.
    const int own_row = warp_id() * 16 + lane / 4, own_col = 2 * (lane % 4);
    float acc[TILE / 8][4] = {};
    for (int group = 0; group < groups; group++) {
        // Half of the threads unpack weights, the others fetch activations; rows that are not there are zeros.
        if (thread < TILE) {
            Group g = {};
            if (first_row + thread < rows) read_group<TYPE>(w + (first_row + thread) * row_bytes, group, g);
            for (int k = 0; k < 8; k++) tile->w[thread][k] = g.q[k];
            for (int part = 0; part < 2; part++) {
                tile->scale[part][thread] = g.scale[part];
                tile->offset[part][thread] = g.offset[part];
            }
        } else {
            const int i = thread - TILE;
            const bool has = first_x + i < m;
            const size_t at = (size_t)(first_x + i) * groups + group;
            for (int k = 0; k < 8; k++) tile->x[i][k] = has ? q[at * 8 + k] : 0;
            const float scale = has ? scales[at] : 0.0f;
            const int sum = has ? sums[at] : 0;
            tile->x_scale[i] = scale;
            tile->x_first[i] = scale * (int16_t)sum;
            tile->x_last[i] = scale * (sum >> 16);
        }
        sync();
        for (int part = 0; part < 2; part++) {
            const int word = lane % 4 + 4 * part;
            const int a[2] = {tile->x[own_row][word], tile->x[own_row + 8][word]};
            for (int n = 0; n < TILE / 8; n++) {
                int c[4] = {};
                multiply_bytes(c, a, tile->w[n * 8 + lane / 4][word]);
                for (int k = 0; k < 4; k++) {
                    const int i = own_row + 8 * (k / 2), j = n * 8 + own_col + k % 2;
                    const float sum = part == 0 ? tile->x_first[i] : tile->x_last[i];
                    acc[n][k] += tile->x_scale[i] * tile->scale[part][j] * c[k] + sum * tile->offset[part][j];
                }
            }
        }
        sync();
    }
    for (int n = 0; n < TILE / 8; n++) {
        for (int k = 0; k < 4; k++) {
            const int i = first_x + own_row + 8 * (k / 2), j = first_row + n * 8 + own_col + k % 2;
            if (i < m && j < rows) y[(size_t)i * rows + j] = acc[n][k] + (bias ? bias[j] : 0.0f);
        }
    }
}

#define INSTANCE(NAME, TYPE)                                                                                          \
    KERNEL void NAME(const uint8_t* w, const int* q, const float* scales, const int* sums, const float* bias, float* y, \
                     int rows, int cols, int m) {                                                                     \
        many<TYPE>(w, q, scales, sums, bias, y, rows, cols, m);                                                       \
    }
INSTANCE(linear_q4_0_many, TYPE_Q4_0)
INSTANCE(linear_q4_1_many, TYPE_Q4_1)
INSTANCE(linear_q5_0_many, TYPE_Q5_0)
INSTANCE(linear_q5_1_many, TYPE_Q5_1)
INSTANCE(linear_q8_0_many, TYPE_Q8_0)
INSTANCE(linear_q4_k_many, TYPE_Q4_K)
INSTANCE(linear_q5_k_many, TYPE_Q5_K)
INSTANCE(linear_q6_k_many, TYPE_Q6_K)
#undef INSTANCE

// Columns at a time of products of halves, and the length of their rows in shared memory.
constexpr int DEPTH = 32;
constexpr int HALF_PITCH = DEPTH + 8;

struct HalfTile {
    uint16_t x[TILE][HALF_PITCH], w[TILE][HALF_PITCH];
};

// Products of many rows with dense weights, both sides as halves, sums in f32; with `gelu` of what comes out. Row `i` of
// the activations is the `cols` numbers of `x` (of `len`) from i * step + offset on, zeros where there are none: for a
// convolution over time rows overlap, and the first and last reach beyond.
KERNEL void matmul(const uint8_t* w, const float* x, const float* bias, float* y, int rows, int cols, int m, int type,
                   int step, int offset, int len, int gelu) {
    SHARED(HalfTile, tile);
    const int thread = (int)threadIdx.x, lane = lane_id();
    const int first_row = blockIdx.x * TILE, first_x = blockIdx.y * TILE;
    const int own = warp_id() * 16 + lane / 4, column = 2 * (lane % 4);
    float acc[TILE / 8][4] = {};
    for (int from = 0; from < cols; from += DEPTH) {
        for (int n = thread; n < TILE * DEPTH; n += (int)blockDim.x) {
            const int i = n / DEPTH, e = n % DEPTH;
            const int at = (first_x + i) * step + offset + from + e;
            const bool has_x = first_x + i < m && from + e < cols && at >= 0 && at < len;
            const bool has_w = first_row + i < rows && from + e < cols;
            tile->x[i][e] = has_x ? to_half(x[at]) : 0;
            tile->w[i][e] = has_w ? to_half(dense(w, (size_t)(first_row + i) * cols + from + e, type)) : 0;
        }
        sync();
        for (int e = 0; e < DEPTH; e += 16) {
            const uint16_t *top = &tile->x[own][e + column], *bottom = &tile->x[own + 8][e + column];
            const uint32_t a[4] = {pair(top), pair(bottom), pair(top + 8), pair(bottom + 8)};
            for (int n = 0; n < TILE / 8; n++) {
                const uint16_t* right = &tile->w[n * 8 + lane / 4][e + column];
                const uint32_t b[2] = {pair(right), pair(right + 8)};
                multiply_halves(acc[n], a, b);
            }
        }
        sync();
    }
    for (int n = 0; n < TILE / 8; n++) {
        for (int k = 0; k < 4; k++) {
            const int i = first_x + own + 8 * (k / 2), j = first_row + n * 8 + column + k % 2;
            if (i >= m || j >= rows) continue;
            const float v = acc[n][k] + (bias ? bias[j] : 0.0f);
            y[(size_t)i * rows + j] = gelu ? gelu_of(v) : v;
        }
    }
}

template <int TYPE> DEVICE void gather_row(const uint8_t* w, int id, float* y, int cols, float scale) {
    w += (size_t)id * (cols / Blocks<TYPE>::LEN) * Blocks<TYPE>::BYTES;
    for (int group = threadIdx.x; group < cols / 32; group += blockDim.x) {
        Group g;
        read_group<TYPE>(w, group, g);
        for (int i = 0; i < 32; i++) y[group * 32 + i] = element(g, i) * scale;
    }
}

// Rows `ids` of a weight, a block each, times `scale`.
KERNEL void gather_rows(const uint8_t* w, const int* ids, float* y, int cols, int type, float scale) {
    const int id = ids[blockIdx.x];
    y += (size_t)blockIdx.x * cols;
    switch (type) {
        case TYPE_Q4_0: return gather_row<TYPE_Q4_0>(w, id, y, cols, scale);
        case TYPE_Q4_1: return gather_row<TYPE_Q4_1>(w, id, y, cols, scale);
        case TYPE_Q5_0: return gather_row<TYPE_Q5_0>(w, id, y, cols, scale);
        case TYPE_Q5_1: return gather_row<TYPE_Q5_1>(w, id, y, cols, scale);
        case TYPE_Q8_0: return gather_row<TYPE_Q8_0>(w, id, y, cols, scale);
        case TYPE_Q4_K: return gather_row<TYPE_Q4_K>(w, id, y, cols, scale);
        case TYPE_Q5_K: return gather_row<TYPE_Q5_K>(w, id, y, cols, scale);
        case TYPE_Q6_K: return gather_row<TYPE_Q6_K>(w, id, y, cols, scale);
        default:
            for (int i = threadIdx.x; i < cols; i += blockDim.x) y[i] = dense(w, (size_t)id * cols + i, type) * scale;
    }
}
