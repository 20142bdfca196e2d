use super::facts::Session;
use super::*;
use undertone_engine::Isa;
use undertone_engine::telemetry::GpuReading;
use undertone_engine::telemetry::gpu::ThrottleReason;
use undertone_engine::telemetry::host::HostReading;

/// A machine on which nothing is to be done.
fn fine() -> Facts {
    Facts {
        gpu: Ok("cuda:0: NVIDIA GeForce RTX 4060 Ti, compute capability 8.9, 7168.0 MiB of 8192.0 MiB free"
            .into()),
        cards: vec![0x8086, 0x10de],
        reading: Some(GpuReading {
            temperature_c: Some(41),
            sm_clock_mhz: Some(2535),
            max_sm_clock_mhz: Some(3105),
            power_w: Some(31.2),
            power_limit_w: Some(165.0),
            throttle_reasons: Some(vec![ThrottleReason::Idle]),
            memory_used_bytes: Some(1 << 30),
            memory_total_bytes: Some(8 << 30),
            other_processes: Some(0),
            pcie_lanes: Some((8, 8)),
            ..GpuReading::default()
        }),
        instructions: Isa::Avx2,
        threads: 8,
        host: HostReading {
            on_battery: Some(false),
            governor: Some("powersave".into()),
            scaling_driver: Some("intel_pstate".into()),
            ..HostReading::default()
        },
        available_bytes: Some(8 << 30),
        swap_bytes: Some((0, 2 << 30)),
        config: Ok("/home/a/.config/undertone/config.toml".into()),
        models: vec![Ok("whisper-tiny.en".into()), Ok("smollm2-135m-instruct".into())],
        planned_bytes: Some(400 << 20),
        disk: Some(("/home/a/models".into(), 80_000_000_000)),
        session: Some(Session {
            desktop: Some("X11"),
            sandbox: None,
            is_running: false,
            microphones: Ok(vec!["Built-in Audio".into(), "USB microphone".into()]),
            wanted_microphone: "usb".into(),
            loudest: Some(Ok(0.01)),
            keys: Ok("ctrl+shift+space, over X11".into()),
            injection: Ok(()),
            undelivered: 0,
            history: Ok(true),
        }),
    }
}

/// One thing that is otherwise, and the line it changes, with some of its words.
type Otherwise = (fn(&mut Facts), &'static str, &'static str);

fn session(facts: &mut Facts) -> &mut Session {
    facts.session.as_mut().expect("there is one")
}

fn reading(facts: &mut Facts) -> &mut GpuReading {
    facts.reading.as_mut().expect("there is one")
}

const OTHERWISE: &[Otherwise] = &[
    (|f| f.gpu = Err("no NVIDIA driver is installed".into()), "device", "cpu: no NVIDIA driver"),
    (|f| reading(f).throttle_reasons = Some(vec![ThrottleReason::HardwareThermal]), "gpu clocks", "thermal"),
    (
        |f| reading(f).throttle_reasons = Some(vec![ThrottleReason::SoftwarePowerCap]),
        "gpu clocks",
        "power limit",
    ),
    (|f| reading(f).other_processes = Some(2), "gpu memory", "2 other"),
    (|f| reading(f).pcie_lanes = Some((4, 16)), "gpu link", "4 of 16"),
    (|f| f.instructions = Isa::Scalar, "processor", "8 threads"),
    (|f| f.host.scaling_driver = Some("acpi-cpufreq".into()), "governor", "acpi-cpufreq"),
    (|f| f.host.on_battery = Some(true), "power", "battery"),
    (
        |f| {
            (f.gpu, f.cards) = (Err("no NVIDIA driver is installed".into()), vec![0x1002]);
            f.available_bytes = Some(300 << 20);
        },
        "memory",
        "300.0 MiB free, the models take 400.0 MiB",
    ),
    (|f| f.available_bytes = Some(700 << 20), "memory", "700.0 MiB"),
    (|f| f.available_bytes = None, "memory", "not told"),
    (|f| f.swap_bytes = Some((3 << 30, 4 << 30)), "swap", "3072.0 MiB of"),
    (|f| f.config = Err("3:1: there is no key models.speach".into()), "config", "3:1"),
    (|f| f.models[1] = Err("smollm2-135m-instruct is not here".into()), "models", "whisper-tiny.en; smollm2"),
    (|f| f.disk = Some(("/home/a/models".into(), 900_000_000)), "disk", "900 MB"),
    (|f| session(f).desktop = None, "desktop", "none"),
    (|f| session(f).sandbox = Some("Flatpak"), "desktop", "in Flatpak"),
    (|f| session(f).microphones = Ok(Vec::new()), "microphone", "none"),
    (|f| session(f).microphones = Err("no sound system answers".into()), "microphone", "answers"),
    (|f| session(f).wanted_microphone = "Blue Yeti".into(), "microphone", "USB"),
    (|f| session(f).loudest = Some(Ok(0.0)), "microphone", "digital silence"),
    (|f| session(f).loudest = Some(Err("it gave no sample".into())), "microphone", "no sample"),
    (|f| session(f).loudest = Some(Ok(1.0)), "microphone", "peak 0 dB"),
    (
        |f| session(f).keys = Err("another program already holds ctrl+shift+space".into()),
        "keys",
        "another program",
    ),
    (|f| session(f).injection = Err("the display has no XTEST".into()), "injection", "XTEST"),
    (|f| session(f).undelivered = 2, "recordings", "2 not delivered"),
    (|f| session(f).history = Err("the history is damaged".into()), "history", "damaged"),
];

#[test]
fn a_machine_on_which_nothing_is_to_be_done_has_every_line_and_is_told_so() {
    let findings = findings(&fine());
    assert_eq!(findings.len(), CHECKS.len());
    for finding in findings {
        assert_eq!((finding.state, finding.remedy), (State::Ok, None), "{finding:?}");
        assert!(!finding.what.is_empty(), "{finding:?}");
    }
}

#[test]
fn each_case_is_found_by_what_makes_it_and_nothing_else_changes() {
    let mut seen: Vec<&Case> = Vec::new();
    for (change, name, words) in OTHERWISE {
        let mut facts = fine();
        change(&mut facts);
        let bad: Vec<Finding> = findings(&facts).into_iter().filter(|f| f.state != State::Ok).collect();
        let [found] = &bad[..] else { panic!("{name}, {words}: {bad:?}") };
        assert!(found.name == *name && found.what.contains(words), "{words}: {found:?}");
        let check = CHECKS.iter().find(|check| check.name == *name).expect("it is in the table");
        let case = check.cases.iter().find(|case| Some(case.remedy) == found.remedy);
        seen.push(case.unwrap_or_else(|| panic!("{found:?} is not listed")));
    }
    for case in CHECKS.iter().flat_map(|check| check.cases) {
        assert!(seen.contains(case), "nothing here makes {case:?}");
    }
}

#[test]
fn a_bare_machine_has_fewer_lines() {
    let bare = Facts {
        gpu: Err("no NVIDIA driver is installed".into()),
        cards: Vec::new(),
        reading: None,
        host: HostReading::default(),
        swap_bytes: None,
        session: None,
        ..fine()
    };
    let lines: Vec<&str> = findings(&bare).iter().map(|f| f.name).collect();
    assert_eq!(lines, ["device", "processor", "memory", "config", "models", "disk"]);
}

#[test]
fn the_page_is_the_table() {
    let page = include_str!("../../../docs/troubleshooting.md");
    assert!(page == explanation(), "run: undertone doctor --explain > docs/troubleshooting.md");
}
