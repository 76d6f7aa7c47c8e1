//! Commands by the agent of our own images, each over a connection of its own, which costs next to nothing.

mod protocol;

use std::future::pending;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver};

use crate::job::{Job, Plugs, Request};
use crate::process::{Exit, signal_name, signal_number};
use crate::socket::{self, PATIENCE};
use crate::{Command, Error};
use protocol::{Answer, Order, PORT, VERSION, WINDOW};

/// Connects to the agent of the guest whose machine has its socket at `socket`. None if the guest has no agent.
pub(crate) fn connect(socket: &Path) -> Result<Option<UnixStream>, Error> {
    let Some(stream) = socket::try_connect(socket, PORT)? else {
        return Ok(None);
    };
    greet(&stream)?;
    Ok(Some(stream))
}

/// Takes the agent's greeting.
fn greet(mut stream: &UnixStream) -> Result<(), Error> {
    let mut greeting = [0; protocol::HELLO_LENGTH];
    let heard = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.read_exact(&mut greeting))
        .and_then(|()| stream.set_read_timeout(None));
    heard.map_err(|_| Error::NotReady)?;
    match protocol::version(greeting) {
        Some(VERSION) => Ok(()),
        Some(version) => Err(Error::Version(version)),
        None => Err(odd()),
    }
}

fn odd() -> Error {
    Error::Connection("the guest's agent does not speak as one".to_owned())
}

/// Runs the command over this connection, on a thread of its own.
pub(crate) fn spawn(stream: UnixStream, job: Job) -> Result<(), Error> {
    let spawned = thread::Builder::new()
        .name("agent".into())
        .spawn(move || serve(stream, job));
    spawned.map(drop).map_err(|source| Error::Host {
        what: "a thread",
        source,
    })
}

fn serve(stream: UnixStream, job: Job) {
    let Job {
        command,
        plugs,
        started,
        ended,
    } = job;
    let runtime = runtime::Builder::new_current_thread().enable_io().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let mut agent = Agent::of(stream)?;
            agent.start(&command).await?;
            // Nobody waits: then nobody wants the command either.
            if started.send(()).is_err() {
                return Ok(Exit::Unknown);
            }
            Ok(agent.attend(plugs).await)
        }),
        Err(source) => Err(Error::Host {
            what: "an event loop",
            source,
        }),
    };
    let _ = ended.send(outcome);
}

struct Agent {
    answers: BufReader<OwnedReadHalf>,
    orders: OwnedWriteHalf,
}

impl Agent {
    fn of(stream: UnixStream) -> Result<Self, Error> {
        let stream = socket::for_runtime(stream)?;
        let (answers, orders) = stream.into_split();
        Ok(Self {
            answers: BufReader::new(answers),
            orders,
        })
    }

    async fn start(&mut self, command: &Command) -> Result<(), Error> {
        let failed = |error: io::Error| Error::Connection(error.to_string());
        let request = protocol::run(command)?;
        self.orders.write_all(&request).await.map_err(failed)?;
        match protocol::read(&mut self.answers).await.map_err(failed)? {
            Some(Answer::Started) => Ok(()),
            Some(Answer::Failed { errno }) => Err(Error::NotStarted(io::Error::from_raw_os_error(
                errno as i32,
            ))),
            Some(_) => Err(odd()),
            None => Err(Error::Connection("the guest has closed it".to_owned())),
        }
    }

    /// Serves the running command until its end.
    async fn attend(self, plugs: Plugs) -> Exit {
        let Plugs {
            input,
            output,
            errors,
            requests,
        } = plugs;
        let window = Semaphore::new(WINDOW);
        tokio::select! {
            exit = listen(self.answers, &output, &errors, &window) => exit,
            () = give_orders(self.orders, input, requests, &window) => Exit::Unknown,
        }
    }
}

/// Takes what the agent says, until it tells the command's end or goes away.
async fn listen(
    mut answers: BufReader<OwnedReadHalf>,
    output: &Sender<Bytes>,
    errors: &Sender<Bytes>,
    window: &Semaphore,
) -> Exit {
    while let Ok(Some(answer)) = protocol::read(&mut answers).await {
        let taken = match answer {
            Answer::Output(bytes) => output.send(bytes).await,
            Answer::Errors(bytes) => errors.send(bytes).await,
            Answer::Taken(count) => {
                // A guest that says more than it took gets more than it may, which is for it to bear.
                let room = WINDOW.saturating_sub(window.available_permits());
                window.add_permits(room.min(count as usize));
                Ok(())
            }
            Answer::Closed => {
                window.close();
                Ok(())
            }
            Answer::Exit { status } => return exit(status),
            Answer::Hello { .. } | Answer::Started | Answer::Failed { .. } => break,
        };
        if taken.is_err() {
            // Nobody reads any more. The connection closes, and the command writes into a pipe that
            // nobody reads, either.
            return Exit::Signal("PIPE".to_owned());
        }
    }
    Exit::Unknown
}

/// A status as wait(2) has it.
fn exit(status: u32) -> Exit {
    match status & 0x7f {
        0 => Exit::Status((status >> 8) as u8),
        signal => Exit::Signal(signal_name(signal as u8).into_owned()),
    }
}

/// Gives the agent input and requests, until the command is to be left.
async fn give_orders(
    mut orders: OwnedWriteHalf,
    input: Receiver<Bytes>,
    mut requests: UnboundedReceiver<Request>,
    window: &Semaphore,
) {
    let mut input = Some(input);
    // What waits for room.
    let mut piece: Option<Bytes> = None;
    loop {
        let order = tokio::select! {
            // If there are no more requests, there is nobody either who leaves.
            Some(request) = requests.recv() => match request {
                Request::Signal(name) => Order::Signal(signal_number(name).into()),
                Request::Resize((columns, rows)) => Order::Size { rows, columns },
                Request::HangUp => return,
            },
            next = next_piece(&mut input), if piece.is_none() => {
                piece = next;
                match piece {
                    Some(_) => continue,
                    None => {
                        input = None;
                        Order::EndOfInput
                    }
                }
            }
            room = room_for(&piece, window) => match (room, piece.take()) {
                (true, Some(piece)) => Order::Input(piece),
                // Nobody reads it.
                _ => {
                    input = None;
                    continue;
                }
            },
        };
        if orders.write_all(&order.frame()).await.is_err() {
            // It is gone, and who listens to it says so.
            return pending().await;
        }
    }
}

/// The next piece of input; none at its end. Waits for ever behind that.
async fn next_piece(input: &mut Option<Receiver<Bytes>>) -> Option<Bytes> {
    match input {
        Some(input) => input.recv().await,
        None => pending().await,
    }
}

/// Waits for room for the piece, if there is one; whether it is read at all.
async fn room_for(piece: &Option<Bytes>, window: &Semaphore) -> bool {
    let Some(piece) = piece else {
        return pending().await;
    };
    // Pieces are smaller than 4 GiB by far.
    match window.acquire_many(piece.len() as u32).await {
        Ok(room) => {
            room.forget();
            true
        }
        Err(_) => false,
    }
}
