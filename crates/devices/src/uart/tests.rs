use std::sync::Arc;

use clade_engine::IoDevice;
use proptest::prelude::*;

use super::{Uart, UartState};
use crate::ConsolePort;
use crate::testing::{Screen, Wire};

struct Bench {
    wire: Arc<Wire>,
    screen: Arc<Screen>,
    uart: Arc<Uart>,
}

fn bench() -> Bench {
    let wire = Wire::new();
    let screen = Arc::new(Screen::default());
    let uart = Uart::new(wire.clone(), screen.clone());
    Bench { wire, screen, uart }
}

impl Bench {
    fn read(&self, register: u64) -> u8 {
        let mut data = [0];
        self.uart.read(register, &mut data);
        data[0]
    }

    fn write(&self, register: u64, value: u8) {
        self.uart.write(register, &[value]);
    }
}

const DATA: u64 = 0;
const IER: u64 = 1;
const IIR: u64 = 2;
const FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;
const SCR: u64 = 7;

#[test]
fn bytes_leave_and_the_transmitter_says_it_is_empty() {
    let bench = bench();
    assert_eq!(bench.read(LSR), 0x60);
    bench.write(DATA, b'h');
    bench.write(DATA, b'i');
    assert_eq!(bench.screen.take(), b"hi");
    assert!(!bench.wire.level());

    // Enabling the interrupt with an empty transmitter asserts it (section 8.7, bit 1).
    bench.write(IER, 0x02);
    assert!(bench.wire.level());
    // Reading IIR shows it and acknowledges it (table IV).
    assert_eq!(bench.read(IIR), 0x02);
    assert!(!bench.wire.level());
    assert_eq!(bench.read(IIR), 0x01);
    bench.write(DATA, b'!');
    assert!(bench.wire.level());
    bench.write(IER, 0);
    assert!(!bench.wire.level());
}

#[test]
fn received_data_asserts_the_wire_until_read() {
    let bench = bench();
    bench.write(FCR, 0x01);
    bench.write(IER, 0x01);
    assert_eq!(bench.uart.input(b"abc"), 3);
    assert!(bench.wire.level());
    // Reading IIR does not withdraw it, nor does switching the interrupt off and on.
    assert_eq!(bench.read(IIR), 0xc4);
    assert!(bench.wire.level());
    bench.write(IER, 0x00);
    assert!(!bench.wire.level());
    bench.write(IER, 0x01);
    assert!(bench.wire.level());
    for byte in *b"abc" {
        assert_eq!(bench.read(LSR) & 1, 1);
        assert!(bench.wire.level());
        assert_eq!(bench.read(DATA), byte);
    }
    assert!(!bench.wire.level());
    assert_eq!(bench.read(LSR) & 1, 0);
    assert_eq!(bench.read(DATA), 0);
}

#[test]
fn received_data_goes_before_the_transmitter() {
    let bench = bench();
    bench.write(FCR, 0x01);
    bench.write(IER, 0x03);
    assert_eq!(bench.uart.input(b"x"), 1);
    // Reading IIR while it shows something else does not acknowledge the transmitter.
    assert_eq!(bench.read(IIR), 0xc4);
    assert_eq!(bench.read(DATA), b'x');
    assert!(bench.wire.level());
    assert_eq!(bench.read(IIR), 0xc2);
    assert!(!bench.wire.level());
}

#[test]
fn below_the_trigger_level_it_is_a_timeout() {
    let bench = bench();
    bench.write(FCR, 0x81);
    bench.write(IER, 0x01);
    assert_eq!(bench.uart.input(b"1234567"), 7);
    assert_eq!(bench.read(IIR), 0xcc);
    assert_eq!(bench.uart.input(b"8"), 1);
    assert_eq!(bench.read(IIR), 0xc4);
}

#[test]
fn the_receiver_takes_what_fits_and_asks_for_more() {
    let bench = bench();
    // Without FIFOs there is room for one byte.
    assert_eq!(bench.uart.input(b"ab"), 1);
    assert_eq!(bench.uart.input(b"b"), 0);
    assert_eq!(bench.read(DATA), b'a');
    assert_eq!(bench.screen.take_room(), 1);
    // Switching the FIFOs clears them (section 8.5, bit 0).
    assert_eq!(bench.uart.input(b"b"), 1);
    bench.write(FCR, 0x01);
    assert_eq!(bench.read(LSR) & 1, 0);
    assert_eq!(bench.screen.take_room(), 1);
    assert_eq!(bench.uart.input(&[b'z'; 40]), 16);
    bench.write(FCR, 0x03);
    assert_eq!(bench.read(LSR) & 1, 0);
    assert_eq!(bench.uart.input(&[b'z'; 40]), 16);
}

#[test]
fn a_divisor_latch_hides_the_first_two_registers() {
    let bench = bench();
    bench.write(IER, 0x05);
    bench.write(LCR, 0x83);
    bench.write(DATA, 0x34);
    bench.write(IER, 0x12);
    assert_eq!((bench.read(DATA), bench.read(IER)), (0x34, 0x12));
    bench.write(LCR, 0x03);
    assert_eq!(bench.read(IER), 0x05);
    assert_eq!(bench.uart.save().divisor, 0x1234);
    assert_eq!(bench.screen.take(), b"");
}

/// What Linux's 8250 driver tries before it believes in a 16550A.
#[test]
fn the_port_is_recognised_as_a_16550a() {
    let bench = bench();
    bench.write(IER, 0x00);
    assert_eq!(bench.read(IER), 0x00);
    bench.write(IER, 0xff);
    assert_eq!(bench.read(IER), 0x0f);
    bench.write(IER, 0x00);
    bench.write(MCR, 0x1a);
    assert_eq!(bench.read(MSR) & 0xf0, 0x90);
    bench.write(MCR, 0x00);
    bench.write(SCR, 0xa5);
    assert_eq!(bench.read(SCR), 0xa5);
    bench.write(FCR, 0x01);
    assert_eq!(bench.read(IIR) >> 6, 3);
    bench.write(FCR, 0x00);
    assert_eq!(bench.read(IIR) >> 6, 0);
    // A 16750 would keep bit 5 of FCR as bit 5 of IIR.
    bench.write(FCR, 0x21);
    assert_eq!(bench.read(IIR) & 0x20, 0);
}

#[test]
fn loop_back_connects_the_port_with_itself() {
    let bench = bench();
    bench.write(FCR, 0x01);
    assert_eq!(bench.read(MSR), 0xb0);
    bench.write(MCR, 0x10);
    // All inputs fell: three changed, and the ring indicator did not ring.
    assert_eq!(bench.read(MSR), 0x0b);
    assert_eq!(bench.read(MSR), 0x00);
    assert_eq!(bench.uart.input(b"outside"), 0);
    for byte in 0..17 {
        bench.write(DATA, byte);
    }
    assert_eq!(bench.screen.take(), b"");
    // The seventeenth byte overran the FIFO; reading LSR withdraws that.
    bench.write(IER, 0x04);
    assert!(bench.wire.level());
    assert_eq!(bench.read(IIR), 0xc6);
    assert_eq!(bench.read(LSR), 0x63);
    assert!(!bench.wire.level());
    for byte in 0..16 {
        assert_eq!(bench.read(DATA), byte);
    }
    // The trailing edge of RI, and a modem status interrupt.
    bench.write(MCR, 0x14);
    assert_eq!(bench.read(MSR), 0x40);
    bench.write(IER, 0x08);
    bench.write(MCR, 0x10);
    assert!(bench.wire.level());
    assert_eq!(bench.read(IIR), 0xc0);
    assert_eq!(bench.read(MSR), 0x04);
    assert!(!bench.wire.level());
    bench.screen.take_room();
    bench.write(MCR, 0x00);
    assert_eq!(bench.screen.take_room(), 1);
}

#[test]
fn a_restored_port_goes_on() {
    let source = bench();
    source.write(FCR, 0xc1);
    source.write(LCR, 0x1b);
    source.write(IER, 0x01);
    source.write(SCR, 9);
    assert_eq!(source.uart.input(b"typed"), 5);
    let saved = serde_json::to_string(&source.uart.save()).unwrap();

    let target = bench();
    let state: UartState = serde_json::from_str(&saved).unwrap();
    target.uart.restore(&state).unwrap();
    assert!(target.wire.level());
    assert_eq!(target.uart.save(), source.uart.save());
    let typed: Vec<u8> = (0..5).map(|_| target.read(DATA)).collect();
    assert_eq!(typed, b"typed");
    assert!(!target.wire.level());

    let impossible = [
        UartState {
            ier: 0x10,
            ..state.clone()
        },
        UartState {
            fcr: 0x02,
            ..state.clone()
        },
        UartState {
            fcr: 0x00,
            ..state.clone()
        },
        UartState {
            received: vec![0; 17].into(),
            ..state
        },
    ];
    let before = target.uart.save();
    for state in impossible {
        let error = target.uart.restore(&state).unwrap_err();
        assert!(error.to_string().contains("serial port"));
        assert_eq!(target.uart.save(), before);
    }
}

proptest! {
    /// Whatever a guest does, the wire says what IIR says, the state can be saved and restored,
    /// and outside of loop-back each byte written is a byte printed.
    #[test]
    fn any_access_leaves_a_possible_state(
        accesses in prop::collection::vec((0u64..9, any::<Option<u8>>(), any::<bool>()), 0..200)
    ) {
        let bench = bench();
        for (register, value, typed) in accesses {
            if typed {
                let before = bench.uart.save().received.len();
                let taken = bench.uart.input(&[1, 2, 3]);
                prop_assert_eq!(bench.uart.save().received.len(), before + taken);
            }
            let state = bench.uart.save();
            let prints = register == DATA && state.lcr & 0x80 == 0 && state.mcr & 0x10 == 0;
            match value {
                Some(value) => {
                    bench.write(register, value);
                    let expected = if prints { vec![value] } else { vec![] };
                    prop_assert_eq!(bench.screen.take(), expected);
                }
                None => {
                    bench.read(register);
                }
            }
            let copy = bench_of(&bench.uart.save());
            prop_assert_eq!(copy.wire.level(), bench.wire.level());
            prop_assert_eq!(copy.read(IIR) & 1 == 0, bench.wire.level());
        }
    }
}

fn bench_of(state: &UartState) -> Bench {
    let bench = bench();
    bench.uart.restore(state).unwrap();
    bench
}
