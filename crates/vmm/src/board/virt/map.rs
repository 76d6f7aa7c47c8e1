//! Where everything is: the guest physical address map and interrupt numbers of the board.
//!
//! It is the map of QEMU's `virt` machine (`hw/riscv/virt.c`, `docs/system/riscv/virt.rst`), so
//! that stock kernels and firmware boot unchanged.

use clade_devices::{aplic, plic};
use clade_emulate::Imsic;

use crate::board::Window;

/// Boot ROM: the reset vector, where every hart starts in firmware mode.
pub const BOOT_ROM: Window = Window::new(0x1000, 0xf000);
/// SiFive test device: power-off, failure and reboot.
pub const TEST: Window = Window::new(0x10_0000, 0x1000);
/// Goldfish real-time clock.
pub const RTC: Window = Window::new(0x10_1000, 0x1000);
/// VM generation ID, where QEMU's board has nothing.
pub const VMGENID: Window = Window::new(0x10_2000, 0x1000);
/// CLINT: machine timer and inter-processor interrupts.
pub const CLINT: Window = Window::new(0x200_0000, 0x1_0000);
/// PCIe port I/O, seen by the guest's PCI bus as ports from 0.
pub const PCIE_PIO: Window = Window::new(0x300_0000, 0x1_0000);
/// PLIC: platform-level interrupt controller.
pub const PLIC: Window = Window::new(0xc00_0000, 0x60_0000);
/// APLIC: the root domain, M-mode's, where the PLIC would be.
pub const APLIC_MACHINE: Window = Window::new(0xc00_0000, aplic::SIZE);
/// APLIC: the domain of S-mode.
pub const APLIC_SUPERVISOR: Window = Window::new(0xd00_0000, aplic::SIZE);
/// IMSIC: M-mode's interrupt files, a page for each hart.
pub const IMSIC_MACHINE: Window = Window::new(0x2400_0000, 0x20_0000);
/// IMSIC: S-mode's interrupt files, a page for each hart.
pub const IMSIC_SUPERVISOR: Window = Window::new(0x2800_0000, 0x20_0000);
/// UART 0, a 16550A.
pub const UART0: Window = Window::new(0x1000_0000, 0x100);
/// The first virtio-mmio slot; the others follow without gaps, see [`virtio_mmio`].
pub const VIRTIO_MMIO: Window = Window::new(0x1000_1000, 0x1000);
/// Flash 0: firmware code.
pub const FLASH: Window = Window::new(0x2000_0000, 0x200_0000);
/// Flash 1: the firmware's variables.
pub const FLASH_VARIABLES: Window = Window::new(0x2200_0000, 0x200_0000);
/// PCIe configuration space (ECAM): 256 buses.
pub const PCIE_ECAM: Window = Window::new(0x3000_0000, 0x1000_0000);
/// PCIe memory below 4 GiB, identity-mapped.
pub const PCIE_MMIO: Window = Window::new(0x4000_0000, 0x4000_0000);
/// First address of guest RAM.
pub const RAM_BASE: u64 = 0x8000_0000;
/// PCIe memory above 4 GiB, identity-mapped, for 64-bit prefetchable BARs.
pub const PCIE_MMIO_HIGH: Window = Window::new(0x4_0000_0000, 0x4_0000_0000);

/// Most RAM that fits between [`RAM_BASE`] and [`PCIE_MMIO_HIGH`], in bytes.
pub const RAM_MAX: u64 = PCIE_MMIO_HIGH.base - RAM_BASE;

/// Number of virtio-mmio slots.
pub const VIRTIO_MMIO_SLOTS: u32 = 8;

/// The window of virtio-mmio slot `slot`, below [`VIRTIO_MMIO_SLOTS`].
#[must_use]
pub const fn virtio_mmio(slot: u32) -> Window {
    Window::new(
        VIRTIO_MMIO.base + slot as u64 * VIRTIO_MMIO.size,
        VIRTIO_MMIO.size,
    )
}

/// The source of virtio-mmio slot `slot` at the PLIC or APLIC: 1 to 8.
#[must_use]
pub const fn virtio_mmio_irq(slot: u32) -> u32 {
    1 + slot
}

/// The source of UART 0.
pub const UART0_IRQ: u32 = 10;
/// The source of the real-time clock.
pub const RTC_IRQ: u32 = 11;
/// The source of the VM generation ID, where QEMU's board has none.
pub const VMGENID_IRQ: u32 = 12;
/// The source of PCIe INTA of device 0; four sources in a row serve INTA to INTD, rotated by
/// device number, see [`pcie_irq`].
pub const PCIE_IRQ_BASE: u32 = 32;

/// The source of pin `pin` (0 is INTA, 3 is INTD) of the PCIe device in slot `device`: the
/// rotation of the PCI-to-PCI Bridge Architecture Specification 1.2, table 9-1.
#[must_use]
pub const fn pcie_irq(device: u32, pin: u32) -> u32 {
    PCIE_IRQ_BASE + (device + pin) % 4
}

/// The highest PLIC source number (`riscv,ndev`); sources count from 1.
pub const PLIC_SOURCES: u32 = plic::SOURCES as u32 - 1;
/// The highest APLIC source number (`riscv,num-sources`); sources count from 1.
pub const APLIC_SOURCES: u32 = aplic::SOURCES as u32;
/// The highest interrupt identity of an IMSIC (`riscv,num-ids`).
pub const IMSIC_IDENTITIES: u32 = Imsic::IDENTITIES;
/// Most harts: the PLIC's window has room for two contexts (M and S) of each.
pub const HARTS_MAX: u32 = 512;

/// Frequency of the `time` CSR and of the CLINT's `mtime`, in Hz.
pub const TIMEBASE_HZ: u32 = 10_000_000;
/// Input clock of UART 0, in Hz.
pub const UART0_CLOCK_HZ: u32 = 3_686_400;

/// What the guest writes to the test device to switch off with success.
pub const TEST_POWER_OFF: u32 = 0x5555;
/// What the guest writes to the test device to restart.
pub const TEST_REBOOT: u32 = 0x7777;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_do_not_overlap() {
        let mut windows = vec![
            BOOT_ROM,
            TEST,
            RTC,
            VMGENID,
            CLINT,
            PCIE_PIO,
            PLIC,
            APLIC_SUPERVISOR,
            IMSIC_MACHINE,
            IMSIC_SUPERVISOR,
            UART0,
            FLASH,
            FLASH_VARIABLES,
            PCIE_ECAM,
            PCIE_MMIO,
            Window::new(RAM_BASE, RAM_MAX),
            PCIE_MMIO_HIGH,
        ];
        windows.extend((0..VIRTIO_MMIO_SLOTS).map(virtio_mmio));
        windows.sort_by_key(|window| window.base);
        for pair in windows.windows(2) {
            assert!(pair[0].end() <= pair[1].base, "{pair:x?}");
        }
    }

    #[test]
    fn interrupts_are_distinct_and_below_the_plic_limit() {
        let mut sources = vec![UART0_IRQ, RTC_IRQ, VMGENID_IRQ];
        sources.extend((0..VIRTIO_MMIO_SLOTS).map(virtio_mmio_irq));
        sources.extend((0..4).map(|pin| pcie_irq(0, pin)));
        let count = sources.len();
        sources.sort_unstable();
        sources.dedup();
        assert_eq!(sources.len(), count);
        assert!(sources.iter().all(|&s| (1..=PLIC_SOURCES).contains(&s)));
    }
}
