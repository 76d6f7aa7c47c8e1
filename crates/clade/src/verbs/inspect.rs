//! `clade inspect`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clade_manager::{Machine, Machines, Snapshot, SnapshotNames, State};
use clade_net::{Forward, MacAddress};
use clade_store::FileName;
use clade_store::digest::FileRecord;
use clade_vmm::control::Status;
use clade_vmm::network::read_forwards;
use clade_vmm::record::LifeRecord;
use clade_vmm::spec::{MachineSpec, NetworkSpec, SerialName};
use serde::Serialize;

use crate::failure::Failure;
use crate::snapshots::{self, Meant, Summary};
use crate::table;

/// Print all that is known of machines and snapshots, as JSON.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// The machines: names, ids, or the beginning of either; or snapshots: MACHINE@TAG or ids.
    #[arg(required = true, value_name = "MACHINE")]
    names: Vec<String>,
    /// For those who are used to say so: it prints JSON anyway.
    #[arg(long, hide = true)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Everything<'a> {
    #[serde(flatten)]
    spec: &'a MachineSpec,
    /// Its network card's address, if it has one: in place of the spec's, which is only there if it does not
    /// follow from the id.
    mac: Option<MacAddress>,
    #[serde(flatten)]
    state: &'a State,
    /// What the running machine says itself; none if it does not answer.
    status: Option<Status>,
    /// Its latest life.
    life: Option<&'a LifeRecord>,
    folder: &'a Path,
    console_log: PathBuf,
    control_socket: Option<PathBuf>,
    /// The sockets of its serial ports, while it runs.
    serial_ports: Vec<SerialPort<'a>>,
    /// The ports that lead to it while it runs.
    forwards: Vec<Forward>,
}

#[derive(Debug, Serialize)]
struct SerialPort<'a> {
    name: &'a SerialName,
    socket: PathBuf,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let names = self.names.iter();
        let found = names.map(|text| snapshots::find(&machines, text));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let values = found.iter().map(|meant| match meant {
            Meant::Machine(machine) => Ok(serde_json::to_value(everything(machine))?),
            Meant::Snapshot(snapshot) => of_snapshot(&machines, snapshot),
        });
        table::print_json(&values.collect::<Result<Vec<_>, Failure>>()?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A snapshot with all that its manifest says.
#[derive(Debug, Serialize)]
struct WholeSnapshot<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    folder: &'a Path,
    /// The machine as it was.
    spec: &'a serde_json::Value,
    files: &'a BTreeMap<FileName, FileRecord>,
}

fn of_snapshot(machines: &Machines, snapshot: &Snapshot) -> Result<serde_json::Value, Failure> {
    let all = machines.snapshots()?.list();
    let all = all.map_err(clade_manager::Error::from)?;
    let names = SnapshotNames::of(&all.snapshots, &machines.list()?);
    Ok(serde_json::to_value(WholeSnapshot {
        summary: Summary::of(snapshot, names.get(snapshot)),
        folder: snapshot.folder(),
        spec: &snapshot.manifest.details.config,
        files: &snapshot.manifest.files,
    })?)
}

fn everything(machine: &Machine) -> Everything<'_> {
    let sockets = machine.sockets().ok();
    let forwards = sockets.map(read_forwards).unwrap_or_default();
    let has_card = machine.spec.config.network != NetworkSpec::None;
    Everything {
        spec: &machine.spec,
        mac: has_card.then(|| machine.spec.mac()),
        state: &machine.state,
        status: machine.status().ok(),
        life: machine.record(),
        folder: machine.folder(),
        console_log: machine.folder().join(clade_vmm::console::LOG_FILE),
        serial_ports: serial_ports(&machine.spec, sockets),
        forwards,
        control_socket: sockets.map(|folder| folder.join(clade_vmm::control::SOCKET_FILE)),
    }
}

fn serial_ports<'a>(spec: &'a MachineSpec, sockets: Option<&Path>) -> Vec<SerialPort<'a>> {
    let ports = sockets.iter().flat_map(|folder| {
        spec.config.ports.iter().map(|name| SerialPort {
            name,
            socket: folder.join(name.socket_file()),
        })
    });
    ports.collect()
}
