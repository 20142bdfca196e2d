//! The network of Silero VAD 6.0 (16 kHz): a short-time Fourier transform, four convolutions, an
//! LSTM and a sigmoid, as plain Rust on slices. A quarter of a million weights, so nothing here
//! needs a tensor library; every layer is one [`Affine`] map over contiguous rows.
//!
//! The weights are those of the `silero-vad` 6.0.0 package (MIT, `LICENSE-silero`), rounded to f16
//! and laid out for [`Affine`] by `scripts/silero_weights.py`.

use std::f64::consts::TAU;

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Samples the network takes at once: 32 ms.
pub(super) const FRAME: usize = 512;
/// Samples of the frame before that it sees as well.
const CONTEXT: usize = 64;
/// Samples of one Fourier transform, and of the step to the next.
const WINDOW: usize = 256;
const HOP: usize = 128;
/// Transforms per frame, and the frequencies of each.
const STEPS: usize = 4;
const BINS: usize = WINDOW / 2 + 1;
/// Width of the LSTM.
const HIDDEN: usize = 128;

/// Little-endian f16: per layer the weight (input, output), then the bias (output).
static WEIGHTS: &[u8] = include_bytes!("silero_v6.f16");
/// (inputs, outputs) of the layers in `WEIGHTS`: four convolutions of width 3, the LSTM over its
/// input and its own last output, and the output.
const SHAPES: [(usize, usize); 6] =
    [(3 * BINS, 128), (3 * 128, 64), (3 * 64, 64), (3 * 64, HIDDEN), (2 * HIDDEN, 4 * HIDDEN), (HIDDEN, 1)];

const _: () = {
    let (mut parameters, mut i) = (0, 0);
    while i < SHAPES.len() {
        parameters += (SHAPES[i].0 + 1) * SHAPES[i].1;
        i += 1;
    }
    assert!(WEIGHTS.len() == 2 * parameters, "the weights' file does not fit the network");
};

/// `output = bias + input * weight`, the weight's rows following the input: the inner loop runs
/// along the outputs, which the compiler vectorises without reordering any sum.
struct Affine {
    /// (input, output), row-major.
    weight: Vec<f32>,
    /// (output).
    bias: Vec<f32>,
}

impl Affine {
    fn apply(&self, input: &[f32], output: &mut [f32]) {
        output.copy_from_slice(&self.bias);
        for (&x, row) in input.iter().zip(self.weight.chunks_exact(self.bias.len())) {
            // Half of what a ReLU lets through is zero.
            if x != 0.0 {
                output.iter_mut().zip(row).for_each(|(y, w)| *y += x * w);
            }
        }
    }

    /// A convolution of width 3 over (time, channel) rows, with ReLU. `padded` has a row of zeros
    /// at each end; `output` is (time / stride, output).
    fn convolve(&self, padded: &[f32], channels: usize, stride: usize, output: &mut [f32]) {
        let windows = padded.windows(3 * channels).step_by(stride * channels);
        for (window, row) in windows.zip(output.chunks_exact_mut(self.bias.len())) {
            self.apply(window, row);
            row.iter_mut().for_each(|y| *y = y.max(0.0));
        }
    }
}

/// The weights, unpacked: 1.2 MB, shared by all utterances.
pub(super) struct Network {
    fourier: Affine,
    convolutions: [Affine; 4],
    lstm: Affine,
    output: Affine,
}

/// What the network remembers of one stream of audio.
pub(super) struct State {
    context: [f32; CONTEXT],
    hidden: [f32; HIDDEN],
    cell: [f32; HIDDEN],
}

impl State {
    pub(super) fn new() -> State {
        State { context: [0.0; CONTEXT], hidden: [0.0; HIDDEN], cell: [0.0; HIDDEN] }
    }
}

impl Network {
    pub(super) fn new() -> Network {
        let weights: Vec<f16> = WEIGHTS.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b)).collect();
        let mut rest = &weights[..];
        let mut take = |count| {
            let (taken, later) = rest.split_at(count);
            rest = later;
            taken.to_f32_vec()
        };
        let [conv1, conv2, conv3, conv4, lstm, output] =
            SHAPES.map(|(inputs, outputs)| Affine { weight: take(inputs * outputs), bias: take(outputs) });
        Network { fourier: fourier(), convolutions: [conv1, conv2, conv3, conv4], lstm, output }
    }

    /// Probability that the frame has speech in it, given what came before.
    pub(super) fn probability(&self, frame: &[f32; FRAME], state: &mut State) -> f32 {
        let [conv1, conv2, conv3, conv4] = &self.convolutions;
        let magnitudes = self.spectrogram(frame, &mut state.context);
        // (time, channel), with a row of zeros before and after.
        let (mut a, mut b, mut c) = ([0.0; 6 * 128], [0.0; 4 * 64], [0.0; 3 * 64]);
        conv1.convolve(&magnitudes, BINS, 1, &mut a[128..5 * 128]);
        conv2.convolve(&a, 128, 2, &mut b[64..3 * 64]);
        conv3.convolve(&b, 64, 2, &mut c[64..2 * 64]);

        let mut input = [0.0; 2 * HIDDEN];
        let (features, hidden) = input.split_at_mut(HIDDEN);
        conv4.convolve(&c, 64, 1, features);
        hidden.copy_from_slice(&state.hidden);
        let mut gates = [0.0; 4 * HIDDEN];
        self.lstm.apply(&input, &mut gates);
        for i in 0..HIDDEN {
            let [input, forget, cell, output] = [0, 1, 2, 3].map(|gate| gates[gate * HIDDEN + i]);
            state.cell[i] = sigmoid(forget) * state.cell[i] + sigmoid(input) * cell.tanh();
            state.hidden[i] = sigmoid(output) * state.cell[i].tanh();
        }
        let mut logit = [0.0];
        self.output.apply(&state.hidden.map(|h| h.max(0.0)), &mut logit);
        sigmoid(logit[0])
    }

    /// Magnitudes (step, bin) of the frame after its context, with a row of zeros at each end.
    fn spectrogram(&self, frame: &[f32; FRAME], context: &mut [f32; CONTEXT]) -> [f32; (STEPS + 2) * BINS] {
        let mut audio = [0.0; CONTEXT + FRAME + CONTEXT];
        audio[..CONTEXT].copy_from_slice(context);
        audio[CONTEXT..][..FRAME].copy_from_slice(frame);
        // The end is mirrored about its last sample.
        for i in 0..CONTEXT {
            audio[CONTEXT + FRAME + i] = frame[FRAME - 2 - i];
        }
        context.copy_from_slice(&frame[FRAME - CONTEXT..]);

        let mut magnitudes = [0.0; (STEPS + 2) * BINS];
        let mut spectrum = [0.0; 2 * BINS];
        let rows = magnitudes[BINS..].chunks_exact_mut(BINS);
        for (window, row) in audio.windows(WINDOW).step_by(HOP).zip(rows) {
            self.fourier.apply(window, &mut spectrum);
            let (real, imaginary) = spectrum.split_at(BINS);
            for ((y, re), im) in row.iter_mut().zip(real).zip(imaginary) {
                *y = re.hypot(*im);
            }
        }
        magnitudes
    }
}

/// The discrete Fourier transform under a Hann window, as a matrix: real parts, then imaginary.
fn fourier() -> Affine {
    let angle = |k: usize| TAU * k as f64 / WINDOW as f64;
    let weight = (0..WINDOW).flat_map(|n| {
        let hann = 0.5 - 0.5 * angle(n).cos();
        (0..2 * BINS).map(move |i| {
            let phase = angle(n * (i % BINS) % WINDOW);
            (hann * if i < BINS { phase.cos() } else { -phase.sin() }) as f32
        })
    });
    Affine { weight: weight.collect(), bias: vec![0.0; 2 * BINS] }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
