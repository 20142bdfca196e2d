use super::{AudioContext, WhisperConfig};
use crate::error::{ModelError, Result};
use crate::weights::Weights;
use candle_core::{DType, Device, Tensor};
use undertone_kernels::activation::gelu;
use undertone_kernels::attention::{Attention, attention};
use undertone_kernels::conv1d::conv1d;
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
    fn round(&mut self) {
        self.weight = rounded(self.weight.clone());
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let regime = Regime::of_rows(x.elem_count() / self.weight.cols());
        Ok(linear(x, &self.weight, self.bias.as_deref(), regime)?)
    }
}

/// Rounded to bytes where that is smaller, laid out as this processor multiplies them.
pub(super) fn rounded(weight: Weight) -> Weight {
    match weight.to_q8_0() {
        Some(rounded) => rounded.to_interleaved().unwrap_or(rounded),
        None => weight,
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

    pub(super) fn round(&mut self) {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.out].into_iter().for_each(Linear::round);
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

    pub(super) fn round(&mut self) {
        self.fc1.round();
        self.fc2.round();
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
    /// `[positions, d_model]`.
    pub features: Tensor,
    /// Which positions these are.
    pub context: AudioContext,
}

/// Whisper's audio encoder. Owns the scratch its attention reorders keys and values into.
pub struct Encoder {
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
    pub(super) fn load(w: &Weights, c: &WhisperConfig) -> Result<Encoder> {
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
        Ok(Encoder {
            conv1: conv("conv1", c.num_mel_bins)?,
            conv2: conv("conv2", d)?,
            positions: Tensor::from_vec(positions, (c.max_source_positions, d), &Device::Cpu)?,
            layers: (0..c.encoder_layers).map(layer).collect::<Result<_>>()?,
            norm: LayerNorm::load(w, "encoder.layer_norm", d)?,
            heads,
            scratch: (scratch()?, scratch()?),
        })
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
        let x = gelu(&conv1d(mel, &self.conv1.0, &self.conv1.1, 1)?)?;
        let x = gelu(&conv1d(&x, &self.conv2.0, &self.conv2.1, 2)?)?;
        let x = self.place(&x, context)?;
        for (n, layer) in self.layers.iter().enumerate() {
            before_layer(n)?;
            let h = self.self_attention(layer, context, &layer.norm.forward(&x)?)?;
            add_to(&x, &h).map_err(ModelError::from)?;
            layer.feed_forward.add_to(&x)?;
        }
        Ok(AudioFeatures { features: self.norm.forward(&x)?, context })
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
