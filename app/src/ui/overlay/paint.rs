//! Draws what the overlay shows. Lengths are in points of 1/96 inch times the display's scale.

use super::super::shapes::{arc, color, fill, polyline, rounded_rect, stroke};
use super::meter::{BARS, Meter};
use super::text::{Block, Fonts};
use tiny_skia::{Color, PathBuilder, Pixmap};

const HEIGHT: f32 = 44.0;
const PADDING: f32 = 17.0;
const GAP: f32 = 11.0;
const ICON: f32 = 18.0;
const EM: f32 = 14.0;
const MAX_TEXT: f32 = 380.0;
const MAX_MODE: f32 = 120.0;
const MAX_LINES: usize = 3;
/// Width of the time, so that the pill does not change with each second.
const TIME: f32 = 34.0;
const BAR: f32 = 2.6;
const BAR_STEP: f32 = 4.8;
const METER_HEIGHT: f32 = 24.0;
/// Room for the shadow, where the window can be translucent.
const SHADOW: f32 = 12.0;

const BACKGROUND: u32 = 0x17191E;
const TEXT: u32 = 0xF1F2F4;
const DIM: u32 = 0x9BA1AC;
const RED: u32 = 0xFF5D55;
const GREEN: u32 = 0x4FC78E;
const AMBER: u32 = 0xF4B355;
const BLUE: u32 = 0x73ACFF;

/// What is drawn.
#[derive(Debug)]
pub(super) enum Scene<'a> {
    /// A dot, the meter, the time, the mode's name.
    Recording {
        /// The level and its history.
        meter: &'a Meter,
        /// Length of the recording.
        seconds: f32,
        /// The mode's name.
        mode: &'a str,
    },
    /// A turning arc.
    Working {
        /// How often it has turned.
        turns: f32,
    },
    /// A tick.
    Done,
    /// A text with a neutral sign.
    Message(&'a str),
    /// A text with a warning sign.
    Error(&'a str),
}

/// What the display wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Style {
    /// Pixels per point.
    pub(super) scale: f32,
    /// Whether pixels may be translucent; else every pixel inside the pill is opaque and the
    /// alpha channel only tells inside from outside.
    pub(super) translucent: bool,
}

/// Draws scenes. Keeps the fonts, and the last empty pill, which most pictures share with the one before.
#[derive(Debug, Default)]
pub(super) struct Painter {
    fonts: Fonts,
    empty: Option<(Style, (f32, f32), Pixmap)>,
}

impl Painter {
    /// Draws text with `fonts`.
    pub(super) fn new(fonts: Fonts) -> Self {
        Self { fonts, empty: None }
    }

    /// Draws `scene` into a picture of its own size.
    pub(super) fn paint(&mut self, scene: &Scene<'_>, style: Style) -> Pixmap {
        let scale = style.scale;
        match *scene {
            Scene::Recording { meter, seconds, mode } => {
                let time = self.lay_out(&clock(seconds), 2.0 * TIME, 1, scale);
                let mode = self.lay_out(mode, MAX_MODE, 1, scale);
                self.recording(meter, &time, &mode, style)
            }
            Scene::Working { turns } => self.labelled("Working\u{2026}", style, |pill, x, y| {
                stroke(pill, arc(x, y, 7.5 * scale, 0.0, 1.0), 2.2 * scale, color(TEXT, 0.14));
                let path = arc(x, y, 7.5 * scale, turns, turns + 0.3);
                stroke(pill, path, 2.2 * scale, color(BLUE, 1.0));
            }),
            Scene::Done => self.labelled("Done", style, |pill, x, y| {
                fill(pill, PathBuilder::from_circle(x, y, 9.0 * scale), color(GREEN, 1.0));
                let at = |dx: f32, dy: f32| (x + dx * scale, y + dy * scale);
                let tick = polyline(&[at(-4.0, 0.3), at(-1.2, 3.1), at(4.1, -2.9)]);
                stroke(pill, tick, 2.1 * scale, color(BACKGROUND, 1.0));
            }),
            Scene::Message(text) => {
                self.labelled(text, style, |pill, x, y| sign(pill, x, y, scale, color(BLUE, 1.0), 1.0))
            }
            Scene::Error(text) => {
                self.labelled(text, style, |pill, x, y| sign(pill, x, y, scale, color(AMBER, 1.0), -1.0))
            }
        }
    }

    fn lay_out(&mut self, text: &str, max_width: f32, max_lines: usize, scale: f32) -> Block {
        self.fonts.lay_out(text, EM * scale, max_width * scale, max_lines)
    }

    fn recording(&mut self, meter: &Meter, time: &Block, mode: &Block, style: Style) -> Pixmap {
        let scale = style.scale;
        let meter_width = BARS as f32 * BAR_STEP * scale;
        let texts = [(time, (TIME * scale).max(time.width), TEXT), (mode, mode.width, DIM)];
        let shown = texts.into_iter().filter(|(block, ..)| block.width > 0.0);
        let texts_width: f32 = shown.clone().map(|(_, width, _)| width + GAP * scale).sum();
        let width = (2.0 * PADDING + ICON - 4.0 + GAP) * scale + meter_width + texts_width;
        let (mut pixmap, left, top) = self.pill(width, HEIGHT * scale, style);

        let middle = top + HEIGHT * scale / 2.0;
        let mut x = left + PADDING * scale;
        let (dot_x, halo) = (x + 6.0 * scale, (5.0 + 4.5 * meter.level()) * scale);
        fill(&mut pixmap, PathBuilder::from_circle(dot_x, middle, halo), color(RED, 0.28));
        fill(&mut pixmap, PathBuilder::from_circle(dot_x, middle, 5.0 * scale), color(RED, 1.0));
        x += (ICON - 4.0 + GAP) * scale;

        for (place, &height) in meter.bars().iter().enumerate() {
            // The newest bar grows in at the right while the oldest fades out at the left.
            let fade = if place == 0 { 1.0 - meter.shift() } else { 1.0 };
            let age = place as f32 / BARS as f32;
            let bar_x = x + (place as f32 + 1.0 - meter.shift()) * BAR_STEP * scale - BAR_STEP * scale;
            let bar_height = (BAR + (METER_HEIGHT - BAR) * height) * scale;
            let path = rounded_rect(bar_x, middle - bar_height / 2.0, BAR * scale, bar_height, BAR * scale);
            fill(&mut pixmap, path, color(TEXT, (0.35 + 0.6 * age) * fade));
        }
        x += meter_width;
        for (block, width, rgb) in shown {
            x += GAP * scale;
            self.fonts.draw(&mut pixmap, block, x, middle - block.height / 2.0, color(rgb, 1.0));
            x += width;
        }
        pixmap
    }

    /// A pill with an icon, drawn around the point given to `icon`, and a text, if a font was found.
    fn labelled(&mut self, text: &str, style: Style, icon: impl FnOnce(&mut Pixmap, f32, f32)) -> Pixmap {
        let text = &self.lay_out(text, MAX_TEXT, MAX_LINES, style.scale);
        let scale = style.scale;
        let text_width = if text.width > 0.0 { text.width + GAP * scale } else { 0.0 };
        let height = (HEIGHT * scale).max(text.height + 22.0 * scale);
        let (mut pixmap, left, top) = self.pill((2.0 * PADDING + ICON) * scale + text_width, height, style);
        let middle = top + height / 2.0;
        icon(&mut pixmap, left + (PADDING + ICON / 2.0) * scale, middle);
        let text_x = left + (PADDING + ICON + GAP) * scale;
        self.fonts.draw(&mut pixmap, text, text_x, middle - text.height / 2.0, color(TEXT, 1.0));
        pixmap
    }

    /// An empty pill and where its upper left corner is in the picture.
    fn pill(&mut self, width: f32, height: f32, style: Style) -> (Pixmap, f32, f32) {
        let margin = margin(style);
        if let Some((kept_style, size, kept)) = &self.empty
            && (*kept_style, *size) == (style, (width, height))
        {
            return (kept.clone(), margin, margin);
        }
        let pixmap = empty_pill(width.ceil(), height.ceil(), style);
        self.empty = Some((style, (width, height), pixmap.clone()));
        (pixmap, margin, margin)
    }
}

/// Whole minutes and seconds, as in `1:07`. What is not a number is nothing.
fn clock(seconds: f32) -> String {
    let seconds = seconds.max(0.0) as u32;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// A disc with an `i`, or upside down (`up` -1) an exclamation mark.
fn sign(pixmap: &mut Pixmap, x: f32, y: f32, scale: f32, disc: Color, up: f32) {
    fill(pixmap, PathBuilder::from_circle(x, y, 9.0 * scale), disc);
    let ink = color(BACKGROUND, 1.0);
    fill(pixmap, PathBuilder::from_circle(x, y - up * 4.3 * scale, 1.35 * scale), ink);
    let stem = polyline(&[(x, y - up * 0.9 * scale), (x, y + up * 4.4 * scale)]);
    stroke(pixmap, stem, 2.2 * scale, ink);
}

/// Room around the pill, pixels.
fn margin(style: Style) -> f32 {
    if style.translucent { (SHADOW * style.scale).ceil() } else { 0.0 }
}

fn empty_pill(width: f32, height: f32, style: Style) -> Pixmap {
    let (scale, margin) = (style.scale, margin(style));
    let size = |length: f32| (length + 2.0 * margin).clamp(1.0, 8192.0) as u32;
    let Some(mut pixmap) = Pixmap::new(size(width), size(height)) else {
        unreachable!("both sides are between 1 and 8192")
    };
    let radius = (HEIGHT / 2.0) * scale;
    let grown = |by: f32| {
        let (x, y) = (margin - by, margin - by);
        rounded_rect(x, y, width + 2.0 * by, height + 2.0 * by, radius + by)
    };
    if style.translucent {
        // Layers of a faint black, ever smaller, add up to a soft shadow.
        for layer in 0..8u8 {
            let by = (SHADOW - 3.0) * scale * (1.0 - f32::from(layer) / 8.0);
            let path = grown(by)
                .and_then(|path| path.transform(tiny_skia::Transform::from_translate(0.0, 2.0 * scale)));
            fill(&mut pixmap, path, color(0x000000, 0.028));
        }
        fill(&mut pixmap, grown(0.0), color(BACKGROUND, 0.95));
    } else {
        fill(&mut pixmap, grown(0.0), color(BACKGROUND, 1.0));
    }
    stroke(&mut pixmap, grown(-0.5 * scale), scale, color(0xFFFFFF, 0.10));
    pixmap
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn scenes(meter: &Meter) -> Vec<Scene<'_>> {
        vec![
            Scene::Recording { meter, seconds: 61.0, mode: "dictate" },
            Scene::Working { turns: 0.4 },
            Scene::Done,
            Scene::Message("Copied: press Ctrl+V where the text should go"),
            Scene::Error("No microphone answers; choose one with undertone setup"),
        ]
    }

    #[test]
    fn every_state_is_a_pill_of_its_own_that_grows_with_the_display() {
        let mut meter = Meter::new(Instant::now());
        meter.hear(0.2, Instant::now());
        meter.advance(Instant::now() + Duration::from_millis(20));
        for mut painter in [Painter::new(Fonts::find(&[])), Painter::default()] {
            let mut pictures = Vec::new();
            for scene in scenes(&meter) {
                let one = painter.paint(&scene, Style { scale: 1.0, translucent: true });
                let two = painter.paint(&scene, Style { scale: 2.0, translucent: true });
                assert!(one.width() >= 52 && one.height() >= 68, "{scene:?}");
                assert!(two.width().abs_diff(2 * one.width()) <= 12, "{} {}", one.width(), two.width());
                assert_eq!(one.pixel(0, 0).unwrap().alpha(), 0, "the corner is clear");
                let ink = one.pixels().iter().filter(|pixel| pixel.red() > 0x60 || pixel.green() > 0x60);
                assert!(ink.count() > 20, "{scene:?} shows something");
                pictures.push(one.data().to_vec());
            }
            pictures.dedup();
            assert_eq!(pictures.len(), 5);
        }
    }

    #[test]
    fn an_opaque_pill_has_no_shadow_and_its_rows_are_solid() {
        let style = Style { scale: 1.0, translucent: false };
        let picture = Painter::default().paint(&Scene::Done, style);
        assert_eq!(picture.height(), 44);
        for row in picture.pixels().chunks(picture.width() as usize) {
            let solid: Vec<usize> = (0..row.len()).filter(|&x| row[x].alpha() >= 128).collect();
            assert_eq!(solid.last().unwrap() - solid[0] + 1, solid.len());
        }
    }

    #[test]
    fn times_are_minutes_and_seconds() {
        assert_eq!(clock(67.9), "1:07");
        assert_eq!(clock(-1.0), "0:00");
        assert_eq!(clock(f32::NAN), "0:00");
    }
}
