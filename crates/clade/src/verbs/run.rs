//! `clade run`

mod plan;
mod shell;
pub(crate) mod template;
mod warm;

use std::io::{self, IsTerminal, Write};
use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clade_guest::Command;
use clade_manager::{Host, Machines, Started};
use clade_vmm::control::{self, Connection, Event, FromMachine};
use clade_vmm::outcome::Outcome;
use clade_vmm::spec::{EngineKind, Interrupts, MachineSpec, SerialName, Tier};
use clap::builder::BoolishValueParser;

use crate::disk_option::DiskOptions;
use crate::engine_option::EngineOptions;
use crate::errand::{self, Errand};
use crate::failure::Failure;
use crate::firmware::{self, FirmwareOption};
use crate::network_options::NetworkOptions;
use crate::oci::{OciMachine, OciOptions};
use crate::session::End;
use crate::stats::StatsFormat;
use crate::stdin::Input;
use crate::verbs::{console, machine_process};
use crate::volume::{self, Volume};
use crate::{arch, choice, remote, root_disk, session, settle, size, style};

use plan::Plan;
use warm::Warm;

pub(crate) use plan::session_words;

/// The image that runs when none is named.
const DEFAULT_IMAGE: &str = "mini";

/// What a machine has if nothing else is said.
const DEFAULT_CPUS: u32 = 1;
const DEFAULT_MEMORY: u64 = 1 << 30;

/// Run a machine: an image, a template, or a kernel of your own.
///
/// Without IMAGE, runs `mini`: Debian's own kernel with a small shell. The machine ends when its
/// guest switches off, or with this command; Ctrl-] leaves it running. One with a name, or that was
/// detached, can be started again, until `clade rm`. The exit status is 0 after power-off, the
/// guest's own code if it reports failure, and 125 if Clade failed.
///
/// A machine made from a template does not boot: it goes on from where that was frozen, with a shell of
/// your own, and ends with it. Nor does the second machine of `mini` or `debian` that is made of the same
/// as the first: while that is used, a warm image is made for it, a machine that has just booted. Ctrl-]
/// leaves such a shell, and the machine running. --cold boots all the same.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The image to run, as `clade images` lists them, or the template, as `clade template ls` does.
    #[arg(conflicts_with = "kernel")]
    image: Option<String>,
    /// Run this command in it, and end the machine: output and exit status are the command's. In an
    /// OCI image, it takes the place of the image's own.
    #[arg(last = true, requires = "image")]
    command: Vec<String>,
    /// Pass standard input on to the command.
    #[arg(long, short, requires = "command")]
    interactive: bool,
    /// Give the command a terminal.
    #[arg(long, short, requires = "command")]
    tty: bool,
    /// Run this kernel instead: a Linux Image (flat, gzip or EFI) or an ELF file for RISC-V 64, or a
    /// bzImage or an ELF file for x86-64.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The initial RAM disk for --kernel.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line; with an image, what is added to its own.
    #[arg(long, value_name = "TEXT")]
    cmdline: Option<String>,
    /// Boot what the disk brings: `edk2` (UEFI) or, for riscv64, `u-boot`, fetched from Debian. Or a FILE:
    /// machine-mode firmware for riscv64 (OpenSBI's fw_dynamic.bin) in place of the built-in SBI.
    #[arg(long, value_name = "NAME|FILE", value_parser = firmware::parse)]
    firmware: Option<FirmwareOption>,
    /// What cloud-init on the disk is to do, in place of letting this user's SSH keys in.
    #[arg(long, value_name = "FILE", requires = "firmware")]
    user_data: Option<PathBuf>,
    /// Guest memory [default: 1G].
    #[arg(long, short = 'm', value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,
    /// Number of virtual CPUs [default: 1].
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Share folder SRC of this host as DST in the guest; with `:ro`, the guest may only read.
    ///
    /// An image finds it there. A kernel of your own mounts it by itself, as file system type
    /// `virtiofs`: the first folder is `share0`, the next `share1`, and so on.
    #[arg(long, short, value_name = "SRC:DST[:ro]", value_parser = volume::parse)]
    volume: Vec<Volume>,
    /// Give the guest a serial port, /dev/virtio-ports/NAME. Its other end is a Unix socket of the
    /// host that `clade inspect` names.
    #[arg(long, value_name = "NAME")]
    serial: Vec<SerialName>,
    #[command(flatten)]
    disks: DiskOptions,
    #[command(flatten)]
    engine: EngineOptions,
    /// What executes the guest's instructions in the emulator; `auto` is the fastest that this host can do.
    #[arg(long, default_value = Tier::Auto.name(), value_parser = choice::parser(Tier::ALL, Tier::name))]
    tier: Tier,
    /// How devices interrupt: `plic` by wires, which every kernel knows, `aia` straight to a CPU. An image
    /// has `aia` unless other firmware runs it, everything else has `plic`.
    #[arg(long, value_parser = choice::parser(Interrupts::ALL, Interrupts::name))]
    interrupts: Option<Interrupts>,
    /// Boot, even where there is a warm image to go on from, and leave none for the next.
    #[arg(long, env = "CLADE_COLD", value_parser = BoolishValueParser::new())]
    cold: bool,
    /// The machine's name, in place of a random one.
    #[arg(long)]
    name: Option<String>,
    /// Leave the machine running, and print its name.
    #[arg(long, short)]
    detach: bool,
    /// Remove the machine, with all that it has, when it ends. One without a name and a disk of its
    /// own, whose console is attached, is removed anyway.
    #[arg(long)]
    rm: bool,
    /// When the machine ends, print on standard error what the emulator did, as a table or as JSON.
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "table",
        conflicts_with = "detach"
    )]
    stats: Option<StatsFormat>,
    #[command(flatten)]
    network: NetworkOptions,
    /// The Debian mirror to fetch the image from.
    #[arg(long, value_name = "URL", conflicts_with = "kernel")]
    mirror: Option<String>,
    /// The Debian suite to make the image from.
    #[arg(long, conflicts_with = "kernel")]
    suite: Option<String>,
    /// Packages that the image `debian` is to have besides the usual ones.
    #[arg(
        long,
        value_name = "PKG,...",
        value_delimiter = ',',
        requires = "image"
    )]
    include: Vec<String>,
    #[command(flatten)]
    oci: OciOptions,
}

impl Run {
    pub(crate) fn run(mut self) -> Result<ExitCode, Failure> {
        if let Some(template) = self.template()? {
            return self.run_template(&template);
        }
        self.check()?;
        let began = Instant::now();
        let purpose = self.warm_purpose()?;
        let (detach, stats) = (self.detach, self.stats);
        let any_port = self.network.wants_any_port();
        let oci = self.oci_machine()?;
        let (command, reads) = (self.command()?, self.interactive);
        // A command's machine has a console that nobody sees.
        let interactive = command.is_none() && io::stdin().is_terminal();
        let from_disk = self
            .firmware
            .as_ref()
            .is_some_and(FirmwareOption::boots_from_disk);
        let user_data = self.user_data.take();
        let plan = self.plan(interactive, oci.as_ref())?;
        let mut warm = purpose.and_then(|purpose| Warm::of(&plan, purpose, any_port, began));
        if let Some(warm) = &mut warm
            && let Some(done) = warm.go_on(&plan)?
        {
            return Ok(done);
        }
        let Plan { order, title, root } = plan;
        let input = if interactive {
            Input::Terminal
        } else if order.image.is_some() && root.is_none() {
            Input::Script
        } else {
            Input::Stream
        };
        let mut draft = Machines::of_user()?.create(order)?;
        firmware::furnish(&mut draft)?;
        if from_disk {
            firmware::add_seed(&mut draft, user_data.as_deref())?;
        }
        if let Some(root) = &root {
            root_disk::add(&mut draft, root)?;
        }
        if let Some(oci) = &oci {
            oci.furnish(&mut draft)?;
        }
        let (started, connection) = draft.start(machine_process::command())?;
        if any_port {
            tell_ports(&started);
        }
        if let Some(warm) = warm {
            warm.make_behind(&started.spec.id);
        }
        if let Some(command) = command {
            let errand = Errand::command(command, reads);
            errand::run(started, connection, errand, None)
        } else if detach {
            let name = started.spec.name.clone();
            leave_running(started, connection)?;
            writeln!(io::stdout(), "{name}").map_err(|error| Failure::of_output(&error))?;
            Ok(ExitCode::SUCCESS)
        } else {
            attach(started, connection, input, &title, stats, oci.is_some())
        }
    }

    fn cpus(&self) -> u32 {
        self.cpus.unwrap_or(DEFAULT_CPUS)
    }

    fn memory(&self) -> u64 {
        self.memory.unwrap_or(DEFAULT_MEMORY)
    }

    /// The OCI image that is to be run, if it is one, with the command if there is one.
    fn oci_machine(&mut self) -> Result<Option<OciMachine>, Failure> {
        let Some(name) = self
            .image
            .as_deref()
            .filter(|name| clade_images::is_oci(name))
        else {
            self.oci.check_unused()?;
            return Ok(None);
        };
        let architecture = arch::of_engine(self.engine_and_model()?.0);
        let command = mem::take(&mut self.command);
        self.oci.machine(name, architecture, command).map(Some)
    }

    /// The command that the machine is for, if it is for one; the process of an OCI image is none.
    fn command(&self) -> Result<Option<Command>, Failure> {
        if self.command.is_empty() {
            return Ok(None);
        }
        if self.detach || self.stats.is_some() {
            return Err(Failure::new(
                "a command behind -- goes together with --detach and --stats for OCI images only",
            ));
        }
        Ok(Some(Command {
            arguments: self.command.clone(),
            terminal: self.tty.then(remote::terminal).transpose()?,
            ..Command::default()
        }))
    }

    /// What can be refused before anything is fetched.
    fn check(&self) -> Result<(), Failure> {
        let host = Host::of_this_machine()
            .map_err(|error| Failure::new(format!("cannot read what this host has: {error}")))?;
        host.check(self.cpus(), self.memory())?;
        if let Some(name) = &self.name {
            Machines::of_user()?.check_free(name)?;
        }
        SerialName::check_all(&self.serial).map_err(|error| Failure::new(error.to_string()))?;
        self.check_firmware()?;
        let image = self.image.as_deref().unwrap_or(DEFAULT_IMAGE);
        if !self.include.is_empty() && !clade_images::is_debian(image) {
            return Err(Failure::new(format!(
                "--include is for the image debian, not for {image}"
            )));
        }
        let has_init =
            self.kernel.is_some() || (clade_images::is_mini(image) && self.command.is_empty());
        if volume::has_root(&self.volume) && !has_init {
            return Err(Failure::new(format!(
                "a folder in the place of the guest's root (-v SRC:/) is for the image {DEFAULT_IMAGE} \
                 without a command: the folder's own /sbin/init runs"
            )));
        }
        Ok(())
    }

    /// Refuses what the firmware would not look at.
    fn check_firmware(&self) -> Result<(), Failure> {
        let Some(firmware) = &self.firmware else {
            return Ok(());
        };
        let options = [
            ("--kernel", self.kernel.is_some()),
            ("an image", self.image.is_some()),
            ("--cmdline", self.cmdline.is_some()),
        ];
        let given = options.into_iter().filter(|(_, given)| *given);
        let given: Vec<_> = given.map(|(option, _)| option).collect();
        firmware.check_unused(&given)?;
        if self.user_data.is_some() && !firmware.boots_from_disk() {
            return Err(Failure::new(
                "--user-data is for a disk that --firmware edk2 or u-boot boots: nothing else has cloud-init",
            ));
        }
        Ok(())
    }
}

/// Tells which ports were found for those who wanted any.
fn tell_ports(started: &Started) {
    for forward in started.forwards() {
        let protocol = forward.protocol;
        let from = SocketAddr::new(forward.address, forward.host);
        style::note(&format!(
            "{from} leads to {protocol} port {}",
            forward.guest
        ));
    }
}

fn attach(
    started: Started,
    connection: Connection,
    input: Input,
    title: &str,
    stats: Option<StatsFormat>,
    is_command: bool,
) -> Result<ExitCode, Failure> {
    if input == Input::Terminal && io::stderr().is_terminal() {
        style::note(&first_screen(&started.spec, title));
    }
    let name = started.spec.name.clone();
    let session = session::attach(connection, input, true)?;
    let lines = session.stats.iter().flat_map(|counted| match stats {
        None => Vec::new(),
        Some(format) => format.lines(counted),
    });
    lines.for_each(|line| style::plain(&line));
    match session.end {
        // The guest's failure is that of the command in it, which has said what there is to say.
        End::Ended(outcome @ Outcome::Failed(_)) if is_command => {
            return Ok(ExitCode::from(outcome.exit_status()));
        }
        _ => {}
    }
    console::finish(&name, session.end, || Failure::new(started.into_death()))
}

/// `mini:trixie · Debian 6.12.41-riscv64 · 1 hart · 1 GiB · Ctrl-] detaches`
fn first_screen(spec: &MachineSpec, title: &str) -> String {
    // What RISC-V calls a processor.
    let processor = match spec.config.engine {
        EngineKind::Emulate => "hart",
        EngineKind::Kvm => "CPU",
    };
    let (count, plural) = match spec.config.cpus {
        1 => (1, ""),
        more => (more, "s"),
    };
    format!(
        "{title} · {count} {processor}{plural} · {} · Ctrl-] detaches",
        size::show(spec.config.memory)
    )
}

/// Lets a machine that was started run on its own.
pub(crate) fn leave_running(started: Started, mut connection: Connection) -> Result<(), Failure> {
    let_run(&mut connection);
    left_running(started, connection)
}

/// The same for one that went on from memory, whose guest is told who it is meanwhile; prints its name.
fn leave_settling(started: Started, connection: Connection) -> Result<ExitCode, Failure> {
    let name = started.spec.name.clone();
    leave_running(started, connection)?;
    settle::in_background(std::slice::from_ref(&name))?;
    writeln!(io::stdout(), "{name}").map_err(|error| Failure::of_output(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Tells a machine that was started to run on its own; [`left_running`] waits until it does.
pub(crate) fn let_run(connection: &mut Connection) {
    // A machine that is gone does not answer, either.
    let _ = connection.sender.request(&control::Request::Detach);
}

/// Waits until a machine that was told to runs on its own.
pub(crate) fn left_running(started: Started, mut connection: Connection) -> Result<(), Failure> {
    match connection.receiver.receive() {
        Ok(Some(FromMachine::Event(Event::Detached))) => Ok(()),
        _ => Err(Failure::new(started.into_death())),
    }
}
