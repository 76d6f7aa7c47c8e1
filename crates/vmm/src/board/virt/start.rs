//! How the guest starts: what is loaded into its memory, and where its harts begin.

use std::path::PathBuf;
use std::sync::Arc;

use clade_devices::ConsoleHost;
use clade_emulate::{AIA_EXTENSIONS, Boot, CACHE_BLOCK, ISA_EXTENSIONS};
use clade_engine::GuestRam;

use super::rom::dynamic_information;
use super::{VirtState, map};
use crate::board::console::FirmwareConsole;
use crate::board::{BoardError, random};
use crate::fdt::{self, FdtConfig};
use crate::loader::{self, BootFiles, Placement, Source};
use crate::spec::{Interrupts, MachineConfig};

/// Loads the guest's files and the device tree that describes the board to it.
pub(super) fn load(config: &MachineConfig, ram: &GuestRam) -> Result<Placement, BoardError> {
    let open = |path: &PathBuf| Source::open(path, config.memory);
    let files = BootFiles {
        firmware: config.firmware.as_ref().map(open).transpose()?,
        kernel: config.kernel.as_ref().map(open).transpose()?,
        initrd: config.initrd.as_ref().map(open).transpose()?,
        in_place: config.flash.as_ref().map(|_| map::FLASH.base),
    };
    let placement = loader::load(files, ram)?;
    let tree = fdt::build(&FdtConfig {
        harts: config.cpus,
        ram: map::RAM_BASE..map::RAM_BASE + config.memory,
        isa_extensions: isa_extensions(config.interrupts),
        mmu_type: "riscv,sv57".into(),
        cache_block_size: CACHE_BLOCK as u32,
        interrupts: config.interrupts,
        machine_mode: placement.firmware.is_some(),
        flash: config.flash.is_some(),
        virtio_mmio_slots: map::VIRTIO_MMIO_SLOTS,
        bootargs: config.cmdline.clone(),
        initrd: placement.initrd.clone(),
        rng_seed: random::<64>()?.to_vec(),
    })?;
    placement.write_device_tree(ram, &tree)?;
    Ok(placement)
}

/// The extensions of the harts: single letters first, then by letter as the names begin.
fn isa_extensions(interrupts: Interrupts) -> Vec<String> {
    let aia: &[&str] = match interrupts {
        Interrupts::Plic => &[],
        Interrupts::Aia => AIA_EXTENSIONS,
    };
    let is_privileged = |name: &&str| name.len() > 1 && name.starts_with('s');
    let all = ISA_EXTENSIONS.iter().chain(aia).copied();
    let (mut privileged, rest): (Vec<_>, Vec<_>) = all.partition(is_privileged);
    privileged.sort_unstable();
    let names = rest.into_iter().chain(privileged);
    names.map(str::to_owned).collect()
}

/// Where the harts begin, and what stands in the boot ROM.
pub(super) struct Start {
    /// In firmware of the guest's own, and not above the built-in SBI.
    pub(super) machine_mode: bool,
    entry: u64,
    device_tree: u64,
    pub(super) rom: Option<Vec<u8>>,
}

impl Start {
    pub(super) fn of_loaded(placement: &Placement) -> Self {
        Self {
            machine_mode: placement.firmware.is_some(),
            entry: placement.entry,
            device_tree: placement.dtb.start,
            rom: placement.next.map(dynamic_information),
        }
    }

    /// The harts are restored afterwards: they begin nowhere.
    pub(super) fn of_saved(config: &MachineConfig, saved: &VirtState) -> Self {
        Self {
            machine_mode: config.firmware.is_some(),
            entry: 0,
            device_tree: 0,
            rom: saved.rom.clone(),
        }
    }

    pub(super) fn boot(&self, host: Arc<dyn ConsoleHost>) -> Boot {
        let (entry, device_tree) = (self.entry, self.device_tree);
        if !self.machine_mode {
            let console = Arc::new(FirmwareConsole(host));
            return Boot::Supervisor {
                entry,
                device_tree,
                console,
            };
        }
        let information = self.rom.as_ref().map_or(0, |_| map::BOOT_ROM.base);
        Boot::Machine {
            entry,
            device_tree,
            information,
        }
    }
}
