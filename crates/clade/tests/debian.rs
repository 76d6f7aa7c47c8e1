//! The image `debian`, built from a real mirror with what this host's Clade has in its cache, and booted.
//! Takes minutes the first time. Skipped, and says so, where no mirror is known or reachable.

mod common;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clade_images::{Architecture, Error, find_mirror, package_files};
use common::images::{alone, architecture, clade, skip, source};
use common::timeout;

/// To build the image, or to boot from it, on a busy host.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Why the tests cannot be run here.
fn obstacle() -> Option<String> {
    if let Err(error) = find_mirror(None) {
        return Some(error.to_string());
    }
    match package_files(&["busybox-static"], &source(), &clade_images::Silent) {
        Err(error @ (Error::Network { .. } | Error::Checksum { .. })) => Some(error.to_string()),
        _ => None,
    }
}

/// A machine whose console is in our hands; it is removed with this value.
struct Machine {
    name: String,
    process: Child,
}

impl Machine {
    fn run(name: &str) -> Self {
        let process = clade(&["run", "--rm", "--name", name, "debian"])
            .stderr(Stdio::inherit())
            .spawn()
            .expect("clade");
        Self {
            name: name.to_owned(),
            process,
        }
    }

    fn send(&mut self, text: &str) {
        let stdin = self.process.stdin.as_mut().expect("stdin");
        stdin.write_all(text.as_bytes()).expect("input");
    }

    /// What the console says up to and with `sign`.
    fn wait_for(&mut self, sign: &str) -> String {
        let stdout = self.process.stdout.as_mut().expect("stdout");
        let began = Instant::now();
        let mut said = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&said).contains(sign) {
            assert!(began.elapsed() < PATIENCE, "no {sign:?} in time");
            assert!(
                matches!(stdout.read(&mut byte), Ok(1)),
                "the console ended before {sign:?}: {}",
                String::from_utf8_lossy(&said)
            );
            said.push(byte[0]);
        }
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = clade(&["rm", "-f", &self.name]).output();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where this user's Clade keeps what it has.
fn data() -> PathBuf {
    let data = std::env::var_os("XDG_DATA_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").expect("HOME")).join(".local/share"),
        Into::into,
    );
    data.join("clade")
}

/// The disk of the template, as `clade pull` leaves it.
fn template() -> PathBuf {
    let folder = data().join("images").join(match architecture() {
        Architecture::Riscv64 => "debian/trixie",
        Architecture::Amd64 => "amd64/debian/trixie",
    });
    let manifest = std::fs::read(folder.join("manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    folder.join(manifest["disk"]["file"].as_str().expect("name"))
}

/// Runs `clade` to its end, which must be a good one; returns what it prints.
fn done(arguments: &[&str]) -> String {
    let output = clade(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("clade");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}{errors}");
    said
}

#[test]
fn debian_is_built_once_boots_to_a_shell_and_keeps_its_template_clean() {
    if let Some(reason) = obstacle() {
        skip("debian", reason);
        return;
    }
    let _alone = alone();
    done(&["pull", "debian"]);
    let name = format!("debian-test-{}", std::process::id());
    let mut machine = Machine::run(&name);
    machine.wait_for(&format!("root@{name}:~#"));
    machine.send(
        "echo; dpkg --audit; dpkg -l | grep -vc '^ii'; systemctl is-system-running --wait; \
         stat -c %s /etc/machine-id; findmnt -no FSTYPE /; ls /etc/ssh/*_key; echo en''d\n",
    );
    let said = machine.wait_for("\nend");
    // Five lines of heading, and no package that is not installed wholly.
    for expected in [
        "\n5\r",
        "\nrunning\r",
        "\n33\r",
        "\next4\r",
        "ssh_host_ed25519_key",
    ] {
        assert!(said.contains(expected), "{expected:?}: {said}");
    }
    machine.send("poweroff\n");
    machine.process.stdin.take();
    assert!(machine.process.wait().expect("clade").success());
    match Command::new("/sbin/e2fsck")
        .arg("-fn")
        .arg(template())
        .output()
    {
        Ok(report) => assert!(
            report.status.success(),
            "{}",
            String::from_utf8_lossy(&report.stdout)
        ),
        Err(error) => skip(
            "the check of the file system",
            format!("no e2fsck: {error}"),
        ),
    }
}

/// Removes a machine when the test ends, however.
struct Removed<'a>(&'a str);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = clade(&["rm", "-f", self.0]).output();
    }
}

#[test]
fn packages_are_installed_and_survive_a_power_cut() {
    if let Some(reason) = obstacle() {
        skip("packages in debian", reason);
        return;
    }
    let _alone = alone();
    let name = &*format!("debian-packages-{}", std::process::id());
    let machine = Removed(name);
    let install = "apt-get update && apt-get install -y hello && hello -g installed && sync";
    let run = ["run", "--name", name, "debian", "--", "sh", "-c", install];
    let output = clade(&run).stdin(Stdio::null()).output().expect("clade");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("Mirror sync in progress") {
        return skip("packages in debian", format!("apt says: {errors}"));
    }
    assert!(
        output.status.success() && said.ends_with("installed\n"),
        "{said}{errors}"
    );

    done(&["start", name]);
    done(&["wait", name, "--for", "ready", "--timeout", &timeout(600)]);
    let write = "hello -g again >/root/kept && sync && (yes | head -c 1G >/root/noise &)";
    done(&["exec", name, "--", "sh", "-c", write]);
    done(&["kill", name]);
    check_disk(name);

    done(&["start", name]);
    done(&["wait", name, "--for", "ready", "--timeout", &timeout(600)]);
    let look = "rm /root/noise; cat /root/kept; dpkg --audit; hello -g still";
    assert_eq!(
        done(&["exec", name, "--", "sh", "-c", look]),
        "again\nstill\n"
    );
    drop(machine);
}

/// Has qemu-img look at a machine's layer above the template. Clusters may be leaked by a power cut,
/// none may be damaged.
fn check_disk(name: &str) {
    let told: serde_json::Value =
        serde_json::from_str(&done(&["inspect", "--json", name])).expect("JSON");
    let machine = told.get(0).unwrap_or(&told);
    let path = |value: &serde_json::Value| value.as_str().expect("a path").to_owned();
    let disk =
        Path::new(&path(&machine["folder"])).join(path(&machine["config"]["disks"][0]["path"]));
    match Command::new("qemu-img")
        .args(["check", "--output=json"])
        .arg(&disk)
        .output()
    {
        Ok(report) => {
            let report: serde_json::Value =
                serde_json::from_slice(&report.stdout).expect("a report");
            assert_eq!(report["check-errors"], 0, "{report}");
            assert!(
                report.get("corruptions").is_none_or(|count| count == 0),
                "{report}"
            );
        }
        Err(error) => skip("the check of the disk", format!("no qemu-img: {error}")),
    }
}

/// What no two machines have in common, a line each.
const OWN: &str = "hostname; cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub; \
    cat /proc/sys/kernel/random/uuid; head -c 64 /dev/urandom | base64 -w0; echo; \
    cat /sys/class/net/en*/address";

#[test]
fn clones_share_nothing_that_is_their_own_and_no_database_is_torn() {
    if let Some(reason) = obstacle() {
        skip("clones of debian", reason);
        return;
    }
    let _alone = alone();
    let origin = &*format!("debian-origin-{}", std::process::id());
    let clones = [1, 2].map(|number| format!("{origin}-{number}"));
    let machines = [origin, &clones[0], &clones[1]];
    let _removed = machines.map(Removed);
    let image = ["debian", "--include", "sqlite3"];
    done(&[&["run", "-d", "--name", origin][..], &image].concat());
    done(&["wait", origin, "--for", "ready", "--timeout", &timeout(600)]);
    let create = "pragma journal_mode=wal; create table t (number integer, noise text)";
    done(&["exec", origin, "--", "sqlite3", "/root/d", create]);
    // Each row is a transaction of its own, which ends with a flush.
    let write = "i=0; (while i=$((i + 1)); do \
        echo \"insert into t values ($i, hex(randomblob(2000)));\"; done) | sqlite3 /root/d";
    let load = ["systemd-run", "--quiet", "sh", "-c", write];
    done(&[&["exec", origin, "--"][..], &load].concat());
    let rows = |name: &str| -> u64 {
        let count = done(&[
            "exec",
            name,
            "--",
            "sqlite3",
            "/root/d",
            "select count(*) from t",
        ]);
        count.trim().parse().expect("a number")
    };
    let before = rows(origin);
    done(&["clone", origin, "-n", "2", "--name-prefix", origin]);

    let own = machines.map(|name| done(&["exec", name, "--", "sh", "-c", OWN]));
    let own = own.each_ref().map(|told| told.lines().collect::<Vec<_>>());
    for line in 0..6 {
        let mut all = own.each_ref().map(|told| told[line]);
        all.sort_unstable();
        assert!(all[0] != all[1] && all[1] != all[2], "{all:?}");
    }
    for name in machines {
        // The network is there all the time, although a clone's card has another address.
        let address = done(&["exec", name, "--", "ip", "-4", "-br", "address"]);
        assert!(address.contains("10.0.2.15/24"), "{name}: {address}");
        // Its writer goes on everywhere.
        let found = rows(name);
        let began = Instant::now();
        while rows(name) == found {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "{name} does not go on"
            );
        }
        assert!(found >= before, "{name}: {found} rows of {before}");
        let look = "pkill sqlite3; sqlite3 /root/d 'pragma integrity_check; \
            select count(*) = max(number) and count(*) = count(distinct number) from t'";
        assert_eq!(
            done(&["exec", name, "--", "sh", "-c", look]),
            "ok\n1\n",
            "{name}"
        );
    }
}

/// Waits until nobody makes a warm image: whoever does is in no hurry, and gets no time on a host with one
/// processor where others boot.
fn wait_for_makers(began: Instant) {
    let claims = || {
        // Clears away those of who was killed.
        done(&["images"]);
        let entries = std::fs::read_dir(data().join("warm")).into_iter().flatten();
        let mut names = entries.flatten().map(|entry| entry.file_name());
        names.any(|name| name != ".lock" && name.to_string_lossy().ends_with(".lock"))
    };
    while claims() {
        assert!(began.elapsed() < PATIENCE, "a warm image is made for ever");
        thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn the_second_machine_goes_on_from_memory_as_a_machine_of_its_own() {
    if let Some(reason) = obstacle() {
        skip("warm images of debian", reason);
        return;
    }
    let _alone = alone();
    let look = format!("cat /proc/sys/kernel/random/boot_id; {OWN}");
    let look = || -> Vec<String> {
        let mut command = clade(&["run", "--rm", "debian", "--", "sh", "-c", &look]);
        let output = command
            .env_remove("CLADE_COLD")
            .stdin(Stdio::null())
            .output();
        let said = String::from_utf8(output.expect("clade").stdout).expect("text");
        said.lines().map(str::to_owned).collect()
    };
    // Some boot before there is a warm image, which may be there already.
    let began = Instant::now();
    let mut machines = vec![look()];
    let (before, now) = loop {
        wait_for_makers(began);
        let now = look();
        if let Some(before) = machines.iter().find(|before| before[0] == now[0]) {
            break (before.clone(), now);
        }
        machines.push(now);
        assert!(began.elapsed() < PATIENCE, "all boot: {machines:?}");
    };
    assert_eq!((before.len(), now.len()), (7, 7), "{before:?} {now:?}");
    for line in 1..7 {
        assert_ne!(before[line], now[line]);
    }
}

#[test]
fn what_a_command_leaves_in_the_background_goes_on() {
    if let Some(reason) = obstacle() {
        skip("background processes in debian", reason);
        return;
    }
    let _alone = alone();
    let name = &*format!("debian-background-{}", std::process::id());
    let _removed = Removed(name);
    done(&["run", "-d", "--name", name, "debian"]);
    done(&["wait", name, "--for", "ready", "--timeout", &timeout(600)]);
    let leave = "sleep 1000 >/dev/null 2>&1 & echo $!";
    let process = done(&["exec", name, "--", "sh", "-c", leave]);
    // The unit of that connection has ended by then.
    let others = "systemctl list-units --plain --no-legend 'sshd@*' | wc -l";
    let ended = format!("while [ $({others}) -gt 1 ]; do sleep 0.1; done");
    done(&["exec", name, "--", "sh", "-c", &ended]);
    let look = format!("readlink /proc/{}/exe", process.trim());
    assert!(done(&["exec", name, "--", "sh", "-c", &look]).ends_with("sleep\n"));
}
