//! Disks that wait where the host has no space left, in place of failing.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clade_devices::virtio::block::{BlockBackend, BlockInfo, BlockOperation};

/// A guest that frees space and fills it again, for ever, does not fill the log.
const MESSAGES: u32 = 1000;

/// A disk whose operations are tried again and again for as long as the host has no space for
/// them. Others go on meanwhile. Only [`BlockBackend::drain`] waits for none: a guest that resets
/// or ends has its own I/O error.
pub(crate) struct Patient<B> {
    disk: B,
    /// What its messages call it.
    path: PathBuf,
    messages_left: u32,
    pause: Duration,
    next_try: Instant,
    /// What is under way and may have to be tried again.
    under_way: BTreeMap<u16, Attempt>,
    /// What waits for space, and what the host said.
    waiting: BTreeMap<u16, (BlockOperation, io::Error)>,
    given_up: VecDeque<(u16, io::Result<()>)>,
    /// For those who look after the disk: whether there is something to be tried again.
    is_waiting: Arc<AtomicBool>,
}

struct Attempt {
    operation: BlockOperation,
    /// It has failed before.
    again: bool,
}

impl<B: BlockBackend> Patient<B> {
    /// `disk` with patience: what waits is tried again after each `pause`.
    pub(crate) fn new(disk: B, path: PathBuf, pause: Duration) -> Self {
        Self {
            disk,
            path,
            messages_left: MESSAGES,
            pause,
            next_try: Instant::now(),
            under_way: BTreeMap::new(),
            waiting: BTreeMap::new(),
            given_up: VecDeque::new(),
            is_waiting: Arc::default(),
        }
    }

    /// Whether something waits for space, now and later.
    pub(crate) fn is_waiting(&self) -> Arc<AtomicBool> {
        self.is_waiting.clone()
    }

    fn try_again(&mut self) {
        if self.waiting.is_empty() || Instant::now() < self.next_try {
            return;
        }
        self.next_try = Instant::now() + self.pause;
        for (tag, (operation, _)) in std::mem::take(&mut self.waiting) {
            self.attempt(tag, operation, true);
        }
    }

    fn attempt(&mut self, tag: u16, operation: BlockOperation, again: bool) {
        let attempt = Attempt {
            operation: operation.clone(),
            again,
        };
        self.under_way.insert(tag, attempt);
        self.disk.begin(tag, operation);
    }

    fn wait(&mut self, tag: u16, operation: BlockOperation, error: io::Error) {
        if !self.is_waiting.swap(true, Ordering::AcqRel) {
            self.next_try = Instant::now() + self.pause;
            self.say(&format!("the guest waits until there is space: {error}"));
        }
        self.waiting.insert(tag, (operation, error));
    }

    /// To be called when something that had waited is complete.
    fn look_whether_all_went_on(&mut self) {
        let tried = self.under_way.values().any(|attempt| attempt.again);
        if !tried && self.waiting.is_empty() && self.is_waiting.swap(false, Ordering::AcqRel) {
            self.say("there is space again, and the guest goes on");
        }
    }

    /// Tells whoever reads the machine's log.
    fn say(&mut self, what: &str) {
        if let Some(left) = self.messages_left.checked_sub(1) {
            self.messages_left = left;
            eprintln!("disk {}: {what}", self.path.display());
        }
    }
}

impl<B: BlockBackend> BlockBackend for Patient<B> {
    fn info(&self) -> BlockInfo {
        self.disk.info()
    }

    fn begin(&mut self, tag: u16, operation: BlockOperation) {
        if matches!(operation, BlockOperation::Read { .. }) {
            self.disk.begin(tag, operation);
        } else {
            self.attempt(tag, operation, false);
        }
    }

    fn submit(&mut self) {
        self.try_again();
        self.disk.submit();
    }

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        if let Some(given_up) = self.given_up.pop_front() {
            return Some(given_up);
        }
        while let Some((tag, result)) = self.disk.completed() {
            let Some(attempt) = self.under_way.remove(&tag) else {
                return Some((tag, result));
            };
            match result {
                Err(error) if is_for_space(&error) => self.wait(tag, attempt.operation, error),
                result => {
                    if attempt.again {
                        self.look_whether_all_went_on();
                    }
                    return Some((tag, result));
                }
            }
        }
        None
    }

    fn drain(&mut self) {
        self.disk.drain();
        while let Some(completed) = self.disk.completed() {
            self.given_up.push_back(completed);
        }
        self.under_way.clear();
        for (tag, (_, error)) in std::mem::take(&mut self.waiting) {
            self.given_up.push_back((tag, Err(error)));
        }
        self.is_waiting.store(false, Ordering::Release);
    }
}

/// Whether the host would do it if it had more space, or this user.
pub(crate) fn is_for_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The error of a failed fsync(2), which is not to be tried again: the host may have forgotten what
/// it could not write, and would report success.
pub(crate) fn failed_sync(error: io::Error) -> io::Error {
    io::Error::other(error)
}
