//! How a snapshot is laid out, and what the keys do.

use super::{Gpu, Row, Snapshot, Stage};
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Cell, Paragraph, Sparkline, Table, TableState};

const ACCENT: Color = Color::Cyan;
const DIM: Color = Color::DarkGray;
/// From this width on, stages and trends stand side by side.
const WIDE: u16 = 100;
/// Height of the box of a trend.
const TREND: u16 = 5;
/// Dictations kept in view of the stages and trends.
const MIN_TABLE: u16 = 6;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Go on.
    Stay,
    /// End the dashboard.
    Leave,
}

/// The figures and the place in the table.
#[derive(Debug)]
pub(super) struct View {
    snapshot: Snapshot,
    table: TableState,
    page: usize,
}

impl View {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, table: TableState::default(), page: 1 }
    }

    /// Takes new figures; the chosen dictation stays chosen although newer ones came above it.
    pub(super) fn update(&mut self, snapshot: Snapshot) {
        let chosen = self.table.selected().and_then(|at| self.snapshot.rows.get(at));
        let at = chosen.and_then(|row| snapshot.rows.iter().position(|other| other == row));
        self.table.select(at);
        self.snapshot = snapshot;
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Flow {
        let last = self.snapshot.rows.len().saturating_sub(1);
        let at = self.table.selected();
        let below = |step: usize| Some(at.map_or(0, |at| (at + step).min(last)));
        let above = |step: usize| Some(at.unwrap_or(0).saturating_sub(step));
        let chosen = match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Flow::Leave,
            KeyCode::Char('q') => return Flow::Leave,
            KeyCode::Esc if at.is_none() => return Flow::Leave,
            KeyCode::Esc => None,
            KeyCode::Down | KeyCode::Char('j') => below(1),
            KeyCode::Up | KeyCode::Char('k') => above(1),
            KeyCode::PageDown => below(self.page),
            KeyCode::PageUp => above(self.page),
            KeyCode::Home => Some(0),
            KeyCode::End => Some(last),
            _ => at,
        };
        self.table.select(chosen.filter(|_| !self.snapshot.rows.is_empty()));
        Flow::Stay
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let wide = area.width >= WIDE;
        let stages = self.snapshot.stages.len().clamp(1, 10) as u16 + 2;
        let (lower, trends) = if wide { (stages.max(2 * TREND), 0) } else { (stages, TREND) };
        // A low terminal shows the table first, then the stages, then the trends.
        let room = area.height.saturating_sub(MIN_TABLE + 3);
        let lower = if room >= lower { lower } else { 0 };
        let trends = if lower > 0 && room >= lower + trends { trends } else { 0 };
        let [one, lower, trends] = [1, lower, trends].map(Constraint::Length);
        let rows = [one, Constraint::Fill(1), lower, trends, one, one];
        let [title, table, lower, trends, gpu, help] = Layout::vertical(rows).areas(area);

        frame.render_widget(self.title(), title);
        self.draw_table(frame, table);
        if wide {
            let [stages, trends] =
                Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(lower);
            self.draw_stages(frame, stages);
            self.draw_trends(
                frame,
                Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(trends),
            );
        } else {
            self.draw_stages(frame, lower);
            self.draw_trends(
                frame,
                Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(trends),
            );
        }
        frame.render_widget(gpu_line(self.snapshot.gpu.as_ref()), gpu);
        frame.render_widget(
            Line::from(" q leave   \u{2191}\u{2193} choose   Home End PgUp PgDn").fg(DIM),
            help,
        );
    }

    fn title(&self) -> Line<'static> {
        let rows = &self.snapshot.rows;
        let failed = rows.iter().filter(|row| !row.succeeded).count();
        let mut spans = vec![" Undertone".bold().fg(ACCENT), format!("  {} dictations", rows.len()).into()];
        if failed > 0 {
            spans.push(format!("  {failed} failed").red());
        }
        let totals: Vec<f32> = rows.iter().filter(|row| row.succeeded).map(|row| row.total_ms).collect();
        if let (Some(p50), Some(p95)) = (percentile(&totals, 50), percentile(&totals, 95)) {
            let text = format!("  release to text p50 {}  p95 {}", milliseconds(p50), milliseconds(p95));
            spans.push(text.into());
        }
        Line::from(spans)
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let mut block = boxed("Dictations");
        if self.snapshot.rows.is_empty() {
            let nothing = Paragraph::new("Nothing dictated yet.").fg(DIM).alignment(Alignment::Center);
            frame.render_widget(nothing.block(block), area);
            return;
        }
        if let Some(row) = self.table.selected().and_then(|at| self.snapshot.rows.get(at)) {
            block = block.title_bottom(Line::from(format!(" {} ", row.outcome)).right_aligned());
        }
        self.page = usize::from(area.height.saturating_sub(3)).max(1);
        let widths = [
            Constraint::Length(8),
            Constraint::Length(10),
            Constraint::Fill(2),
            Constraint::Length(5),
            Constraint::Length(8),
            Constraint::Fill(3),
        ];
        let right = |text: &str| Cell::from(Line::from(text.to_owned()).right_aligned());
        let header = ["Time", "Mode", "Application"].map(Cell::from).into_iter();
        let header = header.chain([right("Words"), right("Total"), Cell::from("Outcome")]);
        let line = |row: &Row| {
            let color = if row.succeeded { Color::Reset } else { Color::Red };
            let left = [&row.time, &row.mode, &row.app].map(|text| Cell::from(text.clone())).into_iter();
            let figures = [right(&row.words.to_string()), right(&milliseconds(row.total_ms))];
            let outcome = Cell::from(row.outcome.clone()).style(Style::new().fg(color));
            ratatui::widgets::Row::new(left.chain(figures).chain([outcome]))
        };
        let table = Table::new(self.snapshot.rows.iter().map(line), widths)
            .header(ratatui::widgets::Row::new(header).style(Style::new().fg(DIM)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
            .column_spacing(2)
            .block(block);
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    fn draw_stages(&self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width.saturating_sub(2));
        let lines: Vec<Line<'_>> = stage_lines(&self.snapshot.stages, width);
        let shown = if lines.is_empty() { vec![Line::from(" No times yet.").fg(DIM)] } else { lines };
        frame.render_widget(Paragraph::new(shown).block(boxed("Stages")), area);
    }

    fn draw_trends(&self, frame: &mut Frame<'_>, areas: [Rect; 2]) {
        let rows = &self.snapshot.rows;
        let newest = rows.iter().find(|row| row.tokens_per_second > 0.0).map(|row| row.tokens_per_second);
        let speed = newest.map_or("Tokens/s".into(), |speed| format!("Tokens/s {speed:.0}"));
        let tenths = rows.iter().map(|row| (row.tokens_per_second.max(0.0) * 10.0) as u64).collect();
        trend(frame, areas[0], &speed, tenths, Color::Green);
        let memory = rows.first().map_or("Memory".into(), |row| format!("Memory {}", size(row.memory_bytes)));
        trend(frame, areas[1], &memory, rows.iter().map(|row| row.memory_bytes >> 20).collect(), Color::Blue);
    }
}

/// Draws values, newest first, as bars that end with the newest at the right.
fn trend(frame: &mut Frame<'_>, area: Rect, title: &str, mut values: Vec<u64>, color: Color) {
    values.resize(usize::from(area.width.saturating_sub(2)), 0);
    values.reverse();
    frame.render_widget(Sparkline::default().data(values).fg(color).block(boxed(title)), area);
}

/// A bar to the median, on to the 95th percentile, and both as figures. `width` is the line's.
fn stage_lines(stages: &[Stage], width: usize) -> Vec<Line<'_>> {
    let figures = |stage: &Stage| Some((percentile(&stage.times_ms, 50)?, percentile(&stage.times_ms, 95)?));
    let known = stages.iter().filter_map(|stage| Some((stage, figures(stage)?)));
    let longest = known.clone().map(|(_, (_, p95))| p95).fold(0.0, f32::max);
    let room = width.saturating_sub(14 + 28 + 1);
    let cells = |ms: f32| if longest > 0.0 { (ms / longest * room as f32).round() as usize } else { 0 };
    let line = |(stage, (p50, p95)): (&Stage, (f32, f32))| {
        let (name, middle) = (stage.name.chars().take(12).collect::<String>(), cells(p50).max(1));
        let tail = cells(p95).saturating_sub(middle);
        let pad = room.saturating_sub(middle + tail);
        Line::from(vec![
            Span::from(format!(" {name:<12} ")),
            "\u{2588}".repeat(middle).fg(ACCENT),
            "\u{2592}".repeat(tail).fg(DIM),
            " ".repeat(pad).into(),
            format!("  p50 {:>8}", milliseconds(p50)).into(),
            format!("  p95 {:>8}", milliseconds(p95)).fg(DIM),
        ])
    };
    known.map(line).collect()
}

fn gpu_line(gpu: Option<&Gpu>) -> Line<'static> {
    let Some(gpu) = gpu else { return Line::from(" GPU  none in use").fg(DIM) };
    let Gpu { name, temperature_c, power_w, clock_mhz, utilisation_percent, .. } = gpu;
    let memory = format!("{} of {}", size(gpu.memory_used_bytes), size(gpu.memory_total_bytes));
    let text = format!(
        " {name}  {utilisation_percent}%  {temperature_c} \u{b0}C  {power_w:.0} W  {clock_mhz} MHz  {memory}"
    );
    let throttled = gpu.throttled.as_ref().map(|cause| format!("  slowed: {cause}").yellow());
    Line::from_iter([Some(Span::from(text)), throttled].into_iter().flatten())
}

fn boxed(title: &str) -> Block<'static> {
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(Style::new().fg(DIM));
    block.title(Line::from(format!(" {title} ")).style(Style::new().fg(Color::Reset).bold()))
}

/// The smallest value that at least `percent` of all do not exceed (nearest rank).
fn percentile(values: &[f32], percent: usize) -> Option<f32> {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn milliseconds(ms: f32) -> String {
    match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 9_999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::full;
    use super::*;

    fn press(view: &mut View, code: KeyCode) -> Flow {
        view.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn arrows_choose_and_q_leaves() {
        let mut view = View::new(full(5));
        assert_eq!(press(&mut view, KeyCode::Down), Flow::Stay);
        assert_eq!(view.table.selected(), Some(0));
        press(&mut view, KeyCode::End);
        press(&mut view, KeyCode::Down);
        assert_eq!(view.table.selected(), Some(4));
        press(&mut view, KeyCode::Up);
        assert_eq!(view.table.selected(), Some(3));
        press(&mut view, KeyCode::Esc);
        assert_eq!(view.table.selected(), None);
        assert_eq!(press(&mut view, KeyCode::Char('q')), Flow::Leave);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(interrupt), Flow::Leave);
        let mut empty = View::new(Snapshot::default());
        press(&mut empty, KeyCode::Down);
        assert_eq!(empty.table.selected(), None);
    }

    #[test]
    fn the_chosen_dictation_stays_chosen() {
        let all = full(6);
        let mut view = View::new(Snapshot { rows: all.rows[1..].to_vec(), ..all.clone() });
        press(&mut view, KeyCode::Down);
        view.update(all);
        assert_eq!(view.table.selected(), Some(1));
        view.update(Snapshot::default());
        assert_eq!(view.table.selected(), None);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<f32> = (1..=20).rev().map(|value| value as f32).collect();
        assert_eq!(percentile(&values, 50), Some(10.0));
        assert_eq!(percentile(&values, 95), Some(19.0));
        assert_eq!(percentile(&[7.0, f32::NAN], 95), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [0.04, 9.94, 9.96, 9999.4, 12_345.0].map(milliseconds),
            ["0.0 ms", "9.9 ms", "10 ms", "9999 ms", "12.3 s"]
        );
        assert_eq!([0, 5 << 20, 3 << 29].map(size), ["0 MiB", "5 MiB", "1.5 GiB"]);
    }
}
