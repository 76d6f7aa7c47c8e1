//! The user's terminal: raw while a console is attached, and as it was afterwards, whatever
//! happens.

use std::io;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use clade_vmm::control::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// What the terminal was like before, while it is raw.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal on standard input, in raw mode for as long as this lives: every key goes to the
/// guest, Ctrl-C too.
#[derive(Debug)]
pub(crate) struct RawTerminal(());

impl RawTerminal {
    /// # Errors
    /// When standard input is no terminal, or does not obey.
    pub(crate) fn enter() -> io::Result<Self> {
        restore_on_panic();
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(stdin, OptionalActions::Now, &raw).inspect_err(|_| restore())?;
        Ok(Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was. For the ways out that run no destructors; doing it twice does
/// no harm.
pub(crate) fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = saved {
        // If the terminal is gone, there is nothing to put back.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
    }
}

/// The size of the terminal on standard output, or else on standard input.
pub(crate) fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(rustix::stdio::stdout())
        .or_else(|_| tcgetwinsize(rustix::stdio::stdin()))
        .ok()?;
    // A serial line says 0 × 0: it does not know.
    (size.ws_col > 0 && size.ws_row > 0).then_some(TerminalSize {
        columns: size.ws_col,
        rows: size.ws_row,
    })
}

fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            next(info);
        }));
    });
}
