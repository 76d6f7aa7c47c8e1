//! Floating point against Spike: results and flags of every instruction, as `oracle/README.md` tells.

mod fp_operations;

use std::collections::BTreeMap;
use std::io::Read;

use clade_riscv::fp::{Round, flags};
use fp_operations::{Failures, Function, Operands, Specials, operations};

/// What Spike computed for one operation.
struct Section {
    width: usize,
    results: Vec<u64>,
    flags: Vec<u8>,
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn read_vectors() -> BTreeMap<String, Section> {
    let mut data = Vec::new();
    flate2::read::GzDecoder::new(&include_bytes!("oracle/vectors.gz")[..])
        .read_to_end(&mut data)
        .expect("vectors.gz decompresses");
    let mut data = &data[..];
    let mut take = |length| data.split_off(..length).expect("vectors.gz is complete");
    let mut sections = BTreeMap::new();
    loop {
        let name = take(16);
        if name[0] == 0 {
            return sections;
        }
        let name = String::from_utf8_lossy(name).trim_end_matches('\0').into();
        let width = little_endian(take(4)) as usize;
        let cases = little_endian(take(4)) as usize;
        let section = Section {
            width,
            results: take(width * cases)
                .chunks(width)
                .map(little_endian)
                .collect(),
            flags: take(cases).to_vec(),
        };
        sections.insert(name, section);
    }
}

#[test]
fn agrees_with_spike() {
    let specials = Specials::read();
    let mut sections = read_vectors();
    let mut failures = Failures::default();
    for operation in operations() {
        let name = operation.name;
        let section = sections.remove(name).expect("Spike ran every operation");
        assert!(section.results.len() >= 1000, "{name}: too few cases");
        let mask = u64::MAX >> (64 - 8 * section.width);
        for (case, (&result, &raised)) in section.results.iter().zip(&section.flags).enumerate() {
            let mut operands = Operands::new(name, case as u64);
            let [a, b, c] = operation
                .operands
                .map(|kind| operands.operand(kind, &specials));
            let rm = Round::ALL[case % 5];
            let mut check = |function: Function, way: &str, before: u8| {
                let mut flags = before;
                let ours = function(a, b, c, rm, &mut flags) & mask;
                failures.compare((ours, flags), (result, raised | before), || {
                    format!("{name}({a:#x}, {b:#x}, {c:#x}) {rm:?} {way}")
                });
            };
            check(operation.fast, "fast", 0);
            check(operation.fast, "fast after NX", flags::NX);
            check(operation.soft, "soft", 0);
        }
    }
    assert!(sections.is_empty(), "not checked: {:?}", sections.keys());
}
