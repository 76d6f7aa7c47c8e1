use std::sync::Arc;

use clade_engine::IoDevice;
use proptest::prelude::*;

use super::{Aplic, AplicDomain, SIZE, SOURCES};
use crate::testing::{Messages, read32, write32};

const MACHINE: u64 = 0x2400_0000;
const SUPERVISOR: u64 = 0x2800_0000;

const DOMAIN: u64 = 0;
const SET_PENDING: u64 = 0x1c00;
const SET_PENDING_NUMBER: u64 = 0x1cdc;
const CLEAR_PENDING: u64 = 0x1d00;
const CLEAR_PENDING_NUMBER: u64 = 0x1ddc;
const SET_ENABLE: u64 = 0x1e00;
const SET_ENABLE_NUMBER: u64 = 0x1edc;
const CLEAR_ENABLE: u64 = 0x1f00;
const CLEAR_ENABLE_NUMBER: u64 = 0x1fdc;
const SET_PENDING_NUMBER_LITTLE: u64 = 0x2000;
const GENERATE: u64 = 0x3000;

const DELEGATE: u32 = 1 << 10;
const DETACHED: u32 = 1;
const EDGE_RISING: u32 = 4;
const EDGE_FALLING: u32 = 5;
const LEVEL_HIGH: u32 = 6;
const LEVEL_LOW: u32 = 7;

const fn source(number: u64) -> u64 {
    4 * number
}

const fn target(number: u64) -> u64 {
    0x3000 + 4 * number
}

struct Bench {
    messages: Arc<Messages>,
    aplic: Arc<Aplic>,
    /// Of M-mode if there are two, and of S-mode.
    root: Arc<AplicDomain>,
    leaf: Arc<AplicDomain>,
}

fn bench(files: &[u64]) -> Bench {
    let messages = Arc::new(Messages::default());
    let aplic = Aplic::new(messages.clone(), files.to_vec());
    Bench {
        messages,
        root: aplic.domain(0).unwrap(),
        leaf: aplic.domain(files.len() - 1).unwrap(),
        aplic,
    }
}

/// With one domain, source 10 of which is ready to send 77 to hart 3.
fn ready(mode: u32) -> Bench {
    let bench = bench(&[SUPERVISOR]);
    write32(&*bench.root, DOMAIN, 1 << 8);
    write32(&*bench.root, source(10), mode);
    write32(&*bench.root, target(10), 3 << 18 | 77);
    write32(&*bench.root, SET_ENABLE_NUMBER, 10);
    bench
}

impl Bench {
    fn drive(&self, level: bool) {
        self.aplic.line(10).unwrap().set_level(level);
    }

    /// How many messages of source 10 were sent.
    fn sent(&self) -> usize {
        let sent = self.messages.take();
        assert!(
            sent.iter()
                .all(|&message| message == (SUPERVISOR + 0x3000, 77))
        );
        sent.len()
    }

    fn pending(&self) -> bool {
        read32(&*self.root, SET_PENDING) >> 10 & 1 != 0
    }
}

/// 4.7, 4.9: what makes a source pending, and that it is so until its message is sent.
#[test]
fn each_mode_has_its_own_beginning_of_an_interrupt() {
    // By mode: messages sent when the wire is asserted, then released.
    let modes = [
        (DETACHED, [0, 0]),
        (EDGE_RISING, [1, 0]),
        (EDGE_FALLING, [0, 1]),
        (LEVEL_HIGH, [1, 0]),
        (LEVEL_LOW, [0, 1]),
    ];
    for (mode, expected) in modes {
        let bench = ready(mode);
        // A low level is an interrupt from the start.
        assert_eq!(bench.sent(), usize::from(mode == LEVEL_LOW), "mode {mode}");
        for _ in 0..2 {
            let sent = [true, false].map(|level| {
                bench.drive(level);
                bench.drive(level);
                assert!(!bench.pending());
                bench.sent()
            });
            assert_eq!(sent, expected, "mode {mode}");
        }
    }
}

/// 4.9: nothing is sent while domain or source are disabled; what is pending is sent then.
#[test]
fn interrupts_wait_until_they_are_enabled() {
    for mode in [EDGE_RISING, LEVEL_HIGH] {
        let bench = ready(mode);
        write32(&*bench.root, DOMAIN, 0);
        bench.drive(true);
        assert!(bench.pending());
        write32(&*bench.root, CLEAR_ENABLE_NUMBER, 10);
        write32(&*bench.root, DOMAIN, 1 << 8);
        assert_eq!((bench.sent(), bench.pending()), (0, true));
        write32(&*bench.root, SET_ENABLE, 1 << 10);
        assert_eq!((bench.sent(), bench.pending()), (1, false));
        write32(&*bench.root, CLEAR_ENABLE, 1 << 10);
        assert_eq!(read32(&*bench.root, SET_ENABLE), 0);
        // A level that goes takes its interrupt along, an edge has been.
        bench.drive(false);
        bench.drive(true);
        bench.drive(false);
        assert_eq!(bench.pending(), mode == EDGE_RISING);
    }
}

/// 4.7, 4.9.2: what software may do to the pending bit, and how a level is looked at again.
#[test]
fn software_sets_and_clears_pending_bits() {
    for register in [SET_PENDING_NUMBER, SET_PENDING_NUMBER_LITTLE] {
        let bench = ready(DETACHED);
        write32(&*bench.root, register, 10);
        assert_eq!(bench.sent(), 1);
        let bench = ready(LEVEL_HIGH);
        write32(&*bench.root, register, 10);
        assert_eq!(bench.sent(), 0, "the level is low");
        bench.drive(true);
        assert_eq!(bench.sent(), 1);
        write32(&*bench.root, register, 10);
        assert_eq!(bench.sent(), 1, "the level is still high");
    }
    for (register, value) in [(CLEAR_PENDING, 1 << 10), (CLEAR_PENDING_NUMBER, 10)] {
        let bench = ready(LEVEL_HIGH);
        write32(&*bench.root, DOMAIN, 0);
        bench.drive(true);
        assert_eq!(read32(&*bench.root, CLEAR_PENDING), 1 << 10, "the input");
        assert!(bench.pending());
        write32(&*bench.root, register, value);
        assert!(!bench.pending());
        assert_eq!(read32(&*bench.root, CLEAR_PENDING), 1 << 10);
    }
    let bench = ready(EDGE_FALLING);
    assert_eq!(read32(&*bench.root, CLEAR_PENDING), 1 << 10, "inverted");
}

/// 4.5.2: what sources can be, and that inactive ones are nothing but zeroes.
#[test]
fn source_modes_are_legal() {
    let bench = bench(&[SUPERVISOR]);
    for value in [0, 1, 2, 3, 4, 5, 6, 7, 0xffff_f806, DELEGATE | 6] {
        write32(&*bench.root, source(10), value);
        let expected = match value & 7 {
            _ if value & DELEGATE != 0 => 0,
            2 | 3 => 0,
            mode => mode,
        };
        assert_eq!(read32(&*bench.root, source(10)), expected, "{value:#x}");
        write32(&*bench.root, target(10), !0);
        write32(&*bench.root, SET_ENABLE_NUMBER, 10);
        let active = expected != 0;
        let expected = if active { 0xfffc_07ff } else { 0 };
        assert_eq!(read32(&*bench.root, target(10)), expected);
        assert_eq!(read32(&*bench.root, SET_ENABLE) != 0, active);
    }
    // An interrupt that is there already when its source becomes active is not missed.
    let bench = ready(0);
    bench.drive(true);
    write32(&*bench.root, source(10), LEVEL_HIGH);
    assert!(bench.pending());
    write32(&*bench.root, source(10), 0);
    assert!(!bench.pending());
}

/// 4.2, 4.5.2: the root delegates sources, and takes them back.
#[test]
fn sources_belong_to_one_domain() {
    let bench = bench(&[MACHINE, SUPERVISOR]);
    let Bench { root, leaf, .. } = &bench;
    write32(&**leaf, source(10), LEVEL_HIGH);
    assert_eq!(read32(&**leaf, source(10)), 0, "not delegated");
    // The only child is number 0.
    write32(&**root, source(10), DELEGATE | 5);
    assert_eq!(read32(&**root, source(10)), DELEGATE);
    write32(&**root, source(10), DELEGATE);
    write32(&**leaf, source(10), LEVEL_HIGH);
    for domain in [root, leaf] {
        write32(&**domain, target(10), 1 << 18 | 50);
        write32(&**domain, SET_ENABLE_NUMBER, 10);
        write32(&**domain, DOMAIN, !0);
        assert_eq!(read32(&**domain, DOMAIN), 0x8000_0104);
    }
    assert_eq!(read32(&**root, target(10)), 0);
    bench.drive(true);
    assert_eq!(bench.messages.take(), [(SUPERVISOR + 0x1000, 50)]);
    bench.drive(false);

    write32(&**root, source(10), LEVEL_HIGH);
    assert_eq!(read32(&**leaf, source(10)), 0);
    assert_eq!(read32(&**leaf, target(10)), 0);
    assert_eq!(read32(&**leaf, SET_ENABLE), 0);
    write32(&**root, target(10), 2 << 18 | 60);
    write32(&**root, SET_ENABLE_NUMBER, 10);
    bench.drive(true);
    assert_eq!(bench.messages.take(), [(MACHINE + 0x2000, 60)]);
}

/// 4.5.3, 4.5.4: where messages go is fixed, so the registers that say so are locked and hidden.
#[test]
fn addresses_cannot_be_changed() {
    let bench = bench(&[MACHINE, SUPERVISOR]);
    for (domain, expected) in [(&bench.root, [0, 1 << 31, 0, 0]), (&bench.leaf, [0; 4])] {
        for (offset, expected) in [0x1bc0, 0x1bc4, 0x1bc8, 0x1bcc].into_iter().zip(expected) {
            write32(&**domain, offset, !0);
            assert_eq!(read32(&**domain, offset), expected);
        }
    }
}

/// 4.5.15: a message by software, whatever is enabled.
#[test]
fn software_generates_messages() {
    let bench = bench(&[MACHINE, SUPERVISOR]);
    write32(&*bench.leaf, GENERATE, 5 << 18 | 0x1f800 | 9);
    assert_eq!(bench.messages.take(), [(SUPERVISOR + 0x5000, 9)]);
    assert_eq!(read32(&*bench.leaf, GENERATE), 5 << 18 | 9);
    write32(&*bench.root, GENERATE, !0);
    assert_eq!(bench.messages.take(), [(MACHINE + 0x3fff * 0x1000, 0x7ff)]);
}

#[test]
fn only_sources_that_exist_are_there() {
    let bench = bench(&[SUPERVISOR]);
    assert!(bench.aplic.line(0).is_none());
    assert!(bench.aplic.line(SOURCES).is_some());
    assert!(bench.aplic.line(SOURCES + 1).is_none());
    for number in 1..=1023 {
        write32(&*bench.root, source(number), DETACHED);
        let exists = number <= SOURCES as u64;
        assert_eq!(read32(&*bench.root, source(number)), u32::from(exists));
    }
    for word in 0..32 {
        write32(&*bench.root, SET_ENABLE + 4 * word, !0);
        let expected = match word {
            0 => !1,
            1 | 2 => !0,
            3 => 1,
            _ => 0,
        };
        assert_eq!(read32(&*bench.root, SET_ENABLE + 4 * word), expected);
    }
    for number in [0, 97, 1024, u32::MAX] {
        write32(&*bench.root, SET_PENDING_NUMBER, number);
    }
    assert!((0..4).all(|word| read32(&*bench.root, SET_PENDING + 4 * word) == 0));
    // Only whole words count.
    bench.root.write(DOMAIN, &[0, 1]);
    bench.root.write(DOMAIN, &[0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read32(&*bench.root, DOMAIN), 0x8000_0004);
}

#[test]
fn states_of_other_controllers_are_refused() {
    let two = bench(&[MACHINE, SUPERVISOR]);
    let one = bench(&[SUPERVISOR]);
    assert!(two.aplic.restore(&one.aplic.save()).is_err());
    write32(&*two.root, source(10), DELEGATE);
    write32(&*two.leaf, source(10), LEVEL_HIGH);
    write32(&*two.leaf, SET_ENABLE_NUMBER, 10);
    let good = two.aplic.save();
    let refused = |change: fn(&mut super::AplicState)| {
        let mut state = good.clone();
        change(&mut state);
        assert!(two.aplic.restore(&state).is_err());
        assert_eq!(two.aplic.save(), good);
    };
    refused(|state| state.level[0] = 1);
    refused(|state| state.level[3] = 2);
    refused(|state| state.domains[0].sources[10] = 0);
    refused(|state| state.domains[0].sources[10] = DELEGATE | 1);
    refused(|state| state.domains[1].sources[10] = DELEGATE);
    refused(|state| state.domains[1].sources[11] = LEVEL_HIGH);
    refused(|state| state.domains[1].sources[10] = 2);
    refused(|state| state.domains[1].targets[10] = 1 << 12);
    refused(|state| state.domains[1].targets[11] = 1);
    refused(|state| state.domains[1].pending[0] = 1 << 11);
    refused(|state| state.domains[1].enables[3] = 2);
    refused(|state| state.domains[1].genmsi = 1 << 12);
    refused(|state| state.domains[0].targets.truncate(5));
    two.aplic.restore(&good).unwrap();
}

proptest! {
    /// Whatever a guest and its devices do, the state is one that can be saved and restored, and the
    /// restored controller does what the saved one does.
    #[test]
    fn a_restored_controller_goes_on_as_the_saved_one(
        before in prop::collection::vec(step(), 0..60),
        after in prop::collection::vec(step(), 0..20),
    ) {
        let benches = [bench(&[MACHINE, SUPERVISOR]), bench(&[MACHINE, SUPERVISOR])];
        before.iter().for_each(|step| act(&benches[0], step));
        benches[0].messages.take();
        benches[1].aplic.restore(&benches[0].aplic.save()).unwrap();
        let [sent, other] = benches.each_ref().map(|bench| {
            after.iter().for_each(|step| act(bench, step));
            bench.messages.take()
        });
        prop_assert_eq!(sent, other);
        prop_assert_eq!(benches[0].aplic.save(), benches[1].aplic.save());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(bool, u64, u32),
    Drive(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let few = 8..12u64;
    let register = prop_oneof![
        Just(DOMAIN),
        few.clone().prop_map(source),
        few.prop_map(target),
        Just(SET_PENDING),
        Just(CLEAR_PENDING),
        Just(SET_ENABLE),
        Just(SET_ENABLE_NUMBER),
        Just(CLEAR_ENABLE_NUMBER),
        Just(SET_PENDING_NUMBER),
        (0..SIZE / 4).prop_map(|word| 4 * word),
    ];
    let value = prop_oneof![Just(DELEGATE), Just(1 << 8), 0..16u32, any::<u32>(),];
    prop_oneof![
        (any::<bool>(), register, value)
            .prop_map(|(root, register, value)| Step::Write(root, register, value)),
        (8..12usize, any::<bool>()).prop_map(|(source, level)| Step::Drive(source, level)),
    ]
}

fn act(bench: &Bench, step: &Step) {
    match *step {
        Step::Write(true, register, value) => write32(&*bench.root, register, value),
        Step::Write(false, register, value) => write32(&*bench.leaf, register, value),
        Step::Drive(source, level) => bench.aplic.line(source).unwrap().set_level(level),
    }
}
