//! The tables, read by ACPICA's own tools.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::board::pc::map;

const START: u64 = 0xe_0000;

fn word(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(*bytes[offset..].first_chunk().expect("in the tables"))
}

/// The table at guest physical address `address`.
fn table_at(image: &[u8], address: u64) -> &[u8] {
    let table = &image[(address - START) as usize..];
    let length = u32::from_le_bytes(*table[4..].first_chunk().expect("a length"));
    &table[..length as usize]
}

/// All tables that the root pointer leads to.
fn all(image: &[u8]) -> Vec<&[u8]> {
    assert!(image.starts_with(b"RSD PTR "));
    let root = table_at(image, word(image, 24));
    let entries = root[36..].chunks(8).map(|entry| word(entry, 0));
    let mut tables: Vec<_> = entries.map(|address| table_at(image, address)).collect();
    let fixed = *tables
        .iter()
        .find(|table| table.starts_with(b"FACP"))
        .expect("a FADT");
    tables.push(table_at(image, word(fixed, X_DSDT)));
    tables.push(root);
    tables
}

#[test]
fn every_table_adds_up_to_zero() {
    let image = tables(4, &Layout::DIRECT, START);
    let tables = all(&image);
    let names: Vec<_> = tables.iter().map(|table| &table[..4]).collect();
    assert_eq!(names, [b"FACP", b"APIC", b"MCFG", b"DSDT", b"XSDT"]);
    for table in tables.into_iter().chain([&image[..20], &image[..36]]) {
        let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!(sum, 0, "{:?}", String::from_utf8_lossy(&table[..4]));
    }
}

#[test]
fn the_largest_board_has_room_for_its_tables() {
    let image = tables(map::CPUS_MAX, &Layout::DIRECT, START);
    assert!(image.len() as u64 <= map::ACPI_TABLES.size);
}

/// Runs ACPICA's compiler and disassembler; what it says, if it is there and satisfied.
fn iasl(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("iasl")
        .args(arguments)
        .current_dir(folder)
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: there is no iasl (Debian: apt-get install acpica-tools)");
        return None;
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    Some(said)
}

#[test]
fn acpica_reads_the_tables_and_compiles_them_again() {
    for layout in [Layout::DIRECT, Layout::q35(8 << 30)] {
        check_by_acpica(&layout);
    }
}

fn check_by_acpica(layout: &Layout) {
    let folder = tempfile::tempdir().expect("a folder");
    let image = tables(2, layout, START);
    for table in all(&image) {
        let name = String::from_utf8_lossy(&table[..4]).into_owned();
        let (binary, source) = (format!("{name}.aml"), format!("{name}.dsl"));
        fs::write(folder.path().join(&binary), table).expect("written");
        let Some(said) = iasl(folder.path(), &["-d", &binary]) else {
            return;
        };
        assert!(!said.contains("Error"), "{said}");
        let text = fs::read_to_string(folder.path().join(&source)).expect("disassembled");
        for wrong in ["Invalid", "Incorrect", "Unknown", "error"] {
            assert!(!text.contains(wrong), "{name}: {wrong}\n{text}");
        }
        let Some(said) = iasl(folder.path(), &["-p", "again", &source]) else {
            return;
        };
        assert!(
            said.contains("0 Errors") || !said.contains("Errors"),
            "{said}"
        );
    }
    let namespace = fs::read_to_string(folder.path().join("DSDT.dsl")).expect("disassembled");
    for what in [
        "Device (PCI0)",
        "_PRT",
        "Notify (\\_SB.PWRB, 0x80)",
        "Notify (\\_SB.VGEN, 0x80)",
        "0x000003F8",
        "ACPI0013",
    ] {
        assert!(
            namespace.contains(what) || namespace.contains(&what.replace("0x0000", "0x")),
            "{what}\n{namespace}"
        );
    }
}

/// Does what the script says, with the tables at `base`, as firmware does.
fn link(linked: &LinkedTables, base: u64) -> Vec<u8> {
    let mut memory = Vec::new();
    let file = format!("{:\0<56}", LinkedTables::TABLES).into_bytes();
    for command in linked.script.chunks(128) {
        let long =
            |at: usize| u32::from_le_bytes(*command[at..].first_chunk().expect("a field")) as usize;
        assert_eq!(command[4..60], file);
        match long(0) {
            1 => memory.clone_from(&linked.tables),
            2 => {
                assert_eq!(command[60..116], file);
                assert_eq!(command[120], 8);
                let pointer = &mut memory[long(116)..][..8];
                let address = word(pointer, 0) + base;
                pointer.copy_from_slice(&address.to_le_bytes());
            }
            3 => {
                let table = &memory[long(64)..][..long(68)];
                let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                memory[long(60)] = sum.wrapping_neg();
            }
            other => panic!("command {other}"),
        }
    }
    memory
}

#[test]
fn firmware_links_the_same_tables() {
    let layout = Layout::q35(1 << 30);
    let linked = link(&LinkedTables::new(3, &layout), START);
    let tables = tables(3, &layout, START);
    // It makes a root pointer of its own.
    let root = Rsdp::len();
    assert_eq!(linked[root..], tables[root..]);
}
