//! Telling guests that went on from a saved state what changed meanwhile: the time, and for clones who
//! they are. It is done before anybody is let in, once, with what every image has.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{self, Stdio};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use clade_manager::{Machine, TEMPLATE_KEY_FILE};
use clade_ssh::{Command, Connection, Error, Key};
use clade_vmm::record;
use clade_vmm::spec::Unsettled;

use crate::failure::Failure;
use crate::verbs::exec::explain;
use crate::verbs::settle_guests;

/// A guest that has just gone on may not listen at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A guest that runs has been told within this time as a rule.
const LONG: Duration = Duration::from_secs(3);

/// How often it is asked.
const ASK: Duration = Duration::from_millis(5);

/// Runs in the guest as root: `sh -c SCRIPT sh SECONDS NAME OLD KEY TEMPLATE-KEY`, whose last words may be
/// empty; OLD is names with `\|` between them. Random numbers differ by now, by the VM generation ID. In place of the template's key, and of
/// that of who made the template, the user's is let in. Whole seconds are no reason to set a clock back that is right.
const SCRIPT: &str = r#"
ahead=$(($(date +%s) - $1))
[ $ahead -ge -1 ] && [ $ahead -le 1 ] || date -s "@$1" >/dev/null
keys=/proc/1/root/root/.ssh/authorized_keys
if [ "$5" ]; then
    maker=$(grep -F "$5" $keys | cut -d' ' -f3)
    others=$(grep -vF -e "$5" -e "${maker:-$5}" $keys)
    echo "ssh-ed25519 $4${others:+
$others}" >$keys
fi
[ "$2" ] || exit 0
echo "$2" >/proc/sys/kernel/hostname
[ ! -w /etc/hostname ] || echo "$2" >/etc/hostname
[ ! -w /etc/hosts ] || sed -i "s/\([[:space:]]\)\($3\)\([[:space:].]\|\$\)/\1$2\3/g" /etc/hosts
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

/// A connection to the machine's guest, once it knows what it must: the one over which it was told, if it
/// was told just now. Refuses a machine that is paused.
pub(crate) fn enter(machine: &Machine) -> Result<Connection, Failure> {
    machine.check_awake()?;
    if let Some(connection) = settle(machine)? {
        return Ok(connection);
    }
    let connected = Connection::open(&machine.vsock()?, &Key::of_user()?);
    connected.map_err(|error| explain(error, &machine.spec.name))
}

/// Tells the guest what it does not know yet, if there is anything, and returns the connection over which
/// it was told.
pub(crate) fn settle(machine: &Machine) -> Result<Option<Connection>, Failure> {
    let mut told_by = None;
    if machine.spec.unsettled.is_none() {
        return Ok(told_by);
    }
    machine.settle_guest(|spec, unsettled| {
        // A kernel of the user's own has nobody to be told.
        if spec.image.is_none() {
            return Ok(());
        }
        let (name, before) = match unsettled {
            Unsettled::Identity { before } => (spec.name.as_str(), before.join(r"\|")),
            Unsettled::Clock => ("", String::new()),
        };
        let began = Instant::now();
        told_by = Some(tell(machine, [name, &before])?);
        if began.elapsed() > LONG {
            // Perhaps it was paused, and then took an old time for the present.
            told_by = Some(tell(machine, ["", ""])?);
        }
        Ok::<(), Failure>(())
    })?;
    Ok(told_by)
}

/// Does in a guest that is to be frozen what its clones will be told, with the name that it has: what that
/// needs is in memory then.
pub(crate) fn rehearse(machine: &Machine) -> Result<(), Failure> {
    let name = machine.spec.name.as_str();
    tell(machine, [name, name]).map(drop)
}

/// Tells the guest what time it is, and `[NAME, OLD]` of the script.
fn tell(machine: &Machine, names: [&str; 2]) -> Result<Connection, Failure> {
    let failed = |reason: String| {
        let name = &machine.spec.name;
        Failure::new(format!(
            "the guest of '{name}' cannot be told the time and its name, as it went on from a saved \
             state: {reason}\n`clade console {name}` shows what it does."
        ))
    };
    let (socket, user) = (machine.vsock()?, Key::of_user()?);
    let file = machine.folder().join(TEMPLATE_KEY_FILE);
    let template = file.exists().then(|| Key::from_file(file.clone()));
    let template = template.transpose()?;
    let keys = match &template {
        Some(key) => [user.base64(), key.base64()],
        None => Default::default(),
    };
    let keys = keys.iter().map(String::as_str);
    let seconds = record::now().to_string();
    let arguments = ["sh", "-c", SCRIPT, "sh", &seconds]
        .into_iter()
        .chain(names)
        .chain(keys);
    let command = Command {
        arguments: arguments.map(str::to_owned).collect(),
        ..Command::default()
    };
    let mut key = template.as_ref().unwrap_or(&user);
    let deadline = Instant::now() + PATIENCE;
    let connection = loop {
        match Connection::open(&socket, key) {
            Err(Error::NotReady) if Instant::now() < deadline => thread::sleep(ASK),
            // It was told so before, and then something went wrong.
            Err(Error::Refused) if template.is_some() && !ptr::eq(key, &user) => key = &user,
            opened => break opened.map_err(|error| failed(error.to_string()))?,
        }
    };
    let started = connection.run(command);
    let (process, mut streams) = started.map_err(|error| failed(error.to_string()))?;
    drop(streams.input);
    let mut said = String::new();
    // Little comes, so that neither stream has to wait for the other.
    let _ = streams.output.read_to_string(&mut said);
    let _ = streams.errors.read_to_string(&mut said);
    let exit = process.wait().map_err(|error| failed(error.to_string()))?;
    match exit.status() {
        Some(0) => {
            // It is let in no longer.
            let _ = template.map(|_| fs::remove_file(file));
            Ok(connection)
        }
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
