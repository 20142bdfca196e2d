//! Readings of the machine from Linux's `/sys` and `/proc`: what of it may slow a computation down.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What the machine reports at one moment; `None` where it does not tell.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct HostReading {
    /// Whether a battery feeds it.
    pub on_battery: Option<bool>,
    /// The frequency governor of the first CPU.
    pub governor: Option<String>,
    /// What follows the governor's choice (`scaling_driver`).
    pub scaling_driver: Option<String>,
    /// Clock of the fastest CPU now.
    pub cpu_mhz: Option<f64>,
    /// The highest that any CPU can have.
    pub max_cpu_mhz: Option<f64>,
    /// Tasks that ran or waited, averaged over the last minute.
    pub load_average: Option<f64>,
    /// Times any core was slowed because of heat since the machine started.
    pub thermal_throttles: Option<u64>,
}

impl HostReading {
    /// Reads the files below `root`, which is `/` save in tests.
    pub fn read(root: &Path) -> HostReading {
        let cpus = cpus(root);
        let fastest_mhz = |file: &str| {
            let khz = cpus.iter().filter_map(|cpu| number::<f64>(&cpu.join("cpufreq").join(file)));
            khz.reduce(f64::max).map(|khz| khz / 1e3)
        };
        let throttles = |file: &str| {
            let counts =
                cpus.iter().filter_map(|cpu| number::<u64>(&cpu.join("thermal_throttle").join(file)));
            counts.reduce(u64::saturating_add)
        };
        let first = cpus.iter().min();
        HostReading {
            on_battery: on_battery(&entries(&root.join("sys/class/power_supply"))),
            governor: first.and_then(|cpu| text(&cpu.join("cpufreq/scaling_governor"))),
            scaling_driver: first.and_then(|cpu| text(&cpu.join("cpufreq/scaling_driver"))),
            cpu_mhz: fastest_mhz("scaling_cur_freq")
                .or_else(|| cpuinfo_mhz(&text(&root.join("proc/cpuinfo"))?)),
            max_cpu_mhz: fastest_mhz("cpuinfo_max_freq"),
            load_average: text(&root.join("proc/loadavg"))
                .and_then(|loads| loads.split_whitespace().next()?.parse().ok()),
            thermal_throttles: throttles("core_throttle_count"),
        }
    }
}

/// Bytes of the last level of cache that the processors have, all parts of it together.
pub fn cache_bytes(root: &Path) -> Option<u64> {
    // The processors that share a part name it alike: counted once.
    let mut parts: Vec<(u64, String, u64)> = Vec::new();
    for cache in cpus(root).iter().flat_map(|cpu| entries(&cpu.join("cache"))) {
        let read = |file: &str| text(&cache.join(file));
        let level = number(&cache.join("level"));
        let kib = read("size").and_then(|size| size.strip_suffix('K')?.parse::<u64>().ok());
        if let (Some(level), Some(shared), Some(kib)) = (level, read("shared_cpu_list"), kib) {
            parts.push((level, shared, kib * 1024));
        }
    }
    parts.sort();
    parts.dedup();
    let last = parts.last()?.0;
    Some(parts.iter().filter(|(level, ..)| *level == last).map(|(.., bytes)| bytes).sum())
}

/// Processor time since the machine started, in ticks of the kernel's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    total: u64,
    busy: u64,
    own: u64,
}

impl CpuTimes {
    /// Reads the files below `root`, which is `/` save in tests.
    pub fn read(root: &Path) -> Option<CpuTimes> {
        parse_cpu_times(&text(&root.join("proc/stat"))?, &text(&root.join("proc/self/stat"))?)
    }

    /// Share of all CPUs that others took since `earlier`, 0 to 1: other processes and, on a virtual
    /// machine, its neighbours. `None` if no time has passed.
    pub fn other_load_since(&self, earlier: &CpuTimes) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|ticks| *ticks > 0)?;
        let busy = self.busy.saturating_sub(earlier.busy);
        let own = self.own.saturating_sub(earlier.own);
        Some((busy.saturating_sub(own) as f64 / total as f64).min(1.0))
    }
}

/// From `/proc/stat` and `/proc/self/stat` (proc(5)).
fn parse_cpu_times(machine: &str, process: &str) -> Option<CpuTimes> {
    // user nice system idle iowait irq softirq steal; the guests' times behind them are in user and nice.
    let ticks = machine.lines().find_map(|line| line.strip_prefix("cpu "))?.split_whitespace().take(8);
    let ticks = ticks.map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    let [_, _, _, idle, iowait, ..] = ticks[..] else { return None };
    let total = ticks.iter().fold(0, |sum: u64, t| sum.saturating_add(*t));
    let (_, behind_name) = process.rsplit_once(')')?;
    let mut own = behind_name.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (own.next()?.ok()?, own.next()?.ok()?);
    let busy = total.saturating_sub(idle.saturating_add(iowait));
    Some(CpuTimes { total, busy, own: user.saturating_add(system) })
}

/// Whether the supplies in these folders leave the machine to its battery; `None` if there are none.
fn on_battery(supplies: &[PathBuf]) -> Option<bool> {
    let is = |supply: &Path, file: &str, value: &str| text(&supply.join(file)).is_some_and(|t| t == value);
    // Batteries of mice and headsets have the scope Device.
    let mut batteries = supplies.iter().filter(|s| is(s, "type", "Battery") && !is(s, "scope", "Device"));
    let mut mains = supplies.iter().filter(|s| is(s, "type", "Mains") || is(s, "type", "USB"));
    if mains.clone().any(|s| is(s, "online", "1")) {
        return Some(false);
    }
    let discharging = batteries.clone().any(|s| is(s, "status", "Discharging"));
    (batteries.next().is_some() || mains.next().is_some()).then_some(discharging)
}

/// The folders of the CPUs that are there.
fn cpus(root: &Path) -> Vec<PathBuf> {
    let is_cpu = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()?.strip_prefix("cpu"));
        name.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    entries(&root.join("sys/devices/system/cpu")).into_iter().filter(is_cpu).collect()
}

/// The highest clock in `/proc/cpuinfo`, which virtual machines have where cpufreq is absent.
fn cpuinfo_mhz(cpuinfo: &str) -> Option<f64> {
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let mhz = fields.filter(|(name, _)| name.trim() == "cpu MHz");
    mhz.filter_map(|(_, value)| value.trim().parse().ok()).reduce(f64::max)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_laptop_is_read() {
        let root = root(&[
            ("sys/class/power_supply/AC/type", "Mains\n"),
            ("sys/class/power_supply/AC/online", "0\n"),
            ("sys/class/power_supply/BAT0/type", "Battery\n"),
            ("sys/class/power_supply/BAT0/status", "Discharging\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "800000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "4700000\n"),
            ("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "3\n"),
            ("sys/devices/system/cpu/cpu11/cpufreq/scaling_governor", "performance\n"),
            ("sys/devices/system/cpu/cpu11/cpufreq/scaling_cur_freq", "2100000\n"),
            ("sys/devices/system/cpu/cpu11/cpufreq/cpuinfo_max_freq", "3500000\n"),
            ("sys/devices/system/cpu/cpu11/thermal_throttle/core_throttle_count", "4\n"),
            ("sys/devices/system/cpu/cpufreq/scaling_governor", "none\n"),
            ("proc/loadavg", "0.15 0.25 1.01 1/89 7671\n"),
        ]);
        let reading = HostReading::read(root.path());
        let expected = HostReading {
            on_battery: Some(true),
            governor: Some("powersave".into()),
            scaling_driver: Some("intel_pstate".into()),
            cpu_mhz: Some(2100.0),
            max_cpu_mhz: Some(4700.0),
            load_average: Some(0.15),
            thermal_throttles: Some(7),
        };
        assert_eq!(reading, expected);
        assert_eq!(serde_json::to_value(&reading).unwrap()["max_cpu_mhz"], 4700.0);
    }

    #[test]
    fn parts_of_the_last_cache_are_counted_once_each() {
        let mut files = Vec::new();
        for (cpu, shared) in [(0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3")] {
            for (index, level, size, shared) in [(0, "1", "32K", ""), (3, "3", "16384K", shared)] {
                let folder = format!("sys/devices/system/cpu/cpu{cpu}/cache/index{index}");
                let shared = if shared.is_empty() { cpu.to_string() } else { shared.to_owned() };
                let has =
                    [("level", level.to_owned()), ("size", size.to_owned()), ("shared_cpu_list", shared)];
                files.extend(has.map(|(file, text)| (format!("{folder}/{file}"), text)));
            }
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&path[..], &text[..])).collect();
        assert_eq!(cache_bytes(root(&files).path()), Some(32 << 20));
        assert_eq!(cache_bytes(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_machine_that_tells_nothing_reads_as_none() {
        assert_eq!(HostReading::read(Path::new("/nowhere")), HostReading::default());
        assert_eq!(CpuTimes::read(Path::new("/nowhere")), None);
        let virtual_machine = root(&[
            ("proc/cpuinfo", "model name\t: x\ncpu MHz\t\t: 2400.5\n\ncpu MHz\t\t: 2100.0\n"),
            ("proc/loadavg", "much\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "<unknown>\n"),
        ]);
        let expected = HostReading { cpu_mhz: Some(2400.5), ..HostReading::default() };
        assert_eq!(HostReading::read(virtual_machine.path()), expected);
    }

    #[test]
    fn supplies_tell_whether_the_battery_feeds() {
        const AC: [(&str, &str); 1] = [("sys/class/power_supply/AC/type", "Mains")];
        let battery = |status| {
            [("sys/class/power_supply/B/type", "Battery"), ("sys/class/power_supply/B/status", status)]
        };
        let online = |value| ("sys/class/power_supply/AC/online", value);
        let mouse = ("sys/class/power_supply/B/scope", "Device");
        for (files, expected) in [
            (vec![], None),
            ([&battery("Discharging")[..]].concat(), Some(true)),
            ([&battery("Full")[..]].concat(), Some(false)),
            ([&battery("Discharging")[..], &AC, &[online("1")]].concat(), Some(false)),
            ([&battery("Discharging")[..], &AC, &[online("0")]].concat(), Some(true)),
            ([&battery("Discharging")[..], &[mouse]].concat(), None),
            ([&battery("Discharging")[..], &[mouse], &AC, &[online("1")]].concat(), Some(false)),
        ] {
            let root = root(&files);
            assert_eq!(HostReading::read(root.path()).on_battery, expected, "{files:?}");
        }
    }

    #[test]
    fn the_load_of_others_is_what_this_process_did_not_take() {
        let stat = |busy: u64, idle: u64| format!("cpu  {busy} 0 0 {idle} 0 0 0 0 9 9\ncpu0 1 1\n");
        let own = |user: u64| format!("1 (a) b) R 1 1 1 0 -1 4 100 3 42 9 {user} 5 0 0 20");
        let before = parse_cpu_times(&stat(100, 100), &own(10)).unwrap();
        let after = parse_cpu_times(&stat(180, 120), &own(60)).unwrap();
        assert_eq!(after.other_load_since(&before), Some(0.3));
        assert_eq!(before.other_load_since(&before), None);
        assert_eq!(before.other_load_since(&after), None);
        assert_eq!(parse_cpu_times("cpu  1 2\n", &own(1)), None);
        assert_eq!(parse_cpu_times(&stat(1, 1), "1 (a) R"), None);
    }
}
