//! Scores files of raw f32 samples at 16 kHz: for each path on stdin writes PATH.earshot (f32 per 256 samples),
//! PATH.silero (f32 per 512) and PATH.segments (begin and end in samples, then ms of speech). Prints real-time factors.
use std::io::BufRead;
use std::time::Instant;

use undertone_engine::vad::{Event, Vad, VadSettings};

fn main() -> std::io::Result<()> {
    let (mut seconds, mut earshot_s, mut silero_s, mut segmenter_s) = (0.0, 0.0, 0.0, 0.0);
    let vad = Vad::new(VadSettings::default());
    for path in std::io::stdin().lock().lines() {
        let path = path?;
        let bytes = std::fs::read(&path)?;
        let pcm: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        seconds += pcm.len() as f64 / 16000.0;
        let begun = Instant::now();
        let mut detector = earshot::Detector::default();
        let scores: Vec<u8> =
            pcm.as_chunks::<256>().0.iter().flat_map(|f| detector.predict_f32(f).to_le_bytes()).collect();
        earshot_s += begun.elapsed().as_secs_f64();
        std::fs::write(format!("{path}.earshot"), scores)?;
        let begun = Instant::now();
        let scores: Vec<u8> = vad.probabilities(&pcm).flat_map(f32::to_le_bytes).collect();
        silero_s += begun.elapsed().as_secs_f64();
        std::fs::write(format!("{path}.silero"), scores)?;
        let begun = Instant::now();
        let mut segmenter = vad.begin();
        let mut events = segmenter.push(&pcm);
        events.extend(segmenter.finish());
        segmenter_s += begun.elapsed().as_secs_f64();
        let mut text = String::new();
        for event in events {
            if let Event::SegmentEnd { samples, .. } = event {
                text += &format!("{} {} ", samples.start, samples.end);
            }
        }
        let summary = vad.summarize(&pcm);
        text += &format!("{} {}", summary.speech_ms, u8::from(summary.has_speech()));
        std::fs::write(format!("{path}.segments"), text)?;
    }
    println!("{} {} {}", earshot_s / seconds, silero_s / seconds, segmenter_s / seconds);
    Ok(())
}
