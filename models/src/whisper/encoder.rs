use super::{AudioContext, WhisperConfig};
use crate::error::{ModelError, Result};
use crate::gpu::{GpuEncoder, HostAttention, HostFeedForward, HostLinear, HostNorm};
use crate::weights::Weights;
use candle_core::{DType, Device, Tensor};
use undertone_kernels::activation::gelu;
use undertone_kernels::attention::{Attention, attention};
use undertone_kernels::conv1d::conv1d;
use undertone_kernels::gpu::{Array, Gpu};
use undertone_kernels::kv_append::kv_append;
use undertone_kernels::linear::linear;
use undertone_kernels::norm::layer_norm;
use undertone_kernels::regime::Regime;
use undertone_kernels::residual::add_to;
use undertone_kernels::weight::Weight;

/// PyTorch's default, which Whisper was trained with.
const EPS: f32 = 1e-5;

/// Gain and offset of a LayerNorm.
pub(super) struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl LayerNorm {
    pub(super) fn load(w: &Weights, name: &str, d: usize) -> Result<LayerNorm> {
        let (weight, bias) = (w.vector(&format!("{name}.weight"), d)?, w.vector(&format!("{name}.bias"), d)?);
        Ok(LayerNorm { weight, bias })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(layer_norm(x, &self.weight, &self.bias, EPS)?)
    }

    pub(super) fn host(&self) -> HostNorm<'_> {
        (&self.weight, &self.bias)
    }
}

/// A matrix and, for all but key projections, a bias.
pub(super) struct Linear {
    weight: Weight,
    bias: Option<Vec<f32>>,
}

impl Linear {
    pub(super) fn load(w: &Weights, name: &str, rows: usize, cols: usize) -> Result<Linear> {
        let weight = w.matrix(&format!("{name}.weight"), rows, cols)?;
        Ok(Linear { weight, bias: Some(w.vector(&format!("{name}.bias"), rows)?) })
    }

    /// Key projections have no bias; CTranslate2 stores zeros for it.
    fn load_key(w: &Weights, name: &str, d: usize) -> Result<Linear> {
        let weight = w.matrix(&format!("{name}.weight"), d, d)?;
        Ok(Linear { weight, bias: w.optional_vector(&format!("{name}.bias"), d)? })
    }

    /// See [`rounded`].
    fn round(&mut self, layout: Layout) {
        self.weight = rounded(self.weight.clone(), layout);
    }

    fn host(&self) -> HostLinear<'_> {
        (&self.weight, self.bias.as_deref())
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let regime = Regime::of_rows(x.elem_count() / self.weight.cols());
        Ok(linear(x, &self.weight, self.bias.as_deref(), regime)?)
    }
}

/// How matrices that are rounded to bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// As this processor multiplies them.
    Processor,
    /// As they would lie in a file.
    File,
}

/// Rounded to bytes where that is smaller.
pub(super) fn rounded(weight: Weight, layout: Layout) -> Weight {
    match (weight.to_q8_0(), layout) {
        (Some(rounded), Layout::Processor) => rounded.to_interleaved().unwrap_or(rounded),
        (Some(rounded), Layout::File) => rounded,
        (None, _) => weight,
    }
}

/// Query, key, value and output projections.
pub(super) struct Projections {
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) out: Linear,
}

impl Projections {
    pub(super) fn load(w: &Weights, name: &str, d: usize) -> Result<Projections> {
        let get = |part: &str| Linear::load(w, &format!("{name}.{part}_proj"), d, d);
        let k = Linear::load_key(w, &format!("{name}.k_proj"), d)?;
        Ok(Projections { q: get("q")?, k, v: get("v")?, out: get("out")? })
    }

    pub(super) fn round(&mut self, layout: Layout) {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.out].into_iter().for_each(|l| l.round(layout));
    }

    pub(super) fn host<'a>(&'a self, norm: &'a LayerNorm) -> HostAttention<'a> {
        let projections = [&self.q, &self.k, &self.v, &self.out].map(Linear::host);
        HostAttention { norm: norm.host(), projections }
    }
}

/// The two-layer perceptron behind each attention.
pub(super) struct FeedForward {
    norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl FeedForward {
    pub(super) fn load(w: &Weights, layer: &str, d: usize, hidden: usize) -> Result<FeedForward> {
        Ok(FeedForward {
            norm: LayerNorm::load(w, &format!("{layer}.final_layer_norm"), d)?,
            fc1: Linear::load(w, &format!("{layer}.fc1"), hidden, d)?,
            fc2: Linear::load(w, &format!("{layer}.fc2"), d, hidden)?,
        })
    }

    pub(super) fn round(&mut self, layout: Layout) {
        self.fc1.round(layout);
        self.fc2.round(layout);
    }

    pub(super) fn host(&self) -> HostFeedForward<'_> {
        HostFeedForward { norm: self.norm.host(), fc1: self.fc1.host(), fc2: self.fc2.host() }
    }

    /// Adds `fc2(gelu(fc1(norm(x))))` to `x`.
    pub(super) fn add_to(&self, x: &Tensor) -> Result<()> {
        let h = gelu(&self.fc1.forward(&self.norm.forward(x)?)?)?;
        Ok(add_to(x, &self.fc2.forward(&h)?)?)
    }
}

struct EncoderLayer {
    norm: LayerNorm,
    attention: Projections,
    feed_forward: FeedForward,
}

/// What the encoder makes of a window.
pub struct AudioFeatures {
    pub(super) features: Features,
    /// Which positions these are.
    pub context: AudioContext,
}

/// Where they are: `[positions, d_model]`.
pub(super) enum Features {
    Host(Tensor),
    Gpu(Array<f32>),
}

impl AudioFeatures {
    /// The features `[positions, d_model]`, in main memory.
    ///
    /// # Errors
    /// What the GPU says, where they are on one.
    pub fn to_tensor(&self) -> Result<Tensor> {
        match &self.features {
            Features::Host(features) => Ok(features.clone()),
            Features::Gpu(features) => {
                let positions = self.context.len();
                Ok(Tensor::from_vec(
                    features.to_vec()?,
                    (positions, features.len() / positions),
                    &Device::Cpu,
                )?)
            }
        }
    }
}

/// Whisper's audio encoder.
pub struct Encoder(Network);

enum Network {
    Host(Box<HostEncoder>),
    Gpu(Box<GpuEncoder>),
}

/// In main memory, on the processor. Owns the scratch its attention reorders keys and values into.
struct HostEncoder {
    conv1: (Weight, Vec<f32>),
    conv2: (Weight, Vec<f32>),
    positions: Tensor,
    layers: Vec<EncoderLayer>,
    norm: LayerNorm,
    heads: usize,
    /// `[1, heads, max_source_positions, head_dim]`, one for keys and one for values.
    scratch: (Tensor, Tensor),
}

impl Encoder {
    pub(super) fn load(w: &Weights, c: &WhisperConfig, gpu: Option<&Gpu>) -> Result<Encoder> {
        let host = HostEncoder::load(w, c)?;
        Ok(Encoder(match gpu {
            None => Network::Host(Box::new(host)),
            Some(gpu) => Network::Gpu(Box::new(host.upload(gpu, c)?)),
        }))
    }

    /// Encodes `mel [frames, num_mel_bins]` (at most 30 s: 3,000 frames) to `[frames / 2, d_model]`.
    ///
    /// # Errors
    /// If there are more frames than positions.
    pub fn forward(&self, mel: &Tensor) -> Result<AudioFeatures> {
        self.forward_layers(mel, AudioContext::full(mel.dim(0)?.div_ceil(2)), |_| Ok(()))
    }

    /// Encodes the positions `context` of a window whose first frames are `mel`
    /// `[context.mel_frames(), num_mel_bins]` and whose others are like the last two positions of these.
    /// Asks before each layer whether to go on: a large encoder takes seconds on a CPU.
    ///
    /// # Errors
    /// As [`Encoder::forward`], or what `before_layer` fails with.
    pub fn forward_layers<E: From<ModelError> + From<candle_core::Error>>(
        &self,
        mel: &Tensor,
        context: AudioContext,
        before_layer: impl Fn(usize) -> std::result::Result<(), E>,
    ) -> std::result::Result<AudioFeatures, E> {
        let features = match &self.0 {
            Network::Host(encoder) => Features::Host(encoder.forward(mel, context, before_layer)?),
            Network::Gpu(encoder) => Features::Gpu(encoder.forward(mel, context, before_layer)?),
        };
        Ok(AudioFeatures { features, context })
    }
}

impl HostEncoder {
    fn load(w: &Weights, c: &WhisperConfig) -> Result<HostEncoder> {
        let (d, heads) = (c.d_model, c.encoder_attention_heads);
        let conv = |name: &str, channels| -> Result<(Weight, Vec<f32>)> {
            let weight = w.convolution(&format!("encoder.{name}.weight"), d, channels)?;
            Ok((weight, w.vector(&format!("encoder.{name}.bias"), d)?))
        };
        let layer = |n: usize| -> Result<EncoderLayer> {
            let name = format!("encoder.layers.{n}");
            Ok(EncoderLayer {
                norm: LayerNorm::load(w, &format!("{name}.self_attn_layer_norm"), d)?,
                attention: Projections::load(w, &format!("{name}.self_attn"), d)?,
                feed_forward: FeedForward::load(w, &name, d, c.encoder_ffn_dim)?,
            })
        };
        let positions = w.matrix("encoder.embed_positions.weight", c.max_source_positions, d)?.to_f32();
        let scratch = || {
            let shape = (1, heads, c.max_source_positions, d / heads);
            Tensor::zeros(shape, DType::F32, &Device::Cpu)
        };
        Ok(HostEncoder {
            conv1: conv("conv1", c.num_mel_bins)?,
            conv2: conv("conv2", d)?,
            positions: Tensor::from_vec(positions, (c.max_source_positions, d), &Device::Cpu)?,
            layers: (0..c.encoder_layers).map(layer).collect::<Result<_>>()?,
            norm: LayerNorm::load(w, "encoder.layer_norm", d)?,
            heads,
            scratch: (scratch()?, scratch()?),
        })
    }

    fn upload(&self, gpu: &Gpu, c: &WhisperConfig) -> Result<GpuEncoder> {
        let convolutions = [&self.conv1, &self.conv2].map(|(weight, bias)| (weight, Some(&bias[..])));
        let positions = self.positions.flatten_all()?.to_vec1::<f32>()?;
        let layers = self.layers.iter().map(|l| (l.attention.host(&l.norm), l.feed_forward.host()));
        GpuEncoder::upload(gpu, c, convolutions, (&positions, self.norm.host()), layers)
    }

    /// As [`Encoder::forward_layers`].
    fn forward<E: From<ModelError> + From<candle_core::Error>>(
        &self,
        mel: &Tensor,
        context: AudioContext,
        before_layer: impl Fn(usize) -> std::result::Result<(), E>,
    ) -> std::result::Result<Tensor, E> {
        let x = gelu(&conv1d(mel, &self.conv1.0, &self.conv1.1, 1)?)?;
        let x = gelu(&conv1d(&x, &self.conv2.0, &self.conv2.1, 2)?)?;
        let x = self.place(&x, context)?;
        for (n, layer) in self.layers.iter().enumerate() {
            before_layer(n)?;
            let h = self.self_attention(layer, context, &layer.norm.forward(&x)?)?;
            add_to(&x, &h).map_err(ModelError::from)?;
            layer.feed_forward.add_to(&x)?;
        }
        Ok(self.norm.forward(&x)?)
    }

    /// Adds their places to what the convolutions `x` found there.
    fn place(&self, x: &Tensor, context: AudioContext) -> Result<Tensor> {
        if context.is_full() {
            add_to(x, &self.positions.narrow(0, 0, context.len())?)?;
            return Ok(x.clone());
        }
        let places = Tensor::new(context.places(), &Device::Cpu)?;
        let (dense, sampled) = (context.dense(), context.len() - context.dense());
        let silence = x.narrow(0, dense, 1)?.broadcast_as((sampled, x.dim(1)?))?;
        let x = Tensor::cat(&[&x.narrow(0, 0, dense)?, &silence], 0)?;
        add_to(&x, &self.positions.index_select(&places, 0)?)?;
        Ok(x)
    }

    fn self_attention(&self, layer: &EncoderLayer, context: AudioContext, x: &Tensor) -> Result<Tensor> {
        let (frames, d) = x.dims2()?;
        let (keys, values) = &self.scratch;
        kv_append(keys, &layer.attention.k.forward(x)?.unsqueeze(0)?, 0)?;
        kv_append(values, &layer.attention.v.forward(x)?.unsqueeze(0)?, 0)?;
        let scale = 1.0 / ((d / self.heads) as f32).sqrt();
        let spec = Attention {
            kv_len: frames,
            causal: false,
            window: None,
            scale,
            sampled: context.keys(),
            regime: Regime::Many,
        };
        let q = layer.attention.q.forward(x)?.unsqueeze(0)?;
        layer.attention.out.forward(&attention(&q, keys, values, spec)?.squeeze(0)?)
    }
}
