//! `struct virtio_input_config` (section 5.8.4): the driver selects what it wants to know, and reads
//! the answer and its length.

use super::InputState;

/// Codes of `linux/input-event-codes.h`, which section 5.8.6 makes those of the device.
pub(super) const EV_SYN: u16 = 0;
pub(super) const EV_KEY: u16 = 1;
pub(super) const SYN_REPORT: u16 = 0;
pub(super) const KEY_POWER: u16 = 116;

const ID_NAME: u8 = 0x01;
const ID_SERIAL: u8 = 0x02;
const ID_DEVIDS: u8 = 0x03;
const EV_BITS: u8 = 0x11;

const NAME: &[u8] = b"Power Button";
const SERIAL: &[u8] = b"clade-power";

/// `struct virtio_input_devids`: BUS_HOST, no vendor, product and version.
const DEVICE_IDS: [u8; 8] = [0x19, 0, 0, 0, 0, 0, 0, 0];

/// The bit of KEY_POWER, and as many bytes before it as it takes.
const KEYS: [u8; 15] = {
    let mut keys = [0; 15];
    keys[KEY_POWER as usize / 8] = 1 << (KEY_POWER % 8);
    keys
};

const SIZE_AT: usize = 2;
const ANSWER_AT: usize = 8;
const ANSWER_MAX: usize = 128;

/// The structure as the driver reads it now.
pub(super) fn structure(state: InputState) -> [u8; ANSWER_AT + ANSWER_MAX] {
    let answer = answer(state);
    let mut bytes = [0; ANSWER_AT + ANSWER_MAX];
    bytes[0] = state.select;
    bytes[1] = state.subselect;
    bytes[SIZE_AT] = answer.len() as u8;
    bytes[ANSWER_AT..ANSWER_AT + answer.len()].copy_from_slice(answer);
    bytes
}

/// Nothing for all that this device does not have.
fn answer(state: InputState) -> &'static [u8] {
    match (state.select, state.subselect) {
        (ID_NAME, 0) => NAME,
        (ID_SERIAL, 0) => SERIAL,
        (ID_DEVIDS, 0) => &DEVICE_IDS,
        (EV_BITS, events) if u16::from(events) == EV_KEY => &KEYS,
        _ => &[],
    }
}
