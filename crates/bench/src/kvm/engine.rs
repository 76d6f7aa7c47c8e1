//! The guest on Clade's KVM engine, with devices on buses as a machine has them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use clade_devices::{Bus, BusBuilder};
use clade_engine::{Engine, EngineError, GuestRam, IoDevice, VcpuHandle, VcpuState};
use clade_kvm::{CpuModel, Device, Kvm, KvmConfig, Start};
use vm_memory::{Bytes, GuestAddress};

use super::rom::{ADDRESS, BEGINNING, PHASES, PORT, REPORTS, SIZE};

/// Nothing but an answer.
struct Silent;

impl IoDevice for Silent {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, _: u64, _: &[u8]) {}
}

/// Notes when each report comes, and ends the run with the last.
#[derive(Default)]
struct Reports {
    times: Mutex<Vec<(u8, Instant)>>,
    vcpu: OnceLock<Arc<dyn VcpuHandle>>,
}

impl IoDevice for Reports {
    fn read(&self, _: u64, _: &mut [u8]) {}

    fn write(&self, _: u64, data: &[u8]) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.push((data[0], Instant::now()));
        if data[0] == PHASES[PHASES.len() - 1].0
            && let Some(vcpu) = self.vcpu.get()
        {
            vcpu.kick();
        }
    }
}

/// A machine that has run, and what it took.
pub(super) struct Run {
    /// From nothing to the guest's first report.
    pub(super) start: Duration,
    /// How long each phase took.
    pub(super) phases: Vec<Duration>,
    /// To save its vCPU.
    pub(super) save: Duration,
    /// To make another machine and put its vCPU into that state.
    pub(super) restore: Duration,
}

/// Runs the image once.
pub(super) fn run(device: &Device, image: &[u8]) -> Result<Run, String> {
    let told = |error: EngineError| error.to_string();
    let reports = Arc::new(Reports::default());
    let ram = ram(image)?;
    let began = Instant::now();
    let engine = machine(device, &ram, &reports)?;
    let mut vcpu = engine.create_vcpu(0).map_err(told)?;
    reports.vcpu.get_or_init(|| vcpu.handle());
    vcpu.run().map_err(told)?;
    let saving = Instant::now();
    let state = vcpu.save().map_err(told)?;
    let save = saving.elapsed();
    let times = reports.times.lock().unwrap_or_else(PoisonError::into_inner);
    let (start, phases) = phases(began, &times)?;
    Ok(Run {
        start,
        phases,
        save,
        restore: restore(device, &ram, &state)?,
    })
}

fn restore(device: &Device, ram: &Arc<GuestRam>, state: &VcpuState) -> Result<Duration, String> {
    let told = |error: EngineError| error.to_string();
    let restoring = Instant::now();
    let engine = machine(device, ram, &Arc::default())?;
    let mut vcpu = engine.create_vcpu(0).map_err(told)?;
    vcpu.restore(state).map_err(told)?;
    engine.start_clock().map_err(told)?;
    Ok(restoring.elapsed())
}

/// The time to the guest's beginning, and of each phase, from the reports.
pub(super) fn phases(
    began: Instant,
    times: &[(u8, Instant)],
) -> Result<(Duration, Vec<Duration>), String> {
    let letters = std::iter::once(BEGINNING).chain(PHASES.map(|(letter, _)| letter));
    if !letters.eq(times.iter().map(|(letter, _)| *letter)) {
        return Err(format!("the guest reported {times:?}"));
    }
    let lengths = times.windows(2).map(|pair| pair[1].1 - pair[0].1);
    Ok((times[0].1 - began, lengths.collect()))
}

fn ram(image: &[u8]) -> Result<Arc<GuestRam>, String> {
    let rom = GuestAddress((1 << 32) - SIZE as u64);
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), SIZE), (rom, SIZE)])
        .map_err(|error| error.to_string())?;
    ram.write_slice(image, rom)
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(ram))
}

fn machine(device: &Device, ram: &Arc<GuestRam>, reports: &Arc<Reports>) -> Result<Kvm, String> {
    let ports = bus(&[
        ("port", u64::from(PORT), Arc::new(Silent)),
        ("reports", u64::from(REPORTS), reports.clone()),
    ])?;
    let memory = bus(&[("memory", ADDRESS, Arc::new(Silent))])?;
    let config = KvmConfig {
        cpus: 1,
        ram: ram.clone(),
        memory: Arc::new(memory),
        ports: Arc::new(ports),
        cpu: CpuModel::Host,
        start: Start::Reset,
    };
    Kvm::new(device, config).map_err(|error| error.to_string())
}

fn bus(devices: &[(&'static str, u64, Arc<dyn IoDevice>)]) -> Result<Bus, String> {
    let mut bus = BusBuilder::new();
    for (name, base, device) in devices {
        bus.insert(name, *base, 8, device.clone())
            .map_err(|error| error.to_string())?;
    }
    Ok(bus.build())
}
