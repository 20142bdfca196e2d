//! The overlay's window on an X display.
//!
//! Override-redirect, so that no window manager gives it focus or a taskbar entry, and with an empty
//! input region (SHAPE 1.1), so that clicks reach what is beneath.

use super::super::Problem;
use super::Placement;
use std::time::{Duration, Instant};
use tiny_skia::Pixmap;
use x11rb::connection::{Connection, RequestConnection};
use x11rb::errors::{ConnectionError, ReplyError, ReplyOrIdError};
use x11rb::image::{BitsPerPixel, Image, ImageOrder, PixelLayout, ScanlinePad};
use x11rb::protocol::Event;
use x11rb::protocol::randr::{self, ConnectionExt as _};
use x11rb::protocol::shape::{self, ConnectionExt as _};
use x11rb::protocol::xproto::*;
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// Distance from the edge of the monitor, points of 1/96 inch; panels and docks are there.
const EDGE: f32 = 64.0;
/// How often the window may raise itself: others, such as screen lockers, do the same.
const RAISE: Duration = Duration::from_millis(500);

x11rb::atom_manager! {
    /// Names that the X display knows by number.
    Atoms: AtomsCookie {
        _NET_ACTIVE_WINDOW,
        _NET_WM_NAME,
        _NET_WM_STATE,
        _NET_WM_STATE_ABOVE,
        _NET_WM_STATE_SKIP_PAGER,
        _NET_WM_STATE_SKIP_TASKBAR,
        _NET_WM_WINDOW_TYPE,
        _NET_WM_WINDOW_TYPE_NOTIFICATION,
        UTF8_STRING,
    }
}

/// A connection to an X display.
pub(super) struct Display {
    connection: RustConnection,
    screen: usize,
    atoms: Atoms,
    compositor: Atom,
}

impl From<ConnectionError> for Problem {
    fn from(error: ConnectionError) -> Self {
        Self::DisplayLost(error.to_string())
    }
}

impl From<ReplyError> for Problem {
    fn from(error: ReplyError) -> Self {
        Self::DisplayLost(error.to_string())
    }
}

impl From<ReplyOrIdError> for Problem {
    fn from(error: ReplyOrIdError) -> Self {
        Self::DisplayLost(error.to_string())
    }
}

impl Display {
    /// Connects to `name`, or where the X library would.
    pub(super) fn connect(name: Option<&str>) -> Result<Self, Problem> {
        let (connection, screen) =
            RustConnection::connect(name).map_err(|error| Problem::NoDisplay(error.to_string()))?;
        for (extension, name) in [(shape::X11_EXTENSION_NAME, "SHAPE"), (randr::X11_EXTENSION_NAME, "RANDR")]
        {
            if connection.extension_information(extension)?.is_none() {
                return Err(Problem::NoExtension(name));
            }
        }
        let version = connection.shape_query_version()?.reply()?;
        if (version.major_version, version.minor_version) < (1, 1) {
            return Err(Problem::NoExtension("SHAPE 1.1"));
        }
        connection.randr_query_version(1, 5)?.reply()?;
        let atoms = Atoms::new(&connection)?.reply()?;
        let compositor =
            connection.intern_atom(false, format!("_NET_WM_CM_S{screen}").as_bytes())?.reply()?.atom;
        Ok(Self { connection, screen, atoms, compositor })
    }

    /// Reads and forgets what the server has sent.
    pub(super) fn discard_events(&self) -> Result<(), Problem> {
        self.connection.flush()?;
        while self.connection.poll_for_event()?.is_some() {}
        Ok(())
    }

    fn root(&self) -> &Screen {
        &self.connection.setup().roots[self.screen]
    }

    /// Pixels per point: what the desktop has set as `Xft.dpi`, over 96.
    fn scale(&self) -> f32 {
        let resources = x11rb::resource_manager::new_from_resource_manager(&self.connection).ok().flatten();
        let dpi = resources.and_then(|found| found.get_value::<f32>("Xft.dpi", "Xft.Dpi").ok().flatten());
        dpi.filter(|dpi| dpi.is_finite()).map_or(1.0, |dpi| (dpi / 96.0).clamp(0.5, 4.0))
    }

    /// The visual with an alpha channel, if a compositor is there to use it.
    fn translucent_visual(&self) -> Result<Option<Visualid>, Problem> {
        if self.connection.get_selection_owner(self.compositor)?.reply()?.owner == x11rb::NONE {
            return Ok(None);
        }
        let depth = self.root().allowed_depths.iter().find(|depth| depth.depth == 32);
        let is_bgra = |visual: &&Visualtype| {
            visual.class == VisualClass::TRUE_COLOR
                && visual.red_mask == 0xFF_0000
                && visual.blue_mask == 0xFF
        };
        Ok(depth.and_then(|depth| depth.visuals.iter().find(is_bgra)).map(|visual| visual.visual_id))
    }

    /// The monitor that has the window in use, else the pointer's, else the whole screen.
    fn monitor(&self) -> Result<Rectangle, Problem> {
        let monitors = self.connection.randr_get_monitors(self.root().root, true)?.reply();
        let monitors = monitors.map(|reply| reply.monitors).unwrap_or_default();
        let (x, y) = match self.focus_centre() {
            Some(point) => point,
            None => {
                let pointer = self.connection.query_pointer(self.root().root)?.reply()?;
                (pointer.root_x, pointer.root_y)
            }
        };
        let has = |monitor: &&randr::MonitorInfo| {
            let inside = |at: i16, start: i16, length: u16| {
                (i32::from(start)..i32::from(start) + i32::from(length)).contains(&i32::from(at))
            };
            inside(x, monitor.x, monitor.width) && inside(y, monitor.y, monitor.height)
        };
        let found = monitors.iter().find(has).or_else(|| monitors.iter().find(|monitor| monitor.primary));
        let whole = || Rectangle {
            x: 0,
            y: 0,
            width: self.root().width_in_pixels,
            height: self.root().height_in_pixels,
        };
        Ok(found.map_or_else(whole, |at| Rectangle { x: at.x, y: at.y, width: at.width, height: at.height }))
    }

    /// Centre of the window in use. Windows come and go, so errors mean that there is none.
    fn focus_centre(&self) -> Option<(i16, i16)> {
        let (connection, root) = (&self.connection, self.root().root);
        let active = connection
            .get_property(false, root, self.atoms._NET_ACTIVE_WINDOW, AtomEnum::WINDOW, 0, 1)
            .ok()?
            .reply()
            .ok()
            .and_then(|property| property.value32()?.next());
        let window = match active {
            Some(window) if window != x11rb::NONE => window,
            _ => connection.get_input_focus().ok()?.reply().ok()?.focus,
        };
        // The numbers 0 and 1 stand for no window and the pointer's root.
        if window <= 1 || window == root {
            return None;
        }
        let size = connection.get_geometry(window).ok()?.reply().ok()?;
        let (x, y) = (i16::try_from(size.width / 2).ok()?, i16::try_from(size.height / 2).ok()?);
        let centre = connection.translate_coordinates(window, root, x, y).ok()?.reply().ok()?;
        Some((centre.dst_x, centre.dst_y))
    }
}

/// The window, from its first picture until it is dropped.
pub(super) struct Panel<'a> {
    display: &'a Display,
    window: Window,
    context: Gcontext,
    colormap: Option<Colormap>,
    depth: u8,
    layout: PixelLayout,
    monitor: Rectangle,
    placement: Placement,
    scale: f32,
    size: (u16, u16),
    raised: Instant,
    covered: bool,
}

impl<'a> Panel<'a> {
    /// Prepares a window on the monitor in use; it appears with its first picture.
    pub(super) fn open(display: &'a Display, placement: Placement) -> Result<Self, Problem> {
        let (connection, root) = (&display.connection, display.root());
        let translucent = display.translucent_visual()?;
        let (depth, visual) = translucent.map_or((root.root_depth, root.root_visual), |visual| (32, visual));
        let layout = visual_layout(root, visual)?;
        let colormap = match translucent {
            Some(_) => {
                let colormap = connection.generate_id()?;
                connection.create_colormap(ColormapAlloc::NONE, colormap, root.root, visual)?;
                Some(colormap)
            }
            None => None,
        };
        let attributes = CreateWindowAux::new()
            .background_pixmap(x11rb::NONE)
            .border_pixel(0)
            .colormap(colormap)
            .override_redirect(1)
            .event_mask(EventMask::EXPOSURE | EventMask::VISIBILITY_CHANGE);
        let (window, context) = (connection.generate_id()?, connection.generate_id()?);
        let class = WindowClass::INPUT_OUTPUT;
        connection.create_window(depth, window, root.root, 0, 0, 1, 1, 0, class, visual, &attributes)?;
        connection.create_gc(context, window, &CreateGCAux::new().graphics_exposures(0))?;
        connection.shape_rectangles(
            shape::SO::SET,
            shape::SK::INPUT,
            ClipOrdering::UNSORTED,
            window,
            0,
            0,
            &[],
        )?;
        describe(display, window)?;
        // Tells of windows that come to lie above; only while there is something to cover.
        watch_root(display, EventMask::SUBSTRUCTURE_NOTIFY)?;
        let (monitor, scale, raised) = (display.monitor()?, display.scale(), Instant::now());
        let size = (0, 0);
        Ok(Self {
            display,
            window,
            context,
            colormap,
            depth,
            layout,
            monitor,
            placement,
            scale,
            size,
            raised,
            covered: false,
        })
    }

    /// Pixels per point of 1/96 inch.
    pub(super) fn scale(&self) -> f32 {
        self.scale
    }

    /// Whether a compositor blends the window with what is beneath.
    pub(super) fn is_translucent(&self) -> bool {
        self.colormap.is_some()
    }

    /// Shows `picture`, the window taking its size.
    pub(super) fn put(&mut self, picture: &Pixmap) -> Result<(), Problem> {
        let connection = &self.display.connection;
        let (Ok(width), Ok(height)) = (u16::try_from(picture.width()), u16::try_from(picture.height()))
        else {
            return Ok(());
        };
        if self.size != (width, height) {
            let first = self.size == (0, 0);
            self.size = (width, height);
            let (x, y) = self.corner();
            let place = ConfigureWindowAux::new().x(x).y(y).width(u32::from(width)).height(u32::from(height));
            connection.configure_window(self.window, &place.stack_mode(StackMode::ABOVE))?;
            if !self.is_translucent() {
                let rows = solid_rows(picture);
                let (set, kind) = (shape::SO::SET, shape::SK::BOUNDING);
                connection.shape_rectangles(set, kind, ClipOrdering::YX_BANDED, self.window, 0, 0, &rows)?;
            }
            if first {
                connection.map_window(self.window)?;
            }
        }
        // X wants blue first (little-endian), alpha already multiplied in, as it is here.
        let mut pixels = Vec::with_capacity(picture.data().len());
        for pixel in picture.pixels() {
            pixels.extend_from_slice(&[pixel.blue(), pixel.green(), pixel.red(), pixel.alpha()]);
        }
        let pad = (ScanlinePad::Pad32, BitsPerPixel::B32, ImageOrder::LsbFirst);
        let depth = if self.is_translucent() { self.depth } else { 24 };
        let image = Image::new(width, height, pad.0, depth, pad.1, pad.2, pixels.into())
            .map_err(ConnectionError::from)?;
        let setup = connection.setup();
        let image = match self.is_translucent() {
            true => image.native(setup).map_err(ConnectionError::from)?,
            false => image.reencode(bgrx()?, self.layout, setup).map_err(ConnectionError::from)?,
        };
        image.put(connection, self.window, self.context, 0, 0)?;
        connection.flush()?;
        Ok(())
    }

    /// Keeps the window on top; true when its picture must be drawn anew.
    pub(super) fn look_after(&mut self, now: Instant) -> Result<bool, Problem> {
        let connection = &self.display.connection;
        let mut exposed = false;
        while let Some(event) = connection.poll_for_event()? {
            match event {
                Event::Expose(_) => exposed = true,
                Event::VisibilityNotify(seen) => self.covered |= seen.state != Visibility::UNOBSCURED,
                Event::MapNotify(mapped) => self.covered |= mapped.window != self.window,
                Event::ConfigureNotify(moved) => self.covered |= moved.above_sibling == self.window,
                _ => {}
            }
        }
        if self.covered && now >= self.raised + RAISE {
            connection
                .configure_window(self.window, &ConfigureWindowAux::new().stack_mode(StackMode::ABOVE))?;
            connection.flush()?;
            (self.covered, self.raised) = (false, now);
        }
        Ok(exposed)
    }

    fn corner(&self) -> (i32, i32) {
        let Rectangle { x, y, width, height } = self.monitor;
        let edge = (EDGE * self.scale) as i32;
        let from_top = match self.placement {
            Placement::TopCentre => edge,
            Placement::BottomCentre => i32::from(height) - i32::from(self.size.1) - edge,
        };
        (i32::from(x) + (i32::from(width) - i32::from(self.size.0)) / 2, i32::from(y) + from_top.max(0))
    }
}

impl Drop for Panel<'_> {
    fn drop(&mut self) {
        let connection = &self.display.connection;
        let closed = [
            connection.free_gc(self.context).map(drop),
            connection.destroy_window(self.window).map(drop),
            self.colormap.map_or(Ok(()), |colormap| connection.free_colormap(colormap).map(drop)),
            connection.flush(),
        ];
        let unwatched = watch_root(self.display, EventMask::NO_EVENT);
        if closed.iter().any(Result::is_err) || unwatched.is_err() {
            tracing::debug!("the overlay's window went with its display");
        }
    }
}

/// What pagers, compositors and screen readers read off the window.
fn describe(display: &Display, window: Window) -> Result<(), Problem> {
    let (connection, atoms) = (&display.connection, &display.atoms);
    let mode = PropMode::REPLACE;
    let kind = [atoms._NET_WM_WINDOW_TYPE_NOTIFICATION];
    let state = [atoms._NET_WM_STATE_ABOVE, atoms._NET_WM_STATE_SKIP_TASKBAR, atoms._NET_WM_STATE_SKIP_PAGER];
    connection.change_property32(mode, window, atoms._NET_WM_WINDOW_TYPE, AtomEnum::ATOM, &kind)?;
    connection.change_property32(mode, window, atoms._NET_WM_STATE, AtomEnum::ATOM, &state)?;
    connection.change_property8(mode, window, atoms._NET_WM_NAME, atoms.UTF8_STRING, b"Undertone")?;
    connection.change_property8(
        mode,
        window,
        AtomEnum::WM_CLASS,
        AtomEnum::STRING,
        b"undertone\0Undertone\0",
    )?;
    Ok(())
}

fn watch_root(display: &Display, mask: EventMask) -> Result<(), Problem> {
    let attributes = ChangeWindowAttributesAux::new().event_mask(mask);
    display.connection.change_window_attributes(display.root().root, &attributes)?;
    display.connection.flush()?;
    Ok(())
}

fn visual_layout(screen: &Screen, visual: Visualid) -> Result<PixelLayout, Problem> {
    let visuals = screen.allowed_depths.iter().flat_map(|depth| &depth.visuals);
    let found = visuals.copied().find(|candidate| candidate.visual_id == visual);
    let layout = found.map(PixelLayout::from_visual_type).and_then(Result::ok);
    layout.ok_or(Problem::NoExtension("TrueColor"))
}

/// The layout of [`Panel::put`]'s pixels, alpha left out.
fn bgrx() -> Result<PixelLayout, ConnectionError> {
    let component = |shift| x11rb::image::ColorComponent::new(8, shift);
    Ok(PixelLayout::new(component(16)?, component(8)?, component(0)?))
}

/// The window's shape without a compositor: of each row, what lies inside the pill.
fn solid_rows(picture: &Pixmap) -> Vec<Rectangle> {
    let rows = picture.pixels().chunks(picture.width() as usize).enumerate();
    rows.filter_map(|(y, row)| {
        let solid = |pixel: &tiny_skia::PremultipliedColorU8| pixel.alpha() >= 128;
        let (first, last) = (row.iter().position(solid)?, row.iter().rposition(solid)?);
        let (x, y) = (i16::try_from(first).ok()?, i16::try_from(y).ok()?);
        Some(Rectangle { x, y, width: u16::try_from(last - first + 1).ok()?, height: 1 })
    })
    .collect()
}
