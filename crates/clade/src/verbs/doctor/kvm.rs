//! Whether KVM really runs guests here, and if not, why.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::Check;

const WHAT: &str = "KVM";
const DEVICE: &str = "/dev/kvm";

/// An examination takes far less.
const PATIENCE: Duration = Duration::from_secs(5);

/// Said of every lack: it is one of speed only.
const STILL: &str = "machines run all the same, by emulation";

pub(super) fn check() -> Check {
    if !cfg!(target_arch = "x86_64") {
        let arch = std::env::consts::ARCH;
        let finding = format!("not used: Clade's KVM engine is for x86-64 hosts, this is {arch}");
        return Check::good(WHAT, format!("{finding}; {STILL}"));
    }
    match File::options().read(true).write(true).open(DEVICE) {
        Ok(device) => drop(device),
        Err(error) => return cannot_open(&error),
    }
    match answer_in_time(try_it) {
        Ok(finding) => Check::good(WHAT, finding),
        Err(problem) => Check::lacking(
            WHAT,
            format!("{DEVICE} is there, but not real: {problem}; {STILL}"),
            "if this host is itself a virtual machine, switch on nested virtualization for it \
             (on a KVM host: `modprobe kvm_intel nested=1` or `modprobe kvm_amd nested=1`, and a \
             CPU model of `host`)\n`sudo dmesg | grep -i kvm` says more",
        ),
    }
}

/// What small guests find there, or what is wrong with it.
#[cfg(target_arch = "x86_64")]
fn try_it() -> Result<String, String> {
    use clade_kvm::Verdict;

    match clade_kvm::examine() {
        Verdict::Real(report) => Ok(format!(
            "{DEVICE} is real: {report}; up to {} vCPUs",
            report.vcpus_max
        )),
        Verdict::Poor(report) => Err(report.to_string()),
        Verdict::Absent(error) => Err(error.to_string()),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn try_it() -> Result<String, String> {
    Err("this is no x86-64 host".to_owned())
}

fn cannot_open(error: &io::Error) -> Check {
    match error.kind() {
        ErrorKind::NotFound => no_device(),
        ErrorKind::PermissionDenied => no_permission(),
        _ => Check::lacking(
            WHAT,
            format!("{DEVICE} cannot be opened: {error}; {STILL}"),
            "`sudo dmesg | grep -i kvm` says why",
        ),
    }
}

fn no_device() -> Check {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag| cpuinfo.split_ascii_whitespace().any(|word| word == flag);
    let module = if has("vmx") {
        "kvm_intel"
    } else if has("svm") {
        "kvm_amd"
    } else {
        return Check::lacking(
            WHAT,
            format!("no {DEVICE}: the processor offers no virtualization; {STILL}"),
            "switch on VT-x or AMD-V in the firmware's set-up, or nested virtualization if this \
             host is itself a virtual machine",
        );
    };
    Check::lacking(
        WHAT,
        format!("no {DEVICE}: its module is not loaded; {STILL}"),
        format!("sudo modprobe {module}"),
    )
}

fn no_permission() -> Check {
    let group = fs::metadata(DEVICE)
        .ok()
        .filter(|meta| meta.gid() != 0 && meta.mode() & 0o060 == 0o060)
        .and_then(|meta| group_name(Path::new("/etc/group"), meta.gid()));
    let (finding, remedy) = match group {
        Some(group) => (
            format!("no permission for {DEVICE}: it is for the group '{group}'"),
            format!("sudo usermod -aG {group} \"$USER\", then log in again"),
        ),
        None => (
            format!("no permission for {DEVICE}: it is for root alone"),
            format!("sudo setfacl -m \"u:$USER:rw\" {DEVICE} (until the next boot)"),
        ),
    };
    Check::lacking(WHAT, format!("{finding}; {STILL}"), remedy)
}

fn group_name(groups: &Path, gid: u32) -> Option<String> {
    let text = fs::read_to_string(groups).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

/// A broken virtual CPU may never stop.
fn answer_in_time(probe: fn() -> Result<String, String>) -> Result<String, String> {
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || answer.send(probe()));
    answered.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        Err(format!(
            "a virtual CPU did not answer in {} s",
            PATIENCE.as_secs()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_number() {
        let file = tempfile::NamedTempFile::new().expect("file");
        fs::write(file.path(), "root:x:0:\nkvm:x:104:me\nodd line\n").expect("write");
        assert_eq!(group_name(file.path(), 104).as_deref(), Some("kvm"));
        assert_eq!(group_name(file.path(), 105), None);
    }

    /// Whatever this host is like, the answer must be one of the two, with a remedy for a lack.
    #[test]
    fn an_answer_comes_with_its_remedy() {
        let check = check();
        assert_eq!(
            check.remedy.is_none(),
            check.verdict == super::super::Verdict::Good,
            "{check:?}"
        );
    }
}
