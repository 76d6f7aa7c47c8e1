//! The sandbox cannot be left, so each test enters it in a process of its own: this test program
//! again, running nothing but [`confined`].

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{env, thread};

use clade_devices::virtio::block::{BlockBackend, BlockOperation};
use clade_disk::{Disk, Format, create_overlay};

/// What the confined process exits with; no test harness does.
const ALL_WELL: i32 = 42;

/// Tells the confined process its folder.
const FOLDER: &str = "CLADE_TEST_SANDBOX";

#[test]
fn a_confined_process_can_do_its_work_and_nothing_else() {
    let home = tempfile::tempdir().expect("folder");
    let folder = home.path().join("machine");
    fs::create_dir(&folder).expect("folder");
    fs::write(home.path().join("kernel"), "the kernel").expect("kernel");
    fs::write(home.path().join("secret"), "the secret").expect("secret");
    let output = Command::new(env::current_exe().expect("this program"))
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "sandbox::tests::confined",
        ])
        .env(FOLDER, &folder)
        .output()
        .expect("confined process");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(ALL_WELL), "{said}");
}

/// The part that runs confined. Its own harness could not go on afterwards, so it ends the process.
#[test]
#[ignore = "confines the process that it runs in; the test above runs it in one of its own"]
fn confined() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let home = folder.parent().expect("parent").to_owned();
    let kernel = home.join("kernel");
    let sockets = home.join("run/sockets");
    fs::create_dir_all(&sockets).expect("folder");
    fs::write(sockets.join("one"), "").expect("file");
    let log = File::create(folder.join("console.log")).expect("log");
    let disk = Branched::open(&home);
    #[cfg(target_arch = "x86_64")]
    let kvm = kvm::open();
    let lacks = super::enter(&super::Permissions {
        folder: folder.clone(),
        sockets: sockets.clone(),
        readable: vec![kernel.clone()],
        disks: true,
        kvm: true,
        ..Default::default()
    });
    let landlock = !lacks.iter().any(|lack| lack.contains("file system"));
    if !landlock {
        eprintln!("partly skipped: {lacks:?}");
    }
    assert!(
        !lacks.iter().any(|lack| lack.contains("system calls")),
        "{lacks:?}"
    );
    let checks = move || {
        works(&folder, &kernel, &log);
        disk.works();
        #[cfg(target_arch = "x86_64")]
        kvm::works(kvm);
        fs::remove_dir_all(&sockets).expect("the sockets are removed");
        is_refused(&home, landlock);
    };
    // A thread that starts later is confined as this one is.
    let checked = thread::Builder::new()
        .name("later".into())
        .spawn(checks)
        .expect("thread")
        .join();
    process::exit(if checked.is_ok() { ALL_WELL } else { 1 });
}

fn works(folder: &Path, kernel: &Path, mut log: &File) {
    assert_eq!(
        fs::read_to_string(kernel).expect("the kernel is read again"),
        "the kernel"
    );
    log.write_all(b"more").expect("the log is written");
    log.set_len(0).expect("the log is emptied");
    fs::rename(folder.join("console.log"), folder.join("console.log.1")).expect("logs rotate");
    let memory = vec![1u8; 64 << 20];
    assert_eq!(
        memory.iter().map(|byte| usize::from(*byte)).sum::<usize>(),
        memory.len()
    );
    fs::remove_file(folder.join("console.log.1")).expect("files are removed");
    fs::remove_dir(folder).expect("the folder is removed");
}

#[cfg(target_arch = "x86_64")]
mod kvm {
    use std::sync::Arc;

    use clade_devices::BusBuilder;
    use clade_engine::{Engine, Exit, GuestRam, SystemEvent};
    use clade_kvm::{CpuModel, Device, Gdt, Kvm, KvmConfig, Start};
    use vm_memory::{Bytes, GuestAddress};

    pub(super) fn open() -> Option<Device> {
        let device = Device::open();
        if let Err(error) = &device {
            eprintln!("partly skipped: {error}");
        }
        device.ok()
    }

    /// A guest that is reset, and makes its process a new machine, can be run, saved and restored.
    pub(super) fn works(device: Option<Device>) {
        let Some(device) = device else { return };
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).expect("memory");
        // ud2, with nobody to handle it.
        ram.write_slice(&[0x0f, 0x0b], GuestAddress(0x1000))
            .expect("memory");
        let nothing = Arc::new(BusBuilder::new().build());
        let config = KvmConfig {
            cpus: 1,
            ram: Arc::new(ram),
            memory: nothing.clone(),
            ports: nothing,
            cpu: CpuModel::Host,
            start: Start::Protected {
                entry: 0x1000,
                ebx: 0,
                gdt: Gdt { base: 0, limit: 0 },
            },
        };
        let kvm = Kvm::new(&device, config).expect("a virtual machine");
        let mut vcpu = kvm.create_vcpu(0).expect("a vCPU");
        let (chips, state) = (kvm.save_chips(), vcpu.save());
        kvm.restore_chips(&chips.expect("saved")).expect("restored");
        vcpu.restore(&state.expect("saved")).expect("restored");
        kvm.start_clock().expect("time passes");
        let exit = vcpu.run().expect("it runs");
        assert_eq!(exit, Exit::System(SystemEvent::Reboot));
        kvm.stop_clock().expect("time stands still");
        kvm.take_dirty_pages().expect("told what it wrote");
    }
}

/// A disk, and the file that is to be its next layer, as it would come from another process.
struct Branched {
    disk: Disk,
    top: File,
    path: PathBuf,
}

impl Branched {
    fn open(home: &Path) -> Self {
        const SIZE: u64 = 1 << 20;
        let layer = |name: &str, below: &str, format| {
            let path = home.join(name);
            create_overlay(&path, Path::new(below), format, SIZE).expect("layer");
            path
        };
        let image = File::create(home.join("image.raw")).expect("image");
        image.set_len(SIZE).expect("size");
        let old = layer("old.qcow2", "image.raw", Format::Raw);
        let path = layer("new.qcow2", "old.qcow2", Format::Qcow2);
        let mut options = File::options();
        Self {
            disk: clade_disk::open(&old, Format::Qcow2, false).expect("disk"),
            top: options.read(true).write(true).open(&path).expect("layer"),
            path,
        }
    }

    fn works(self) {
        let mut disk = self.disk;
        change(&mut disk);
        disk.branch(self.top, &self.path).expect("branched");
        disk.settle().expect("settled");
        change(&mut disk);
    }
}

/// Writes to a disk, which allocates, and flushes it.
fn change(disk: &mut Disk) {
    let zeroes = BlockOperation::WriteZeroes {
        offset: 0,
        length: 4096,
        unmap: false,
        durable: true,
    };
    disk.begin(0, zeroes);
    let (_, result) = disk.completed().expect("complete at once");
    result.expect("written");
}

fn is_refused(home: &Path, landlock: bool) {
    let mut refused = vec![
        ("writing a file", File::create(home.join("new")).map(drop)),
        ("making a folder", fs::create_dir(home.join("new"))),
        (
            "running a program",
            Command::new("/bin/true").spawn().map(drop),
        ),
        ("listening", TcpListener::bind("127.0.0.1:0").map(drop)),
        (
            "asking a device that is not KVM",
            File::open(home.join("kernel"))
                .and_then(|kernel| Ok(rustix::io::ioctl_fionread(kernel)?))
                .map(drop),
        ),
        ("making sockets", UnixStream::pair().map(drop)),
        ("connecting", TcpStream::connect("127.0.0.1:9").map(drop)),
        (
            "changing a mode",
            File::open(home.join("kernel"))
                .and_then(|kernel| kernel.set_permissions(kernel.metadata()?.permissions())),
        ),
    ];
    if landlock {
        let read = |path: &Path| {
            File::open(path)
                .and_then(|mut file| file.read_to_string(&mut String::new()))
                .map(drop)
        };
        refused.extend([
            ("reading /etc/passwd", read(Path::new("/etc/passwd"))),
            ("reading another file", read(&home.join("secret"))),
            (
                "removing another file",
                fs::remove_file(home.join("secret")),
            ),
            ("listing a folder", fs::read_dir(home).map(drop)),
        ]);
    }
    for (what, result) in refused {
        let kind = result.expect_err(what).kind();
        assert_eq!(kind, ErrorKind::PermissionDenied, "{what}");
    }
}
