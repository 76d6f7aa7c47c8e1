//! A machine: a board, and the threads that run its vCPUs until the guest or somebody outside
//! ends it.

mod handle;
mod snapshot;
mod state;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clade_devices::ConsoleHost;
use clade_disk::Disk;
use clade_engine::{EngineError, Exit, SystemEvent, Vcpu, VcpuHandle};

use crate::backends::Backends;
use crate::board::{Board, BoardError, Origin};
use crate::gate::Gate;
use crate::io_thread::IoTask;
use crate::saved_memory::SavedMemory;
use crate::spec::MachineConfig;
use crate::stats::{MachineStats, thread_time};

use snapshot::MemoryBase;

pub use handle::{Frozen, MachineHandle, StillBusy};
pub use snapshot::{MemoryFiles, SnapshotError, SnapshotFiles, Taken};
pub use state::MachineState;

/// Why a machine cannot be built or run.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The board cannot be built.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// The engine cannot go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The host gives no thread.
    #[error("the host gives no thread for {what}: {source}; are too many processes running?")]
    Thread {
        /// What the thread was for.
        what: String,
        /// The host's answer.
        source: io::Error,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The guest switched off.
    PowerOff,
    /// The guest switched off and reported failure with this code.
    Failed(u32),
    /// The guest asked to start again.
    Reboot,
    /// Somebody used a [`MachineHandle::stop`].
    Stopped,
}

impl From<SystemEvent> for Ended {
    fn from(event: SystemEvent) -> Self {
        match event {
            SystemEvent::PowerOff => Self::PowerOff,
            SystemEvent::Fail(code) => Self::Failed(code),
            SystemEvent::Reboot => Self::Reboot,
        }
    }
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub how: Ended,
    /// What was done in it.
    pub stats: MachineStats,
}

/// Whether a machine is to run on, and how to tell its vCPUs.
#[derive(Default)]
struct Switch {
    state: Mutex<SwitchState>,
}

#[derive(Default)]
struct SwitchState {
    ended: Option<Ended>,
    vcpus: Vec<Arc<dyn VcpuHandle>>,
}

impl Switch {
    fn lock(&self) -> MutexGuard<'_, SwitchState> {
        lock(&self.state)
    }

    /// Makes every vCPU return from what it executes.
    fn kick(&self) {
        self.lock().vcpus.iter().for_each(|vcpu| vcpu.kick());
    }

    /// Ends the run. The first reason is the one that counts.
    fn end(&self, reason: Ended) {
        let mut state = self.lock();
        state.ended.get_or_insert(reason);
        state.vcpus.iter().for_each(|vcpu| vcpu.kick());
    }

    fn ended(&self) -> Option<Ended> {
        self.lock().ended
    }
}

/// A machine that is built and has not run yet.
pub struct Machine {
    core: Arc<Core>,
    io_tasks: Vec<IoTask>,
}

/// What is reached from outside while the machine runs.
struct Core {
    board: Board,
    /// Each is locked by its thread for as long as it executes; locks are free at a closed gate.
    vcpus: Vec<Mutex<Box<dyn Vcpu>>>,
    switch: Arc<Switch>,
    gate: Arc<Gate>,
    /// How often it was frozen and not thawed again.
    frozen: Mutex<u32>,
    disks: Vec<Disk>,
    memory: Mutex<MemoryBase>,
}

impl Machine {
    /// Builds the machine over `backends`: the files that it boots from are read here. Its consoles
    /// print on `host`.
    ///
    /// # Errors
    /// When a file cannot be loaded or the host lacks something.
    pub fn build(
        config: &MachineConfig,
        backends: &Backends,
        host: Arc<dyn ConsoleHost>,
    ) -> Result<Self, MachineError> {
        Self::build_from(config, backends, host, Origin::PowerOn)
    }

    /// Builds the machine so that it goes on as it was when `state` was taken, with the memory of
    /// that time.
    ///
    /// # Errors
    /// When the state is of another machine, or the host lacks something.
    pub fn restore(
        config: &MachineConfig,
        backends: &Backends,
        host: Arc<dyn ConsoleHost>,
        state: &MachineState,
        memory: &SavedMemory,
    ) -> Result<Self, MachineError> {
        let origin = Origin::Saved(&state.board, memory);
        let machine = Self::build_from(config, backends, host, origin)?;
        machine.core.restore_vcpus(state)?;
        Ok(machine)
    }

    fn build_from(
        config: &MachineConfig,
        backends: &Backends,
        host: Arc<dyn ConsoleHost>,
        origin: Origin<'_>,
    ) -> Result<Self, MachineError> {
        let switch = Arc::new(Switch::default());
        let sink = switch.clone();
        let (board, io_tasks) = Board::build(
            config,
            backends,
            host,
            Arc::new(move |event| sink.end(event.into())),
            origin,
        )?;
        let vcpus = (0..config.cpus)
            .map(|index| board.engine().create_vcpu(index))
            .collect::<Result<Vec<_>, _>>()?;
        switch.lock().vcpus = vcpus.iter().map(|vcpu| vcpu.handle()).collect();
        Ok(Self {
            core: Arc::new(Core {
                board,
                vcpus: vcpus.into_iter().map(Mutex::new).collect(),
                switch,
                gate: Arc::default(),
                frozen: Mutex::new(0),
                disks: backends.disks.clone(),
                memory: Mutex::new(match origin {
                    Origin::PowerOn => MemoryBase::default(),
                    Origin::Saved(_, memory) => MemoryBase::new(memory.index().clone()),
                }),
            }),
            io_tasks,
        })
    }

    /// The way to reach the machine while it runs.
    pub fn handle(&self) -> MachineHandle {
        MachineHandle(self.core.clone())
    }

    /// Runs the vCPUs, each on a thread of its own, until the run ends.
    ///
    /// # Errors
    /// When the host gives no threads, or the engine cannot go on.
    pub fn run(self) -> Result<Finished, MachineError> {
        self.run_then(|| ())
    }

    /// As [`Machine::run`]; calls `ended` when the guest runs no more, before its devices go.
    ///
    /// # Errors
    /// As there.
    pub fn run_then(self, ended: impl FnOnce()) -> Result<Finished, MachineError> {
        let Self { core, io_tasks } = self;
        let thread_error = |what: String| move |source| MachineError::Thread { what, source };
        let _io_threads = io_tasks
            .into_iter()
            .map(|task| task.start(core.gate.clone()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(thread_error("devices".into()))?;
        let timers = core
            .board
            .start_timers(core.gate.clone())
            .map_err(thread_error("timers".into()))?;
        core.board.start_clock()?;
        let result = core.run_vcpus();
        ended();
        // Who waits at the gate of a machine that ended while it stood still.
        core.gate.abolish();
        core.board.stop_timers();
        if let Some(timers) = timers {
            let _ = timers.join();
        }
        Ok(Finished {
            stats: MachineStats {
                vcpu_time: result?,
                engine: core.board.stats(),
            },
            // All vCPUs have returned, which they do only once the run has ended.
            how: core.switch.ended().unwrap_or(Ended::Stopped),
        })
    }
}

impl Core {
    /// Runs all vCPUs to the end; returns the host's processor time that they took.
    fn run_vcpus(&self) -> Result<Duration, MachineError> {
        thread::scope(|scope| {
            let mut threads = Vec::new();
            let mut vcpu_time = Duration::ZERO;
            let mut first_error = None;
            for (index, vcpu) in self.vcpus.iter().enumerate() {
                let what = format!("vcpu {index}");
                match thread::Builder::new()
                    .name(what.clone())
                    .spawn_scoped(scope, move || self.run_vcpu(vcpu))
                {
                    Ok(thread) => threads.push(thread),
                    Err(source) => {
                        self.switch.end(Ended::Stopped);
                        first_error = Some(MachineError::Thread { what, source });
                        break;
                    }
                }
            }
            for thread in threads {
                let result = thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                match result {
                    Ok(time) => vcpu_time += time,
                    Err(error) => first_error = first_error.or(Some(error.into())),
                }
            }
            first_error.map_or(Ok(vcpu_time), Err)
        })
    }

    /// Runs one vCPU until the machine's run ends. Returns how much of the host's processor time
    /// the calling thread took.
    fn run_vcpu(&self, vcpu: &Mutex<Box<dyn Vcpu>>) -> Result<Duration, EngineError> {
        let _end = EndWithThread(&self.switch);
        while self.switch.ended().is_none() {
            let Some(exit) = self.gate.pass(|| lock(vcpu).run()) else {
                break;
            };
            match exit? {
                Exit::Kicked => {}
                Exit::System(event) => self.switch.end(event.into()),
            }
        }
        Ok(thread_time())
    }
}

/// Ends the run when one of its vCPU threads does, for whatever reason: none is waited for in vain.
struct EndWithThread<'a>(&'a Switch);

impl Drop for EndWithThread<'_> {
    fn drop(&mut self) {
        self.0.end(Ended::Stopped);
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
