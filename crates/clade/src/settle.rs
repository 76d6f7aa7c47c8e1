//! Telling guests that went on from a saved state what changed meanwhile: the time, and for clones who
//! they are. It is done before anybody is let in, once, with what every image has.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{self, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clade_manager::Machine;
use clade_ssh::{Command, Error, Key, Process};
use clade_vmm::spec::Unsettled;

use crate::failure::Failure;
use crate::verbs::settle_guests;

/// A guest that has just gone on may not listen at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is asked.
const ASK: Duration = Duration::from_millis(5);

/// Whole seconds are no reason to set a clock back that is right. Runs in the guest as root: `sh -c SCRIPT sh SECONDS [NAME [OLD]]`. Random numbers differ by now, by the
/// VM generation ID.
const SCRIPT: &str = r#"
ahead=$(($(date +%s) - $1))
[ $ahead -ge -1 ] && [ $ahead -le 1 ] || date -s "@$1" >/dev/null
[ "$2" ] || exit 0
echo "$2" >/proc/sys/kernel/hostname
[ ! -w /etc/hostname ] || echo "$2" >/etc/hostname
[ ! -w /etc/hosts ] || sed -i "s/\([[:space:]]\)$3\([[:space:].]\|\$\)/\1$2\2/g" /etc/hosts
if [ -s /etc/machine-id ]; then
    read -r id </proc/sys/kernel/random/uuid
    echo "$id" | sed s/-//g >/etc/machine-id
fi
for key in /etc/ssh/ssh_host_*_key; do
    [ -e "$key" ] || continue
    kind=${key#*ssh_host_}
    rm -f "$key" "$key.pub"
    ssh-keygen -q -t "${kind%_key}" -N '' -f "$key"
done
"#;

/// The socket by which the machine's guest is entered, once the guest knows what it must. Refuses a
/// machine that is paused: whoever entered would wait.
pub(crate) fn way_in(machine: &Machine) -> Result<PathBuf, Failure> {
    machine.check_awake()?;
    settle(machine)?;
    Ok(machine.vsock()?)
}

/// Tells the guest what it does not know yet, if there is anything.
pub(crate) fn settle(machine: &Machine) -> Result<(), Failure> {
    if machine.spec.unsettled.is_none() {
        return Ok(());
    }
    machine.settle_guest(|spec, unsettled| {
        // A kernel of the user's own has nobody to be told.
        if spec.image.is_none() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |now| now.as_secs()).to_string();
        let mut arguments = ["sh", "-c", SCRIPT, "sh", &seconds]
            .map(str::to_owned)
            .to_vec();
        if let Unsettled::Identity { before } = unsettled {
            arguments.extend([spec.name.clone(), before.clone()]);
        }
        tell(machine, arguments)
    })
}

fn tell(machine: &Machine, arguments: Vec<String>) -> Result<(), Failure> {
    let failed = |reason: String| {
        let name = &machine.spec.name;
        Failure::new(format!(
            "the guest of '{name}' cannot be told the time and its name, as it went on from a saved \
             state: {reason}\n`clade console {name}` shows what it does."
        ))
    };
    let (socket, key) = (machine.vsock()?, Key::of_user()?);
    let command = Command {
        arguments,
        ..Command::default()
    };
    let deadline = Instant::now() + PATIENCE;
    let (process, mut streams) = loop {
        match Process::start(&socket, &key, command.clone()) {
            Err(Error::NotReady) if Instant::now() < deadline => thread::sleep(ASK),
            started => break started.map_err(|error| failed(error.to_string()))?,
        }
    };
    drop(streams.input);
    let mut said = String::new();
    // Little comes, so that neither stream has to wait for the other.
    let _ = streams.output.read_to_string(&mut said);
    let _ = streams.errors.read_to_string(&mut said);
    let exit = process.wait().map_err(|error| failed(error.to_string()))?;
    match exit.status() {
        Some(0) => Ok(()),
        _ => Err(failed(format!("{exit:?} {said}"))),
    }
}

/// Settles the guests of these machines, in a process of its own, for which nobody waits.
pub(crate) fn in_background(names: &[String]) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    process::Command::new("/proc/self/exe")
        .arg(settle_guests::NAME)
        .args(names)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}
