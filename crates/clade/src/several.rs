//! Doing one thing to several machines at once.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use clade_manager::{Machine, Machines};

use crate::failure::Failure;
use crate::waiting::Waiting;

/// How many machines are worked on at the same time.
const AT_ONCE: usize = 16;

/// The machines that these texts mean, each once. All of them are found before anything is done.
pub(crate) fn find(machines: &Machines, texts: &[String]) -> Result<Vec<Machine>, Failure> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for text in texts {
        let machine = machines.find(text)?;
        if seen.insert(machine.spec.id.clone()) {
            found.push(machine);
        }
    }
    Ok(found)
}

/// Does something to each machine, to several at once, and prints the name of each that it was done
/// to, beside what is being waited for. Those for which it fails are told of; the others are done all the same.
pub(crate) fn each(
    machines: &[Machine],
    waiting: &Waiting,
    act: impl Fn(&Machine) -> Result<(), Failure> + Sync,
) -> Result<ExitCode, Failure> {
    let queue = Mutex::new(machines.iter());
    let failed = Mutex::new(None);
    let work = || {
        loop {
            let next = queue.lock().ok().and_then(|mut queue| queue.next());
            let Some(machine) = next else { return };
            let print = || waiting.aside(|| print_name(&machine.spec.name));
            let done = act(machine).and_then(|()| print());
            if let Err(failure) = done
                && let Ok(mut failed) = failed.lock()
                // The first is told last, by the exit status.
                && let Some(before) = failed.replace(failure)
            {
                let _ = waiting.aside(|| before.show());
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..machines.len().min(AT_ONCE) {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner() {
        Ok(Some(failure)) => Err(failure),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn print_name(name: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{name}").map_err(|error| Failure::of_output(&error))
}
