//! Text from the fonts that the system has. Without any, icons alone are drawn.

use ab_glyph::{Font, FontVec, Glyph, PxScale, ScaleFont};
use std::path::{Path, PathBuf};
use tiny_skia::{Color, Pixmap, PremultipliedColorU8};

/// Where fonts are on Linux and the BSDs.
const SYSTEM_FONTS: [&str; 3] = ["/usr/share/fonts", "/usr/local/share/fonts", "/usr/X11R6/lib/X11/fonts"];
/// Faces for interface text, best first: what desktops ship, then what nearly every system has.
const FACES: [&str; 12] = [
    "Inter-Medium.otf",
    "Inter-Medium.ttf",
    "AdwaitaSans-Regular.ttf",
    "Cantarell-Regular.otf",
    "Ubuntu-R.ttf",
    "NotoSans-Medium.ttf",
    "NotoSans-Regular.ttf",
    "OpenSans-Regular.ttf",
    "Roboto-Regular.ttf",
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "FreeSans.ttf",
];
/// Faces asked for characters that the first has not.
const FALLBACKS: [&str; 7] = [
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJK-Medium.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-microhei.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
];
/// Limits of the search, for folders that link in circles or hold whole archives.
const MAX_DEPTH: usize = 6;
const MAX_FILES: usize = 20_000;
/// Larger files are not read: the largest collection in use has 20 MB.
const MAX_FONT_BYTES: u64 = 64 << 20;

/// Longer texts are cut.
const MAX_CHARS: usize = 600;

/// The faces in use, the first for all it has, and files that may hold the rest.
#[derive(Debug, Default)]
pub(super) struct Fonts {
    faces: Vec<FontVec>,
    fallbacks: Vec<PathBuf>,
}

/// Lines of placed glyphs, in pixels, the first line's top at 0.
#[derive(Debug, Default)]
pub(super) struct Block {
    glyphs: Vec<(usize, Glyph)>,
    pub(super) width: f32,
    pub(super) height: f32,
}

impl Fonts {
    /// Looks in the system's folders and `folders`.
    pub(super) fn find(folders: &[PathBuf]) -> Self {
        let mut files = Vec::new();
        for folder in folders.iter().map(PathBuf::as_path).chain(SYSTEM_FONTS.iter().map(Path::new)) {
            list_fonts(folder, MAX_DEPTH, &mut files);
        }
        let named = |name: &&str| {
            let found = files.iter().find(|path| path.file_name().is_some_and(|file| file == *name));
            found.cloned()
        };
        let plain_sans = files.iter().find(|path| is_plain_sans(path)).cloned();
        let faces = FACES.iter().filter_map(named).chain(plain_sans).find_map(|path| load(&path));
        // Only the last is taken from the end first, so the order is turned round.
        let fallbacks = FALLBACKS.iter().rev().filter_map(named).collect();
        Self { faces: faces.into_iter().collect(), fallbacks }
    }

    /// Sets `text` in lines of at most `max_width` pixels, broken at spaces; what does not fit in
    /// `max_lines` is cut with an ellipsis. `em` is the size of the letters in pixels.
    pub(super) fn lay_out(&mut self, text: &str, em: f32, max_width: f32, max_lines: usize) -> Block {
        if self.faces.is_empty() || max_lines == 0 {
            return Block::default();
        }
        let mut lines: Vec<String> = vec![String::new()];
        let end = text.char_indices().nth(MAX_CHARS).map_or(text.len(), |(at, _)| at);
        for word in text[..end].split_whitespace() {
            let last = lines.len() - 1;
            let line = &lines[last];
            let joined = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if line.is_empty() || self.width(&joined, em) <= max_width {
                lines[last] = joined;
            } else if lines.len() < max_lines {
                lines.push(word.to_owned());
            } else {
                lines[last] = format!("{joined}\u{2026}");
                break;
            }
        }
        let line_height = (em * 1.35).round();
        let mut block = Block { height: line_height * lines.len() as f32, ..Block::default() };
        for (number, line) in lines.iter().enumerate() {
            let line = self.shorten(line, em, max_width);
            let baseline = line_height * number as f32 + (line_height * 0.5 + em * 0.36).round();
            block.width = block.width.max(self.place(&line, em, baseline, &mut block.glyphs));
        }
        block
    }

    /// Draws `block` with its upper left corner at `(x, y)`.
    pub(super) fn draw(&self, pixmap: &mut Pixmap, block: &Block, x: f32, y: f32, color: Color) {
        for (face, glyph) in &block.glyphs {
            let Some(outline) = self.faces.get(*face).and_then(|font| font.outline_glyph(glyph.clone()))
            else {
                continue;
            };
            let (left, top) = (outline.px_bounds().min.x + x.round(), outline.px_bounds().min.y + y.round());
            outline.draw(|dx, dy, coverage| {
                blend(pixmap, left as i32 + dx as i32, top as i32 + dy as i32, color, coverage);
            });
        }
    }

    fn shorten(&mut self, line: &str, em: f32, max_width: f32) -> String {
        let mut line = line.to_owned();
        while self.width(&line, em) > max_width && line.chars().count() > 1 {
            line.truncate(
                line.trim_end_matches('\u{2026}').char_indices().next_back().map_or(0, |(at, _)| at),
            );
            line.truncate(line.trim_end().len());
            line.push('\u{2026}');
        }
        line
    }

    fn width(&mut self, line: &str, em: f32) -> f32 {
        self.place(line, em, 0.0, &mut Vec::new())
    }

    /// Appends the glyphs of one line and returns its width.
    fn place(&mut self, line: &str, em: f32, baseline: f32, glyphs: &mut Vec<(usize, Glyph)>) -> f32 {
        let mut x = 0.0;
        let mut previous = None;
        for character in line.chars() {
            let face = self.face_of(character);
            let Some(font) = self.faces.get(face) else { continue };
            let scale = PxScale::from(em * font.height_unscaled() / font.units_per_em().unwrap_or(1000.0));
            let scaled = font.as_scaled(scale);
            let id = scaled.glyph_id(character);
            if let Some((last_face, last_id)) = previous
                && last_face == face
            {
                x += scaled.kern(last_id, id);
            }
            glyphs.push((face, id.with_scale_and_position(scale, ab_glyph::point(x, baseline))));
            x += scaled.h_advance(id);
            previous = Some((face, id));
        }
        x
    }

    /// The face that has the character, loading further ones as needed; else the first.
    fn face_of(&mut self, character: char) -> usize {
        let has = |font: &FontVec| font.glyph_id(character).0 != 0;
        if let Some(face) = self.faces.iter().position(has) {
            return face;
        }
        while let Some(path) = self.fallbacks.pop() {
            let Some(font) = load(&path) else { continue };
            let found = has(&font);
            self.faces.push(font);
            if found {
                return self.faces.len() - 1;
            }
        }
        0
    }
}

fn load(path: &Path) -> Option<FontVec> {
    if std::fs::metadata(path).ok()?.len() > MAX_FONT_BYTES {
        return None;
    }
    FontVec::try_from_vec_and_index(std::fs::read(path).ok()?, 0).ok()
}

fn list_fonts(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if files.len() >= MAX_FILES {
            return;
        }
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "ttf" || end == "otf" || end == "ttc") {
            files.push(path);
        } else if depth > 1 && path.is_dir() {
            list_fonts(&path, depth - 1, files);
        }
    }
}

fn is_plain_sans(path: &Path) -> bool {
    let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { return false };
    let styled = ["Bold", "Italic", "Oblique", "Mono", "Light", "Thin", "Black", "Condensed"];
    name.contains("Sans") && !styled.iter().any(|style| name.contains(style))
}

fn blend(pixmap: &mut Pixmap, x: i32, y: i32, color: Color, coverage: f32) {
    let (Ok(column), Ok(row)) = (u32::try_from(x), u32::try_from(y)) else { return };
    if column >= pixmap.width() || row >= pixmap.height() {
        return;
    }
    let at = (row * pixmap.width() + column) as usize;
    let over = (coverage.clamp(0.0, 1.0) * color.alpha()).clamp(0.0, 1.0);
    let mix = |new: f32, old: u8| (new * over * 255.0 + f32::from(old) * (1.0 - over)).round() as u8;
    let old = pixmap.pixels()[at];
    let alpha = mix(1.0, old.alpha());
    let channel = |new: f32, old: u8| mix(new, old).min(alpha);
    let (red, green) = (channel(color.red(), old.red()), channel(color.green(), old.green()));
    let blue = channel(color.blue(), old.blue());
    if let Some(pixel) = PremultipliedColorU8::from_rgba(red, green, blue, alpha) {
        pixmap.pixels_mut()[at] = pixel;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_and_cut() {
        let mut fonts = Fonts::find(&[]);
        assert!(!fonts.faces.is_empty(), "a test machine needs a font: Debian package fonts-dejavu-core");
        let word = fonts.lay_out("Hello", 14.0, 300.0, 1);
        assert!(word.width > 20.0 && word.width < 60.0 && word.glyphs.len() == 5, "{word:?}");
        let text = "one two three four five six seven eight nine ten ".repeat(4);
        let block = fonts.lay_out(&text, 14.0, 120.0, 3);
        assert!(block.width <= 120.0);
        assert_eq!(block.height, 3.0 * 19.0);
        let endless = fonts.lay_out(&"w".repeat(500), 14.0, 120.0, 3);
        assert!(endless.width <= 120.0 && endless.glyphs.len() < 20);
    }

    #[test]
    fn without_fonts_there_is_no_text_and_no_fault() {
        let mut fonts = Fonts::default();
        let block = fonts.lay_out("Hello", 14.0, 300.0, 3);
        assert_eq!((block.width, block.height, block.glyphs.len()), (0.0, 0.0, 0));
        let mut pixmap = Pixmap::new(4, 4).unwrap();
        fonts.draw(&mut pixmap, &block, 0.0, 0.0, Color::WHITE);
        assert!(pixmap.data().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn glyphs_beyond_the_picture_are_left_out() {
        let mut fonts = Fonts::find(&[]);
        let block = fonts.lay_out("Éß漢\u{202e}", 30.0, 300.0, 1);
        let mut pixmap = Pixmap::new(9, 9).unwrap();
        fonts.draw(&mut pixmap, &block, -20.0, -20.0, Color::WHITE);
        fonts.draw(&mut pixmap, &block, 5.0, 5.0, Color::WHITE);
    }
}
