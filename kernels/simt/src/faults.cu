// Kernels with the mistakes that the host must find.
#include "gpu/device.h"

// Half of a block waits for the other half, which does not come.
KERNEL void fault_barrier(float* out) {
    if (threadIdx.x < blockDim.x / 2) sync();
    out[threadIdx.x] = 0.0f;
}

// One thread is not there when its warp exchanges.
KERNEL void fault_shuffle(float* out) {
    if (threadIdx.x == 3) sync();
    out[threadIdx.x] = shuffle_xor((float)threadIdx.x, 1);
}

// One number behind the end.
KERNEL void fault_overrun(float* out) { out[threadIdx.x + 1] = 1.0f; }

// Shared memory that nobody wrote.
KERNEL void unwritten_shared(float* out) {
    SHARED(float, shared);
    out[threadIdx.x] = shared[threadIdx.x];
}
