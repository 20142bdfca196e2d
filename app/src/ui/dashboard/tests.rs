use super::*;

/// Figures that are the same every time, `count` dictations.
pub(super) fn full(count: usize) -> Snapshot {
    let row = |at: usize| Row {
        time: format!("09:{:02}:07", 59 - at % 60),
        mode: ["dictate", "refine"][at % 2].into(),
        app: ["Firefox", "xterm", "LibreOffice Writer"][at % 3].into(),
        words: 3 + at as u32,
        total_ms: 400.0 + 25.0 * at as f32,
        tokens_per_second: 30.0 + (at % 5) as f32 * 4.0,
        memory_bytes: (900 + 10 * (at as u64 % 4)) << 20,
        outcome: if at == 2 { "copied: the window had gone" } else { "typed" }.into(),
        succeeded: at != 2,
    };
    let stage = |name: &str, middle: f32| Stage {
        name: name.into(),
        times_ms: (0..count).map(|at| middle + at as f32 * middle / 20.0).collect(),
    };
    Snapshot {
        rows: (0..count).map(row).collect(),
        stages: vec![
            stage("capture", 31.0),
            stage("vad", 4.2),
            stage("transcribe", 310.0),
            stage("clean up", 240.0),
            stage("inject", 22.0),
        ],
        gpu: Some(Gpu {
            name: "NVIDIA RTX A2000".into(),
            temperature_c: 61,
            power_w: 48.2,
            clock_mhz: 1755,
            utilisation_percent: 37,
            memory_used_bytes: 3 << 30,
            memory_total_bytes: 8 << 30,
            throttled: Some("heat".into()),
        }),
    }
}

fn check(snapshot: &Snapshot, size: (u16, u16), expected: &str) {
    let text = once(snapshot, size);
    assert_eq!(text.lines().count(), usize::from(size.1));
    assert!(text.lines().all(|line| line.chars().count() <= usize::from(size.0)));
    assert_eq!(text, expected, "the picture has changed:\n{text}");
}

#[test]
fn empty_at_80_by_24() {
    check(&Snapshot::default(), (80, 24), include_str!("snapshots/empty_80x24.txt"));
}

#[test]
fn full_at_80_by_24() {
    check(&full(30), (80, 24), include_str!("snapshots/full_80x24.txt"));
}

#[test]
fn empty_at_120_by_40() {
    check(&Snapshot::default(), (120, 40), include_str!("snapshots/empty_120x40.txt"));
}

#[test]
fn full_at_120_by_40() {
    check(&full(60), (120, 40), include_str!("snapshots/full_120x40.txt"));
}

#[test]
fn any_size_can_be_drawn() {
    let snapshot = full(30);
    for width in [1, 2, 9, 40, 99, 100, 300] {
        for height in [1, 2, 5, 10, 16, 23, 80] {
            let text = once(&snapshot, (width, height));
            assert_eq!(text.lines().count(), usize::from(height));
        }
    }
}

#[test]
fn control_characters_of_a_window_title_do_not_reach_the_terminal() {
    let mut snapshot = full(1);
    snapshot.rows[0].app = "a\x1b[31m\x07b".into();
    snapshot.rows[0].outcome = "line\nbreak".into();
    let text = once(&snapshot, (120, 40));
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    // Tests may be run from a terminal, in which case there is nothing to refuse.
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let error = run(Snapshot::default).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the dashboard needs a terminal; --once prints one picture of it as text"
        );
    }
}
