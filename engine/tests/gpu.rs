//! The engine on a GPU (that which `UNDERTONE_GPU` names, else its kernels run on the host, `undertone_simt`): what is
//! planned is what is taken, and a dictation is the processor's.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use std::sync::{Arc, Mutex};
use undertone_engine::plan::{Device, Plan, RemedyKind};
use undertone_engine::telemetry::Record;
use undertone_engine::{CleanedBy, Engine, EngineConfig, EngineError, Request, Uploading};

const FREE_BYTES: usize = 4 << 30;

fn config(text_model: &str) -> EngineConfig {
    let speech = common::model_dir("whisper-tiny.en");
    EngineConfig {
        gpu: Some(undertone_simt::available_device(FREE_BYTES)),
        warm_modes: Vec::new(),
        warm_up: false,
        ..EngineConfig::new(speech).with_text_model(common::gguf(text_model))
    }
}

/// Bytes planned for arrays, without the context and the margin, and those taken.
fn arrays(plan: &Plan, record: &Record) -> (f64, f64) {
    let outside = (plan.total_bytes - plan.reserve_bytes()) as u64;
    let taken = record.memory.peak_bytes.unwrap() - outside;
    assert!(taken <= plan.reserve_bytes() as u64, "{taken} of {} bytes", plan.reserve_bytes());
    (plan.expected_bytes() as f64 - outside as f64, taken as f64)
}

#[test]
fn what_is_planned_is_taken_at_load() {
    for text_model in ["smollm2-135m-instruct", "gemma-3-270m"] {
        let told: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
        let heard = told.clone();
        let uploading = Uploading::new(move |done, total| heard.lock().unwrap().push((done, total)));
        let uploading = Some(uploading);
        let engine = Engine::start(EngineConfig { uploading, ..config(text_model) }).unwrap();
        let told = told.lock().unwrap();
        assert!(told.is_sorted() && told.iter().all(|(done, total)| done <= total));
        // The last says that it is done; before it all but what arrays are rounded up by was counted.
        let (last, counted) = (told[told.len() - 1], told[told.len() - 2].0);
        assert!(last.0 == last.1 && counted as f64 > 0.99 * last.1 as f64, "{counted} of {last:?}");
        assert_eq!((engine.plan().device, engine.resident_fraction()), (Device::Cuda, None));
        // Nobody speaks: nothing is computed.
        let record = engine.dictate(vec![0.0; 16_000], Request::default()).unwrap().record;
        assert_eq!(record.memory.planned_bytes, engine.plan().total_bytes as u64);
        let (planned, taken) = arrays(engine.plan(), &record);
        // What is heard, with its keys and values, is allocated only then: 9 MB here.
        assert!((0.95..=1.0).contains(&(taken / planned)), "{text_model}: {taken} of {planned}");
    }
}

#[test]
fn too_little_memory_is_refused_before_anything_is_taken() {
    let needed = Engine::start(config("gemma-3-270m")).unwrap().plan().total_bytes;
    let gpu = Some(undertone_simt::available_device(needed - 1));
    let small = EngineConfig { gpu, ..config("gemma-3-270m") };
    match Engine::start(small.clone()).err().unwrap() {
        EngineError::OverBudget(e) => assert!(e.to_string().contains("whisper-on-cpu"), "{e}"),
        other => panic!("{other}"),
    }
    // Allowed, the speech model goes to the processor, and its pages are watched.
    let engine = Engine::start(EngineConfig { allow: vec![RemedyKind::WhisperOnCpu], ..small }).unwrap();
    assert!(engine.plan().settings.whisper_on_cpu && engine.resident_fraction().is_some());
}

#[test]
#[ignore = "minutes of kernels run on the host: by hand"]
fn a_dictation_on_a_gpu_is_that_of_the_processor() {
    let on_gpu = EngineConfig { warm_modes: vec!["standard".into()], ..config("smollm2-135m-instruct") };
    let on_cpu = EngineConfig { gpu: None, ..on_gpu.clone() };
    let clip = common::clip("question.wav");
    let [host, device] = [on_cpu, on_gpu].map(|config| {
        let engine = Engine::start(config).unwrap();
        engine.wake("standard");
        let done = engine.dictate(clip.clone(), Request::default()).unwrap();
        println!("{:?} {:?} {}", engine.load_times(), done.record.times, done.text);
        (engine.plan().clone(), done)
    });
    assert_eq!(device.1.raw_text, host.1.raw_text);
    assert_eq!(device.1.text, host.1.text);
    assert_eq!(device.1.cleaned_by, CleanedBy::Llm);
    let (planned, taken) = arrays(&device.0, &device.1.record);
    assert!((0.97..=1.03).contains(&(taken / planned)), "{taken} of {planned}");
}
