//! Where everything is on the PC: guest physical addresses, ports and interrupts.

use clade_devices::{AcpiEvents, PowerRegisters, cmos, i8042};

use crate::board::Window;

/// Memory that begins at 0 ends here at the latest; the rest is at [`HIGH_RAM`].
pub const LOW_RAM_END: u64 = 0xc000_0000;
/// Memory that has no room below: from 4 GiB on.
pub const HIGH_RAM: u64 = 0x1_0000_0000;

/// PCI memory.
pub const PCI_MEMORY: Window = Window::new(0xc000_0000, 0x2000_0000);
/// PCI configuration space (ECAM) of the only bus.
pub const PCI_CONFIGURATION: Window = Window::new(0xe000_0000, 0x10_0000);
/// SiFive's test finisher, as on the RISC-V board: power-off, failure and reboot by one store.
pub const TEST: Window = Window::new(0xfe00_0000, 0x1000);
/// The I/O APIC, which is KVM's.
pub const IO_APIC: Window = Window::new(0xfec0_0000, 0x1000);
/// The local APICs and where messages go, which are KVM's.
pub const LOCAL_APIC: Window = Window::new(0xfee0_0000, 0x10_0000);

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
/// Ports of ACPI's events.
pub const EVENT_PORTS: Window = Window::new(0x608, AcpiEvents::SIZE);

/// Global system interrupt of the first serial port.
pub const COM1_IRQ: u32 = 4;
/// Global system interrupt of PCI's INTA of slot 0; the next three are for the other pins, rotated by
/// slot.
pub const PCI_IRQ_BASE: u32 = 16;
/// Global system interrupt of ACPI's events.
pub const EVENT_IRQ: u32 = 20;

pub use clade_kvm::CPUS_MAX;

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
            TEST,
            IO_APIC,
            LOCAL_APIC,
            // KVM's own pages.
            Window::new(0xfeff_c000, 0x4000),
            Window::new(HIGH_RAM, 1 << 30),
        ]);
        assert_apart(vec![
            I8042_PORTS,
            CMOS_PORTS,
            COM1_PORTS,
            POWER_PORTS,
            EVENT_PORTS,
            // PCI configuration space.
            Window::new(0xcf8, 8),
        ]);
    }
}
