//! Pasting with a receipt, and taking a selection, with the clipboard's content put back after either.

use std::time::{Duration, Instant};

use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _};
use xkeysym::Keysym;

use super::keyboard::Guard;
use super::keymap::{Keymap, Stroke};
use super::transfer::Content;
use super::{ClipboardState, Error, Options, Outcome, Receipt, Result, Target, Undo, Way, X11, until};
use crate::inject::PasteKeys;

/// A window that has fetched the text may do so again (in another format, say) within this time.
const QUIET: Duration = Duration::from_millis(80);
/// Longest wait for a window to be done with fetching.
const QUIET_LIMIT: Duration = Duration::from_secs(1);
/// Longest wait for a window to copy its selection.
const COPY_LIMIT: Duration = Duration::from_millis(600);
/// How often a wait looks whether it was cancelled.
const POLL: Duration = Duration::from_millis(20);

impl X11 {
    /// Pastes `text`; where that cannot be prepared without loss, types it.
    pub(super) fn paste_into(
        &self,
        text: &str,
        keys: PasteKeys,
        guard: &Guard,
        options: &Options,
        outcome: &mut Outcome,
    ) {
        let stroke = match self.shortcut(Keysym::v, keys == PasteKeys::CtrlShiftV) {
            Ok(stroke) => stroke,
            Err(_) => return self.type_into(text, guard, outcome),
        };
        let may_lose =
            |saved: &Content| !saved.complete && saved.formats.is_empty() && options.restore_clipboard;
        let saved = match self.clipboard.save() {
            Ok(saved) if !saved.as_deref().is_some_and(may_lose) => saved,
            _ => return self.type_into(text, guard, outcome),
        };
        let offered = std::sync::Arc::new(Content::transient_text(text, &self.atoms));
        if !self.clipboard.own(Some(offered)) {
            return self.type_into(text, guard, outcome);
        }
        outcome.way = Some(Way::Paste);
        while self.clipboard.next_served(Duration::ZERO).is_some() {}
        if let Err(error) = self.send(&[stroke], guard) {
            outcome.way = None;
            if error == Error::Cancelled {
                outcome.clipboard = self.put_back(saved, text);
            }
            return self.stop(error, text, outcome);
        }
        outcome.chars = text.chars().count();
        outcome.undo = Some(Undo::of(text));
        outcome.complete = self.await_receipt(guard, options.receipt_wait);
        if outcome.complete {
            outcome.receipt = Receipt::Seen;
        } else {
            let taken = !self.clipboard.is_ours();
            outcome.reason = Some(if taken { Error::ClipboardTaken } else { Error::NoReceipt });
        }
        let keep = !options.restore_clipboard || (!outcome.complete && options.keep_without_receipt);
        outcome.clipboard = match keep {
            true if self.clipboard.own_text(text).is_ok() => ClipboardState::HoldsText,
            _ => self.put_back(saved, text),
        };
    }

    fn shortcut(&self, sym: Keysym, with_shift: bool) -> Result<Stroke> {
        Keymap::read(&self.conn)?.shortcut(sym, with_shift).ok_or(Error::Missing("key for the shortcut"))
    }

    /// Waits until the guarded window's program has fetched our content, and then is quiet. Clipboard
    /// managers, which fetch it too, are other programs.
    fn await_receipt(&self, guard: &Guard, limit: Duration) -> bool {
        let is_target = |requestor| self.same_client(requestor, guard.window());
        let deadline = Instant::now() + limit;
        loop {
            match self.clipboard.next_served(POLL) {
                Some(requestor) if is_target(requestor) => break,
                _ if Instant::now() >= deadline || guard.is_cancelled() => return false,
                _ => {}
            }
        }
        let deadline = Instant::now() + QUIET_LIMIT;
        while Instant::now() < deadline && self.clipboard.next_served(QUIET).is_some() {}
        true
    }

    /// Puts the saved content back, unless somebody has taken the clipboard with something else than the
    /// text: a clipboard manager holds what it saw, but a user's new copy must stand.
    fn put_back(&self, saved: Option<std::sync::Arc<Content>>, text: &str) -> ClipboardState {
        if !self.clipboard.is_ours() {
            let held = self.clipboard.text_of(self.atoms.CLIPBOARD);
            if held.as_deref() != Some(text) {
                return ClipboardState::Taken;
            }
        }
        let complete = saved.as_ref().is_none_or(|saved| saved.complete);
        match self.clipboard.own(saved) {
            true if complete => ClipboardState::Restored,
            true => ClipboardState::PartlyRestored,
            false => ClipboardState::Taken,
        }
    }

    /// The PRIMARY selection if `target` owns it, else what it copies on Ctrl+C.
    pub(super) fn selected_text(&self, target: &Target, guard: &Guard) -> Result<Option<String>> {
        let primary = AtomEnum::PRIMARY.into();
        let owner = self.conn.get_selection_owner(primary)?.reply()?.owner;
        if owner != x11rb::NONE && self.same_client(owner, guard.window()) {
            let text = self.clipboard.text_of(primary).filter(|text| !text.is_empty());
            if text.is_some() {
                return Ok(text);
            }
        }
        // In a terminal Ctrl+C would interrupt the program that runs there.
        if target.is_terminal { Ok(None) } else { self.copied_text(guard) }
    }

    fn copied_text(&self, guard: &Guard) -> Result<Option<String>> {
        let stroke = self.shortcut(Keysym::c, false)?;
        let saved = self.clipboard.save()?;
        // Owned by us, the clipboard tells when the window takes it.
        if !self.clipboard.own(Some(saved.clone().unwrap_or_default())) {
            return Err(Error::NoClipboard);
        }
        let sent = self.send(&[stroke], guard);
        let copied = match sent {
            Ok(()) => until(COPY_LIMIT, || Ok((!self.clipboard.is_ours()).then_some(())))?,
            Err(_) => None,
        };
        let text = copied.and_then(|()| self.clipboard.text_of(self.atoms.CLIPBOARD));
        self.clipboard.own(saved);
        sent.map(|()| text.filter(|text| !text.is_empty()))
    }
}
