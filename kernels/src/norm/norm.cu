// LayerNorm and RMSNorm of rows, with the residual sum before it.
#include "../gpu/device.h"

// A block a row of `cols`. With `add`, x += add first. With `bias` the mean is taken away (LayerNorm), without not.
KERNEL void norm(float* x, const float* add, const float* weight, const float* bias, float* y, int cols, float eps) {
    SHARED(float, scratch);
    x += (size_t)blockIdx.x * cols;
    y += (size_t)blockIdx.x * cols;
    if (add) add += (size_t)blockIdx.x * cols;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < cols; i += blockDim.x) {
        if (add) x[i] += add[i];
        sum += x[i];
    }
    // Each thread reads again only what it wrote.
    const float mean = bias ? block_sum(sum, scratch) / cols : 0.0f;
    float squares = 0.0f;
    for (int i = threadIdx.x; i < cols; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    const float scale = rsqrtf(block_sum(squares, scratch) / cols + eps);
    for (int i = threadIdx.x; i < cols; i += blockDim.x) {
        y[i] = (x[i] - mean) * scale * weight[i] + (bias ? bias[i] : 0.0f);
    }
}
