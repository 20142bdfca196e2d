// GGML's quantised blocks, 32 weights at a time: a weight is scale * q + offset, where the first 16 and the last 16 may
// have scales of their own. Layouts follow `ggml-common.h`, as `blocks.rs` does.
#pragma once
#include "device.h"

// GGML's numbers of the types.
enum BlockType { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_Q4_0 = 2, TYPE_Q4_1 = 3, TYPE_Q5_0 = 6, TYPE_Q5_1 = 7, TYPE_Q8_0 = 8,
                 TYPE_Q4_K = 12, TYPE_Q5_K = 13, TYPE_Q6_K = 14, TYPE_BF16 = 30 };

struct Group {
    // Four bytes each: numbers 4i to 4i + 3.
    int q[8];
    float scale[2], offset[2];
};

DEVICE void set_scales(Group& g, float scale, float offset) {
    g.scale[0] = g.scale[1] = scale;
    g.offset[0] = g.offset[1] = offset;
}

// The lower halves of 16 bytes, then the upper.
DEVICE void nibbles(Group& g, const uint8_t* at) {
    for (int i = 0; i < 4; i++) {
        const uint32_t v = load32(at + 4 * i);
        g.q[i] = (int)(v & 0x0f0f0f0fu);
        g.q[i + 4] = (int)(v >> 4 & 0x0f0f0f0fu);
    }
}

// Adds 16 to the numbers whose bit is set.
DEVICE void fifth_bits(Group& g, uint32_t bits) {
    for (int i = 0; i < 8; i++) {
        const uint32_t b = bits >> 4 * i;
        g.q[i] |= (int)((b & 1) << 4 | (b & 2) << 11 | (b & 4) << 18 | (b & 8) << 25);
    }
}

// The six-bit scale and minimum of sub-block `j` of Q4_K and Q5_K.
DEVICE void scale_min(const uint8_t* s, int j, int& scale, int& min) {
    if (j < 4) {
        scale = s[j] & 63;
        min = s[j + 4] & 63;
    } else {
        scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        min = s[j + 4] >> 4 | (s[j] >> 6) << 4;
    }
}

template <int TYPE> struct Blocks;

template <> struct Blocks<TYPE_Q4_0> {
    static constexpr int BYTES = 18, LEN = 32;
    DEVICE_METHOD void read(const uint8_t* b, int, Group& g) {
        const float d = from_half(load16(b));
        nibbles(g, b + 2);
        set_scales(g, d, -8.0f * d);
    }
};

template <> struct Blocks<TYPE_Q4_1> {
    static constexpr int BYTES = 20, LEN = 32;
    DEVICE_METHOD void read(const uint8_t* b, int, Group& g) {
        nibbles(g, b + 4);
        set_scales(g, from_half(load16(b)), from_half(load16(b + 2)));
    }
};

template <> struct Blocks<TYPE_Q5_0> {
    static constexpr int BYTES = 22, LEN = 32;
    DEVICE_METHOD void read(const uint8_t* b, int, Group& g) {
        const float d = from_half(load16(b));
        nibbles(g, b + 6);
        fifth_bits(g, load32(b + 2));
        set_scales(g, d, -16.0f * d);
    }
};

template <> struct Blocks<TYPE_Q5_1> {
    static constexpr int BYTES = 24, LEN = 32;
    DEVICE_METHOD void read(const uint8_t* b, int, Group& g) {
        nibbles(g, b + 8);
        fifth_bits(g, load32(b + 4));
        set_scales(g, from_half(load16(b)), from_half(load16(b + 2)));
    }
};

template <> struct Blocks<TYPE_Q8_0> {
    static constexpr int BYTES = 34, LEN = 32;
    DEVICE_METHOD void read(const uint8_t* b, int, Group& g) {
        for (int i = 0; i < 8; i++) g.q[i] = (int)load32(b + 2 + 4 * i);
        set_scales(g, from_half(load16(b)), 0.0f);
    }
};

// Two sub-blocks share 32 bytes: one has the lower halves, the next the upper.
DEVICE void k_nibbles(Group& g, const uint8_t* at, int shift) {
    for (int i = 0; i < 8; i++) g.q[i] = (int)(load32(at + 4 * i) >> shift & 0x0f0f0f0fu);
}

DEVICE void k_scales(Group& g, const uint8_t* b, int sub) {
    int scale, min;
    scale_min(b + 4, sub, scale, min);
    set_scales(g, from_half(load16(b)) * scale, -from_half(load16(b + 2)) * min);
}

template <> struct Blocks<TYPE_Q4_K> {
    static constexpr int BYTES = 144, LEN = 256;
    DEVICE_METHOD void read(const uint8_t* b, int sub, Group& g) {
        k_nibbles(g, b + 16 + 32 * (sub / 2), 4 * (sub % 2));
        k_scales(g, b, sub);
    }
};

template <> struct Blocks<TYPE_Q5_K> {
    static constexpr int BYTES = 176, LEN = 256;
    DEVICE_METHOD void read(const uint8_t* b, int sub, Group& g) {
        k_nibbles(g, b + 48 + 32 * (sub / 2), 4 * (sub % 2));
        for (int i = 0; i < 8; i++) g.q[i] |= (int)((load32(b + 16 + 4 * i) >> sub & 0x01010101u) << 4);
        k_scales(g, b, sub);
    }
};

template <> struct Blocks<TYPE_Q6_K> {
    static constexpr int BYTES = 210, LEN = 256;
    DEVICE_METHOD void read(const uint8_t* b, int sub, Group& g) {
        const int half = sub / 4, quarter = sub % 4;
        const uint8_t *low = b + 64 * half + 32 * (quarter % 2), *high = b + 128 + 32 * half;
        const float d = from_half(load16(b + 208));
        for (int i = 0; i < 8; i++) {
            const uint32_t l = load32(low + 4 * i) >> 4 * (quarter / 2) & 0x0f0f0f0fu;
            const uint32_t h = load32(high + 4 * i) >> 2 * quarter & 0x03030303u;
            g.q[i] = (int)(l | h << 4);
        }
        for (int part = 0; part < 2; part++) {
            g.scale[part] = d * (int8_t)b[192 + 2 * sub + part];
            g.offset[part] = -32.0f * g.scale[part];
        }
    }
};

// Group `group` of 32 of a row.
template <int TYPE> DEVICE void read_group(const uint8_t* row, int group, Group& g) {
    constexpr int GROUPS = Blocks<TYPE>::LEN / 32;
    Blocks<TYPE>::read(row + (size_t)(group / GROUPS) * Blocks<TYPE>::BYTES, group % GROUPS, g);
}

DEVICE float element(const Group& g, int i) {
    return g.scale[i / 16] * (int8_t)(g.q[i / 4] >> 8 * (i % 4)) + g.offset[i / 16];
}
