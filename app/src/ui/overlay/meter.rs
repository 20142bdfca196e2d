//! The level meter: the last seconds of speech as bars that move to the left.

use std::time::{Duration, Instant};

/// Bars on the screen.
pub(super) const BARS: usize = 26;
/// Time that one bar stands for.
const BAR: Duration = Duration::from_millis(70);
/// Levels older than this no longer count: where no audio arrives the meter falls to nothing.
const FRESH: Duration = Duration::from_millis(300);
/// Time in which the meter falls to 1/e; it rises at once.
const RELEASE_S: f32 = 0.11;
/// Loudness at the bottom and the top of the meter, dB of full scale. Speech is at -40 to -15.
const FLOOR_DB: f32 = -58.0;
const CEILING_DB: f32 = -12.0;

/// A level that rises at once and falls smoothly, and its history.
#[derive(Debug)]
pub(super) struct Meter {
    bars: [f32; BARS],
    target: f32,
    heard: Instant,
    envelope: f32,
    advanced: Instant,
    bar_since: Instant,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self { bars: [0.0; BARS], target: 0.0, heard: now, envelope: 0.0, advanced: now, bar_since: now }
    }

    /// Takes in a level (root mean square, 0 to 1).
    pub(super) fn hear(&mut self, level: f32, now: Instant) {
        self.target = height(level);
        self.heard = now;
        self.envelope = self.envelope.max(self.target);
    }

    /// Moves on to `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        let target = if now - self.heard < FRESH { self.target } else { 0.0 };
        let fall = (-(now - self.advanced).as_secs_f32() / RELEASE_S).exp();
        self.envelope = target + (self.envelope - target).max(0.0) * fall;
        self.advanced = now;
        if now - self.bar_since > BAR * BARS as u32 {
            self.bars.fill(0.0);
            self.bar_since = now;
        }
        while now - self.bar_since >= BAR {
            self.bars.rotate_left(1);
            self.bars[BARS - 1] = 0.0;
            self.bar_since += BAR;
        }
        self.bars[BARS - 1] = self.bars[BARS - 1].max(self.envelope);
    }

    /// Heights of the bars, 0 to 1, oldest first.
    pub(super) fn bars(&self) -> &[f32; BARS] {
        &self.bars
    }

    /// How far the bars have moved towards the next place, 0 to 1.
    pub(super) fn shift(&self) -> f32 {
        (self.advanced - self.bar_since).as_secs_f32() / BAR.as_secs_f32()
    }

    /// The level now, 0 to 1.
    pub(super) fn level(&self) -> f32 {
        self.envelope
    }
}

/// Place of a level on the meter. What is not a number is silence.
fn height(level: f32) -> f32 {
    let db = 20.0 * level.clamp(1e-6, 1.0).log10();
    let height = ((db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)).clamp(0.0, 1.0);
    if height.is_nan() { 0.0 } else { height }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loudness_is_in_decibels_and_bad_levels_are_silence() {
        assert_eq!(height(0.0), 0.0);
        assert_eq!(height(f32::NAN), 0.0);
        assert_eq!(height(-3.0), 0.0);
        assert_eq!(height(9.0), 1.0);
        assert!((height(10f32.powf(-35.0 / 20.0)) - 0.5).abs() < 1e-4);
    }

    #[test]
    fn rises_at_once_and_falls_when_no_audio_arrives() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = Meter::new(start);
        meter.hear(0.25, at(10));
        meter.advance(at(10));
        let peak = meter.level();
        assert!(peak > 0.9);
        meter.advance(at(290));
        assert_eq!(meter.level(), peak, "held while the level is fresh");
        meter.advance(at(600));
        assert!(meter.level() < 0.1 * peak);
        assert!((0.0..1.0).contains(&meter.shift()));
        assert!(meter.bars().contains(&peak));
        meter.advance(at(60_000));
        assert!(meter.bars().iter().all(|&bar| bar < 0.01));
    }
}
