//! The charts, as SVG.

use super::columns::mib;
use super::summary::{Row, Summary};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;
use undertone_engine::telemetry::Stage;

/// Points of a series that are drawn; of more, every second, third, ...
const MOST_POINTS: usize = 3000;
/// Rows that have bars.
pub(super) const MOST_BARS: usize = 40;
const WIDTH: u32 = 960;
const LABELS: (&str, u32) = ("sans-serif", 14);
const BAR_HEIGHT: u32 = 24;
const GRID: RGBColor = RGBColor(225, 228, 232);
const INK: RGBColor = RGBColor(60, 64, 72);
const FRONT: RGBColor = RGBColor(214, 96, 77);
const PLANNED: RGBColor = RGBColor(190, 205, 224);
const PEAK: RGBColor = RGBColor(43, 89, 140);
/// Told apart also by who sees few colours (Okabe and Ito 2008, two shades added).
const PALETTE: [RGBColor; 9] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(120, 120, 120),
    RGBColor(240, 228, 66),
    RGBColor(60, 40, 130),
];

/// The colour of the `n`th cell or stage.
pub(super) fn colour(n: usize) -> RGBColor {
    PALETTE[n % PALETTE.len()]
}

pub(super) const PLAN_COLOURS: [(&str, RGBColor); 2] = [("planned", PLANNED), ("peak", PEAK)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn svg(height: u32, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    draw(&area)?;
    area.present()?;
    drop(area);
    Ok(text)
}

/// An axis from 0 with room above the largest value.
fn axis(values: impl Iterator<Item = f64>) -> Range<f64> {
    let most = values.fold(0.0, f64::max);
    0.0..if most > 0.0 { most * 1.12 } else { 1.0 }
}

/// Latency (p50, ms) against word errors (percent) of every row, by its number, and the line of those that
/// no other beats in both. `None` where there is nothing to compare with.
pub(super) fn scatter(rows: &[Row]) -> Result<Option<String>> {
    let point = |(n, row): (usize, &Row)| Some((row.times.latency(0.5)?, row.text.percent()?, n + 1));
    let points: Vec<(f64, f64, usize)> = rows.iter().enumerate().filter_map(point).collect();
    if points.is_empty() {
        return Ok(None);
    }
    let drawn = svg(380, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(48)
            .y_label_area_size(60)
            .build_cartesian_2d(axis(points.iter().map(|p| p.0)), axis(points.iter().map(|p| p.1)))?;
        chart
            .configure_mesh()
            .x_desc("latency, median (ms)")
            .y_desc("word error rate (%)")
            .x_label_formatter(&whole)
            .label_style(LABELS)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .draw()?;
        let front = front(&points);
        chart.draw_series(LineSeries::new(steps(&front), FRONT.stroke_width(2)))?;
        chart.draw_series(front.iter().map(|at| Circle::new(*at, 9, FRONT.stroke_width(2))))?;
        for (x, y, n) in &points {
            let style = ("sans-serif", 14).into_font().color(&INK);
            let mark = EmptyElement::at((*x, *y))
                + Circle::new((0, 0), 5, colour(n - 1).filled())
                + Text::new(n.to_string(), (8, -14), style);
            chart.draw_series(std::iter::once(mark))?;
        }
        Ok(())
    })?;
    Ok(Some(drawn))
}

fn whole(value: &f64) -> String {
    format!("{value:.0}")
}

/// The points that no other beats in both, from the fastest on.
fn front(points: &[(f64, f64, usize)]) -> Vec<(f64, f64)> {
    let mut sorted: Vec<(f64, f64)> = points.iter().map(|p| (p.0, p.1)).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut front: Vec<(f64, f64)> = Vec::new();
    for point in sorted {
        if front.last().is_none_or(|last| point.1 < last.1) {
            front.push(point);
        }
    }
    front
}

/// What can be had at each latency.
fn steps(front: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let corners = front.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    corners.chain(front.last().copied()).collect()
}

/// A bar, its colour and where it is between the top (0) and the bottom (1) of its row.
struct Bar {
    row: usize,
    from: f64,
    to: f64,
    place: (f64, f64),
    colour: RGBColor,
}

/// Rows of horizontal bars, numbered from above.
fn bars(rows: usize, what: &str, bars: &[Bar]) -> Result<String> {
    svg(70 + BAR_HEIGHT * rows as u32, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(48)
            .y_label_area_size(40)
            .build_cartesian_2d(axis(bars.iter().map(|bar| bar.to)), (rows as f64)..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_desc(what)
            .x_label_formatter(&whole)
            .label_style(LABELS)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .draw()?;
        chart.draw_series(bars.iter().map(|bar| {
            let top = bar.row as f64;
            Rectangle::new([(bar.from, top + bar.place.0), (bar.to, top + bar.place.1)], bar.colour.filled())
        }))?;
        let style = ("sans-serif", 14).into_font().color(&INK);
        chart.draw_series((0..rows).map(|row| {
            EmptyElement::at((0.0, row as f64 + 0.5))
                + Text::new((row + 1).to_string(), (-24, -8), style.clone())
        }))?;
        Ok(())
    })
}

/// Mean milliseconds of each stage, one behind the other.
pub(super) fn stages(rows: &[Row]) -> Result<String> {
    let rows = &rows[..rows.len().min(MOST_BARS)];
    let stacked = rows.iter().enumerate().flat_map(|(n, row)| {
        let mut end = 0.0;
        Stage::ALL.iter().enumerate().map(move |(i, stage)| {
            let from = end;
            end += row.times.mean_stage(*stage);
            Bar { row: n, from, to: end, place: (0.15, 0.85), colour: colour(i) }
        })
    });
    bars(rows.len(), "mean of a dictation (ms)", &stacked.collect::<Vec<_>>())
}

/// What was planned and the most that was resident; `None` where the system does not tell.
pub(super) fn memory(rows: &[Row]) -> Result<Option<String>> {
    let rows = &rows[..rows.len().min(MOST_BARS)];
    let pair = |(n, row): (usize, &Row)| {
        let bar = |bytes: u64, place, colour| Bar { row: n, from: 0.0, to: mib(bytes), place, colour };
        Some([bar(row.planned_bytes?, (0.1, 0.9), PLANNED), bar(row.peak_bytes?, (0.3, 0.7), PEAK)])
    };
    let pairs: Vec<Bar> = rows.iter().enumerate().filter_map(pair).flatten().collect();
    (!pairs.is_empty()).then(|| bars(rows.len(), "memory (MiB)", &pairs)).transpose()
}

/// A point of a series: when, how much, and the number of its cell.
type Point = (usize, f64, usize);

/// Every dictation in the order in which they were done.
fn series(what: &str, points: &[Point], cells: usize) -> Result<String> {
    let points: Vec<&Point> = points.iter().step_by(points.len().div_ceil(MOST_POINTS).max(1)).collect();
    svg(300, |area| {
        let last = points.last().map_or(0, |p| p.0);
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(0..last + 1, axis(points.iter().map(|p| p.1)))?;
        chart
            .configure_mesh()
            .x_desc("dictation")
            .y_desc(what)
            .y_label_formatter(&whole)
            .label_style(LABELS)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .draw()?;
        for cell in 0..cells {
            let mine = points.iter().filter(|p| p.2 == cell);
            chart.draw_series(mine.map(|p| Circle::new((p.0, p.1), 2, colour(cell).filled())))?;
        }
        Ok(())
    })
}

/// Latency and resident memory over the run.
pub(super) fn over_time(summary: &Summary) -> Result<Vec<(&'static str, String)>> {
    let mut order: Vec<usize> = (0..summary.judged.len()).collect();
    order.sort_by_key(|i| summary.judged[*i].0.time_ms);
    let points = |value: &dyn Fn(usize) -> Option<f64>| -> Vec<Point> {
        let cell = |i: usize| summary.rows.iter().position(|row| row.cell == summary.judged[i].0.cell);
        order.iter().enumerate().filter_map(|(at, i)| Some((at, value(*i)?, cell(*i)?))).collect()
    };
    let latency = points(&|i| Some(summary.judged[i].0.latency_ms));
    let resident = points(&|i| summary.judged[i].0.memory.resident_bytes.map(mib));
    let mut charts = Vec::new();
    for (title, what, points) in
        [("Latency", "latency (ms)", latency), ("Resident memory", "resident (MiB)", resident)]
    {
        if !points.is_empty() {
            charts.push((title, series(what, &points, summary.rows.len())?));
        }
    }
    Ok(charts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_what_nothing_beats() {
        let points = [(3.0, 1.0, 1), (1.0, 3.0, 2), (2.0, 3.5, 3), (2.0, 2.0, 4), (4.0, 1.0, 5)];
        assert_eq!(front(&points), [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]);
        assert_eq!(steps(&front(&points[..2])), [(1.0, 3.0), (3.0, 3.0), (3.0, 1.0)]);
    }

    #[test]
    fn every_row_is_drawn() {
        let mut rows = vec![Row::default(); 3];
        for (n, row) in rows.iter_mut().enumerate() {
            row.times.latency_ms = vec![100.0 + n as f64];
            row.text.words = 10;
            row.times.stages_ms = Stage::ALL.iter().map(|s| (s.name(), vec![5.0])).collect();
            (row.planned_bytes, row.peak_bytes) = (Some(2 << 20), Some(1 << 20));
        }
        let count = |svg: &str, what: &str| svg.matches(what).count();
        assert_eq!(count(&scatter(&rows).unwrap().unwrap(), "<circle"), 3 + 1);
        let background = 1;
        assert_eq!(count(&stages(&rows).unwrap(), "<rect"), 3 * Stage::ALL.len() + background);
        assert_eq!(count(&memory(&rows).unwrap().unwrap(), "<rect"), 3 * 2 + background);
        assert!(scatter(&[Row::default()]).unwrap().is_none());
        assert!(memory(&[Row::default()]).unwrap().is_none());
    }
}
