//! Tokens known by their spelling. Files give them no role, or the wrong type, often enough that
//! llama.cpp goes by these names too; the lists follow its `llama_vocab::load`.

/// Tokens at which a model has finished its answer.
pub(super) const END_OF_GENERATION: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    // Fill-in-the-middle models leave the file with these.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Tokens which structure a prompt, besides those which end it.
const STRUCTURE: &[&str] = &[
    "<bos>",
    "<start_of_turn>",
    "[INST]",
    "[/INST]",
    "<fim-prefix>",
    "<fim_prefix>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<fim-middle>",
    "<fim_middle>",
    "<PRE>",
    "<SUF>",
    "<MID>",
];

/// The end of a text, likeliest first, for vocabularies which do not name theirs.
const END_OF_TEXT: &[&str] = &["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"];

/// Whether a token spelled so ends generation whatever type the file gives it.
pub(super) fn ends_generation(spelling: &str) -> bool {
    END_OF_GENERATION.contains(&spelling)
}

/// Whether a token which the file allows in any text must be kept out of it all the same.
///
/// Fine-tunes are converted with `<|im_start|>` and the like as user-defined tokens; dictated or
/// pasted text must not be able to open a turn.
pub(super) fn structures_prompt(spelling: &str) -> bool {
    let marker = spelling.len() > 4 && spelling.starts_with("<|") && spelling.ends_with("|>");
    marker || STRUCTURE.contains(&spelling)
}

/// The end-of-text token among those which `id_of` knows.
pub(super) fn eos_among(id_of: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    END_OF_TEXT.iter().find_map(|name| id_of(name))
}
