//! Input and output: disk, network and shared folder, under Clade and under QEMU with its own
//! virtio devices.

mod catalog;
mod figure;
mod host;
mod system;

use std::collections::BTreeMap;

use catalog::{ALL, Figure, Row};
use host::Host;

use crate::guest::{Boot, Guest, SHARE_TAG, run_command};
use crate::initrd::Initrd;
use crate::peer::Peer;
use crate::{Options, boot, qemu};

/// Guest memory in bytes: the programs are in it, too.
const MEMORY: u64 = 2 << 30;

/// Measures and prints the table; an error tells of failures.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let version = qemu::version(&options.qemu)?;
    let image = boot::mini()?;
    let mut session = Session {
        options,
        initrd: system::initrd(&image)?,
        image,
        figures: BTreeMap::new(),
        failures: Vec::new(),
    };
    for round in 1..=options.rounds {
        for peer in [Peer::Clade, Peer::Qemu] {
            eprintln!("round {round} of {}: {}", options.rounds, peer.title());
            session.round(peer)?;
        }
    }
    println!(
        "{}, Debian {}, {} hart(s), best of {}; QEMU {version}, TCG, virtio-9p\n",
        session.image.name, session.image.kernel_version, options.cpus, options.rounds
    );
    session.print();
    match session.failures.is_empty() {
        true => Ok(()),
        false => Err(session.failures.join("\n")),
    }
}

struct Session<'a> {
    options: &'a Options,
    image: clade_images::Image,
    initrd: Initrd,
    /// The best of each row and peer, in the row's unit.
    figures: BTreeMap<(&'static str, Peer), f64>,
    failures: Vec<String>,
}

impl Session<'_> {
    fn round(&mut self, peer: Peer) -> Result<(), String> {
        let host = Host::new()?;
        let boot = Boot {
            kernel: &self.image.kernel,
            initrd: self.initrd.path(),
            cmdline: &self.image.cmdline,
            cpus: self.options.cpus,
            memory: MEMORY,
            devices: host.devices(),
        };
        let (mut guest, _time) = boot::until_prompt(peer, &self.options.qemu, &boot)?;
        prepare(&mut *guest, peer, host.port())?;
        for row in ALL.iter().filter(|row| self.options.wants(row.name)) {
            if row.figure == Figure::Iperf && host.port().is_none() {
                continue;
            }
            match measure(&mut *guest, row) {
                Ok(figure) => self.note(row, peer, figure),
                Err(reason) => {
                    let failure = format!("{} under {}: {reason}", row.name, peer.title());
                    eprintln!("FAILED: {failure}");
                    self.failures.push(failure);
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, row: &Row, peer: Peer, figure: f64) {
        let unit = row.figure.unit();
        eprintln!("{:<15} {:<6} {figure:>9.1} {unit}", row.name, peer.title());
        let best = self.figures.entry((row.name, peer)).or_default();
        *best = best.max(figure);
    }

    fn print(&self) {
        println!(
            "{:<15} {:>16} {:>16} {:>12}",
            "", "Clade", "QEMU", "Clade/QEMU"
        );
        for row in &ALL {
            let figure = |peer| self.figures.get(&(row.name, peer)).copied();
            let (Some(clade), Some(qemu)) = (figure(Peer::Clade), figure(Peer::Qemu)) else {
                continue;
            };
            let cell = |figure: f64| format!("{figure:.1} {}", row.figure.unit());
            let ratio = clade / qemu;
            println!(
                "{:<15} {:>16} {:>16} {ratio:>10.2} x",
                row.name,
                cell(clade),
                cell(qemu)
            );
        }
    }
}

/// Brings up the network, mounts the folder, and says where the server is.
fn prepare(guest: &mut dyn Guest, peer: Peer, port: Option<u16>) -> Result<(), String> {
    let mount = match peer {
        Peer::Qemu => format!(
            "modprobe 9pnet_virtio; mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 \
             {SHARE_TAG} /share"
        ),
        _ => format!("modprobe virtiofs; mount -t virtiofs {SHARE_TAG} /share"),
    };
    let network = "ip link set eth0 up && ip address replace 10.0.2.15/24 dev eth0 && \
                   ip route replace default via 10.0.2.2";
    let command = format!(
        "mkdir -p /share; {mount} && {network}; export PORT={}",
        port.unwrap_or_default()
    );
    let outcome = run_command(guest, &command)?;
    match outcome.good {
        true => Ok(()),
        false => Err(format!("the guest cannot be prepared:\n{}", outcome.output)),
    }
}

fn measure(guest: &mut dyn Guest, row: &Row) -> Result<f64, String> {
    let outcome = run_command(guest, row.command)?;
    figure::read(row.figure, &outcome)
}
