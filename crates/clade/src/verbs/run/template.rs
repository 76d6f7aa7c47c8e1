//! `clade run TEMPLATE`: a machine that goes on from where another was frozen.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clade_manager::{CloneOrder, Machines, Snapshot, Started, machine_of};
use clade_vmm::control::Connection;
use clade_vmm::spec::{MachineSpec, OnFullDisk, Tier};

use super::{Run, attach, leave_settling, shell, tell_ports};
use crate::errand::{self, Errand};
use crate::failure::Failure;
use crate::size;
use crate::stdin::Input;
use crate::verbs::machine_process;

impl Run {
    /// The template that is to be run, if it is one.
    pub(super) fn template(&self) -> Result<Option<Snapshot>, Failure> {
        match &self.image {
            Some(name) => Ok(Machines::of_user()?.template(name)?),
            None => Ok(None),
        }
    }

    /// Runs a machine made from `template`.
    pub(super) fn run_template(self, template: &Snapshot) -> Result<ExitCode, Failure> {
        let frozen = machine_of(template)?;
        self.check_fits(&frozen)?;
        let has_disk = frozen.config.disks.iter().any(|disk| !disk.read_only);
        let keeps = self.detach || self.name.is_some() || has_disk;
        let errand = match (self.command()?, &frozen.image) {
            (Some(command), _) => Some(Errand::command(command, self.interactive)),
            // Its console is where it was; whoever comes gets a shell of their own.
            (None, Some(image)) if !self.detach => Some(shell::for_input(image)?),
            _ => None,
        };
        let any_port = self.network.wants_any_port();
        let order = CloneOrder {
            names: vec![self.name],
            temporary: self.rm || !keeps,
            outside: Some(self.network.outside()),
            ..CloneOrder::default()
        };
        let (started, connection) = make(&Machines::of_user()?, template, &order)?;
        if any_port {
            tell_ports(&started);
        }
        if let Some(errand) = errand {
            errand::run(started, connection, errand, None)
        } else if self.detach {
            leave_settling(started, connection)
        } else {
            let input = match io::stdin().is_terminal() {
                true => Input::Terminal,
                false => Input::Stream,
            };
            let title = template.name.as_str();
            attach(started, connection, input, title, self.stats, false)
        }
    }

    /// Refuses what can no longer be chosen.
    fn check_fits(&self, machine: &MachineSpec) -> Result<(), Failure> {
        let frozen = &machine.config;
        let name = self.image.as_deref().unwrap_or_default();
        let has = |what: String| {
            Failure::new(format!(
                "the template '{name}' has {what}, which a machine made from it cannot change"
            ))
        };
        if self.memory.is_some_and(|memory| memory != frozen.memory) {
            return Err(has(format!("{} of memory", size::show(frozen.memory))));
        }
        if self.cpus.is_some_and(|cpus| cpus != frozen.cpus) {
            return Err(has(match frozen.cpus {
                1 => "1 CPU".to_owned(),
                cpus => format!("{cpus} CPUs"),
            }));
        }
        let options = [
            ("--firmware", self.firmware.is_some()),
            ("--cmdline", self.cmdline.is_some()),
            ("--volume", !self.volume.is_empty()),
            ("--serial", !self.serial.is_empty()),
            ("--disk", self.disks.has_any()),
            (
                "--on-full-disk",
                self.disks.on_full_disk != OnFullDisk::default(),
            ),
            ("--tier", self.tier != Tier::default()),
            ("--interrupts", self.interrupts.is_some()),
            ("--mirror", self.mirror.is_some()),
            ("--suite", self.suite.is_some()),
            ("--include", !self.include.is_empty()),
            ("--network", !self.network.is_default()),
            ("--stats", self.stats.is_some() && machine.image.is_some()),
        ];
        if let Some((option, _)) = options.iter().find(|(_, given)| *given) {
            return Err(Failure::new(format!(
                "{option} is for machines that boot: '{name}' is a template, whose machines go on \
                 as they were frozen\n\
                 Leave the option out, or make another template of a machine that has it."
            )));
        }
        self.oci.check_unused()
    }
}

/// Makes one machine among `machines`.
pub(crate) fn make(
    machines: &Machines,
    template: &Snapshot,
    order: &CloneOrder,
) -> Result<(Started, Connection), Failure> {
    let mut made = None;
    let mut keep = |mut all: Vec<_>| -> Result<(), Failure> {
        made = all.pop();
        Ok(())
    };
    machines.clone_snapshot(template, order, &machine_process::command, &mut keep)?;
    made.ok_or_else(|| Failure::new("no machine was made"))
}
