//! Making a warm image: a machine of its own boots, which nobody else ever sees, and is frozen.

use std::thread;
use std::time::{Duration, Instant};

use clade_guest::Command;
use clade_manager::{
    CloneOrder, Goal, Host, Machine, Machines, Order, Started, State, Waited, WarmImages,
};
use clade_store::FileName;
use clade_vmm::control::{Connection, Request};
use clade_vmm::outcome::Outcome;
use clade_vmm::spec::EngineKind;

use super::{Shape, Wish};
use crate::errand::Console;
use crate::failure::Failure;
use crate::verbs::machine_process;
use crate::verbs::run::template;
use crate::{root_disk, settle, size};

/// A guest that is not ready after this time never will be.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many commands a machine is practised with: what runs more than twice is translated.
const TIMES: usize = 4;

/// So much time services have to take note of what a guest is told.
const REST: Duration = Duration::from_secs(2);

/// What notes the lease in a guest does so last. One without a network has none: it is not waited for long.
const AWAIT_LEASE: &str = "\
tries=0
until [ -s /etc/resolv.conf ] || [ $tries -ge 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
done";

/// Bytes that must be free on the disk: what is left over is the user's.
const SPACE: u64 = 2 << 30;

/// Makes it, unless somebody else does or has done so, when the user's own machine has booted.
pub(crate) fn make(wish: &Wish) -> Result<(), Failure> {
    let machines = Machines::of_user()?;
    let images = WarmImages::beside(&machines)?;
    let Some(_making) = images.claim(&wish.key)? else {
        return Ok(());
    };
    if !has_booted(&machines, &wish.first)? {
        return Ok(());
    }
    let _turn = images.turn()?;
    match images.get(&wish.key) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => {}
        Err(_) => images.remove(&wish.key)?,
    }
    // What those left who were killed.
    images.machines().list()?;
    images.trim()?;
    let made = check_room(&images, &wish.shape).and_then(|()| boot_and_freeze(&images, wish));
    if made.is_ok() && wish.shape.config.engine == EngineKind::Emulate {
        // Without it, machines of the image are slower at first.
        let _ = practise(&images, &wish.key);
    }
    if let Err(Failure::Told(reason)) = &made {
        images.note_failure(&wish.key, reason);
    }
    images.trim()?;
    made
}

/// Waits until the machine of this id has booted. One that is gone had, or else so will not the next.
fn has_booted(machines: &Machines, id: &str) -> Result<bool, Failure> {
    let Ok(first) = machines.find(id) else {
        return Ok(true);
    };
    Ok(
        match first.wait_for(Goal::Ready, Some(Instant::now() + PATIENCE))? {
            Waited::Reached(_) | Waited::Removed => true,
            Waited::Missed(State::Stopped { outcome, .. }) => {
                matches!(outcome, Outcome::PowerOff | Outcome::Stopped)
            }
            Waited::Missed(_) | Waited::TimedOut => false,
        },
    )
}

/// It is not to crowd anybody out.
fn check_room(images: &WarmImages, shape: &Shape) -> Result<(), Failure> {
    let free = clade_store::free_space(images.machines().folder())?;
    if free < SPACE {
        let (free, wanted) = (size::show(free), size::show(SPACE));
        return Err(Failure::new(format!(
            "{free} are free on the disk, {wanted} are wanted"
        )));
    }
    let available = Host::of_this_machine()?.memory_available;
    if available < shape.config.memory {
        let (available, wanted) = (size::show(available), size::show(shape.config.memory));
        return Err(Failure::new(format!(
            "the host has {available} of free memory, {wanted} are wanted"
        )));
    }
    Ok(())
}

fn boot_and_freeze(images: &WarmImages, wish: &Wish) -> Result<(), Failure> {
    let Shape {
        image,
        config,
        root,
    } = &wish.shape;
    let machines = images.machines();
    let mut draft = machines.create(Order {
        name: image.split(':').next().map(str::to_owned),
        image: Some(image.clone()),
        temporary: true,
        config: config.clone(),
    })?;
    draft.keep_boot_files()?;
    if let Some(root) = root {
        root_disk::add(&mut draft, root)?;
    }
    let begun = draft.start(machine_process::command())?;
    while_it_runs(machines, begun, |machine| freeze(machine, wish))
}

/// Does something with a machine, which ends behind it, and with this process.
fn while_it_runs(
    machines: &Machines,
    (started, connection): (Started, Connection),
    work: impl FnOnce(&Machine) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let machine = machines.find(&started.spec.id)?;
    let Connection { sender, receiver } = connection;
    sender.request(&Request::Attach { size: None })?;
    let console = Console::listen(receiver)?;
    let done = work(&machine);
    console.end(&sender);
    done
}

fn freeze(machine: &Machine, wish: &Wish) -> Result<(), Failure> {
    match machine.wait_for(Goal::Ready, Some(Instant::now() + PATIENCE))? {
        Waited::Reached(_) => {}
        other => {
            return Err(Failure::new(format!(
                "its machine does not become ready: {other:?}"
            )));
        }
    }
    await_lease(machine)?;
    settle::rehearse(machine)?;
    machine.freeze(&wish.key, None, &mut |_| ())?;
    Ok(())
}

/// Waits until the guest has an address. One that goes on while it is being given one would take this machine's
/// name with it, in place of that which it has been told by then.
fn await_lease(machine: &Machine) -> Result<(), Failure> {
    let command = Command {
        arguments: ["sh", "-c", AWAIT_LEASE].map(str::to_owned).to_vec(),
        outer: true,
        ..Command::default()
    };
    run(&mut settle::enter(machine)?, command)
}

/// Has a machine go on from the warm image as those of the user's will, and gives the image what was translated
/// for what only such a machine does: a guest is told who it is, and its services take note.
fn practise(images: &WarmImages, key: &FileName) -> Result<(), Failure> {
    let Some(image) = images.get(key)? else {
        return Ok(());
    };
    let machines = images.machines();
    let order = CloneOrder {
        names: vec![None],
        temporary: true,
        of_image: true,
        ..CloneOrder::default()
    };
    let begun = template::make(machines, &image, &order)?;
    while_it_runs(machines, begun, |machine| {
        use_it(machine)?;
        Ok(machine.teach(&image)?)
    })
}

/// What is done with every machine.
fn use_it(machine: &Machine) -> Result<(), Failure> {
    let mut connection = settle::enter(machine)?;
    for _ in 0..TIMES {
        let command = Command {
            arguments: vec!["true".to_owned()],
            ..Command::default()
        };
        run(&mut connection, command)?;
    }
    thread::sleep(REST);
    Ok(())
}

fn run(connection: &mut clade_guest::Connection, command: Command) -> Result<(), Failure> {
    let (process, streams) = connection.run(command)?;
    drop(streams);
    process.wait()?;
    Ok(())
}
