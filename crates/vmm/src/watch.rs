//! Which of many sockets is ready for what: the kernel tells of changes only, and they are kept
//! here.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// How many changes are taken at a time.
const BATCH: usize = 64;

/// What a socket may be ready for.
#[derive(Debug)]
pub(super) struct Readiness {
    pub(super) readable: AtomicBool,
    pub(super) writable: AtomicBool,
    /// Nobody is at its other end.
    pub(super) closed: AtomicBool,
}

impl Readiness {
    fn note(&self, flags: EventFlags) {
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if gone || flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
            self.readable.store(true, Ordering::Relaxed);
        }
        if gone || flags.contains(EventFlags::OUT) {
            self.writable.store(true, Ordering::Relaxed);
        }
        if gone {
            self.closed.store(true, Ordering::Relaxed);
        }
    }
}

/// The sockets that are watched.
#[derive(Debug)]
pub(super) struct Watch {
    epoll: OwnedFd,
    sockets: Mutex<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    last: u64,
    by_token: BTreeMap<u64, Arc<Readiness>>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            sockets: Mutex::default(),
        }))
    }

    /// Can be read when something has changed.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Watches a socket until the returned value is dropped, which must be before the socket is
    /// closed or its number used for another.
    pub(super) fn add(self: &Arc<Self>, socket: impl AsFd) -> io::Result<Watched> {
        let readiness = Arc::new(Readiness {
            readable: AtomicBool::new(true),
            writable: AtomicBool::new(true),
            closed: AtomicBool::new(false),
        });
        let token = {
            let mut sockets = self.lock();
            sockets.last += 1;
            let token = sockets.last;
            sockets.by_token.insert(token, Arc::clone(&readiness));
            token
        };
        let watched = Watched {
            watch: Arc::clone(self),
            token,
            readiness,
        };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)?;
        Ok(watched)
    }

    /// Takes in what has changed.
    pub(super) fn update(&self) {
        let mut events = Vec::with_capacity(BATCH);
        let at_once = Timespec::default();
        loop {
            events.clear();
            // Interrupted: whoever waits for the descriptor comes again.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once));
            let sockets = self.lock();
            for event in &events {
                if let Some(readiness) = sockets.by_token.get(&event.data.u64()) {
                    readiness.note(event.flags);
                }
            }
            if events.len() < BATCH {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that is watched. The kernel forgets it when it is closed.
#[derive(Debug)]
pub(super) struct Watched {
    watch: Arc<Watch>,
    token: u64,
    readiness: Arc<Readiness>,
}

impl Watched {
    /// Does `attempt` if the socket may be ready for it, and remembers if it was not.
    pub(super) fn when(
        &self,
        ready: impl Fn(&Readiness) -> &AtomicBool,
        attempt: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let ready = ready(&self.readiness);
        if !ready.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        attempt().inspect_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                ready.store(false, Ordering::Relaxed);
            }
        })
    }

    pub(super) fn is(&self, what: impl Fn(&Readiness) -> &AtomicBool) -> bool {
        what(&self.readiness).load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.lock().by_token.remove(&self.token);
    }
}
