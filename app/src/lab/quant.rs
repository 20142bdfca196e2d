//! Which type each tensor of a file gets: llama.cpp's mixtures (`llama_tensor_get_type`).

use super::shapes::{Shape, TextShape};
use undertone_models::weights::BlockType;

/// A quantisation of a whole file.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::upper_case_acronyms)]
pub(super) enum Quant {
    #[value(name = "f32")]
    F32,
    #[value(name = "f16")]
    F16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_1")]
    Q4_1,
    #[value(name = "q5_0")]
    Q5_0,
    #[value(name = "q4_k")]
    Q4K,
    #[value(name = "q4_k_m")]
    Q4KM,
    #[value(name = "q5_k")]
    Q5K,
    #[value(name = "q5_k_m")]
    Q5KM,
    #[value(name = "q6_k")]
    Q6K,
}

impl Quant {
    /// `general.file_type` (`llama_ftype`), and the name in file names.
    pub(super) fn file_type(self) -> (u32, &'static str) {
        match self {
            Quant::F32 => (0, "F32"),
            Quant::F16 => (1, "F16"),
            Quant::Q4_0 => (2, "Q4_0"),
            Quant::Q4_1 => (3, "Q4_1"),
            Quant::Q8_0 => (7, "Q8_0"),
            Quant::Q5_0 => (8, "Q5_0"),
            Quant::Q4K => (14, "Q4_K_S"),
            Quant::Q4KM => (15, "Q4_K_M"),
            Quant::Q5K => (16, "Q5_K_S"),
            Quant::Q5KM => (17, "Q5_K_M"),
            Quant::Q6K => (18, "Q6_K"),
        }
    }

    fn block_type(self) -> BlockType {
        match self {
            Quant::F32 => BlockType::F32,
            Quant::F16 => BlockType::F16,
            Quant::Q4_0 => BlockType::Q4_0,
            Quant::Q4_1 => BlockType::Q4_1,
            Quant::Q8_0 => BlockType::Q8_0,
            Quant::Q5_0 => BlockType::Q5_0,
            Quant::Q4K | Quant::Q4KM => BlockType::Q4K,
            Quant::Q5K | Quant::Q5KM => BlockType::Q5K,
            Quant::Q6K => BlockType::Q6K,
        }
    }

    /// The type of one tensor: vectors stay f32; the head (or the embedding that serves as one) has
    /// six bits at least; the `_m` mixtures give six to the values and down projections of half the
    /// layers; rows that K blocks do not divide get the nearest type with blocks of 32.
    pub(super) fn of_tensor(self, model: &TextShape, tensor: &Shape) -> BlockType {
        if tensor.dims.len() == 1 {
            return BlockType::F32;
        }
        let head = if model.own_head { "output.weight" } else { "token_embd.weight" };
        let layer = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let precise = match layer {
            None => tensor.name == head && !matches!(self, Quant::F32 | Quant::F16 | Quant::Q8_0),
            Some((n, "attn_v.weight" | "ffn_down.weight")) => {
                let more = n.parse().is_ok_and(|n| more_bits(n, model.num_hidden_layers));
                more && matches!(self, Quant::Q4KM | Quant::Q5KM)
            }
            Some(_) => false,
        };
        let ty = if precise { BlockType::Q6K } else { self.block_type() };
        match ty {
            _ if tensor.cols().is_multiple_of(ty.block_len()) => ty,
            BlockType::Q4K => BlockType::Q5_0,
            BlockType::Q5K => BlockType::Q5_1,
            BlockType::Q6K => BlockType::Q8_0,
            _ => BlockType::F16,
        }
    }
}

/// The first and last eighth of the layers and every third between them (`use_more_bits`).
fn more_bits(layer: usize, layers: usize) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}
