use std::sync::Arc;

use super::boundaries::{Boundaries, Event};
use super::silero::{FRAME, Network, State};
use super::{VadSettings, sane};

/// One utterance: audio goes in as it is spoken, segments of speech come out at pauses.
///
/// Its size is fixed whatever the length of the audio, which stays with the caller. What comes out
/// does not depend on how the audio was cut into chunks.
pub struct Segmenter {
    network: Arc<Network>,
    state: State,
    /// Audio of the frame that is not full yet.
    frame: [f32; FRAME],
    filled: usize,
    boundaries: Boundaries,
}

impl Segmenter {
    pub(super) fn new(network: Arc<Network>, settings: &VadSettings) -> Segmenter {
        Segmenter {
            network,
            state: State::new(),
            frame: [0.0; FRAME],
            filled: 0,
            boundaries: Boundaries::new(settings),
        }
    }

    /// Takes the next samples (mono, 16 kHz, any number of them) and tells what they completed.
    /// Positions count samples from the beginning of the utterance.
    pub fn push(&mut self, mut samples: &[f32]) -> Vec<Event> {
        let mut events = Vec::new();
        while !samples.is_empty() {
            let room = &mut self.frame[self.filled..];
            let (now, later) = samples.split_at(room.len().min(samples.len()));
            room.iter_mut().zip(now).for_each(|(to, from)| *to = sane(*from));
            self.filled += now.len();
            samples = later;
            if self.filled == FRAME {
                self.judge(&mut events);
            }
        }
        events
    }

    /// Ends the utterance: the segment that is still open, if there is one.
    pub fn finish(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.filled > 0 {
            self.frame[self.filled..].fill(0.0);
            self.judge(&mut events);
        }
        events.extend(self.boundaries.finish());
        events
    }

    fn judge(&mut self, events: &mut Vec<Event>) {
        let probability = self.network.probability(&self.frame, &mut self.state);
        let power = self.frame.iter().map(|s| s * s).sum::<f32>() / FRAME as f32;
        self.boundaries.push(probability, power, self.filled, events);
        self.filled = 0;
    }
}
