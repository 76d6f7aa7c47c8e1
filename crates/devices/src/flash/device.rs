use std::sync::{Arc, Mutex};

use clade_engine::IoDevice;

use super::{FlashMode, FlashState, query, status};
use crate::little_endian::{put_from, value_of};
use crate::sync::lock;

/// How chips are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of one word of the bus, in which commands count.
    pub(super) word: u64,
    /// Chips side by side on the bus; each answers in its own part of a word.
    pub(super) chips: u64,
    /// Size of an erase block in bytes, over all chips.
    pub(super) block: u64,
}

impl Geometry {
    /// Two 16-bit chips on a 32-bit bus, with blocks of 256 KiB: QEMU's `virt` boards.
    pub const PAIR: Self = Self {
        word: 4,
        chips: 2,
        block: 256 << 10,
    };

    /// One 8-bit chip with blocks of 4 KiB: QEMU's PCs.
    pub const BYTES: Self = Self {
        word: 1,
        chips: 1,
        block: 4096,
    };
}

/// Size of the write buffer in bytes, over all chips.
pub(super) const BUFFER_SIZE: u64 = 4096;

/// What chips answer when asked who they are: Intel, 28F128.
const MANUFACTURER: u8 = 0x89;
const DEVICE: u8 = 0x18;

/// Commands, the low byte of what is written.
mod command {
    pub(super) const PROGRAM: u8 = 0x40;
    pub(super) const PROGRAM_ALSO: u8 = 0x10;
    pub(super) const ERASE: u8 = 0x20;
    pub(super) const CLEAR_STATUS: u8 = 0x50;
    pub(super) const LOCK: u8 = 0x60;
    pub(super) const READ_STATUS: u8 = 0x70;
    pub(super) const READ_IDENTITY: u8 = 0x90;
    pub(super) const READ_QUERY: u8 = 0x98;
    pub(super) const CONFIRM: u8 = 0xd0;
    pub(super) const BUFFERED_PROGRAM: u8 = 0xe8;
    pub(super) const READ_ARRAY: u8 = 0xff;

    /// Those that have something to be done, which is done at once.
    pub(super) const WORK: [u8; 5] = [PROGRAM, PROGRAM_ALSO, ERASE, LOCK, BUFFERED_PROGRAM];
}

/// Where the content of a flash survives the machine.
pub trait FlashStore: Send + Sync {
    /// Keeps `bytes`, the content from `offset` on. Called on a vCPU thread: a flash is written
    /// seldom and little. A host that fails tells people itself; the guest is not told.
    fn write(&self, offset: u64, bytes: &[u8]);
}

/// The device.
pub struct Flash {
    geometry: Geometry,
    store: Arc<dyn FlashStore>,
    inner: Mutex<Inner>,
}

struct Inner {
    content: Vec<u8>,
    state: FlashState,
}

impl Flash {
    /// A flash that holds `content`; what changes is also told to `store`.
    ///
    /// # Panics
    /// When the length of `content` is not one to 65536 blocks.
    #[must_use]
    pub fn new(content: Vec<u8>, geometry: Geometry, store: Arc<dyn FlashStore>) -> Arc<Self> {
        let size = content.len() as u64;
        let blocks = size / geometry.block;
        assert!(size.is_multiple_of(geometry.block) && (1..=1 << 16).contains(&blocks));
        Arc::new(Flash {
            geometry,
            store,
            inner: Mutex::new(Inner {
                content,
                state: FlashState::default(),
            }),
        })
    }

    /// What the guest can observe but for the content.
    #[must_use]
    pub fn save(&self) -> FlashState {
        lock(&self.inner).state.clone()
    }

    /// Continues from a saved state.
    pub fn restore(&self, saved: &FlashState) {
        lock(&self.inner).state = saved.clone();
    }

    fn start_of_block(&self, offset: u64) -> u64 {
        offset - offset % self.geometry.block
    }

    /// A flash can clear bits, and only an erasure sets them again.
    fn program(&self, inner: &mut Inner, offset: u64, bytes: &[u8]) {
        let Some(place) = inner.place(offset, bytes.len()) else {
            inner.state.status |= status::PROGRAM_ERROR;
            return;
        };
        let place = &mut inner.content[place];
        for (old, new) in place.iter_mut().zip(bytes) {
            *old &= new;
        }
        self.store.write(offset, place);
    }

    fn erase(&self, inner: &mut Inner, offset: u64) {
        let start = self.start_of_block(offset);
        let Some(place) = inner.place(start, self.geometry.block as usize) else {
            inner.state.status |= status::ERASE_ERROR;
            return;
        };
        let place = &mut inner.content[place];
        place.fill(0xff);
        self.store.write(start, place);
    }

    fn command(&self, inner: &mut Inner, offset: u64, command: u8) {
        if command::WORK.contains(&command) {
            inner.state.status |= status::READY;
        }
        inner.state.mode = match command {
            command::PROGRAM | command::PROGRAM_ALSO => FlashMode::Program,
            command::ERASE => FlashMode::Erase,
            command::LOCK => FlashMode::Lock,
            command::READ_STATUS => FlashMode::Status,
            command::READ_IDENTITY => FlashMode::Identity,
            command::READ_QUERY => FlashMode::Query,
            command::BUFFERED_PROGRAM => FlashMode::BufferCount {
                block: self.start_of_block(offset),
            },
            command::CLEAR_STATUS => {
                inner.state.status = 0;
                FlashMode::Array
            }
            command::READ_ARRAY => FlashMode::Array,
            _ => return,
        };
    }

    fn buffer(&self, inner: &mut Inner, block: u64, words: u32, offset: u64, data: &[u8]) {
        let inside = offset
            .checked_sub(block)
            .is_some_and(|within| within < self.geometry.block);
        if inside {
            inner.state.buffer.push((offset, data.to_vec()));
            inner.state.mode = match words {
                0 | 1 => FlashMode::BufferConfirm,
                _ => FlashMode::Buffer {
                    block,
                    words: words - 1,
                },
            };
        } else {
            inner.fail(status::PROGRAM_ERROR);
        }
    }
}

impl Inner {
    fn place(&self, offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(length)?;
        (end <= self.content.len()).then_some(start..end)
    }

    /// Gives up a sequence of commands.
    fn fail(&mut self, error: u8) {
        self.state.buffer.clear();
        self.state.status |= error;
        self.state.mode = FlashMode::Status;
    }

    /// What byte `offset` is where reads do not give the content: each chip's answer is in the lowest byte
    /// of its part of a word.
    fn answer(&self, geometry: Geometry, offset: u64) -> u8 {
        let Geometry { word, chips, block } = geometry;
        if !offset.is_multiple_of(word / chips) {
            return 0;
        }
        match self.state.mode {
            FlashMode::Identity => match offset % block / word {
                0 => MANUFACTURER,
                1 => DEVICE,
                // No block is locked.
                _ => 0,
            },
            FlashMode::Query => query::byte(geometry, self.content.len() as u64, offset / word),
            _ => self.state.status,
        }
    }
}

impl IoDevice for Flash {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let inner = lock(&self.inner);
        if inner.state.mode == FlashMode::Array {
            put_from(data, &inner.content, offset);
        } else {
            for (offset, byte) in (offset..).zip(data) {
                *byte = inner.answer(self.geometry, offset);
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let mut guard = lock(&self.inner);
        let inner = &mut *guard;
        let value = value_of(data) as u8;
        match inner.state.mode {
            FlashMode::Program => {
                self.program(inner, offset, data);
                inner.state.mode = FlashMode::Status;
            }
            FlashMode::BufferCount { block } => {
                // Each chip is told the number of its words less one.
                let words = u32::from(value_of(data) as u16) + 1;
                if u64::from(words) * self.geometry.word <= BUFFER_SIZE {
                    inner.state.mode = FlashMode::Buffer { block, words };
                } else {
                    inner.fail(status::PROGRAM_ERROR);
                }
            }
            FlashMode::Buffer { block, words } => self.buffer(inner, block, words, offset, data),
            FlashMode::BufferConfirm if value == command::CONFIRM => {
                for (offset, bytes) in std::mem::take(&mut inner.state.buffer) {
                    self.program(inner, offset, &bytes);
                }
                inner.state.mode = FlashMode::Status;
            }
            FlashMode::BufferConfirm => inner.fail(status::PROGRAM_ERROR),
            FlashMode::Erase if value == command::CONFIRM => {
                self.erase(inner, offset);
                inner.state.mode = FlashMode::Status;
            }
            // Both bits: a sequence of commands that there is not.
            FlashMode::Erase => inner.fail(status::ERASE_ERROR | status::PROGRAM_ERROR),
            FlashMode::Lock => inner.state.mode = FlashMode::Status,
            FlashMode::Array | FlashMode::Status | FlashMode::Identity | FlashMode::Query => {
                self.command(inner, offset, value);
            }
        }
    }
}
