use crate::error::{ModelError, Result};
use crate::weights::Weights;

/// Sizes of a Whisper model, under Hugging Face's names. All are read off the tensors themselves,
/// so that no configuration file can contradict the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Hugging Face's `WhisperConfig` documents each
pub struct WhisperConfig {
    pub vocab_size: usize,
    pub num_mel_bins: usize,
    pub d_model: usize,
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub decoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    pub decoder_ffn_dim: usize,
    pub max_source_positions: usize,
    pub max_target_positions: usize,
}

impl WhisperConfig {
    /// Sizes of the tensors in `weights`.
    ///
    /// # Errors
    /// If a tensor is missing, or the sizes are not those of a Whisper model.
    pub fn from_weights(weights: &Weights, heads: (usize, usize)) -> Result<WhisperConfig> {
        let dims = |name: &str| -> Result<(usize, usize)> {
            match weights.dims(name)? {
                [rows, cols, ..] => Ok((*rows, *cols)),
                other => Err(odd(weights, name, other)),
            }
        };
        let layers = |side: &str| {
            (0..256).take_while(|n| weights.contains(&format!("{side}.layers.{n}.fc1.weight"))).count()
        };
        let (d_model, num_mel_bins) = dims("encoder.conv1.weight")?;
        let (vocab_size, _) = dims("decoder.embed_tokens.weight")?;
        let config = WhisperConfig {
            vocab_size,
            num_mel_bins,
            d_model,
            encoder_layers: layers("encoder"),
            decoder_layers: layers("decoder"),
            encoder_attention_heads: heads.0,
            decoder_attention_heads: heads.1,
            encoder_ffn_dim: dims("encoder.layers.0.fc1.weight")?.0,
            decoder_ffn_dim: dims("decoder.layers.0.fc1.weight")?.0,
            max_source_positions: dims("encoder.embed_positions.weight")?.0,
            max_target_positions: dims("decoder.embed_positions.weight")?.0,
        };
        let c = &config;
        let sane = (51_864..52_000).contains(&c.vocab_size)
            && (1..=256).contains(&c.num_mel_bins)
            && (1..=4096).contains(&c.max_source_positions)
            && (8..=4096).contains(&c.max_target_positions)
            && [heads.0, heads.1].iter().all(|h| *h > 0 && c.d_model.is_multiple_of(*h));
        if !sane {
            return Err(ModelError::corrupt(weights.path(), format!("impossible sizes {config:?}")));
        }
        Ok(config)
    }
}

fn odd(weights: &Weights, name: &str, found: &[usize]) -> ModelError {
    ModelError::TensorShape {
        path: weights.path().into(),
        name: name.into(),
        expected: vec![0, 0],
        found: found.into(),
    }
}
