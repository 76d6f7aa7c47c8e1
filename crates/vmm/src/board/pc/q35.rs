//! What OVMF, UEFI firmware for QEMU's boards, needs to take a board for QEMU's Q35: the two functions of its
//! chipset with the registers that are looked at, and the configuration device. Nothing can be moved: where
//! firmware looks, it finds everything at the places that it would have chosen.

use std::sync::Arc;

use clade_devices::flash::{Flash, FlashState, Geometry};
use clade_devices::fw_cfg::{self, FwCfg, FwCfgState};
use clade_devices::pci::{ConfigSpace, Identity, PciHostBuilder, PlainFunction};
use clade_devices::{BusBuilder, PmControl, PmTimer};
use serde::{Deserialize, Serialize};

use super::acpi::LinkedTables;
use super::map::{self, Layout};
use crate::board::platform::Basics;
use crate::board::{BoardError, FlashFiles, Window};
use crate::spec::SHARES_MAX;

/// Where the bridge to older devices is.
const ISA_BRIDGE_SLOT: u8 = 31;

const INTEL: u16 = 0x8086;
/// Who made the board, as QEMU says it.
const SUBSYSTEM: (u16, u16) = (0x1af4, 0x1100);

/// What a board has for its firmware.
pub(super) struct Q35 {
    fw_cfg: Arc<FwCfg>,
    flash: Arc<Flash>,
}

/// Everything about that that the guest can observe, but for the variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Q35State {
    /// The configuration device.
    pub fw_cfg: FwCfgState,
    /// The flash of variables.
    pub flash: FlashState,
}

/// Where the firmware's code is: up to 4 GiB, where processors begin.
pub(super) fn code_window(files: &FlashFiles) -> Window {
    let size = files.code_size();
    Window::new(map::FLASH_END - size, size)
}

fn variables_window(files: &FlashFiles) -> Window {
    let size = files.variables_size();
    Window::new(code_window(files).base - size, size)
}

impl Q35 {
    pub(super) fn new(
        basics: &Basics<'_>,
        files: &FlashFiles,
        layout: &Layout,
    ) -> Result<Self, BoardError> {
        const ROOM: usize = SHARES_MAX - 1;
        if basics.config.shares.len() > ROOM {
            return Err(BoardError::TooManyShares(ROOM));
        }
        let cpus = basics.config.cpus;
        let LinkedTables { tables, script } = LinkedTables::new(cpus, layout);
        let items = vec![(fw_cfg::CPU_COUNT, (cpus as u16).to_le_bytes().to_vec())];
        let files_for_it = vec![
            (
                "etc/e820",
                memory_map(&super::memory(basics.config.memory, None)),
            ),
            (LinkedTables::TABLES, tables),
            (LinkedTables::SCRIPT, script),
        ];
        Ok(Self {
            fw_cfg: FwCfg::new(items, files_for_it),
            flash: files.variables(Geometry::BYTES)?,
        })
    }

    /// Puts the devices where they belong.
    pub(super) fn insert(
        &self,
        basics: &Basics<'_>,
        files: &FlashFiles,
        devices: &mut BusBuilder,
        ports: &mut BusBuilder,
    ) -> Result<(), BoardError> {
        let control = PmControl::new(basics.events.clone());
        let timer = PmTimer::new(basics.clock.clone());
        map::FW_CFG_PORTS.insert(ports, "firmware configuration", self.fw_cfg.clone())?;
        map::PM_CONTROL_PORTS.insert(ports, "ACPI control", control)?;
        map::PM_TIMER_PORTS.insert(ports, "ACPI timer", timer)?;
        variables_window(files).insert(devices, "flash", self.flash.clone())
    }

    pub(super) fn save(&self) -> Q35State {
        Q35State {
            fw_cfg: self.fw_cfg.save(),
            flash: self.flash.save(),
        }
    }

    pub(super) fn restore(&self, saved: &Q35State) {
        self.fw_cfg.restore(&saved.fw_cfg);
        self.flash.restore(&saved.flash);
    }
}

/// Where memory is, in the form of the BIOS's E820 function (ACPI Specification 6.5, 15.1).
fn memory_map(windows: &[Window]) -> Vec<u8> {
    const USABLE: u32 = 1;
    let entry = |window: &Window| {
        let (base, size) = (window.base.to_le_bytes(), window.size.to_le_bytes());
        [&base[..], &size, &USABLE.to_le_bytes()].concat()
    };
    windows.iter().flat_map(entry).collect()
}

/// Makes a bus that of a Q35.
pub(super) fn plug(pci: PciHostBuilder, basics: &Basics<'_>) -> Result<PciHostBuilder, BoardError> {
    let reset = basics.events.clone();
    let mut pci = pci.with_bridge(host_bridge()).with_reset_register(reset);
    pci.plug(ISA_BRIDGE_SLOT, |_| Arc::new(PlainFunction(isa_bridge())))?;
    Ok(pci)
}

/// Intel's 82G33 (datasheet "Intel 3 Series Express Chipset Family", section 5).
fn host_bridge() -> ConfigSpace {
    /// Where configuration space is: 256 MiB, and there for the guest to use.
    const PCIEXBAR: u8 = 0x60;
    function(0x29c0, 0x06_00_00).with_register(PCIEXBAR, map::PCI_CONFIGURATION.base as u32 | 1)
}

/// Intel's ICH9 (datasheet "Intel I/O Controller Hub 9 Family", section 13.1).
fn isa_bridge() -> ConfigSpace {
    /// Where ACPI's ports are, and that they are there.
    const PMBASE: u8 = 0x40;
    const ACPI_CNTL: u8 = 0x44;
    const ACPI_EN: u32 = 1 << 7;
    function(0x2918, 0x06_01_00)
        // Without, firmware believes that there is no serial port behind it.
        .with_ports()
        .with_register(PMBASE, map::POWER_PORTS.base as u32 | 1)
        .with_register(ACPI_CNTL, ACPI_EN)
}

fn function(device: u16, class: u32) -> ConfigSpace {
    ConfigSpace::new(Identity {
        vendor: INTEL,
        device,
        revision: 0,
        class,
        subsystem_vendor: SUBSYSTEM.0,
        subsystem: SUBSYSTEM.1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_told_of_all_memory() {
        let map = memory_map(&super::super::memory(4 << 30, None));
        let words: Vec<u64> = map
            .chunks(20)
            .flat_map(|entry| [&entry[..8], &entry[8..16]])
            .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
            .collect();
        assert_eq!(words, [0, 3 << 30, 4 << 30, 1 << 30]);
        assert_eq!(map[16..20], [1, 0, 0, 0]);
    }

    #[test]
    fn the_chipset_says_where_everything_is() {
        let register = |space: &ConfigSpace, offset| {
            let mut bytes = [0; 4];
            space.read(offset, &mut bytes);
            u32::from_le_bytes(bytes)
        };
        assert_eq!(register(&host_bridge(), 0), 0x29c0_8086);
        assert_eq!(register(&host_bridge(), 0x60), 0xe000_0001);
        assert_eq!(register(&isa_bridge(), 0x40), 0x601);
        assert_eq!(register(&isa_bridge(), 0x44), 0x80);
    }
}
