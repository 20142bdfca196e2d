// The likeliest token, without its logits leaving the device.
#include "../gpu/device.h"

// A block a row of `n` logits: the first of the highest among those whose bit is set in `allowed` (all, if null); -1 if
// there is none.
KERNEL void argmax(const float* logits, const uint32_t* allowed, int* out, int n) {
    SHARED(float, shared);
    int* indices = (int*)(shared + WARP);
    logits += (size_t)blockIdx.x * n;
    float best = -INFINITY;
    int at = -1;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        const bool may = !allowed || (allowed[i / 32] >> i % 32 & 1);
        if (may && (at < 0 || logits[i] > best)) best = logits[i], at = i;
    }
    // Of equal logits the first, of no logit the other.
    auto meet = [&](float theirs, int there) {
        const bool better = there >= 0 && (at < 0 || theirs > best || (theirs == best && there < at));
        if (better) best = theirs, at = there;
    };
    auto meet_warp = [&]() {
        for (int mask = WARP / 2; mask > 0; mask /= 2) {
            const float theirs = shuffle_xor(best, mask);
            meet(theirs, shuffle_xor(at, mask));
        }
    };
    meet_warp();
    if (lane_id() == 0) shared[warp_id()] = best, indices[warp_id()] = at;
    sync();
    if (warp_id() > 0) return;
    const bool has = lane_id() < (int)blockDim.x / WARP;
    best = has ? shared[lane_id()] : -INFINITY;
    at = has ? indices[lane_id()] : -1;
    meet_warp();
    if (lane_id() == 0) out[blockIdx.x] = at;
}
