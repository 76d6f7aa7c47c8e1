//! The machine's end of its control connections.

use std::io::{self, BufReader};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::stop::StopSwitch;
use super::wire::{self, WireError};
use super::{Event, FromClient, FromMachine, Request, Status};
use crate::console::ConsoleHub;

/// What a client is to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The command that started the machine: when it goes away without detaching, the machine is
    /// stopped.
    Owner,
    /// Anybody else: comes and goes.
    Guest,
}

/// Serves a machine's control connections.
pub struct ControlServer {
    pub(super) hub: Arc<ConsoleHub>,
    pub(super) stop: Arc<StopSwitch>,
    started: Instant,
    foreground: AtomicBool,
}

impl ControlServer {
    /// A server for the machine behind `hub` and `stop`, which starts now.
    pub fn new(hub: Arc<ConsoleHub>, stop: Arc<StopSwitch>) -> Arc<Self> {
        Arc::new(Self {
            hub,
            stop,
            started: Instant::now(),
            foreground: AtomicBool::new(false),
        })
    }

    /// Accepts connections in a thread of its own, for as long as the process lives.
    ///
    /// # Errors
    /// When the host has no thread left.
    pub fn listen(self: &Arc<Self>, listener: UnixListener) -> io::Result<()> {
        let server = Arc::clone(self);
        let accept = move || {
            for stream in listener.incoming() {
                match stream.and_then(|stream| server.serve(stream, Role::Guest, None)) {
                    Ok(()) => {}
                    Err(error) => {
                        eprintln!("a control connection was lost: {error}");
                        // Out of file descriptors or threads: they need time to come back.
                        thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        };
        thread::Builder::new()
            .name("control".into())
            .spawn(accept)
            .map(drop)
    }

    /// Tells the command that started the machine that it is ready, and waits for its word: to
    /// attach, before the guest prints anything, or to let the machine run on its own. If it is
    /// gone, the machine is stopped, unless by then it `must_go_on`.
    ///
    /// # Errors
    /// When the host has no file descriptor or thread left.
    pub fn serve_owner(
        self: &Arc<Self>,
        mut stream: UnixStream,
        must_go_on: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        let tell = |stream: &mut UnixStream, event| {
            wire::write_to_client(stream, &[FromMachine::Event(event)])
        };
        let word = tell(&mut stream, Event::Ready)
            .map_err(WireError::from)
            .and_then(|()| wire::read_from_client(&mut stream));
        match word {
            Ok(Some(FromClient::Request(request @ Request::Attach { .. }))) => {
                self.foreground.store(true, Ordering::Relaxed);
                self.serve(stream, Role::Owner, Some(&request))
            }
            Ok(Some(FromClient::Request(Request::Detach))) => tell(&mut stream, Event::Detached),
            _ if must_go_on() => Ok(()),
            _ => {
                self.stop.stop();
                Ok(())
            }
        }
    }

    /// Serves one connection in threads of its own, as if `first` were its first request.
    fn serve(
        self: &Arc<Self>,
        stream: UnixStream,
        role: Role,
        first: Option<&Request>,
    ) -> io::Result<()> {
        let reader = BufReader::new(stream.try_clone()?);
        let consumer = self.hub.join();
        if let Some(request) = first {
            self.answer(consumer, request);
        }
        let hub = Arc::clone(&self.hub);
        let spawned = thread::Builder::new()
            .name("control-write".into())
            .spawn(move || write_messages(&hub, consumer, stream))
            .and_then(|_| {
                let server = Arc::clone(self);
                thread::Builder::new()
                    .name("control-read".into())
                    .spawn(move || server.read_requests(reader, consumer, role))
            });
        if let Err(error) = spawned {
            self.hub.leave(consumer);
            self.owner_left(role);
            return Err(error);
        }
        Ok(())
    }

    fn read_requests(&self, mut reader: BufReader<UnixStream>, consumer: u64, role: Role) {
        let mut role = role;
        loop {
            match wire::read_from_client(&mut reader) {
                Ok(Some(FromClient::Request(Request::Detach))) => {
                    if role == Role::Owner {
                        role = Role::Guest;
                        self.foreground.store(false, Ordering::Relaxed);
                    }
                    self.hub.post(consumer, Event::Detached);
                    self.hub.close(consumer);
                }
                Ok(Some(FromClient::Request(Request::Snapshot(order)))) => {
                    self.snapshot(&reader, consumer, order);
                }
                Ok(Some(FromClient::Request(Request::SaveCodeCache))) => {
                    self.save_code_cache(&reader, consumer);
                }
                Ok(Some(FromClient::Request(request))) => self.answer(consumer, &request),
                Ok(Some(FromClient::Input(bytes))) => {
                    if let Err(error) = self.hub.input(consumer, bytes) {
                        eprintln!("a client was sent away: {error}");
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    eprintln!("a client was lost: {error}");
                    break;
                }
            }
        }
        self.hub.leave(consumer);
        self.owner_left(role);
    }

    fn owner_left(&self, role: Role) {
        if role == Role::Owner && !self.hub.is_finished() {
            self.stop.stop();
        }
    }

    fn answer(&self, consumer: u64, request: &Request) {
        match request {
            Request::Attach { size } => {
                if let Some(size) = size {
                    self.hub.resize(*size);
                }
                self.hub.attach(consumer);
            }
            Request::Resize(size) => self.hub.resize(*size),
            Request::PowerButton => {
                let heard = self.stop.press_power_button();
                self.hub.post(consumer, Event::PowerButton { heard });
            }
            Request::LimitMemory { bytes } => {
                let heard = self.stop.limit_memory(*bytes);
                self.hub.post(consumer, Event::MemoryLimited { heard });
            }
            Request::Pause => {
                let event = match self.stop.pause() {
                    Ok(changed) => Event::Paused { changed },
                    Err(busy) => Event::Failed {
                        reason: busy.to_string(),
                    },
                };
                self.hub.post(consumer, event);
            }
            Request::Resume => {
                let changed = self.stop.resume();
                self.hub.post(consumer, Event::Resumed { changed });
            }
            Request::Stop => self.stop.stop(),
            Request::Status => self.hub.post(consumer, Event::Status(self.status())),
            // These concern the connection.
            Request::Detach | Request::Snapshot(_) | Request::SaveCodeCache => {}
        }
    }

    fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            begun: self.stop.has_machine(),
            foreground: self.foreground.load(Ordering::Relaxed),
            ready: self.hub.is_guest_ready(),
            paused: self.stop.is_paused(),
            uptime: self.started.elapsed().as_secs(),
        }
    }
}

/// Tells the command that started the machine that it cannot be built.
pub(crate) fn refuse(mut owner: UnixStream, reason: String) {
    // If it is gone, nobody is left to be told.
    let _ = wire::write_to_client(&mut owner, &[FromMachine::Event(Event::Refused { reason })]);
}

fn write_messages(hub: &ConsoleHub, consumer: u64, mut stream: UnixStream) {
    while let Some(messages) = hub.next_messages(consumer) {
        if wire::write_to_client(&mut stream, &messages).is_err() {
            break;
        }
    }
    // The reader's thread ends with the connection, and does what the client's leaving asks for.
    let _ = stream.shutdown(Shutdown::Both);
    hub.leave(consumer);
}
