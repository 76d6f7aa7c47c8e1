//! What waits to be sent to one consumer.

use std::collections::VecDeque;

use crate::control::{Event, FromMachine};
use crate::outcome::Outcome;
use crate::stats::MachineStats;

/// Output beyond this many bytes makes the guest wait for the consumer.
pub(super) const OUTBOX_LIMIT: usize = 1 << 20;

/// Output is sent in pieces of at most this size.
const PIECE: usize = 32 << 10;

/// The messages that wait for one consumer, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    messages: VecDeque<FromMachine>,
    output_bytes: usize,
    /// Whether the consumer gets what the guest prints.
    pub(super) attached: bool,
    /// Nothing more comes: the consumer leaves when it has everything.
    pub(super) closing: bool,
    /// Input of this consumer that the guest has not taken yet, in bytes.
    pub(super) input_pending: usize,
}

impl Outbox {
    pub(super) fn is_full(&self) -> bool {
        self.attached && self.output_bytes >= OUTBOX_LIMIT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn push_output(&mut self, bytes: &[u8]) {
        if self.closing {
            return;
        }
        self.output_bytes += bytes.len();
        let mut rest = bytes;
        if let Some(FromMachine::Output(last)) = self.messages.back_mut() {
            let fits = rest.len().min(PIECE.saturating_sub(last.len()));
            last.extend_from_slice(&rest[..fits]);
            rest = &rest[fits..];
        }
        let pieces = rest
            .chunks(PIECE)
            .map(|piece| FromMachine::Output(piece.to_vec()));
        self.messages.extend(pieces);
    }

    pub(super) fn push_event(&mut self, event: Event) {
        if !self.closing {
            self.messages.push_back(FromMachine::Event(event));
        }
    }

    /// The last that the consumer hears.
    pub(super) fn push_end(&mut self, stats: MachineStats, outcome: &Outcome) {
        self.push_event(Event::Stats(stats));
        self.push_event(Event::Ended(outcome.clone()));
        self.closing = true;
    }

    pub(super) fn take(&mut self) -> Vec<FromMachine> {
        self.output_bytes = 0;
        self.messages.drain(..).collect()
    }
}
