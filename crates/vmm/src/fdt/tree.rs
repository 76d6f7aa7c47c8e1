//! The nodes of the tree.

use vm_fdt::FdtWriter;

use super::FdtConfig;
use super::controllers::{
    IMSIC_PHANDLE, M_SOFTWARE, M_TIMER, Trigger, WIRES_PHANDLE, controllers, source_cells,
};
use crate::board::Window;
use crate::board::virt::map;
use crate::spec::Interrupts;

pub(super) type Result<T = ()> = std::result::Result<T, vm_fdt::Error>;

/// Address spaces in the first cell of a PCI address (IEEE 1275 PCI bus binding, section 2.2.1).
const PCI_IO: u32 = 0x0100_0000;
const PCI_MEMORY_32: u32 = 0x0200_0000;
const PCI_MEMORY_64: u32 = 0x0300_0000;

/// Of 1 to 5, the others belong to interrupt controllers.
const TEST_PHANDLE: u32 = 2;

const fn cpu_phandle(hart: u32) -> u32 {
    6 + 2 * hart
}

const fn intc_phandle(hart: u32) -> u32 {
    7 + 2 * hart
}

/// Makes the tree of `config`, whose numbers are in range.
pub(super) fn build(config: &FdtConfig) -> Result<Vec<u8>> {
    let mut tree = Tree {
        writer: FdtWriter::new()?,
        interrupts: config.interrupts,
    };
    tree.node("", |tree| {
        tree.cells("#address-cells", &[2])?;
        tree.cells("#size-cells", &[2])?;
        tree.string("compatible", "riscv-virtio")?;
        tree.string("model", "riscv-virtio,clade")?;
        aliases(tree)?;
        hypervisor(tree)?;
        chosen(tree, config)?;
        memory(tree, config)?;
        if config.flash {
            flash(tree)?;
        }
        cpus(tree, config)?;
        soc(tree, config)?;
        syscon(tree, "poweroff", map::TEST_POWER_OFF)?;
        syscon(tree, "reboot", map::TEST_REBOOT)
    })?;
    tree.writer.finish()
}

fn serial_name() -> String {
    format!("serial@{:x}", map::UART0.base)
}

fn aliases(tree: &mut Tree) -> Result {
    tree.node("aliases", |tree| {
        tree.string("serial0", &format!("/soc/{}", serial_name()))
    })
}

/// By this systemd(1) knows that it is in a virtual machine, and serves SSH on the sockets to the host.
fn hypervisor(tree: &mut Tree) -> Result {
    tree.node("hypervisor", |tree| tree.string("compatible", "clade"))
}

fn chosen(tree: &mut Tree, config: &FdtConfig) -> Result {
    tree.node("chosen", |tree| {
        tree.string("stdout-path", &format!("/soc/{}", serial_name()))?;
        tree.string("bootargs", &config.bootargs)?;
        if let Some(initrd) = &config.initrd {
            tree.cells("linux,initrd-start", &split(initrd.start))?;
            tree.cells("linux,initrd-end", &split(initrd.end))?;
        }
        tree.writer.property("rng-seed", &config.rng_seed)
    })
}

fn memory(tree: &mut Tree, config: &FdtConfig) -> Result {
    let start = config.ram.start;
    let size = config.ram.end.saturating_sub(start);
    tree.node(&format!("memory@{start:x}"), |tree| {
        tree.string("device_type", "memory")?;
        tree.reg(&[(start, size)])
    })
}

fn flash(tree: &mut Tree) -> Result {
    tree.node(&format!("flash@{:x}", map::FLASH.base), |tree| {
        tree.string("compatible", "cfi-flash")?;
        tree.reg(&[map::FLASH, map::FLASH_VARIABLES].map(|window| (window.base, window.size)))?;
        tree.cells("bank-width", &[4])
    })
}

fn cpus(tree: &mut Tree, config: &FdtConfig) -> Result {
    tree.node("cpus", |tree| {
        tree.cells("#address-cells", &[1])?;
        tree.cells("#size-cells", &[0])?;
        tree.cells("timebase-frequency", &[map::TIMEBASE_HZ])?;
        for hart in 0..config.harts {
            cpu(tree, config, hart)?;
        }
        cpu_map(tree, config.harts)
    })
}

fn cpu(tree: &mut Tree, config: &FdtConfig, hart: u32) -> Result {
    let extensions = &config.isa_extensions;
    tree.node(&format!("cpu@{hart:x}"), |tree| {
        tree.phandle(cpu_phandle(hart))?;
        tree.string("device_type", "cpu")?;
        tree.cells("reg", &[hart])?;
        tree.string("status", "okay")?;
        tree.string("compatible", "riscv")?;
        tree.string("riscv,isa", &isa_string(extensions))?;
        tree.string("riscv,isa-base", "rv64i")?;
        tree.strings("riscv,isa-extensions", extensions)?;
        tree.string("mmu-type", &config.mmu_type)?;
        for (extension, property) in [
            ("zicbom", "riscv,cbom-block-size"),
            ("zicbop", "riscv,cbop-block-size"),
            ("zicboz", "riscv,cboz-block-size"),
        ] {
            if extensions.iter().any(|name| name == extension) {
                tree.cells(property, &[config.cache_block_size])?;
            }
        }
        tree.node("interrupt-controller", |tree| {
            tree.phandle(intc_phandle(hart))?;
            tree.cells("#interrupt-cells", &[1])?;
            tree.flag("interrupt-controller")?;
            tree.string("compatible", "riscv,cpu-intc")
        })
    })
}

/// The extensions as one string, the deprecated form that older kernels and firmware read: single
/// letters together, the others each behind an underscore.
fn isa_string(extensions: &[String]) -> String {
    let mut isa = "rv64".to_owned();
    isa.extend(extensions.iter().filter(|name| name.len() == 1).cloned());
    for name in extensions.iter().filter(|name| name.len() > 1) {
        isa.push('_');
        isa.push_str(name);
    }
    isa
}

fn cpu_map(tree: &mut Tree, harts: u32) -> Result {
    tree.node("cpu-map", |tree| {
        tree.node("cluster0", |tree| {
            for hart in 0..harts {
                tree.node(&format!("core{hart}"), |tree| {
                    tree.cells("cpu", &[cpu_phandle(hart)])
                })?;
            }
            Ok(())
        })
    })
}

fn soc(tree: &mut Tree, config: &FdtConfig) -> Result {
    tree.node("soc", |tree| {
        tree.cells("#address-cells", &[2])?;
        tree.cells("#size-cells", &[2])?;
        tree.string("compatible", "simple-bus")?;
        tree.flag("ranges")?;
        if config.machine_mode {
            clint(tree, config.harts)?;
        }
        controllers(tree, config)?;
        serial(tree)?;
        rtc(tree)?;
        vmgenid(tree)?;
        test(tree)?;
        for slot in 0..config.virtio_mmio_slots {
            virtio_mmio(tree, slot)?;
        }
        pci(tree, config.interrupts)
    })
}

fn clint(tree: &mut Tree, harts: u32) -> Result {
    tree.device("clint", map::CLINT, |tree| {
        tree.strings("compatible", &["sifive,clint0", "riscv,clint0"])?;
        tree.hart_interrupts(harts, [M_SOFTWARE, M_TIMER])
    })
}

fn serial(tree: &mut Tree) -> Result {
    tree.device("serial", map::UART0, |tree| {
        tree.string("compatible", "ns16550a")?;
        tree.cells("clock-frequency", &[map::UART0_CLOCK_HZ])?;
        tree.interrupt(map::UART0_IRQ, Trigger::HighLevel)
    })
}

fn rtc(tree: &mut Tree) -> Result {
    tree.device("rtc", map::RTC, |tree| {
        tree.string("compatible", "google,goldfish-rtc")?;
        tree.interrupt(map::RTC_IRQ, Trigger::HighLevel)
    })
}

/// Binding: `rng/microsoft,vmgenid.yaml`.
fn vmgenid(tree: &mut Tree) -> Result {
    tree.device("rng", map::VMGENID, |tree| {
        tree.string("compatible", "microsoft,vmgenid")?;
        tree.interrupt(map::VMGENID_IRQ, Trigger::RisingEdge)
    })
}

fn test(tree: &mut Tree) -> Result {
    tree.device("test", map::TEST, |tree| {
        tree.phandle(TEST_PHANDLE)?;
        tree.strings("compatible", &["sifive,test1", "sifive,test0", "syscon"])
    })
}

/// A way to switch off or restart: write `value` to the test device.
fn syscon(tree: &mut Tree, name: &str, value: u32) -> Result {
    tree.node(name, |tree| {
        tree.string("compatible", &format!("syscon-{name}"))?;
        tree.cells("regmap", &[TEST_PHANDLE])?;
        tree.cells("offset", &[0])?;
        tree.cells("value", &[value])
    })
}

fn virtio_mmio(tree: &mut Tree, slot: u32) -> Result {
    tree.device("virtio_mmio", map::virtio_mmio(slot), |tree| {
        tree.string("compatible", "virtio,mmio")?;
        tree.interrupt(map::virtio_mmio_irq(slot), Trigger::HighLevel)
    })
}

fn pci(tree: &mut Tree, interrupts: Interrupts) -> Result {
    tree.device("pci", map::PCIE_ECAM, |tree| {
        tree.string("compatible", "pci-host-ecam-generic")?;
        tree.string("device_type", "pci")?;
        tree.cells("#address-cells", &[3])?;
        tree.cells("#size-cells", &[2])?;
        tree.cells("#interrupt-cells", &[1])?;
        tree.cells("linux,pci-domain", &[0])?;
        tree.cells("bus-range", &[0, 0xff])?;
        tree.flag("dma-coherent")?;
        let mut ranges = Vec::new();
        for (space, bus, window) in [
            (PCI_IO, 0, map::PCIE_PIO),
            (PCI_MEMORY_32, map::PCIE_MMIO.base, map::PCIE_MMIO),
            (PCI_MEMORY_64, map::PCIE_MMIO_HIGH.base, map::PCIE_MMIO_HIGH),
        ] {
            ranges.push(space);
            ranges.extend([bus, window.base, window.size].into_iter().flat_map(split));
        }
        tree.cells("ranges", &ranges)?;
        // The wiring repeats every four devices: two bits of the device number, and the pin.
        tree.cells("interrupt-map-mask", &[3 << PCI_DEVICE_SHIFT, 0, 0, 7])?;
        tree.cells("interrupt-map", &pci_interrupt_map(interrupts))?;
        if interrupts == Interrupts::Aia {
            tree.cells("msi-parent", &[IMSIC_PHANDLE])?;
        }
        Ok(())
    })
}

/// Where the device number stands in the first cell of a PCI address.
const PCI_DEVICE_SHIFT: u32 = 11;

/// For each device and pin: its address, the pin counted from 1, and the source at the controller.
fn pci_interrupt_map(interrupts: Interrupts) -> Vec<u32> {
    let mut map = Vec::new();
    for device in 0..4 {
        for pin in 0..4 {
            let source = map::pcie_irq(device, pin);
            map.extend([device << PCI_DEVICE_SHIFT, 0, 0, pin + 1, WIRES_PHANDLE]);
            map.extend(source_cells(interrupts, source, Trigger::HighLevel));
        }
    }
    map
}

/// A 64-bit number as two cells.
fn split(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}

/// A tree in the making.
pub(super) struct Tree {
    writer: FdtWriter,
    interrupts: Interrupts,
}

impl Tree {
    /// Adds the node `name` with what `fill` puts into it.
    fn node(&mut self, name: &str, fill: impl FnOnce(&mut Self) -> Result) -> Result {
        let node = self.writer.begin_node(name)?;
        fill(self)?;
        self.writer.end_node(node)
    }

    /// Adds a device with registers at `window`.
    pub(super) fn device(
        &mut self,
        name: &str,
        window: Window,
        fill: impl FnOnce(&mut Self) -> Result,
    ) -> Result {
        self.node(&format!("{name}@{:x}", window.base), |tree| {
            tree.reg(&[(window.base, window.size)])?;
            fill(tree)
        })
    }

    pub(super) fn flag(&mut self, name: &str) -> Result {
        self.writer.property_null(name)
    }

    pub(super) fn string(&mut self, name: &str, value: &str) -> Result {
        self.writer.property_string(name, value)
    }

    pub(super) fn strings(&mut self, name: &str, values: &[impl ToString]) -> Result {
        let values = values.iter().map(ToString::to_string).collect();
        self.writer.property_string_list(name, values)
    }

    pub(super) fn cells(&mut self, name: &str, cells: &[u32]) -> Result {
        self.writer.property_array_u32(name, cells)
    }

    fn reg(&mut self, ranges: &[(u64, u64)]) -> Result {
        let cells: Vec<_> = ranges
            .iter()
            .flat_map(|&(base, size)| [base, size])
            .flat_map(split)
            .collect();
        self.cells("reg", &cells)
    }

    pub(super) fn phandle(&mut self, phandle: u32) -> Result {
        self.writer.property_phandle(phandle)
    }

    /// The device raises `source` of the controller of wires.
    fn interrupt(&mut self, source: u32, trigger: Trigger) -> Result {
        self.cells("interrupt-parent", &[WIRES_PHANDLE])?;
        let cells = source_cells(self.interrupts, source, trigger);
        self.cells("interrupts", &cells)
    }

    /// The device raises these interrupts of every hart, hart by hart.
    pub(super) fn hart_interrupts<const N: usize>(
        &mut self,
        harts: u32,
        causes: [u32; N],
    ) -> Result {
        let cells: Vec<_> = (0..harts)
            .flat_map(|hart| causes.map(|cause| [intc_phandle(hart), cause]))
            .flatten()
            .collect();
        self.cells("interrupts-extended", &cells)
    }
}
