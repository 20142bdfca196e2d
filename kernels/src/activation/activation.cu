// GELU, and the gated activations of MLPs.
#include "../gpu/device.h"

KERNEL void gelu(const float* x, float* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = gelu_of(x[i]);
}

KERNEL void gated(const float* gate, const float* up, float* y, int n, int silu) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = gated_of(gate[i], up[i], silu);
}
