//! OCI images: from Debian's registry on this host, and from a folder, to a process in a machine.
//!
//! The images are made here, of Debian's busybox. What a host lacks is said, and the tests pass.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use clade_images::Architecture;
use serde_json::json;

use common::images::{architecture, skip};
use common::oci_image::{Image, busybox, digest, home, image, write_layout};
use common::registry::Registry;
use common::{Finished, Home, timeout, wait_until};

/// Debian's registry with an image in it.
fn registry(test: &str, home: &Home, image: &Image, accounts: Option<&str>) -> Option<Registry> {
    let registry = Registry::start(test, home, accounts)?;
    registry.store(image, "test", "latest");
    Some(registry)
}

/// The image in a folder; the name by which it is run.
fn layout(home: &Home, busybox: &[u8]) -> String {
    let folder = home.path("layout");
    write_layout(&folder, &image(busybox, architecture()));
    format!("oci:{}", folder.display())
}

fn assert_lines(finished: &Finished, code: i32, expected: &[&str]) {
    let lines: Vec<_> = finished.stdout().lines().collect();
    for line in expected {
        assert!(lines.contains(line), "no {line:?} in {finished:#?}");
    }
    assert_eq!(finished.code, Some(code), "{finished:#?}");
}

#[test]
fn an_image_of_debians_registry_runs_its_process() {
    let test = "an_image_of_debians_registry_runs_its_process";
    let Some(busybox) = busybox(test) else { return };
    let (home, image) = (home(), image(&busybox, architecture()));
    let Some(registry) = registry(test, &home, &image, None) else {
        return;
    };
    let name = format!("{}/test", registry.host);
    let pulled = home.run(&["pull", &name]);
    let digest = digest(&image.manifest);
    assert_eq!(
        pulled.stdout(),
        format!("{name}:latest {digest}\n"),
        "{pulled:?}"
    );
    let listed = home.run(&["images"]);
    let short = &digest["sha256:".len()..][..12];
    assert!(
        listed.stdout().contains(&name) && listed.stdout().contains(short),
        "{listed:?}"
    );

    let own = home.run(&["run", "--rm", "-m", "256M", &name]);
    let expected = [
        "arguments: -x default",
        "uid=1000(bob) gid=1001(bob) groups=1001(bob),2000(friends)",
        "/app",
        "HOME=/home/bob",
        "GREETING=it's a  test",
        "NAME=\"Test\"",
    ];
    assert_lines(&own, 3, &expected);
    assert_eq!(own.stderr, "");

    // Nothing is asked of a registry for an image that is there.
    drop(registry);
    let changed = home.run(&[
        "run",
        "--rm",
        "-m",
        "256M",
        "-e",
        "GREETING=changed",
        "-u",
        "77:88",
        "-w",
        "/etc",
        &name,
        "--",
        "a b",
        "*",
    ]);
    let expected = [
        "arguments: -x a b *",
        "uid=77 gid=88",
        "/etc",
        "GREETING=changed",
        "HOME=/",
    ];
    assert_lines(&changed, 3, &expected);
    let own = home.run(&[
        "run",
        "--rm",
        "-m",
        "256M",
        "--entrypoint",
        "ls",
        &name,
        "--",
        "/etc",
    ]);
    assert_lines(&own, 0, &["os-release", "passwd"]);
    assert!(!own.stdout().contains("secret"), "{own:?}");
}

#[test]
fn streams_and_statuses_are_those_of_other_container_tools() {
    let test = "streams_and_statuses_are_those_of_other_container_tools";
    let Some(busybox) = busybox(test) else { return };
    let home = home();
    let name = layout(&home, &busybox);
    for (words, code) in [
        (&["no-such-program"][..], 127),
        (&["/etc/passwd"], 126),
        (&["sh", "-c", "kill -TERM $$"], 143),
    ] {
        let arguments = [
            &["run", "--rm", "-m", "256M", "--entrypoint", "", &name, "--"],
            words,
        ]
        .concat();
        let finished = home.run(&arguments);
        assert_eq!(finished.code, Some(code), "{words:?} {finished:#?}");
    }
    // Input goes to its end, and all output comes out.
    let arguments = ["run", "--rm", "-m", "256M", "--entrypoint", "cat", &name];
    let mut cat = home
        .clade(&arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("clade");
    let line = "a line of which there are many\n";
    let mut input = cat.stdin.take().expect("input");
    write!(input, "{}", line.repeat(5000)).expect("written");
    drop(input);
    let cat = common::finish(cat);
    assert_eq!(
        (cat.stdout().len(), cat.code),
        (line.len() * 5000, Some(0)),
        "{}",
        cat.stderr
    );
    let nobody = home.run(&["run", "--rm", "-m", "256M", "-u", "nobody", &name]);
    assert_eq!(nobody.code, Some(125), "{nobody:#?}");
    assert!(nobody.stdout().contains("no user nobody"), "{nobody:#?}");
}

#[test]
fn a_registry_with_accounts_takes_those_of_docker() {
    let test = "a_registry_with_accounts_takes_those_of_docker";
    let Some(busybox) = busybox(test) else { return };
    let (home, image) = (home(), image(&busybox, architecture()));
    // The password is "secret".
    let account = "user:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";
    let Some(registry) = registry(test, &home, &image, Some(account)) else {
        return;
    };
    let name = format!("{}/test", registry.host);
    let refused = home.run(&["pull", &name]);
    assert_eq!(refused.code, Some(125), "{refused:?}");
    assert!(refused.stderr.contains("docker login"), "{refused:?}");
    // "user:secret"
    let config = json!({"auths": {&registry.host: {"auth": "dXNlcjpzZWNyZXQ="}}});
    fs::create_dir(home.path(".docker")).expect("folder");
    fs::write(home.path(".docker/config.json"), config.to_string()).expect("file");
    let pulled = home.run(&["pull", &name]);
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
}

#[test]
fn what_cannot_be_run_is_refused_before_a_machine_is_made() {
    let home = home();
    let foreign = Architecture::ALL
        .into_iter()
        .find(|&one| one != architecture());
    let foreign = foreign.expect("there are two");
    write_layout(&home.path("layout"), &image(b"none", foreign));
    let platform = format!("linux/{}", foreign.name());
    let name = format!("oci:{}", home.path("layout").display());
    for (arguments, said) in [
        (&["run", "--rm", name.as_str()][..], platform.as_str()),
        (
            &["run", "--rm", "127.0.0.1:1/none"],
            "127.0.0.1:1/none:latest",
        ),
        (&["run", "--rm", "No Image"], "is not the name of an image"),
        (&["pull", "oci:/no/such"], "OCI image layout"),
        (
            &["run", "--rm", "mini", "--entrypoint", "x"],
            "are for OCI images",
        ),
    ] {
        let finished = home.run(arguments);
        assert_eq!(finished.code, Some(125), "{finished:?}");
        assert!(finished.stderr.contains(said), "{finished:?}");
    }
    assert!(home.machines().is_empty());
}

#[test]
fn a_host_without_certificates_is_told_so() {
    let home = home();
    let mut pull = home.clade(&["pull", "127.0.0.1:1/none"]);
    let pull = pull.env("SSL_CERT_FILE", "/dev/null");
    let finished = common::finish(pull.spawn().expect("clade"));
    assert_eq!(finished.code, Some(125), "{finished:?}");
    let said = "install ca-certificates";
    assert!(finished.stderr.contains(said), "{finished:?}");
}

#[test]
fn an_image_is_fetched_for_the_machines_that_would_be_made() {
    let home = home();
    let kinds = [
        ("kvm", "x86-64", Architecture::Amd64),
        ("emulate", "riscv64", Architecture::Riscv64),
    ];
    for (engine, arch, architecture) in kinds {
        let folder = home.path(arch);
        write_layout(&folder, &image(b"none", architecture));
        let name = format!("oci:{}", folder.display());
        for (other, ..) in kinds {
            let pulled = home.run(&["pull", "--engine", other, &name]);
            let code = if other == engine { 0 } else { 125 };
            assert_eq!(pulled.code, Some(code), "{other}: {pulled:?}");
        }
        // Whatever the engine is that is usual here.
        let pulled = home.run(&["pull", "--arch", arch, &name]);
        assert_eq!(pulled.code, Some(0), "{pulled:?}");
    }
}

#[test]
fn a_machine_in_the_background_is_entered_stopped_and_started_again() {
    let test = "a_machine_in_the_background_is_entered_stopped_and_started_again";
    let Some(busybox) = busybox(test) else { return };
    let home = home();
    let name = layout(&home, &busybox);
    let script = "cat kept; echo kept >kept; echo begun; while :; do :; done";
    let arguments = [
        "run",
        "-d",
        "--name",
        "box",
        "-m",
        "256M",
        "-u",
        "0",
        "--entrypoint",
        "",
        &name,
    ];
    let started = home.run(&[&arguments[..], &["--", "sh", "-c", script]].concat());
    assert_eq!(started.code, Some(0), "{started:?}");
    wait_until("the process has begun", || {
        home.run(&["logs", "box"]).stdout().contains("begun")
    });
    // In by the agent, as the image's user, in the same file system.
    assert_eq!(
        home.run(&["wait", "box", "--for", "ready", "--timeout", &timeout(60)])
            .code,
        Some(0)
    );
    let inside = home.run(&[
        "exec",
        "box",
        "--",
        "sh",
        "-c",
        "pwd; cat kept; id -u; exit 9",
    ]);
    assert_eq!(
        (inside.stdout(), inside.code),
        ("/app\nkept\n0\n", Some(9)),
        "{inside:?}"
    );
    assert_eq!(home.run(&["stop", "box"]).code, Some(0));
    // SIGTERM ended its process, and the file system is as it was left.
    let listed = home.run(&["ps", "-a"]);
    assert!(listed.stdout().contains("failed (143)"), "{listed:?}");
    // It keeps what it was made from, though the image goes.
    assert!(home.run(&["images"]).stdout().contains(&name));
    let removed = home.run(&["rmi", &name]);
    assert!(removed.stdout().starts_with(&name), "{removed:?}");
    assert!(!home.run(&["images"]).stdout().contains(&name));
    let blobs = fs::read_dir(home.path("cache/clade/oci/blobs")).expect("folder");
    assert_eq!(blobs.count(), 0);
    assert_eq!(home.run(&["start", "box"]).code, Some(0));
    wait_until("it has begun again", || {
        home.run(&["logs", "box"]).stdout().contains("kept")
    });
    assert_eq!(home.run(&["rm", "-f", "box"]).code, Some(0));
}

#[test]
fn a_clone_whose_process_is_not_roots_is_told_its_name() {
    let test = "a_clone_whose_process_is_not_roots_is_told_its_name";
    let Some(busybox) = busybox(test) else { return };
    let home = home();
    let name = layout(&home, &busybox);
    let options = ["run", "-d", "--name", "first", "-m", "256M"];
    let script = "while :; do read -r line; done";
    let process = ["--entrypoint", "", &name, "--", "sh", "-c", script];
    let started = home.run(&[&options[..], &process].concat());
    assert_eq!(started.code, Some(0), "{started:?}");
    let ready = home.run(&["wait", "first", "--for", "ready", "--timeout", &timeout(60)]);
    assert_eq!(ready.code, Some(0), "{ready:?}");
    let cloned = home.run(&["clone", "first", "--name", "second"]);
    assert_eq!(cloned.code, Some(0), "{cloned:?}");
    for name in ["first", "second"] {
        let told = "id -u; cat /proc/sys/kernel/hostname /etc/hostname /etc/hosts";
        let told = home.run(&["exec", name, "--", "sh", "-c", told]);
        let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{name}\n");
        let expected = format!("1000\n{name}\n{name}\n{hosts}");
        assert_eq!(told.stdout(), expected, "{told:?}");
        assert_eq!(home.run(&["rm", "-f", name]).code, Some(0));
    }
}

#[test]
fn an_image_on_another_file_system_stays_while_a_machine_needs_it() {
    let test = "an_image_on_another_file_system_stays_while_a_machine_needs_it";
    let Some(busybox) = busybox(test) else { return };
    let home = home();
    let Ok(apart) = tempfile::tempdir_in("/dev/shm") else {
        return skip(test, "there is no second file system");
    };
    if fs::hard_link(home.file("file", b""), apart.path().join("link")).is_ok() {
        return skip(test, "/dev/shm is where all temporary files are");
    }
    symlink(apart.path(), home.path("cache/clade/oci")).expect("link");
    let name = layout(&home, &busybox);
    let run = home.run(&["run", "--name", "box", "-m", "256M", &name]);
    assert_lines(&run, 3, &["/app"]);
    let refused = home.run(&["rmi", &name]);
    assert_eq!(refused.code, Some(125), "{refused:?}");
    assert!(
        refused.stderr.contains("another file system"),
        "{refused:?}"
    );
    // A snapshot has a copy of its own, and needs neither machine nor image.
    assert_eq!(home.run(&["snapshot", "box", "-t", "a"]).code, Some(0));
    assert_eq!(home.run(&["rm", "box"]).code, Some(0));
    assert_eq!(home.run(&["rmi", &name]).code, Some(0));
    assert_eq!(home.run(&["verify"]).stdout(), "box@a is whole\n");
    let restored = home.run(&["restore", "box@a", "--as", "again"]);
    assert_eq!(restored.stdout(), "again\n", "{restored:?}");
    wait_until("it has begun again", || {
        home.run(&["logs", "again"]).stdout().contains("/app")
    });
}
