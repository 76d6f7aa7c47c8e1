//! Whether this host's KVM is real.
//!
//! `/dev/kvm` may be there and yet interpret guest code, a thousand times slower than the processor,
//! and fail at what every kernel does: some hosts are virtual machines that nest KVM in software. So
//! small guests are run, for a fraction of a second in all.

mod programs;
mod trial;

use std::fmt;
use std::time::Duration;

use clade_engine::EngineError;

use crate::device::{Device, DeviceError};
use programs::{CMPXCHG16B, LOOP, SYSCALL, XSAVE, loop_instructions};
use trial::{Course, Trial};

/// A KVM that executes fewer million instructions a second than this does not let the processor
/// execute them.
const REAL_MIPS: f64 = 100.0;

/// No processor is held up so much by other programs that it seems slower than this.
const HELD_UP_MIPS: f64 = 10.0;

/// What a small guest tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it did.
    pub what: &'static str,
    /// `None` if that went well, else what went wrong.
    pub problem: Option<String>,
}

/// What was found out about a KVM that can be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How many million instructions a second a loop in kernel mode ran at; `None` if it did not run.
    pub mips: Option<f64>,
    /// What else was tried.
    pub findings: Vec<Finding>,
    /// How many vCPUs a machine can have.
    pub vcpus_max: u32,
}

/// What it comes to.
#[derive(Debug)]
pub enum Verdict {
    /// Guests run on the processor.
    Real(Report),
    /// Guests run, but not so that one wants it, or not all that they do.
    Poor(Report),
    /// There is none to use.
    Absent(DeviceError),
}

impl Verdict {
    /// Whether machines should use it unless told otherwise.
    pub fn is_real(&self) -> bool {
        matches!(self, Self::Real(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real(report) => write!(f, "real: {report}"),
            Self::Poor(report) => write!(f, "not real: {report}"),
            Self::Absent(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let speed = "million instructions a second in kernel mode";
        match self.mips {
            Some(mips) if mips < 10.0 => write!(f, "{mips:.1} {speed}")?,
            Some(mips) => write!(f, "{mips:.0} {speed}")?,
            None => write!(f, "a guest's first loop does not end")?,
        }
        for finding in &self.findings {
            if let Some(problem) = &finding.problem {
                write!(f, "; {} fails: {problem}", finding.what)?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn is_real(&self) -> bool {
        let well = self
            .findings
            .iter()
            .all(|finding| finding.problem.is_none());
        well && self.mips.is_some_and(|mips| mips >= REAL_MIPS)
    }
}

/// Opens this host's KVM and tries it. Takes a tenth of a second, more where KVM is poor or the host busy,
/// and two seconds at the very most.
pub fn examine() -> Verdict {
    match Device::open() {
        Ok(device) => examine_device(&device),
        Err(error) => Verdict::Absent(error),
    }
}

/// Tries a KVM that is open. As long as [`examine`] takes.
pub fn examine_device(device: &Device) -> Verdict {
    let attempts = [
        ("cmpxchg16b", CMPXCHG16B),
        ("xsave or xrstor", XSAVE),
        ("syscall or sysret", SYSCALL),
    ];
    let report = Report {
        mips: best_speed(device),
        findings: attempts
            .map(|(what, program)| attempt(device, what, program))
            .into(),
        vcpus_max: device.vcpus_max(),
    };
    match report.is_real() {
        true => Verdict::Real(report),
        false => Verdict::Poor(report),
    }
}

/// A busy host may have held up the first try.
fn best_speed(device: &Device) -> Option<f64> {
    let first = speed(device);
    match first {
        Some(mips) if !(HELD_UP_MIPS..REAL_MIPS).contains(&mips) => first,
        _ => speed(device).into_iter().chain(first).reduce(f64::max),
    }
}

/// Times the longest round of the loop that was finished: a guest's beginning is slow everywhere.
fn speed(device: &Device) -> Option<f64> {
    let trial = Trial {
        program: LOOP,
        reports: 15,
        limit: Duration::from_millis(200),
    };
    let Course::Ran(times) = trial.run(device) else {
        return None;
    };
    let index = times.len().checked_sub(1)?;
    let before = index
        .checked_sub(1)
        .map_or(Duration::ZERO, |index| times[index]);
    let seconds = (times[index] - before).as_secs_f64();
    (seconds > 0.0).then(|| loop_instructions(index) as f64 / seconds / 1e6)
}

fn attempt(device: &Device, what: &'static str, program: &'static [u8]) -> Finding {
    let run = |limit| {
        let trial = Trial {
            program,
            reports: 1,
            limit,
        };
        trial.run(device)
    };
    let course = match run(Duration::from_millis(80)) {
        // Nor may a busy host pass for a poor one.
        Course::Ran(times) if times.is_empty() => run(Duration::from_millis(400)),
        course => course,
    };
    let problem = match course {
        Course::Ran(times) if times.is_empty() => Some("it does not end".to_owned()),
        Course::Ran(_) => None,
        Course::Faulted => Some("it faults".to_owned()),
        Course::Failed(EngineError::Stopped { reason, .. }) => Some(reason),
        Course::Failed(error) => Some(error.to_string()),
    };
    Finding { what, problem }
}
