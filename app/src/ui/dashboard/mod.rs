//! `undertone dashboard`: the last dictations and where their time went, in the terminal.

mod view;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use view::{Flow, View};

/// How often new figures are asked for.
const REFRESH: Duration = Duration::from_secs(1);
/// How soon a signal to end is obeyed.
const LOOK: Duration = Duration::from_millis(200);

/// All that is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// Dictations, newest first.
    pub(crate) rows: Vec<Row>,
    /// The pipeline's stages, in its order.
    pub(crate) stages: Vec<Stage>,
    /// The graphics card in use.
    pub(crate) gpu: Option<Gpu>,
}

/// One dictation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Local time of day.
    pub(crate) time: String,
    /// The mode's name.
    pub(crate) mode: String,
    /// The program that got the text.
    pub(crate) app: String,
    /// Words of the text.
    pub(crate) words: u32,
    /// From the key's release to the text.
    pub(crate) total_ms: f32,
    /// Speed of the language model, 0 where it was not asked.
    pub(crate) tokens_per_second: f32,
    /// The process' peak.
    pub(crate) memory_bytes: u64,
    /// What became of the text, as in `typed`, or why there is none.
    pub(crate) outcome: String,
    /// Whether the text is where it belongs.
    pub(crate) succeeded: bool,
}

/// One stage of the pipeline and how long it took in each dictation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stage {
    /// As in `transcribe`.
    pub(crate) name: String,
    /// In any order.
    pub(crate) times_ms: Vec<f32>,
}

/// State of a graphics card.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gpu {
    /// As the driver calls it.
    pub(crate) name: String,
    /// Degrees Celsius.
    pub(crate) temperature_c: u32,
    /// Watts.
    pub(crate) power_w: f32,
    /// Clock of the cores.
    pub(crate) clock_mhz: u32,
    /// Of the time, 0 to 100.
    pub(crate) utilisation_percent: u32,
    /// Memory in use, by all programs.
    pub(crate) memory_used_bytes: u64,
    /// Memory of the card.
    pub(crate) memory_total_bytes: u64,
    /// Why its clock is lowered.
    pub(crate) throttled: Option<String>,
}

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DashboardError {
    /// Input or output is a pipe or a file.
    #[error("the dashboard needs a terminal; --once prints one picture of it as text")]
    NotATerminal,
    /// The terminal failed.
    #[error("the terminal cannot be used: {0}; --once prints one picture as text")]
    Terminal(#[from] io::Error),
}

/// Shows what `next` returns, asked once a second, until the user leaves. The terminal is as before
/// on every way out: a key, a signal, an error, a panic.
pub(crate) fn run(mut next: impl FnMut() -> Snapshot) -> Result<(), DashboardError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(DashboardError::NotATerminal);
    }
    let ended = Arc::new(AtomicBool::new(false));
    // A terminal that is gone needs no restoring, and crossterm waits for its keys without end: SIGHUP
    // keeps its default.
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&ended))?;
    let mut view = View::new(next());
    // Also sets a panic hook that restores the terminal before the message is printed.
    let mut terminal = ratatui::try_init()?;
    let _restored = Restore;
    let mut refreshed = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        terminal.draw(|frame| view.draw(frame))?;
        if event::poll(LOOK)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && view.press(key) == Flow::Leave
        {
            break;
        }
        if refreshed.elapsed() >= REFRESH {
            view.update(next());
            refreshed = Instant::now();
        }
    }
    Ok(())
}

/// One picture as text of `size` (columns, rows), without colours and trailing spaces.
pub(crate) fn once(snapshot: &Snapshot, size: (u16, u16)) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(size.0, size.1));
    let Ok(_) = terminal.draw(|frame| View::new(snapshot.clone()).draw(frame));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content().chunks(usize::from(size.0.max(1))) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

#[cfg(test)]
mod tests;
