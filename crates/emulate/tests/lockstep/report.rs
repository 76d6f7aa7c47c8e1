//! Tells a human what differs.

use std::fmt::{Debug, Write};

use clade_engine::GuestRam;
use clade_riscv::hart::Hart;
use clade_riscv::isa;
use clade_riscv::mmu::{self, Access, PageTableMemory, Space};
use vm_memory::{Bytes, GuestAddress};

use super::machine::{BASE, Machine};

/// Lines of each kind that are shown.
const SHOWN: usize = 24;

/// The registers that differ.
pub(crate) fn harts(expected: &Hart, found: &Hart) -> String {
    let mut text = String::new();
    for (name, expected, found) in [("x", &expected.x, &found.x), ("f", &expected.f, &found.f)] {
        let registers = expected.iter().zip(found).enumerate();
        for (index, (expected, found)) in registers.filter(|(_, (e, f))| e != f) {
            line(&mut text, &format!("{name}{index}"), expected, found);
        }
    }
    if expected.pc != found.pc {
        line(&mut text, "pc", &expected.pc, &found.pc);
    }
    if expected.mode != found.mode {
        line(&mut text, "mode", &expected.mode, &found.mode);
    }
    if expected.retired != found.retired {
        line(&mut text, "retired", &expected.retired, &found.retired);
    }
    // A field of the CSRs is a line of their description.
    let [expected, found] = [expected, found].map(|hart| format!("{:#x?}", hart.csrs));
    for (expected, found) in expected.lines().zip(found.lines()) {
        if expected != found {
            let _ = writeln!(text, "  {} is {}", expected.trim(), found.trim());
        }
    }
    text
}

fn line(text: &mut String, name: &str, expected: &impl Debug, found: &impl Debug) {
    let _ = writeln!(
        text,
        "  {name} should be {expected:#x?}, and is {found:#x?}"
    );
}

/// The bytes that differ.
pub(crate) fn memories(expected: &[u8], found: &[u8]) -> String {
    let bytes = expected.iter().zip(found).enumerate();
    let lines = bytes
        .filter(|(_, (expected, found))| expected != found)
        .map(|(at, (expected, found))| {
            let address = BASE + at as u64;
            format!("  the byte at {address:#x} should be {expected:#04x}, and is {found:#04x}\n")
        });
    lines.take(SHOWN).collect()
}

/// The first entry that differs.
pub(crate) fn logs<T: Debug + PartialEq>(expected: &[T], found: &[T]) -> String {
    let pairs = expected.iter().zip(found);
    let same = pairs.take_while(|(expected, found)| expected == found);
    let index = same.count();
    let (expected, found) = (expected.get(index), found.get(index));
    format!("  access {index} to the device should be {expected:x?}, and is {found:x?}\n")
}

/// Executes `instructions` of `machine`; the last of them as text.
pub(crate) fn trace(machine: &mut Machine, instructions: u64) -> String {
    let mut lines: Vec<String> = Vec::new();
    for _ in 0..instructions {
        lines.push(instruction(machine));
        machine.step();
    }
    lines.push(format!("  {:#x}", machine.hart().pc));
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

/// Where the machine is, and what is there.
fn instruction(machine: &Machine) -> String {
    let Hart { pc, mode, .. } = *machine.hart();
    let parcel = |address| {
        let csrs = &machine.hart().csrs;
        let memory = View(&machine.ram);
        let place = mmu::translate(Space { mode, csrs }, &memory, address, Access::Execute);
        let physical = place.ok()?.physical;
        machine.ram.read_obj::<u16>(GuestAddress(physical)).ok()
    };
    let Some(low) = parcel(pc) else {
        return format!("  {pc:#x} {mode:?}: nothing to fetch");
    };
    let high = parcel(pc.wrapping_add(2)).unwrap_or(0);
    let raw = u32::from(low) | u32::from(high) << 16;
    format!("  {pc:#x} {mode:?}: {}", isa::disassemble(raw, pc))
}

/// Memory that a page walk does not change.
struct View<'a>(&'a GuestRam);

impl PageTableMemory for View<'_> {
    fn load_entry(&self, address: u64) -> Option<u64> {
        self.0.read_obj(GuestAddress(address)).ok()
    }

    fn replace_entry(&self, _: u64, _: u64, _: u64) -> Option<bool> {
        Some(true)
    }
}
