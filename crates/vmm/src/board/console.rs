//! One terminal for several consoles: what any of them prints is shown, and what is typed goes to
//! the one that printed last, which is where a person is looking.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use clade_devices::{ConsoleHost, ConsolePort};
use clade_emulate::DebugConsole;

/// The board's consoles.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Console {
    Uart = 1,
    Virtio = 2,
}

/// Joins the consoles of a board to the terminal of its machine.
pub(super) struct ConsoleMux {
    host: Arc<dyn ConsoleHost>,
    /// The [`Console`] that printed last, 0 before any did: input waits until then.
    speaker: AtomicU8,
    uart: OnceLock<Arc<dyn ConsolePort>>,
    virtio: OnceLock<Arc<dyn ConsolePort>>,
}

impl ConsoleMux {
    pub(super) fn new(host: Arc<dyn ConsoleHost>) -> Arc<Self> {
        Arc::new(Self {
            host,
            speaker: AtomicU8::new(0),
            uart: OnceLock::new(),
            virtio: OnceLock::new(),
        })
    }

    /// What console `console` is to print on.
    pub(super) fn host_of(self: &Arc<Self>, console: Console) -> Arc<dyn ConsoleHost> {
        Arc::new(Voice {
            mux: self.clone(),
            console,
        })
    }

    /// Makes `port` the way to type at `console`. Only the first call for each counts.
    pub(super) fn connect(&self, console: Console, port: Arc<dyn ConsolePort>) {
        let _ = match console {
            Console::Uart => self.uart.set(port),
            Console::Virtio => self.virtio.set(port),
        };
    }

    /// The [`Console`] that printed last, 0 before any did.
    pub(super) fn speaker(&self) -> u8 {
        self.speaker.load(Ordering::Acquire)
    }

    /// Makes this the console that printed last.
    pub(super) fn set_speaker(&self, speaker: u8) {
        self.speaker.store(speaker, Ordering::Release);
    }

    fn port(&self, speaker: u8) -> Option<&Arc<dyn ConsolePort>> {
        if speaker == Console::Uart as u8 {
            self.uart.get()
        } else if speaker == Console::Virtio as u8 {
            self.virtio.get()
        } else {
            None
        }
    }
}

impl ConsolePort for ConsoleMux {
    fn input(&self, bytes: &[u8]) -> usize {
        self.port(self.speaker())
            .map_or(0, |port| port.input(bytes))
    }

    fn resize(&self, columns: u16, rows: u16) {
        for port in [&self.uart, &self.virtio]
            .into_iter()
            .filter_map(OnceLock::get)
        {
            port.resize(columns, rows);
        }
    }
}

/// One console's voice.
struct Voice {
    mux: Arc<ConsoleMux>,
    console: Console,
}

impl ConsoleHost for Voice {
    fn output(&self, bytes: &[u8]) {
        let console = self.console as u8;
        let changed = self.mux.speaker.swap(console, Ordering::AcqRel) != console;
        self.mux.host.output(bytes);
        if changed {
            self.mux.host.input_room();
        }
    }

    fn input_room(&self) {
        self.mux.host.input_room();
    }
}

/// The SBI's debug console only prints: what is typed is for the consoles with interrupts.
pub(super) struct FirmwareConsole(pub(super) Arc<dyn ConsoleHost>);

impl DebugConsole for FirmwareConsole {
    fn write(&self, bytes: &[u8]) {
        self.0.output(bytes);
    }

    fn read(&self, _buffer: &mut [u8]) -> usize {
        0
    }
}
