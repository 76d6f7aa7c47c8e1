//! The PC with small guests of our own, on any `/dev/kvm`.

#![cfg(target_arch = "x86_64")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use clade_devices::ConsoleHost;
use clade_store::FileName;
use clade_store::snapshots::{CODE_CACHE, MEMORY_INDEX, STATE};
use clade_vmm::backends::{BackendError, Backends};
use clade_vmm::machine::{Ended, Machine, MemoryFiles, SnapshotFiles};
use clade_vmm::saved::Saved;
use clade_vmm::spec::{EngineKind, MachineConfig, MachineSpec};
use tempfile::TempDir;

/// Prints the kernel's command line on the serial port.
const PRINT: &[u8] = &[
    0x8b, 0xb6, 0x28, 0x02, 0x00, 0x00, // mov esi, [rsi + 0x228]
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0x8a, 0x06, // next: mov al, [rsi]
    0x84, 0xc0, // test al, al
    0x74, 0x06, // jz end
    0xee, // out dx, al
    0x48, 0xff, 0xc6, // inc rsi
    0xeb, 0xf4, // jmp next
];

/// The same of a guest that PVH starts, in 32-bit mode.
const PRINT_BY_PVH: &[u8] = &[
    0x8b, 0x73, 0x18, // mov esi, [ebx + 24]
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0x8a, 0x06, // next: mov al, [esi]
    0x84, 0xc0, // test al, al
    0x74, 0x04, // jz end
    0xee, // out dx, al
    0x46, // inc esi
    0xeb, 0xf6, // jmp next
];

/// Waits for a key, and prints it.
const ECHO: &[u8] = &[
    0x66, 0xba, 0xfd, 0x03, // again: mov dx, 0x3fd
    0xec, // in al, dx
    0xa8, 0x01, // test al, 1
    0x74, 0xf7, // jz again
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xec, // in al, dx
    0xee, // out dx, al
];

/// ACPI's sleep control register: S5.
const POWER_OFF: &[u8] = &[0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee];
/// ACPI's reset register.
const RESET: &[u8] = &[0x66, 0xba, 0x02, 0x06, 0xb0, 0x01, 0xee];
/// The keyboard controller.
const RESET_BY_KEYBOARD: &[u8] = &[0xb0, 0xfe, 0xe6, 0x64];
/// The entry of a PC's firmware.
const RESET_BY_FIRMWARE: &[u8] = &[
    0xbf, 0xf0, 0xff, 0x0f, 0x00, // mov edi, 0xffff0
    0xff, 0xe7, // jmp rdi
];
/// The test finisher: failure 42.
const FAIL: &[u8] = &[
    0xbf, 0x00, 0x00, 0x00, 0xfe, // mov edi, 0xfe000000
    0xc7, 0x07, 0x33, 0x33, 0x2a, 0x00, // mov dword [rdi], 0x2a3333
];
/// An invalid instruction, and nobody to handle it.
const TRIPLE_FAULT: &[u8] = &[0x0f, 0x0b];
/// hlt, over and over.
const HALT: &[u8] = &[0xf4, 0xeb, 0xfd];

/// What a guest printed.
#[derive(Default)]
struct Screen {
    text: Mutex<String>,
    changed: Condvar,
}

impl Screen {
    fn wait_for(&self, words: &str) {
        let text = self.text.lock().expect("lock");
        let (text, _) = (self.changed)
            .wait_timeout_while(text, Duration::from_secs(60), |text| !text.contains(words))
            .expect("lock");
        assert!(text.contains(words), "{text}");
    }

    fn text(&self) -> String {
        self.text.lock().expect("lock").clone()
    }
}

impl ConsoleHost for Screen {
    fn output(&self, bytes: &[u8]) {
        let mut text = self.text.lock().expect("lock");
        text.push_str(&String::from_utf8_lossy(bytes));
        self.changed.notify_all();
    }

    fn input_room(&self) {}
}

/// Where guests begin.
const START: u64 = 0x10_0000;

/// The note by which an ELF file asks for PVH.
const NOTE: [&[u8]; 4] = [
    &[4, 0, 0, 0, 4, 0, 0, 0],
    &[18, 0, 0, 0],
    b"Xen\0",
    &(START as u32).to_le_bytes(),
];

/// An ELF file of one segment at 1 MiB (ELF-64 Object File Format 1.5), and `note` behind it.
fn elf(code: &[u8], note: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 2 * 56;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let mut put = |bytes: &[u8]| file.extend(bytes);
    put(&[2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [START, 64, 0] {
        put(&word.to_le_bytes());
    }
    for half in [0u16, 0, 64, 56, 2, 0, 0, 0] {
        put(&half.to_le_bytes());
    }
    put(&[1, 0, 0, 0, 7, 0, 0, 0]);
    let size = code.len() as u64;
    for word in [HEADERS, START, START, size, size, 0x1000] {
        put(&word.to_le_bytes());
    }
    put(&[4, 0, 0, 0, 4, 0, 0, 0]);
    let length = note.len() as u64;
    for word in [HEADERS + size, 0, 0, length, length, 4] {
        put(&word.to_le_bytes());
    }
    put(code);
    put(note);
    file
}

/// A machine that runs `code`.
struct Guest {
    folder: TempDir,
    config: MachineConfig,
    backends: Backends,
    screen: Arc<Screen>,
}

impl Guest {
    /// None where there is no KVM.
    fn new(code: &[&[u8]]) -> Option<Self> {
        Self::of(&elf(&code.concat(), &[]))
    }

    fn of(file: &[u8]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("folder");
        let kernel: PathBuf = folder.path().join("kernel");
        fs::write(&kernel, file).expect("kernel");
        let config = MachineConfig {
            engine: EngineKind::Kvm,
            cpus: 2,
            memory: 64 << 20,
            kernel: Some(kernel),
            cmdline: "Here I am.".to_owned(),
            ..MachineConfig::default()
        };
        let spec = MachineSpec {
            id: "0123456789ab".to_owned(),
            name: "pc".to_owned(),
            image: None,
            created: 0,
            temporary: false,
            origin: None,
            mac: None,
            unsettled: None,
            config: config.clone(),
        };
        let backends = match Backends::open(&spec, folder.path()) {
            Err(BackendError::Kvm(error)) => {
                println!("SKIPPED: {error}");
                return None;
            }
            backends => backends.expect("the host's side"),
        };
        Some(Self {
            folder,
            config,
            backends,
            screen: Arc::default(),
        })
    }

    fn build(&self) -> Machine {
        Machine::build(&self.config, &self.backends, self.screen.clone()).expect("built")
    }

    fn run(&self) -> Ended {
        self.build().run().expect("it runs").how
    }
}

/// How a guest ends that prints its command line and does `code`.
fn ends(code: &[u8]) -> Option<Ended> {
    let guest = Guest::new(&[PRINT, code, HALT])?;
    let how = guest.run();
    assert_eq!(guest.screen.text(), "Here I am.");
    Some(how)
}

#[test]
fn a_guest_is_told_its_command_line_and_ends_as_it_likes() {
    for (code, how) in [
        (POWER_OFF, Ended::PowerOff),
        (RESET, Ended::Reboot),
        (RESET_BY_KEYBOARD, Ended::Reboot),
        (RESET_BY_FIRMWARE, Ended::Reboot),
        (FAIL, Ended::Failed(42)),
        (TRIPLE_FAULT, Ended::Reboot),
    ] {
        match ends(code) {
            Some(ended) => assert_eq!(ended, how),
            None => return,
        }
    }
}

#[test]
fn a_guest_with_a_note_starts_by_pvh() {
    let code = [PRINT_BY_PVH, POWER_OFF, HALT].concat();
    let Some(guest) = Guest::of(&elf(&code, &NOTE.concat())) else {
        return;
    };
    assert_eq!(guest.run(), Ended::PowerOff);
    assert_eq!(guest.screen.text(), "Here I am.");
}

#[test]
fn a_guest_that_sleeps_is_stopped() {
    let Some(guest) = Guest::new(&[PRINT, HALT]) else {
        return;
    };
    let machine = guest.build();
    let handle = machine.handle();
    let running = thread::spawn(move || machine.run().expect("it runs").how);
    guest.screen.wait_for("Here I am.");
    handle.stop();
    assert_eq!(running.join().expect("ended"), Ended::Stopped);
}

/// Keeps the machine in `folder`.
fn snapshot(machine: &clade_vmm::machine::MachineHandle, folder: &Path) {
    let file = |name: &str| File::create_new(folder.join(name)).expect("file");
    let files = SnapshotFiles {
        memory: Some(MemoryFiles {
            layer: file("one.mem"),
            name: FileName::new("one.mem").expect("a name"),
            index: file(MEMORY_INDEX),
            state: file(STATE),
            code_cache: file(CODE_CACHE),
            has_code_cache: false,
            layers: Vec::new(),
            guest_ready: false,
        }),
        tops: Vec::new(),
    };
    let taken = machine.snapshot(files, &mut Vec::new(), &mut |_| ());
    assert!(taken.expect("kept").pages > 0);
}

#[test]
fn a_machine_goes_on_from_where_it_was_kept_as_often_as_wanted() {
    let Some(guest) = Guest::new(&[PRINT, ECHO, POWER_OFF, HALT]) else {
        return;
    };
    let machine = guest.build();
    let handle = machine.handle();
    let running = thread::spawn(move || machine.run().expect("it runs").how);
    guest.screen.wait_for("Here I am.");
    snapshot(&handle, guest.folder.path());
    handle.stop();
    assert_eq!(running.join().expect("ended"), Ended::Stopped);

    for key in ["x", "y"] {
        let Saved { state, memory } = Saved::open(guest.folder.path()).expect("kept");
        let screen = Arc::new(Screen::default());
        let machine = Machine::restore(
            &guest.config,
            &guest.backends,
            screen.clone(),
            &state.machine,
            &memory,
        );
        let machine = machine.expect("restored");
        let handle = machine.handle();
        handle.renew_generation([7; 16]);
        let running = thread::spawn(move || machine.run().expect("it runs").how);
        assert_eq!(handle.console().input(key.as_bytes()), 1);
        assert_eq!(running.join().expect("ended"), Ended::PowerOff);
        assert_eq!(screen.text(), key);
    }
}

#[test]
fn a_state_of_another_machine_is_refused() {
    let Some(guest) = Guest::new(&[PRINT, ECHO]) else {
        return;
    };
    let machine = guest.build();
    let handle = machine.handle();
    let running = thread::spawn(move || machine.run());
    guest.screen.wait_for("Here I am.");
    snapshot(&handle, guest.folder.path());
    handle.stop();
    running.join().expect("ended").expect("it runs");
    let Saved { state, memory } = Saved::open(guest.folder.path()).expect("kept");
    let other = |change: fn(&mut MachineConfig)| {
        let mut config = guest.config.clone();
        change(&mut config);
        let (screen, backends) = (guest.screen.clone(), &guest.backends);
        let restored = Machine::restore(&config, backends, screen, &state.machine, &memory);
        restored.err().expect("refused").to_string()
    };
    let said = other(|config| config.cpus = 3);
    assert!(said.contains("2 vCPUs"), "{said}");
    let said = other(|config| config.engine = EngineKind::Emulate);
    assert!(said.contains("saved memory"), "{said}");
}
