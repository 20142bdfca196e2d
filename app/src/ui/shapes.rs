//! The few shapes that the overlay and the tray icon are drawn with.

use tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, Transform};

/// Length of a cubic's handle that makes a quarter of a circle, as part of the radius.
const QUARTER: f32 = 0.552_284_8;

/// A colour of `0xRRGGBB` with an opacity of 0 to 1.
pub(super) fn color(rgb: u32, opacity: f32) -> Color {
    let [_, red, green, blue] = rgb.to_be_bytes();
    let mut color = Color::from_rgba8(red, green, blue, 255);
    color.set_alpha(opacity);
    color
}

/// A rectangle whose corners are quarters of circles; `None` where it has no area.
pub(super) fn rounded_rect(x: f32, y: f32, width: f32, height: f32, radius: f32) -> Option<Path> {
    let radius = radius.min(width / 2.0).min(height / 2.0);
    let handle = radius * (1.0 - QUARTER);
    let (right, bottom) = (x + width, y + height);
    let mut path = PathBuilder::new();
    path.move_to(x + radius, y);
    path.line_to(right - radius, y);
    path.cubic_to(right - handle, y, right, y + handle, right, y + radius);
    path.line_to(right, bottom - radius);
    path.cubic_to(right, bottom - handle, right - handle, bottom, right - radius, bottom);
    path.line_to(x + radius, bottom);
    path.cubic_to(x + handle, bottom, x, bottom - handle, x, bottom - radius);
    path.line_to(x, y + radius);
    path.cubic_to(x, y + handle, x + handle, y, x + radius, y);
    path.close();
    path.finish()
}

/// A line through `points`.
pub(super) fn polyline(points: &[(f32, f32)]) -> Option<Path> {
    let (first, rest) = points.split_first()?;
    let mut path = PathBuilder::new();
    path.move_to(first.0, first.1);
    rest.iter().for_each(|point| path.line_to(point.0, point.1));
    path.finish()
}

/// A part of a circle; angles in turns, clockwise from the top.
pub(super) fn arc(x: f32, y: f32, radius: f32, from: f32, to: f32) -> Option<Path> {
    const STEPS: u16 = 48;
    let point = |step| {
        let turn = from + (to - from) * f32::from(step) / f32::from(STEPS);
        let (sin, cos) = (turn * std::f32::consts::TAU).sin_cos();
        (x + radius * sin, y - radius * cos)
    };
    polyline(&(0..=STEPS).map(point).collect::<Vec<_>>())
}

/// Fills `path`, if there is one.
pub(super) fn fill(pixmap: &mut Pixmap, path: Option<Path>, color: Color) {
    if let Some(path) = path {
        pixmap.fill_path(&path, &solid(color), FillRule::Winding, Transform::identity(), None);
    }
}

/// Draws along `path`, if there is one, with round ends.
pub(super) fn stroke(pixmap: &mut Pixmap, path: Option<Path>, width: f32, color: Color) {
    if let Some(path) = path {
        let stroke =
            Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
        pixmap.stroke_path(&path, &solid(color), &stroke, Transform::identity(), None);
    }
}

fn solid(color: Color) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(color);
    paint
}
