//! Running the machine in which the image `debian` is configured.

use clade_images::{FirstBoot, RunMachine};
use clade_manager::{Machines, Order};
use clade_vmm::control::{Connection, Event, FromMachine, Request};
use clade_vmm::outcome::Outcome;
use clade_vmm::spec::{DiskSpec, Interrupts, MachineConfig};

use crate::arch;
use crate::verbs::machine_process;

/// Guest memory in bytes.
const MEMORY: u64 = 1 << 30;

/// Runs a machine as `clade run` does, but with its console in our hands. It ends with this process.
#[derive(Debug)]
pub(crate) struct OwnMachine;

impl RunMachine for OwnMachine {
    fn run(&self, machine: &FirstBoot, console: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let order = Order {
            name: None,
            image: Some("debian".to_owned()),
            temporary: true,
            config: MachineConfig {
                engine: arch::engine_of(machine.architecture),
                memory: MEMORY,
                interrupts: Interrupts::Aia,
                kernel: Some(machine.kernel.clone()),
                initrd: Some(machine.initrd.clone()),
                cmdline: machine.cmdline.clone(),
                disks: vec![DiskSpec {
                    path: machine.disk.clone(),
                    ..DiskSpec::default()
                }],
                ..MachineConfig::default()
            },
        };
        let (started, connection) = Machines::of_user()
            .and_then(|machines| machines.start(order, machine_process::command()))
            .map_err(|error| error.to_string())?;
        match watch(connection, console) {
            Some(Outcome::PowerOff) => Ok(()),
            Some(outcome) => Err(outcome
                .message()
                .unwrap_or_else(|| "the machine failed".to_owned())),
            None => Err(started.into_death().to_string()),
        }
    }
}

/// Follows the console until the machine ends; `None` if its process is gone without a word.
fn watch(connection: Connection, console: &mut dyn FnMut(&[u8])) -> Option<Outcome> {
    let Connection {
        sender,
        mut receiver,
    } = connection;
    sender.request(&Request::Attach { size: None }).ok()?;
    let mut restarted = false;
    loop {
        match receiver.receive() {
            Ok(Some(FromMachine::Output(bytes))) => console(&bytes),
            Ok(Some(FromMachine::Event(Event::Ended(outcome)))) => {
                let reset = Outcome::Error("the guest reset instead of switching off".to_owned());
                return Some(if restarted { reset } else { outcome });
            }
            // It would only do again what failed.
            Ok(Some(FromMachine::Event(Event::Restarted))) => {
                restarted = true;
                sender.request(&Request::Stop).ok()?;
            }
            Ok(Some(FromMachine::Event(_))) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}
