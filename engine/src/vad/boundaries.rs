use std::ops::Range;

use super::silero::FRAME;
use super::{MAX_MIN_SPEECH_MS, SAMPLE_RATE_HZ, VadSettings};

/// What happened in the stream. Starts and ends alternate; segments are in order and share no sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody speaks: a segment begins at this sample, padding included.
    SpeechStart {
        /// The segment's first sample.
        at_sample: usize,
    },
    /// Nobody has spoken for as long as the padding. Should the utterance end here, this is its last
    /// segment: it can be worked on already.
    Lull {
        /// The segment so far, padding included.
        samples: Range<usize>,
    },
    /// The segment is over and will not change.
    SegmentEnd {
        /// Its samples, padding included.
        samples: Range<usize>,
        /// Why it ends here.
        reason: EndReason,
    },
}

/// Why a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Nobody spoke for long enough.
    Pause,
    /// It would have become too long; the next segment begins where this one was cut.
    MaxLength,
    /// The utterance was finished.
    Finish,
}

/// Frames in which a place to cut is looked for: 8.2 s.
const HISTORY: usize = 256;
/// Frames below the threshold that make a gap between words: 64 ms.
const MIN_GAP: usize = 2;
/// Frames whose power is added up to find a gap that the network did not see: 160 ms, longer than
/// the closure of a plosive within a word.
const DIP: usize = 5;

#[derive(Clone, Copy, Default)]
struct Frame {
    probability: f32,
    /// Mean square of the samples.
    power: f32,
}

/// Probabilities in, events out. Lengths are in samples.
pub(super) struct Boundaries {
    threshold: f32,
    release: f32,
    min_speech: usize,
    pause: usize,
    min_segment: usize,
    max_segment: usize,
    pad: usize,
    /// The last frames; frame `i` is at `i % HISTORY`.
    history: [Frame; HISTORY],
    frames: usize,
    /// End of the audio seen.
    now: usize,
    /// End of the last segment.
    taken: usize,
    open: Option<Open>,
}

/// A segment, or what may become one.
struct Open {
    /// First sample, padding included.
    begin: usize,
    /// First sample of speech.
    onset: usize,
    /// End of the last speech so far.
    speech_end: usize,
    /// Speech so far, until there is enough to announce it.
    speech: usize,
    announced: bool,
}

impl Boundaries {
    /// Settings that contradict each other are brought to the nearest ones that do not.
    pub(super) fn new(settings: &VadSettings) -> Boundaries {
        let samples = |ms: u32| (u64::from(ms) * SAMPLE_RATE_HZ as u64 / 1000) as usize;
        let pause = samples(settings.pause_ms).max(FRAME);
        let max_segment = samples(settings.max_segment_ms).max(2 * SAMPLE_RATE_HZ);
        Boundaries {
            threshold: settings.threshold,
            release: settings.threshold - settings.hysteresis.max(0.0),
            min_speech: samples(settings.min_speech_ms.clamp(1, MAX_MIN_SPEECH_MS)),
            pause,
            min_segment: samples(settings.min_segment_ms),
            max_segment,
            // What follows a segment has been seen when it ends, and what goes before is no segment itself.
            pad: samples(settings.pad_ms).min(pause).min(max_segment / 4),
            history: [Frame::default(); HISTORY],
            frames: 0,
            now: 0,
            taken: 0,
            open: None,
        }
    }

    /// One frame, `samples` of which are audio: all, except in the last frame of an utterance.
    pub(super) fn push(&mut self, probability: f32, power: f32, samples: usize, events: &mut Vec<Event>) {
        let frame_begin = self.now;
        self.now += samples;
        self.history[self.frames % HISTORY] = Frame { probability, power };
        self.frames += 1;

        let open = match &mut self.open {
            Some(open) => open,
            None if probability >= self.threshold => self.open.insert(Open {
                begin: frame_begin.saturating_sub(self.pad).max(self.taken),
                onset: frame_begin,
                speech_end: frame_begin,
                speech: 0,
                announced: false,
            }),
            None => return,
        };
        let threshold = if open.announced { self.release } else { self.threshold };
        if probability >= threshold {
            open.speech_end = self.now;
            open.speech += samples;
        }
        if open.announced {
            return self.end_if_due(events);
        }
        if open.speech >= self.min_speech {
            open.announced = true;
            events.push(Event::SpeechStart { at_sample: open.begin });
        } else if self.now - open.speech_end >= self.min_speech {
            self.open = None;
        }
    }

    /// The segment that is still open when the audio ends.
    pub(super) fn finish(self) -> Option<Event> {
        let open = self.open.filter(|open| open.announced)?;
        let end = (open.speech_end + self.pad).min(self.now);
        Some(Event::SegmentEnd { samples: open.begin..end, reason: EndReason::Finish })
    }

    fn end_if_due(&mut self, events: &mut Vec<Event>) {
        let Some(open) = &self.open else { return };
        let short = open.speech_end - open.onset < self.min_segment;
        let pause = if short { 2 * self.pause } else { self.pause };
        let (begin, speech_end) = (open.begin, open.speech_end);
        let quiet = self.now - speech_end;
        if quiet >= self.pad && quiet < self.pad + FRAME && quiet < pause {
            events.push(Event::Lull { samples: begin..speech_end + self.pad });
        }
        if self.now - speech_end >= pause {
            let end = (speech_end + self.pad).min(self.now);
            events.push(Event::SegmentEnd { samples: begin..end, reason: EndReason::Pause });
            (self.taken, self.open) = (end, None);
        } else if self.now + FRAME - begin > self.max_segment {
            let cut = self.quietest(begin);
            events.push(Event::SegmentEnd { samples: begin..cut, reason: EndReason::MaxLength });
            (self.taken, self.open) = (cut, None);
            if speech_end > cut {
                events.push(Event::SpeechStart { at_sample: cut });
                self.open = Some(Open {
                    begin: cut,
                    onset: cut,
                    speech_end,
                    speech: speech_end - cut,
                    announced: true,
                });
            }
        }
    }

    /// Where to cut the segment that began at `begin`: in the middle of the longest gap between
    /// words within its second half and the last 8 s, else where it is quietest.
    fn quietest(&self, begin: usize) -> usize {
        let earliest = (begin + self.max_segment / 2).div_ceil(FRAME);
        let searched = earliest.max(self.frames.saturating_sub(HISTORY))..self.frames;
        let frame = |i: usize| self.history[i % HISTORY];

        let (mut gap, mut longest) = (searched.start..searched.start, 0..0);
        for i in searched.clone() {
            gap = if frame(i).probability < self.release { gap.start..i + 1 } else { i + 1..i + 1 };
            if gap.len() >= longest.len() {
                longest = gap.clone();
            }
        }
        if longest.len() >= MIN_GAP {
            return (longest.start + longest.end) / 2 * FRAME;
        }
        let power = |i: usize| (i..i + DIP).map(|i| frame(i).power).sum::<f32>();
        let dip =
            (searched.start..searched.end.saturating_sub(DIP)).min_by(|a, b| power(*a).total_cmp(&power(*b)));
        dip.map_or(self.now, |i| i * FRAME + DIP * FRAME / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events of scripted (probability, power, count) frames.
    fn run(settings: &VadSettings, script: &[(f32, f32, usize)]) -> Vec<Event> {
        let mut boundaries = Boundaries::new(settings);
        let mut events = Vec::new();
        for &(probability, power, count) in script {
            (0..count).for_each(|_| boundaries.push(probability, power, FRAME, &mut events));
        }
        events.extend(boundaries.finish());
        events.retain(|e| !matches!(e, Event::Lull { .. }));
        events
    }

    fn ends(events: &[Event]) -> Vec<(Range<usize>, EndReason)> {
        let end = |event: &Event| match event {
            Event::SegmentEnd { samples, reason } => Some((samples.clone(), *reason)),
            _ => None,
        };
        events.iter().filter_map(end).collect()
    }

    /// In whole frames: 3 make speech, 20 a pause, 100 a segment, 5 of padding.
    fn settings() -> VadSettings {
        VadSettings {
            min_speech_ms: 3 * 32,
            pause_ms: 20 * 32,
            min_segment_ms: 100 * 32,
            max_segment_ms: 400 * 32,
            pad_ms: 5 * 32,
            ..VadSettings::default()
        }
    }

    #[test]
    fn clicks_are_not_speech_and_three_frames_are() {
        assert!(run(&settings(), &[(0.1, 0.0, 9), (0.9, 1.0, 2), (0.1, 0.0, 50)]).is_empty());
        // Never announced, however often clicks come.
        let clicks: Vec<_> = (0..100).flat_map(|_| [(0.9, 1.0, 2), (0.1, 0.0, 3)]).collect();
        assert!(run(&settings(), &clicks).is_empty());
        let word = run(&settings(), &[(0.1, 0.0, 9), (0.9, 1.0, 3), (0.1, 0.0, 50)]);
        assert_eq!(
            word,
            [
                Event::SpeechStart { at_sample: 4 * FRAME },
                Event::SegmentEnd { samples: 4 * FRAME..17 * FRAME, reason: EndReason::Pause }
            ]
        );
    }

    #[test]
    fn a_lull_tells_the_segment_that_would_end_there() {
        let mut boundaries = Boundaries::new(&settings());
        let mut events = Vec::new();
        (0..40).for_each(|i| boundaries.push(if i < 10 { 0.9 } else { 0.1 }, 0.0, FRAME, &mut events));
        assert_eq!(events[1..], [Event::Lull { samples: 0..15 * FRAME }], "once, however long it lasts");
        assert_eq!(
            ends(&boundaries.finish().into_iter().collect::<Vec<_>>()),
            [(0..15 * FRAME, EndReason::Finish)]
        );
    }

    #[test]
    fn hysteresis_keeps_weak_speech_but_does_not_start_it() {
        assert!(run(&settings(), &[(0.4, 0.0, 200)]).is_empty());
        let weak = run(&settings(), &[(0.9, 1.0, 3), (0.4, 0.1, 100), (0.1, 0.0, 20)]);
        assert_eq!(ends(&weak), [(0..108 * FRAME, EndReason::Pause)]);
    }

    #[test]
    fn short_segments_are_joined_over_a_pause_and_long_ones_are_not() {
        let pause = (0.1, 0.0, 25);
        let short = run(&settings(), &[(0.9, 1.0, 10), pause, (0.9, 1.0, 10)]);
        assert_eq!(ends(&short), [(0..45 * FRAME, EndReason::Finish)]);
        let long = run(&settings(), &[(0.9, 1.0, 100), pause, (0.9, 1.0, 10)]);
        assert_eq!(
            ends(&long),
            [(0..105 * FRAME, EndReason::Pause), (120 * FRAME..135 * FRAME, EndReason::Finish)]
        );
    }

    #[test]
    fn padding_never_overlaps_nor_leaves_the_audio() {
        let wide = VadSettings { pad_ms: 10_000, min_segment_ms: 0, ..settings() };
        let found = ends(&run(&wide, &[(0.1, 0.0, 2), (0.9, 1.0, 10), (0.1, 0.0, 21), (0.9, 1.0, 10)]));
        assert_eq!(found, [(0..32 * FRAME, EndReason::Pause), (32 * FRAME..43 * FRAME, EndReason::Finish)]);
    }

    #[test]
    fn too_long_a_segment_is_cut_in_its_longest_gap() {
        let script = [
            (0.9, 1.0, 250),
            (0.1, 0.2, 3),
            (0.9, 1.0, 50),
            (0.1, 0.2, 8),
            (0.9, 1.0, 20),
            (0.1, 0.2, 4),
            (0.9, 1.0, 200),
        ];
        let events = run(&settings(), &script);
        let cut = 307 * FRAME;
        assert_eq!(ends(&events), [(0..cut, EndReason::MaxLength), (cut..535 * FRAME, EndReason::Finish)]);
        assert_eq!(events[2], Event::SpeechStart { at_sample: cut });
    }

    #[test]
    fn without_a_gap_it_is_cut_where_it_is_quiet_for_longest() {
        // One frame of closure is quieter than the gap between words, but too short to be one.
        let script = [(0.9, 1.0, 300), (0.9, 0.01, 5), (0.9, 1.0, 40), (0.9, 0.0, 1), (0.9, 1.0, 300)];
        let found = ends(&run(&settings(), &script));
        assert_eq!(found[0], (0..302 * FRAME + FRAME / 2, EndReason::MaxLength));
        assert!(found.iter().all(|(samples, _)| samples.len() <= 400 * FRAME));
    }

    #[test]
    fn a_cut_in_the_pause_that_would_have_ended_the_segment_leaves_nothing_open() {
        let found = ends(&run(&settings(), &[(0.9, 1.0, 385), (0.1, 0.0, 100)]));
        assert_eq!(found.len(), 1);
        assert!(found[0].0.start == 0 && found[0].0.end > 385 * FRAME && found[0].1 == EndReason::MaxLength);
    }
}
