use super::facts::{Injection, Session};
use super::portal::Portals;
use super::speed::{Measured, Unmeasured};
use super::*;
use crate::inject::Method;
use crate::settings::Way;
use undertone_engine::Isa;
use undertone_engine::speed::Speed;
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
        cache_bytes: Some(24 << 20),
        available_bytes: Some(8 << 30),
        swap_bytes: Some((0, 2 << 30)),
        config: Ok("/home/a/.config/undertone/config.toml".into()),
        models: vec![Ok("whisper-tiny.en".into()), Ok("smollm2-135m-instruct".into())],
        planned_bytes: Some(400 << 20),
        disk: Some(("/home/a/models".into(), 80_000_000_000)),
        speed: Some(Ok(Measured {
            model: "smollm2-135m-instruct".into(),
            speed: Speed {
                tokens_per_s: 64.0,
                permitted_tokens_per_s: 118.0,
                memory_gb_per_s: 12.4,
                token_bytes: 105_000_000,
                tokens: 32,
                threads: 8,
                on_gpu: false,
                host: HostReading::default(),
                gpu: None,
                other_load: Some(0.02),
            },
        })),
        session: Some(Session {
            desktop: Some("X11"),
            sandbox: None,
            is_running: false,
            microphones: Ok(vec!["Built-in Audio".into(), "USB microphone".into()]),
            wanted_microphone: "usb".into(),
            loudest: Some(Ok(0.01)),
            keys: Ok("ctrl+shift+space, over X11".into()),
            injection: Ok(Injection { method: Some(Method::X11), way: Way::Auto }),
            portals: Portals::default(),
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

fn speed(facts: &mut Facts) -> &mut Speed {
    &mut facts.speed.as_mut().expect("it is wanted").as_mut().expect("it was measured").speed
}

/// As [`speed`], at a third of what there could be.
fn slow(facts: &mut Facts) -> &mut Speed {
    let speed = speed(facts);
    speed.tokens_per_s = 43.0;
    speed
}

/// As [`slow`], on a card.
fn slow_card(facts: &mut Facts) -> &mut GpuReading {
    let speed = slow(facts);
    (speed.on_gpu, speed.threads) = (true, 1);
    speed.gpu.insert(GpuReading { power_limit_w: Some(35.0), ..GpuReading::default() })
}

/// A session of Wayland, on a compositor that lets programs type or not.
fn wayland(facts: &mut Facts, method: Method) -> &mut Session {
    let session = session(facts);
    let portals = Portals { shortcuts: Some(2), remote_desktop: Some(3), ..Portals::default() };
    session.portals =
        Portals { needs_shortcuts: true, needs_remote_desktop: method == Method::Portal, ..portals };
    session.injection = Ok(Injection { method: Some(method), way: Way::Auto });
    session.desktop = Some("Wayland");
    session
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
    (
        |f| f.speed = Some(Err(Unmeasured::Broken("the file is damaged".into()))),
        "speed",
        "the file is damaged",
    ),
    (
        |f| slow_card(f).throttle_reasons = Some(vec![ThrottleReason::SoftwarePowerCap]),
        "speed",
        "43 of 118 tokens/s that memory permits (12.4 GB/s, smollm2-135m-instruct): power limit 35 W",
    ),
    (
        |f| slow_card(f).throttle_reasons = Some(vec![ThrottleReason::SoftwareThermal]),
        "speed",
        "): software thermal slowdown",
    ),
    (|f| slow_card(f).other_processes = Some(2), "speed", "): 2 other programs on the GPU"),
    (|f| slow_card(f).other_processes = Some(0), "speed", "smollm2-135m-instruct)"),
    (|f| slow(f).host.on_battery = Some(true), "speed", "): on battery"),
    (|f| slow(f).host.governor = Some("powersave".into()), "speed", "): governor powersave"),
    (|f| slow(f).other_load = Some(0.61), "speed", "): others take 61 % of the processor"),
    (|f| slow(f).threads = 2, "speed", "): 2 of 8 threads"),
    (
        |f| {
            let host = &mut slow(f).host;
            (host.cpu_mhz, host.max_cpu_mhz) = (Some(1200.0), Some(4700.0));
        },
        "speed",
        "): 1200 of 4700 MHz",
    ),
    (|f| slow(f).other_load = None, "speed", "smollm2-135m-instruct)"),
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
    (
        |f| wayland(f, Method::Portal).portals.remote_desktop = None,
        "portal",
        "GlobalShortcuts 2, no RemoteDesktop",
    ),
    (
        |f| wayland(f, Method::VirtualKeyboard).portals.shortcuts = None,
        "portal",
        "no GlobalShortcuts, Remote",
    ),
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

/// What the line `name` says of these facts, on which nothing is to be done.
fn said(facts: &Facts, name: &str) -> Finding {
    let finding =
        findings(facts).into_iter().find(|finding| finding.name == name).expect("the line is there");
    assert_eq!(finding.state, State::Ok, "{finding:?}");
    finding
}

#[test]
fn speed_is_told_in_its_figures_and_where_it_is_not_measured_why() {
    let mut facts = fine();
    let found = said(&facts, "speed");
    assert_eq!(found.what, "64 of 118 tokens/s that memory permits (12.4 GB/s, smollm2-135m-instruct)");
    let figures = serde_json::to_value(&found).expect("it is plain")["figures"].take();
    assert_eq!(figures["model"], "smollm2-135m-instruct");
    assert_eq!(figures["measured"]["permitted_tokens_per_s"], 118.0);
    assert_eq!(figures["measured"]["token_bytes"], 105_000_000);
    facts.cache_bytes = Some(128 << 20);
    assert!(said(&facts, "speed").what.contains("that the processor's cache permits"));
    speed(&mut facts).tokens_per_s = 120.0;
    assert!(said(&facts, "speed").what.starts_with("120 tokens/s, all that the"));
    facts.speed = Some(Err(Unmeasured::NotNow("undertone is running, and would be disturbed".into())));
    assert_eq!(said(&facts, "speed").what, "not measured: undertone is running, and would be disturbed");
    facts.speed = None;
    assert!(findings(&facts).iter().all(|finding| finding.name != "speed"));
}

#[test]
fn a_way_of_typing_is_told_with_its_receipt() {
    let mut facts = fine();
    let mut line = |method, way| {
        session(&mut facts).injection = Ok(Injection { method: Some(method), way });
        said(&facts, "injection").what
    };
    let auto = line(Method::X11, Way::Auto);
    assert!(
        auto.starts_with("typed up to 200 characters, else pasted, over X11; receipt: a paste"),
        "{auto}"
    );
    assert!(line(Method::X11, Way::Paste).starts_with("pasted over X11; receipt"));
    assert!(line(Method::X11, Way::Type).starts_with("typed over X11; receipt: from windows that"));
    for (method, name) in [(Method::VirtualKeyboard, "virtual keyboard"), (Method::Portal, "RemoteDesktop")] {
        let what = line(method, Way::Auto);
        assert!(what.contains(name) && what.contains("; no receipt"), "{what}");
    }
    assert!(line(Method::X11, Way::None).starts_with("none: text is left on the clipboard"));
}

#[test]
fn portals_are_told_with_their_versions_and_missed_only_where_they_are_needed() {
    let mut facts = fine();
    let line = |facts: &Facts| said(facts, "portal");
    assert_eq!(line(&facts).what, "no GlobalShortcuts (not needed here), no RemoteDesktop (not needed here)");
    wayland(&mut facts, Method::Portal);
    assert_eq!(line(&facts).what, "GlobalShortcuts 2, RemoteDesktop 3");
    assert_eq!(line(&facts).figures, Some(serde_json::json!({"GlobalShortcuts": 2, "RemoteDesktop": 3})));
    wayland(&mut facts, Method::VirtualKeyboard).portals.remote_desktop = None;
    assert_eq!(line(&facts).what, "GlobalShortcuts 2, no RemoteDesktop (not needed here)");
}

#[test]
fn a_bare_machine_has_fewer_lines() {
    let bare = Facts {
        gpu: Err("no NVIDIA driver is installed".into()),
        cards: Vec::new(),
        reading: None,
        host: HostReading::default(),
        swap_bytes: None,
        speed: None,
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
