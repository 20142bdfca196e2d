use super::encoder::{AudioFeatures, Features, FeedForward, LayerNorm, Layout, Projections, rounded};
use super::{AudioContext, WhisperConfig};
use crate::error::{ModelError, Result};
use crate::gpu::GpuDecoder;
use crate::kv_cache::{KvCache, KvType};
use crate::weights::Weights;
use candle_core::{Device, Tensor};
use undertone_kernels::attention::{Attention, attention};
use undertone_kernels::gpu::Gpu;
use undertone_kernels::kv_append::kv_append;
use undertone_kernels::linear::{gather_rows, linear};
use undertone_kernels::regime::Regime;
use undertone_kernels::residual::add_to;
use undertone_kernels::weight::Weight;

struct DecoderLayer {
    self_norm: LayerNorm,
    self_attention: Projections,
    cross_norm: LayerNorm,
    cross_attention: Projections,
    feed_forward: FeedForward,
}

/// What all hypotheses hear: keys and values of the encoder's output, for every layer.
pub struct CrossCache {
    kv: KvCache,
    context: AudioContext,
}

impl CrossCache {
    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.kv.bytes()
    }

    /// Whether what was heard is a sample of its silence.
    pub fn is_sampled(&self) -> bool {
        !self.context.is_full()
    }

    /// Forgets what was heard.
    pub fn reset(&mut self) {
        self.kv.rewind(0);
    }
}

/// Whisper's text decoder.
pub struct Decoder {
    network: Network,
    config: WhisperConfig,
}

enum Network {
    Host(Box<HostDecoder>),
    Gpu(Box<GpuDecoder>),
}

/// Weights in main memory, and their arithmetic on the processor.
struct HostDecoder {
    embed: Weight,
    positions: Weight,
    layers: Vec<DecoderLayer>,
    norm: LayerNorm,
}

impl HostDecoder {
    fn load(w: &Weights, c: &WhisperConfig, on_bytes: Option<Layout>) -> Result<HostDecoder> {
        let d = c.d_model;
        let layer = |n: usize| -> Result<DecoderLayer> {
            let name = format!("decoder.layers.{n}");
            let mut layer = DecoderLayer {
                self_norm: LayerNorm::load(w, &format!("{name}.self_attn_layer_norm"), d)?,
                self_attention: Projections::load(w, &format!("{name}.self_attn"), d)?,
                cross_norm: LayerNorm::load(w, &format!("{name}.encoder_attn_layer_norm"), d)?,
                cross_attention: Projections::load(w, &format!("{name}.encoder_attn"), d)?,
                feed_forward: FeedForward::load(w, &name, d, c.decoder_ffn_dim)?,
            };
            if let Some(layout) = on_bytes {
                layer.self_attention.round(layout);
                layer.cross_attention.round(layout);
                layer.feed_forward.round(layout);
            }
            Ok(layer)
        };
        let mut embed = w.matrix("decoder.embed_tokens.weight", c.vocab_size, d)?;
        if let Some(layout) = on_bytes {
            embed = rounded(embed, layout);
        }
        Ok(HostDecoder {
            embed,
            positions: w.matrix("decoder.embed_positions.weight", c.max_target_positions, d)?,
            layers: (0..c.decoder_layers).map(layer).collect::<Result<_>>()?,
            norm: LayerNorm::load(w, "decoder.layer_norm", d)?,
        })
    }

    fn upload(&self, gpu: &Gpu, c: &WhisperConfig) -> Result<GpuDecoder> {
        let positions = self.positions.to_f32();
        let layers = self.layers.iter().map(|l| {
            let own = l.self_attention.host(&l.self_norm);
            (own, l.cross_attention.host(&l.cross_norm), l.feed_forward.host())
        });
        GpuDecoder::upload(gpu, c, (&self.embed, &positions, self.norm.host()), layers)
    }

    fn attend_to(&self, features: &Tensor, kv: &KvCache) -> Result<()> {
        for (layer, (keys, values)) in self.layers.iter().zip(kv.layers()?) {
            kv_append(keys, &layer.cross_attention.k.forward(features)?.unsqueeze(0)?, 0)?;
            kv_append(values, &layer.cross_attention.v.forward(features)?.unsqueeze(0)?, 0)?;
        }
        Ok(())
    }

    fn forward(
        &self,
        c: &WhisperConfig,
        what: (&[u32], usize, usize),
        wanted: &[usize],
        cache: &KvCache,
        cross: &CrossCache,
    ) -> Result<Vec<f32>> {
        let hidden = self.hidden(c, what, cache, cross)?;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<u32> = wanted.iter().map(|i| *i as u32).collect();
        let hidden = hidden.index_select(&Tensor::new(wanted, &Device::Cpu)?, 1)?;
        let regime = Regime::of_rows(hidden.elem_count() / self.embed.cols());
        Ok(linear(&hidden, &self.embed, None, regime)?.flatten_all()?.to_vec1()?)
    }

    /// Normed states `[batch, m, d_model]`.
    fn hidden(
        &self,
        c: &WhisperConfig,
        (tokens, batch, position): (&[u32], usize, usize),
        cache: &KvCache,
        cross: &CrossCache,
    ) -> Result<Tensor> {
        let (m, d) = (tokens.len() / batch, c.d_model);
        let positions: Vec<u32> = (0..batch).flat_map(|_| position as u32..(position + m) as u32).collect();
        let embedded = gather_rows(&self.embed, tokens)?;
        add_to(&embedded, &gather_rows(&self.positions, &positions)?)?;
        let x = embedded.reshape((batch, m, d))?;
        let scale = 1.0 / ((d / c.decoder_attention_heads) as f32).sqrt();
        let regime = Regime::of_rows(m);
        let own =
            Attention { kv_len: position + m, causal: true, window: None, scale, sampled: None, regime };
        let heard = Attention { kv_len: cross.kv.len(), causal: false, sampled: cross.context.keys(), ..own };
        let caches = cache.layers()?.iter().zip(cross.kv.layers()?);
        for (layer, ((own_keys, own_values), (heard_keys, heard_values))) in self.layers.iter().zip(caches) {
            let p = &layer.self_attention;
            let h = layer.self_norm.forward(&x)?;
            kv_append(own_keys, &p.k.forward(&h)?, position)?;
            kv_append(own_values, &p.v.forward(&h)?, position)?;
            let h = attention(&p.q.forward(&h)?, own_keys, own_values, own)?;
            add_to(&x, &p.out.forward(&h)?)?;
            let p = &layer.cross_attention;
            let q = p.q.forward(&layer.cross_norm.forward(&x)?)?;
            let h = attention(&q, heard_keys, heard_values, heard)?;
            add_to(&x, &p.out.forward(&h)?)?;
            layer.feed_forward.add_to(&x)?;
        }
        self.norm.forward(&x)
    }
}

impl Decoder {
    pub(super) fn load(w: &Weights, c: &WhisperConfig, on_bytes: bool, gpu: Option<&Gpu>) -> Result<Decoder> {
        let layout = if gpu.is_some() { Layout::File } else { Layout::Processor };
        let host = HostDecoder::load(w, c, on_bytes.then_some(layout))?;
        let network = match gpu {
            None => Network::Host(Box::new(host)),
            Some(gpu) => Network::Gpu(Box::new(host.upload(gpu, c)?)),
        };
        Ok(Decoder { network, config: c.clone() })
    }

    fn cache(&self, batch: usize, positions: usize) -> Result<KvCache> {
        let (layers, heads) = (self.config.decoder_layers, self.config.decoder_attention_heads);
        let head_dim = self.config.d_model / heads;
        match &self.network {
            Network::Host(_) => KvCache::new(layers, batch, heads, head_dim, positions, KvType::F32),
            Network::Gpu(d) => {
                KvCache::on_gpu(d.gpu(), (layers, batch), heads, head_dim, positions, KvType::F32)
            }
        }
    }

    /// An empty cache for `batch` hypotheses of the model's full length.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new_cache(&self, batch: usize) -> Result<KvCache> {
        self.cache(batch, self.config.max_target_positions)
    }

    /// A cross-attention cache for one window: one sequence that all hypotheses share.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new_cross_cache(&self) -> Result<CrossCache> {
        let positions = self.config.max_source_positions;
        Ok(CrossCache { kv: self.cache(1, positions)?, context: AudioContext::full(positions) })
    }

    /// Fills `cross` anew from what the encoder made of a window.
    ///
    /// # Errors
    /// If there are more positions than the cache holds.
    pub fn attend_to(&self, audio: &AudioFeatures, cross: &mut CrossCache) -> Result<()> {
        let kv = &mut cross.kv;
        kv.rewind(0);
        let positions = audio.context.len();
        kv.check(positions)?;
        match (&self.network, &audio.features) {
            (Network::Host(decoder), Features::Host(features)) => decoder.attend_to(features, kv)?,
            (Network::Gpu(decoder), Features::Gpu(features)) => {
                decoder.attend_to(features, audio.context, kv.gpu_mut()?)?
            }
            _ => return Err(ModelError::OtherDevice),
        }
        kv.advance(positions);
        cross.context = audio.context;
        Ok(())
    }

    /// Runs `tokens` (`batch` sequences of equal length, one after the other) behind what `cache` holds. Logits of each
    /// sequence at its positions `wanted`: `[batch * wanted.len() * vocab_size]` (the head is the embedding). For up to
    /// [`undertone_kernels::MAX_FEW_ROWS`] tokens they are those of one at a time, bit for bit.
    ///
    /// # Errors
    /// [`crate::ModelError::ContextFull`] past the model's positions; a token outside the vocabulary; a wanted position that
    /// a sequence has not.
    pub fn forward(
        &self,
        tokens: &[u32],
        batch: usize,
        wanted: &[usize],
        cache: &mut KvCache,
        cross: &CrossCache,
    ) -> Result<Vec<f32>> {
        let m = tokens.len() / batch;
        let position = cache.check(m)?;
        if let Some(i) = wanted.iter().find(|i| **i >= m) {
            return Err(candle_core::Error::msg(format!("logits of token {i} of {m}")).into());
        }
        let what = (tokens, batch, position);
        let logits = match &self.network {
            Network::Host(decoder) => decoder.forward(&self.config, what, wanted, cache, cross)?,
            Network::Gpu(decoder) => decoder.forward(what, wanted, cache.gpu_mut()?, cross.kv.gpu()?)?,
        };
        cache.advance(m);
        Ok(logits)
    }
}
