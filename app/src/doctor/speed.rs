//! How fast the language model of the settings writes, beside what memory permits, and what holds it back.

use super::State::{Fail, Warn};
use super::facts::Facts;
use super::table::{Case, Judged, judged};
use crate::engine_args::{self, EngineArgs};
use crate::settings::Models;
use crate::store::{Kind, Store};
use undertone_engine::Isa;
use undertone_engine::plan::mebibytes;
use undertone_engine::speed::{Speed, measure, needed_bytes};
use undertone_engine::telemetry::health::{FALL_RATIO, MUCH_OTHER_LOAD};
use undertone_engine::telemetry::memory;

/// Below this part of what memory permits something is amiss.
const SLOW_RATIO: f64 = 0.4;

/// A model, and how fast it wrote.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) model: String,
    pub(super) speed: Speed,
}

/// Why nothing was measured.
#[derive(Clone, Debug)]
pub(super) enum Unmeasured {
    /// It was not the time for it.
    NotNow(String),
    /// The model cannot be loaded or run.
    Broken(String),
}

/// Lets the language model of the settings write, if there is one.
pub(super) fn find(store: &Store, models: &Models, is_running: bool) -> Option<Result<Measured, Unmeasured>> {
    (models.text != "none").then(|| run(store, models, is_running))
}

fn run(store: &Store, models: &Models, is_running: bool) -> Result<Measured, Unmeasured> {
    use Unmeasured::{Broken, NotNow};
    if is_running {
        return Err(NotNow("undertone is running, and would be disturbed".into()));
    }
    let model = store.resolve(&models.text, Kind::Text).map_err(|e| NotNow(format!("{e:#}")))?;
    let args = EngineArgs::from_settings(models, &models.speech, &models.text);
    let args = args.map_err(|e| Broken(e.to_string()))?;
    let gpu = engine_args::gpu(args.device).map_err(|e| Broken(e.to_string()))?;
    let needed = needed_bytes(&model.path).map_err(|e| Broken(e.to_string()))?;
    if let Some(free) = memory::available_bytes().filter(|free| gpu.is_none() && *free < needed) {
        let (needed, free) = (mebibytes(needed), mebibytes(free));
        return Err(NotNow(format!("{} takes {needed}, and {free} are free", model.name)));
    }
    let speed = measure(&model.path, gpu.as_ref(), args.threads.map(usize::from));
    Ok(Measured { model: model.name, speed: speed.map_err(|e| Broken(e.to_string()))? })
}

pub(super) const ABOUT: &str = "Tokens a second that the language model of the settings writes one by one, without drafts, beside \
     what memory permits: each token reads all weights once. The weights themselves are read to measure that, with all threads \
     (on a GPU: memory is copied). Half and more is usual. Not measured with `--quick`, nor while the program runs.";

pub(super) const CASES: &[&Case] =
    &[&BROKEN, &HELD, &ON_BATTERY, &LOW_GOVERNOR, &OTHERS, &FEW_THREADS, &LOW_CLOCK, &SLOW];

const BROKEN: Case = Case {
    state: Fail,
    when: "the model cannot be loaded or run",
    remedy: "undertone models verify NAME tells whether its file is whole; undertone models pull NAME fetches it anew",
};
const HELD: Case = Case {
    state: Warn,
    when: "less than two fifths, while heat or a power limit holds the GPU's clocks down",
    remedy: "let it cool, plug the machine in, or raise the limit (nvidia-smi --power-limit)",
};
const ON_BATTERY: Case = Case {
    state: Warn,
    when: "less than two fifths, on battery",
    remedy: "plug the machine in and look again",
};
const LOW_GOVERNOR: Case = Case {
    state: Warn,
    when: "less than two fifths, while the governor keeps the processor at its lowest clock",
    remedy: "choose another: powerprofilesctl set performance, or cpupower frequency-set -g schedutil",
};
const OTHERS: Case = Case {
    state: Warn,
    when: "less than two fifths, while other programs take the processor or the GPU",
    remedy: "close them (top and nvidia-smi name them) and look again",
};
const FEW_THREADS: Case = Case {
    state: Warn,
    when: "less than two fifths, with fewer threads than the processor has",
    remedy: "undertone config set models.threads 0 takes all",
};
const LOW_CLOCK: Case = Case {
    state: Warn,
    when: "less than two fifths, at a clock far below the highest",
    remedy: "choose the performance profile of the system or of its firmware, and see that the machine gets air",
};
const SLOW: Case = Case {
    state: Warn,
    when: "less than two fifths, and none of these",
    remedy: "look again when the machine is at rest; in a virtual machine its neighbours may take the processor. If it stays, \
             please report the output of undertone doctor --json",
};

pub(super) fn judge(f: &Facts) -> Option<Judged> {
    let Measured { model, speed } = match f.speed.as_ref()? {
        Ok(measured) => measured,
        Err(Unmeasured::NotNow(why)) => return judged(format!("not measured: {why}"), &[]),
        Err(Unmeasured::Broken(why)) => return judged(why.clone(), &[(true, &BROKEN)]),
    };
    // Without AVX2 arithmetic takes longest, as the line `processor` says.
    let is_slow = speed.ratio() < SLOW_RATIO && (speed.on_gpu || f.instructions != Isa::Scalar);
    let slow = is_slow.then(|| cause(f, speed));
    let from = match f.cache_bytes {
        Some(cache) if !speed.on_gpu && speed.token_bytes as u64 <= cache => "the processor's cache",
        _ => "memory",
    };
    let (tokens, permitted) = (speed.tokens_per_s, speed.permitted_tokens_per_s);
    let beside = format!("({:.1} GB/s, {model})", speed.memory_gb_per_s);
    let mut what = match speed.ratio() < 1.0 {
        true => format!("{tokens:.0} of {permitted:.0} tokens/s that {from} permits {beside}"),
        // By chance the best reading was slower than the median token.
        false => format!("{tokens:.0} tokens/s, all that {from} permits {beside}"),
    };
    if let Some((_, why)) = slow.as_ref().filter(|(_, why)| !why.is_empty()) {
        what += &format!(": {why}");
    }
    let figures = serde_json::json!({"model": model, "ratio": speed.ratio(), "measured": speed});
    Some(Judged { case: slow.map(|(case, _)| case), what, figures: Some(figures) })
}

/// What holds it back, with its figures: the first that is found.
fn cause(f: &Facts, speed: &Speed) -> (&'static Case, String) {
    let host = &speed.host;
    // Of a card that does not compute nothing matters, nor of the processor of one that does.
    let card = speed.gpu.as_ref().filter(|_| speed.on_gpu);
    let reasons = card.and_then(|card| card.throttle_reasons.as_deref()).unwrap_or_default();
    if let Some(reason) = reasons.iter().find(|reason| reason.is_thermal() || reason.is_power()) {
        let limit = card.and_then(|card| card.power_limit_w).filter(|_| reason.is_power());
        return (&HELD, limit.map_or(reason.to_string(), |watts| format!("{reason} {watts:.0} W")));
    }
    if host.on_battery == Some(true) {
        return (&ON_BATTERY, "on battery".into());
    }
    if let Some(others) = card.and_then(|card| card.other_processes).filter(|n| *n > 0) {
        return (&OTHERS, format!("{others} other programs on the GPU"));
    }
    if speed.on_gpu {
        return (&SLOW, String::new());
    }
    if super::table::is_slow_governor(host) {
        return (&LOW_GOVERNOR, "governor powersave".into());
    }
    if let Some(load) = speed.other_load.filter(|load| *load >= MUCH_OTHER_LOAD) {
        return (&OTHERS, format!("others take {:.0} % of the processor", load * 100.0));
    }
    if speed.threads < f.threads {
        return (&FEW_THREADS, format!("{} of {} threads", speed.threads, f.threads));
    }
    match host.cpu_mhz.zip(host.max_cpu_mhz) {
        Some((now, most)) if now < FALL_RATIO * most => (&LOW_CLOCK, format!("{now:.0} of {most:.0} MHz")),
        _ => (&SLOW, String::new()),
    }
}
