use super::{GpuCache, Projection, Rows, check_ids, on_device};
use crate::error::{ModelError, Result};
use crate::whisper::{AudioContext, MelFrontEnd, WhisperConfig};
use candle_core::Tensor;
use std::sync::{Mutex, PoisonError};
use undertone_kernels::Weight;
use undertone_kernels::attention::Attention;
use undertone_kernels::attention::gpu::{attend, attend_floats};
use undertone_kernels::gpu::{Array, Gpu, GpuError, allocated_bytes};
use undertone_kernels::kv_append::gpu::{Filled, KvArrays, rope_append};
use undertone_kernels::linear::gpu::{GpuWeight, Rounded, RowsOf, gather_rows, matmul};
use undertone_kernels::norm::gpu::norm as layer_norm;
use undertone_kernels::regime::{MAX_FEW_ROWS, Regime};

/// PyTorch's default, which Whisper was trained with.
const EPS: f32 = 1e-5;

/// A matrix with its bias in main memory.
pub(crate) type HostLinear<'a> = (&'a Weight, Option<&'a [f32]>);
/// Gain and offset of a LayerNorm in main memory.
pub(crate) type HostNorm<'a> = (&'a [f32], &'a [f32]);

/// An attention's weights in main memory: queries, keys, values, output, and the norm before.
pub(crate) struct HostAttention<'a> {
    pub(crate) norm: HostNorm<'a>,
    pub(crate) projections: [HostLinear<'a>; 4],
}

/// A perceptron's.
pub(crate) struct HostFeedForward<'a> {
    pub(crate) norm: HostNorm<'a>,
    pub(crate) fc1: HostLinear<'a>,
    pub(crate) fc2: HostLinear<'a>,
}

struct Norm(Array<f32>, Array<f32>);

impl Norm {
    fn upload(gpu: &Gpu, (weight, bias): HostNorm<'_>) -> Result<Norm> {
        Ok(Norm(gpu.array_of(weight)?, gpu.array_of(bias)?))
    }

    /// `x += add`, then `y` is `x` normed.
    fn forward(
        &self,
        x: &mut Array<f32>,
        add: Option<&Array<f32>>,
        y: &mut Array<f32>,
    ) -> Result<(), GpuError> {
        layer_norm(x, add, &self.0, Some(&self.1), EPS, y)
    }
}

struct AttentionLayer {
    norm: Norm,
    q: Projection,
    k: Projection,
    v: Projection,
    out: Projection,
}

impl AttentionLayer {
    fn upload(gpu: &Gpu, host: &HostAttention<'_>) -> Result<AttentionLayer> {
        let [q, k, v, out] = host.projections.map(|(w, b)| Projection::upload(gpu, w, b));
        Ok(AttentionLayer { norm: Norm::upload(gpu, host.norm)?, q: q?, k: k?, v: v?, out: out? })
    }
}

struct FeedForward {
    norm: Norm,
    fc1: Projection,
    fc2: Projection,
}

impl FeedForward {
    fn upload(gpu: &Gpu, host: &HostFeedForward<'_>) -> Result<FeedForward> {
        let of = |(weight, bias): HostLinear<'_>| Projection::upload(gpu, weight, bias);
        Ok(FeedForward { norm: Norm::upload(gpu, host.norm)?, fc1: of(host.fc1)?, fc2: of(host.fc2)? })
    }
}

/// Activations of up to `rows` positions.
struct Workspace {
    /// What is at each, then where each is.
    ids: Array<i32>,
    x: Array<f32>,
    h: Array<f32>,
    q: Array<f32>,
    k: Array<f32>,
    v: Array<f32>,
    attended: Array<f32>,
    out: Array<f32>,
    hidden: Array<f32>,
    parts: Array<f32>,
    rounded: Rounded,
}

/// Sizes of a network's workspace: rows, width, hidden width, heads.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    d: usize,
    ffn: usize,
    heads: usize,
}

impl Sizes {
    fn numbers(self) -> [usize; 10] {
        let Sizes { rows, d, ffn, heads } = self;
        let parts = attend_floats(rows, heads, d / heads);
        let wide = rows * d;
        [2 * rows, wide, wide, wide, wide, wide, wide, wide, rows * ffn, parts]
    }

    fn rounded(self) -> usize {
        self.rows * self.d.max(self.ffn).next_multiple_of(32)
    }

    fn bytes(self) -> usize {
        allocated_bytes(self.numbers().map(|n| 4 * n))
            + allocated_bytes(Rounded::lens_bytes(1, self.rounded()))
    }

    fn encoder(c: &WhisperConfig) -> Sizes {
        let (rows, heads) = (c.max_source_positions, c.encoder_attention_heads);
        Sizes { rows, d: c.d_model, ffn: c.encoder_ffn_dim, heads }
    }

    fn decoder(c: &WhisperConfig) -> Sizes {
        let (rows, heads) = (c.max_target_positions, c.decoder_attention_heads);
        Sizes { rows, d: c.d_model, ffn: c.decoder_ffn_dim, heads }
    }
}

impl Workspace {
    fn new(gpu: &Gpu, sizes: Sizes) -> Result<Workspace, GpuError> {
        let [ids, rest @ ..] = sizes.numbers();
        let [x, h, q, k, v, attended, out, hidden, parts] = rest.map(|n| gpu.array(n));
        Ok(Workspace {
            ids: gpu.array(ids)?,
            x: x?,
            h: h?,
            q: q?,
            k: k?,
            v: v?,
            attended: attended?,
            out: out?,
            hidden: hidden?,
            parts: parts?,
            rounded: Rounded::new(gpu, 1, sizes.rounded())?,
        })
    }

    /// Writes what is at each position and where each is, and returns both.
    fn write_ids(&self, ids: &[u32], places: &[u32]) -> Result<[Array<i32>; 2], GpuError> {
        let m = ids.len();
        self.ids.part(0..2 * m)?.write(&on_device(&[ids, places].concat()))?;
        self.ids(m)
    }

    /// As they were written of `m` positions.
    fn ids(&self, m: usize) -> Result<[Array<i32>; 2], GpuError> {
        Ok([self.ids.part(0..m)?, self.ids.part(m..2 * m)?])
    }

    /// Attention of the first `m` queries over a cache, through `out`, into the workspace's.
    fn attend(
        &self,
        (m, regime): (usize, Regime),
        (cache, filled): (&KvArrays, &Filled),
        causal: bool,
        out: &Projection,
    ) -> Result<Array<f32>, GpuError> {
        let (_, _, head_dim) = cache.shape();
        let d = out.weight.cols();
        let (q, mut attended) = (self.q.part(0..m * d)?, self.attended.part(0..m * d)?);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let spec = Attention { kv_len: 0, causal, window: None, scale, sampled: None, regime };
        attend(&q, cache, filled, m, spec, &mut self.parts.all(), &mut attended)?;
        let rows = Rows::new(attended, (m, regime), &[out], &self.rounded)?;
        let mut y = self.out.part(0..m * d)?;
        out.forward(&rows, false, &mut y)?;
        Ok(y)
    }

    /// Self-attention of the normed first `m` rows `h`, whose keys and values are appended.
    fn attend_to_self(
        &self,
        layer: &AttentionLayer,
        (h, m, regime): (Array<f32>, usize, Regime),
        (cache, filled): (&mut KvArrays, &Filled),
        causal: bool,
    ) -> Result<Array<f32>, GpuError> {
        let n = h.len();
        let rows = Rows::new(h, (m, regime), &[&layer.q, &layer.k, &layer.v], &self.rounded)?;
        let (mut q, mut k, mut v) = (self.q.part(0..n)?, self.k.part(0..n)?, self.v.part(0..n)?);
        layer.q.forward(&rows, false, &mut q)?;
        layer.k.forward(&rows, false, &mut k)?;
        layer.v.forward(&rows, false, &mut v)?;
        rope_append(&mut q, &k, &v, None, filled, cache)?;
        self.attend((m, regime), (cache, filled), causal, &layer.out)
    }

    /// What the perceptron adds to the first `m` rows; `add` is still to be added to them.
    fn feed_forward(
        &self,
        layer: &FeedForward,
        add: &Array<f32>,
        (m, regime): (usize, Regime),
    ) -> Result<Array<f32>, GpuError> {
        let d = layer.fc2.weight.rows();
        let (mut x, mut h) = (self.x.part(0..m * d)?, self.h.part(0..m * d)?);
        layer.norm.forward(&mut x, Some(add), &mut h)?;
        let rows = Rows::new(h, (m, regime), &[&layer.fc1], &self.rounded)?;
        let mut hidden = self.hidden.part(0..m * layer.fc1.weight.rows())?;
        layer.fc1.forward(&rows, true, &mut hidden)?;
        let rows = Rows::new(hidden, (m, regime), &[&layer.fc2], &self.rounded)?;
        let mut out = self.out.part(0..m * d)?;
        layer.fc2.forward(&rows, false, &mut out)?;
        Ok(out)
    }
}

/// Whisper's encoder on a GPU.
pub(crate) struct GpuEncoder {
    gpu: Gpu,
    conv1: Projection,
    conv2: Projection,
    positions: GpuWeight,
    layers: Vec<(AttentionLayer, FeedForward)>,
    norm: Norm,
    channels: usize,
    state: Mutex<EncoderState>,
}

struct EncoderState {
    work: Workspace,
    /// Spectrogram and what the first convolution makes of it, both of a whole window.
    mel: Array<f32>,
    convolved: Array<f32>,
    places: Array<f32>,
    cache: KvArrays,
    filled: Filled,
}

/// Lengths of what an encoder has besides its workspace, in numbers of four bytes.
fn encoder_numbers(c: &WhisperConfig) -> [usize; 3] {
    let (frames, d) = (2 * c.max_source_positions, c.d_model);
    [frames * c.num_mel_bins, frames * d, c.max_source_positions * d]
}

/// Bytes of the front end and of the workspaces of encoder and decoder.
pub(crate) fn workspace_bytes(c: &WhisperConfig) -> usize {
    let head_rows = c.encoder_attention_heads * c.max_source_positions;
    let kv = 2 * head_rows * (c.d_model / c.encoder_attention_heads);
    let logits = 4 * MAX_FEW_ROWS * c.vocab_size;
    MelFrontEnd::gpu_bytes(c.num_mel_bins)
        + Sizes::encoder(c).bytes()
        + allocated_bytes(encoder_numbers(c).map(|n| 4 * n))
        + allocated_bytes([kv, kv, 12])
        + Sizes::decoder(c).bytes()
        + allocated_bytes([logits])
        + allocated_bytes([4 * c.max_target_positions * c.d_model; 2])
        // What was heard, its keys and values, and as it is rounded for them.
        + allocated_bytes([4 * c.max_source_positions * c.d_model; 3])
        + allocated_bytes(Rounded::lens_bytes(1, (c.max_source_positions * c.d_model).next_multiple_of(32)))
}

impl GpuEncoder {
    pub(crate) fn upload<'a>(
        gpu: &Gpu,
        c: &WhisperConfig,
        [conv1, conv2]: [HostLinear<'_>; 2],
        (positions, norm): (&[f32], HostNorm<'_>),
        layers: impl Iterator<Item = (HostAttention<'a>, HostFeedForward<'a>)>,
    ) -> Result<GpuEncoder> {
        let heads = c.encoder_attention_heads;
        let of = |(weight, bias): HostLinear<'_>| Projection::upload(gpu, weight, bias);
        let layers = layers
            .map(|(attention, ffn)| {
                Ok((AttentionLayer::upload(gpu, &attention)?, FeedForward::upload(gpu, &ffn)?))
            })
            .collect::<Result<_>>()?;
        let [mel, convolved, places] = encoder_numbers(c).map(|n| gpu.array(n));
        let state = EncoderState {
            work: Workspace::new(gpu, Sizes::encoder(c))?,
            mel: mel?,
            convolved: convolved?,
            places: places?,
            cache: KvArrays::new(gpu, (heads, c.max_source_positions, c.d_model / heads), false)?,
            filled: Filled::new(gpu)?,
        };
        Ok(GpuEncoder {
            gpu: gpu.clone(),
            conv1: of(conv1)?,
            conv2: of(conv2)?,
            positions: GpuWeight::over(&gpu.array_of(positions)?, c.d_model)?,
            layers,
            norm: Norm::upload(gpu, norm)?,
            channels: c.num_mel_bins,
            state: Mutex::new(state),
        })
    }

    /// As [`crate::whisper::Encoder::forward_layers`]; the features stay on the device, in memory of their own.
    pub(crate) fn forward<E: From<ModelError>>(
        &self,
        mel: &Tensor,
        context: AudioContext,
        before_layer: impl Fn(usize) -> std::result::Result<(), E>,
    ) -> std::result::Result<Array<f32>, E> {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let device = |e: GpuError| E::from(ModelError::from(e));
        let m = context.len();
        let mut add = self.place(state, mel, context)?;
        let EncoderState { work, cache, filled, .. } = state;
        let n = add.len();
        filled.set_sampled(m, context.keys()).map_err(device)?;
        for (l, (attention, ffn)) in self.layers.iter().enumerate() {
            before_layer(l)?;
            let mut layer = || -> Result<Array<f32>, GpuError> {
                let (mut x, mut h) = (work.x.part(0..n)?, work.h.part(0..n)?);
                attention.norm.forward(&mut x, Some(&add), &mut h)?;
                let out = work.attend_to_self(attention, (h, m, Regime::Many), (cache, filled), false)?;
                work.feed_forward(ffn, &out, (m, Regime::Many))
            };
            add = layer().map_err(device)?;
        }
        let last = || -> Result<Array<f32>, GpuError> {
            let (mut x, mut features) = (work.x.part(0..n)?, self.gpu.array(n)?);
            self.norm.forward(&mut x, Some(&add), &mut features)?;
            Ok(features)
        };
        last().map_err(device)
    }

    /// Leaves what the convolutions find at the positions of `context` in the workspace, and returns their places, which
    /// are to be added.
    fn place(&self, state: &mut EncoderState, mel: &Tensor, context: AudioContext) -> Result<Array<f32>> {
        let (frames, _) = mel.dims2()?;
        let (d, m) = (self.conv2.weight.rows(), context.len());
        let values = mel.flatten_all()?.to_vec1::<f32>()?;
        let mut window = state.mel.part(0..values.len())?;
        window.write(&values)?;
        let mut first = state.convolved.part(0..frames * d)?;
        let of = |channels, stride| RowsOf::Frames { channels, stride };
        matmul(
            &self.conv1.weight,
            &window,
            of(self.channels, 1),
            self.conv1.bias.as_ref(),
            true,
            &mut first,
        )?;
        let found = (frames - 1) / 2 + 1;
        let mut second = state.work.hidden.part(0..found * d)?;
        matmul(&self.conv2.weight, &first, of(d, 2), self.conv2.bias.as_ref(), true, &mut second)?;

        // Silence is the same everywhere but for its place.
        let dense = context.dense();
        let rows: Vec<u32> = (0..m).map(|i| i.min(dense) as u32).collect();
        check_ids(&rows, found)?;
        let places = context.places();
        check_ids(&places, self.positions.rows())?;
        let [ids, place_ids] = state.work.write_ids(&rows, &places)?;
        let (mut x, mut add) = (state.work.x.part(0..m * d)?, state.places.part(0..m * d)?);
        // SAFETY: both were looked at.
        unsafe {
            gather_rows(&GpuWeight::over(&second, d)?, &ids, 1.0, &mut x)?;
            gather_rows(&self.positions, &place_ids, 1.0, &mut add)?;
        }
        Ok(add)
    }
}

/// Whisper's decoder on a GPU.
pub(crate) struct GpuDecoder {
    gpu: Gpu,
    embed: Projection,
    positions: GpuWeight,
    /// What was said, what is heard, and the perceptron.
    layers: Vec<(AttentionLayer, AttentionLayer, FeedForward)>,
    norm: Norm,
    state: Mutex<DecoderState>,
}

struct DecoderState {
    work: Workspace,
    /// Normed states of which logits are wanted, and those of a few.
    wanted: Array<f32>,
    logits: Array<f32>,
    places: Array<f32>,
}

impl GpuDecoder {
    pub(crate) fn upload<'a>(
        gpu: &Gpu,
        c: &WhisperConfig,
        (embed, positions, norm): (&Weight, &[f32], HostNorm<'_>),
        layers: impl Iterator<Item = (HostAttention<'a>, HostAttention<'a>, HostFeedForward<'a>)>,
    ) -> Result<GpuDecoder> {
        let layers = layers.map(|(own, cross, ffn)| {
            let cross = AttentionLayer::upload(gpu, &cross)?;
            Ok((AttentionLayer::upload(gpu, &own)?, cross, FeedForward::upload(gpu, &ffn)?))
        });
        let state = DecoderState {
            work: Workspace::new(gpu, Sizes::decoder(c))?,
            wanted: gpu.array(c.max_target_positions * c.d_model)?,
            logits: gpu.array(MAX_FEW_ROWS * c.vocab_size)?,
            places: gpu.array(c.max_target_positions * c.d_model)?,
        };
        Ok(GpuDecoder {
            gpu: gpu.clone(),
            embed: Projection::upload(gpu, embed, None)?,
            positions: GpuWeight::over(&gpu.array_of(positions)?, c.d_model)?,
            layers: layers.collect::<Result<_>>()?,
            norm: Norm::upload(gpu, norm)?,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Fills `cross` anew with the keys and values of `features`.
    pub(crate) fn attend_to(
        &self,
        features: &Array<f32>,
        context: AudioContext,
        cross: &mut GpuCache,
    ) -> Result<()> {
        let d = self.embed.weight.cols();
        let m = features.len() / d;
        let (layers, filled) = cross.sequence(0);
        filled.set_sampled(m, context.keys())?;
        // The workspace has no room for as many rows.
        let scratch = Rounded::new(&self.gpu, 1, (m * d).next_multiple_of(32))?;
        let (mut k, mut v) = (self.gpu.array(m * d)?, self.gpu.array(m * d)?);
        let mut no_queries = features.part(0..0)?;
        for ((_, layer, _), cache) in self.layers.iter().zip(layers) {
            let weights = [&layer.k, &layer.v];
            let rows = Rows::new(features.all(), (m, Regime::Many), &weights, &scratch)?;
            layer.k.forward(&rows, false, &mut k)?;
            layer.v.forward(&rows, false, &mut v)?;
            rope_append(&mut no_queries, &k, &v, None, filled, cache)?;
        }
        Ok(())
    }

    /// As [`crate::whisper::Decoder::forward`]: what is waited for is the logits, of [`MAX_FEW_ROWS`] at a time.
    pub(crate) fn forward(
        &self,
        (tokens, batch, position): (&[u32], usize, usize),
        wanted: &[usize],
        cache: &mut GpuCache,
        cross: &GpuCache,
    ) -> Result<Vec<f32>> {
        let (d, vocab) = (self.embed.weight.cols(), self.embed.weight.rows());
        let state = &*self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = 0;
        self.run(state, (tokens, batch, position), (cache, cross), |states| {
            for i in wanted {
                let mut to = state.wanted.part(rows * d..(rows + 1) * d)?;
                to.copy_from(&states.part(i * d..(i + 1) * d)?)?;
                rows += 1;
            }
            Ok(())
        })?;
        let mut out = Vec::with_capacity(rows * vocab);
        for first in (0..rows).step_by(MAX_FEW_ROWS) {
            let m = MAX_FEW_ROWS.min(rows - first);
            let states = state.wanted.part(first * d..(first + m) * d)?;
            let states = Rows::new(states, (m, Regime::Few), &[&self.embed], &state.work.rounded)?;
            let mut logits = state.logits.part(0..m * vocab)?;
            self.embed.forward(&states, false, &mut logits)?;
            out.extend(logits.to_vec()?);
        }
        Ok(out)
    }

    /// Runs `tokens`, `batch` sequences of equal length, and gives `each` the normed states `[m, d_model]` of one after the
    /// other.
    fn run(
        &self,
        state: &DecoderState,
        (tokens, batch, position): (&[u32], usize, usize),
        (cache, cross): (&mut GpuCache, &GpuCache),
        mut each: impl FnMut(Array<f32>) -> Result<(), GpuError>,
    ) -> Result<()> {
        let (d, m) = (self.embed.weight.cols(), tokens.len() / batch);
        check_ids(tokens, self.embed.weight.rows())?;
        let places: Vec<u32> = (position as u32..(position + m) as u32).collect();
        check_ids(&places, self.positions.rows())?;
        let (regime, end) = (Regime::of_rows(m), position + m);
        for (n, tokens) in tokens.chunks_exact(m).enumerate() {
            state.work.write_ids(tokens, &places)?;
            if regime == Regime::Few && n == 0 && batch == 1 {
                let with = (self.embed.weight.address(), cross.address());
                cache.step((m, end), with, |m, layers, filled| {
                    self.pass(state, (m, regime), (layers, filled), cross)
                })?;
            } else {
                let (layers, filled) = cache.sequence(n);
                filled.set(end)?;
                self.pass(state, (m, regime), (layers, filled), cross)?;
            }
            each(state.work.h.part(0..m * d)?)?;
        }
        Ok(())
    }

    /// Launches all layers over the `m` tokens whose ids and places are in the workspace; leaves the normed states in `h`.
    fn pass(
        &self,
        state: &DecoderState,
        (m, regime): (usize, Regime),
        (layers, filled): (&mut [KvArrays], &Filled),
        cross: &GpuCache,
    ) -> Result<(), GpuError> {
        let work = &state.work;
        let n = m * self.embed.weight.cols();
        let [ids, places] = work.ids(m)?;
        let (mut x, mut add) = (work.x.part(0..n)?, state.places.part(0..n)?);
        // SAFETY: both were looked at before they were written.
        unsafe {
            gather_rows(&self.embed.weight, &ids, 1.0, &mut x)?;
            gather_rows(&self.positions, &places, 1.0, &mut add)?;
        }
        let (heard, heard_filled) = cross.first();
        for ((own, hears, ffn), (cache, heard)) in self.layers.iter().zip(layers.iter_mut().zip(heard)) {
            let mut h = work.h.part(0..n)?;
            own.norm.forward(&mut x, Some(&add), &mut h)?;
            let out = work.attend_to_self(own, (h, m, regime), (cache, filled), true)?;

            let mut h = work.h.part(0..n)?;
            hears.norm.forward(&mut x, Some(&out), &mut h)?;
            let rows = Rows::new(h, (m, regime), &[&hears.q], &work.rounded)?;
            hears.q.forward(&rows, false, &mut work.q.part(0..n)?)?;
            let out = work.attend((m, regime), (heard, heard_filled), false, &hears.out)?;

            add = work.feed_forward(ffn, &out, (m, regime))?;
        }
        self.norm.forward(&mut x, Some(&add), &mut work.h.part(0..n)?)
    }
}
