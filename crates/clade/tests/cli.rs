//! Every bad input: exit status 125, a clear text on standard error, nothing on standard output,
//! and nothing left behind.

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use common::guest::{Guest, elf};
use common::{Finished, Home};

fn assert_refused(home: &Home, arguments: &[&str], texts: &[&str]) -> Finished {
    let finished = home.run(arguments);
    assert_eq!(finished.code, Some(125), "{arguments:?}: {finished:?}");
    assert!(finished.stdout.is_empty(), "{arguments:?}: {finished:?}");
    for text in texts {
        assert!(
            finished.stderr.contains(text),
            "{arguments:?}: no {text:?} in {finished:?}"
        );
    }
    assert!(
        home.machines().is_empty(),
        "{arguments:?} left {:?}",
        home.machines()
    );
    finished
}

#[test]
fn wrong_command_lines() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().power_off());
    let kernel = kernel.as_str();
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["Usage: clade"]),
        (&["fly"], &["fly"]),
        (&["run", "--fast"], &["--fast"]),
        (
            &["run", "mini", "--kernel", kernel],
            &["cannot be used with", "--kernel"],
        ),
        (&["run", "--initrd", kernel], &["--kernel"]),
        (
            &["run", "--kernel", kernel, "--mirror", "http://127.0.0.1"],
            &["--mirror"],
        ),
        (
            &["run", "--kernel", kernel, "--memory", "lots"],
            &["lots", "512M"],
        ),
        (&["run", "--kernel", kernel, "--memory", "-1"], &["-1"]),
        (&["run", "--kernel", kernel, "--cpus", "two"], &["two"]),
        (
            &["run", "--kernel", kernel, "--tier", "fast"],
            &["fast", "auto, interpreter, translator"],
        ),
        (
            &["run", "--firmware", "edk2", "--kernel", kernel],
            &[
                "edk2 boots what is on a disk",
                "--kernel",
                "--firmware FILE",
            ],
        ),
        (
            &["run", "--firmware", "edk2", "mini"],
            &["would not look at an image"],
        ),
        (
            &["run", "--firmware", "edk2", "--cmdline", "quiet"],
            &["would not look at --cmdline"],
        ),
        (
            &["run", "--firmware", kernel, "--user-data", kernel],
            &["--user-data", "edk2"],
        ),
        (&["console"], &["MACHINE"]),
        (&["stop"], &["MACHINE"]),
    ];
    for (arguments, texts) in cases {
        assert_refused(&home, arguments, texts);
    }
}

#[test]
fn help_and_version_are_no_failures() {
    let home = Home::new();
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let finished = home.run(arguments);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stdout().contains("clade"), "{finished:?}");
        assert!(finished.stderr.is_empty(), "{finished:?}");
    }
}

#[test]
fn more_than_the_host_has() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().power_off());
    for (option, value, text) in [
        ("--cpus", "0", "from 1 to"),
        ("--cpus", "100000", "from 1 to"),
        ("--memory", "63M", "at least 64M"),
        ("--memory", "0", "at least 64M"),
        ("--memory", "4000T", "at most"),
    ] {
        assert_refused(&home, &["run", "--kernel", &kernel, option, value], &[text]);
    }
}

#[test]
fn names_that_cannot_be() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().power_off());
    for name in ["", "../up", "a b", ".hidden", &"x".repeat(64)] {
        let name = format!("--name={name}");
        assert_refused(
            &home,
            &["run", "--kernel", &kernel, &name],
            &["is no name for a machine"],
        );
    }
}

#[test]
fn kernels_that_are_none() {
    let home = Home::new();
    let mut bzimage = vec![0; 4096];
    bzimage[0x1fe..0x206].copy_from_slice(b"\x55\xaa\xeb\x66HdrS");
    let mut huge = vec![0; 4096];
    huge[0x10..0x18].copy_from_slice(&(1u64 << 40).to_le_bytes());
    huge[0x20..0x24].copy_from_slice(&2u32.to_le_bytes());
    huge[0x30..0x38].copy_from_slice(b"RISCV\0\0\0");
    huge[0x38..0x3c].copy_from_slice(b"RSC\x05");
    let whole = Guest::new().print("a longer program").power_off().elf();
    let missing = home.path("none").display().to_string();
    let folder = home.path("cache").display().to_string();
    for (what, kernel, text) in [
        ("missing", missing, "none"),
        ("a folder", folder, "cache"),
        ("empty", home.file("empty", b""), "empty"),
        (
            "text",
            home.file("text", b"#!/bin/sh\necho no kernel\n"),
            "text",
        ),
        ("for x86", home.file("bzimage", &bzimage), "x86"),
        (
            "for AArch64",
            home.file("aarch64", &elf(183, 0x8020_0000, &[0; 64])),
            "aarch64",
        ),
        (
            "truncated",
            home.file("truncated", &whole[..whole.len() - 20]),
            "truncated",
        ),
        ("huge", home.file("huge", &huge), "memory"),
    ] {
        let finished = assert_refused(&home, &["run", "--kernel", &kernel], &["clade:"]);
        let said = finished.stderr.to_lowercase();
        assert!(said.contains(text), "{what}: no {text:?} in {finished:?}");
    }
}

#[test]
fn an_initrd_that_is_missing_or_larger_than_memory() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().power_off());
    let none = home.path("none").display().to_string();
    assert_refused(
        &home,
        &["run", "--kernel", &kernel, "--initrd", &none],
        &["none"],
    );
    let large = home.path("large");
    fs::File::create(&large)
        .and_then(|file| file.set_len(1 << 30))
        .expect("sparse file");
    let large = large.display().to_string();
    let arguments = [
        "run", "--kernel", &kernel, "--initrd", &large, "--memory", "64M",
    ];
    assert_refused(&home, &arguments, &["large", "memory"]);
}

#[test]
fn images_that_cannot_be_had() {
    let home = Home::new();
    assert_refused(&home, &["run", "maxi"], &["docker.io/library/maxi"]);
    assert_refused(&home, &["pull", "maxi"], &["docker.io/library/maxi"]);
    for (absent, whole) in [
        ("maxi", "docker.io/library/maxi:latest"),
        ("mini", "mini:trixie"),
        ("debian:sid", "debian:sid"),
    ] {
        assert_refused(&home, &["rmi", absent], &[whole, "clade images"]);
    }
    assert_refused(
        &home,
        &["run", "mini", "--mirror", "ftp://127.0.0.1/"],
        &["ftp://127.0.0.1"],
    );
    // A port on which nobody listens any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("port")
        .port();
    let mirror = format!("http://127.0.0.1:{port}/debian");
    assert_refused(
        &home,
        &["run", "mini", "--mirror", &mirror],
        &["127.0.0.1", "--mirror"],
    );
}

#[test]
fn machines_that_are_not_there() {
    let home = Home::new();
    for verb in [
        "console", "inspect", "kill", "logs", "restart", "rm", "start", "stop", "wait",
    ] {
        let texts = ["no machine is called 'ghost'", "clade run"];
        assert_refused(&home, &[verb, "ghost"], &texts);
    }
}

#[test]
fn a_runtime_folder_that_others_can_enter() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().power_off());
    let folder = home.path("run/clade");
    fs::create_dir(&folder).expect("folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("mode");
    assert_refused(
        &home,
        &["run", "--kernel", &kernel],
        &["not safe", "XDG_RUNTIME_DIR"],
    );
}

#[test]
fn doctor_answers_in_text_and_json() {
    let home = Home::new();
    let text = home.run(&["doctor"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for word in [
        "processor",
        "memory",
        "translator",
        "KVM",
        "runtime",
        "cache",
        "machines",
        "mirror",
    ] {
        assert!(text.stdout().contains(word), "{text:?}");
    }
    let json = home.run(&["doctor", "--json"]);
    let checks: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    for check in checks.as_array().expect("an array") {
        let good = check["verdict"] == "good";
        assert_eq!(
            good,
            check["remedy"].is_null(),
            "a lack has a remedy: {check}"
        );
    }
}

#[test]
fn lists_of_nothing() {
    let home = Home::new();
    assert_eq!(home.run(&["ps", "--json"]).stdout(), "[]\n");
    assert_eq!(home.run(&["ps", "-aq"]).stdout(), "");
    assert!(home.run(&["ps"]).stdout().starts_with("NAME"));
    assert!(home.run(&["images"]).stdout().contains("mini"));
    let images = home.run(&["images", "--json"]);
    let images: serde_json::Value = serde_json::from_slice(&images.stdout).expect("JSON");
    assert_eq!(images[0]["cached"], false);
}
