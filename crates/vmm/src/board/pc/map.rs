//! Where everything is on the PC: guest physical addresses, ports and interrupts.

use clade_devices::{AcpiEvents, PmControl, PmTimer, PowerRegisters, cmos, fw_cfg, i8042};

use crate::board::Window;

/// Memory that begins at 0 ends here at the latest; the rest is at [`HIGH_RAM`].
pub const LOW_RAM_END: u64 = 0xc000_0000;
/// Memory that has no room below: from 4 GiB on.
pub const HIGH_RAM: u64 = 0x1_0000_0000;

/// PCI memory, unless firmware places what is there.
pub const PCI_MEMORY: Window = Window::new(0xc000_0000, 0x2000_0000);
/// PCI memory where firmware for QEMU's Q35 places it: behind 256 MiB for configuration spaces.
pub const Q35_PCI_MEMORY: Window = Window::new(0xf000_0000, 0x0c00_0000);
/// PCI configuration space (ECAM) of the only bus.
pub const PCI_CONFIGURATION: Window = Window::new(0xe000_0000, 0x10_0000);
/// SiFive's test finisher, as on the RISC-V board: power-off, failure and reboot by one store.
pub const TEST: Window = Window::new(0xfe00_0000, 0x1000);
/// The I/O APIC, which is KVM's.
pub const IO_APIC: Window = Window::new(0xfec0_0000, 0x1000);
/// The local APICs and where messages go, which are KVM's.
pub const LOCAL_APIC: Window = Window::new(0xfee0_0000, 0x10_0000);

/// Firmware's code ends here, with its variables below it: at most 16 MiB in all.
pub const FLASH_END: u64 = 0x1_0000_0000;

/// The table of segments for the first instruction.
pub const SEGMENTS: Window = Window::new(0x6000, 0x1000);
/// Linux's `boot_params`, or PVH's `hvm_start_info`.
pub const BOOT_PARAMETERS: Window = Window::new(0x7000, 0x1000);
/// A stack that grows down from its end.
pub const STACK: Window = Window::new(0x8000, 0x1000);
/// Page tables that map the lowest 4 GiB to themselves.
pub const PAGE_TABLES: Window = Window::new(0x9000, 0x6000);
/// The kernel's command line.
pub const COMMAND_LINE: Window = Window::new(0x2_0000, 0x1_0000);
/// From here to 1 MiB a PC has other things than memory for all.
pub const BIOS_DATA: u64 = 0x9_fc00;
/// ACPI tables, where those who look for them begin to.
pub const ACPI_TABLES: Window = Window::new(0xe_0000, 0x1_f000);
/// VM generation ID.
pub const GENERATION: Window = Window::new(0xf_f000, 0xff0);
/// Where a PC's firmware begins, for processors in real mode.
pub const FIRMWARE_ENTRY: Window = Window::new(0xf_fff0, 0x10);
/// What a guest may use as it likes begins here.
pub const FREE: u64 = 0x10_0000;

/// Ports of the keyboard controller.
pub const I8042_PORTS: Window = Window::new(0x60, i8042::SIZE);
/// Ports of the real-time clock.
pub const CMOS_PORTS: Window = Window::new(0x70, cmos::SIZE);
/// Ports of the first serial port.
pub const COM1_PORTS: Window = Window::new(0x3f8, 8);
/// Ports of ACPI's sleep and reset registers.
pub const POWER_PORTS: Window = Window::new(0x600, PowerRegisters::SIZE);
/// Port of ACPI's control register, where firmware for QEMU's Q35 looks for it.
pub const PM_CONTROL_PORTS: Window = Window::new(POWER_PORTS.base + 4, PmControl::SIZE);
/// Port of ACPI's timer, where firmware for QEMU's Q35 looks for it.
pub const PM_TIMER_PORTS: Window = Window::new(POWER_PORTS.base + 8, PmTimer::SIZE);
/// Ports of ACPI's events.
pub const EVENT_PORTS: Window = Window::new(0x608, AcpiEvents::SIZE);
/// The same in machines with firmware, which has the timer there.
pub const Q35_EVENT_PORTS: Window = Window::new(0x620, AcpiEvents::SIZE);
/// Ports by which firmware learns of the board.
pub const FW_CFG_PORTS: Window = Window::new(fw_cfg::PORTS.0, fw_cfg::PORTS.1);

/// Global system interrupt of the first serial port.
pub const COM1_IRQ: u32 = 4;
/// Global system interrupt of PCI's INTA of slot 0; the next three are for the other pins, rotated by
/// slot.
pub const PCI_IRQ_BASE: u32 = 16;
/// Global system interrupt of ACPI's events.
pub const EVENT_IRQ: u32 = 20;

pub use clade_kvm::CPUS_MAX;

/// What is not at the same place in all machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) pci_memory: Window,
    /// PCI memory above 4 GiB.
    pub(super) high_pci_memory: Option<Window>,
    pub(super) event_ports: Window,
}

impl Layout {
    /// Of a machine that starts a kernel.
    pub(super) const DIRECT: Self = Self {
        pci_memory: PCI_MEMORY,
        high_pci_memory: None,
        event_ports: EVENT_PORTS,
    };

    /// Of one with `memory` bytes of memory and firmware for QEMU's Q35. That takes the end of the addresses
    /// that its processor has for large BARs, or what is behind memory; 46 bits are the most that it uses.
    pub(super) fn q35(memory: u64) -> Self {
        const GIB: u64 = 1 << 30;
        const END: u64 = 1 << 46;
        let start = (HIGH_RAM + memory.saturating_sub(LOW_RAM_END)).next_multiple_of(GIB);
        Self {
            pci_memory: Q35_PCI_MEMORY,
            high_pci_memory: (start < END).then(|| Window::new(start, END - start)),
            event_ports: Q35_EVENT_PORTS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_apart(mut windows: Vec<Window>) {
        windows.sort_by_key(|window| window.base);
        for pair in windows.windows(2) {
            assert!(pair[0].end() <= pair[1].base, "{pair:x?}");
        }
    }

    #[test]
    fn windows_do_not_overlap() {
        assert_apart(vec![
            Window::new(0, 0x6000),
            SEGMENTS,
            BOOT_PARAMETERS,
            STACK,
            PAGE_TABLES,
            COMMAND_LINE,
            Window::new(BIOS_DATA, 0x400),
            ACPI_TABLES,
            GENERATION,
            FIRMWARE_ENTRY,
            Window::new(FREE, LOW_RAM_END - FREE),
            PCI_MEMORY,
            PCI_CONFIGURATION,
            Q35_PCI_MEMORY,
            TEST,
            IO_APIC,
            LOCAL_APIC,
            // KVM's own pages.
            Window::new(0xfeff_c000, 0x4000),
            Window::new(FLASH_END - (16 << 20), 16 << 20),
            Window::new(HIGH_RAM, 1 << 30),
        ]);
        assert_apart(vec![
            I8042_PORTS,
            CMOS_PORTS,
            COM1_PORTS,
            POWER_PORTS,
            EVENT_PORTS,
            Q35_EVENT_PORTS,
            FW_CFG_PORTS,
            // PCI configuration space.
            Window::new(0xcf8, 8),
        ]);
    }

    #[test]
    fn firmware_has_room_for_its_registers_and_large_bars() {
        assert_apart(vec![
            POWER_PORTS,
            PM_CONTROL_PORTS,
            PM_TIMER_PORTS,
            Q35_EVENT_PORTS,
        ]);
        let high = |memory| Layout::q35(memory).high_pci_memory;
        assert_eq!(high(1 << 30).expect("a window").range(), 1 << 32..1 << 46);
        let behind = high((3 << 30) + 4096).expect("a window");
        assert_eq!(behind.base, 5 << 30);
        assert_eq!(high(u64::MAX / 2), None);
    }
}
