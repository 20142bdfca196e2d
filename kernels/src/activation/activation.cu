// GELU, and the gated activations of MLPs.
#include "../gpu/device.h"

KERNEL void gelu(const float* x, float* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = gelu_of(x[i]);
}

// y = activation(gate) * up: SiLU, or GELU by tanh.
KERNEL void gated(const float* gate, const float* up, float* y, int n, int silu) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float g = gate[i];
    const float inner = 0.7978845608f * (g + 0.044715f * g * g * g);
    y[i] = (silu ? g / (1.0f + expf(-g)) : 0.5f * g * (1.0f + tanhf(inner))) * up[i];
}
