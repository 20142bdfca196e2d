// The language that kernels are written in: CUDA C++, or the host's C++ under `simt.h`, which runs the same source
// without a GPU. Kernels use nothing else of either.
//
// Conventions: a kernel is `KERNEL void name(...)`; it has no static shared memory, only what it is launched with
// (`SHARED`); all 32 threads of a warp take part in every shuffle and all of a block in every `sync()`.
#pragma once
#include <stdint.h>

#ifdef __CUDACC__

#include <cuda_fp16.h>
#define KERNEL extern "C" __global__
#define DEVICE static __device__ __forceinline__
#define SHARED(T, name)                                  \
    extern __shared__ __align__(16) uint8_t shared_bytes[]; \
    T* const name = reinterpret_cast<T*>(shared_bytes)
#define DEVICE_METHOD static __device__ __forceinline__

DEVICE void sync() { __syncthreads(); }
template <class T> DEVICE T shuffle(T v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
template <class T> DEVICE T shuffle_xor(T v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEVICE float from_half(uint16_t h) { return __half2float(__ushort_as_half(h)); }
DEVICE uint16_t to_half(float f) { return __half_as_ushort(__float2half_rn(f)); }
DEVICE float from_bits(uint32_t b) { return __uint_as_float(b); }
DEVICE uint32_t to_bits(float f) { return __float_as_uint(f); }
// Four products of signed bytes, added to `c`.
DEVICE int dot4(int a, int b, int c) { return __dp4a(a, b, c); }

// Tensor cores. A warp multiplies 16 rows by 8 columns and adds to `c`: a lane has rows r = lane / 4 and r + 8 of the
// left, column lane / 4 of the right, and of the result c[0..1] in row r and c[2..3] in row r + 8, columns 2 * (lane % 4)
// and the next (PTX ISA, "Matrix fragments for mma.m16n8k16").

// 16 signed bytes deep, four of them to a word: a[0], a[1] and b begin at 4 * (lane % 4).
DEVICE void multiply_bytes(int (&c)[4], const int (&a)[2], int b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
}

// 16 halves deep, two of them to a word: a[0] and a[1] (row r and r + 8) and b[0] begin at 2 * (lane % 4), a[2], a[3] and
// b[1] eight further.
DEVICE void multiply_halves(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else
#include "simt.h"
#endif

constexpr int WARP = 32;

DEVICE int lane_id() { return (int)threadIdx.x % WARP; }
DEVICE int warp_id() { return (int)threadIdx.x / WARP; }
DEVICE float from_brain(uint16_t b) { return from_bits((uint32_t)b << 16); }

DEVICE float warp_sum(float v) {
    for (int mask = WARP / 2; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
    return v;
}

DEVICE float warp_max(float v) {
    for (int mask = WARP / 2; mask > 0; mask /= 2) v = fmaxf(v, shuffle_xor(v, mask));
    return v;
}

// The sum over a block of whole warps, known to all its threads. `scratch` has a float for each warp.
DEVICE float block_sum(float v, float* scratch) {
    v = warp_sum(v);
    const int warps = blockDim.x / WARP;
    if (warps == 1) return v;
    sync();
    if (lane_id() == 0) scratch[warp_id()] = v;
    sync();
    v = lane_id() < warps ? scratch[lane_id()] : 0.0f;
    return warp_sum(v);
}

// Two halves in a word, the first in its lower part.
DEVICE uint32_t halves(float first, float second) { return (uint32_t)to_half(first) | (uint32_t)to_half(second) << 16; }

// The same of two that follow one another.
DEVICE uint32_t pair(const uint16_t* at) { return (uint32_t)at[0] | (uint32_t)at[1] << 16; }

// x/2 * (1 + erf(x / sqrt 2))
DEVICE float gelu_of(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }

// activation(gate) * up: SiLU, or GELU by tanh.
DEVICE float gated_of(float gate, float up, int silu) {
    const float inner = 0.7978845608f * (gate + 0.044715f * gate * gate * gate);
    return (silu ? gate / (1.0f + expf(-gate)) : 0.5f * gate * (1.0f + tanhf(inner))) * up;
}

// Little-endian numbers that need not be aligned: blocks of 18, 22 or 34 bytes follow one another.
DEVICE uint16_t load16(const uint8_t* at) { return (uint16_t)(at[0] | at[1] << 8); }
DEVICE uint32_t load32(const uint8_t* at) { return (uint32_t)load16(at) | (uint32_t)load16(at + 2) << 16; }
