//! The whole chain on a desktop of its own: a clip is played into a microphone, keys are pressed, and
//! the text arrives in a window that records what it receives.
//!
//! Needs the Debian packages xvfb, openbox, xterm, xdotool, xclip, python3-tk, pulseaudio,
//! pulseaudio-utils and libasound2-plugins, and the models that `scripts/test` fetches.

#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
mod delivery;
#[cfg(target_os = "linux")]
mod failures;
#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod harness;
#[cfg(target_os = "linux")]
mod soak;
