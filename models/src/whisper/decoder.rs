use super::encoder::{AudioFeatures, FeedForward, LayerNorm, Projections, rounded};
use super::{AudioContext, WhisperConfig};
use crate::error::Result;
use crate::kv_cache::{KvCache, KvType};
use crate::weights::Weights;
use candle_core::Tensor;
use undertone_kernels::attention::{Attention, attention};
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
    embed: Weight,
    positions: Weight,
    layers: Vec<DecoderLayer>,
    norm: LayerNorm,
    config: WhisperConfig,
}

impl Decoder {
    pub(super) fn load(w: &Weights, c: &WhisperConfig, on_bytes: bool) -> Result<Decoder> {
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
            if on_bytes {
                layer.self_attention.round();
                layer.cross_attention.round();
                layer.feed_forward.round();
            }
            Ok(layer)
        };
        let mut embed = w.matrix("decoder.embed_tokens.weight", c.vocab_size, d)?;
        if on_bytes {
            embed = rounded(embed);
        }
        Ok(Decoder {
            embed,
            positions: w.matrix("decoder.embed_positions.weight", c.max_target_positions, d)?,
            layers: (0..c.decoder_layers).map(layer).collect::<Result<_>>()?,
            norm: LayerNorm::load(w, "decoder.layer_norm", d)?,
            config: c.clone(),
        })
    }

    fn cache(&self, batch: usize, positions: usize) -> Result<KvCache> {
        let heads = self.config.decoder_attention_heads;
        KvCache::new(self.layers.len(), batch, heads, self.config.d_model / heads, positions, KvType::F32)
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
        let (features, kv) = (&audio.features, &mut cross.kv);
        kv.rewind(0);
        let positions = features.dim(0)?;
        let position = kv.check(positions)?;
        for (n, layer) in self.layers.iter().enumerate() {
            let (keys, values) = kv.layer(n);
            kv_append(keys, &layer.cross_attention.k.forward(features)?.unsqueeze(0)?, position)?;
            kv_append(values, &layer.cross_attention.v.forward(features)?.unsqueeze(0)?, position)?;
        }
        kv.advance(positions);
        cross.context = audio.context;
        Ok(())
    }

    /// Runs `tokens` (`batch` sequences of equal length, one after the other) behind what `cache`
    /// holds. Hidden states `[batch, tokens.len() / batch, d_model]`, normed. For up to
    /// [`undertone_kernels::MAX_FEW_ROWS`] tokens they are those of one at a time, bit for bit.
    ///
    /// # Errors
    /// [`crate::ModelError::ContextFull`] past the model's positions; a token outside the vocabulary.
    pub fn forward(
        &self,
        tokens: &[u32],
        batch: usize,
        cache: &mut KvCache,
        cross: &CrossCache,
    ) -> Result<Tensor> {
        let (m, d) = (tokens.len() / batch, self.config.d_model);
        let position = cache.check(m)?;
        let positions: Vec<u32> = (0..batch).flat_map(|_| position as u32..(position + m) as u32).collect();
        let embedded = gather_rows(&self.embed, tokens)?;
        add_to(&embedded, &gather_rows(&self.positions, &positions)?)?;
        let x = embedded.reshape((batch, m, d))?;
        let scale = 1.0 / ((d / self.config.decoder_attention_heads) as f32).sqrt();
        let regime = Regime::of_rows(m);
        let own =
            Attention { kv_len: position + m, causal: true, window: None, scale, sampled: None, regime };
        let heard = Attention { kv_len: cross.kv.len(), causal: false, sampled: cross.context.keys(), ..own };
        for (n, layer) in self.layers.iter().enumerate() {
            let (own_keys, own_values) = cache.layer(n);
            let (heard_keys, heard_values) = cross.kv.layer(n);
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
        cache.advance(m);
        self.norm.forward(&x)
    }

    /// Logits `[.., vocab_size]` of hidden states `[.., d_model]` (the head is the embedding).
    ///
    /// # Errors
    /// If the last dimension is not `d_model`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let regime = Regime::of_rows(hidden.elem_count() / self.embed.cols());
        Ok(linear(&hidden.contiguous()?, &self.embed, None, regime)?)
    }
}
