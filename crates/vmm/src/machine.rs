//! A machine: a board, and the threads that run its vCPUs until the guest or somebody outside
//! ends it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clade_devices::virtio::{PowerButton, VirtioBalloon};
use clade_devices::{ConsoleHost, ConsolePort};
use clade_engine::{EngineError, Exit, SystemEvent, Vcpu, VcpuHandle};

use crate::backends::Backends;
use crate::board::{Board, BoardError};
use crate::spec::MachineConfig;
use crate::stats::{MachineStats, thread_time};

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
    /// Somebody used a [`StopHandle`].
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Stops a machine from any thread.
#[derive(Clone)]
pub struct StopHandle(Arc<Switch>);

impl StopHandle {
    /// Makes [`Machine::run`] return [`Ended::Stopped`], also when it has not begun yet.
    pub fn stop(&self) {
        self.0.end(Ended::Stopped);
    }
}

/// A machine that is built and has not run yet.
pub struct Machine {
    board: Board,
    vcpus: Vec<Box<dyn Vcpu>>,
    switch: Arc<Switch>,
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
        let switch = Arc::new(Switch::default());
        let sink = switch.clone();
        let board = Board::build(
            config,
            backends,
            host,
            Arc::new(move |event| sink.end(event.into())),
        )?;
        let vcpus = (0..config.cpus)
            .map(|index| board.engine().create_vcpu(index))
            .collect::<Result<Vec<_>, _>>()?;
        switch.lock().vcpus = vcpus.iter().map(|vcpu| vcpu.handle()).collect();
        Ok(Self {
            board,
            vcpus,
            switch,
        })
    }

    /// The way to type at the guest.
    pub fn console(&self) -> Arc<dyn ConsolePort> {
        self.board.console()
    }

    /// The button by which the guest is asked to power off.
    pub fn power_button(&self) -> Arc<PowerButton> {
        self.board.power_button()
    }

    /// What takes memory that the guest does not need.
    pub fn balloon(&self) -> Arc<VirtioBalloon> {
        self.board.balloon()
    }

    /// A handle that stops the machine.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.switch.clone())
    }

    /// Runs the vCPUs, each on a thread of its own, until the run ends.
    ///
    /// # Errors
    /// When the host gives no threads, or the engine cannot go on.
    pub fn run(self) -> Result<Finished, MachineError> {
        let Self {
            mut board,
            vcpus,
            switch,
        } = self;
        let thread_error = |what: String| move |source| MachineError::Thread { what, source };
        let _io_threads = board.start_io().map_err(thread_error("devices".into()))?;
        let timers = board
            .start_timers()
            .map_err(thread_error("timers".into()))?;
        let result = thread::scope(|scope| {
            let mut threads = Vec::new();
            let mut vcpu_time = Duration::ZERO;
            let mut first_error = None;
            for (index, vcpu) in vcpus.into_iter().enumerate() {
                let switch = &switch;
                let name = format!("vcpu {index}");
                match thread::Builder::new()
                    .name(name.clone())
                    .spawn_scoped(scope, move || run_vcpu(vcpu, switch))
                {
                    Ok(thread) => threads.push(thread),
                    Err(source) => {
                        switch.end(Ended::Stopped);
                        first_error = Some(thread_error(name)(source));
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
        });
        board.stop_timers();
        let _ = timers.join();
        Ok(Finished {
            stats: MachineStats {
                vcpu_time: result?,
                engine: board.stats(),
            },
            // All vCPUs have returned, which they do only once the run has ended.
            how: switch.ended().unwrap_or(Ended::Stopped),
        })
    }
}

/// Ends the run when one of its vCPU threads does, for whatever reason: none is waited for in vain.
struct EndWithThread<'a>(&'a Switch);

impl Drop for EndWithThread<'_> {
    fn drop(&mut self) {
        self.0.end(Ended::Stopped);
    }
}

/// Runs one vCPU until the machine's run ends. Returns how much of the host's processor time the
/// calling thread took.
fn run_vcpu(mut vcpu: Box<dyn Vcpu>, switch: &Switch) -> Result<Duration, EngineError> {
    let _end = EndWithThread(switch);
    while switch.ended().is_none() {
        match vcpu.run()? {
            Exit::Kicked => {}
            Exit::System(event) => switch.end(event.into()),
        }
    }
    Ok(thread_time())
}
