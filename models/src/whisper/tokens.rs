/// What the decoder is asked to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// The words spoken, in their language.
    #[default]
    Transcribe,
    /// An English translation.
    Translate,
}

/// Language codes in the order of their tokens (`whisper/tokenizer.py`), with English names.
pub const LANGUAGES: [(&str, &str); 100] = [
    ("en", "english"),
    ("zh", "chinese"),
    ("de", "german"),
    ("es", "spanish"),
    ("ru", "russian"),
    ("ko", "korean"),
    ("fr", "french"),
    ("ja", "japanese"),
    ("pt", "portuguese"),
    ("tr", "turkish"),
    ("pl", "polish"),
    ("ca", "catalan"),
    ("nl", "dutch"),
    ("ar", "arabic"),
    ("sv", "swedish"),
    ("it", "italian"),
    ("id", "indonesian"),
    ("hi", "hindi"),
    ("fi", "finnish"),
    ("vi", "vietnamese"),
    ("he", "hebrew"),
    ("uk", "ukrainian"),
    ("el", "greek"),
    ("ms", "malay"),
    ("cs", "czech"),
    ("ro", "romanian"),
    ("da", "danish"),
    ("hu", "hungarian"),
    ("ta", "tamil"),
    ("no", "norwegian"),
    ("th", "thai"),
    ("ur", "urdu"),
    ("hr", "croatian"),
    ("bg", "bulgarian"),
    ("lt", "lithuanian"),
    ("la", "latin"),
    ("mi", "maori"),
    ("ml", "malayalam"),
    ("cy", "welsh"),
    ("sk", "slovak"),
    ("te", "telugu"),
    ("fa", "persian"),
    ("lv", "latvian"),
    ("bn", "bengali"),
    ("sr", "serbian"),
    ("az", "azerbaijani"),
    ("sl", "slovenian"),
    ("kn", "kannada"),
    ("et", "estonian"),
    ("mk", "macedonian"),
    ("br", "breton"),
    ("eu", "basque"),
    ("is", "icelandic"),
    ("hy", "armenian"),
    ("ne", "nepali"),
    ("mn", "mongolian"),
    ("bs", "bosnian"),
    ("kk", "kazakh"),
    ("sq", "albanian"),
    ("sw", "swahili"),
    ("gl", "galician"),
    ("mr", "marathi"),
    ("pa", "punjabi"),
    ("si", "sinhala"),
    ("km", "khmer"),
    ("sn", "shona"),
    ("yo", "yoruba"),
    ("so", "somali"),
    ("af", "afrikaans"),
    ("oc", "occitan"),
    ("ka", "georgian"),
    ("be", "belarusian"),
    ("tg", "tajik"),
    ("sd", "sindhi"),
    ("gu", "gujarati"),
    ("am", "amharic"),
    ("yi", "yiddish"),
    ("lo", "lao"),
    ("uz", "uzbek"),
    ("fo", "faroese"),
    ("ht", "haitian creole"),
    ("ps", "pashto"),
    ("tk", "turkmen"),
    ("nn", "nynorsk"),
    ("mt", "maltese"),
    ("sa", "sanskrit"),
    ("lb", "luxembourgish"),
    ("my", "myanmar"),
    ("bo", "tibetan"),
    ("tl", "tagalog"),
    ("mg", "malagasy"),
    ("as", "assamese"),
    ("tt", "tatar"),
    ("haw", "hawaiian"),
    ("ln", "lingala"),
    ("ha", "hausa"),
    ("ba", "bashkir"),
    ("jw", "javanese"),
    ("su", "sundanese"),
    ("yue", "cantonese"),
];

/// Ids of Whisper's special tokens. All checkpoints share one layout behind the text vocabulary,
/// so the vocabulary size alone fixes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<|endoftext|>`; every text token is below it.
    pub end_of_text: u32,
    /// `<|startoftranscript|>`.
    pub start_of_transcript: u32,
    /// `<|en|>`; the others follow in the order of [`LANGUAGES`].
    pub first_language: u32,
    /// Languages the model knows (99, or 100 from large-v3 on).
    pub languages: u32,
    /// `<|translate|>`.
    pub translate: u32,
    /// `<|transcribe|>`.
    pub transcribe: u32,
    /// `<|startoflm|>`.
    pub start_of_lm: u32,
    /// `<|startofprev|>`.
    pub start_of_prev: u32,
    /// `<|nospeech|>`.
    pub no_speech: u32,
    /// `<|notimestamps|>`.
    pub no_timestamps: u32,
    /// `<|0.00|>`; each next id is 20 ms later, 1,501 in all.
    pub timestamp_begin: u32,
    /// Whether the model knows other languages than English.
    pub multilingual: bool,
}

impl SpecialTokens {
    /// Seconds between timestamp tokens.
    pub const TIME_PRECISION_S: f64 = 0.02;

    /// The layout for a vocabulary of `vocab_size` ids.
    pub fn from_vocab_size(vocab_size: usize) -> SpecialTokens {
        let multilingual = vocab_size >= 51_865;
        let languages = (vocab_size - 51_765 - multilingual as usize) as u32;
        let end_of_text = if multilingual { 50_257 } else { 50_256 };
        let translate = end_of_text + 2 + languages;
        SpecialTokens {
            end_of_text,
            start_of_transcript: end_of_text + 1,
            first_language: end_of_text + 2,
            languages,
            translate,
            transcribe: translate + 1,
            start_of_lm: translate + 2,
            start_of_prev: translate + 3,
            no_speech: translate + 4,
            no_timestamps: translate + 5,
            timestamp_begin: translate + 6,
            multilingual,
        }
    }

    /// The token of a language code the model knows.
    pub fn language(&self, code: &str) -> Option<u32> {
        let at = LANGUAGES.iter().position(|(c, _)| *c == code)? as u32;
        (at < self.languages).then_some(self.first_language + at)
    }

    /// The token of a task.
    pub fn task(&self, task: Task) -> u32 {
        match task {
            Task::Transcribe => self.transcribe,
            Task::Translate => self.translate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_published_checkpoints() {
        let en = SpecialTokens::from_vocab_size(51_864);
        assert_eq!((en.start_of_transcript, en.no_speech, en.timestamp_begin), (50_257, 50_361, 50_363));
        let multi = SpecialTokens::from_vocab_size(51_865);
        assert_eq!((multi.transcribe, multi.no_timestamps, multi.timestamp_begin), (50_359, 50_363, 50_364));
        assert_eq!((multi.language("de"), multi.language("yue")), (Some(50_261), None));
        let v3 = SpecialTokens::from_vocab_size(51_866);
        assert_eq!((v3.transcribe, v3.timestamp_begin, v3.language("yue")), (50_360, 50_365, Some(50_358)));
    }
}
