//! What can be found, what it means, and what to do: the program's output and docs/troubleshooting.md are this table.

use super::State::{self, Fail, Warn};
use super::facts::{Facts, Session};
use super::{portal, speed};
use crate::inject::Method;
use crate::run::MOST_TYPED_CHARS;
use crate::settings::Way;
use undertone_engine::Isa;
use undertone_engine::plan::mebibytes;
use undertone_engine::telemetry::GpuReading;
use undertone_engine::telemetry::host::HostReading;

/// Something that is not as it should be.
#[derive(Debug, PartialEq)]
pub(super) struct Case {
    pub(super) state: State,
    pub(super) when: &'static str,
    pub(super) remedy: &'static str,
}

/// One line of the output.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// All that `judge` finds.
    pub(super) cases: &'static [&'static Case],
    /// None where there is nothing to look at.
    pub(super) judge: fn(&Facts) -> Option<Judged>,
}

/// What was found, and of which case it is if not of none.
pub(super) struct Judged {
    pub(super) case: Option<&'static Case>,
    pub(super) what: String,
    /// For programs that read the output.
    pub(super) figures: Option<serde_json::Value>,
}

/// The first of the cases that holds.
pub(super) fn judged(what: String, cases: &[(bool, &'static Case)]) -> Option<Judged> {
    let case = cases.iter().find(|(holds, _)| *holds).map(|(_, case)| *case);
    Some(Judged { case, what, figures: None })
}

/// What failed, or what there is.
fn tried(result: &Result<String, String>, case: &'static Case) -> Option<Judged> {
    let what = result.as_ref().unwrap_or_else(|why| why).clone();
    judged(what, &[(result.is_err(), case)])
}

/// All lines, in their order.
pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "device",
        about: "Where models compute, and why there. Of several graphics cards an NVIDIA one is taken; those of processors and \
                other makers are not used.",
        cases: &[&UNUSED_CARD],
        judge: device,
    },
    Check {
        name: "gpu clocks",
        about: "Clock, temperature and power of the GPU, and what holds them down.",
        cases: &[&GPU_HOT, &GPU_CAPPED],
        judge: gpu_clocks,
    },
    Check {
        name: "gpu memory",
        about: "Who else computes on the GPU.",
        cases: &[&GPU_SHARED],
        judge: gpu_memory,
    },
    Check {
        name: "gpu link",
        about: "Lanes between processor and GPU: what loading takes.",
        cases: &[&GPU_NARROW],
        judge: gpu_link,
    },
    Check {
        name: "processor",
        about: "Threads and the widest instructions that are used.",
        cases: &[&NO_AVX2],
        judge: processor,
    },
    Check {
        name: "governor",
        about: "What chooses the processor's clock.",
        cases: &[&POWERSAVE],
        judge: governor,
    },
    Check { name: "power", about: "What feeds the machine.", cases: &[&BATTERY], judge: power },
    Check {
        name: "memory",
        about: "What is free, beside what the models of the settings take.",
        cases: &[&NO_ROOM, &LITTLE_ROOM],
        judge: memory,
    },
    Check { name: "swap", about: "Memory that was written to the disk.", cases: &[&SWAPPING], judge: swap },
    Check { name: "speed", about: speed::ABOUT, cases: speed::CASES, judge: speed::judge },
    Check { name: "config", about: "The file of the settings.", cases: &[&BAD_CONFIG], judge: config },
    Check {
        name: "models",
        about: "Whether the models of the settings are here and unchanged.",
        cases: &[&NO_MODEL],
        judge: models,
    },
    Check { name: "disk", about: "What is free where models are kept.", cases: &[&DISK_FULL], judge: disk },
    Check {
        name: "desktop",
        about: "The session that dictation is for, and what stands between.",
        cases: &[&NO_DESKTOP, &SANDBOXED],
        judge: desktop,
    },
    Check {
        name: "microphone",
        about: "The microphones there are, and half a second of the one of the settings.",
        cases: &[&NO_MICROPHONE, &OTHER_MICROPHONE, &MUTED, &LOUD],
        judge: microphone,
    },
    Check { name: "keys", about: "How the key of the settings is heard.", cases: &[&NO_KEYS], judge: keys },
    Check {
        name: "injection",
        about: "How text gets into windows, and whether they give a receipt: on X11 a window fetches what is pasted, and answers \
                a ping (`_NET_WM_PING`) behind what is typed, if it knows pings. Elsewhere nothing tells what became of a text.",
        cases: &[&NO_INJECTION],
        judge: injection,
    },
    Check { name: "portal", about: portal::ABOUT, cases: portal::CASES, judge: portal::judge },
    Check {
        name: "recordings",
        about: "Recordings whose text was never delivered.",
        cases: &[&UNDELIVERED],
        judge: recordings,
    },
    Check {
        name: "history",
        about: "The database of past dictations.",
        cases: &[&BAD_HISTORY],
        judge: history,
    },
];

const UNUSED_CARD: Case = Case {
    state: Warn,
    when: "there is an NVIDIA card, but models compute on the processor",
    remedy: "install NVIDIA's driver, version 580 or newer, and a build with GPU code (feature cuda)",
};
const GPU_HOT: Case = Case {
    state: Warn,
    when: "heat holds its clocks down",
    remedy: "free its fans and vents from dust, give the machine air, or lower its power limit",
};
const GPU_CAPPED: Case = Case {
    state: Warn,
    when: "a power limit or the supply holds its clocks down",
    remedy: "plug the machine in, choose its performance mode, or raise the limit (nvidia-smi --power-limit)",
};
const GPU_SHARED: Case = Case {
    state: Warn,
    when: "other programs compute on it",
    remedy: "close them (nvidia-smi names them): they take its memory and its time",
};
const GPU_NARROW: Case = Case {
    state: Warn,
    when: "it has fewer lanes than it could have",
    remedy: "put the card into the slot nearest to the processor; loading the models takes longer until then, nothing else",
};
const NO_AVX2: Case = Case {
    state: Warn,
    when: "the processor has no AVX2",
    remedy: "choose the smallest models: a dictation takes several times as long",
};
const POWERSAVE: Case = Case {
    state: Warn,
    when: "the governor keeps the processor at its lowest clock",
    remedy: "choose another: powerprofilesctl set performance, or cpupower frequency-set -g schedutil",
};
const BATTERY: Case = Case {
    state: Warn,
    when: "a battery feeds it",
    remedy: "plug it in: on battery most machines compute at half their speed",
};
const NO_ROOM: Case = Case {
    state: Fail,
    when: "the models take more than is free",
    remedy: "close other programs, or choose smaller models or models.allow (undertone plan shows what each saves)",
};
const LITTLE_ROOM: Case = Case {
    state: Warn,
    when: "less than 1 GiB is free, or the system does not tell",
    remedy: "close other programs, or name a models.budget (undertone plan shows what the models take)",
};
const SWAPPING: Case = Case {
    state: Warn,
    when: "more than half of the swap is in use",
    remedy: "close other programs, or set models.lock_memory, lest the models be written to the disk between dictations",
};
const BAD_CONFIG: Case = Case {
    state: Fail,
    when: "it cannot be read, or holds something it must not",
    remedy: "mend what is named: undertone config edit",
};
const NO_MODEL: Case = Case {
    state: Fail,
    when: "one is missing or damaged",
    remedy: "undertone models pull NAME fetches it anew; without a network, undertone models import PATH",
};
const DISK_FULL: Case = Case {
    state: Warn,
    when: "less than 1 GB is free",
    remedy: "remove what is not used: undertone models remove NAME, undertone history wipe",
};
const NO_DESKTOP: Case = Case {
    state: Warn,
    when: "there is no desktop",
    remedy: "start undertone run from a desktop session; files can be transcribed without one",
};
const SANDBOXED: Case = Case {
    state: Warn,
    when: "the program runs in a sandbox",
    remedy: "windows, keys and the microphone may be out of reach: run it outside, or bind a key to undertone ctl toggle",
};
const NO_MICROPHONE: Case = Case {
    state: Fail,
    when: "there is none, or the sound system cannot be asked",
    remedy: "connect one, and see that PipeWire, PulseAudio or ALSA runs (libasound2 has to be installed)",
};
const OTHER_MICROPHONE: Case = Case {
    state: Warn,
    when: "that of the settings is not among them",
    remedy: "connect it, or choose another: undertone setup, or undertone config set audio.device default",
};
const MUTED: Case = Case {
    state: Fail,
    when: "it gives digital silence, or nothing",
    remedy: "unmute it in the sound settings and at its own switch; a program may also not be allowed to hear it",
};
const LOUD: Case = Case {
    state: Warn,
    when: "it is overdriven",
    remedy: "lower its level in the sound settings: what is clipped cannot be heard",
};
const NO_KEYS: Case = Case {
    state: Fail,
    when: "it cannot be heard",
    remedy: "choose another key (keys.key) or keyboard.backend, or bind a key of the desktop to undertone ctl toggle",
};
const NO_INJECTION: Case = Case {
    state: Fail,
    when: "the display does not let text in",
    remedy: "see that a desktop session is running; until then text waits on the clipboard and in the history",
};
const UNDELIVERED: Case = Case {
    state: Warn,
    when: "there are some",
    remedy: "undertone recover writes out what was said, and keeps nothing",
};
const BAD_HISTORY: Case = Case {
    state: Fail,
    when: "it is damaged, locked or of a later version",
    remedy: "undertone history export saves what can be read; undertone history wipe begins anew",
};

const NVIDIA: u32 = 0x10de;

fn device(f: &Facts) -> Option<Judged> {
    let maker = |number: &u32| match *number {
        NVIDIA => "NVIDIA",
        0x8086 => "Intel",
        0x1002 => "AMD",
        _ => "another maker's",
    };
    let mut others: Vec<&str> =
        f.cards.iter().map(maker).filter(|name| f.gpu.is_err() || *name != "NVIDIA").collect();
    others.dedup();
    let beside = if others.is_empty() {
        String::new()
    } else {
        format!(" (not used: {} graphics)", others.join(", "))
    };
    let what = match &f.gpu {
        Ok(gpu) => format!("{gpu}{beside}"),
        Err(why) => format!("cpu: {why}{beside}"),
    };
    judged(what, &[(f.gpu.is_err() && f.cards.contains(&NVIDIA), &UNUSED_CARD)])
}

fn gpu_clocks(f: &Facts) -> Option<Judged> {
    let r = f.reading.as_ref()?;
    let some = |value: Option<String>| value.unwrap_or_else(|| "?".into());
    let clocks = format!(
        "{} of {} MHz, {} degrees, {} of {} W",
        some(r.sm_clock_mhz.map(|v| v.to_string())),
        some(r.max_sm_clock_mhz.map(|v| v.to_string())),
        some(r.temperature_c.map(|v| v.to_string())),
        some(r.power_w.map(|v| format!("{v:.0}"))),
        some(r.power_limit_w.map(|v| format!("{v:.0}"))),
    );
    let reasons = r.throttle_reasons.clone().unwrap_or_default();
    let names: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    let what = if names.is_empty() { clocks } else { format!("{clocks}: {}", names.join(", ")) };
    let (hot, capped) = (reasons.iter().any(|r| r.is_thermal()), reasons.iter().any(|r| r.is_power()));
    judged(what, &[(hot, &GPU_HOT), (capped, &GPU_CAPPED)])
}

fn gpu_memory(f: &Facts) -> Option<Judged> {
    let &GpuReading { memory_used_bytes, memory_total_bytes, other_processes, .. } = f.reading.as_ref()?;
    let mib = |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| mebibytes(bytes as usize));
    let others = other_processes.unwrap_or(0);
    let used = format!("{} of {} in use", mib(memory_used_bytes), mib(memory_total_bytes));
    judged(format!("{used}, {others} other programs"), &[(others > 0, &GPU_SHARED)])
}

fn gpu_link(f: &Facts) -> Option<Judged> {
    let (lanes, most) = f.reading.as_ref()?.pcie_lanes?;
    judged(format!("{lanes} of {most} lanes"), &[(lanes < most, &GPU_NARROW)])
}

fn processor(f: &Facts) -> Option<Judged> {
    let what = format!("{} threads, {}", f.threads, f.instructions.name());
    judged(what, &[(f.instructions == Isa::Scalar, &NO_AVX2)])
}

fn governor(f: &Facts) -> Option<Judged> {
    let governor = f.host.governor.as_ref()?;
    let driver = f.host.scaling_driver.as_deref().unwrap_or("");
    judged(format!("{governor} ({driver})"), &[(is_slow_governor(&f.host), &POWERSAVE)])
}

/// Whether the governor stays at the lowest clock.
pub(super) fn is_slow_governor(host: &HostReading) -> bool {
    // These drivers change the clock by themselves, whatever the governor is called.
    let driver = host.scaling_driver.as_deref().unwrap_or("");
    let own = driver.starts_with("intel_pstate") || driver.starts_with("amd-pstate");
    !own && host.governor.as_deref() == Some("powersave")
}

fn power(f: &Facts) -> Option<Judged> {
    let on_battery = f.host.on_battery?;
    judged(if on_battery { "battery" } else { "mains" }.into(), &[(on_battery, &BATTERY)])
}

fn memory(f: &Facts) -> Option<Judged> {
    let Some(free) = f.available_bytes else {
        return judged("what is free is not told".into(), &[(true, &LITTLE_ROOM)]);
    };
    let planned = f.planned_bytes.unwrap_or(0);
    let mut what = format!("{} free", mebibytes(free as usize));
    if planned > 0 {
        what += &format!(", the models take {}", mebibytes(planned as usize));
    }
    // On a GPU the models take its memory, of which the engine makes a plan.
    let on_gpu = f.gpu.is_ok();
    judged(what, &[(!on_gpu && planned > free, &NO_ROOM), (free < 1 << 30, &LITTLE_ROOM)])
}

fn swap(f: &Facts) -> Option<Judged> {
    let (used, all) = f.swap_bytes?;
    let what = match all {
        0 => "none".into(),
        all => format!("{} of {} in use", mebibytes(used as usize), mebibytes(all as usize)),
    };
    judged(what, &[(used > all / 2, &SWAPPING)])
}

fn config(f: &Facts) -> Option<Judged> {
    tried(&f.config.clone().map(|path| path.display().to_string()), &BAD_CONFIG)
}

fn models(f: &Facts) -> Option<Judged> {
    let said: Vec<&str> = f.models.iter().map(|m| m.as_ref().unwrap_or_else(|why| why).as_str()).collect();
    let what = if said.is_empty() { "none".into() } else { said.join("; ") };
    judged(what, &[(f.models.iter().any(Result::is_err), &NO_MODEL)])
}

fn disk(f: &Facts) -> Option<Judged> {
    let (path, free) = f.disk.as_ref()?;
    let what = format!("{} free in {}", crate::store::disk::megabytes(*free), path.display());
    judged(what, &[(*free < 1_000_000_000, &DISK_FULL)])
}

fn desktop(f: &Facts) -> Option<Judged> {
    let session = f.session.as_ref()?;
    let mut what = session.desktop.unwrap_or("none").to_owned();
    if let Some(sandbox) = session.sandbox {
        what += &format!(", in {sandbox}");
    }
    if session.is_running {
        what += ", undertone is running";
    }
    judged(what, &[(session.desktop.is_none(), &NO_DESKTOP), (session.sandbox.is_some(), &SANDBOXED)])
}

/// What is only of use on a desktop.
pub(super) fn on_desktop(f: &Facts) -> Option<&Session> {
    f.session.as_ref().filter(|session| session.desktop.is_some())
}

fn microphone(f: &Facts) -> Option<Judged> {
    let session = on_desktop(f)?;
    let names = match &session.microphones {
        Ok(names) if !names.is_empty() => names,
        Ok(_) => return judged("none".into(), &[(true, &NO_MICROPHONE)]),
        Err(why) => return judged(why.clone(), &[(true, &NO_MICROPHONE)]),
    };
    let wanted = session.wanted_microphone.to_lowercase();
    let is_there = wanted == "default" || names.iter().any(|name| name.to_lowercase().contains(&wanted));
    let (mut what, mut silent, mut loud) = (names.join(", "), false, false);
    match &session.loudest {
        None => {}
        Some(Ok(peak)) => {
            (silent, loud) = (*peak == 0.0, *peak >= 0.999);
            let level =
                if silent { "digital silence".into() } else { format!("peak {:.0} dB", 20.0 * peak.log10()) };
            what += &format!("; {level}");
        }
        Some(Err(why)) => {
            silent = true;
            what += &format!("; {why}");
        }
    }
    judged(what, &[(!is_there, &OTHER_MICROPHONE), (silent, &MUTED), (loud, &LOUD)])
}

fn keys(f: &Facts) -> Option<Judged> {
    tried(&on_desktop(f)?.keys, &NO_KEYS)
}

fn injection(f: &Facts) -> Option<Judged> {
    let session = on_desktop(f)?;
    let injection = match &session.injection {
        Ok(injection) => injection,
        Err(why) => return judged(why.clone(), &[(true, &NO_INJECTION)]),
    };
    let keys = match (injection.method, injection.way) {
        (_, Way::None) => return judged("none: text is left on the clipboard (inject.way)".into(), &[]),
        (Some(Method::X11), _) => "X11",
        (Some(Method::VirtualKeyboard), _) => "Wayland's virtual keyboard",
        (Some(Method::Portal), _) => "the portal RemoteDesktop, which asks when the program starts",
        (Some(Method::Native) | None, _) => "the system",
    };
    let what = match (injection.method, injection.way) {
        (Some(Method::X11), Way::Auto) => format!(
            "typed up to {MOST_TYPED_CHARS} characters, else pasted, over {keys}; receipt: a paste always, typed text from \
             windows that answer pings"
        ),
        (Some(Method::X11), Way::Paste) => {
            format!("pasted over {keys}; receipt: the window fetches the text")
        }
        (Some(Method::X11), _) => format!("typed over {keys}; receipt: from windows that answer pings"),
        _ => format!("typed over {keys}; no receipt: nothing tells what the window took"),
    };
    judged(what, &[])
}

fn recordings(f: &Facts) -> Option<Judged> {
    let count = f.session.as_ref()?.undelivered;
    judged(format!("{count} not delivered"), &[(count > 0, &UNDELIVERED)])
}

fn history(f: &Facts) -> Option<Judged> {
    let history = f.session.as_ref()?.history.clone();
    let said = |is_there| if is_there { "whole".to_owned() } else { "none yet".into() };
    tried(&history.map(said), &BAD_HISTORY)
}
