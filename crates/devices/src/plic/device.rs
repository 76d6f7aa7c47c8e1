use std::sync::{Arc, Mutex};

use clade_engine::{IoDevice, IrqLine};

use super::{PlicState, SOURCES, WORDS};
use crate::StateError;
use crate::little_endian::{put, value_of};
use crate::sync::lock;

/// Size of its register range in bytes: room for the contexts of 512 harts.
pub const SIZE: u64 = 0x60_0000;

/// A register of the memory map (section 3 and following).
enum Register {
    Priority(usize),
    Pending(usize),
    Enable { context: usize, word: usize },
    Threshold(usize),
    Claim(usize),
}

/// The device.
pub struct Plic {
    inner: Mutex<Inner>,
}

struct Inner {
    state: PlicState,
    outputs: Vec<Arc<dyn IrqLine>>,
}

impl Plic {
    /// A controller with one context for each wire of `outputs`: hart 0 in M-mode, hart 0 in
    /// S-mode, hart 1 in M-mode, and so on. Contexts beyond those that [`SIZE`] has room for
    /// cannot be reached.
    #[must_use]
    pub fn new(outputs: Vec<Arc<dyn IrqLine>>) -> Arc<Self> {
        Arc::new(Plic {
            inner: Mutex::new(Inner {
                state: PlicState::reset(outputs.len()),
                outputs,
            }),
        })
    }

    /// The wire into source `source`, or none when there is no such source (1 to 95). A wire has
    /// one level: what several devices share must be joined before.
    #[must_use]
    pub fn line(self: &Arc<Self>, source: usize) -> Option<Arc<dyn IrqLine>> {
        (1..SOURCES).contains(&source).then(|| {
            Arc::new(Source {
                plic: self.clone(),
                source,
            }) as _
        })
    }

    /// Everything that the guest can observe.
    #[must_use]
    pub fn save(&self) -> PlicState {
        lock(&self.inner).state.clone()
    }

    /// Continues from a saved state, and drives the outputs to match.
    ///
    /// # Errors
    /// When the state is of a machine with other harts, or no PLIC can have been in it.
    pub fn restore(&self, saved: &PlicState) -> Result<(), StateError> {
        let mut inner = lock(&self.inner);
        saved.check(inner.outputs.len())?;
        inner.state = saved.clone();
        inner.drive();
        Ok(())
    }
}

impl Inner {
    /// Called with the lock held, so that outputs change in the order of their causes.
    fn drive(&self) {
        for (context, output) in self.outputs.iter().enumerate() {
            output.set_level(self.state.notifies(context));
        }
    }

    fn decode(&self, offset: u64) -> Option<Register> {
        let index = |base: u64| usize::try_from((offset - base) / 4).ok();
        let register = match offset {
            0..0x1000 => Register::Priority(index(0).filter(|&source| source < SOURCES)?),
            0x1000..0x2000 => Register::Pending(index(0x1000).filter(|&word| word < WORDS)?),
            0x2000..0x20_0000 => {
                let index = index(0x2000)?;
                let (context, word) = (index / 32, index % 32);
                (word < WORDS).then_some(Register::Enable { context, word })?
            }
            _ => {
                let index = index(0x20_0000)?;
                let context = index / 1024;
                match index % 1024 {
                    0 => Register::Threshold(context),
                    1 => Register::Claim(context),
                    _ => return None,
                }
            }
        };
        let context = match register {
            Register::Enable { context, .. }
            | Register::Threshold(context)
            | Register::Claim(context) => context,
            Register::Priority(_) | Register::Pending(_) => return Some(register),
        };
        (context < self.outputs.len()).then_some(register)
    }
}

/// Registers are 32 bits wide and accessed as such.
fn is_word(offset: u64, length: usize) -> bool {
    offset.is_multiple_of(4) && length == 4
}

impl IoDevice for Plic {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if !is_word(offset, data.len()) {
            return;
        }
        let mut inner = lock(&self.inner);
        let value = match inner.decode(offset) {
            Some(Register::Priority(source)) => inner.state.priority[source].into(),
            Some(Register::Pending(word)) => inner.state.pending[word],
            Some(Register::Enable { context, word }) => inner.state.contexts[context].enabled[word],
            Some(Register::Threshold(context)) => inner.state.contexts[context].threshold.into(),
            Some(Register::Claim(context)) => {
                let source = inner.state.claim(context);
                inner.drive();
                source
            }
            None => 0,
        };
        put(data, value.into());
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if !is_word(offset, data.len()) {
            return;
        }
        let value = value_of(data) as u32;
        let mut inner = lock(&self.inner);
        match inner.decode(offset) {
            Some(Register::Priority(source)) => inner.state.set_priority(source, value),
            Some(Register::Enable { context, word }) => {
                inner.state.set_enabled(context, word, value);
            }
            Some(Register::Threshold(context)) => inner.state.set_threshold(context, value),
            Some(Register::Claim(context)) => inner.state.complete(context, value),
            Some(Register::Pending(_)) | None => return,
        }
        inner.drive();
    }
}

struct Source {
    plic: Arc<Plic>,
    source: usize,
}

impl IrqLine for Source {
    fn set_level(&self, asserted: bool) {
        let mut inner = lock(&self.plic.inner);
        inner.state.set_level(self.source, asserted);
        inner.drive();
    }
}
