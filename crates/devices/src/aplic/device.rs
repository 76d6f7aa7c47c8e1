use std::sync::{Arc, Mutex};

use clade_engine::{IoDevice, IrqLine, MsiSink, PAGE_SIZE};

use super::domain::{Message, legal_target};
use super::{AplicState, SOURCES, WORDS};
use crate::StateError;
use crate::little_endian::{put, value_of};
use crate::sync::lock;

/// Size of a domain's register range in bytes. There is room for more than messages need.
pub const SIZE: u64 = 0x8000;

/// Registers by offset (section 4.5). Others, such as those for where messages go, which is fixed,
/// read as zero and ignore what is written.
mod register {
    pub(super) const DOMAIN: u64 = 0x0000;
    pub(super) const SOURCES: u64 = 0x0004;
    pub(super) const SOURCES_END: u64 = 0x1000;
    pub(super) const MACHINE_ADDRESS_HIGH: u64 = 0x1bc4;
    pub(super) const SET_PENDING: u64 = 0x1c00;
    pub(super) const SET_PENDING_NUMBER: u64 = 0x1cdc;
    pub(super) const CLEAR_PENDING: u64 = 0x1d00;
    pub(super) const CLEAR_PENDING_NUMBER: u64 = 0x1ddc;
    pub(super) const SET_ENABLE: u64 = 0x1e00;
    pub(super) const SET_ENABLE_NUMBER: u64 = 0x1edc;
    pub(super) const CLEAR_ENABLE: u64 = 0x1f00;
    pub(super) const CLEAR_ENABLE_NUMBER: u64 = 0x1fdc;
    pub(super) const SET_PENDING_NUMBER_LITTLE: u64 = 0x2000;
    pub(super) const GENERATE: u64 = 0x3000;
    pub(super) const TARGETS: u64 = 0x3004;
    pub(super) const TARGETS_END: u64 = 0x4000;
    /// Each bitmap has room for 1024 sources.
    pub(super) const BITMAP: u64 = 0x80;
}

/// `domaincfg`: what is fixed, the interrupt enable, and delivery by messages, which is fixed too.
const DOMAIN_FIXED: u32 = 0x80 << 24 | 1 << 2;
const DOMAIN_ENABLE: u32 = 1 << 8;
/// `mmsiaddrcfgh`: locked, and everything else hidden (section 4.5.3).
const ADDRESSES_LOCKED: u32 = 1 << 31;

/// One of the bitmaps' registers.
#[derive(Clone, Copy)]
enum Bitmap {
    SetPending,
    ClearPending,
    SetEnable,
    ClearEnable,
}

/// The controller, with one domain or two of its own [`AplicDomain`].
pub struct Aplic {
    sink: Arc<dyn MsiSink>,
    /// Where the interrupt files of each domain's level begin, hart 0 first.
    files: Vec<u64>,
    state: Mutex<AplicState>,
}

impl Aplic {
    /// A controller that sends messages to `sink`. `files` says for each of its domains, from the
    /// root down, where the interrupt files of that level begin: M-mode then S-mode, or S-mode alone
    /// where no guest sees M-mode.
    #[must_use]
    pub fn new(sink: Arc<dyn MsiSink>, files: Vec<u64>) -> Arc<Self> {
        Arc::new(Aplic {
            sink,
            state: Mutex::new(AplicState::reset(files.len())),
            files,
        })
    }

    /// The wire into source `source`, or none when there is no such source (1 to 96). A wire has
    /// one level: what several devices share must be joined before.
    #[must_use]
    pub fn line(self: &Arc<Self>, source: usize) -> Option<Arc<dyn IrqLine>> {
        (1..=SOURCES).contains(&source).then(|| {
            Arc::new(Source {
                aplic: self.clone(),
                source,
            }) as _
        })
    }

    /// The registers of the domain with this index, or none when there is no such domain.
    #[must_use]
    pub fn domain(self: &Arc<Self>, index: usize) -> Option<Arc<AplicDomain>> {
        (index < self.files.len()).then(|| {
            Arc::new(AplicDomain {
                aplic: self.clone(),
                index,
            })
        })
    }

    /// Everything that the guest can observe.
    #[must_use]
    pub fn save(&self) -> AplicState {
        lock(&self.state).clone()
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// When the state is of a controller with other domains, or none can have been in it.
    pub fn restore(&self, saved: &AplicState) -> Result<(), StateError> {
        saved.check(self.files.len())?;
        *lock(&self.state) = saved.clone();
        Ok(())
    }

    fn send(&self, domain: usize, message: Message) {
        // Harts have a page each (section 3.6).
        let page = u64::from(message.hart) * PAGE_SIZE;
        self.sink
            .signal(self.files[domain] + page, message.identity);
    }

    /// Sends what is due in a domain. Called with the lock held, so that messages have the order of
    /// their causes.
    fn forward_all(&self, state: &mut AplicState, domain: usize) {
        for word in 0..WORDS {
            let registers = &state.domains[domain];
            let mut due = registers.pending[word] & registers.enables[word];
            while due != 0 {
                let source = word * 32 + due.trailing_zeros() as usize;
                due &= due - 1;
                if let Some(message) = state.forward(domain, source) {
                    self.send(domain, message);
                }
            }
        }
    }
}

/// The registers of one interrupt domain.
pub struct AplicDomain {
    aplic: Arc<Aplic>,
    index: usize,
}

impl AplicDomain {
    fn read_register(&self, state: &AplicState, offset: u64) -> u32 {
        let domain = &state.domains[self.index];
        let of_source = |first: u64, values: &[u32]| {
            let index = usize::try_from((offset - first) / 4 + 1).ok();
            index.and_then(|index| values.get(index)).map_or(0, |&v| v)
        };
        match offset {
            register::DOMAIN if domain.enabled => DOMAIN_FIXED | DOMAIN_ENABLE,
            register::DOMAIN => DOMAIN_FIXED,
            register::SOURCES..register::SOURCES_END => {
                of_source(register::SOURCES, &domain.sources)
            }
            // Only of the root domain, where that is one of M-mode.
            register::MACHINE_ADDRESS_HIGH if self.index + 1 < self.aplic.files.len() => {
                ADDRESSES_LOCKED
            }
            register::GENERATE => domain.genmsi,
            register::TARGETS..register::TARGETS_END => {
                of_source(register::TARGETS, &domain.targets)
            }
            _ => match bitmap_at(offset) {
                Some((Bitmap::SetPending, word)) => domain.pending[word],
                Some((Bitmap::ClearPending, word)) => state.inputs(self.index, word),
                Some((Bitmap::SetEnable, word)) => domain.enables[word],
                Some((Bitmap::ClearEnable, _)) | None => 0,
            },
        }
    }

    fn write_register(&self, state: &mut AplicState, offset: u64, value: u32) {
        let index = self.index;
        let source_of = |first: u64| {
            let source = (offset - first) / 4 + 1;
            usize::try_from(source).ok().filter(|s| *s <= SOURCES)
        };
        match offset {
            register::DOMAIN => state.domains[index].enabled = value & DOMAIN_ENABLE != 0,
            register::SOURCES..register::SOURCES_END => {
                if let Some(source) = source_of(register::SOURCES) {
                    state.configure(index, source, value);
                }
            }
            register::GENERATE => {
                let message = legal_target(value);
                state.domains[index].genmsi = message;
                self.aplic.send(index, Message::of(message));
            }
            register::TARGETS..register::TARGETS_END => {
                if let Some(source) = source_of(register::TARGETS) {
                    state.set_target(index, source, value);
                }
            }
            _ => {
                if let Some((bitmap, word, bits)) = bits_written(offset, value) {
                    change(state, index, bitmap, word, bits);
                }
            }
        }
        self.aplic.forward_all(state, index);
    }
}

/// The register of a bitmap at this offset, and which word of the bitmap it is.
fn bitmap_at(offset: u64) -> Option<(Bitmap, usize)> {
    let within = offset % register::BITMAP;
    let word = (within / 4) as usize;
    let bitmap = match offset - within {
        register::SET_PENDING => Bitmap::SetPending,
        register::CLEAR_PENDING => Bitmap::ClearPending,
        register::SET_ENABLE => Bitmap::SetEnable,
        register::CLEAR_ENABLE => Bitmap::ClearEnable,
        _ => return None,
    };
    (word < WORDS).then_some((bitmap, word))
}

/// What a write to a bitmap means, be it of a word or of one source's number.
fn bits_written(offset: u64, value: u32) -> Option<(Bitmap, usize, u32)> {
    let by_number = match offset {
        register::SET_PENDING_NUMBER | register::SET_PENDING_NUMBER_LITTLE => Bitmap::SetPending,
        register::CLEAR_PENDING_NUMBER => Bitmap::ClearPending,
        register::SET_ENABLE_NUMBER => Bitmap::SetEnable,
        register::CLEAR_ENABLE_NUMBER => Bitmap::ClearEnable,
        _ => {
            let (bitmap, word) = bitmap_at(offset)?;
            return Some((bitmap, word, value));
        }
    };
    let source = usize::try_from(value).ok()?;
    (1..=SOURCES)
        .contains(&source)
        .then(|| (by_number, source / 32, 1 << (source % 32)))
}

fn change(state: &mut AplicState, domain: usize, bitmap: Bitmap, word: usize, bits: u32) {
    match bitmap {
        Bitmap::SetPending => state.set_pending(domain, word, bits),
        Bitmap::ClearPending => state.domains[domain].pending[word] &= !bits,
        Bitmap::SetEnable => state.set_enables(domain, word, bits),
        Bitmap::ClearEnable => state.domains[domain].enables[word] &= !bits,
    }
}

/// Registers are 32 bits wide and accessed as such.
fn is_word(offset: u64, length: usize) -> bool {
    offset.is_multiple_of(4) && length == 4
}

impl IoDevice for AplicDomain {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if is_word(offset, data.len()) {
            let value = self.read_register(&lock(&self.aplic.state), offset);
            put(data, value.into());
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if is_word(offset, data.len()) {
            let value = value_of(data) as u32;
            self.write_register(&mut lock(&self.aplic.state), offset, value);
        }
    }
}

struct Source {
    aplic: Arc<Aplic>,
    source: usize,
}

impl IrqLine for Source {
    fn set_level(&self, asserted: bool) {
        let mut state = lock(&self.aplic.state);
        if let Some((domain, message)) = state.set_level(self.source, asserted) {
            self.aplic.send(domain, message);
        }
    }
}
