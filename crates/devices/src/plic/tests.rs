use std::collections::BTreeSet;
use std::sync::Arc;

use clade_engine::IoDevice;
use proptest::prelude::*;

use super::{Plic, SIZE, SOURCES};
use crate::testing::{Wire, read32, write32};

const ENABLE: u64 = 0x2000;
const CONTEXT: u64 = 0x20_0000;

struct Bench {
    outputs: Vec<Arc<Wire>>,
    plic: Arc<Plic>,
}

fn bench(contexts: usize) -> Bench {
    let outputs: Vec<_> = (0..contexts).map(|_| Wire::new()).collect();
    let plic = Plic::new(outputs.iter().map(|wire| wire.clone() as _).collect());
    Bench { outputs, plic }
}

impl Bench {
    fn set_level(&self, source: usize, asserted: bool) {
        self.plic.line(source).unwrap().set_level(asserted);
    }

    fn set_priority(&self, source: usize, priority: u32) {
        write32(&*self.plic, 4 * source as u64, priority);
    }

    fn enable(&self, context: u64, source: usize) {
        let offset = ENABLE + 0x80 * context + 4 * (source as u64 / 32);
        let before = read32(&*self.plic, offset);
        write32(&*self.plic, offset, before | 1 << (source % 32));
    }

    fn set_threshold(&self, context: u64, threshold: u32) {
        write32(&*self.plic, CONTEXT + 0x1000 * context, threshold);
    }

    fn claim(&self, context: u64) -> u32 {
        read32(&*self.plic, CONTEXT + 0x1000 * context + 4)
    }

    fn complete(&self, context: u64, source: u32) {
        write32(&*self.plic, CONTEXT + 0x1000 * context + 4, source);
    }

    fn pending(&self, source: usize) -> bool {
        read32(&*self.plic, 0x1000 + 4 * (source as u64 / 32)) >> (source % 32) & 1 != 0
    }
}

#[test]
fn a_level_is_one_request_until_completed() {
    let bench = bench(2);
    bench.set_priority(10, 1);
    bench.enable(1, 10);
    bench.set_level(10, true);
    assert!(bench.pending(10));
    assert!(!bench.outputs[0].level());
    assert!(bench.outputs[1].level());

    assert_eq!(bench.claim(1), 10);
    assert!(!bench.pending(10));
    assert!(!bench.outputs[1].level());
    assert_eq!(bench.claim(1), 0);
    // While in service, nothing the device does is forwarded.
    bench.set_level(10, false);
    bench.set_level(10, true);
    assert!(!bench.pending(10));
    // Still asserted on completion: the next request.
    bench.complete(1, 10);
    assert!(bench.outputs[1].level());
    assert_eq!(bench.claim(1), 10);
    bench.set_level(10, false);
    bench.complete(1, 10);
    assert!(!bench.outputs[1].level());
    // A request once forwarded outlives the level.
    bench.set_level(10, true);
    bench.set_level(10, false);
    assert_eq!(bench.claim(1), 10);
}

#[test]
fn the_highest_priority_goes_first_then_the_lowest_number() {
    let bench = bench(1);
    for (source, priority) in [(3, 2), (40, 7), (64, 7), (95, 5), (7, 0)] {
        bench.set_priority(source, priority);
        bench.enable(0, source);
        bench.set_level(source, true);
    }
    let claims: Vec<u32> = (0..6).map(|_| bench.claim(0)).collect();
    assert_eq!(claims, [40, 64, 95, 3, 0, 0]);
}

#[test]
fn the_threshold_masks_the_wire_but_not_the_claim() {
    let bench = bench(1);
    bench.set_priority(1, 3);
    bench.enable(0, 1);
    bench.set_threshold(0, 3);
    bench.set_level(1, true);
    assert!(!bench.outputs[0].level());
    bench.set_threshold(0, 2);
    assert!(bench.outputs[0].level());
    bench.set_threshold(0, 7);
    assert_eq!(bench.claim(0), 1);
}

#[test]
fn a_completion_counts_only_where_the_source_is_enabled() {
    let bench = bench(2);
    bench.set_priority(5, 1);
    bench.enable(0, 5);
    bench.set_level(5, true);
    assert_eq!(bench.claim(0), 5);
    bench.complete(1, 5);
    bench.complete(0, 6);
    bench.complete(0, 4096);
    assert!(!bench.pending(5));
    bench.complete(0, 5);
    assert!(bench.pending(5));
}

#[test]
fn registers_hold_what_they_can() {
    let bench = bench(2);
    assert!(bench.plic.line(0).is_none());
    assert!(bench.plic.line(96).is_none());
    bench.set_priority(0, 7);
    assert_eq!(read32(&*bench.plic, 0), 0);
    bench.set_priority(9, 0xff);
    assert_eq!(read32(&*bench.plic, 36), 7);
    write32(&*bench.plic, ENABLE, u32::MAX);
    assert_eq!(read32(&*bench.plic, ENABLE), u32::MAX - 1);
    write32(&*bench.plic, 0x1000, u32::MAX);
    assert_eq!(read32(&*bench.plic, 0x1000), 0);
    bench.set_threshold(0, 8);
    assert_eq!(read32(&*bench.plic, CONTEXT), 0);
    // What is not there: source 96, the fourth word, the third context, half a word.
    for offset in [
        4 * 96,
        0x100c,
        ENABLE + 12,
        ENABLE + 0x100,
        CONTEXT + 0x2000,
        SIZE - 4,
    ] {
        write32(&*bench.plic, offset, 1);
        assert_eq!(read32(&*bench.plic, offset), 0);
    }
    bench.plic.write(36, &[1]);
    assert_eq!(read32(&*bench.plic, 36), 7);
}

#[test]
fn a_restored_controller_goes_on() {
    let source = bench(2);
    for irq in [4, 5, 6] {
        source.set_priority(irq, 1);
        source.enable(1, irq);
        source.set_level(irq, true);
    }
    assert_eq!(source.claim(1), 4);
    let saved = serde_json::to_string(&source.plic.save()).unwrap();
    let state = serde_json::from_str(&saved).unwrap();

    let target = bench(2);
    target.plic.restore(&state).unwrap();
    assert!(target.outputs[1].level());
    // Devices drive their wires once more when they are restored.
    target.set_level(4, true);
    assert_eq!(target.claim(1), 5);
    assert_eq!(target.claim(1), 6);
    assert_eq!(target.claim(1), 0);
    target.complete(1, 4);
    assert_eq!(target.claim(1), 4);

    assert!(bench(4).plic.restore(&state).is_err());
    let before = target.plic.save();
    let mut bad = vec![state.clone(), state.clone(), state.clone(), state];
    bad[0].priority[1] = 8;
    bad[1].priority.pop();
    bad[2].pending[0] |= 1;
    bad[3].contexts[0].threshold = 9;
    for state in bad {
        assert!(target.plic.restore(&state).is_err());
        assert_eq!(target.plic.save(), before);
    }
}

/// The specification told another way: sources as little automata, contexts as sets.
struct Model {
    sources: Vec<ModelSource>,
    contexts: Vec<ModelContext>,
}

#[derive(Clone, Copy, PartialEq)]
enum Gateway {
    Open,
    Requested,
    InService,
}

#[derive(Clone, Copy)]
struct ModelSource {
    level: bool,
    gateway: Gateway,
    priority: u32,
}

#[derive(Clone, Default)]
struct ModelContext {
    enabled: BTreeSet<usize>,
    threshold: u32,
}

impl Model {
    fn new(contexts: usize) -> Self {
        let source = ModelSource {
            level: false,
            gateway: Gateway::Open,
            priority: 0,
        };
        Model {
            sources: vec![source; SOURCES],
            contexts: vec![ModelContext::default(); contexts],
        }
    }

    fn look(&mut self, source: usize) {
        let source = &mut self.sources[source];
        if source.level && source.gateway == Gateway::Open {
            source.gateway = Gateway::Requested;
        }
    }

    fn candidates(&self, context: usize) -> impl Iterator<Item = (usize, u32)> {
        self.contexts[context]
            .enabled
            .iter()
            .map(|&index| (index, self.sources[index]))
            .filter(|(_, source)| source.gateway == Gateway::Requested && source.priority > 0)
            .map(|(index, source)| (index, source.priority))
    }

    fn output(&self, context: usize) -> bool {
        let threshold = self.contexts[context].threshold;
        self.candidates(context)
            .any(|(_, priority)| priority > threshold)
    }

    fn claim(&mut self, context: usize) -> u32 {
        let best = self
            .candidates(context)
            .min_by_key(|&(index, priority)| (std::cmp::Reverse(priority), index));
        best.map_or(0, |(index, _)| {
            self.sources[index].gateway = Gateway::InService;
            index as u32
        })
    }

    fn complete(&mut self, context: usize, source: usize) {
        if self.contexts[context].enabled.contains(&source)
            && self.sources[source].gateway == Gateway::InService
        {
            self.sources[source].gateway = Gateway::Open;
            self.look(source);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Level(usize, bool),
    Priority(usize, u32),
    Enable(usize, usize, u32),
    Threshold(usize, u32),
    Claim(usize),
    Complete(usize, usize),
    SaveAndRestore,
}

const CONTEXTS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let source = || prop_oneof![1usize..8, 1..SOURCES];
    prop_oneof![
        4 => (source(), any::<bool>()).prop_map(|(source, level)| Step::Level(source, level)),
        2 => (source(), 0u32..8).prop_map(|(source, value)| Step::Priority(source, value)),
        2 => (0..CONTEXTS, 0usize..3, any::<u32>()).prop_map(|(c, w, v)| Step::Enable(c, w, v)),
        1 => (0..CONTEXTS, 0u32..8).prop_map(|(context, value)| Step::Threshold(context, value)),
        3 => (0..CONTEXTS).prop_map(Step::Claim),
        3 => (0..CONTEXTS, source()).prop_map(|(c, source)| Step::Complete(c, source)),
        1 => Just(Step::SaveAndRestore),
    ]
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(steps in prop::collection::vec(step(), 1..150)) {
        let mut bench = bench(CONTEXTS);
        let mut model = Model::new(CONTEXTS);
        for step in steps {
            match step {
                Step::Level(source, asserted) => {
                    bench.set_level(source, asserted);
                    model.sources[source].level = asserted;
                    model.look(source);
                }
                Step::Priority(source, priority) => {
                    bench.set_priority(source, priority);
                    model.sources[source].priority = priority;
                }
                Step::Enable(context, word, value) => {
                    write32(&*bench.plic, ENABLE + 0x80 * context as u64 + 4 * word as u64, value);
                    for bit in 0..32 {
                        let source = word * 32 + bit;
                        let enabled = &mut model.contexts[context].enabled;
                        if value >> bit & 1 != 0 && source != 0 {
                            enabled.insert(source);
                        } else {
                            enabled.remove(&source);
                        }
                    }
                }
                Step::Threshold(context, threshold) => {
                    bench.set_threshold(context as u64, threshold);
                    model.contexts[context].threshold = threshold;
                }
                Step::Claim(context) => {
                    prop_assert_eq!(bench.claim(context as u64), model.claim(context));
                }
                Step::Complete(context, source) => {
                    bench.complete(context as u64, source as u32);
                    model.complete(context, source);
                }
                Step::SaveAndRestore => {
                    let saved = bench.plic.save();
                    bench = self::bench(CONTEXTS);
                    bench.plic.restore(&saved).unwrap();
                }
            }
            for (context, output) in bench.outputs.iter().enumerate() {
                prop_assert_eq!(output.level(), model.output(context));
            }
            for source in 1..SOURCES {
                let requested = model.sources[source].gateway == Gateway::Requested;
                prop_assert_eq!(bench.pending(source), requested);
            }
        }
    }

    #[test]
    fn no_access_panics(
        accesses in prop::collection::vec((0..SIZE, any::<u64>(), 1usize..9, any::<bool>()), 1..200)
    ) {
        let bench = bench(2);
        for (offset, value, length, write) in accesses {
            let mut data = value.to_le_bytes();
            if write {
                bench.plic.write(offset, &data[..length]);
            } else {
                bench.plic.read(offset, &mut data[..length]);
            }
        }
        prop_assert!(self::bench(2).plic.restore(&bench.plic.save()).is_ok());
    }
}
