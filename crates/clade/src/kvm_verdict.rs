//! Whether this host's KVM is worth using. Finding out takes a moment, so that it is remembered until the
//! host boots again.

use std::fs;
use std::path::PathBuf;

use clade_store::Folders;
use clade_vmm::record::host_boot;

const REAL: &str = "real";
const NOT_REAL: &str = "not real";

/// Whether machines should run on KVM unless told otherwise.
pub(crate) fn is_real() -> bool {
    let Some(file) = file() else {
        return examine().unwrap_or(false);
    };
    match fs::read_to_string(&file).as_deref() {
        Ok(REAL) => return true,
        Ok(NOT_REAL) => return false,
        _ => {}
    }
    let real = examine();
    if let Some(real) = real {
        // Who cannot write it finds out again.
        let _ = fs::write(&file, if real { REAL } else { NOT_REAL });
    }
    real.unwrap_or(false)
}

/// Where it is remembered.
fn file() -> Option<PathBuf> {
    let boot = Some(host_boot()).filter(|boot| !boot.is_empty())?;
    let folder = Folders::of_user().ok()?.runtime().ok()?;
    Some(folder.join(format!("kvm-{boot}")))
}

/// `None` where there is none to examine: that may change at any time.
#[cfg(target_arch = "x86_64")]
fn examine() -> Option<bool> {
    use clade_kvm::Verdict;
    match clade_kvm::examine() {
        Verdict::Absent(_) => None,
        verdict => Some(verdict.is_real()),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn examine() -> Option<bool> {
    None
}
