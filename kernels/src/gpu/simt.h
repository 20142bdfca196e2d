// Kernels on the host: a grid's blocks run one after the other, a block's threads as coroutines that change places
// at barriers and shuffles. A mistake that a GPU would leave undefined ends the program with a sentence: a barrier or a
// shuffle that not all threads reach, and with AddressSanitizer every access outside an allocation. Shared memory is
// filled with NaNs for each block.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SIMT_ASAN 1
#endif

#define KERNEL static
#define DEVICE static inline
#define SHARED(T, name) T* const name = reinterpret_cast<T*>(simt::block->shared)
#define DEVICE_METHOD static inline

namespace simt {

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
};

constexpr unsigned LANES = 32;
constexpr size_t STACK_BYTES = 64 * 1024;
constexpr size_t SLOT_BYTES = 64;

// Where the threads of a warp meet. Two sets of slots: one thread may write the next exchange while another has yet to
// read this one, but none can be two ahead.
struct Warp {
    unsigned live = 0, arrived = 0, meetings = 0;
    alignas(16) uint8_t slots[2][LANES][SLOT_BYTES];
};

// A coroutine. It enters its stack once, by its context, which asks the system; after that places change by jumps, which
// do not. AddressSanitizer, which takes a jump for the end of a stack, sees contexts only.
struct Thread {
    ucontext_t context;
    jmp_buf jump;
    std::unique_ptr<uint8_t[]> stack;
    Dim3 index;
    bool done = false, entered = false;
};

struct Block {
    Dim3 grid, size, index;
    uint8_t* shared = nullptr;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    unsigned live = 0, arrived = 0, meetings = 0, now = 0;
    // Counts all that lets a waiting thread go on.
    uint64_t progress = 0;
    ucontext_t host;
    jmp_buf host_jump;
    void (*body)(void**) = nullptr;
    void** arguments = nullptr;
    const char* name = "";
    void* host_stack_state = nullptr;
    const void* host_stack = nullptr;
    size_t host_stack_bytes = 0;
};

inline thread_local Block* block = nullptr;

inline Thread& current() { return block->threads[block->now]; }
inline unsigned lane() { return block->now % LANES; }
inline Warp& warp() { return block->warps[block->now / LANES]; }

[[noreturn]] inline void fail(const char* why) {
    fprintf(stderr, "kernel %s, block (%u, %u, %u), thread %u: %s\n", block->name, block->index.x, block->index.y,
            block->index.z, block->now, why);
    abort();
}

// Back to the scheduler, until another thread has had its turn.
__attribute__((noinline)) inline void yield() {
    Thread& me = current();
#ifdef SIMT_ASAN
    void* state = nullptr;
    __sanitizer_start_switch_fiber(&state, block->host_stack, block->host_stack_bytes);
    swapcontext(&me.context, &block->host);
    __sanitizer_finish_switch_fiber(state, &block->host_stack, &block->host_stack_bytes);
#else
    if (_setjmp(me.jump) == 0) _longjmp(block->host_jump, 1);
#endif
}

// A thread's turn.
__attribute__((noinline)) inline void resume(Block& b, Thread& thread) {
#ifdef SIMT_ASAN
    __sanitizer_start_switch_fiber(&b.host_stack_state, thread.stack.get(), STACK_BYTES);
    swapcontext(&b.host, &thread.context);
    __sanitizer_finish_switch_fiber(b.host_stack_state, nullptr, nullptr);
#else
    if (_setjmp(b.host_jump) != 0) return;
    if (thread.entered) _longjmp(thread.jump, 1);
    thread.entered = true;
    setcontext(&thread.context);
#endif
}

// What a coroutine runs: the kernel for a block, then again for the next.
inline void start() {
#ifdef SIMT_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &block->host_stack, &block->host_stack_bytes);
#endif
    while (true) {
        block->body(block->arguments);
        current().done = true;
        block->live--;
        warp().live--;
        block->progress++;
        if (block->arrived > 0 || warp().arrived > 0) fail("it ended while others wait for it at a barrier or shuffle");
        yield();
    }
}

// Threads of a block meet.
inline void sync() {
    const unsigned meeting = block->meetings;
    if (block->live != block->threads.size()) fail("a barrier behind the end of other threads");
    if (++block->arrived == block->live) {
        block->arrived = 0;
        block->meetings++;
        block->progress++;
    }
    while (block->meetings == meeting) yield();
}

// Threads of a warp meet, and each may look at what the others brought until they meet again.
template <class T> auto& meet(const T& value) {
    static_assert(sizeof(T) <= SLOT_BYTES);
    Warp& w = warp();
    const unsigned meeting = w.meetings;
    auto& slots = w.slots[meeting % 2];
    memcpy(slots[lane()], &value, sizeof(T));
    if (++w.arrived == w.live) {
        w.arrived = 0;
        w.meetings++;
        block->progress++;
    }
    while (w.meetings == meeting) yield();
    return slots;
}

// What lane `from` brought.
template <class T> T brought(const uint8_t (&slots)[LANES][SLOT_BYTES], unsigned from) {
    T out;
    memcpy(&out, slots[from % LANES], sizeof(T));
    return out;
}

template <class T> T shuffle(T value, unsigned from) { return brought<T>(meet(value), from); }

inline void run_block(Block& b) {
    b.live = (unsigned)b.threads.size();
    for (Warp& w : b.warps) w.live = w.arrived = 0;
    b.arrived = 0;
    for (size_t t = 0; t < b.threads.size(); t++) {
        b.threads[t].done = false;
        b.warps[t / LANES].live++;
    }
    while (b.live > 0) {
        const uint64_t before = b.progress;
        for (b.now = 0; b.now < b.threads.size(); b.now++) {
            if (!current().done) resume(b, current());
        }
        if (b.progress == before) {
            b.now = 0;
            fail("threads wait for one another for ever: not all reach the same barrier or shuffle");
        }
    }
}

inline void launch(const char* name, void (*body)(void**), const unsigned* grid, const unsigned* size,
                   unsigned shared_bytes, void** arguments) {
    Block b;
    b.name = name;
    b.body = body;
    b.arguments = arguments;
    b.grid = {grid[0], grid[1], grid[2]};
    b.size = {size[0], size[1], size[2]};
    b.threads.resize((size_t)size[0] * size[1] * size[2]);
    b.warps.resize((b.threads.size() + LANES - 1) / LANES);
    for (size_t t = 0; t < b.threads.size(); t++) {
        Thread& thread = b.threads[t];
        thread.stack.reset(new uint8_t[STACK_BYTES]);
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK_BYTES;
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, start, 0);
        thread.index = {(unsigned)(t % size[0]), (unsigned)(t / size[0] % size[1]),
                              (unsigned)(t / size[0] / size[1])};
    }
    block = &b;
    for (b.index.z = 0; b.index.z < grid[2]; b.index.z++)
        for (b.index.y = 0; b.index.y < grid[1]; b.index.y++)
            for (b.index.x = 0; b.index.x < grid[0]; b.index.x++) {
                // An allocation of its own each time, so that overruns are seen.
                b.shared = static_cast<uint8_t*>(aligned_alloc(16, (shared_bytes + 15) / 16 * 16));
                memset(b.shared, 0xff, shared_bytes);
                run_block(b);
                free(b.shared);
            }
    block = nullptr;
}

template <auto K> struct Call;
template <class... A, void (*K)(A...)> struct Call<K> {
    template <size_t... I> static void apply(void** p, std::index_sequence<I...>) { K(*static_cast<A*>(p[I])...); }
    static void run(void** p) { apply(p, std::index_sequence_for<A...>{}); }
};

}  // namespace simt

using std::min;

#define threadIdx (simt::current().index)
#define blockIdx (simt::block->index)
#define blockDim (simt::block->size)
#define gridDim (simt::block->grid)

DEVICE void sync() { simt::sync(); }
template <class T> DEVICE T shuffle(T v, int lane) { return simt::shuffle(v, (unsigned)lane); }
template <class T> DEVICE T shuffle_xor(T v, int mask) { return simt::shuffle(v, simt::lane() ^ (unsigned)mask); }
DEVICE float from_bits(uint32_t b) {
    float f;
    memcpy(&f, &b, sizeof f);
    return f;
}
DEVICE uint32_t to_bits(float f) {
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    return b;
}
DEVICE float from_half(uint16_t h) {
    _Float16 f;
    memcpy(&f, &h, sizeof f);
    return (float)f;
}
DEVICE uint16_t to_half(float f) {
    const _Float16 h = (_Float16)f;
    uint16_t bits;
    memcpy(&bits, &h, sizeof bits);
    return bits;
}
// See device.h.
DEVICE void multiply_bytes(int (&c)[4], const int (&a)[2], int b) {
    struct Fragment {
        int8_t a[2][4], b[4];
    } mine;
    memcpy(&mine, a, sizeof mine.a);
    memcpy(mine.b, &b, sizeof mine.b);
    const auto& all = simt::meet(mine);
    const unsigned row = simt::lane() / 4, column = 2 * (simt::lane() % 4);
    for (unsigned r = 0; r < 2; r++) {
        int8_t left[4][4];
        for (unsigned word = 0; word < 4; word++) memcpy(left[word], all[4 * row + word] + 4 * r, 4);
        // Rows that are not there are zeros, and many.
        uint8_t any = 0;
        for (unsigned i = 0; i < 16; i++) any |= (uint8_t)left[i / 4][i % 4];
        if (!any) continue;
        for (unsigned n = 0; n < 2; n++) {
            for (unsigned word = 0; word < 4; word++) {
                int8_t right[4];
                memcpy(right, all[4 * (column + n) + word] + offsetof(Fragment, b), 4);
                for (unsigned i = 0; i < 4; i++) c[2 * r + n] += left[word][i] * right[i];
            }
        }
    }
}
DEVICE void multiply_halves(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    struct Fragment {
        _Float16 a[4][2], b[2][2];
    } mine;
    memcpy(mine.a, a, sizeof mine.a);
    memcpy(mine.b, b, sizeof mine.b);
    const auto& all = simt::meet(mine);
    const unsigned row = simt::lane() / 4, column = 2 * (simt::lane() % 4);
    for (unsigned k = 0; k < 4; k++) {
        double sum = c[k];
        for (unsigned word = 0; word < 4; word++) {
            _Float16 left[4][2], right[2][2];
            memcpy(left, all[4 * row + word], sizeof left);
            memcpy(right, all[4 * (column + k % 2) + word] + offsetof(Fragment, b), sizeof right);
            for (unsigned half = 0; half < 2; half++)
                for (unsigned i = 0; i < 2; i++)
                    sum += (double)(float)left[k / 2 + 2 * half][i] * (double)(float)right[half][i];
        }
        c[k] = (float)sum;
    }
}
DEVICE int dot4(int a, int b, int c) {
    for (int i = 0; i < 4; i++) c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    return c;
}
DEVICE float rsqrtf(float v) { return 1.0f / sqrtf(v); }
