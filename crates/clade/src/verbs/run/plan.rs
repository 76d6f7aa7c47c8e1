//! Which machine `clade run` makes, and what that boots.

use std::env;
use std::path::PathBuf;

use clade_guest::Key;
use clade_images::{DebianRequest, Image, LeastMemory, Request, Source};
use clade_manager::Order;
use clade_vmm::spec::{CpuModel, EngineKind, Interrupts, MachineConfig, Tier};

use super::{DEFAULT_IMAGE, Run};
use crate::engine_option::Emulated;
use crate::failure::Failure;
use crate::firmware::FirmwareOption;
use crate::first_boot::OwnMachine;
use crate::oci::OciMachine;
use crate::progress::Shown;
use crate::{arch, remote, size, volume};

/// What a kernel of one's own gets if nothing else is said. A panic resets at once, so that it is
/// noticed; the console is the one that the device tree names.
const KERNEL_CMDLINE: &str = "panic=-1";

/// The same on a PC, where nothing names the console.
const PC_KERNEL_CMDLINE: &str = "panic=-1 console=ttyS0";

/// What to make and start.
pub(super) struct Plan {
    pub(super) order: Order,
    /// What it boots, for people.
    pub(super) title: String,
    /// The image's disk that the machine gets a layer above.
    pub(super) root: Option<PathBuf>,
}

impl Run {
    /// The machine to make, and what it boots. One for an OCI image is `mini` as yet.
    pub(super) fn plan(self, interactive: bool, oci: Option<&OciMachine>) -> Result<Plan, Failure> {
        let (engine, cpu_model) = self.engine_and_model()?;
        let interrupts = self.interrupts();
        let (cpus, memory) = (self.cpus(), self.memory());
        let is_debian = self.is_debian();
        let keeps = self.detach || self.name.is_some() || is_debian || oci.is_some();
        let piped = !interactive && !self.detach && self.command.is_empty();
        let mut order = Order {
            name: self.name,
            image: None,
            temporary: self.rm || !keeps,
            config: MachineConfig {
                engine,
                cpu_model,
                tier: self.tier,
                interrupts,
                cpus,
                memory,
                initrd: self.initrd,
                shares: volume::shares(&self.volume),
                ports: self.serial,
                on_full_disk: self.disks.on_full_disk,
                disks: self.disks.specs()?,
                network: self.network.spec()?,
                vsock: true,
                ..MachineConfig::default()
            },
        };
        if let Some(firmware) = &self.firmware {
            let source = Source {
                mirror: self.mirror.clone(),
                suite: self.suite.clone(),
                architecture: arch::of_engine(engine),
                ..Source::default()
            };
            firmware.equip(&mut order.config, &source)?;
            if firmware.boots_from_disk() {
                return Ok(Plan::without_disk(order, "firmware".to_owned()));
            }
        }
        if let Some(kernel) = self.kernel {
            return Ok(Plan::of_kernel(kernel, self.cmdline, order));
        }
        let image = self.image.filter(|_| oci.is_none());
        let name = image.unwrap_or_else(|| DEFAULT_IMAGE.to_owned());
        let own = self.cmdline.map(|own| format!(" {own}"));
        let own = own.unwrap_or_default();
        if is_debian {
            let request = DebianRequest {
                name,
                mirror: self.mirror,
                suite: self.suite,
                include: self.include,
                architecture: arch::of_engine(engine),
                refresh: false,
            };
            let words =
                remote::for_systemd(&Key::of_user()?) + &volume::for_systemd(&self.volume) + &own;
            return Plan::of_debian(&request, &words, order);
        }
        let request = Request {
            name,
            mirror: self.mirror,
            suite: self.suite,
            architecture: arch::of_engine(engine),
            refresh: false,
        };
        let image = clade_images::ensure(&request, &Shown::new())?;
        let term = env::var("TERM").ok().filter(|_| interactive);
        let cmdline = session_words(&image.cmdline, !piped, term.as_deref())
            + &volume::for_our_init(&self.volume)
            + &remote::for_our_init(&Key::of_user()?)
            + &own;
        let name = oci.map_or(&image.name, |oci| &oci.image.name).clone();
        check_memory(&name, image.least_memory, &order.config)?;
        Ok(Plan::of_mini(image, name, cmdline, order))
    }

    /// The engine and its CPU model.
    pub(super) fn engine_and_model(&self) -> Result<(EngineKind, CpuModel), Failure> {
        let options = [
            ("--tier", self.tier != Tier::Auto),
            ("--interrupts", self.interrupts.is_some()),
            ("--stats", self.stats.is_some()),
        ];
        let given = options.into_iter().filter(|(_, given)| *given);
        let firmware = self.firmware.as_ref().and_then(FirmwareOption::emulated);
        let emulated = firmware.or_else(|| given.map(|(name, _)| Emulated::option(name)).next());
        self.engine.choose(self.kernel.as_deref(), emulated)
    }

    /// Whether it is a Debian system with a disk.
    fn is_debian(&self) -> bool {
        let image = self.image.as_deref();
        self.kernel.is_none() && image.is_some_and(clade_images::is_debian)
    }

    /// The interrupt controllers: those of images are known to their kernels.
    fn interrupts(&self) -> Interrupts {
        let default = match self.kernel.is_some() || self.firmware.is_some() {
            true => Interrupts::Plic,
            false => Interrupts::Aia,
        };
        self.interrupts.unwrap_or(default)
    }
}

impl Plan {
    fn without_disk(order: Order, title: String) -> Self {
        Self {
            order,
            title,
            root: None,
        }
    }

    fn of_kernel(kernel: PathBuf, cmdline: Option<String>, mut order: Order) -> Self {
        let title = kernel.display().to_string();
        order.config.kernel = Some(kernel);
        let usual = match order.config.engine {
            EngineKind::Emulate => KERNEL_CMDLINE,
            EngineKind::Kvm => PC_KERNEL_CMDLINE,
        };
        order.config.cmdline = cmdline.unwrap_or_else(|| usual.to_owned());
        Self::without_disk(order, title)
    }

    /// `words` are added to the image's own on the kernel's command line.
    fn of_debian(request: &DebianRequest, words: &str, mut order: Order) -> Result<Self, Failure> {
        let image = clade_images::ensure_debian(request, &OwnMachine, &Shown::new())?;
        check_memory(&image.name, image.least_memory, &order.config)?;
        let title = format!("{} · Debian {}", image.name, image.kernel_version);
        order.image = Some(image.name);
        order.config.kernel = Some(image.kernel);
        order.config.initrd = Some(image.initrd);
        order.config.cmdline = image.cmdline + words;
        Ok(Self {
            order,
            title,
            root: Some(image.disk),
        })
    }

    /// `name` is that of the image that people run.
    fn of_mini(mini: Image, name: String, cmdline: String, mut order: Order) -> Self {
        let title = format!("{name} · Debian {}", mini.kernel_version);
        order.image = Some(name);
        order.config.kernel = Some(mini.kernel);
        order.config.initrd = Some(mini.initrd);
        order.config.cmdline = cmdline;
        Self::without_disk(order, title)
    }
}

/// Refuses a machine in which a guest of the image would never get ready.
fn check_memory(image: &str, least: LeastMemory, config: &MachineConfig) -> Result<(), Failure> {
    let needed = least.with_cpus(config.cpus);
    if config.memory >= needed {
        return Ok(());
    }
    let cpus = match config.cpus {
        1 => String::new(),
        many => format!(" with {many} CPUs"),
    };
    Err(Failure::new(format!(
        "{} of memory are too little for {image}{cpus}: its guest would never get ready\n\
         Give `--memory` at least {}M.",
        size::show(config.memory),
        needed >> 20
    )))
}

/// A kernel's command line, with what the init of our own images is to be told of this session, and
/// without what it was told of the one before.
pub(crate) fn session_words(cmdline: &str, terminal: bool, term: Option<&str>) -> String {
    let of_session =
        |word: &&str| word.starts_with("clade.stdin=") || word.starts_with("clade.term=");
    let mut words: Vec<&str> = cmdline
        .split(' ')
        .filter(|word| !of_session(word))
        .collect();
    if !terminal {
        words.push("clade.stdin=pipe");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    let term = term.filter(|term| !term.is_empty() && term.bytes().all(plain));
    let term = term.map(|term| format!("clade.term={term}"));
    words.extend(term.as_deref());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_is_told_of_pipes_and_terminals() {
        assert_eq!(
            session_words("quiet", false, None),
            "quiet clade.stdin=pipe"
        );
        let terminal = session_words("quiet", true, Some("xterm-256color"));
        assert_eq!(terminal, "quiet clade.term=xterm-256color");
        assert_eq!(
            session_words("quiet", true, Some("x init=/bin/evil")),
            "quiet"
        );
        assert_eq!(session_words("quiet", true, Some("")), "quiet");
        // The next session is told of itself alone.
        assert_eq!(
            session_words(&terminal, false, None),
            "quiet clade.stdin=pipe"
        );
    }
}
