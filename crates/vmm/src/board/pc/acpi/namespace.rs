//! The devices of the board, by name (the DSDT, 5.2.11.1).

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Device, EISAName, Field, FieldAccessType, FieldEntry,
    FieldLockRule, FieldUpdateRule, IO, If, Interrupt, Local, Memory32Fixed, Method, Name, Notify,
    OpRegion, OpRegionSpace, Package, PackageBuilder, ResourceTemplate, Scope, Store,
};
use acpi_tables::sdt::Sdt;
use clade_devices::acpi::{Event, SLEEP_OFF};
use clade_devices::pci::SLOTS;

use super::{bytes_of, header};
use crate::board::Window;
use crate::board::pc::map::{self, Layout};

/// A notification that means what it says for buttons, pressed (5.6.6), and for the generation ID, changed.
const HAPPENED: u8 = 0x80;

const BUTTON: &str = "\\_SB_.PWRB";
const GENERATION: &str = "\\_SB_.VGEN";

/// All of it.
pub(super) fn dsdt(layout: &Layout) -> Sdt {
    // Revision 2: integers have 64 bits (20.2.1).
    let mut table = header(*b"DSDT", 2);
    let off = Package::new(vec![&SLEEP_OFF]);
    table.append_slice(&bytes_of(&Name::new("_S5_".into(), &off)));
    let devices: [Vec<u8>; 7] = [
        pci(layout),
        board_resources(),
        serial_port(),
        clock(),
        power_button(),
        generation(),
        events(layout.event_ports),
    ];
    table.append_slice(&Scope::raw("\\_SB_".into(), devices.concat()));
    table
}

/// The PCI host bridge (PCI Firmware Specification 3.3, 4): its windows, and where pins lead to.
fn pci(layout: &Layout) -> Vec<u8> {
    let bus = AddressSpace::new_bus_number(0u16, 0u16);
    let window = AddressSpace::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        layout.pci_memory.base as u32,
        (layout.pci_memory.end() - 1) as u32,
        None,
    );
    let high_window = layout.high_pci_memory.map(|window| {
        AddressSpace::new_memory(
            AddressSpaceCacheable::NotCacheable,
            true,
            window.base,
            window.end() - 1,
            None,
        )
    });
    let mut resources: Vec<&dyn Aml> = vec![&bus, &window];
    resources.extend(high_window.iter().map(|window| window as &dyn Aml));
    bytes_of(&Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_UID".into(), &0u8),
            &Name::new("_SEG".into(), &0u8),
            &Name::new("_BBN".into(), &0u8),
            // Devices see memory as processors do.
            &Name::new("_CCA".into(), &1u8),
            &Name::new("_CRS".into(), &ResourceTemplate::new(resources)),
            &Name::new("_PRT".into(), &routing()),
        ],
    ))
}

/// To which interrupt each pin of each slot leads (6.2.13).
fn routing() -> PackageBuilder {
    const ANY_FUNCTION: u32 = 0xffff;
    let mut table = PackageBuilder::new();
    for slot in 0..u32::from(SLOTS) {
        for pin in 0..4 {
            let address = slot << 16 | ANY_FUNCTION;
            let interrupt = map::PCI_IRQ_BASE + (slot + pin) % 4;
            table.add_element(&Package::new(vec![&address, &pin, &0u8, &interrupt]));
        }
    }
    table
}

/// What is in use without being a device: PCI configuration space, which Linux wants to be told of here,
/// too, before it believes it.
fn board_resources() -> Vec<u8> {
    let Window { base, size } = map::PCI_CONFIGURATION;
    let space = Memory32Fixed::new(true, base as u32, size as u32);
    bytes_of(&Device::new(
        "MBRD".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
            &Name::new("_UID".into(), &0u8),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&space])),
        ],
    ))
}

fn serial_port() -> Vec<u8> {
    let interrupt = Interrupt::new(true, true, false, false, map::COM1_IRQ);
    let ports = ports(map::COM1_PORTS);
    let resources = ResourceTemplate::new(vec![&interrupt, &ports]);
    bytes_of(&Device::new(
        "COM1".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0501")),
            &Name::new("_UID".into(), &0u8),
            &Name::new("_DDN".into(), &"COM1"),
            &Name::new("_CRS".into(), &resources),
        ],
    ))
}

fn clock() -> Vec<u8> {
    let ports = ports(map::CMOS_PORTS);
    let resources = ResourceTemplate::new(vec![&ports]);
    bytes_of(&Device::new(
        "RTC_".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0B00")),
            &Name::new("_CRS".into(), &resources),
        ],
    ))
}

fn ports(window: Window) -> IO {
    let base = window.base as u16;
    IO::new(base, base, 1, window.size as u8)
}

fn power_button() -> Vec<u8> {
    bytes_of(&Device::new(
        "PWRB".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C0C")),
            &Name::new("_UID".into(), &0u8),
        ],
    ))
}

/// VM generation ID (Microsoft, "Virtual Machine Generation ID", 2018): `ADDR` has the low and the high
/// half of its address. Its name is longer than ACPI likes; Linux knows a short one besides.
fn generation() -> Vec<u8> {
    let address = map::GENERATION.base;
    let (low, high) = (address as u32, (address >> 32) as u32);
    let names = Package::new(vec![&"VMGENCTR", &"VM_Gen_Counter"]);
    bytes_of(&Device::new(
        "VGEN".into(),
        vec![
            &Name::new("_HID".into(), &"CLAD0001"),
            &Name::new("_CID".into(), &names),
            &Name::new("_DDN".into(), &"VM_Gen_Counter"),
            &Name::new("_UID".into(), &0u8),
            &Name::new("ADDR".into(), &Package::new(vec![&low, &high])),
        ],
    ))
}

/// The generic event device (5.6.9): reads what happened, and notifies whom it concerns.
fn events(ports: Window) -> Vec<u8> {
    let path = acpi_tables::aml::Path::new;
    let interrupt = Interrupt::new(true, true, false, false, map::EVENT_IRQ);
    let (pending, listens, happened) = (path("PEND"), path("HEAR"), Local(0));
    let registers = Field::new(
        path("EREG"),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        vec![
            FieldEntry::Named(*b"PEND", 32),
            FieldEntry::Named(*b"HEAR", 32),
        ],
    );
    let (button_bit, generation_bit) = (Event::PowerButton as u32, Event::Generation as u32);
    let is_button = And::new(&NOWHERE, &happened, &button_bit);
    let is_generation = And::new(&NOWHERE, &happened, &generation_bit);
    bytes_of(&Device::new(
        "GED_".into(),
        vec![
            &Name::new("_HID".into(), &"ACPI0013"),
            &Name::new("_UID".into(), &0u8),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&interrupt])),
            &OpRegion::new(
                path("EREG"),
                OpRegionSpace::SystemIO,
                &(ports.base as u16),
                &(ports.size as u8),
            ),
            &registers,
            &Method::new(path("_INI"), 0, false, vec![&Store::new(&listens, &1u8)]),
            &Method::new(
                path("_EVT"),
                1,
                true,
                vec![
                    &Store::new(&happened, &pending),
                    &If::new(&is_button, vec![&Notify::new(&path(BUTTON), &HAPPENED)]),
                    &If::new(
                        &is_generation,
                        vec![&Notify::new(&path(GENERATION), &HAPPENED)],
                    ),
                ],
            ),
        ],
    ))
}

/// The target of a result that nobody keeps (20.2.2, `NullName`).
const NOWHERE: acpi_tables::aml::Zero = acpi_tables::aml::Zero {};
