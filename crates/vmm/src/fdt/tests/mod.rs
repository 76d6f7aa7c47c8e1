//! Trees are read back by a parser that we did not write, and compared with QEMU's.

use std::collections::{BTreeMap, BTreeSet};

use ::fdt::Fdt;
use ::fdt::node::FdtNode;
use proptest::prelude::*;

use super::*;

/// Made by QEMU; `qemu-virt.dts` and `qemu-aia-4.dts` say how.
const QEMU: &[u8] = include_bytes!("qemu-virt.dtb");
const QEMU_AIA_1: &[u8] = include_bytes!("qemu-aia-1.dtb");
const QEMU_AIA_4: &[u8] = include_bytes!("qemu-aia-4.dtb");

/// The machine that QEMU's tree describes.
fn config() -> FdtConfig {
    let isa = [
        "i", "m", "a", "f", "d", "c", "zicbom", "zicbop", "zicboz", "sstc",
    ];
    FdtConfig {
        harts: 2,
        ram: map::RAM_BASE..map::RAM_BASE + (1 << 30),
        isa_extensions: isa.map(str::to_owned).to_vec(),
        mmu_type: "riscv,sv57".to_owned(),
        cache_block_size: 64,
        interrupts: Interrupts::Plic,
        machine_mode: true,
        flash: true,
        virtio_mmio_slots: map::VIRTIO_MMIO_SLOTS,
        bootargs: "console=ttyS0".to_owned(),
        initrd: None,
        rng_seed: (0..48).collect(),
    }
}

/// Values by path of the node and name of the property. The paths of nodes stand for phandles.
type Tree = BTreeMap<(String, String), Vec<String>>;

fn read(dtb: &[u8]) -> Tree {
    let fdt = Fdt::new(dtb).expect("well-formed");
    let root = fdt.find_node("/").expect("root");
    let mut phandles = BTreeMap::new();
    visit("", root, &mut |path, node| {
        if let Some(phandle) = node.property("phandle").and_then(|p| p.as_usize()) {
            let same = phandles.insert(phandle as u32, path.to_owned());
            assert_eq!(same, None, "phandle {phandle} twice");
        }
    });
    let mut tree = Tree::new();
    visit("", root, &mut |path, node| {
        tree.insert((path.to_owned(), String::new()), Vec::new());
        for property in node.properties().filter(|p| p.name != "phandle") {
            let value = value(property.name, property.value, &phandles);
            tree.insert((path.to_owned(), property.name.to_owned()), value);
        }
    });
    tree
}

fn visit<'b, 'a: 'b>(
    path: &str,
    node: FdtNode<'b, 'a>,
    see: &mut impl FnMut(&str, FdtNode<'b, 'a>),
) {
    see(if path.is_empty() { "/" } else { path }, node);
    for child in node.children() {
        visit(&format!("{path}/{}", child.name), child, see);
    }
}

/// A value as hexadecimal cells, with phandles resolved where the bindings have them.
fn value(name: &str, bytes: &[u8], phandles: &BTreeMap<u32, String>) -> Vec<String> {
    let (stride, at) = match name {
        "interrupt-parent" | "regmap" | "cpu" => (1, 0),
        "msi-parent" | "riscv,children" => (1, 0),
        "riscv,delegate" | "riscv,delegation" => (3, 0),
        "interrupts-extended" => (2, 0),
        // The mask of a PCI address, then the controller and as many cells as it wants.
        "interrupt-map" if bytes.len() == 16 * 7 * 4 => (7, 4),
        "interrupt-map" => (6, 4),
        _ => return bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let cells = bytes.chunks_exact(4);
    let cells = cells.map(|cell| u32::from_be_bytes(cell.try_into().unwrap()));
    let resolve = |(index, cell)| match index % stride == at {
        true => phandles[&cell].clone(),
        false => format!("{cell:x}"),
    };
    cells.enumerate().map(resolve).collect()
}

/// The nodes and properties in which our tree differs from QEMU's, but for what QEMU has alone.
fn differences(config: &FdtConfig, theirs: &[u8]) -> BTreeSet<(String, String)> {
    let ours = read(&build(config).unwrap());
    let theirs = read(theirs);
    let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    keys.into_iter()
        .filter(|key| ours.get(key) != theirs.get(key))
        .filter(|(path, _)| !QEMU_ONLY.iter().any(|node| path == node))
        .cloned()
        .collect()
}

/// Where every tree of ours differs from QEMU's.
fn expected_differences(harts: u32) -> BTreeSet<(String, String)> {
    let mut expected = BTreeSet::new();
    let mut expect = |path: &str, name: &str| {
        expected.insert((path.to_owned(), name.to_owned()));
    };
    for (path, name) in [
        ("/", "model"),
        ("/aliases", ""),
        ("/aliases", "serial0"),
        ("/chosen", "rng-seed"),
        // QEMU's tree tells systemd that it is one by its device fw-cfg.
        ("/hypervisor", ""),
        ("/hypervisor", "compatible"),
        // QEMU has this device only with ACPI.
        ("/soc/rng@102000", ""),
        ("/soc/rng@102000", "compatible"),
        ("/soc/rng@102000", "interrupt-parent"),
        ("/soc/rng@102000", "interrupts"),
        ("/soc/rng@102000", "reg"),
    ] {
        expect(path, name);
    }
    for hart in 0..harts {
        let cpu = format!("/cpus/cpu@{hart}");
        for name in [
            "mmu-type",
            "riscv,isa",
            "riscv,isa-base",
            "riscv,isa-extensions",
            "riscv,cbom-block-size",
            "riscv,cbop-block-size",
            "riscv,cboz-block-size",
        ] {
            expect(&cpu, name);
        }
    }
    expected
}

/// Every node and property is as in QEMU's tree, but for these.
#[test]
fn as_qemu_describes_its_virt_machine() {
    let mut expected = expected_differences(2);
    // QEMU counted one too many until 8.0.
    expected.insert(("/soc/plic@c000000".into(), "riscv,ndev".into()));
    assert_eq!(differences(&config(), QEMU), expected);
}

#[test]
fn as_qemu_describes_its_virt_machine_with_imsics() {
    for (harts, theirs) in [(1, QEMU_AIA_1), (4, QEMU_AIA_4)] {
        let config = FdtConfig {
            harts,
            interrupts: Interrupts::Aia,
            ..config()
        };
        let mut expected = expected_differences(harts);
        // What QEMU's drafts of 7.2 have and the bindings have not, or the other way round.
        for (node, names) in [
            ("imsics@24000000", ["#msi-cells", "riscv,ipi-id"]),
            ("imsics@28000000", ["#msi-cells", "riscv,ipi-id"]),
            ("aplic@c000000", ["#address-cells", "riscv,delegation"]),
            ("aplic@d000000", ["#address-cells"; 2]),
        ] {
            let node = format!("/soc/{node}");
            expected.extend(names.map(|name| (node.clone(), name.to_owned())));
        }
        assert_eq!(differences(&config, theirs), expected, "{harts} harts");
    }
}

/// A kernel above the built-in SBI sees nothing of M-mode's interrupts.
#[test]
fn machine_mode_is_hidden_from_kernels() {
    let config = FdtConfig {
        interrupts: Interrupts::Aia,
        machine_mode: false,
        ..config()
    };
    let tree = read(&build(&config).unwrap());
    let nodes: Vec<_> = tree
        .keys()
        .filter(|(path, name)| name.is_empty() && !path.contains("/cpus/"))
        .map(|(path, _)| path.as_str())
        .filter(|path| {
            ["aplic", "imsics", "clint"]
                .iter()
                .any(|name| path.contains(name))
        })
        .collect();
    assert_eq!(nodes, ["/soc/aplic@d000000", "/soc/imsics@28000000"]);
}

/// Devices that our board does not have.
const QEMU_ONLY: [&str; 3] = ["/pmu", "/fw-cfg@10100000", "/platform-bus@4000000"];

fn strings(fdt: &Fdt<'_>, path: &str, property: &str) -> Vec<String> {
    let node = fdt.find_node(path).expect("node");
    let value = node.property(property).expect("property").value;
    let value = value.strip_suffix(&[0]).expect("NUL");
    let strings = value.split(|&byte| byte == 0);
    strings
        .map(|s| String::from_utf8(s.to_vec()).unwrap())
        .collect()
}

#[test]
fn what_the_caller_says_arrives() {
    let config = FdtConfig {
        initrd: Some(0x1_2345_6000..0x1_2345_7001),
        ..config()
    };
    let dtb = build(&config).unwrap();
    let fdt = Fdt::new(&dtb).unwrap();

    let chosen = fdt.find_node("/chosen").unwrap();
    let value = |name| chosen.property(name).unwrap().value;
    assert_eq!(value("linux,initrd-start"), 0x1_2345_6000_u64.to_be_bytes());
    assert_eq!(value("linux,initrd-end"), 0x1_2345_7001_u64.to_be_bytes());
    assert_eq!(value("rng-seed"), config.rng_seed);
    assert_eq!(fdt.chosen().bootargs(), Some("console=ttyS0"));
    assert_eq!(fdt.chosen().stdout().unwrap().name, "serial@10000000");

    let memory = fdt.memory().regions().next().unwrap();
    assert_eq!(memory.starting_address as u64, config.ram.start);
    assert_eq!(memory.size, Some(1 << 30));

    for cpu in fdt.cpus() {
        assert_eq!(cpu.timebase_frequency(), 10_000_000);
        assert_eq!(
            cpu.property("riscv,cbom-block-size").unwrap().as_usize(),
            Some(64)
        );
    }
    let isa = "rv64imafdc_zicbom_zicbop_zicboz_sstc";
    assert_eq!(strings(&fdt, "/cpus/cpu@1", "riscv,isa"), [isa]);
    assert_eq!(strings(&fdt, "/cpus/cpu@1", "riscv,isa-base"), ["rv64i"]);
    let extensions = strings(&fdt, "/cpus/cpu@1", "riscv,isa-extensions");
    assert_eq!(extensions, config.isa_extensions);
    assert_eq!(strings(&fdt, "/cpus/cpu@1", "mmu-type"), ["riscv,sv57"]);
}

#[test]
fn what_is_not_there_is_not_described() {
    let isa_extensions = vec!["i".to_owned()];
    let config = FdtConfig {
        machine_mode: false,
        flash: false,
        virtio_mmio_slots: 0,
        isa_extensions,
        ..config()
    };
    let dtb = build(&config).unwrap();
    let fdt = Fdt::new(&dtb).unwrap();
    assert!(fdt.find_compatible(&["riscv,clint0"]).is_none());
    assert!(fdt.find_compatible(&["virtio,mmio"]).is_none());
    let cpu = fdt.find_node("/cpus/cpu@0").unwrap();
    assert!(cpu.property("riscv,cbom-block-size").is_none());
    let chosen = fdt.find_node("/chosen").unwrap();
    assert!(chosen.property("linux,initrd-start").is_none());
}

#[test]
fn impossible_machines_are_refused() {
    let refused = |change: fn(&mut FdtConfig)| {
        let mut config = config();
        change(&mut config);
        build(&config).unwrap_err()
    };
    assert_eq!(
        refused(|c| c.harts = 0).to_string(),
        "0 CPUs are not possible: use 1 to 512"
    );
    assert!(matches!(refused(|c| c.harts = 513), FdtError::Harts(513)));
    assert!(matches!(
        refused(|c| c.virtio_mmio_slots = 9),
        FdtError::VirtioMmioSlots(9)
    ));
    assert!(matches!(
        refused(|c| c.bootargs = "a\0b".into()),
        FdtError::NulInBootargs
    ));
    assert!(matches!(
        refused(|c| c.mmu_type = "\0".into()),
        FdtError::Writer(_)
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_machine_has_a_well_formed_tree(
        harts in 1..=map::HARTS_MAX,
        pages in 1..1_u64 << 22,
        bootargs in "[^\0]*",
        rng_seed: Vec<u8>,
        aia: bool,
    ) {
        let interrupts = if aia { Interrupts::Aia } else { Interrupts::Plic };
        let ram = map::RAM_BASE..map::RAM_BASE + pages * 4096;
        let config = FdtConfig { harts, ram, bootargs, rng_seed, interrupts, ..config() };
        let dtb = build(&config).unwrap();
        let fdt = Fdt::new(&dtb).unwrap();
        prop_assert_eq!(fdt.cpus().count(), harts as usize);
        prop_assert_eq!(fdt.memory().regions().next().unwrap().size, Some(pages as usize * 4096));
        prop_assert_eq!(&strings(&fdt, "/chosen", "bootargs")[0], &config.bootargs);
        prop_assert!(dtb.len() < 1 << 20, "no room is kept for {} bytes", dtb.len());
        read(&dtb);
    }
}
