//! Input and output: disk, network and shared folder, under Clade and under QEMU with its own
//! virtio devices.
//!
//! Both machines run all the time, the one that is not being measured idle, and take turns row by
//! row: what else goes on on the host meets both alike.

mod catalog;
mod figure;
mod host;
mod start;
mod system;
mod table;

use catalog::{Figure, Row, Scale};
use host::Host;
use start::Start;
use table::{Table, Unit};

use crate::board::Board;
use crate::guest::{Boot, Guest, SHARE_TAG, run_command};
use crate::peer::Peer;
use crate::{Options, boot, memory, qemu};

/// Guest memory in bytes: the programs are in it, too.
const MEMORY: u64 = 2 << 30;

const SECONDS: Unit = Unit {
    name: "s",
    more: false,
};
const MEBIBYTES: Unit = Unit {
    name: "MiB",
    more: false,
};

/// Measures and prints the table; an error tells of failures.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let peers = <[Peer; 2]>::try_from(&options.peers[..])
        .map_err(|_| "two peers are compared: name two, or none for Clade and QEMU")?;
    let version = qemu::version(options.qemu())?;
    let image = boot::mini(options.board)?;
    let mut session = Session {
        options,
        table: Table::default(),
        failures: Vec::new(),
    };
    session.devices(&image)?;
    session.start();
    println!(
        "{}, Debian {}, {} hart(s), best of {}; QEMU {version}, {}\n",
        image.name,
        image.kernel_version,
        options.cpus,
        options.rounds,
        options.board.accelerator()
    );
    print!("{}", session.table.text(peers));
    match session.failures.is_empty() {
        true => Ok(()),
        false => Err(session.failures.join("\n")),
    }
}

/// Has all that guests are made of in the cache.
pub(crate) fn fetch(options: &Options) -> Result<(), String> {
    system::initrd(&boot::mini(options.board)?, options.board).map(drop)
}

struct Session<'a> {
    options: &'a Options,
    table: Table,
    failures: Vec<String>,
}

/// A guest, and how much memory this process had before it.
struct Player {
    peer: Peer,
    guest: Box<dyn Guest>,
    host: Host,
    before: f64,
}

impl Session<'_> {
    /// Whether a row is to be measured: its name was given, or the first word of that.
    fn wants(&self, row: &str) -> bool {
        let group = row.split('-').next().unwrap_or(row);
        self.options.wants(row) || self.options.wants(group)
    }

    fn devices(&mut self, image: &clade_images::Image) -> Result<(), String> {
        let scale = match self.options.quick {
            true => Scale::QUICK,
            false => Scale::FULL,
        };
        let rows = catalog::rows(&scale).into_iter();
        let rows: Vec<Row> = rows.filter(|row| self.wants(row.name)).collect();
        if rows.is_empty() && !self.wants("memory") {
            return Ok(());
        }
        let share = rows.iter().any(|row| row.name.starts_with("share"));
        let initrd = system::initrd(image, self.options.board)?;
        let mut players = Vec::new();
        for &peer in &self.options.peers {
            eprintln!("starting {}", peer.title());
            let host = Host::new()?;
            let before = memory::beside_guest(&[std::process::id()], MEMORY)?;
            let boot = Boot {
                board: self.options.board,
                kernel: &image.kernel,
                initrd: initrd.path(),
                cmdline: &image.cmdline,
                cpus: self.options.cpus,
                memory: MEMORY,
                devices: host.devices(share),
            };
            let (mut guest, _time) = boot::until_prompt(peer, self.options.qemu(), &boot)?;
            prepare(&mut *guest, share, host.port())?;
            players.push(Player {
                peer,
                guest,
                host,
                before,
            });
        }
        self.memory("memory-booted", &players)?;
        for round in 1..=self.options.rounds {
            eprintln!("round {round} of {}", self.options.rounds);
            for row in &rows {
                for player in &mut players {
                    self.row(player, row);
                }
            }
        }
        self.memory("memory-used", &players)
    }

    fn row(&mut self, player: &mut Player, row: &Row) {
        if row.figure == Figure::Iperf && player.host.port().is_none() {
            return;
        }
        // What one machine wrote is not written while the other is measured.
        rustix::fs::sync();
        let measured = measure(&mut *player.guest, row);
        let name = row.name;
        self.note(name, row.figure.unit(), player.peer, measured);
    }

    fn note(&mut self, row: &str, unit: Unit, peer: Peer, measured: Result<f64, String>) {
        match measured {
            Ok(figure) => self.table.note(row, unit, peer, figure),
            Err(reason) => {
                let failure = format!("{row} under {}: {reason}", peer.title());
                eprintln!("FAILED: {failure}");
                self.failures.push(failure);
            }
        }
    }

    /// Clade's machine is in this process, so what this had before is not its. On KVM that is more than
    /// the machine has; `kvm` looks at a process of its own.
    fn memory(&mut self, row: &str, players: &[Player]) -> Result<(), String> {
        if !self.wants("memory") || self.options.board == Board::Kvm {
            return Ok(());
        }
        for player in players {
            let size = memory::beside_guest(&player.guest.processes(), MEMORY)?;
            let own = match player.peer {
                Peer::Qemu => 0.0,
                _ => player.before,
            };
            self.table.note(row, MEBIBYTES, player.peer, size - own);
        }
        Ok(())
    }

    fn start(&mut self) {
        const ROW: &str = "start-debian";
        if !self.wants(ROW) {
            return;
        }
        if self.options.quick && self.options.only.is_empty() {
            eprintln!("SKIPPED: {ROW}: it takes minutes; --only {ROW} has it alone");
            return;
        }
        if self.options.board == Board::Kvm {
            eprintln!("SKIPPED: {ROW}: it is about the emulator alone");
            return;
        }
        match Start::find(self.options) {
            Ok(start) => {
                for _ in 0..self.options.rounds {
                    for &peer in &self.options.peers {
                        self.note(ROW, SECONDS, peer, start.measure(peer));
                    }
                }
            }
            Err(reason) => eprintln!("SKIPPED: {ROW}: {reason}"),
        }
    }
}

/// Mounts the folder, if there is one, brings up the network, and says where the server is.
fn prepare(guest: &mut dyn Guest, share: bool, port: Option<u16>) -> Result<(), String> {
    let mount = match share {
        true => format!(
            "mkdir -p /share; modprobe 9pnet_virtio; modprobe virtiofs; \
             mount -t {} {SHARE_TAG} /share && ",
            guest.share_type()
        ),
        false => String::new(),
    };
    let network = "ip link set eth0 up && ip address replace 10.0.2.15/24 dev eth0 && \
                   ip route replace default via 10.0.2.2";
    let port = port.unwrap_or_default();
    let command = format!("{mount}{network} && export PORT={port}");
    successful(guest, &command).map_err(|error| format!("the guest cannot be prepared: {error}"))
}

fn successful(guest: &mut dyn Guest, command: &str) -> Result<(), String> {
    let outcome = run_command(guest, command)?;
    match outcome.good {
        true => Ok(()),
        false => Err(format!("{command} failed and printed:\n{}", outcome.output)),
    }
}

fn measure(guest: &mut dyn Guest, row: &Row) -> Result<f64, String> {
    if !row.before.is_empty() {
        successful(guest, row.before)?;
    }
    let outcome = run_command(guest, &row.command)?;
    figure::read(row.figure, &outcome)
}
