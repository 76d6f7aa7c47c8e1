//! Whether KVM really runs a virtual CPU here, and if not, why.

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

/// One instruction takes far less.
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
    match answer_in_time(run_one_instruction) {
        Ok(()) => Check::good(WHAT, format!("{DEVICE} runs a virtual CPU")),
        Err(problem) => Check::lacking(
            WHAT,
            format!("{DEVICE} is there, but {problem}; {STILL}"),
            "if this host is itself a virtual machine, switch on nested virtualization for it \
             (on a KVM host: `modprobe kvm_intel nested=1` or `modprobe kvm_amd nested=1`, and a \
             CPU model of `host`)\n`sudo dmesg | grep -i kvm` says more",
        ),
    }
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
fn answer_in_time(probe: fn() -> Result<(), String>) -> Result<(), String> {
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || answer.send(probe()));
    answered.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        Err(format!(
            "a virtual CPU did not execute one HLT in {} s",
            PATIENCE.as_secs()
        ))
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn run_one_instruction() -> Result<(), String> {
    Err("this is no x86-64 host".to_owned())
}

/// Makes a virtual machine with one virtual CPU that executes HLT in real mode.
#[cfg(target_arch = "x86_64")]
fn run_one_instruction() -> Result<(), String> {
    use kvm_bindings::kvm_userspace_memory_region;
    use kvm_ioctls::{Kvm, VcpuExit};

    const CODE: u64 = 0x1000;
    const HLT: u8 = 0xf4;

    let failed =
        |what: &'static str| move |error: kvm_ioctls::Error| format!("{what} fails: {error}");
    let kvm = Kvm::new().map_err(failed("opening it"))?;
    let page = Box::new(Page([HLT; 4096]));
    let vm = kvm.create_vm().map_err(failed("KVM_CREATE_VM"))?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: CODE,
        memory_size: 4096,
        userspace_addr: page.0.as_ptr() as u64,
    };
    // SAFETY: the page is ours, page-aligned, and outlives `vm` and its vCPU, which are declared
    // after it and therefore dropped before it. The guest only executes what is there.
    unsafe { vm.set_user_memory_region(region) }.map_err(failed("KVM_SET_USER_MEMORY_REGION"))?;
    let mut vcpu = vm.create_vcpu(0).map_err(failed("KVM_CREATE_VCPU"))?;
    let mut special = vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?;
    special.cs.base = 0;
    special.cs.selector = 0;
    vcpu.set_sregs(&special).map_err(failed("KVM_SET_SREGS"))?;
    let mut registers = vcpu.get_regs().map_err(failed("KVM_GET_REGS"))?;
    registers.rip = CODE;
    registers.rflags = 2;
    vcpu.set_regs(&registers).map_err(failed("KVM_SET_REGS"))?;
    match vcpu.run().map_err(failed("KVM_RUN"))? {
        VcpuExit::Hlt => Ok(()),
        other => Err(format!("the virtual CPU does not run: {other:?}")),
    }
}

#[cfg(target_arch = "x86_64")]
#[repr(align(4096))]
struct Page([u8; 4096]);

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
