//! Boots a kernel with nothing around it: no manager, no process, no terminal. For debugging the
//! board and the engine: `boot KERNEL [INITRD] [CPUS] [CMDLINE] [FIRMWARE]`, `-` for none.

use std::io::Write;
use std::sync::Arc;

use clade_devices::ConsoleHost;
use clade_vmm::backends::Backends;
use clade_vmm::machine::Machine;
use clade_vmm::spec::MachineConfig;

struct Stdout;

impl ConsoleHost for Stdout {
    fn output(&self, bytes: &[u8]) {
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    }

    fn input_room(&self) {}
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).filter(|text| *text != "-").cloned();
    let config = MachineConfig {
        cpus: argument(2).map_or(1, |text| text.parse().expect("CPUS is a number")),
        kernel: Some(argument(0).expect("KERNEL").into()),
        initrd: argument(1).map(Into::into),
        cmdline: argument(3).unwrap_or_else(|| "earlycon=sbi console=ttyS0 panic=-1".into()),
        firmware: argument(4).map(Into::into),
        ..MachineConfig::default()
    };
    let started = std::time::Instant::now();
    let finished =
        Machine::build(&config, &Backends::default(), Arc::new(Stdout)).and_then(Machine::run);
    eprintln!("{finished:#?} after {:?}", started.elapsed());
}
