//! Prompts answered several at a time get, token for token, what each gets alone.

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/mod.rs"]
mod common;

use undertone_engine::EngineError;
use undertone_engine::batch::{Batch, BatchConfig, MAX_SEQUENCES, Question, Reply};
use undertone_engine::control::Control;
use undertone_engine::generate::{End, Generator, Task};
use undertone_models::causal_lm::CausalLm;
use undertone_models::chat::{Message, Role};
use undertone_models::kv_cache::KvType;

const CONTEXT_TOKENS: usize = 256;

fn load(model: &str, kv: KvType) -> Batch {
    let config = BatchConfig {
        text_model: common::gguf(model),
        gpu: None,
        context_tokens: CONTEXT_TOKENS,
        kv,
        sequences: MAX_SEQUENCES,
        threads: Some(2),
        budget_bytes: None,
        settle: None,
        uploading: None,
    };
    Batch::load(&config).unwrap()
}

/// Of many lengths, some with a common beginning, and answers of many lengths.
fn questions(batch: &Batch) -> Vec<Question> {
    let texts = [
        "The capital of France is",
        "The capital of France is not Berlin, which is that of",
        "Once upon a time there was a small dog who",
        "1, 2, 3, 4,",
        "A",
        "Dear Anna, thank you for the report of the meeting on Tuesday, in which twelve members and four guests",
        "The days of the week are Monday,",
        "Water boils at",
        "The capital of Germany is",
        "To bake bread you need flour,",
        "def add(a, b):",
    ];
    let ask = |(n, text): (usize, &&str)| Question {
        prompt: batch.prompts().text(text).unwrap(),
        max_tokens: [24, 1, 9, 40, 2, 17][n % 6],
        stop: Vec::new(),
    };
    let mut questions: Vec<Question> = texts.iter().enumerate().map(ask).collect();
    let content = "Say hello.";
    match batch.prompts().chat(&[Message { role: Role::User, content }]) {
        Ok(prompt) => questions.insert(3, Question { prompt, max_tokens: 30, stop: Vec::new() }),
        // Gemma's base model is not made for conversations.
        Err(error) => assert!(error.to_string().contains("give it a prompt instead of messages"), "{error}"),
    }
    questions
}

/// Replies in the order of the questions, and that in which they came.
fn ask(batch: &mut Batch, together: usize, questions: &[Question]) -> (Vec<Reply>, Vec<usize>) {
    let mut next = questions.iter().cloned().enumerate();
    let (mut replies, mut order) = (vec![None; questions.len()], Vec::new());
    let outcome: Result<(), EngineError> = batch.run(
        together,
        |_| next.next().map(|(n, question)| (n, Ok(question))),
        |n, reply| {
            replies[n] = Some(reply?);
            order.push(n);
            Ok(())
        },
    );
    outcome.unwrap();
    (replies.into_iter().map(Option::unwrap).collect(), order)
}

#[test]
fn answers_are_those_of_each_alone() {
    for (model, kv) in [("smollm2-135m-instruct", KvType::F32), ("gemma-3-270m", KvType::Q8)] {
        let mut batch = load(model, kv);
        let questions = questions(&batch);
        let mut generator =
            Generator::new(CausalLm::open(&common::gguf(model)).unwrap(), CONTEXT_TOKENS, kv).unwrap();
        let alone: Vec<Reply> = questions
            .iter()
            .map(|Question { prompt, max_tokens, .. }| {
                let task =
                    Task { prompt, max_tokens: *max_tokens, one_line: false, draft: None, licence: None };
                let written = generator.generate(task, &mut Control::default()).unwrap();
                let (tokens, prompt_tokens) = (written.tokens.len(), prompt.len());
                Reply { text: written.text, tokens, prompt_tokens, end: written.end }
            })
            .collect();
        assert!(alone.iter().any(|r| r.end == End::Limit) && alone.iter().any(|r| r.tokens > 20));
        for together in [1, 3, MAX_SEQUENCES] {
            let (replies, order) = ask(&mut batch, together, &questions);
            assert_eq!(replies, alone, "{model}: {together} together");
            assert_eq!(order.is_sorted(), together == 1, "{model}: whoever is done makes room: {order:?}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_told_and_the_rest_goes_on() {
    let mut batch = load("smollm2-135m-instruct", KvType::F32);
    let ask_for = |prompt: Vec<u32>, max_tokens| Question { prompt, max_tokens, stop: Vec::new() };
    let counting = batch.prompts().text("1, 2, 3, 4,").unwrap();
    let questions = [
        ask_for(vec![5; CONTEXT_TOKENS], 5),
        ask_for(Vec::new(), 5),
        ask_for(vec![u32::MAX], 5),
        // To the last position of the context.
        ask_for(counting.clone(), 10_000),
        ask_for(vec![5; CONTEXT_TOKENS - 1], 5),
    ];
    let unsayable = (5, Err(EngineError::Cancelled));
    let mut next = questions.into_iter().map(Ok).enumerate().chain([unsayable]);
    let mut ended: Vec<(usize, Result<usize, String>)> = Vec::new();
    let outcome: Result<(), EngineError> = batch.run(
        2,
        |_| next.next(),
        |n, reply| {
            ended.push((n, reply.map(|r| r.tokens).map_err(|e| e.to_string())));
            Ok(())
        },
    );
    outcome.unwrap();
    ended.sort();
    let failed =
        |n: usize, what: &str| assert!(ended[n].1.as_ref().is_err_and(|e| e.contains(what)), "{ended:?}");
    failed(0, "256");
    failed(1, "0 tokens");
    failed(2, "4294967295");
    failed(5, "cancelled");
    assert_eq!(ended[3].1, Ok(CONTEXT_TOKENS - counting.len()));
    assert_eq!(ended[4].1, Ok(1));

    // Whoever does not want to go on ends it, and finds everything as it was.
    let five = || (0..5).map(|n| (n, ask_for(counting.clone(), 8)));
    let mut next = five();
    let outcome = batch.run(
        3,
        |_| next.next().map(|(n, question)| (n, Ok(question))),
        |_, _| Err(EngineError::Cancelled),
    );
    assert!(matches!(outcome, Err(EngineError::Cancelled)));
    let five: Vec<Question> = five().map(|(_, question)| question).collect();
    let (replies, _) = ask(&mut batch, MAX_SEQUENCES, &five);
    assert_eq!(replies.len(), 5);
    assert!(replies.iter().all(|reply| *reply == replies[0] && reply.tokens == 8));
}

#[test]
fn an_answer_ends_before_what_it_is_to_stop_at() {
    let mut batch = load("smollm2-135m-instruct", KvType::F32);
    let prompt = batch.prompts().text("1, 2, 3, 4,").unwrap();
    let mut until = |stop: &[&str]| {
        let stop = stop.iter().map(|stop| (*stop).to_string()).collect();
        let question = Question { prompt: prompt.clone(), max_tokens: 40, stop };
        ask(&mut batch, 1, &[question]).0.remove(0)
    };
    let whole = until(&[]);
    assert!(whole.text.starts_with(" 5, 6, 7, 8, 9"), "{whole:?}");
    let stopped = until(&["8", "7, "]);
    assert_eq!((stopped.text.as_str(), stopped.end), (" 5, 6, ", End::Complete));
    assert!(stopped.tokens < whole.tokens, "nothing is written beyond it");
    assert_eq!(until(&["nowhere"]), whole);
}

#[test]
fn memory_is_planned_for_every_sequence() {
    let plan = |sequences| {
        let text_model = common::gguf("smollm2-135m-instruct");
        let (context_tokens, kv, budget_bytes) = (2048, KvType::F32, Some(400 << 20));
        let (gpu, threads, settle, uploading) = (None, Some(2), None, None);
        Batch::load(&BatchConfig {
            text_model,
            gpu,
            context_tokens,
            kv,
            sequences,
            threads,
            budget_bytes,
            settle,
            uploading,
        })
        .map(|batch| batch.plan().total_bytes)
    };
    let (one, two) = (plan(1).unwrap(), plan(2).unwrap());
    // 30 layers of keys and values of 3 heads of 64, in f32, and the margin.
    let cache = 2048 * 30 * 2 * 3 * 64 * 4;
    assert!((cache..cache + cache / 10).contains(&(two - one)), "{one} {two}");
    let refused = plan(8).err().unwrap().to_string();
    assert!(refused.contains("MiB but the budget is 400.0 MiB"), "{refused}");
}
