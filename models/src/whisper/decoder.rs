use super::WhisperConfig;
use super::encoder::{FeedForward, LayerNorm, Projections};
use crate::error::{ModelError, Result};
use crate::weights::Weights;
use candle_core::{DType, Device, Tensor};
use undertone_kernels::attention::{Attention, attention};
use undertone_kernels::kv_append::{kv_append, kv_reorder};
use undertone_kernels::linear::{gather_rows, linear};
use undertone_kernels::weight::Weight;

struct DecoderLayer {
    self_norm: LayerNorm,
    self_attention: Projections,
    cross_norm: LayerNorm,
    cross_attention: Projections,
    feed_forward: FeedForward,
}

/// Self-attention keys and values of up to `batch` hypotheses; fixed capacity.
pub struct DecoderCache {
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
    batch: usize,
    capacity: usize,
}

impl DecoderCache {
    /// Positions filled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hypotheses there is room for.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Forgets all positions from `len` on.
    pub fn rewind(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes hypothesis `i` a copy of what hypothesis `from[i]` was: beams after a step, or one
    /// prompt spread over several samples.
    ///
    /// # Errors
    /// If an index exceeds the batch.
    pub fn reorder(&mut self, from: &[usize]) -> Result<()> {
        for (keys, values) in &self.layers {
            kv_reorder(keys, from, self.len)?;
            kv_reorder(values, from, self.len)?;
        }
        Ok(())
    }
}

/// Keys and values of the encoder's output, computed once a window.
pub struct CrossCache {
    layers: Vec<(Tensor, Tensor)>,
    frames: usize,
}

/// Whisper's text decoder.
pub struct Decoder {
    embed: Weight,
    positions: Weight,
    layers: Vec<DecoderLayer>,
    norm: LayerNorm,
    config: WhisperConfig,
}

impl Decoder {
    pub(super) fn load(w: &Weights, c: &WhisperConfig) -> Result<Decoder> {
        let d = c.d_model;
        let layer = |n: usize| -> Result<DecoderLayer> {
            let name = format!("decoder.layers.{n}");
            Ok(DecoderLayer {
                self_norm: LayerNorm::load(w, &format!("{name}.self_attn_layer_norm"), d)?,
                self_attention: Projections::load(w, &format!("{name}.self_attn"), d)?,
                cross_norm: LayerNorm::load(w, &format!("{name}.encoder_attn_layer_norm"), d)?,
                cross_attention: Projections::load(w, &format!("{name}.encoder_attn"), d)?,
                feed_forward: FeedForward::load(w, &name, d, c.decoder_ffn_dim)?,
            })
        };
        Ok(Decoder {
            embed: w.matrix("decoder.embed_tokens.weight", c.vocab_size, d)?,
            positions: w.matrix("decoder.embed_positions.weight", c.max_target_positions, d)?,
            layers: (0..c.decoder_layers).map(layer).collect::<Result<_>>()?,
            norm: LayerNorm::load(w, "decoder.layer_norm", d)?,
            config: c.clone(),
        })
    }

    fn cache(&self, batch: usize, positions: usize) -> Result<Vec<(Tensor, Tensor)>> {
        let heads = self.config.decoder_attention_heads;
        let zeros = || {
            let shape = (batch, heads, positions, self.config.d_model / heads);
            Tensor::zeros(shape, DType::F32, &Device::Cpu)
        };
        let layers = self.layers.iter().map(|_| Ok((zeros()?, zeros()?)));
        layers.collect::<Result<_>>()
    }

    /// An empty cache for `batch` hypotheses of the model's full length.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new_cache(&self, batch: usize) -> Result<DecoderCache> {
        let capacity = self.config.max_target_positions;
        Ok(DecoderCache { layers: self.cache(batch, capacity)?, len: 0, batch, capacity })
    }

    /// A cross-attention cache for one window.
    ///
    /// # Errors
    /// If it cannot be allocated.
    pub fn new_cross_cache(&self) -> Result<CrossCache> {
        Ok(CrossCache { layers: self.cache(1, self.config.max_source_positions)?, frames: 0 })
    }

    /// Fills `cross` from the encoder's output `audio [frames, d_model]`.
    ///
    /// # Errors
    /// If there are more frames than the cache holds.
    pub fn attend_to(&self, audio: &Tensor, cross: &mut CrossCache) -> Result<()> {
        for (layer, (keys, values)) in self.layers.iter().zip(&cross.layers) {
            kv_append(keys, &layer.cross_attention.k.forward(audio)?.unsqueeze(0)?, 0)?;
            kv_append(values, &layer.cross_attention.v.forward(audio)?.unsqueeze(0)?, 0)?;
        }
        cross.frames = audio.dim(0)?;
        Ok(())
    }

    /// Runs `tokens` (`batch` sequences of equal length, one after the other) behind what `cache`
    /// holds. Hidden states `[batch, tokens.len() / batch, d_model]`, normed.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] past the model's positions; a token outside the vocabulary.
    pub fn forward(
        &self,
        tokens: &[u32],
        batch: usize,
        cache: &mut DecoderCache,
        cross: &CrossCache,
    ) -> Result<Tensor> {
        let (m, d) = (tokens.len() / batch, self.config.d_model);
        let needed = cache.len + m;
        if needed > cache.capacity {
            return Err(ModelError::ContextFull { needed, capacity: cache.capacity });
        }
        let positions: Vec<u32> = (0..batch).flat_map(|_| cache.len as u32..needed as u32).collect();
        let embedded = (gather_rows(&self.embed, tokens)? + gather_rows(&self.positions, &positions)?)?;
        let mut x = embedded.reshape((batch, m, d))?;
        let scale = 1.0 / ((d / self.config.decoder_attention_heads) as f32).sqrt();
        let own = Attention { kv_len: needed, causal: true, window: None, scale };
        let heard = Attention { kv_len: cross.frames, causal: false, window: None, scale };
        for ((layer, own_kv), cross_kv) in self.layers.iter().zip(&cache.layers).zip(&cross.layers) {
            let p = &layer.self_attention;
            let h = layer.self_norm.forward(&x)?;
            kv_append(&own_kv.0, &p.k.forward(&h)?, cache.len)?;
            kv_append(&own_kv.1, &p.v.forward(&h)?, cache.len)?;
            let h = attention(&p.q.forward(&h)?, &own_kv.0, &own_kv.1, own)?;
            x = (x + p.out.forward(&h)?)?;
            let p = &layer.cross_attention;
            let q = p.q.forward(&layer.cross_norm.forward(&x)?)?;
            let h = attention(&q, &cross_kv.0, &cross_kv.1, heard)?;
            x = (x + p.out.forward(&h)?)?;
            x = layer.feed_forward.forward(&x)?;
        }
        cache.len = needed;
        self.norm.forward(&x)
    }

    /// Logits `[.., vocab_size]` of hidden states `[.., d_model]` (the head is the embedding).
    ///
    /// # Errors
    /// If the last dimension is not `d_model`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(linear(&hidden.contiguous()?, &self.embed, None)?)
    }
}
