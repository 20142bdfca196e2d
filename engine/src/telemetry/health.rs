//! Whether generation is as fast as at warm-up on this machine, and if not, why. Pure: readings in, a
//! sentence out.

use super::gpu::{GpuReading, ThrottleReason};
use super::host::HostReading;
pub use crate::plan::Device;
use std::fmt::Write;

/// Below this share of the baseline the speed has fallen.
pub const FALL_RATIO: f64 = 0.7;

/// Observations whose median counts.
pub(super) const WINDOW: usize = 5;

/// Fewer than these tell nothing: one slow dictation is no fall.
const MIN_OBSERVATIONS: usize = 3;

/// Weights less resident than this are read from disk again while generating.
const RESIDENT_FRACTION: f64 = 0.98;

/// So many pages read from disk during one dictation cost it visible time.
const MANY_MAJOR_FAULTS: u64 = 64;

/// Share of the CPUs from which on others are to blame.
pub const MUCH_OTHER_LOAD: f64 = 0.25;

/// What is normal on this machine, taken at warm-up.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Baseline {
    /// Tokens generated in a second.
    pub tokens_per_s: f64,
    /// The card while it generated.
    pub gpu: Option<GpuReading>,
    /// The machine while it generated.
    pub host: HostReading,
}

/// One dictation, with readings taken as it ended.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Observation {
    /// Tokens generated in a second.
    pub tokens_per_s: f64,
    /// The card.
    pub gpu: Option<GpuReading>,
    /// The machine.
    pub host: HostReading,
    /// Share of the weights' pages that are in memory, 0 to 1; `None` where weights are not mapped files.
    pub resident_fraction: Option<f64>,
    /// Pages read from disk during this dictation.
    pub major_faults: u64,
    /// Where it ran.
    pub device: Device,
    /// Where it was meant to run.
    pub expected_device: Device,
    /// Share of the CPUs that others took during this dictation, 0 to 1.
    pub other_load: Option<f64>,
}

/// Why generation is slow, the first that holds being the one that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It runs on the CPU though a card was asked for.
    CpuFallback,
    /// Weights were pushed out of memory.
    Evicted,
    /// Heat.
    ThermalThrottle,
    /// The machine has left its mains supply since warm-up.
    OnBattery,
    /// The card's power limit or supply.
    PowerThrottle,
    /// Others use the same processor.
    OtherProcess,
    /// Clocks are lower than at warm-up.
    LowClocks,
    /// None of these.
    Unknown,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Health {
    /// Whether generation is as fast as it should be, where it should be.
    pub ok: bool,
    /// Median speed of the last observations, over the baseline's.
    pub ratio: f64,
    /// What is wrong.
    pub cause: Option<Cause>,
    /// For the user: the figures, the cause, and what to do.
    pub sentence: String,
}

/// Compares the last of `observations` (the oldest first) with the baseline.
pub fn check(baseline: &Baseline, observations: &[Observation]) -> Health {
    let recent = observations.get(observations.len().saturating_sub(WINDOW)..).unwrap_or_default();
    let Some(speed) = median(recent).filter(|_| baseline.tokens_per_s > 0.0) else {
        return Health { ok: true, ratio: 1.0, cause: None, sentence: "Nothing was measured yet.".into() };
    };
    let ratio = speed / baseline.tokens_per_s;
    let fallen = recent.len() >= MIN_OBSERVATIONS && ratio < FALL_RATIO;
    let slow = |o: &&Observation| o.tokens_per_s < FALL_RATIO * baseline.tokens_per_s;
    // Of a card that is not used nothing else needs to be slow.
    let misplaced = recent.last().filter(|o| on_wrong_device(o));
    let witness = misplaced.or_else(|| recent.iter().rev().find(slow).filter(|_| fallen));
    let mut sentence = format!(
        "Generating {speed:.1} tokens/s, {:.0} % of this machine's {:.1}",
        ratio * 100.0,
        baseline.tokens_per_s
    );
    let cause = witness.map(|latest| {
        let (cause, why) = explain(baseline, recent.first().unwrap_or(latest), latest);
        // Writing to a String cannot fail.
        let _ = write!(sentence, ": {why}");
        cause
    });
    sentence.push('.');
    Health { ok: cause.is_none(), ratio, cause, sentence }
}

/// Of an even number the faster of the two in the middle.
fn median(observations: &[Observation]) -> Option<f64> {
    let mut speeds: Vec<f64> = observations.iter().map(|o| o.tokens_per_s).collect();
    speeds.sort_by(f64::total_cmp);
    speeds.get(speeds.len() / 2).copied()
}

fn on_wrong_device(o: &Observation) -> bool {
    o.device == Device::Cpu && o.expected_device == Device::Cuda
}

/// The cause of `latest` being slow, and the clause that says so; counters are compared with `first`.
fn explain(baseline: &Baseline, first: &Observation, latest: &Observation) -> (Cause, String) {
    let found = [
        (Cause::CpuFallback, cpu_fallback(latest)),
        (Cause::Evicted, evicted(latest)),
        (Cause::ThermalThrottle, thermal_throttle(first, latest)),
        (Cause::OnBattery, on_battery(baseline, latest)),
        (Cause::PowerThrottle, power_throttle(baseline, latest)),
        (Cause::OtherProcess, other_process(baseline, latest)),
        (Cause::LowClocks, low_clocks(baseline, latest)),
    ];
    let named = found.into_iter().find_map(|(cause, why)| Some((cause, why?)));
    named.unwrap_or_else(|| {
        (Cause::Unknown, "no reading explains it; restarting the program takes a new baseline".into())
    })
}

fn cpu_fallback(o: &Observation) -> Option<String> {
    let why = "it runs on the CPU though CUDA was asked for; look for a driver error and restart the program";
    on_wrong_device(o).then(|| why.into())
}

fn evicted(o: &Observation) -> Option<String> {
    let remedy = "close programs that need much memory, or lock the weights in memory";
    match o.resident_fraction {
        Some(resident) if resident < RESIDENT_FRACTION => {
            Some(format!("only {:.0} % of the weights are in memory; {remedy}", (resident * 100.0).floor()))
        }
        _ if o.major_faults >= MANY_MAJOR_FAULTS => {
            Some(format!("{} pages had to be read from disk again; {remedy}", o.major_faults))
        }
        _ => None,
    }
}

/// The card's reading, where the card is what computes.
fn gpu(o: &Observation) -> Option<&GpuReading> {
    o.gpu.as_ref().filter(|_| o.device == Device::Cuda)
}

fn throttle_reasons(gpu: Option<&GpuReading>) -> &[ThrottleReason] {
    gpu.and_then(|g| g.throttle_reasons.as_deref()).unwrap_or_default()
}

fn thermal_throttle(first: &Observation, o: &Observation) -> Option<String> {
    const REMEDY: &str = "let it cool and free its air vents";
    if o.device == Device::Cpu {
        let events =
            o.host.thermal_throttles?.checked_sub(first.host.thermal_throttles?).filter(|n| *n > 0)?;
        return Some(format!("heat slows the CPU (throttled {events}x in the last dictations); {REMEDY}"));
    }
    let reason = throttle_reasons(gpu(o)).iter().find(|r| r.is_thermal())?;
    let temperature = gpu(o)?.temperature_c.map_or("hot".into(), |t| format!("at {t} °C"));
    Some(format!("the GPU is {temperature} and slows itself ({reason}); {REMEDY}"))
}

fn on_battery(baseline: &Baseline, o: &Observation) -> Option<String> {
    let left = o.host.on_battery == Some(true) && baseline.host.on_battery != Some(true);
    left.then(|| "the machine runs on battery, unlike at warm-up; plug it in".into())
}

fn power_throttle(baseline: &Baseline, o: &Observation) -> Option<String> {
    // Many cards run at their power limit when all is well.
    let usual = throttle_reasons(baseline.gpu.as_ref());
    let reason = throttle_reasons(gpu(o)).iter().find(|r| r.is_power() && !usual.contains(r))?;
    let draw = match gpu(o)? {
        GpuReading { power_w: Some(draw), power_limit_w: Some(limit), .. } => {
            format!(" at {draw:.0} of {limit:.0} W")
        }
        _ => String::new(),
    };
    const REMEDY: &str = "raise its power limit or check its cable";
    Some(format!("the GPU is held back by its power supply{draw} ({reason}); {REMEDY}"))
}

fn other_process(baseline: &Baseline, o: &Observation) -> Option<String> {
    if let Some(gpu) = gpu(o) {
        let usual = baseline.gpu.as_ref().and_then(|g| g.other_processes).unwrap_or(0);
        let others = gpu.other_processes.filter(|n| *n > usual)?;
        return Some(format!("other processes on the GPU: {others}, at warm-up {usual}; close them"));
    }
    let load = o.other_load.filter(|load| *load >= MUCH_OTHER_LOAD)?;
    Some(format!("other processes take {:.0} % of the CPUs; close them", load * 100.0))
}

fn low_clocks(baseline: &Baseline, o: &Observation) -> Option<String> {
    let clocks = |gpu: Option<&GpuReading>, host: &HostReading| match o.device {
        Device::Cuda => gpu.and_then(|g| g.sm_clock_mhz).map(f64::from),
        Device::Cpu => host.cpu_mhz,
    };
    let now = clocks(o.gpu.as_ref(), &o.host)?;
    let usual = clocks(baseline.gpu.as_ref(), &baseline.host).or(match o.device {
        Device::Cuda => gpu(o)?.max_sm_clock_mhz.map(f64::from),
        Device::Cpu => o.host.max_cpu_mhz,
    })?;
    let (name, remedy) = match o.device {
        Device::Cuda => ("GPU", "set the card to prefer maximum performance".to_owned()),
        Device::Cpu => {
            let governor =
                o.host.governor.as_ref().map_or(String::new(), |g| format!(" (its governor is {g})"));
            ("CPU", format!("choose the performance power profile{governor}"))
        }
    };
    let low = now < FALL_RATIO * usual;
    low.then(|| format!("the {name} runs at {now:.0} MHz instead of {usual:.0}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well(device: Device) -> (Baseline, Observation) {
        let gpu = GpuReading {
            temperature_c: Some(62),
            sm_clock_mhz: Some(1900),
            power_w: Some(250.0),
            power_limit_w: Some(300.0),
            throttle_reasons: Some(vec![]),
            other_processes: Some(1),
            ..GpuReading::default()
        };
        let gpu = (device == Device::Cuda).then_some(gpu);
        let host = HostReading {
            on_battery: Some(false),
            governor: Some("powersave".into()),
            cpu_mhz: Some(3800.0),
            thermal_throttles: Some(7),
            ..HostReading::default()
        };
        let observation = Observation {
            tokens_per_s: 40.0,
            gpu: gpu.clone(),
            host: host.clone(),
            resident_fraction: Some(1.0),
            major_faults: 2,
            device,
            expected_device: device,
            other_load: Some(0.05),
        };
        (Baseline { tokens_per_s: 40.0, gpu, host }, observation)
    }

    /// The verdict when the last three of five dictations are slow, and `change` holds in the last.
    fn verdict(
        device: Device,
        change: impl FnOnce(&mut Baseline, &mut Observation, &mut GpuReading),
    ) -> Health {
        let (mut baseline, fine) = well(device);
        let slow = Observation { tokens_per_s: 16.0, ..fine.clone() };
        let mut last = slow.clone();
        let mut gpu = last.gpu.take().unwrap_or_default();
        change(&mut baseline, &mut last, &mut gpu);
        last.gpu = (device == Device::Cuda).then_some(gpu);
        check(&baseline, &[fine.clone(), fine, slow.clone(), slow, last])
    }

    #[test]
    fn each_cause_is_named_in_its_situation() {
        use Device::{Cpu, Cuda};
        let table: [(Health, Cause, &[&str]); 14] = [
            (verdict(Cuda, |_, o, _| o.device = Cpu), Cause::CpuFallback, &["CPU", "CUDA", "driver"]),
            (verdict(Cpu, |_, o, _| o.resident_fraction = Some(0.605)), Cause::Evicted, &["60 %", "memory"]),
            (verdict(Cpu, |_, o, _| o.major_faults = 812), Cause::Evicted, &["812 pages"]),
            (
                verdict(Cuda, |_, _, g| {
                    g.temperature_c = Some(91);
                    g.throttle_reasons = Some(vec![ThrottleReason::HardwareThermal]);
                }),
                Cause::ThermalThrottle,
                &["91 °C", "hardware thermal slowdown", "cool"],
            ),
            (
                verdict(Cuda, |_, _, g| {
                    g.temperature_c = None;
                    g.throttle_reasons = Some(vec![ThrottleReason::SoftwareThermal]);
                }),
                Cause::ThermalThrottle,
                &["the GPU is hot"],
            ),
            (
                verdict(Cpu, |_, o, _| o.host.thermal_throttles = Some(19)),
                Cause::ThermalThrottle,
                &["throttled 12x"],
            ),
            (verdict(Cpu, |_, o, _| o.host.on_battery = Some(true)), Cause::OnBattery, &["battery", "plug"]),
            (
                verdict(Cuda, |_, _, g| {
                    g.power_w = Some(299.6);
                    g.throttle_reasons = Some(vec![ThrottleReason::SoftwarePowerCap]);
                }),
                Cause::PowerThrottle,
                &["300 of 300 W", "power limit"],
            ),
            (
                verdict(Cuda, |_, _, g| g.other_processes = Some(3)),
                Cause::OtherProcess,
                &["GPU: 3, at warm-up 1"],
            ),
            (verdict(Cpu, |_, o, _| o.other_load = Some(0.62)), Cause::OtherProcess, &["62 %"]),
            (verdict(Cuda, |_, _, g| g.sm_clock_mhz = Some(600)), Cause::LowClocks, &["600 MHz", "1900"]),
            (
                verdict(Cpu, |_, o, _| o.host.cpu_mhz = Some(1200.0)),
                Cause::LowClocks,
                &["1200 MHz", "3800", "powersave"],
            ),
            (
                verdict(Cpu, |b, o, _| {
                    (b.host.cpu_mhz, o.host.cpu_mhz, o.host.max_cpu_mhz) = (None, Some(900.0), Some(3500.0));
                }),
                Cause::LowClocks,
                &["900 MHz", "3500"],
            ),
            (verdict(Cpu, |_, _, _| ()), Cause::Unknown, &["no reading explains it"]),
        ];
        for (health, cause, words) in table {
            assert_eq!((health.cause, health.ok), (Some(cause), false), "{}", health.sentence);
            assert_eq!(health.ratio, 0.4);
            for word in words.iter().chain(&["16.0 tokens/s, 40 % of this machine's 40.0: "]) {
                assert!(health.sentence.contains(word), "{cause:?}: {}", health.sentence);
            }
        }
    }

    #[test]
    fn the_strongest_of_several_causes_is_named() {
        let order = [
            Cause::CpuFallback,
            Cause::Evicted,
            Cause::ThermalThrottle,
            Cause::OnBattery,
            Cause::OtherProcess,
            Cause::LowClocks,
            Cause::Unknown,
        ];
        for (held, cause) in order.into_iter().enumerate() {
            // All from this cause on.
            let health = verdict(Device::Cpu, |_, o, _| {
                let holds = |cause| order[held..].contains(&cause);
                o.expected_device = if holds(Cause::CpuFallback) { Device::Cuda } else { Device::Cpu };
                o.resident_fraction = holds(Cause::Evicted).then_some(0.3);
                o.host.thermal_throttles = holds(Cause::ThermalThrottle).then_some(99);
                o.host.on_battery = Some(holds(Cause::OnBattery));
                o.other_load = holds(Cause::OtherProcess).then_some(0.9);
                o.host.cpu_mhz = holds(Cause::LowClocks).then_some(800.0);
            });
            assert_eq!(health.cause, Some(cause));
        }
        let throttled = |reasons: &[ThrottleReason], on_battery| {
            let reasons = reasons.to_vec();
            verdict(Device::Cuda, move |_, o, g| {
                o.host.on_battery = Some(on_battery);
                g.throttle_reasons = Some(reasons);
                g.other_processes = Some(9);
            })
        };
        use ThrottleReason::{HardwareSlowdown, SoftwarePowerCap, SoftwareThermal};
        let hot = throttled(&[SoftwarePowerCap, HardwareSlowdown, SoftwareThermal], true);
        assert_eq!(hot.cause, Some(Cause::ThermalThrottle));
        assert_eq!(throttled(&[SoftwarePowerCap], true).cause, Some(Cause::OnBattery));
        assert_eq!(throttled(&[SoftwarePowerCap], false).cause, Some(Cause::PowerThrottle));
    }

    #[test]
    fn what_held_at_warm_up_explains_nothing() {
        let health = verdict(Device::Cpu, |b, o, _| {
            (b.host.on_battery, o.host.on_battery) = (Some(true), Some(true));
            (b.host.cpu_mhz, o.host.cpu_mhz) = (Some(1200.0), Some(1200.0));
        });
        assert_eq!(health.cause, Some(Cause::Unknown));
        let health = verdict(Device::Cuda, |b, _, g| {
            g.throttle_reasons = Some(vec![ThrottleReason::SoftwarePowerCap]);
            b.gpu = Some(g.clone());
        });
        assert_eq!(health.cause, Some(Cause::Unknown));
        let health = verdict(Device::Cuda, |b, _, g| {
            g.throttle_reasons = Some(vec![ThrottleReason::SoftwarePowerCap]);
            b.gpu = Some(g.clone());
            g.throttle_reasons = Some(vec![ThrottleReason::SoftwarePowerCap, ThrottleReason::PowerBrake]);
        });
        assert!(health.cause == Some(Cause::PowerThrottle) && health.sentence.contains("(power brake)"));
    }

    #[test]
    fn all_is_well_without_a_lasting_fall() {
        let (baseline, fine) = well(Device::Cpu);
        let slow = Observation { tokens_per_s: 8.0, other_load: Some(0.9), ..fine.clone() };
        let hot = Observation { major_faults: 9_999, ..fine.clone() };
        for recent in [
            vec![],
            vec![fine.clone(); 5],
            vec![slow.clone()],
            vec![slow.clone(), slow.clone()],
            [vec![fine.clone(); 4], vec![slow.clone()]].concat(),
            [vec![slow.clone(); 2], vec![fine.clone(); 2]].concat(),
            // Evidence without a fall is no fault, and an old fall is forgotten.
            vec![hot; 5],
            [vec![slow.clone(); 9], vec![fine.clone(); 5]].concat(),
            vec![Observation { tokens_per_s: 0.71 * 40.0, ..fine.clone() }; 5],
        ] {
            let health = check(&baseline, &recent);
            assert!(health.ok && health.cause.is_none(), "{recent:?}: {health:?}");
        }
        let fallen = check(&baseline, &[vec![slow; 3], vec![fine; 2]].concat());
        assert_eq!((fallen.cause, fallen.ratio), (Some(Cause::OtherProcess), 0.2));
        let unmeasured = Baseline::default();
        assert!(check(&unmeasured, &[well(Device::Cpu).1]).ok);
    }

    #[test]
    fn a_fall_back_to_the_cpu_is_named_at_once() {
        let (baseline, fine) = well(Device::Cpu);
        let fallback = Observation { expected_device: Device::Cuda, ..fine };
        let health = check(&baseline, &[fallback]);
        assert_eq!((health.ok, health.cause, health.ratio), (false, Some(Cause::CpuFallback), 1.0));
        assert_eq!(serde_json::to_value(&health).unwrap()["cause"], "cpu_fallback");
    }
}
