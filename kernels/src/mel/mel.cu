// The logarithm of mel bands of a signal's windowed frames: Whisper's front end.
#include "../gpu/device.h"

// blockIdx.x is the frame, which begins `hop` samples behind the one before and has `n` samples. `tables` are the window, a
// period of the cosine and one of the sine, `n` numbers each. Band `b` is the sum of `lens[b]` weights from `offsets[b]` on times
// the power of as many frequencies from `firsts[b]` on.
KERNEL void log_mel(const float* samples, const float* tables, const int* firsts, const int* lens, const int* offsets,
                    const float* weights, float* out, int n, int hop, int bands) {
    SHARED(float, frame);
    const int bins = n / 2 + 1, thread = (int)threadIdx.x, threads = (int)blockDim.x;
    float *cosines = frame + n, *sines = cosines + n, *power = sines + n;
    samples += (size_t)blockIdx.x * hop;
    for (int i = thread; i < n; i += threads) {
        frame[i] = samples[i] * tables[i];
        cosines[i] = tables[n + i];
        sines[i] = tables[2 * n + i];
    }
    sync();
    for (int bin = thread; bin < bins; bin += threads) {
        float real = 0.0f, imaginary = 0.0f;
        for (int i = 0, at = 0; i < n; i++) {
            real += frame[i] * cosines[at];
            imaginary += frame[i] * sines[at];
            at += bin;
            if (at >= n) at -= n;
        }
        power[bin] = real * real + imaginary * imaginary;
    }
    sync();
    for (int band = thread; band < bands; band += threads) {
        float sum = 0.0f;
        for (int i = 0; i < lens[band]; i++) sum += weights[offsets[band] + i] * power[firsts[band] + i];
        out[(size_t)blockIdx.x * bands + band] = log10f(fmaxf(sum, 1e-10f));
    }
}
