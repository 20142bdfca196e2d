use super::super::testing::{Running, eventually, in_own_process};
use super::*;
use std::path::Path;
use std::process::{Command, Stdio};

const CUES: [Cue; 3] = [Cue::Start, Cue::Stop, Cue::Error];

/// Strength of the frequency in `samples` (Goertzel), as the amplitude of a sine.
fn amplitude(samples: &[f32], hz: f32, rate_hz: f32) -> f32 {
    let angle = |at: usize| TAU * hz * at as f32 / rate_hz;
    let sum =
        |wave: fn(f32) -> f32| samples.iter().enumerate().map(|(at, s)| s * wave(angle(at))).sum::<f32>();
    2.0 * sum(f32::sin).hypot(sum(f32::cos)) / samples.len().max(1) as f32
}

#[test]
fn cues_are_short_quiet_and_do_not_click() {
    for cue in CUES {
        for rate_hz in [8_000, 44_100, 48_000] {
            let samples = cue.samples(rate_hz, 1.0);
            let expected = cue.duration().as_secs_f32() * rate_hz as f32;
            assert!((samples.len() as f32 - expected).abs() <= 2.0);
            assert!(samples.iter().all(|sample| sample.abs() <= 1.25 * PEAK));
            assert!(samples[0].abs() < 1e-6 && samples[samples.len() - 1].abs() < 1e-6);
            assert!(samples.iter().any(|sample| sample.abs() > 0.3 * PEAK));
        }
        assert!(cue.samples(48_000, 0.0).iter().all(|&sample| sample == 0.0));
    }
    assert_eq!(Cue::Start.duration(), Duration::from_millis(40));
}

#[test]
fn what_is_queued_is_played_in_order_and_then_silence() {
    let (cues, queue) = sync_channel(2);
    let mut source = Source { queue, cue: Vec::new(), at: 0 };
    assert_eq!(source.next(), 0.0);
    cues.try_send(vec![1.0, 2.0]).unwrap();
    cues.try_send(vec![3.0]).unwrap();
    assert_eq!([0; 4].map(|_| source.next()), [1.0, 2.0, 3.0, 0.0]);
}

#[test]
fn a_machine_without_sound_is_told_once() {
    let nothing = [("ALSA_CONFIG_PATH", Path::new("/dev/null"))];
    in_own_process(concat!(module_path!(), "::a_machine_without_sound_is_told_once"), &[], &nothing, || {
        let (events, reports) = sync_channel(8);
        let sound = Sound::start(1.0, &events);
        for cue in CUES {
            sound.play(cue);
            std::thread::sleep(Duration::from_millis(200));
        }
        drop((sound, events));
        let reports: Vec<Event> = reports.iter().collect();
        assert!(matches!(reports[..], [Event::Problem(Problem::NoSound(_))]), "{reports:?}");
    });
}

#[test]
fn cues_are_heard_on_a_sound_server() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join(".asoundrc"), "pcm.!default pulse\nctl.!default pulse\n").unwrap();
    let environment = [("HOME", home.path()), ("XDG_RUNTIME_DIR", home.path())];
    in_own_process(concat!(module_path!(), "::cues_are_heard_on_a_sound_server"), &[], &environment, || {
        let mut server = Command::new("pulseaudio");
        server.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "-L", "module-native-protocol-unix"]);
        server.args(["-L", "module-null-sink rate=48000 channels=2"]).stderr(Stdio::null());
        let _server = Running::start(&mut server, "pulseaudio");
        eventually("the sound server", || {
            let info = Command::new("pactl").arg("info").output();
            info.expect("pactl does not start; install the Debian package pulseaudio-utils")
                .status
                .success()
                .then_some(())
        });
        let heard = Path::new(&std::env::var("HOME").unwrap()).join("heard.raw");
        let mut recorder = Command::new("parec");
        recorder.args(["-d", "@DEFAULT_MONITOR@", "--format=float32le", "--rate=48000", "--channels=1"]);
        recorder.arg("--latency-msec=20").stdout(std::fs::File::create(&heard).unwrap());
        let recorder = Running::start(&mut recorder, "pulseaudio-utils");
        eventually("the recording", || (std::fs::metadata(&heard).unwrap().len() > 48_000).then_some(()));

        let (events, reports) = sync_channel(8);
        let sound = Sound::start(1.0, &events);
        sound.play(Cue::Error);
        let read = || {
            let bytes = std::fs::read(&heard).unwrap();
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<f32>>()
        };
        // 60 ms from where the sound begins.
        let cue = |hz: f32| {
            let samples = read();
            let start = samples.iter().position(|sample| sample.abs() > 0.01)?;
            let part = samples.get(start..start + 2_880)?;
            (amplitude(part, hz, 48_000.0) > 0.01).then_some(())
        };
        eventually("the error's first tone; is libasound2-plugins installed?", || cue(392.0));
        assert!(cue(1320.0).is_none());
        drop((sound, recorder));
        assert!(reports.try_recv().is_err(), "nothing to report");
    });
}
