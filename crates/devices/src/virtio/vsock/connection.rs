//! One connection, from the host's side.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use super::VsockStream;
use super::credit::{BUFFER, Incoming, Outgoing};
use super::packet::{Header, MAX_PAYLOAD, op, shutdown};

/// A connection. What it has to say to the guest waits here until the guest has a buffer for it.
pub(super) struct Connection {
    stream: Box<dyn VsockStream>,
    phase: Phase,
    outgoing: Outgoing,
    incoming: Incoming,
    /// What the guest sent and the host has not taken; at most [`BUFFER`] bytes.
    to_host: VecDeque<u8>,
    guest_sends: bool,
    guest_receives: bool,
    /// The host's own end was told that the guest sends no more.
    finished: bool,
    /// What the guest was told of what the host will not do any more.
    shutdown_told: u32,
    host_sends: bool,
    credit_asked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The guest is to be asked for the connection.
    Asking,
    /// It has been asked.
    Asked,
    /// The guest asked, and is to be answered.
    Answering,
    Open,
    /// The guest is to be told that it is gone.
    Ending,
}

/// What is left of a connection after it was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Something,
    Nothing,
}

impl Connection {
    /// The host's end asks for a connection.
    pub(super) fn asking(stream: Box<dyn VsockStream>) -> Self {
        Self::new(stream, Phase::Asking)
    }

    /// The guest asked for a connection, and the host's end is there.
    pub(super) fn answering(stream: Box<dyn VsockStream>, request: &Header) -> Self {
        let mut connection = Self::new(stream, Phase::Answering);
        connection.outgoing.update(request);
        connection
    }

    fn new(stream: Box<dyn VsockStream>, phase: Phase) -> Self {
        Connection {
            stream,
            phase,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            to_host: VecDeque::new(),
            guest_sends: true,
            guest_receives: true,
            finished: false,
            shutdown_told: 0,
            host_sends: true,
            credit_asked: false,
        }
    }

    /// Takes a packet that the guest sent on this connection.
    pub(super) fn receive(&mut self, header: &Header, payload: &[u8], host_port: u32) -> Left {
        self.outgoing.update(header);
        match (header.op, self.phase) {
            (op::RESET, _) => {
                // What the guest sent before goes to the host, as far as it has room.
                let _ = self.flush();
                return Left::Nothing;
            }
            (op::RESPONSE, Phase::Asked) => {
                self.phase = Phase::Open;
                self.stream.accepted(host_port);
            }
            (op::DATA, Phase::Open) if self.guest_sends => self.take(payload),
            (op::SHUTDOWN, Phase::Open) => {
                self.guest_sends &= header.flags & shutdown::SEND == 0;
                self.guest_receives &= header.flags & shutdown::RECEIVE == 0;
            }
            (op::CREDIT_UPDATE, Phase::Open) => {}
            (op::CREDIT_REQUEST, Phase::Open) => self.credit_asked = true,
            (_, Phase::Ending) => {}
            // Out of turn.
            _ => self.end(),
        }
        self.serve_host();
        Left::Something
    }

    /// More than the guest was told that there is room for ends the connection.
    fn take(&mut self, payload: &[u8]) {
        if self.to_host.len() + payload.len() > BUFFER as usize {
            return self.end();
        }
        self.incoming.receive(payload.len());
        let mut direct = 0;
        if self.to_host.is_empty() {
            match self.stream.write(payload) {
                Ok(written) => direct = written.min(payload.len()),
                Err(error) if is_passing(&error) => {}
                Err(_) => return self.end(),
            }
            self.incoming.forward(direct);
        }
        self.to_host.extend(&payload[direct..]);
    }

    /// Does for the host's end what can be done now.
    pub(super) fn serve_host(&mut self) {
        if self.flush().is_err() {
            return self.end();
        }
        let flushed = self.to_host.is_empty();
        if flushed && !self.guest_sends && !self.finished {
            self.finished = true;
            self.stream.finish();
        }
        let over = flushed && !self.guest_sends && !self.guest_receives;
        let given_up = self.phase != Phase::Open && self.stream.closed();
        if over || given_up {
            self.end();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.to_host.is_empty() {
            match self.stream.write(self.to_host.as_slices().0) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let written = written.min(self.to_host.len());
                    self.to_host.drain(..written);
                    self.incoming.forward(written);
                }
                Err(error) if is_passing(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        self.phase = Phase::Ending;
        self.to_host = VecDeque::new();
    }

    /// The packet without data that the guest is to be sent next: operation and flags.
    pub(super) fn control(&self) -> Option<(u16, u32)> {
        let shutdown = self.shutdown_due();
        match self.phase {
            Phase::Asking => Some((op::REQUEST, 0)),
            Phase::Asked => None,
            Phase::Answering => Some((op::RESPONSE, 0)),
            Phase::Ending => Some((op::RESET, 0)),
            Phase::Open if shutdown != self.shutdown_told => Some((op::SHUTDOWN, shutdown)),
            Phase::Open if self.credit_asked || self.incoming.worth_telling() => {
                Some((op::CREDIT_UPDATE, 0))
            }
            Phase::Open => None,
        }
    }

    fn shutdown_due(&self) -> u32 {
        if self.host_sends {
            0
        } else if self.stream.closed() {
            shutdown::SEND | shutdown::RECEIVE
        } else {
            shutdown::SEND
        }
    }

    /// That packet is on its way.
    pub(super) fn control_sent(&mut self, (operation, flags): (u16, u32)) -> Left {
        self.credit_asked = false;
        match operation {
            op::REQUEST => self.phase = Phase::Asked,
            op::RESPONSE => self.phase = Phase::Open,
            op::SHUTDOWN => self.shutdown_told = flags,
            op::RESET => return Left::Nothing,
            _ => {}
        }
        Left::Something
    }

    /// How many bytes the guest can be sent now, if the host's end may have any.
    pub(super) fn room(&self) -> usize {
        let open = self.phase == Phase::Open && self.host_sends && self.guest_receives;
        if open && self.stream.readable() {
            self.outgoing.room().min(MAX_PAYLOAD)
        } else {
            0
        }
    }

    /// Reads what the guest is to be sent; 0 if there is nothing now.
    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        if into.is_empty() {
            return 0;
        }
        match self.stream.read(into) {
            Ok(0) => self.host_sends = false,
            Ok(count) => {
                let count = count.min(into.len());
                self.outgoing.send(count);
                return count;
            }
            Err(error) if is_passing(&error) => {}
            // The host's end is gone: nothing more comes, and what the guest sends will find out.
            Err(_) => self.host_sends = false,
        }
        0
    }

    /// How much of what the guest sent has been taken: it is told so in every packet.
    pub(super) fn announce(&mut self) -> u32 {
        self.incoming.announce()
    }
}

/// Nothing to read or no room now.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
