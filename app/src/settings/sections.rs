//! The tables of the file. A doc comment here is what `undertone config print` shows.

use super::schema::Format::{Device, Key as KeySyntax, Language, Size};
use super::schema::Rule::{Filled, Is, Mode as ModeName, Within, WordOr};
use super::schema::{choice, section};
use crate::store::{DEFAULT_SPEECH, DEFAULT_TEXT};

choice! {
    /// How the language model's keys and values are stored.
    Kv {
        /// 32 bits.
        F32 = "f32",
        /// 8 bits: 9/32 of the memory.
        Q8 = "q8",
    }
}

choice! {
    /// What may be changed when the models do not fit.
    Remedy {
        /// Fewer positions of context.
        SmallerContext = "smaller-context",
        /// Keys and values in 8 bits.
        Q8Kv = "q8-kv",
        /// A smaller quantisation of the same model.
        SmallerQuant = "smaller-quant",
        /// The speech model on the processor.
        WhisperOnCpu = "whisper-on-cpu",
    }
}

choice! {
    /// How a key starts and ends a dictation.
    Style {
        /// Listens while it is held.
        Hold = "hold",
        /// The first press starts, the second ends.
        Tap = "tap",
        /// A short press is a tap, a long one a hold.
        Hybrid = "hybrid",
        /// Listens until pressed again, and writes at each pause.
        HandsFree = "hands-free",
    }
}

choice! {
    /// Where key presses come from.
    Backend {
        /// The first that works here.
        Auto = "auto",
        /// The X server.
        X11 = "x11",
        /// The desktop's portal.
        Portal = "portal",
        /// The input devices.
        Evdev = "evdev",
    }
}

choice! {
    /// Where the text of a mode goes.
    Delivery {
        /// Into the focused window.
        Type = "type",
        /// To the clipboard.
        Copy = "copy",
        /// Shown, not written.
        Show = "show",
        /// Appended to the file of notes.
        Note = "note",
    }
}

choice! {
    /// Whether a mode works on selected text.
    Selection {
        /// Never.
        None = "none",
        /// It cannot start without.
        Required = "required",
        /// Where there is some.
        Optional = "optional",
    }
}

choice! {
    /// What the text of a mode must satisfy.
    Policy {
        /// No model is asked.
        None = "none",
        /// An edit of the transcript.
        Standard = "standard",
        /// New wording of the same content.
        Free = "free",
        /// A new text.
        Open = "open",
    }
}

choice! {
    /// What a mode works on.
    Input {
        /// What was said.
        Transcript = "transcript",
        /// Text selected before speaking.
        Selection = "selection",
        /// Both.
        Both = "both",
    }
}

choice! {
    /// How text gets into a window.
    Way {
        /// What suits the window.
        Auto = "auto",
        /// Key by key.
        Type = "type",
        /// Through the clipboard.
        Paste = "paste",
        /// Not at all.
        None = "none",
    }
}

choice! {
    /// The key that is pressed after the text.
    ExtraKey {
        /// Nothing.
        None = "none",
        /// Space.
        Space = "space",
        /// Enter.
        Enter = "enter",
        /// Tab.
        Tab = "tab",
    }
}

choice! {
    /// Where the overlay appears.
    Position {
        /// Centred above the lower edge.
        Bottom = "bottom",
        /// Centred below the upper edge.
        Top = "top",
    }
}

choice! {
    /// How much the log tells.
    Level {
        /// Nothing.
        Off = "off",
        /// What failed.
        Error = "error",
        /// What is not as it should be.
        Warn = "warn",
        /// What is done.
        Info = "info",
        /// Stages and their times.
        Debug = "debug",
    }
}

section! {
    /// `[models]`
    Models {
        /// Speech model: a name from `undertone models list`, or a file or folder.
        speech: String = DEFAULT_SPEECH.into() => Filled;
        /// Language model for clean-up: a name, a GGUF file, or none (rules alone clean).
        text: String = DEFAULT_TEXT.into() => Filled;
        /// Where to compute: auto, cpu, or cuda[:N].
        device: String = "auto".into() => Is(Device);
        /// Memory that may be taken, such as 8GiB, or free: what is free at the start.
        budget: String = "free".into() => WordOr("free", Size);
        /// What may be changed, in this order, when the models do not fit.
        allow: Vec<Remedy> = Vec::new();
        /// Threads to compute with; 0 is all cores.
        threads: u32 = 0 => Within(0, 1024);
        /// Positions of the language model's context.
        context: u32 = 2048 => Within(256, 131_072);
        /// How the language model's keys and values are stored: q8 takes 9/32 of the memory.
        kv: Kv = Kv::F32;
        /// Lock the weights in memory (`ulimit -l` must allow it).
        lock_memory: bool = false;
        /// Never touch the network, even when a model is missing.
        offline: bool = false;
    }
}

section! {
    /// `[audio]`
    Audio {
        /// Microphone: a name from `undertone setup`, or default: the system's.
        device: String = "default".into() => Filled, restart;
        /// Milliseconds kept from before the key. 0 opens the microphone on the key; more keeps it open.
        pre_roll_ms: u32 = 0 => Within(0, 5000), restart;
        /// Milliseconds recorded after the key, so that the last syllable survives.
        tail_ms: u32 = 200 => Within(0, 5000);
        /// Seconds after which a recording ends by itself.
        max_s: u32 = 600 => Within(1, 14_400);
        /// Milliseconds of silence that end a recording (not of a held key); 0 is never.
        autostop_silence_ms: u32 = 0 => Within(0, 60_000);
    }
}

section! {
    /// `[keyboard]`
    Keyboard {
        /// Where key presses come from; evdev needs the right to read the input devices.
        backend: Backend = Backend::Auto, restart;
        /// Milliseconds: a shorter press of a hybrid key is a tap.
        tap_ms: u32 = 300 => Within(50, 2000);
    }
}

section! {
    /// One of `[[keys]]`
    Key {
        /// The key with its modifiers, such as ctrl+shift+space or f9.
        key: String = "ctrl+shift+space".into() => Is(KeySyntax), required;
        /// hold: listens while held. tap: one press starts, the next ends. hybrid: short presses are
        /// taps, long ones holds. hands-free: listens until pressed again and writes at each pause.
        style: Style = Style::Hybrid;
        /// Its mode, in place of the usual one.
        mode: Option<String> = None => ModeName;
        /// Its language, in place of the usual one.
        language: Option<String> = None => WordOr("auto", Language);
        /// Its speech model, in place of the usual one.
        speech: Option<String> = None => Filled, restart;
        /// Its language model, in place of the usual one.
        text: Option<String> = None => Filled, restart;
        /// Names and terms likely to occur: a hint for the speech model.
        prompt: Option<String> = None;
    }
}

section! {
    /// `[dictation]`
    Dictation {
        /// The mode of keys that name none.
        mode: String = "standard".into() => ModeName;
        /// A wish added to the mode's instruction, such as "British spelling".
        style: String = String::new(), restart;
        /// Language spoken: a code such as en, de, fr, or auto.
        language: String = "auto".into() => WordOr("auto", Language);
        /// Write "comma", "new line" and their like as what they name.
        spoken_punctuation: bool = false;
        /// Write numbers in figures: "twenty five percent" as 25 %.
        figures: bool = false;
        /// Do not ask the language model about text that needs nothing.
        skip_clean: bool = false;
        /// Milliseconds the language model may take; what it has not cleaned by then is cleaned by
        /// rule. 0 is no limit.
        time_limit_ms: u32 = 0 => Within(0, 600_000);
        /// Work while you speak; without, only when the recording is whole.
        while_speaking: bool = true;
        /// Names and terms that are likely to occur: heard more often, and kept as they are spelt here.
        vocabulary: Vec<String> = Vec::new() => Filled;
    }
}

section! {
    /// One of `[modes.NAME]`
    Mode {
        /// Where the text goes: typed, to the clipboard, shown, or to the file of notes.
        delivery: Option<Delivery> = None;
        /// Whether text that is selected before speaking is taken.
        selection: Option<Selection> = None;
        /// What the text must satisfy, else the transcript stands. none: no model is asked. standard: an
        /// edit of the transcript. free: new wording of the same content. open: a new text.
        policy: Option<Policy> = None, restart;
        /// What the model works on: what was said, what was selected, or both.
        input: Option<Input> = None, restart;
        /// What the model is told.
        instruction: Option<String> = None, restart;
        /// Worked examples: pairs of what is said and what to write.
        examples: Option<Vec<(String, String)>> = None, restart;
        /// Never cut the text into windows.
        whole: Option<bool> = None, restart;
        /// Answer tokens allowed for each token of input.
        max_ratio: Option<f64> = None => Within(0, 100), restart;
        /// Answer tokens allowed beyond that.
        max_extra_tokens: Option<u32> = None => Within(0, 131_072), restart;
    }
}

section! {
    /// `[inject]`
    Inject {
        /// How text gets into a window: auto takes what suits it; none leaves it on the clipboard.
        way: Way = Way::Auto;
        /// Put back what the clipboard held before a paste.
        restore_clipboard: bool = true;
        /// Leave the text on the clipboard when nothing tells that the window took it.
        keep_if_no_receipt: bool = true;
        /// Write only into the window that had the focus when the key was let go.
        same_window_only: bool = true;
        /// Let line ends into terminals, where they run commands.
        newline_in_terminal: bool = false;
        /// The key that is pressed after the text.
        extra_key: ExtraKey = ExtraKey::None;
        /// Write finished sentences at pauses, while you still speak: with tap keys and `undertone ctl`. A key
        /// that is held down keeps the window from hearing others.
        as_you_speak: bool = false;
        /// Window classes of terminals, which paste with Ctrl+Shift+V.
        terminals: Vec<String> = terminals() => Filled;
        /// Milliseconds to wait until held modifier keys are let go.
        modifiers_wait_ms: u32 = 1000 => Within(0, 10_000);
    }
}

fn terminals() -> Vec<String> {
    let classes = [
        "alacritty",
        "com.mitchellh.ghostty",
        "foot",
        "gnome-terminal*",
        "kitty",
        "konsole",
        "org.gnome.ptyxis",
        "org.wezfurlong.wezterm",
        "st",
        "st-256color",
        "terminator",
        "tilix",
        "urxvt",
        "xfce4-terminal",
        "xterm",
    ];
    classes.map(String::from).into()
}

section! {
    /// One of `[[profiles]]`
    Profile {
        /// The window's class, with * and ? for any characters; letter case does not count.
        class: Option<String> = None => Filled;
        /// The window's title, likewise. Of class and title one is needed; given both, both must match.
        title: Option<String> = None => Filled;
        /// Its mode; a mode named by the key goes before.
        mode: Option<String> = None => ModeName;
        /// How text gets into it.
        way: Option<Way> = None;
        /// The key that is pressed after the text.
        extra_key: Option<ExtraKey> = None;
        /// The language spoken there.
        language: Option<String> = None => WordOr("auto", Language);
        /// A wish added to the mode's instruction; a mode named by the key goes without.
        style: Option<String> = None => Filled, restart;
    }
}

section! {
    /// `[show]`
    Show {
        /// A small window with the level, the work and the result. It never takes the focus.
        overlay: bool = true;
        /// Where it appears.
        overlay_position: Position = Position::Bottom;
        /// An icon in the tray.
        tray: bool = true, restart;
        /// A sound at start, end and failure.
        sounds: bool = true;
        /// Notifications of what went wrong.
        notifications: bool = true;
    }
}

section! {
    /// `[history]`
    History {
        /// What is kept of a dictation. 0: nothing. 1: numbers only. 2: the clean text without addresses,
        /// phone, card and key numbers. 3: everything.
        tier: u32 = 2 => Within(0, 3), restart;
        /// Days it is kept; 0 is forever.
        retention_days: u32 = 90 => Within(0, 36_500), restart;
        /// Keep the recordings as well (at tier 3).
        audio: bool = false, restart;
    }
}

section! {
    /// `[notes]`
    Notes {
        /// The file that notes are appended to; ~/ is your home.
        file: String = "~/notes.md".into() => Filled;
    }
}

section! {
    /// `[log]`
    Log {
        /// How much is told, in the log of the history's folder.
        level: Level = Level::Warn, restart;
        /// Let the log (at level info) hold what was dictated, as far as the history's tier allows.
        text: bool = false, restart;
    }
}
