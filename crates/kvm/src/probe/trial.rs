//! Running one small guest, for a short time.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use clade_engine::{Engine, EngineError, Exit, GuestRam, IoBus, SystemEvent, Unmapped, VcpuHandle};
use vm_memory::{Bytes, GuestAddress};

use super::programs::PORT;
use crate::engine::lock;
use crate::{CpuModel, Device, Gdt, Kvm, KvmConfig, Start};

const RAM: usize = 64 << 10;
const CODE: u64 = 0x1000;
const PAGE_TABLES: u64 = 0x8000;

/// Entries of page tables.
const TABLE: u64 = 7;
const LARGE_PAGE: u64 = 0x87;

/// What a guest is to do, and when it has done enough.
pub(super) struct Trial {
    pub(super) program: &'static [u8],
    /// It ends after so many writes to the port ...
    pub(super) reports: usize,
    /// ... or when it has run so long.
    pub(super) limit: Duration,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Course {
    /// When each of the writes to the port came, since the vCPU was first run.
    Ran(Vec<Duration>),
    /// The guest met a fault that it should not have.
    Faulted,
    /// KVM gave up.
    Failed(EngineError),
}

/// Notes when the guest writes to the port, and ends the trial after enough of that.
struct Reports {
    began: Instant,
    enough: usize,
    times: Mutex<Vec<Duration>>,
    vcpu: OnceLock<Arc<dyn VcpuHandle>>,
}

impl IoBus for Reports {
    fn read(&self, address: u64, _: &mut [u8]) -> Result<(), Unmapped> {
        Err(Unmapped { address })
    }

    fn write(&self, address: u64, _: &[u8]) -> Result<(), Unmapped> {
        if address != PORT {
            return Err(Unmapped { address });
        }
        let mut times = lock(&self.times);
        times.push(self.began.elapsed());
        if times.len() >= self.enough {
            self.vcpu.get().inspect(|vcpu| vcpu.kick());
        }
        Ok(())
    }
}

impl Trial {
    pub(super) fn run(&self, device: &Device) -> Course {
        match self.try_run(device) {
            Ok(course) => course,
            Err(error) => Course::Failed(error),
        }
    }

    fn try_run(&self, device: &Device) -> Result<Course, EngineError> {
        let reports = Arc::new(Reports {
            began: Instant::now(),
            enough: self.reports,
            times: Mutex::default(),
            vcpu: OnceLock::new(),
        });
        let engine = Kvm::new(
            device,
            KvmConfig {
                cpus: 1,
                ram: Arc::new(memory(self.program)?),
                memory: reports.clone(),
                ports: reports.clone(),
                cpu: CpuModel::Host,
                start: Start::Long {
                    entry: CODE,
                    rsi: 0,
                    rsp: CODE,
                    page_table: PAGE_TABLES,
                    gdt: Gdt { base: 0, limit: 0 },
                },
            },
        )?;
        let mut vcpu = engine.create_vcpu(0)?;
        let handle = reports.vcpu.get_or_init(|| vcpu.handle()).clone();
        let (over, wait) = channel::<()>();
        let exit = thread::scope(|scope| {
            // Kicks until it helps: nothing that a guest does may hold up who examines.
            scope.spawn(move || {
                let mut patience = self.limit;
                while let Err(RecvTimeoutError::Timeout) = wait.recv_timeout(patience) {
                    handle.kick();
                    patience = Duration::from_millis(10);
                }
            });
            let exit = vcpu.run();
            drop(over);
            exit
        })?;
        Ok(match exit {
            Exit::System(SystemEvent::Reboot) => Course::Faulted,
            _ => Course::Ran(lock(&reports.times).clone()),
        })
    }
}

/// Memory with page tables that map the beginning of the address space to itself.
fn memory(program: &[u8]) -> Result<GuestRam, EngineError> {
    let refuse = |error: &dyn std::error::Error| EngineError::Unsupported(error.to_string());
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM)]).map_err(|error| refuse(&error))?;
    let tables = [
        (PAGE_TABLES, (PAGE_TABLES + 0x1000) | TABLE),
        (PAGE_TABLES + 0x1000, (PAGE_TABLES + 0x2000) | TABLE),
        (PAGE_TABLES + 0x2000, LARGE_PAGE),
    ];
    for (at, entry) in tables {
        ram.write_obj(entry, GuestAddress(at))
            .map_err(|error| refuse(&error))?;
    }
    ram.write_slice(program, GuestAddress(CODE))
        .map_err(|error| refuse(&error))?;
    Ok(ram)
}
