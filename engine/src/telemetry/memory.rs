//! Memory of this process and of the machine, from Linux's `/proc` and control groups (proc(5),
//! cgroups(7)). Elsewhere, and where a file cannot be read, the answer is `None`.

use std::fs;
use std::path::Path;

/// Physical memory this process holds now, mapped files included.
pub fn resident_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The most it has held since it started, or since [`reset_peak`].
pub fn peak_resident_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Makes the peak what is resident now. Returns whether the system allowed it.
pub fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Times this process has waited for a page to be read from disk, since it started.
pub fn major_faults() -> Option<u64> {
    parse_major_faults(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Memory that can be taken without swapping: what the kernel counts as available, or what is left of the
/// tightest control group around this process, if that is less.
pub fn available_bytes() -> Option<usize> {
    available_bytes_under(Path::new("/")).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Swap in use, and all of it.
pub fn swap_bytes() -> Option<(u64, u64)> {
    parse_swap(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_swap(meminfo: &str) -> Option<(u64, u64)> {
    let (all, free) = (kib_field(meminfo, "SwapTotal:")?, kib_field(meminfo, "SwapFree:")?);
    Some((all.saturating_sub(free), all))
}

fn available_bytes_under(root: &Path) -> Option<u64> {
    let machine = kib_field(&fs::read_to_string(root.join("proc/meminfo")).ok()?, "MemAvailable:")?;
    let cgroups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let left = memory_cgroups(&cgroups).into_iter().flat_map(|(version, path)| {
        let mount = root.join(version.mount());
        // A container sees its own group as the root of the mount, whatever path it is told.
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        groups.filter_map(|group| version.left_bytes(&mount.join(group))).collect::<Vec<_>>()
    });
    Some(left.fold(machine, u64::min))
}

/// The two interfaces of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cgroup {
    V1,
    V2,
}

impl Cgroup {
    fn mount(self) -> &'static str {
        match self {
            Cgroup::V1 => "sys/fs/cgroup/memory",
            Cgroup::V2 => "sys/fs/cgroup",
        }
    }

    /// What the group at `path` may still take; file pages that are easily dropped count as free. `None`
    /// if there is no such group, or no limit.
    fn left_bytes(self, path: &Path) -> Option<u64> {
        let (limit, usage, cache) = match self {
            Cgroup::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            Cgroup::V2 => ("memory.max", "memory.current", "inactive_file"),
        };
        let read = |name: &str| fs::read_to_string(path.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let cache_bytes = read("memory.stat").and_then(|stat| field(&stat, cache)).unwrap_or(0);
        Some(number(limit)?.saturating_sub(number(usage)?.saturating_sub(cache_bytes)))
    }
}

/// The memory groups that `/proc/self/cgroup` names, with their paths.
fn memory_cgroups(text: &str) -> Vec<(Cgroup, &str)> {
    let group = |line| {
        let (_, controllers_and_path) = str::split_once(line, ':')?;
        match controllers_and_path.split_once(':')? {
            ("", path) => Some((Cgroup::V2, path)),
            (controllers, path) => {
                controllers.split(',').any(|c| c == "memory").then_some((Cgroup::V1, path))
            }
        }
    };
    text.lines().filter_map(group).collect()
}

/// The number behind `name` on a line of its own.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == name).then(|| words.next()?.parse().ok()))?
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

/// Field 12 of `/proc/self/stat`; the program's name, field 2, may hold spaces and parentheses.
fn parse_major_faults(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(9)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tx\nVmPeak:\t    2928 kB\nVmHWM:\t    1756 kB\nVmRSS:\t    1640 kB\nThreads:\t1\n";
    #[test]
    fn swap_is_read() {
        let meminfo = "MemTotal: 9 kB\nSwapTotal:  2048 kB\nSwapFree:  1536 kB\n";
        assert_eq!(parse_swap(meminfo), Some((512 << 10, 2 << 20)));
        assert_eq!(parse_swap("MemTotal: 9 kB\n"), None);
    }

    const STAT: &str =
        "7671 (a (b) c) R 7660 7660 5521 0 -1 4194304 100 3 42 9 0 0 0 0 20 0 1 0 1182255 3133440";
    const GIB: u64 = 1 << 30;

    #[test]
    fn recorded_files_are_read() {
        assert_eq!(kib_field(STATUS, "VmRSS:"), Some(1640 * 1024));
        assert_eq!(kib_field(STATUS, "VmHWM:"), Some(1756 * 1024));
        assert_eq!(kib_field(STATUS, "VmSwap:"), None);
        assert_eq!(kib_field("VmRSS: many kB", "VmRSS:"), None);
        assert_eq!(kib_field("VmRSS: 18446744073709551615 kB", "VmRSS:"), None);
        assert_eq!(parse_major_faults(STAT), Some(42));
        assert_eq!(parse_major_faults("1 (x) R"), None);
        assert_eq!(
            memory_cgroups("9:name=systemd:/\n4:cpu,memory:/a:b\n0::/user.slice\nnonsense\n"),
            [(Cgroup::V1, "/a:b"), (Cgroup::V2, "/user.slice")]
        );
    }

    /// A root with 8 GiB available and these files below it.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in
            [("proc/meminfo", "MemTotal: 1 kB\nMemAvailable: 8388608 kB\n")].iter().chain(files)
        {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_limit_around_the_process_counts() {
        let none = root(&[]);
        assert_eq!(available_bytes_under(none.path()), Some(8 * GIB));
        let v2 = root(&[
            ("proc/self/cgroup", "0::/user/app\n"),
            ("sys/fs/cgroup/user/app/memory.max", "max\n"),
            ("sys/fs/cgroup/user/app/memory.current", "1073741824\n"),
            ("sys/fs/cgroup/user/memory.max", "4294967296\n"),
            ("sys/fs/cgroup/user/memory.current", "3221225472\n"),
            ("sys/fs/cgroup/user/memory.stat", "anon 1\nfile 5\ninactive_file 1073741824\n"),
        ]);
        assert_eq!(available_bytes_under(v2.path()), Some(2 * GIB));
        let container = root(&[
            ("proc/self/cgroup", "4:memory:/docker/0123\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2147483648"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 1610612736\n"),
        ]);
        assert_eq!(available_bytes_under(container.path()), Some(GIB / 2));
        let unlimited = root(&[
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2147483648"),
        ]);
        assert_eq!(available_bytes_under(unlimited.path()), Some(8 * GIB));
        assert_eq!(available_bytes_under(Path::new("/nowhere")), None);
    }

    /// In a process of its own, for other tests take and free memory.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_measured() {
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "--ignored", &format!("{module}::measured_alone")]);
        let output = alone.output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && report.contains("1 passed"), "{report}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "run by a_process_is_measured"]
    fn measured_alone() {
        const BLOCK_BYTES: u64 = 64 << 20;
        let before = resident_bytes().unwrap();
        let block = std::hint::black_box(vec![1u8; BLOCK_BYTES as usize]);
        assert!(resident_bytes().unwrap() >= before + BLOCK_BYTES / 2);
        drop(block);
        let peak = peak_resident_bytes().unwrap();
        assert!(peak >= before + BLOCK_BYTES / 2);
        if reset_peak() {
            assert!(peak_resident_bytes().unwrap() < peak);
        }
        assert!(major_faults().is_some());
        assert!(available_bytes().unwrap() > 0);
    }
}
