use super::{Device, PlanRequest, Settings, mebibytes};
use serde::Serialize;
use undertone_models::kv_cache::KvType;

/// A context is never made smaller than this.
pub const MIN_CONTEXT_TOKENS: usize = 1024;
const CONTEXT_STEP_TOKENS: usize = 256;

/// What may be changed so that a plan fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemedyKind {
    /// Fewer positions of context, [`MIN_CONTEXT_TOKENS`] at least.
    SmallerContext,
    /// Keys and values of the language model in 8 bits.
    Q8Kv,
    /// The same language model in a smaller quantisation.
    SmallerQuant,
    /// The speech model on the processor instead of the GPU.
    WhisperOnCpu,
}

impl RemedyKind {
    /// All, in the order in which they are applied: what costs least comes first.
    pub const ALL: [RemedyKind; 4] =
        [RemedyKind::SmallerContext, RemedyKind::Q8Kv, RemedyKind::SmallerQuant, RemedyKind::WhisperOnCpu];

    /// As the command line and the configuration name it.
    pub fn name(self) -> &'static str {
        ["smaller-context", "q8-kv", "smaller-quant", "whisper-on-cpu"][self as usize]
    }
}

/// One thing that helps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// Which.
    pub kind: RemedyKind,
    /// What it would do here: `context 4096 -> 1024 tokens`.
    pub what: String,
    /// Bytes the total falls by when it is applied after those applied before it.
    pub saves_bytes: usize,
    /// Whether the request allows it.
    pub allowed: bool,
    /// Whether the plan has it.
    pub applied: bool,
}

/// The settings of the plan, and the remedies that were gone through to find them.
pub(super) fn settle(request: &PlanRequest) -> (Settings, Vec<Remedy>) {
    let mut settings = request.asked();
    let mut remedies = Vec::new();
    for kind in RemedyKind::ALL {
        let total = request.total_bytes(&settings);
        if total <= request.budget_bytes {
            break;
        }
        let Some((next, what)) = with(request, &settings, kind) else { continue };
        let Some(saves_bytes) = total.checked_sub(request.total_bytes(&next)).filter(|s| *s > 0) else {
            continue;
        };
        let allowed = request.allow.contains(&kind);
        if allowed {
            settings = next;
        }
        remedies.push(Remedy { kind, what, saves_bytes, allowed, applied: allowed });
    }
    (settings, remedies)
}

/// The settings with one more remedy, and what it changes; none where there is nothing to change.
fn with(request: &PlanRequest, settings: &Settings, kind: RemedyKind) -> Option<(Settings, String)> {
    match kind {
        RemedyKind::SmallerContext => smaller_context(request, settings),
        RemedyKind::Q8Kv if settings.kv == KvType::F32 => {
            let what = "text KV cache in 8 bits".to_string();
            Some((Settings { kv: KvType::Q8, ..settings.clone() }, what))
        }
        RemedyKind::SmallerQuant => smaller_quantisation(request, settings),
        RemedyKind::WhisperOnCpu if request.device == Device::Cuda => {
            let what = "speech model on the CPU".to_string();
            Some((Settings { whisper_on_cpu: true, ..settings.clone() }, what))
        }
        RemedyKind::Q8Kv | RemedyKind::WhisperOnCpu => None,
    }
}

/// The largest smaller context that fits, else the smallest there may be.
fn smaller_context(request: &PlanRequest, settings: &Settings) -> Option<(Settings, String)> {
    let now = settings.context_tokens;
    if now <= MIN_CONTEXT_TOKENS {
        return None;
    }
    let of = |context_tokens| Settings { context_tokens, ..settings.clone() };
    let steps = MIN_CONTEXT_TOKENS / CONTEXT_STEP_TOKENS..now.div_ceil(CONTEXT_STEP_TOKENS);
    let mut smaller = steps.rev().map(|n| of(n * CONTEXT_STEP_TOKENS));
    let next = smaller.find(|s| request.total_bytes(s) <= request.budget_bytes);
    let next = next.unwrap_or_else(|| of(MIN_CONTEXT_TOKENS));
    let what = format!("context {now} -> {} tokens", next.context_tokens);
    Some((next, what))
}

/// The largest smaller quantisation that fits, else the smallest there is.
fn smaller_quantisation(request: &PlanRequest, settings: &Settings) -> Option<(Settings, String)> {
    let now = request.text(settings)?;
    let mut smaller: Vec<(usize, Settings)> = Vec::new();
    for (i, (name, other)) in request.other_quantisations.iter().enumerate() {
        if other.same_network(now) && other.file_bytes < now.file_bytes {
            let text_model = Some(name.clone());
            smaller.push((i, Settings { text_model, replacement: Some(i), ..settings.clone() }));
        }
    }
    smaller.sort_by_key(|(i, _)| std::cmp::Reverse(request.other_quantisations[*i].1.file_bytes));
    let fits = smaller.iter().position(|(_, s)| request.total_bytes(s) <= request.budget_bytes);
    let (i, next) = smaller.get(fits.unwrap_or(smaller.len().checked_sub(1)?))?.clone();
    let (name, other) = &request.other_quantisations[i];
    Some((next, format!("{name} ({}) instead of {}", other.quantisation, now.quantisation)))
}

/// What a refusal tells its reader to do.
pub(super) fn advice(remedies: &[Remedy]) -> String {
    let list = |wanted: bool| -> Vec<String> {
        let chosen = remedies.iter().filter(|r| r.applied == wanted);
        chosen.map(|r| format!("{} (saves {})", r.kind.name(), mebibytes(r.saves_bytes))).collect()
    };
    let mut parts = Vec::new();
    if remedies.iter().any(|r| r.applied) {
        parts.push(format!("{} did not suffice", list(true).join(", ")));
    }
    match list(false) {
        open if open.is_empty() => parts.push("a larger budget or smaller models are needed".into()),
        open => parts.push(format!("what may help if allowed: {}", open.join(", "))),
    }
    parts.join("; ")
}
