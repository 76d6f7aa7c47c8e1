//! What this host has, and what it can therefore carry.

use std::fs;
use std::io;
use std::thread;

use crate::Error;

/// The most virtual CPUs that any board has, on any host.
pub const MAX_CPUS: u32 = 512;

/// The least memory in which a stock kernel starts, in bytes.
pub const MIN_MEMORY: u64 = 64 << 20;

/// More virtual than logical CPUs than this only get in each other's way.
const CPUS_PER_LOGICAL: u32 = 8;

/// What this host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The processor's name.
    pub cpu_model: String,
    /// Logical CPUs that this process may use.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Memory that new programs can have without swapping, in bytes.
    pub memory_available: u64,
}

impl Host {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn of_this_machine() -> io::Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let field = |name| {
            meminfo_field(&meminfo, name).ok_or_else(|| io::Error::other("/proc/meminfo is odd"))
        };
        Ok(Self {
            cpu_model: cpu_model(&cpuinfo)
                .unwrap_or("an unnamed processor")
                .to_owned(),
            cpus: u32::try_from(thread::available_parallelism()?.get()).unwrap_or(u32::MAX),
            memory: field("MemTotal:")?,
            memory_available: field("MemAvailable:")?,
        })
    }

    /// The most virtual CPUs of one machine that this host carries.
    pub fn most_cpus(&self) -> u32 {
        self.cpus.saturating_mul(CPUS_PER_LOGICAL).min(MAX_CPUS)
    }

    /// Whether this host can carry a machine of this size.
    ///
    /// # Errors
    /// [`Error::Cpus`] and [`Error::Memory`], each with the range that it can.
    pub fn check(&self, cpus: u32, memory: u64) -> Result<(), Error> {
        let most = self.most_cpus();
        let problem = match cpus {
            0 => Some("not enough to run anything".to_owned()),
            _ if cpus > MAX_CPUS => Some(format!("more than the board's {MAX_CPUS}")),
            _ if cpus > most => Some(format!(
                "more than this host can carry: it has {}, and Clade allows {CPUS_PER_LOGICAL} for \
                 each",
                self.cpus
            )),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(Error::Cpus {
                cpus,
                problem,
                most,
            });
        }
        if memory < MIN_MEMORY {
            return Err(Error::Memory {
                problem: format!("{memory} bytes of memory are too little to start a kernel in"),
                remedy: "Give `--memory` at least 64M.".to_owned(),
            });
        }
        if memory > self.memory {
            return Err(Error::Memory {
                problem: format!(
                    "{} MiB of memory are more than this host has ({} MiB)",
                    memory >> 20,
                    self.memory >> 20
                ),
                remedy: format!("Give `--memory` at most {}M.", self.memory >> 20),
            });
        }
        Ok(())
    }
}

fn meminfo_field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    // x86 says "model name", RISC-V "uarch", POWER and others "cpu".
    ["model name", "uarch", "cpu"].into_iter().find_map(|key| {
        cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then_some(value.trim())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            cpu_model: "x".into(),
            cpus: 2,
            memory: 8 << 30,
            memory_available: 4 << 30,
        }
    }

    #[test]
    fn limits_are_inclusive_and_named() {
        let host = host();
        for (cpus, memory) in [(1, MIN_MEMORY), (16, 8 << 30)] {
            assert!(
                host.check(cpus, memory).is_ok(),
                "{cpus} CPUs, {memory} bytes"
            );
        }
        let text = |cpus, memory| host.check(cpus, memory).expect_err("refused").to_string();
        assert!(text(0, 1 << 30).contains("from 1 to 16"));
        assert!(text(17, 1 << 30).contains("it has 2"));
        assert!(text(513, 1 << 30).contains("board's 512"));
        assert!(text(1, MIN_MEMORY - 1).contains("at least 64M"));
        assert!(text(1, (8 << 30) + 1).contains("at most 8192M"));
    }

    #[test]
    fn a_large_host_is_limited_by_the_board() {
        assert_eq!(
            Host {
                cpus: 256,
                ..host()
            }
            .most_cpus(),
            512
        );
        assert_eq!(
            Host {
                cpus: u32::MAX,
                ..host()
            }
            .most_cpus(),
            512
        );
    }

    #[test]
    fn proc_files_are_understood() {
        assert_eq!(
            meminfo_field("MemTotal:       16 kB\nMemFree: 1 kB\n", "MemTotal:"),
            Some(16384)
        );
        assert_eq!(meminfo_field("MemTotal: lots\n", "MemTotal:"), None);
        assert_eq!(
            cpu_model("processor\t: 0\nmodel name\t: Fast One\n"),
            Some("Fast One")
        );
        assert!(Host::of_this_machine().is_ok_and(|host| host.cpus > 0 && host.memory > 0));
    }
}
