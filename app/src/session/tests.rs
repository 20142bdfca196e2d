//! Event scripts: each line is an event and the effects that it must have, in order. `Show` and
//! `WakeEngine` are left out of the lines and tested by themselves.

use super::script::{Script, activation, check_with, modes, settings, written};
use super::*;

/// Runs a script from a fresh session to idleness.
fn check(lines: &str) {
    assert!(check_with(settings(), lines).is_idle(), "not idle after\n{lines}");
}

#[test]
fn hold_records_while_the_key_is_down_and_a_tail_after_it() {
    check(
        "press 1 hold @0    => record 1 dictate, listen 1, timer longest 600000
         opened 1           =>
         release 1 @1500    => timer tail 150, focus 1
         timer tail         => close 1
         recorded 1         => transcribe 1
         text 1 Hello.      => type 1 Hello.
         typed 1            => done 1 Typed",
    );
}

#[test]
fn without_a_tail_the_microphone_closes_at_the_release() {
    let session = check_with(
        Settings { tail_ms: 0, ..settings() },
        "press 1 hold @0    => record 1 dictate, listen 1, timer longest 600000
         release 1 @100     => focus 1, close 1",
    );
    assert_eq!(session.status().phase, Phase::Transcribing);
}

#[test]
fn toggle_goes_from_press_to_press() {
    check(
        "press 1 toggle @0     => record 1 dictate, listen 1, timer longest 600000
         release 1 @100        =>
         press 1 toggle @5000  => timer tail 150, focus 1
         release 1 @5100       =>
         timer tail            => close 1
         recorded 1            => transcribe 1
         text 1                => empty 1, tell NothingHeard",
    );
}

#[test]
fn hybrid_tapped_toggles() {
    check(
        "press 1 hybrid @0     => record 1 dictate, listen 1, timer longest 600000
         release 1 @299        =>
         press 1 hybrid @9000  => timer tail 150, focus 1
         release 1 @9999       =>
         timer tail            => close 1
         unrecorded 1          => cancel 1, empty 1, tell NothingHeard",
    );
}

#[test]
fn hybrid_held_is_push_to_talk() {
    check(
        "press 1 hybrid @0     => record 1 dictate, listen 1, timer longest 600000
         release 1 @300        => timer tail 150, focus 1
         timer tail            => close 1
         recorded 1            => transcribe 1
         text 1 a              => type 1 a
         pasted 1              => done 1 Pasted",
    );
}

#[test]
fn hands_free_delivers_each_utterance() {
    check(
        "press 1 handsfree @0    => record 1 dictate, listen 1, timer longest 600000
         release 1 @50           =>
         opened 1                =>
         speech 1                =>
         silence 1               =>
         utterance 1             => timer longest 600000, focus 1, split 1 2, listen 2
         utterance 1             =>
         recorded 1              => transcribe 1
         text 1 One.             => type 1 One.
         utterance 2             => timer longest 600000, focus 2, split 2 3, listen 3
         typed 1                 => done 1 Typed
         recorded 2              => transcribe 2
         text 2 Two.             => type 2 Two.
         typed 2                 => done 2 Typed
         undo                    => remove 2
         removed 2               =>
         press 1 handsfree @9000 => timer tail 150, focus 3
         timer tail              => close 3
         recorded 3              => transcribe 3
         text 3                  => empty 3",
    );
}

#[test]
fn hands_free_with_a_full_queue_keeps_the_utterance_in_the_next() {
    let session = check_with(
        settings(),
        "start handsfree   => record 1 dictate, listen 1, timer longest 600000
         opened 1          =>
         utterance 1       => timer longest 600000, focus 1, split 1 2, listen 2
         timer longest     => timer longest 600000, focus 2, split 2 3, listen 3
         stale longest     =>
         utterance 3       => tell QueueFull
         recorded 1        => transcribe 1
         text 1 a          => type 1 a
         typed 1           => done 1 Typed
         utterance 3       => timer longest 600000, focus 3, split 3 4, listen 4
         timer longest     => tell LongestReached, focus 4, close 4
         stop              =>",
    );
    assert_eq!(session.status().pending, 3);
}

#[test]
fn a_mode_with_a_selection_is_never_split() {
    check(
        "start handsfree:refine => record 1 refine, select 1, timer longest 600000
         opened 1               =>
         utterance 1            =>
         selection 1 old        => listen 1 old
         cancel                 => close 1, cancel 1, discarded 1",
    );
}

#[test]
fn repeated_presses_are_one_press() {
    check(
        "press 1 toggle @0      => record 1 dictate, listen 1, timer longest 600000
         press 1 toggle @660    =>
         press 1 toggle @700    =>
         press 1 toggle @740    =>
         release 1 @760         =>
         release 1 @761         =>
         release 7 @762         =>
         press 1 toggle @800    => timer tail 150, focus 1
         press 1 toggle @1700   =>
         timer tail             => close 1
         press 1 toggle @2600   =>
         recorded 1             => transcribe 1
         text 1 a               => type 1 a
         typed 1                => done 1 Typed",
    );
}

#[test]
fn a_missed_release_ends_at_the_greatest_length_and_the_next_press_starts_anew() {
    check(
        "press 1 hold @0        => record 1 dictate, listen 1, timer longest 600000
         timer longest          => tell LongestReached, focus 1, close 1
         recorded 1             => transcribe 1
         press 1 hold @700000   => record 2 dictate, listen 2, timer longest 600000
         stale longest          =>
         text 1 a               => type 1 a
         typed 1                => done 1 Typed
         release 1 @701000      => timer tail 150, focus 2
         timer longest          =>
         timer tail             => close 2
         recorded 2             => transcribe 2
         text 2 b               => type 2 b
         typed 2                => done 2 Typed",
    );
}

#[test]
fn a_press_after_a_missed_release_ends_and_begins() {
    check(
        "press 1 hold @0        => record 1 dictate, listen 1, timer longest 600000
         press 1 hold @8000     => focus 1, close 1, record 2 dictate, listen 2, timer longest 600000
         cancel                 => close 2, cancel 2, discarded 2
         release 1 @9000        =>
         recorded 2             =>
         cancel                 => cancel 1, discarded 1
         recorded 1             =>
         cancel                 =>",
    );
}

#[test]
fn another_keys_press_changes_over() {
    check(
        "press 1 hold @0        => record 1 dictate, listen 1, timer longest 600000
         press 2 hold:note @500 => focus 1, close 1, record 2 note, listen 2, timer longest 600000
         release 1 @600         =>
         release 2 @1500        => timer tail 150, focus 2
         timer tail             => close 2
         recorded 2             => transcribe 2
         text 2 second          =>
         recorded 1             => transcribe 1
         text 1 first           => type 1 first
         typed 1                => done 1 Typed, append 2 second
         appended 2             => done 2 Appended",
    );
}

#[test]
fn a_press_during_the_tail_ends_the_tail() {
    check(
        "press 1 hold @0        => record 1 dictate, listen 1, timer longest 600000
         release 1 @1000        => timer tail 150, focus 1
         press 1 hold @1100     => close 1, record 2 dictate, listen 2, timer longest 600000
         timer tail             =>
         cancel                 => close 2, cancel 2, discarded 2
         cancel                 => cancel 1, discarded 1",
    );
}

#[test]
fn a_second_recording_goes_on_while_the_first_is_typed() {
    check(
        "start toggle     => record 1 dictate, listen 1, timer longest 600000
         stop             => timer tail 150, focus 1
         timer tail       => close 1
         recorded 1       => transcribe 1
         text 1 a         => type 1 a
         start toggle     => record 2 dictate, listen 2, timer longest 600000
         stop             => timer tail 150, focus 2
         timer tail       => close 2
         recorded 2       => transcribe 2
         text 2 b         =>
         typed 1          => done 1 Typed, type 2 b
         typed 2          => done 2 Typed",
    );
}

#[test]
fn a_full_queue_refuses_a_recording_before_a_word_is_spoken() {
    check(
        "toggle toggle    => record 1 dictate, listen 1, timer longest 600000
         toggle toggle    => timer tail 150, focus 1
         toggle toggle    => close 1, record 2 dictate, listen 2, timer longest 600000
         toggle toggle    => timer tail 150, focus 2
         toggle toggle    => close 2, record 3 dictate, listen 3, timer longest 600000
         press 1 hold:note @0 => focus 3, close 3, tell QueueFull
         start toggle     => tell QueueFull
         cancel           => cancel 1, discarded 1, cancel 2, discarded 2, cancel 3, discarded 3",
    );
}

#[test]
fn start_and_stop_are_idempotent() {
    check(
        "stop             =>
         start toggle     => record 1 dictate, listen 1, timer longest 600000
         start toggle     =>
         start hold:note  =>
         stop             => timer tail 150, focus 1
         stop             =>
         timer tail       => close 1
         stop             =>
         timer tail       =>
         unrecorded 1     => cancel 1, empty 1, tell NothingHeard",
    );
}

#[test]
fn silence_after_speech_ends_what_nobody_holds() {
    check(
        "start toggle     => record 1 dictate, listen 1, timer longest 600000
         silence 1        => timer silence 2000
         silence 1        =>
         speech 1         =>
         silence 1        => timer silence 2000
         stale silence    =>
         silence 9        =>
         timer silence    => focus 1, close 1
         unrecorded 1     => cancel 1, empty 1, tell NothingHeard
         press 1 hold @0  => record 2 dictate, listen 2, timer longest 600000
         silence 2        =>
         cancel           => close 2, cancel 2, discarded 2",
    );
}

#[test]
fn cancel_at_every_stage() {
    let recorded = "start toggle  => record 1 dictate, listen 1, timer longest 600000
                    stop          => timer tail 150, focus 1";
    check(&format!("{recorded}\n cancel => close 1, cancel 1, discarded 1 \n timer tail =>"));
    let closing = format!("{recorded}\n timer tail => close 1");
    check(&format!("{closing}\n cancel => cancel 1, discarded 1 \n recorded 1 =>"));
    let transcribing = format!("{closing}\n recorded 1 => transcribe 1");
    check(&format!("{transcribing}\n cancel => cancel 1, discarded 1 \n text 1 late =>"));
    let typing = format!("{transcribing}\n text 1 a => type 1 a");
    check(&format!("{typing}\n cancel => halt 1 \n stopped 1 => discarded 1"));
    check(&format!("{typing}\n cancel => halt 1 \n typed 1 => done 1 Typed \n cancel =>"));
    check(&format!(
        "{typing}\n start toggle => record 2 dictate, listen 2, timer longest 600000
         cancel => close 2, cancel 2, discarded 2 \n typed 1 => done 1 Typed"
    ));
}

#[test]
fn a_microphone_that_does_not_open_fails_the_dictation() {
    check(
        "press 1 hold @0   => record 1 dictate, listen 1, timer longest 600000
         unopened 1        => close 1, cancel 1, failed 1 Microphone, tell MicrophoneFailed
         release 1 @1000   =>
         press 1 hold @2000 => record 2 dictate, listen 2, timer longest 600000
         release 1 @3000   => timer tail 150, focus 2
         timer tail        => close 2
         unopened 2        => cancel 2, failed 2 Microphone, tell MicrophoneFailed",
    );
}

#[test]
fn a_lost_device_ends_the_recording_which_is_transcribed() {
    check(
        "press 1 hold @0   => record 1 dictate, listen 1, timer longest 600000
         opened 1          =>
         lost 1            => tell DeviceLost, focus 1, close 1
         lost 1            =>
         release 1 @1000   =>
         recorded 1        => transcribe 1
         text 1 a          => type 1 a
         typed 1           => done 1 Typed",
    );
}

#[test]
fn a_recording_that_ends_by_itself_is_closed() {
    check(
        "press 1 hold @0   => record 1 dictate, listen 1, timer longest 600000
         recorded 1        => focus 1, close 1, transcribe 1
         recorded 1        =>
         cancel            => cancel 1, discarded 1",
    );
}

#[test]
fn an_engine_failure_keeps_the_audio_and_lets_the_next_through() {
    check(
        "toggle toggle     => record 1 dictate, listen 1, timer longest 600000
         press 1 hold @0   => timer tail 150, focus 1
         press 1 hold @1000 => close 1, record 2 dictate, listen 2, timer longest 600000
         release 1 @2000   => timer tail 150, focus 2
         timer tail        => close 2
         recorded 2        => transcribe 2
         text 2 b          =>
         recorded 1        => transcribe 1
         fault 1           => cancel 1, failed 1 Engine, tell EngineFailed, type 2 b
         typed 2           => done 2 Typed",
    );
}

#[test]
fn what_could_not_be_typed_is_told_and_can_be_had_again() {
    let ready = "start toggle  => record 1 dictate, listen 1, timer longest 600000
                 stop          => timer tail 150, focus 1
                 timer tail    => close 1
                 recorded 1    => transcribe 1
                 text 1 a      => type 1 a";
    let again = "undo      => tell NothingToUndo
                 again     => focus 1, type 1 a
                 again     => tell Busy
                 typed 1   =>
                 undo      => remove 1
                 removed 1 =>
                 undo      => tell NothingToUndo";
    check(&format!("{ready}\n elsewhere 1 => done 1 FocusChanged, tell FocusChanged\n{again}"));
    check(&format!("{ready}\n clipboard 1 => done 1 LeftOnClipboard, tell LeftOnClipboard\n{again}"));
    check(&format!("{ready}\n untyped 1   => failed 1 Delivery, tell DeliveryFailed\n{again}"));
}

#[test]
fn raw_swaps_the_wording_there_and_back() {
    check(
        "raw                => tell NothingToRepeat
         start toggle       => record 1 dictate, listen 1, timer longest 600000
         raw                => tell Busy
         stop               => timer tail 150, focus 1
         timer tail         => close 1
         recorded 1         => transcribe 1
         undo               => tell Busy
         text 1 Clean um-clean => type 1 Clean
         again              => tell Busy
         pasted 1           => done 1 Pasted
         raw                => remove 1
         typed 1            =>
         removed 1          => type 1 um-clean
         removed 1          =>
         typed 1            =>
         raw                => remove 1
         unremoved 1        => tell NotUndone
         raw                => remove 1
         removed 1          => type 1 Clean
         typed 1            =>
         raw                => remove 1
         cancel             => halt 1
         removed 1          =>
         raw                => focus 1, type 1 um-clean
         elsewhere 1        => tell FocusChanged
         again              => focus 1, type 1 um-clean
         typed 1            =>",
    );
    check(
        "start toggle       => record 1 dictate, listen 1, timer longest 600000
         stop               => timer tail 150, focus 1
         timer tail         => close 1
         recorded 1         => transcribe 1
         text 1 same same   => type 1 same
         typed 1            => done 1 Typed
         raw                => tell SameWording",
    );
}

#[test]
fn a_selection_is_taken_before_the_user_speaks() {
    check(
        "press 2 hold:refine @0 => record 1 refine, select 1, timer longest 600000
         selection 1 old        => listen 1 old
         selection 1 older      =>
         release 2 @1000        => timer tail 150, focus 1
         timer tail             => close 1
         recorded 1             => transcribe 1
         text 1 new             => type 1 new
         typed 1                => done 1 Typed",
    );
    check(
        "press 2 hold:refine @0 => record 1 refine, select 1, timer longest 600000
         release 2 @1000        => timer tail 150, focus 1
         timer tail             => close 1
         recorded 1             =>
         selection 1 late       => listen 1 late, transcribe 1
         cancel                 => cancel 1, discarded 1",
    );
}

#[test]
fn a_missing_selection_fails_only_where_it_is_required() {
    check(
        "press 2 hold:refine @0 => record 1 refine, select 1, timer longest 600000
         selection 1            => close 1, cancel 1, failed 1 Selection, tell NoSelection
         release 2 @1000        =>
         press 3 hold:ask @2000 => record 2 ask, select 2, timer longest 600000
         selection 2            => listen 2
         release 3 @3000        => timer tail 150, focus 2
         timer tail             => close 2
         recorded 2             => transcribe 2
         text 2 answer          => show 2 answer
         typed 2                => done 2 Typed",
    );
}

#[test]
fn a_mode_without_speech_works_on_the_selection_alone() {
    check(
        "press 4 hold:fix @0    => focus 1, select 1
         release 4 @100         =>
         selection 1 teh        => clean 1 teh
         text 1 the             => type 1 the
         typed 1                => done 1 Typed
         press 4 hold:fix @900  => focus 2, select 2
         selection 2            => cancel 2, failed 2 Selection, tell NoSelection",
    );
}

#[test]
fn the_current_mode_is_that_of_activations_without_one() {
    let session = check_with(
        settings(),
        "mode nope             => tell UnknownMode
         mode translate        =>
         start toggle          => record 1 translate, listen 1, timer longest 600000
         mode dictate          =>
         press 1 toggle:translate @0 => timer tail 150, focus 1
         timer tail            => close 1
         press 1 hold:nope @2000 => tell UnknownMode",
    );
    assert_eq!(&*session.status().mode, "dictate");
}

#[test]
fn quitting_delivers_first_and_the_second_time_keeps_what_is_unfinished() {
    let recording = "start toggle => record 1 dictate, listen 1, timer longest 600000
                     quit         => focus 1, close 1, timer quit 10000
                     start toggle => tell Quitting
                     recorded 1   => transcribe 1";
    check(&format!(
        "{recorded}\n text 1 a => type 1 a \n typed 1 => done 1 Typed, exit \n start toggle =>",
        recorded = recording
    ));
    let kept = "cancel 1, failed 1 Quit, tell LeftUnfinished, exit";
    check(&format!("{recording}\n quit => {kept} \n quit =>"));
    check(&format!("{recording}\n timer quit => {kept} \n text 1 a =>"));
    let typing = "halt 1, failed 1 Quit, tell LeftUnfinished, exit";
    check(&format!("{recording}\n text 1 a => type 1 a \n timer quit => {typing}"));
    check("quit => timer quit 10000, exit");
}

#[test]
fn the_status_is_shown_when_it_changes() {
    let mut script = Script::new();
    let mut shown = |line: &str| {
        let status = script.step(line).into_iter().find_map(|effect| match effect {
            Effect::Show(status) => Some(status),
            _ => None,
        });
        status.map(|Status { phase, mode, pending }| format!("{phase:?} {mode} {pending}"))
    };
    assert_eq!(shown("press 1 hold:note @0").as_deref(), Some("Opening note 0"));
    assert_eq!(shown("opened 1").as_deref(), Some("Recording note 0"));
    assert_eq!(shown("press 1 hold:note @500"), None);
    assert_eq!(shown("release 1 @900"), None);
    assert_eq!(shown("timer tail").as_deref(), Some("Transcribing dictate 1"));
    assert_eq!(shown("recorded 1"), None);
    assert_eq!(shown("text 1 a").as_deref(), Some("Delivering dictate 1"));
    assert_eq!(shown("appended 1").as_deref(), Some("Idle dictate 0"));
    assert_eq!(shown("mode note").as_deref(), Some("Idle note 0"));
    let last = script.session.last_concluded().expect("a dictation");
    assert_eq!((last.id, &last.end), (1, &End::Delivered(Outcome::Appended)));
}

#[test]
fn the_engine_is_woken_by_the_press() {
    let mut session = Session::new(settings(), modes(), "dictate");
    let effects = session.step(Event::Press { key: 1, activation: activation("hold:fix"), at_ms: 0 });
    assert!(effects.contains(&Effect::WakeEngine { mode: "fix".into() }), "{effects:?}");
    let effects = session.step(Event::Press { key: 2, activation: activation("hold"), at_ms: 0 });
    assert!(effects.contains(&Effect::WakeEngine { mode: "dictate".into() }), "{effects:?}");
}

#[test]
fn a_new_configuration_leaves_what_is_under_way() {
    let mut script = Script::new();
    script.step("press 1 hold:note @0");
    script.session.reconfigure(Settings { tail_ms: 0, ..settings() }, modes().split_off(2));
    let ended: Vec<String> = script.step("release 1 @900").iter().filter_map(written).collect();
    assert_eq!(ended, ["focus 1", "close 1"]);
    let refused: Vec<String> = script.step("press 1 hold @2000").iter().filter_map(written).collect();
    assert_eq!(refused, ["tell UnknownMode"]);
}

#[test]
fn no_text_is_in_a_debug_form() {
    let mut script = Script::new();
    for line in ["start toggle", "stop", "timer tail", "recorded 1"] {
        script.step(line);
    }
    let effects = script.step("text 1 confidential secret");
    let debug = format!("{effects:?} {:?}", script.session);
    assert!(debug.contains("Text(12 chars)"), "{debug}");
    assert!(!debug.contains("confidential") && !debug.contains("secret"), "{debug}");
}

#[test]
fn notices_are_sentences_and_refusals_are_errors() {
    let full = Notice::QueueFull { waiting: 3 };
    assert!(full.is_refusal() && !Notice::NothingHeard.is_refusal());
    let unknown = Notice::UnknownMode { name: "nots".into(), known: vec!["note".into(), "ask".into()] };
    assert_eq!(unknown.to_string(), "there is no mode 'nots'; use one of: note, ask");
    let longest = Notice::LongestReached { max_ms: 60_000 };
    assert!(longest.to_string().contains("60 s"), "{longest}");
}
