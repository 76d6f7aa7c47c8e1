//! Commands by SSH: a connection, and commands over it, on a thread of its own.

mod key;

use std::cell::Cell;
use std::future::pending;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::thread;

use bytes::Bytes;
use makiko::pubkey::SSH_ED25519;
use makiko::{
    AuthPubkeyResult, ChannelConfig, Client, ClientConfig, ClientEvent, ClientFuture,
    ClientReceiver, Privkey, PtyRequest, Session, SessionEvent, SessionReceiver, WindowChange,
};
use tokio::runtime;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::job::{Job, Plugs, Request};
use crate::{Command, Error, Exit, Terminal, socket};
pub use key::Key;

/// The port of the guest's SSH server.
pub const PORT: u32 = 22;

/// Who runs commands; another user is a matter of the command.
const USER: &str = "root";

/// How much the guest may send before it has to wait for what it sent to be read, in bytes.
const WINDOW: usize = 1 << 20;

/// Opens a connection over this stream, for the jobs that are sent.
pub(crate) fn open_connection(
    stream: UnixStream,
    key: &Key,
) -> Result<UnboundedSender<Job>, Error> {
    let key = key.for_client()?;
    let (jobs, to_do) = unbounded_channel();
    let (opened, open) = oneshot::channel();
    thread::Builder::new()
        .name("ssh".into())
        .spawn(move || serve(stream, key, opened, to_do))
        .map_err(|source| Error::Host {
            what: "a thread",
            source,
        })?;
    open.blocking_recv().unwrap_or(Err(Error::NotReady))?;
    Ok(jobs)
}

/// Connects, says by `opened` how that went, and runs one command after the other until no more are
/// to come or the connection breaks.
fn serve(
    stream: UnixStream,
    key: Privkey,
    opened: oneshot::Sender<Result<(), Error>>,
    jobs: UnboundedReceiver<Job>,
) {
    let runtime = runtime::Builder::new_current_thread().enable_io().build();
    let result = match runtime {
        Ok(runtime) => return runtime.block_on(converse(stream, key, opened, jobs)),
        Err(source) => Err(Error::Host {
            what: "an event loop",
            source,
        }),
    };
    // Whoever does not wait any more does not want to know.
    let _ = opened.send(result);
}

async fn converse(
    stream: UnixStream,
    key: Privkey,
    opened: oneshot::Sender<Result<(), Error>>,
    mut jobs: UnboundedReceiver<Job>,
) {
    let (client, events, connection) = match open(stream) {
        Ok(opened) => opened,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    let mut broken = pin!(connection);
    let events = tokio::spawn(accept_server(events));
    let authenticated = tokio::select! {
        result = authenticate(&client, key) => result,
        end = &mut broken => Err(why(end)),
    };
    let mut whole = authenticated.is_ok();
    let _ = opened.send(authenticated);
    while whole {
        let job = tokio::select! {
            job = jobs.recv() => job,
            _ = &mut broken => None,
        };
        let Some(job) = job else {
            break;
        };
        let runs = Cell::new(false);
        let outcome = tokio::select! {
            outcome = run(&client, &job.command, job.plugs, (job.started, &runs)) => outcome,
            end = &mut broken => {
                whole = false;
                // Of a command that runs, it is the end, however the guest went.
                if runs.get() { Ok(Exit::Unknown) } else { Err(why(end)) }
            }
        };
        let _ = job.ended.send(outcome);
    }
    events.abort();
}

/// Why there is no connection any more.
fn why(end: Result<(), makiko::Error>) -> Error {
    match end {
        Ok(()) => Error::Connection("the guest has closed it".to_owned()),
        Err(error) => Error::connection(&error),
    }
}

type Opened = (Client, ClientReceiver, ClientFuture<tokio::net::UnixStream>);

fn open(stream: UnixStream) -> Result<Opened, Error> {
    let stream = socket::for_runtime(stream)?;
    Client::open(stream, ClientConfig::default()).map_err(|error| Error::connection(&error))
}

/// Whatever key the server has: see the crate's description.
async fn accept_server(mut events: ClientReceiver) {
    while let Ok(Some(event)) = events.recv().await {
        if let ClientEvent::ServerPubkey(_, accept) = event {
            accept.accept();
        }
    }
}

async fn authenticate(client: &Client, key: Privkey) -> Result<(), Error> {
    let authenticated = client.auth_pubkey(USER.to_owned(), key, &SSH_ED25519);
    let result = authenticated.await;
    match result.map_err(|error| Error::connection(&error))? {
        AuthPubkeyResult::Success => Ok(()),
        AuthPubkeyResult::Failure(_) => Err(Error::Refused),
    }
}

/// Runs the command to its end; says by `started` and `runs` that it has been started.
async fn run(
    client: &Client,
    command: &Command,
    plugs: Plugs,
    (started, runs): (oneshot::Sender<()>, &Cell<bool>),
) -> Result<Exit, Error> {
    let (session, receiver) = start(client, command).await?;
    runs.set(true);
    // Nobody waits: then nobody wants the command either.
    if started.send(()).is_err() {
        return Ok(Exit::Unknown);
    }
    Ok(attend(session, receiver, plugs).await)
}

async fn start(client: &Client, command: &Command) -> Result<(Session, SessionReceiver), Error> {
    let failed = |error: makiko::Error| Error::connection(&error);
    let config = ChannelConfig::default().with(|config| config.recv_window_max = WINDOW);
    let (session, receiver) = client.open_session(config).await.map_err(failed)?;
    // The two go together, and so does the wait for their answers.
    let terminal = command.terminal.as_ref().map(|terminal| {
        session
            .request_pty(&terminal_request(terminal))
            .map_err(failed)
    });
    let running = session.exec(command.line().as_bytes()).map_err(failed)?;
    if let Some(terminal) = terminal {
        let granted = terminal?.wait().await;
        granted.map_err(|_| Error::Request("to give the command a terminal"))?;
    }
    let granted = running.wait().await;
    granted.map_err(|_| Error::Request("to run the command"))?;
    Ok((session, receiver))
}

fn terminal_request(terminal: &Terminal) -> PtyRequest {
    PtyRequest {
        term: terminal.kind.clone(),
        width: terminal.size.0.into(),
        height: terminal.size.1.into(),
        ..PtyRequest::default()
    }
}

/// Serves the running command until its end.
async fn attend(session: Session, mut receiver: SessionReceiver, plugs: Plugs) -> Exit {
    let Plugs {
        input,
        output,
        errors,
        requests,
    } = plugs;
    let feeding = tokio::spawn(feed(session.clone(), input));
    let (hang_up, hung_up) = oneshot::channel();
    let asking = tokio::spawn(pass_on(session.clone(), requests, hang_up));
    let left = async {
        if hung_up.await.is_err() {
            // There will be no more requests.
            pending::<()>().await;
        }
    };
    tokio::pin!(left);
    let mut exit = Exit::Unknown;
    loop {
        let event = tokio::select! {
            event = receiver.recv() => event,
            () = &mut left => break,
        };
        let Ok(Some(event)) = event else { break };
        let taken = match event {
            SessionEvent::StdoutData(bytes) => output.send(bytes).await,
            SessionEvent::StderrData(bytes) => errors.send(bytes).await,
            SessionEvent::ExitStatus(status) => {
                exit = Exit::Status(status as u8);
                Ok(())
            }
            SessionEvent::ExitSignal(signal) => {
                exit = Exit::Signal(signal.signal_name);
                Ok(())
            }
            _ => Ok(()),
        };
        if taken.is_err() {
            // Nobody reads any more. The connection closes, and the command writes into a pipe that
            // nobody reads, either.
            exit = Exit::Signal("PIPE".to_owned());
            break;
        }
    }
    feeding.abort();
    asking.abort();
    exit
}

async fn feed(session: Session, mut input: Receiver<Bytes>) {
    while let Some(piece) = input.recv().await {
        if session.send_stdin(piece).await.is_err() {
            return;
        }
    }
    // One that is gone needs no end of input.
    let _ = session.send_eof().await;
}

async fn pass_on(
    session: Session,
    mut requests: UnboundedReceiver<Request>,
    hang_up: oneshot::Sender<()>,
) {
    while let Some(request) = requests.recv().await {
        let passed = match request {
            Request::HangUp => {
                // It may have ended by itself.
                let _ = hang_up.send(());
                return;
            }
            Request::Signal(name) => session.signal(name),
            Request::Resize((width, height)) => session.window_change(&WindowChange {
                width: width.into(),
                height: height.into(),
                width_px: 0,
                height_px: 0,
            }),
        };
        if passed.is_err() {
            return;
        }
    }
}
