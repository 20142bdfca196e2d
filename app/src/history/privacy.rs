//! What may be stored.

use super::entry::Entry;
use super::scrub::scrub;
use serde::{Deserialize, Serialize};

/// How much of a dictation may reach the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub(crate) enum Tier {
    /// 0: nothing.
    Nothing,
    /// 1: numbers and names of modes and models; no text, title or application.
    Numbers,
    /// 2: also the application, and the clean text without addresses, numbers and secrets; no raw text, no title.
    #[default]
    Scrubbed,
    /// 3: everything; recordings if asked.
    Everything,
}

impl TryFrom<u8> for Tier {
    type Error = String;

    fn try_from(number: u8) -> Result<Tier, String> {
        match number {
            0 => Ok(Tier::Nothing),
            1 => Ok(Tier::Numbers),
            2 => Ok(Tier::Scrubbed),
            3 => Ok(Tier::Everything),
            _ => Err(format!(
                "there is no privacy tier {number}; use 0 (nothing), 1 (numbers), 2 (scrubbed) or 3 (everything)"
            )),
        }
    }
}

impl From<Tier> for u8 {
    fn from(tier: Tier) -> u8 {
        tier as u8
    }
}

impl Tier {
    /// What of `entry` may be stored; `None` for nothing.
    pub(super) fn admit(self, mut entry: Entry) -> Option<Entry> {
        entry.words = entry.clean_text.as_deref().map_or(0, |text| text.split_whitespace().count() as u64);
        entry.refused_windows = entry.refusals.len() as u64;
        entry.stages.retain(|_, ms| ms.is_finite());
        if self < Tier::Everything {
            let title = entry.window_title.take().filter(|title| !title.is_empty());
            entry.raw_text = None;
            entry.refusals.clear();
            entry.audio_file = None;
            entry.clean_text = entry.clean_text.map(|text| scrub(&text));
            entry.error = entry.error.map(|sentence| match &title {
                Some(title) => scrub(&sentence.replace(title, "[title]")),
                None => scrub(&sentence),
            });
        }
        match self {
            Tier::Nothing => None,
            Tier::Numbers => Some(Entry { clean_text: None, app: None, error: None, ..entry }),
            Tier::Scrubbed | Tier::Everything => Some(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            raw_text: Some("um write to john dot doe at example dot com".into()),
            clean_text: Some("Write to john.doe@example.com.".into()),
            app: Some("Firefox".into()),
            window_title: Some("My Bank".into()),
            refusals: vec!["the word um".into()],
            error: Some("the focus moved to My Bank".into()),
            error_stage: Some("inject".into()),
            audio_file: Some("1.wav".into()),
            ..Entry::default()
        }
    }

    #[test]
    fn each_tier_lets_through_what_it_says() {
        assert_eq!(Tier::Nothing.admit(entry()), None);

        let numbers = Tier::Numbers.admit(entry()).unwrap();
        let expected =
            Entry { words: 3, refused_windows: 1, error_stage: Some("inject".into()), ..Entry::default() };
        assert_eq!(numbers, expected);

        let scrubbed = Tier::Scrubbed.admit(entry()).unwrap();
        assert_eq!(scrubbed.clean_text.as_deref(), Some("Write to [email]."));
        assert_eq!(scrubbed.error.as_deref(), Some("the focus moved to [title]"));
        assert_eq!(scrubbed.app.as_deref(), Some("Firefox"));
        assert_eq!((scrubbed.raw_text, scrubbed.window_title, scrubbed.audio_file), (None, None, None));
        assert!(scrubbed.refusals.is_empty());

        let all = Tier::Everything.admit(entry()).unwrap();
        assert_eq!(all, Entry { words: 3, refused_windows: 1, ..entry() });
    }

    #[test]
    fn tiers_are_numbers_in_a_file() {
        for number in 0..4_u8 {
            let tier: Tier = serde_json::from_str(&number.to_string()).unwrap();
            assert_eq!(serde_json::to_string(&tier).unwrap(), number.to_string());
        }
        assert!(serde_json::from_str::<Tier>("4").unwrap_err().to_string().contains("no privacy tier 4"));
    }
}
