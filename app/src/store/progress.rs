//! How a long step tells what it does.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Told what happens during a pull or a check.
pub(crate) trait Progress {
    /// A line for the user, whole as it is.
    fn note(&mut self, line: &str);
    /// A step of `total_bytes` begins.
    fn start(&mut self, label: &str, total_bytes: u64);
    /// So many more bytes of the step are done.
    fn advance(&mut self, bytes: u64);
    /// The step is over.
    fn finish(&mut self);
}

/// Says nothing.
#[derive(Debug, Default)]
pub(crate) struct Silent;

impl Progress for Silent {
    fn note(&mut self, _line: &str) {}
    fn start(&mut self, _label: &str, _total_bytes: u64) {}
    fn advance(&mut self, _bytes: u64) {}
    fn finish(&mut self) {}
}

/// Lines on stderr, and a bar there when stderr is a terminal.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    bar: Option<ProgressBar>,
}

impl Progress for Terminal {
    fn note(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn start(&mut self, label: &str, total_bytes: u64) {
        self.finish();
        // The target hides itself where stderr is not a terminal.
        let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
        let form = "{msg} [{bar:30}] {bytes}/{total_bytes} {eta}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(label.to_owned());
        self.bar = Some(bar);
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.finish();
    }
}
