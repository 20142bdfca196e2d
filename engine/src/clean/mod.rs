//! Clean-up without a model, and the check that a model's clean-up must pass.
//!
//! Everything works on plain text: no model, no clock, no allocation beyond the text's own size.

/// Are two texts the same words? The order-preserving alignment behind the check.
mod align;
/// The words that name punctuation, by language.
mod commands;
/// The words a text model knows.
pub mod dictionary;
/// What may vanish from a transcript: fillers, repeats, the abandoned part of a marked repair.
mod excuse;
/// Is a model's clean-up still what was said?
pub mod fidelity;
/// Numbers in words, in figures.
mod figures;
/// An independent judge of clean-ups.
pub mod judge;
/// Word lists by language.
mod lexicon;
/// Which text may be written next, so that it stays an edit of the transcript.
pub mod licence;
/// Numbers in words and digits, by value.
pub mod numbers;
/// Spoken punctuation.
mod punctuation;
/// Vocabulary replacements.
mod replace;
/// Clean-up by rule.
pub mod rules;
/// Spellings of one word.
mod spellings;
/// What is applied before clean-up: vocabulary, spoken punctuation, figures.
pub mod spoken;
/// Text into words.
pub mod words;
