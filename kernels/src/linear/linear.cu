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

// A warp a row of the weight, a lane a group of 32; ROWS rows of activations at once, of which `m` are there.
template <int TYPE, int ROWS>
DEVICE void quantized(const uint8_t* w, const int* q, const float* scales, const int* sums, const float* bias,
                      float* y, int rows, int cols, int m) {
    const int row = blockIdx.x * (blockDim.x / WARP) + warp_id(), lane = lane_id(), groups = cols / 32;
    if (row >= rows) return;
    w += (size_t)row * (cols / Blocks<TYPE>::LEN) * Blocks<TYPE>::BYTES;
    float acc[ROWS] = {};
    for (int group = lane; group < groups; group += WARP) {
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
    for (int i = 0; i < ROWS; i++) {
        const float sum = warp_sum(acc[i]);
        if (lane == 0 && i < m) y[(size_t)i * rows + row] = sum + (bias ? bias[row] : 0.0f);
    }
}

DEVICE float dense(const uint8_t* w, size_t i, int type) {
    if (type == TYPE_F32) return ((const float*)w)[i];
    const uint16_t bits = ((const uint16_t*)w)[i];
    return type == TYPE_F16 ? from_half(bits) : from_brain(bits);
}

// The same over dense weights, of activations as they are.
KERNEL void linear_dense(const uint8_t* w, const float* x, const float* bias, float* y, int rows, int cols, int m,
                         int type) {
    const int row = blockIdx.x * (blockDim.x / WARP) + warp_id(), lane = lane_id();
    if (row >= rows) return;
    for (int i = 0; i < m; i++) {
        float acc = 0.0f;
        for (int j = lane; j < cols; j += WARP) acc += dense(w, (size_t)row * cols + j, type) * x[(size_t)i * cols + j];
        acc = warp_sum(acc);
        if (lane == 0) y[(size_t)i * rows + row] = acc + (bias ? bias[row] : 0.0f);
    }
}

#define LINEAR(NAME, TYPE, ROWS)                                                                                       \
    KERNEL void NAME##_##ROWS(const uint8_t* w, const int* q, const float* scales, const int* sums, const float* bias, \
                              float* y, int rows, int cols, int m) {                                                   \
        quantized<TYPE, ROWS>(w, q, scales, sums, bias, y, rows, cols, m);                                             \
    }
#define LINEAR_EACH(NAME, TYPE) LINEAR(NAME, TYPE, 1) LINEAR(NAME, TYPE, 4) LINEAR(NAME, TYPE, 8) LINEAR(NAME, TYPE, 16)

LINEAR_EACH(linear_q4_0, TYPE_Q4_0)
LINEAR_EACH(linear_q4_1, TYPE_Q4_1)
LINEAR_EACH(linear_q5_0, TYPE_Q5_0)
LINEAR_EACH(linear_q5_1, TYPE_Q5_1)
LINEAR_EACH(linear_q8_0, TYPE_Q8_0)
LINEAR_EACH(linear_q4_k, TYPE_Q4_K)
LINEAR_EACH(linear_q5_k, TYPE_Q5_K)
LINEAR_EACH(linear_q6_k, TYPE_Q6_K)

template <int TYPE> DEVICE void gather_row(const uint8_t* w, int id, float* y, int cols) {
    w += (size_t)id * (cols / Blocks<TYPE>::LEN) * Blocks<TYPE>::BYTES;
    for (int group = threadIdx.x; group < cols / 32; group += blockDim.x) {
        Group g;
        read_group<TYPE>(w, group, g);
        for (int i = 0; i < 32; i++) y[group * 32 + i] = element(g, i);
    }
}

// Rows `ids` of a weight, a block each.
KERNEL void gather_rows(const uint8_t* w, const int* ids, float* y, int cols, int type) {
    const int id = ids[blockIdx.x];
    y += (size_t)blockIdx.x * cols;
    switch (type) {
        case TYPE_Q4_0: return gather_row<TYPE_Q4_0>(w, id, y, cols);
        case TYPE_Q4_1: return gather_row<TYPE_Q4_1>(w, id, y, cols);
        case TYPE_Q5_0: return gather_row<TYPE_Q5_0>(w, id, y, cols);
        case TYPE_Q5_1: return gather_row<TYPE_Q5_1>(w, id, y, cols);
        case TYPE_Q8_0: return gather_row<TYPE_Q8_0>(w, id, y, cols);
        case TYPE_Q4_K: return gather_row<TYPE_Q4_K>(w, id, y, cols);
        case TYPE_Q5_K: return gather_row<TYPE_Q5_K>(w, id, y, cols);
        case TYPE_Q6_K: return gather_row<TYPE_Q6_K>(w, id, y, cols);
        default:
            for (int i = threadIdx.x; i < cols; i += blockDim.x) y[i] = dense(w, (size_t)id * cols + i, type);
    }
}
