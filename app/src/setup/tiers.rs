//! Which models suit this machine's memory.

/// Memory that is left to the other programs of a desktop.
const LEFT_FREE_BYTES: u64 = 512 << 20;

/// A speech and a language model that go together, with what they take.
#[derive(Clone, Debug)]
pub(crate) struct Tier {
    pub(crate) speech: String,
    /// `None`: the rules alone clean.
    pub(crate) text: Option<String>,
    /// Memory, as the plan says.
    pub(crate) planned_bytes: u64,
    /// What is still to be fetched.
    pub(crate) disk_bytes: u64,
    /// What it is good for, in one clause.
    pub(crate) description: String,
}

/// What is to be said of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The best that fits.
    Best,
    /// Fits too.
    Fits,
    /// So much more memory would be needed.
    ShortOfMemory { by_bytes: u64 },
    /// So much more room on disk would be needed.
    ShortOfDisk { by_bytes: u64 },
}

impl Tier {
    /// The language model's name, or none.
    pub(crate) fn text_name(&self) -> &str {
        self.text.as_deref().unwrap_or("none")
    }

    /// One line that offers it, with the reason for or against it.
    pub(crate) fn offer(&self, verdict: &Verdict) -> String {
        let reason = match verdict {
            Verdict::Best => "the best that fits".to_owned(),
            Verdict::Fits => "fits".to_owned(),
            Verdict::ShortOfMemory { by_bytes } => format!("needs {} MiB more memory", mebibytes(*by_bytes)),
            Verdict::ShortOfDisk { by_bytes } => format!("needs {} MiB more on disk", mebibytes(*by_bytes)),
        };
        let (memory, disk) = (mebibytes(self.planned_bytes), mebibytes(self.disk_bytes));
        let (speech, text) = (&self.speech, self.text_name());
        format!(
            "{speech} + {text}: {}; {memory} MiB of memory, {disk} MiB to fetch ({reason})",
            self.description
        )
    }
}

/// A verdict for each of `tiers`, which come best first.
pub(crate) fn judge(tiers: &[Tier], free_bytes: u64, disk_free_bytes: u64) -> Vec<Verdict> {
    let memory_bytes = free_bytes.saturating_sub(LEFT_FREE_BYTES);
    let mut best_found = false;
    let judged = tiers.iter().map(|tier| {
        if tier.planned_bytes > memory_bytes {
            Verdict::ShortOfMemory { by_bytes: tier.planned_bytes - memory_bytes }
        } else if tier.disk_bytes > disk_free_bytes {
            Verdict::ShortOfDisk { by_bytes: tier.disk_bytes - disk_free_bytes }
        } else if std::mem::replace(&mut best_found, true) {
            Verdict::Fits
        } else {
            Verdict::Best
        }
    });
    judged.collect()
}

/// Rounded up.
pub(super) fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
