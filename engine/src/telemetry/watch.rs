use super::gpu::Gpu;
use super::health::{Baseline, Device, Health, Observation, WINDOW, check};
use super::host::{CpuTimes, HostReading};
use super::memory::major_faults;
use super::{Record, Stage};
use std::collections::VecDeque;
use std::path::Path;

/// Decoding steps below which a rate says nothing.
const MIN_PASSES: usize = 2;

/// Watches whether the machine still does what it did at warm-up.
pub(crate) struct Watch {
    gpu: Option<Gpu>,
    baseline: Option<Baseline>,
    observations: VecDeque<Observation>,
    cpu: Option<CpuTimes>,
    faults: u64,
}

impl Watch {
    pub(crate) fn new() -> Watch {
        let observations = VecDeque::with_capacity(WINDOW + 1);
        Watch { gpu: Gpu::open(0), baseline: None, observations, cpu: None, faults: 0 }
    }

    /// A request begins.
    pub(crate) fn begin(&mut self) {
        self.cpu = CpuTimes::read(Path::new("/"));
        self.faults = major_faults().unwrap_or(0);
    }

    /// What `record` took is what this machine does; one that decoded too little for a rate changes nothing.
    pub(crate) fn set_baseline(&mut self, record: &Record) {
        let Some(tokens_per_s) = steps_per_s(record) else { return };
        let gpu = self.gpu.as_ref().map(Gpu::read);
        let host = HostReading::read(Path::new("/"));
        self.baseline = Some(Baseline { tokens_per_s, gpu, host });
    }

    /// A request has ended: writes what the machine says into its record. One that decoded too little for a rate has the
    /// verdict of those before.
    pub(crate) fn end(&mut self, record: &mut Record, resident_fraction: Option<f64>) {
        record.gpu = self.gpu.as_ref().map(Gpu::read);
        let Some(baseline) = &self.baseline else { return };
        if let Some(tokens_per_s) = steps_per_s(record) {
            let now = CpuTimes::read(Path::new("/"));
            let other_load = now.zip(self.cpu.take()).and_then(|(now, then)| now.other_load_since(&then));
            self.observations.push_back(Observation {
                tokens_per_s,
                gpu: record.gpu.clone(),
                host: HostReading::read(Path::new("/")),
                resident_fraction,
                major_faults: major_faults().unwrap_or(0).saturating_sub(self.faults),
                device: Device::Cpu,
                expected_device: Device::Cpu,
                other_load,
            });
        }
        if self.observations.len() > WINDOW {
            self.observations.pop_front();
        }
        let health: Health = check(baseline, self.observations.make_contiguous());
        if !health.ok {
            tracing::warn!(sentence = health.sentence, "slower than at warm-up");
        }
        record.health = Some(health);
    }
}

/// Decoding steps in a second: tokens in a second as they would be without drafts, so that text
/// which is easily foretold does not look fast, nor other text slow.
fn steps_per_s(record: &Record) -> Option<f64> {
    let ms = record.times.ms(Stage::Generate);
    (record.text.passes >= MIN_PASSES && ms > 0.0).then(|| record.text.passes as f64 * 1e3 / ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Of `passes` that wrote for a second.
    fn record(passes: usize) -> Record {
        let mut record = Record::default();
        record.text.passes = passes;
        record.times.add(Stage::Generate, Duration::from_secs(1));
        record
    }

    fn ended(watch: &mut Watch, passes: usize) -> Option<(bool, f64)> {
        let mut record = record(passes);
        watch.begin();
        watch.end(&mut record, None);
        record.health.map(|health| (health.ok, health.ratio))
    }

    #[test]
    fn a_request_without_passes_to_time_neither_takes_the_baseline_nor_the_verdict() {
        let mut watch = Watch::new();
        assert_eq!(ended(&mut watch, 40), None);
        watch.set_baseline(&record(40));
        watch.set_baseline(&record(0));
        assert_eq!(ended(&mut watch, 1), Some((true, 1.0)));
        for slow in [true, true, false] {
            assert_eq!(ended(&mut watch, 20), Some((slow, 0.5)));
        }
        assert_eq!(ended(&mut watch, 0), Some((false, 0.5)));
    }
}
