//! Images from this user's cache or a mirror, for tests that cannot run without.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clade_images::{Architecture, Error, Image, Request, Silent, Source, Unpacked};
use clade_vmm::spec::EngineKind;

/// Says that a test cannot run, and why.
pub(crate) fn skip(test: &str, reason: impl Display) {
    say(&format!("SKIPPED {test}: {reason}"));
}

/// Says something past the test harness's capture: what is not tested must be seen.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What was fetched, or `None`, said aloud, where there is neither cache nor network.
pub(crate) fn unless_offline<T>(test: &str, result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        // A mirror in the middle of an update contradicts itself.
        Err(error @ (Error::Network { .. } | Error::NoMirror { .. } | Error::Checksum { .. })) => {
            skip(test, error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// That of the guests.
pub(crate) fn architecture() -> Architecture {
    match super::engine().as_str() {
        "kvm" => Architecture::Amd64,
        _ => Architecture::Riscv64,
    }
}

/// What the tests' machines run on, for those that are made in the test's own process.
pub(crate) fn engine() -> EngineKind {
    match architecture() {
        Architecture::Amd64 => EngineKind::Kvm,
        Architecture::Riscv64 => EngineKind::Emulate,
    }
}

/// Debian, for the guests.
pub(crate) fn source() -> Source {
    Source {
        architecture: architecture(),
        ..Source::default()
    }
}

/// Whether the tests' machines are emulated; if not, says that this test is about the emulator alone.
pub(crate) fn is_emulated(test: &str) -> bool {
    let emulated = super::engine() == "emulate";
    if !emulated {
        skip(test, "it is about the emulator alone");
    }
    emulated
}

/// The image `mini`.
pub(crate) fn mini(test: &str) -> Option<Image> {
    let request = Request {
        name: "mini".to_owned(),
        architecture: architecture(),
        ..Request::default()
    };
    unless_offline(test, clade_images::ensure(&request, &Silent))
}

/// OpenSBI, as a file in this folder.
pub(crate) fn opensbi(test: &str, folder: &Path) -> Option<String> {
    let packages = clade_images::package_files(&["opensbi"], &Source::default(), &Silent);
    let packages = unless_offline(test, packages)?;
    let package = packages.first().expect("the package that was asked for");
    let firmware = package
        .read("usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin")
        .expect("the firmware is in its package");
    let path = folder.join("fw_dynamic.bin");
    std::fs::write(&path, firmware).expect("file");
    Some(path.to_str().expect("plain path").to_owned())
}

/// fio and its libraries, unpacked to a folder that a guest of `mini` can have as its `/usr`.
pub(crate) fn unpack_fio(test: &str, folder: &Path) -> Option<()> {
    const WITHOUT: [&str; 4] = [
        "adduser",
        "init-system-helpers",
        "openssl-provider-legacy",
        "python3",
    ];
    let packages = clade_images::package_closure(&["fio"], &WITHOUT, &source(), &Silent);
    let packages = unless_offline(test, packages)?;
    let programs = Unpacked::programs(&packages, &["fio"]).expect("intact packages");
    programs.unpack(folder).expect("room");
    Some(())
}

/// `clade` in this user's own home, so that the cache is used.
pub(crate) fn clade(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clade"));
    command
        .args(arguments)
        .env("CLADE_ENGINE", super::engine())
        .env("CLADE_COLD", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Held by a test whose guest is to be the only one: hosts are small.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
