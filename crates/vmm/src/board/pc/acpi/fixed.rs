//! The tables of fixed form.

use acpi_tables::fadt::{FADT, FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::mcfg::MCFG;
use clade_devices::acpi::{PowerRegisters, RESET_VALUE, SLEEP_CONTROL, SLEEP_STATUS};

use super::{OEM, REVISION, TABLE};
use crate::board::pc::map;

/// IA-PC boot architecture flags (5.2.9.3): no VGA to be probed for.
const NO_VGA: u16 = 1 << 2;

/// What hardware there is (5.2.9), with the namespace at `dsdt`: next to none, for the machine is
/// hardware-reduced (4.1).
pub(super) fn fadt(dsdt: u64) -> FADT {
    let mut table = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        .flag(Flags::Wbinvd)
        // Both buttons are devices of the namespace, if they are there at all.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    table.iapc_boot_arch = NO_VGA.into();
    table.reset_reg = power_register(PowerRegisters::RESET);
    table.reset_value = RESET_VALUE;
    table.sleep_control_reg = power_register(SLEEP_CONTROL);
    table.sleep_status_reg = power_register(SLEEP_STATUS);
    table.hypervisor_vendor_identity = u64::from_le_bytes(*b"CLADE\0\0\0").into();
    table.finalize()
}

fn power_register(offset: u64) -> GAS {
    let port = map::POWER_PORTS.base + offset;
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port)
}

/// The interrupt controllers (5.2.12).
pub(super) fn madt(cpus: u32) -> MADT {
    let local = LocalInterruptController::Address(map::LOCAL_APIC.base as u32);
    let mut table = MADT::new(OEM, TABLE, REVISION, local);
    for cpu in 0..cpus.min(map::CPUS_MAX) as u8 {
        table.add_structure(ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled));
    }
    table.add_structure(IoApic::new(0, map::IO_APIC.base as u32, 0));
    table
}

/// Where PCI configuration space is (PCI Firmware Specification 3.3, 4.1.2): one bus.
pub(super) fn mcfg() -> MCFG {
    let mut table = MCFG::new(OEM, TABLE, REVISION);
    table.add_ecam(map::PCI_CONFIGURATION.base, 0, 0, 0);
    table
}
