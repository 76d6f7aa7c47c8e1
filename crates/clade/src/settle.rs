//! Telling guests that went on from a saved state what changed meanwhile: the time, and for clones who
//! they are. It is done before anybody is let in, once, with what every image has.

use std::fs;
use std::io::{self, Read, Write};
use std::iter;
use std::path::PathBuf;
use std::process::{self, Stdio};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clade_guest::{Command, Connection, Error, Key};
use clade_manager::{Machine, TEMPLATE_KEY_FILE};
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

/// Runs in the guest as root: `sh -c SCRIPT sh SECONDS KEY TEMPLATE-KEY ADDRESS NAME OLD...`, any of which may be
/// empty; its input is a host key for SSH. Random numbers differ by now, by the VM generation ID. In place of the
/// template's key, and of that of who made the template, the user's is let in. Whole seconds are no reason to set a
/// clock back that is right. Clock and Ethernet address are the agent's work where there is one. Programs are run only
/// where a shell does not do: there is nothing in memory of most of them, and starting one takes ten milliseconds.
const SCRIPT: &str = r#"
root=
[ ! -e /oci/start ] || root=/image
if [ "$1" ]; then
    ahead=$(($(date +%s) - $1))
    [ $ahead -ge -1 ] && [ $ahead -le 1 ] || date -s "@$1" >/dev/null
fi
if [ "$3" ]; then
    keys=/proc/1/root/root/.ssh/authorized_keys
    maker=$(grep -F "$3" $keys | cut -d' ' -f3)
    others=$(grep -vF -e "$3" -e "${maker:-$3}" $keys)
    echo "ssh-ed25519 $2${others:+
$others}" >$keys
fi
if [ "$4" ]; then
    echo 1 >/proc/sys/net/ipv4/conf/all/arp_notify
    for card in /sys/class/net/*; do
        [ ! -e "$card/device" ] || ip link set dev "${card##*/}" address "$4"
    done
fi
[ "$5" ] || exit 0
name=$5
shift 5
echo "$name" >/proc/sys/kernel/hostname
[ ! -w $root/etc/hostname ] || echo "$name" >$root/etc/hostname
if [ -w $root/etc/hosts ]; then
    hosts= renamed=
    while IFS= read -r rest; do
        for old; do
            line= rest="$rest "
            while case $rest in *[[:space:]]"$old"[[:space:].]*) ;; *) false ;; esac; do
                before=${rest%%[[:space:]]"$old"[[:space:].]*}
                rest=${rest#"$before"}
                line=$line$before${rest%"${rest#?}"}$name
                rest=${rest#?"$old"} renamed=yes
            done
            rest=$line${rest% }
        done
        hosts="$hosts$rest
"
    done <$root/etc/hosts
    [ ! "$renamed" ] || printf %s "$hosts" >$root/etc/hosts
fi
if [ -s $root/etc/machine-id ]; then
    read -r id </proc/sys/kernel/random/uuid
    IFS=-
    set -- $id
    unset IFS
    echo "$1$2$3$4$5" >$root/etc/machine-id
fi
for key in $root/etc/ssh/ssh_host_*_key; do
    [ -e "$key" ] || continue
    kind=${key##*/ssh_host_}
    kind=${kind%_key}
    if [ "$kind" = ed25519 ]; then
        read -r public && echo "$public" >"$key.pub"
        while read -r line; do echo "$line"; done >"$key"
    else
        rm -f "$key" "$key.pub"
        ssh-keygen -q -t "$kind" -N '' -f "$key"
    fi
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
        let names: Vec<&str> = match unsettled {
            Unsettled::Identity { before } => {
                let before = before.iter().map(String::as_str);
                iter::once(spec.name.as_str()).chain(before).collect()
            }
            Unsettled::Clock => Vec::new(),
        };
        let began = Instant::now();
        told_by = Some(tell(machine, &names)?);
        if began.elapsed() > LONG {
            // Perhaps it was paused, and then took an old time for the present.
            told_by = Some(tell(machine, &[])?);
        }
        Ok::<(), Failure>(())
    })?;
    Ok(told_by)
}

/// Does in a guest that is to be frozen what its clones will be told, with the name that it has: what that
/// needs is in memory then.
pub(crate) fn rehearse(machine: &Machine) -> Result<(), Failure> {
    let name = machine.spec.name.as_str();
    tell(machine, &[name, name]).map(drop)
}

/// Tells the guest what time it is, and its name and those that it had, if there are any, with its card's address.
fn tell(machine: &Machine, names: &[&str]) -> Result<Connection, Failure> {
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
    let mut key = template.as_ref().unwrap_or(&user);
    let deadline = Instant::now() + PATIENCE;
    let mut connection = loop {
        match Connection::open(&socket, key) {
            Err(Error::NotReady) if Instant::now() < deadline => thread::sleep(ASK),
            // It was told so before, and then something went wrong.
            Err(Error::Refused) if template.is_some() && !ptr::eq(key, &user) => key = &user,
            opened => break opened.map_err(|error| failed(error.to_string()))?,
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let mac = (!names.is_empty()).then(|| machine.spec.mac());
    let [seconds, address] = match connection.is_agent() {
        true => Default::default(),
        false => [
            now.as_secs().to_string(),
            mac.map(|mac| mac.to_string()).unwrap_or_default(),
        ],
    };
    let keys = match &template {
        Some(template) => [user.base64(), template.base64()],
        None => Default::default(),
    };
    let [user, template_key] = keys.each_ref().map(String::as_str);
    let arguments = [
        "sh",
        "-c",
        SCRIPT,
        "sh",
        &seconds,
        user,
        template_key,
        &address,
    ];
    let command = Command {
        arguments: arguments
            .iter()
            .chain(names)
            .map(|&word| word.to_owned())
            .collect(),
        clock: Some(now),
        address: mac.map(|mac| mac.0),
        outer: true,
        ..Command::default()
    };
    let started = connection.run(command);
    let (process, mut streams) = started.map_err(|error| failed(error.to_string()))?;
    if !names.is_empty() {
        // A guest without an SSH server does not read it.
        let _ = streams.input.write_all(Key::new_pair()?.as_bytes());
    }
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
