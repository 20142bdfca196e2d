//! The one table of key names.

/// A key under every name that the back-ends know it by.
#[derive(Debug)]
pub(super) struct Key {
    /// How it is written in settings; the first is the one shown, spelling is free in case, `_`, `-` and blanks.
    pub(super) names: &'static [&'static str],
    /// X keysym (`keysymdef.h`) of the key without Shift.
    pub(super) keysym: u32,
    /// The keysym's name, which the XDG shortcuts specification uses.
    #[cfg_attr(not(feature = "portal"), expect(dead_code, reason = "the portal's"))]
    pub(super) keysym_name: &'static str,
    /// Code of the position on a US keyboard in `linux/input-event-codes.h`; X11's keycode is 8 more.
    pub(super) code: u16,
}

const fn key(names: &'static [&'static str], keysym_name: &'static str, keysym: u32, code: u16) -> Key {
    Key { names, keysym, keysym_name, code }
}

/// All keys that can be bound.
#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key(&["a"], "a", 0x61, 30), key(&["b"], "b", 0x62, 48), key(&["c"], "c", 0x63, 46), key(&["d"], "d", 0x64, 32),
    key(&["e"], "e", 0x65, 18), key(&["f"], "f", 0x66, 33), key(&["g"], "g", 0x67, 34), key(&["h"], "h", 0x68, 35),
    key(&["i"], "i", 0x69, 23), key(&["j"], "j", 0x6a, 36), key(&["k"], "k", 0x6b, 37), key(&["l"], "l", 0x6c, 38),
    key(&["m"], "m", 0x6d, 50), key(&["n"], "n", 0x6e, 49), key(&["o"], "o", 0x6f, 24), key(&["p"], "p", 0x70, 25),
    key(&["q"], "q", 0x71, 16), key(&["r"], "r", 0x72, 19), key(&["s"], "s", 0x73, 31), key(&["t"], "t", 0x74, 20),
    key(&["u"], "u", 0x75, 22), key(&["v"], "v", 0x76, 47), key(&["w"], "w", 0x77, 17), key(&["x"], "x", 0x78, 45),
    key(&["y"], "y", 0x79, 21), key(&["z"], "z", 0x7a, 44),
    key(&["1"], "1", 0x31, 2), key(&["2"], "2", 0x32, 3), key(&["3"], "3", 0x33, 4), key(&["4"], "4", 0x34, 5),
    key(&["5"], "5", 0x35, 6), key(&["6"], "6", 0x36, 7), key(&["7"], "7", 0x37, 8), key(&["8"], "8", 0x38, 9),
    key(&["9"], "9", 0x39, 10), key(&["0"], "0", 0x30, 11),
    key(&["space"], "space", 0x20, 57),
    key(&["minus", "dash"], "minus", 0x2d, 12),
    key(&["equal", "equals"], "equal", 0x3d, 13),
    key(&["bracket_left", "["], "bracketleft", 0x5b, 26),
    key(&["bracket_right", "]"], "bracketright", 0x5d, 27),
    key(&["semicolon", ";"], "semicolon", 0x3b, 39),
    key(&["apostrophe", "quote", "'"], "apostrophe", 0x27, 40),
    key(&["grave", "backquote", "backtick", "`"], "grave", 0x60, 41),
    key(&["backslash", "\\"], "backslash", 0x5c, 43),
    key(&["comma", ","], "comma", 0x2c, 51),
    key(&["period", "dot", "."], "period", 0x2e, 52),
    key(&["slash", "/"], "slash", 0x2f, 53),
    key(&["enter", "return"], "Return", 0xff0d, 28),
    key(&["tab"], "Tab", 0xff09, 15),
    key(&["backspace"], "BackSpace", 0xff08, 14),
    key(&["escape", "esc"], "Escape", 0xff1b, 1),
    key(&["F1"], "F1", 0xffbe, 59), key(&["F2"], "F2", 0xffbf, 60), key(&["F3"], "F3", 0xffc0, 61),
    key(&["F4"], "F4", 0xffc1, 62), key(&["F5"], "F5", 0xffc2, 63), key(&["F6"], "F6", 0xffc3, 64),
    key(&["F7"], "F7", 0xffc4, 65), key(&["F8"], "F8", 0xffc5, 66), key(&["F9"], "F9", 0xffc6, 67),
    key(&["F10"], "F10", 0xffc7, 68), key(&["F11"], "F11", 0xffc8, 87), key(&["F12"], "F12", 0xffc9, 88),
    key(&["F13"], "F13", 0xffca, 183), key(&["F14"], "F14", 0xffcb, 184), key(&["F15"], "F15", 0xffcc, 185),
    key(&["F16"], "F16", 0xffcd, 186), key(&["F17"], "F17", 0xffce, 187), key(&["F18"], "F18", 0xffcf, 188),
    key(&["F19"], "F19", 0xffd0, 189), key(&["F20"], "F20", 0xffd1, 190), key(&["F21"], "F21", 0xffd2, 191),
    key(&["F22"], "F22", 0xffd3, 192), key(&["F23"], "F23", 0xffd4, 193), key(&["F24"], "F24", 0xffd5, 194),
    key(&["pause", "break"], "Pause", 0xff13, 119),
    key(&["scroll_lock"], "Scroll_Lock", 0xff14, 70),
    key(&["caps_lock"], "Caps_Lock", 0xffe5, 58),
    key(&["num_lock"], "Num_Lock", 0xff7f, 69),
    key(&["print", "print_screen", "sys_rq"], "Print", 0xff61, 99),
    key(&["insert", "ins"], "Insert", 0xff63, 110),
    key(&["delete", "del"], "Delete", 0xffff, 111),
    key(&["home"], "Home", 0xff50, 102),
    key(&["end"], "End", 0xff57, 107),
    key(&["page_up", "pgup", "prior"], "Prior", 0xff55, 104),
    key(&["page_down", "pgdn", "next"], "Next", 0xff56, 109),
    key(&["up"], "Up", 0xff52, 103),
    key(&["down"], "Down", 0xff54, 108),
    key(&["left"], "Left", 0xff51, 105),
    key(&["right"], "Right", 0xff53, 106),
    key(&["menu", "context_menu", "compose"], "Menu", 0xff67, 127),
    key(&["kp_0"], "KP_0", 0xffb0, 82), key(&["kp_1"], "KP_1", 0xffb1, 79), key(&["kp_2"], "KP_2", 0xffb2, 80),
    key(&["kp_3"], "KP_3", 0xffb3, 81), key(&["kp_4"], "KP_4", 0xffb4, 75), key(&["kp_5"], "KP_5", 0xffb5, 76),
    key(&["kp_6"], "KP_6", 0xffb6, 77), key(&["kp_7"], "KP_7", 0xffb7, 71), key(&["kp_8"], "KP_8", 0xffb8, 72),
    key(&["kp_9"], "KP_9", 0xffb9, 73),
    key(&["kp_enter"], "KP_Enter", 0xff8d, 96),
    key(&["kp_add", "kp_plus"], "KP_Add", 0xffab, 78),
    key(&["kp_subtract", "kp_minus"], "KP_Subtract", 0xffad, 74),
    key(&["kp_multiply"], "KP_Multiply", 0xffaa, 55),
    key(&["kp_divide"], "KP_Divide", 0xffaf, 98),
    key(&["kp_decimal"], "KP_Decimal", 0xffae, 83),
    key(&["mic_mute"], "XF86AudioMicMute", 0x1008_ffb2, 248),
    key(&["mute"], "XF86AudioMute", 0x1008_ff12, 113),
    key(&["play", "play_pause"], "XF86AudioPlay", 0x1008_ff14, 164),
    key(&["left_ctrl", "ctrl_l", "lctrl", "left_control", "control_l"], "Control_L", 0xffe3, 29),
    key(&["right_ctrl", "ctrl_r", "rctrl", "right_control", "control_r"], "Control_R", 0xffe4, 97),
    key(&["left_shift", "shift_l", "lshift"], "Shift_L", 0xffe1, 42),
    key(&["right_shift", "shift_r", "rshift"], "Shift_R", 0xffe2, 54),
    key(&["left_alt", "alt_l", "lalt"], "Alt_L", 0xffe9, 56),
    key(&["right_alt", "alt_r", "ralt", "alt_gr"], "Alt_R", 0xffea, 100),
    key(&["left_super", "super_l", "left_meta", "left_win"], "Super_L", 0xffeb, 125),
    key(&["right_super", "super_r", "right_meta", "right_win"], "Super_R", 0xffec, 126),
];

/// A modifier that a chord may ask for; either side will do.
#[derive(Debug)]
pub(super) struct Modifier {
    /// Bit in [`super::Chord`]'s set.
    pub(super) bit: u8,
    /// How it is written; the first is the one shown.
    pub(super) names: &'static [&'static str],
    /// Its name in the XDG shortcuts specification.
    #[cfg_attr(not(feature = "portal"), expect(dead_code, reason = "the portal's"))]
    pub(super) portal: &'static str,
    /// The bit it usually has in X11.
    pub(super) x11_mask: u16,
    /// Its left and right keysym.
    pub(super) keysyms: [u32; 2],
    /// Its left and right code in `linux/input-event-codes.h`.
    pub(super) codes: [u16; 2],
}

/// In the order in which they are shown.
#[rustfmt::skip]
pub(super) static MODIFIERS: [Modifier; 4] = [
    Modifier { bit: 1, names: &["ctrl", "control"], portal: "CTRL", x11_mask: 4, keysyms: [0xffe3, 0xffe4], codes: [29, 97] },
    Modifier { bit: 2, names: &["alt", "option"], portal: "ALT", x11_mask: 8, keysyms: [0xffe9, 0xffea], codes: [56, 100] },
    Modifier { bit: 4, names: &["shift"], portal: "SHIFT", x11_mask: 1, keysyms: [0xffe1, 0xffe2], codes: [42, 54] },
    Modifier { bit: 8, names: &["super", "meta", "win", "windows", "cmd", "logo"], portal: "LOGO", x11_mask: 64, keysyms: [0xffeb, 0xffec], codes: [125, 126] },
];
