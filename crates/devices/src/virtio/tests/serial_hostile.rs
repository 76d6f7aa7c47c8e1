//! Drivers that misuse named serial ports.

use proptest::prelude::*;

use super::driver::{BUFFERS, NEEDS_RESET, NEXT, VERSION_1, WRITE};
use super::serial::{Board, CONTROL_RECEIVE, CONTROL_TRANSMIT, Guest, MULTIPORT, board};
use super::{RAM, poke};

const FEATURES: u64 = VERSION_1 | MULTIPORT;

fn is_broken(board: &Board, guest: &Guest<'_>) -> bool {
    while board.device.process() {}
    guest.driver.status() & NEEDS_RESET != 0
}

/// Offers a control message of these bytes.
fn say(guest: &mut Guest<'_>, bytes: &[u8]) {
    poke(&guest.board.ram, BUFFERS, bytes);
    guest.rings[CONTROL_TRANSMIT].describe(0, (BUFFERS, bytes.len() as u32, 0, 0));
    guest.rings[CONTROL_TRANSMIT].offer(0);
    guest.driver.notify(CONTROL_TRANSMIT as u16);
}

#[test]
fn messages_without_meaning_are_ignored() {
    let board = board();
    let mut guest = Guest::start(&board, FEATURES);
    let before = board.device.save();
    for bytes in [
        &[0; 7][..],
        &[],
        // Ports that do not exist: the console's, one behind the last, and the highest number.
        &[0, 0, 0, 0, 3, 0, 1, 0],
        &[3, 0, 0, 0, 3, 0, 1, 0],
        &[255, 255, 255, 255, 6, 0, 1, 0],
        // Not the driver's to say, and unknown.
        &[1, 0, 0, 0, 1, 0, 1, 0],
        &[1, 0, 0, 0, 7, 0, 1, 0, b'x'],
        &[1, 0, 0, 0, 255, 255, 1, 0],
        // A driver that failed, and a port that is opened before it is ready.
        &[0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 6, 0, 1, 0],
    ] {
        say(&mut guest, bytes);
        assert!(!is_broken(&board, &guest), "{bytes:?}");
        assert_eq!(guest.rings[CONTROL_TRANSMIT].take(), Some((0, 0)));
        assert_eq!(board.device.save(), before, "{bytes:?}");
        assert_eq!(guest.rings[CONTROL_RECEIVE].take(), None);
    }
}

#[test]
fn what_was_said_a_thousand_times_is_answered_with_no_more_than_the_news() {
    let board = board();
    let mut guest = Guest::start(&board, FEATURES);
    while guest.rings[CONTROL_RECEIVE].take().is_some() {}
    for _ in 0..1000 {
        say(&mut guest, &[0, 0, 0, 0, 0, 0, 1, 0]);
        assert!(!is_broken(&board, &guest));
        assert!(guest.rings[CONTROL_TRANSMIT].take().is_some());
    }
    let told = std::iter::from_fn(|| guest.rings[CONTROL_RECEIVE].take()).count();
    // Until the driver's sixteen buffers were used up: what waits is a flag, not a queue.
    assert_eq!(told, 16);
}

#[test]
fn buffers_outside_of_memory_or_too_small_break_the_device() {
    for queue in [CONTROL_TRANSMIT, 5] {
        let board = board();
        let mut guest = Guest::start(&board, FEATURES);
        guest.rings[queue].describe(0, (RAM - 1, 8, 0, 0));
        guest.rings[queue].offer(0);
        assert!(is_broken(&board, &guest), "{queue}");
        assert!(!board.device.process());
        guest.driver.set_status(0);
        assert_eq!(guest.driver.status(), 0);
    }
    let board = board();
    let mut guest = Guest::start(&board, FEATURES);
    for index in 0..16 {
        guest.rings[CONTROL_RECEIVE].describe(index, (BUFFERS + 64, 7, WRITE, 0));
    }
    say(&mut guest, &[0, 0, 0, 0, 0, 0, 1, 0]);
    assert!(is_broken(&board, &guest));
}

#[test]
fn a_loop_of_buffers_ends() {
    let board = board();
    let mut guest = Guest::start(&board, FEATURES);
    guest.rings[5].describe(0, (BUFFERS, 3, NEXT, 0));
    guest.rings[5].offer(0);
    let rounds = (0..1000).take_while(|_| board.device.process()).count();
    assert!(rounds < 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Nothing panics or hangs, and at any time the state can be saved and restored.
    #[test]
    fn whatever_a_driver_says_and_a_client_does_is_survived(
        steps in prop::collection::vec(
            (0u8..6, 0u32..4, 0u16..9, 0u16..3, 0u32..70_000),
            1..60,
        ),
    ) {
        let board = board();
        let mut guest = Guest::start(&board, FEATURES);
        for (kind, port, event, value, length) in steps {
            let end = &board.ends[port as usize % 2];
            match kind {
                0 | 1 => {
                    let mut bytes = port.to_le_bytes().to_vec();
                    bytes.extend(event.to_le_bytes());
                    bytes.extend(value.to_le_bytes());
                    say(&mut guest, &bytes);
                }
                2 => {
                    let mut line = end.get();
                    line.clients_waiting += 1;
                    line.room = length as usize;
                    line.to_guest.extend(vec![0; length as usize]);
                }
                3 => end.get().connected = false,
                4 => guest.offer(5 + 2 * (port as usize % 2), event, length, 0),
                _ => guest.offer(4 + 2 * (port as usize % 2), event, length, WRITE),
            }
            let rounds = (0..1000).take_while(|_| board.device.process()).count();
            prop_assert!(rounds < 1000);
        }
        let (function, state) = (board.function.save(), board.device.save());
        let other = super::serial::board();
        other.function.restore(&function).unwrap();
        other.device.restore(&state).unwrap();
        prop_assert_eq!(other.function.save(), function);
        prop_assert_eq!(other.device.save(), state);
    }
}
