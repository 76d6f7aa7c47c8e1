//! Threads that do the work of devices, so that no vCPU waits for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clade_devices::virtio::Waker;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

use crate::gate::Gate;

/// What an I/O thread does.
pub trait IoWorker: Send {
    /// A descriptor that calls for work when it can be read, beside the thread's waker. One that
    /// waits for several gives an epoll.
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Does all that there is to do, without waiting for more. Returns after how long it wants to
    /// be called again at the latest, if nothing calls for it before.
    fn work(&mut self) -> Option<Duration>;
}

/// Wakes an I/O thread; made before it, because the device that the thread works for wants it
/// first.
#[derive(Debug)]
pub struct IoWaker {
    event: OwnedFd,
    /// Whether the event is set and the thread has not begun to look: then there is nothing to do.
    woken: AtomicBool,
    ended: AtomicBool,
}

impl IoWaker {
    /// A waker for a thread that is still to come.
    ///
    /// # Errors
    /// When the host gives no descriptor.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            woken: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }))
    }

    fn set(&self) {
        // Fails only if the counter is full: then the thread is as good as woken.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        // Fails if nobody woke the thread.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        self.woken.store(false, Ordering::SeqCst);
    }
}

impl Waker for IoWaker {
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.set();
        }
    }

    fn event(&self) -> Option<BorrowedFd<'_>> {
        Some(self.event.as_fd())
    }
}

/// Work for a thread that is still to be started: once the process is confined, for a thread that
/// runs before is not.
pub struct IoTask {
    /// The thread's name, at most 15 bytes.
    pub name: String,
    /// What wakes it.
    pub waker: Arc<IoWaker>,
    /// What it does.
    pub worker: Box<dyn IoWorker>,
}

impl IoTask {
    /// Starts a thread that calls the worker whenever the waker is woken, the worker's descriptor
    /// can be read, or its time has come; and once at the beginning. It works inside of `gate`.
    ///
    /// # Errors
    /// When the host gives no thread.
    pub(crate) fn start(self, gate: Arc<Gate>) -> io::Result<IoThread> {
        let Self {
            name,
            waker,
            worker,
        } = self;
        let ours = waker.clone();
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || serve(&ours, worker, &gate))?;
        Ok(IoThread {
            waker,
            thread: Some(thread),
        })
    }
}

/// A thread that works for one device. It ends when this is dropped.
#[derive(Debug)]
pub struct IoThread {
    waker: Arc<IoWaker>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.waker.ended.store(true, Ordering::SeqCst);
        self.waker.set();
        if let Some(thread) = self.thread.take() {
            // It panicked, and has said so.
            let _ = thread.join();
        }
    }
}

fn serve(waker: &IoWaker, mut worker: Box<dyn IoWorker>, gate: &Gate) {
    while !waker.ended.load(Ordering::SeqCst) {
        // Before the work: what comes in after the worker has looked calls for another round.
        waker.clear();
        let Some(timeout) = gate.pass(|| worker.work()) else {
            return;
        };
        wait(&waker.event, worker.watched(), timeout);
    }
}

fn wait(event: &OwnedFd, watched: Option<BorrowedFd<'_>>, timeout: Option<Duration>) {
    let event = PollFd::new(event, PollFlags::IN);
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // Interrupted, or short of memory: the next round looks again.
    let _ = match watched {
        Some(watched) => {
            let watched = PollFd::from_borrowed_fd(watched, PollFlags::IN);
            poll(&mut [event, watched], timeout.as_ref())
        }
        None => poll(&mut [event], timeout.as_ref()),
    };
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use rustix::pipe::pipe;

    use super::*;

    struct Reporter {
        rounds: Sender<()>,
        pipe: Option<OwnedFd>,
        timeout: Option<Duration>,
    }

    impl IoWorker for Reporter {
        fn watched(&self) -> Option<BorrowedFd<'_>> {
            self.pipe.as_ref().map(AsFd::as_fd)
        }

        fn work(&mut self) -> Option<Duration> {
            if let Some(pipe) = &self.pipe {
                let _ = rustix::io::ioctl_fionread(pipe).is_ok_and(|waiting| {
                    waiting > 0 && rustix::io::read(pipe, &mut [0; 8]).is_ok()
                });
            }
            let _ = self.rounds.send(());
            self.timeout
        }
    }

    fn start(waker: Arc<IoWaker>, worker: Reporter) -> IoThread {
        let task = IoTask {
            name: "test".into(),
            waker,
            worker: Box::new(worker),
        };
        task.start(Arc::default()).expect("thread")
    }

    const SOON: Duration = Duration::from_secs(10);
    const NEVER: Duration = Duration::from_millis(100);

    #[test]
    fn works_when_woken_or_called_or_late_and_not_otherwise() {
        let (reader, writer) = pipe().expect("pipe");
        let (rounds, done) = channel();
        let waker = IoWaker::new().expect("waker");
        let thread = start(
            waker.clone(),
            Reporter {
                rounds,
                pipe: Some(reader),
                timeout: None,
            },
        );
        done.recv_timeout(SOON).expect("at the beginning");
        assert!(done.recv_timeout(NEVER).is_err());
        for _ in 0..100 {
            waker.wake();
            done.recv_timeout(SOON).expect("woken");
        }
        for _ in 0..100 {
            // As the host's kernel does for a notification that never reaches this process.
            let event = waker.event().expect("an eventfd");
            rustix::io::write(event, &1u64.to_ne_bytes()).expect("room");
            done.recv_timeout(SOON).expect("woken");
            waker.wake();
            done.recv_timeout(SOON).expect("woken in the other way");
        }
        rustix::io::write(&writer, b"x").expect("write");
        done.recv_timeout(SOON).expect("called");
        drop(thread);
        waker.wake();
        while done.try_recv().is_ok() {}
        assert!(done.recv_timeout(NEVER).is_err(), "it has ended");
    }

    #[test]
    fn works_again_after_its_time() {
        let (rounds, done) = channel();
        let _thread = start(
            IoWaker::new().expect("waker"),
            Reporter {
                rounds,
                pipe: None,
                timeout: Some(Duration::from_millis(1)),
            },
        );
        for _ in 0..10 {
            done.recv_timeout(SOON).expect("in time");
        }
    }
}
