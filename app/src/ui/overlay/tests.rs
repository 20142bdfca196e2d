use super::super::testing::{eventually, x_server};
use super::*;
use std::sync::mpsc::{Receiver, sync_channel};
use x11rb::connection::Connection;
use x11rb::protocol::randr::{ConnectionExt as _, MonitorInfo};
use x11rb::protocol::shape::{ConnectionExt as _, SK};
use x11rb::protocol::xproto::*;
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// Another program on the overlay's display, that looks at it.
struct Observer {
    connection: RustConnection,
    root: Window,
}

impl Observer {
    fn on(display: &str) -> Self {
        let (connection, screen) = RustConnection::connect(Some(display)).unwrap();
        let root = connection.setup().roots[screen].root;
        Self { connection, root }
    }

    /// The overlay's window, where it is mapped.
    fn overlay(&self) -> Option<Window> {
        let tree = self.connection.query_tree(self.root).ok()?.reply().ok()?;
        tree.children.into_iter().find(|&window| {
            let class =
                self.connection.get_property(false, window, AtomEnum::WM_CLASS, AtomEnum::STRING, 0, 64);
            let class = class.unwrap().reply().map(|class| class.value).unwrap_or_default();
            class.starts_with(b"undertone") && self.is_mapped(window)
        })
    }

    fn is_mapped(&self, window: Window) -> bool {
        let attributes = self.connection.get_window_attributes(window).unwrap().reply();
        attributes.is_ok_and(|attributes| attributes.map_state == MapState::VIEWABLE)
    }

    fn geometry(&self, window: Window) -> GetGeometryReply {
        self.connection.get_geometry(window).unwrap().reply().unwrap()
    }

    /// The colour at the middle of the pill's left rim, free of icons and text.
    fn paint(&self, window: Window) -> Option<Vec<u8>> {
        let at = self.geometry(window);
        let (x, y) = (8 + (at.height as i16 - 44) / 2, at.height as i16 / 2);
        let image = self.connection.get_image(ImageFormat::Z_PIXMAP, window, x, y, 1, 1, !0).ok()?;
        image.reply().ok().map(|image| image.data[..3].to_vec())
    }

    fn is_painted(&self, window: Window) -> Option<()> {
        (self.paint(window)? == [0x1E, 0x19, 0x17]).then_some(())
    }

    fn window(&self, x: i16, y: i16, width: u16, height: u16) -> Window {
        let window = self.connection.generate_id().unwrap();
        let attributes = CreateWindowAux::new().override_redirect(1).background_pixel(0xFFFFFF);
        let class = WindowClass::INPUT_OUTPUT;
        let made = self.connection.create_window(
            0,
            window,
            self.root,
            x,
            y,
            width,
            height,
            0,
            class,
            0,
            &attributes,
        );
        made.unwrap().check().unwrap();
        self.connection.map_window(window).unwrap().check().unwrap();
        window
    }

    fn focus(&self, window: Window) {
        let focus = self.connection.set_input_focus(InputFocus::PARENT, window, x11rb::CURRENT_TIME);
        focus.unwrap().check().unwrap();
    }
}

fn start(display: &str, placement: Placement) -> (Overlay, Receiver<Event>) {
    let (events, reports) = sync_channel(8);
    let options = Options { display: Some(display.into()), placement, ..Options::default() };
    (Overlay::start(options, &events), reports)
}

fn recording(level: f32) -> State {
    State::Recording { level, seconds: 3.2, mode: "dictate".into() }
}

#[test]
fn takes_neither_focus_nor_clicks_and_goes_when_hidden() {
    let (_server, display) = x_server();
    let observer = Observer::on(&display);
    let editor = observer.window(0, 0, 1280, 720);
    observer.focus(editor);
    let (overlay, reports) = start(&display, Placement::BottomCentre);
    for _ in 0..10 {
        overlay.show(recording(0.2));
    }
    let window = eventually("the overlay", || observer.overlay());
    eventually("its picture", || observer.is_painted(window));
    let at = observer.geometry(window);
    assert_eq!((at.height, at.y), (44, 720 - 44 - 64));
    assert!((at.x + at.width as i16 / 2).abs_diff(640) <= 1, "centred: {at:?}");
    let attributes = observer.connection.get_window_attributes(window).unwrap().reply().unwrap();
    assert!(attributes.override_redirect);
    let clicks = observer.connection.shape_get_rectangles(window, SK::INPUT).unwrap().reply().unwrap();
    assert!(clicks.rectangles.is_empty());

    let (x, y) = (at.x + at.width as i16 / 2, at.y + 22);
    observer.connection.warp_pointer(x11rb::NONE, observer.root, 0, 0, 0, 0, x, y).unwrap();
    let pointer = observer.connection.query_pointer(observer.root).unwrap().reply().unwrap();
    assert_eq!(pointer.child, editor, "what is beneath has the pointer");
    assert_eq!(observer.connection.get_input_focus().unwrap().reply().unwrap().focus, editor);

    overlay.show(State::Hidden);
    eventually("hiding", || observer.overlay().is_none().then_some(()));
    assert_eq!(observer.connection.get_input_focus().unwrap().reply().unwrap().focus, editor);
    overlay.show(State::Working);
    eventually("showing again", || observer.overlay());
    drop(overlay);
    eventually("the end", || observer.overlay().is_none().then_some(()));
    assert!(reports.try_recv().is_err(), "nothing to report");
}

#[test]
fn comes_back_to_the_top_and_is_redrawn() {
    let (_server, display) = x_server();
    let observer = Observer::on(&display);
    let (overlay, _reports) = start(&display, Placement::TopCentre);
    overlay.show(State::Message("A text long enough to stay for a few seconds. ".repeat(4)));
    let window = eventually("the overlay", || observer.overlay());
    eventually("its picture", || observer.is_painted(window));
    assert_eq!(observer.geometry(window).y, 64);
    let cover = observer.window(0, 0, 1280, 720);
    let top =
        || observer.connection.query_tree(observer.root).unwrap().reply().unwrap().children.last().copied();
    eventually("coming to the top", || (top() == Some(window)).then_some(()));
    observer.connection.destroy_window(cover).unwrap().check().unwrap();
    observer.connection.clear_area(true, window, 0, 0, 0, 0).unwrap().check().unwrap();
    eventually("its picture again", || observer.is_painted(window));
}

#[test]
fn done_hides_itself() {
    let (_server, display) = x_server();
    let observer = Observer::on(&display);
    let (overlay, _reports) = start(&display, Placement::BottomCentre);
    overlay.show(State::Done);
    eventually("the overlay", || observer.overlay());
    eventually("its going", || observer.overlay().is_none().then_some(()));
    overlay.show(State::Error("Again".into()));
    eventually("the next state", || observer.overlay());
}

#[test]
fn is_on_the_monitor_and_at_the_size_of_the_desktop() {
    let (_server, display) = x_server();
    let observer = Observer::on(&display);
    for (name, x) in [("left", 0), ("right", 640)] {
        let name = observer.connection.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
        let size = (640, 720, 170, 190);
        let (width, height, width_in_millimeters, height_in_millimeters) = size;
        let outputs = Vec::new();
        let (primary, automatic, y) = (x == 0, false, 0);
        let monitor = MonitorInfo {
            name,
            primary,
            automatic,
            x,
            y,
            width,
            height,
            width_in_millimeters,
            height_in_millimeters,
            outputs,
        };
        observer.connection.randr_set_monitor(observer.root, monitor).unwrap().check().unwrap();
    }
    let (mode, kind) = (PropMode::REPLACE, AtomEnum::STRING);
    let manager = AtomEnum::RESOURCE_MANAGER;
    observer.connection.change_property8(mode, observer.root, manager, kind, b"Xft.dpi:\t144\n").unwrap();
    let editor = observer.window(900, 100, 300, 300);
    observer.focus(editor);
    let (overlay, _reports) = start(&display, Placement::BottomCentre);
    overlay.show(State::Working);
    let window = eventually("the overlay", || observer.overlay());
    let at = observer.geometry(window);
    assert_eq!(at.height, 66, "one and a half times as large");
    assert!((at.x + at.width as i16 / 2).abs_diff(960) <= 1, "centred on the right monitor: {at:?}");
}

#[test]
fn is_translucent_under_a_compositor_and_shaped_without() {
    let (_server, display) = x_server();
    let observer = Observer::on(&display);
    let (overlay, _reports) = start(&display, Placement::BottomCentre);
    overlay.show(State::Working);
    let window = eventually("the overlay", || observer.overlay());
    assert_eq!(observer.geometry(window).depth, 24);
    let shape = observer.connection.shape_get_rectangles(window, SK::BOUNDING).unwrap().reply().unwrap();
    assert!(shape.rectangles.len() > 10, "round corners are cut out: {shape:?}");
    overlay.show(State::Hidden);
    eventually("hiding", || observer.overlay().is_none().then_some(()));

    let compositor = observer.connection.intern_atom(false, b"_NET_WM_CM_S0").unwrap().reply().unwrap().atom;
    let owner = observer.window(0, 0, 1, 1);
    observer.connection.set_selection_owner(owner, compositor, x11rb::CURRENT_TIME).unwrap().check().unwrap();
    overlay.show(State::Working);
    let window = eventually("the overlay", || observer.overlay());
    assert_eq!(observer.geometry(window).depth, 32);
    let corner = observer.connection.get_image(ImageFormat::Z_PIXMAP, window, 0, 0, 1, 1, !0).unwrap();
    assert_eq!(corner.reply().unwrap().data, [0; 4], "clear outside the pill");
}

#[test]
fn says_once_why_there_is_no_overlay() {
    let problem = |options| {
        let (events, reports) = sync_channel(8);
        let overlay = Overlay::start(options, &events);
        overlay.show(State::Done);
        let report = reports.recv_timeout(Duration::from_secs(20)).unwrap();
        drop((overlay, events));
        assert!(reports.recv().is_err(), "said once");
        let Event::Problem(problem) = report else { panic!("{report:?}") };
        problem
    };
    assert_eq!(problem(Options { wayland: true, ..Options::default() }), Problem::OverlayOnWayland);
    let nowhere = Options { display: Some(":9876".into()), ..Options::default() };
    assert!(matches!(problem(nowhere), Problem::NoDisplay(_)));
}

#[test]
fn the_end_of_the_display_is_reported() {
    let (server, display) = x_server();
    let (overlay, reports) = start(&display, Placement::BottomCentre);
    overlay.show(State::Working);
    let observer = Observer::on(&display);
    eventually("the overlay", || observer.overlay());
    drop(server);
    let report = reports.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(matches!(report, Event::Problem(Problem::DisplayLost(_))), "{report:?}");
    overlay.show(State::Done);
}

#[test]
fn what_is_read_stays_long_enough() {
    let linger = |state: State| state.linger();
    assert_eq!(linger(recording(0.1)), None);
    assert_eq!(linger(State::Working), None);
    let long = State::Message("x".repeat(10_000)).linger().unwrap();
    assert!(long > State::Message("short".into()).linger().unwrap() && long < Duration::from_secs(15));
    let start = Instant::now();
    let mut shown = Shown::new(start);
    shown.replace(State::Done, start);
    shown.hide_when_read(start + Duration::from_millis(899));
    assert_eq!(shown.state, State::Done);
    shown.hide_when_read(start + Duration::from_millis(900));
    assert_eq!(shown.state, State::Hidden);
}
