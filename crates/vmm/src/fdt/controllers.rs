//! The nodes of interrupt controllers, and how others refer to them.

use clade_engine::PAGE_SIZE;

use super::FdtConfig;
use super::tree::{Result, Tree};
use crate::board::Window;
use crate::board::virt::map;
use crate::spec::Interrupts;

/// Interrupts of a hart's own controller, the causes in `mcause` (RISC-V Privileged Architecture).
pub(super) const M_SOFTWARE: u32 = 3;
pub(super) const M_TIMER: u32 = 7;
const S_EXTERNAL: u32 = 9;
const M_EXTERNAL: u32 = 11;

/// What wires lead to, be it a PLIC or an APLIC.
pub(super) const WIRES_PHANDLE: u32 = 1;
const APLIC_MACHINE_PHANDLE: u32 = 3;
const IMSIC_MACHINE_PHANDLE: u32 = 4;
/// Where devices send messages.
pub(super) const IMSIC_PHANDLE: u32 = 5;

/// How a source says that it wants something, in the numbers of Linux's bindings (`IRQ_TYPE_...`).
#[derive(Clone, Copy)]
pub(super) enum Trigger {
    RisingEdge = 1,
    HighLevel = 4,
}

/// An interrupt source as those who raise it name it. To a PLIC it is one of its inputs, and no more.
pub(super) fn source_cells(interrupts: Interrupts, source: u32, trigger: Trigger) -> Vec<u32> {
    match interrupts {
        Interrupts::Plic => vec![source],
        Interrupts::Aia => vec![source, trigger as u32],
    }
}

/// The interrupt controllers of the board.
pub(super) fn controllers(tree: &mut Tree, config: &FdtConfig) -> Result {
    match config.interrupts {
        Interrupts::Plic => plic(tree, config.harts),
        Interrupts::Aia => aia(tree, config),
    }
}

fn plic(tree: &mut Tree, harts: u32) -> Result {
    tree.device("plic", map::PLIC, |tree| {
        tree.phandle(WIRES_PHANDLE)?;
        tree.strings("compatible", &["sifive,plic-1.0.0", "riscv,plic0"])?;
        tree.flag("interrupt-controller")?;
        tree.cells("#interrupt-cells", &[1])?;
        tree.cells("#address-cells", &[0])?;
        tree.cells("riscv,ndev", &[map::PLIC_SOURCES])?;
        tree.hart_interrupts(harts, [M_EXTERNAL, S_EXTERNAL])
    })
}

fn aia(tree: &mut Tree, config: &FdtConfig) -> Result {
    let harts = config.harts;
    if config.machine_mode {
        let window = map::IMSIC_MACHINE;
        imsic(tree, window, IMSIC_MACHINE_PHANDLE, harts, M_EXTERNAL)?;
        let window = map::APLIC_MACHINE;
        aplic(tree, window, IMSIC_MACHINE_PHANDLE, |tree| {
            tree.phandle(APLIC_MACHINE_PHANDLE)?;
            tree.cells("riscv,children", &[WIRES_PHANDLE])?;
            // Older firmware knows the second by the name of a draft.
            let all = [WIRES_PHANDLE, 1, map::APLIC_SOURCES];
            tree.cells("riscv,delegation", &all)?;
            tree.cells("riscv,delegate", &all)
        })?;
    }
    let window = map::IMSIC_SUPERVISOR;
    imsic(tree, window, IMSIC_PHANDLE, harts, S_EXTERNAL)?;
    aplic(tree, map::APLIC_SUPERVISOR, IMSIC_PHANDLE, |tree| {
        tree.phandle(WIRES_PHANDLE)
    })
}

fn imsic(tree: &mut Tree, window: Window, phandle: u32, harts: u32, cause: u32) -> Result {
    let window = Window {
        size: u64::from(harts) * PAGE_SIZE,
        ..window
    };
    tree.device("imsics", window, |tree| {
        tree.phandle(phandle)?;
        tree.string("compatible", "riscv,imsics")?;
        tree.flag("interrupt-controller")?;
        tree.cells("#interrupt-cells", &[0])?;
        tree.flag("msi-controller")?;
        tree.cells("#msi-cells", &[0])?;
        tree.cells("riscv,num-ids", &[map::IMSIC_IDENTITIES])?;
        tree.hart_interrupts(harts, [cause])
    })
}

fn aplic(
    tree: &mut Tree,
    window: Window,
    msi_parent: u32,
    fill: impl FnOnce(&mut Tree) -> Result,
) -> Result {
    tree.device("aplic", window, |tree| {
        tree.string("compatible", "riscv,aplic")?;
        tree.flag("interrupt-controller")?;
        tree.cells("#interrupt-cells", &[2])?;
        tree.cells("#address-cells", &[0])?;
        tree.cells("riscv,num-sources", &[map::APLIC_SOURCES])?;
        tree.cells("msi-parent", &[msi_parent])?;
        fill(tree)
    })
}
