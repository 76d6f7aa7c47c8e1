//! New machines from a snapshot, or from another machine as it is.

use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use clade_store::snapshots::Snapshot;
use clade_vmm::control::Connection;
use clade_vmm::spec::{MachineConfig, NetworkSpec, OriginSpec, OutsideSpec, Unsettled};

use super::restore::Source;
use crate::create::{Draft, sync_machine};
use crate::{Error, Machine, Machines, Order, Snapshots, Started};

/// What clones are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloneOrder {
    /// Their names; a friendly one is chosen where there is none.
    pub names: Vec<Option<String>>,
    /// Whether they are removed when their life ends.
    pub temporary: bool,
    /// What goes out of, and into, their user-mode network. If nothing is said, it is what the origin
    /// has, and free ports are chosen for those of the host that lead to it.
    pub outside: Option<OutsideSpec>,
    /// Whether their guests take themselves for their origin: they keep its host name, machine ID,
    /// Ethernet address and SSH host keys. Random numbers differ all the same.
    pub keep_identity: bool,
    /// Whether they count as machines of their image: what they come from is nothing that their user
    /// knows of.
    pub of_image: bool,
}

/// A clone that runs, and the connection over which its guest is let go on.
pub(super) type Running = (Started, Connection);

/// How many clones are made at a time for each processor: most of the time one waits for the other.
const AT_A_TIME: usize = 2;

/// So many clones are made before the guests of any run, as these would delay the making of the others.
const TOGETHER: usize = 128;

impl Machines {
    /// Makes new machines that go on from `snapshot`, independently of each other. They are given to
    /// `let_go`, in order, as soon as all of them are made; those of a large order in several turns.
    ///
    /// # Errors
    /// When the snapshot is damaged or has no memory, or at the first machine that cannot be made.
    pub fn clone_snapshot<E: From<Error>>(
        &self,
        snapshot: &Snapshot,
        order: &CloneOrder,
        program: &(dyn Fn() -> Command + Sync),
        let_go: &mut dyn FnMut(Vec<Running>) -> Result<(), E>,
    ) -> Result<(), E> {
        let source = Source::of(snapshot)?;
        self.clone_source(&source, order, program, let_go)
    }

    /// Makes new machines that go on from `machine` as it is now. If it runs, it stands still once,
    /// however many there are, for no longer than for a snapshot.
    ///
    /// # Errors
    /// As those of [`Machine::snapshot`] and [`Machines::clone_snapshot`].
    pub fn clone_machine<E: From<Error>>(
        &self,
        machine: &Machine,
        snapshots: &Snapshots,
        order: &CloneOrder,
        program: &(dyn Fn() -> Command + Sync),
        let_go: &mut dyn FnMut(Vec<Running>) -> Result<(), E>,
    ) -> Result<(), E> {
        let kept = machine.keep_in(snapshots, false, &mut |_| ())?;
        let source = Source {
            folder: kept.draft.folder(),
            files: kept.draft.names().map_err(Error::from)?,
            spec: kept.spec.clone(),
            has_memory: kept.taken.is_some(),
            origin: OriginSpec {
                snapshot: None,
                machine: kept.spec.id.clone(),
            },
        };
        self.clone_source(&source, order, program, let_go)
    }

    fn clone_source<E: From<Error>>(
        &self,
        source: &Source<'_>,
        order: &CloneOrder,
        program: &(dyn Fn() -> Command + Sync),
        let_go: &mut dyn FnMut(Vec<Running>) -> Result<(), E>,
    ) -> Result<(), E> {
        check(source)?;
        for names in order.names.chunks(TOGETHER) {
            let made = Mutex::new(Vec::new());
            let numbered = names.iter().cloned().enumerate();
            let outcome = in_parallel(numbered.collect(), |(number, name)| {
                let (running, folder) = self.make_clone(source, order, name, program)?;
                lock(&made).push((number, running, folder));
                Ok(())
            });
            let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
            made.sort_by_key(|(number, ..)| *number);
            let (made, folders): (Vec<_>, Vec<_>) = made
                .into_iter()
                .map(|(_, running, folder)| (running, folder))
                .unzip();
            let_go(made)?;
            if !order.temporary {
                in_parallel(folders, |folder| sync_machine(&folder))?;
                clade_store::sync_folder(self.folder()).map_err(Error::from)?;
            }
            outcome?;
        }
        Ok(())
    }

    /// A new machine, whose guest does not run yet, and its folder.
    fn make_clone(
        &self,
        source: &Source<'_>,
        order: &CloneOrder,
        name: Option<String>,
        program: &(dyn Fn() -> Command + Sync),
    ) -> Result<(Running, PathBuf), Error> {
        let mut draft = self.create(Order {
            name,
            image: source.spec.image.clone(),
            temporary: order.temporary,
            config: source.spec.config.clone(),
        })?;
        let folder = draft.folder().to_owned();
        let mut config = source.give_to(&folder)?;
        adapt(&mut config.network, order.outside.as_ref())?;
        draft.become_clone(source, config, order);
        Ok((draft.start_from(program(), source.saved())?, folder))
    }
}

/// Does `work` with each of `items`, several at a time. After an error no other is begun; the first
/// is returned.
fn in_parallel<T: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let workers = items.len().min(processors * AT_A_TIME);
    let items = Mutex::new(items.into_iter());
    let failed = Mutex::new(None);
    let work = || {
        while lock(&failed).is_none() {
            let Some(item) = lock(&items).next() else {
                break;
            };
            if let Err(error) = work(item) {
                lock(&failed).get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers {
            // Where the host has no more threads, there are fewer of us.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let failed = failed.into_inner();
    let failed = failed.unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses clones that could not live beside their origin.
fn check(source: &Source<'_>) -> Result<(), Error> {
    let refuse = |reason: String| {
        Err(Error::Branch(format!(
            "'{}' cannot be cloned: {reason}",
            source.spec.name
        )))
    };
    match &source.spec.config.network {
        NetworkSpec::Switch(name, _) if source.has_memory => refuse(format!(
            "it is on the network {name}, where its clones would have its address"
        )),
        NetworkSpec::Tap(interface) => refuse(format!("it has the interface {interface}")),
        _ => Ok(()),
    }
}

impl Draft {
    fn become_clone(&mut self, source: &Source<'_>, mut config: MachineConfig, order: &CloneOrder) {
        let spec = self.spec_mut();
        let origin = &source.spec;
        spec.origin = (!order.of_image).then(|| source.origin.clone());
        // The guest of an image of ours is told its new address with its name.
        let is_told = spec.image.is_some() || !source.has_memory;
        if order.keep_identity || !is_told {
            spec.mac = Some(origin.mac());
        }
        if order.keep_identity {
            spec.unsettled = source.unsettled();
            spec.config = config;
            return;
        }
        // What systemd(1) was told at the first start is what it is told at the next.
        let told = |name: &str| format!(" systemd.hostname={name}");
        config.cmdline = config
            .cmdline
            .replace(&told(&origin.name), &told(&spec.name));
        let mut before = match &origin.unsettled {
            Some(Unsettled::Identity { before }) => before.clone(),
            _ => Vec::new(),
        };
        before.push(origin.name.clone());
        spec.unsettled = (source.has_memory).then_some(Unsettled::Identity { before });
        spec.config = config;
    }
}

/// What a clone's network has in place of its origin's.
fn adapt(network: &mut NetworkSpec, wanted: Option<&OutsideSpec>) -> Result<(), Error> {
    let (NetworkSpec::User(outside) | NetworkSpec::Switch(_, outside)) = network else {
        return match wanted {
            Some(wanted) if *wanted != OutsideSpec::default() => Err(Error::Branch(
                "the machine has no user-mode network, and so no ports and no rules about hosts"
                    .to_owned(),
            )),
            _ => Ok(()),
        };
    };
    match wanted {
        Some(wanted) => outside.clone_from(wanted),
        // Ports of the host that lead to the one cannot lead to the other, too: others are chosen.
        None => outside
            .forwards
            .iter_mut()
            .for_each(|forward| forward.host = 0),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn everything_is_done_once_and_nothing_after_an_error() {
        let sum = AtomicU32::new(0);
        let add = |number| {
            sum.fetch_add(number, Ordering::Relaxed);
            Ok(())
        };
        in_parallel((1..=100).collect(), add).expect("no error");
        assert_eq!(sum.load(Ordering::Relaxed), 5050);
        let begun = AtomicU32::new(0);
        let fail = |_: usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            Err(Error::Branch("it failed".to_owned()))
        };
        assert!(in_parallel((0..1000).collect(), fail).is_err());
        let workers = thread::available_parallelism().map_or(1, NonZero::get) * AT_A_TIME;
        assert!(begun.load(Ordering::Relaxed) as usize <= workers);
    }
}
