//! `clade run TEMPLATE`: a machine that goes on from where another was frozen.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clade_manager::{CloneOrder, Machines, Snapshot, Started, machine_of};
use clade_ssh::Command;
use clade_vmm::control::Connection;
use clade_vmm::spec::{MachineSpec, OnFullDisk, Tier};

use super::{Run, attach, leave_running, tell_ports};
use crate::failure::Failure;
use crate::stdin::Input;
use crate::verbs::machine_process;
use crate::{errand, remote, settle, size};

/// What runs if nothing is named: what root would have.
const SHELL: &str = "exec \"${SHELL:-/bin/sh}\" -l";

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
        let command = match self.command()? {
            // Its console is where it was; whoever comes gets a shell of their own.
            None if !self.detach && frozen.image.is_some() => Some(shell()?),
            command => command,
        };
        let reads = self.interactive || self.command.is_empty();
        let any_port = self.network.wants_any_port();
        let order = CloneOrder {
            names: vec![self.name],
            temporary: self.rm || !keeps,
            outside: Some(self.network.outside()),
            keep_identity: false,
        };
        let (started, connection) = make(template, &order)?;
        if any_port {
            tell_ports(&started);
        }
        let name = started.spec.name.clone();
        if let Some(command) = command {
            errand::run(started, connection, command, reads)
        } else if self.detach {
            leave_running(started, connection)?;
            settle::in_background(std::slice::from_ref(&name))?;
            writeln!(io::stdout(), "{name}").map_err(|error| Failure::of_output(&error))?;
            Ok(ExitCode::SUCCESS)
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

/// Makes one machine.
fn make(template: &Snapshot, order: &CloneOrder) -> Result<(Started, Connection), Failure> {
    let mut made = None;
    let mut keep = |mut machines: Vec<_>| -> Result<(), Failure> {
        made = machines.pop();
        Ok(())
    };
    Machines::of_user()?.clone_snapshot(template, order, &machine_process::command, &mut keep)?;
    made.ok_or_else(|| Failure::new("no machine was made"))
}

/// A shell for whoever sits at the terminal, or else for the script on standard input.
fn shell() -> Result<Command, Failure> {
    let terminal = io::stdin().is_terminal();
    let words: &[&str] = match terminal {
        true => &["sh", "-c", SHELL],
        false => &["sh"],
    };
    Ok(Command {
        arguments: words.iter().map(ToString::to_string).collect(),
        terminal: terminal.then(remote::terminal).transpose()?,
        ..Command::default()
    })
}
