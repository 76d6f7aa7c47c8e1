//! Commands in a real guest, and files to it and from it.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::images::{alone, mini, skip};
use common::machine::{Machine, NAME};
use common::{Finished, Home, finish, timeout, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// What cannot be tested where the image `mini` is missing.
const TEST: &str = "commands in a guest";

/// Whoever waits for what will never come is told within this time.
const SOON: Duration = Duration::from_secs(10);

impl Machine {
    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.home.clade(&[&["exec"], arguments].concat());
        command.stdin(Stdio::piped()).spawn().expect("clade")
    }

    fn cp(&self, from: &str, to: &str) -> Finished {
        self.home.run(&["cp", from, to])
    }

    fn path(&self, name: &str) -> String {
        let path = self.home.path(name);
        path.to_str().expect("plain path").to_owned()
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("pid"), signal).expect("kill");
}

#[test]
fn commands_run_in_a_guest() {
    let Some(machine) = Machine::start(TEST, &[]) else {
        return;
    };
    ends_as_the_command_does(&machine);
    streams_are_apart(&machine);
    arguments_arrive_as_they_are(&machine);
    signals_reach_the_command(&machine);
    many_bytes_pass_unchanged(&machine);
    a_terminal_is_one(&machine);
    several_run_at_once(&machine);
    a_reset_ends_them(&machine);
    without_the_agent(&machine);
    a_reset_ends_them(&machine);
    what_is_not_there_is_told(&machine);
}

fn ends_as_the_command_does(machine: &Machine) {
    for (script, code) in [
        ("true", 0),
        ("exit 42", 42),
        ("exit 255", 255),
        ("no-such-command", 127),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
    ] {
        let finished = machine.shell(script);
        assert_eq!(finished.code, Some(code), "{script}: {finished:?}");
    }
    assert_eq!(machine.exec(&["no-such-command"]).code, Some(127));
    assert_eq!(machine.exec(&["/etc/passwd"]).code, Some(126));
}

fn streams_are_apart(machine: &Machine) {
    let finished = machine.shell("echo out; echo err >&2; printf more");
    assert_eq!(finished.stdout(), "out\nmore");
    assert_eq!(finished.stderr, "err\n");
    // Without --interactive there is nothing to read, and it ends.
    assert_eq!(machine.exec(&["cat"]).stdout(), "");
}

fn arguments_arrive_as_they_are(machine: &Machine) {
    let odd = ["a b", "", "'", "\"$HOME\"", "*", "\\", "a\nb", "é", "--"];
    let finished = machine.exec(&[&["printf", "%s|"], &odd[..]].concat());
    assert_eq!(
        finished.stdout(),
        odd.map(|word| format!("{word}|")).concat()
    );
    let finished = machine.home.run(&[
        "exec",
        "-e",
        "A=x y",
        "-w",
        "/tmp",
        NAME,
        "sh",
        "-c",
        "echo \"$A\" $PWD",
    ]);
    assert_eq!(finished.stdout(), "x y /tmp\n");
}

fn signals_reach_the_command(machine: &Machine) {
    for (sent, name, code) in [
        (Signal::TERM, "TERM", 7),
        (Signal::INT, "INT", 7),
        (Signal::HUP, "HUP", 7),
    ] {
        let script = format!("trap 'exit 7' {name}; : >/tmp/{name}; while :; do sleep 0.05; done");
        let child = machine.spawn(&[NAME, "sh", "-c", &script]);
        wait_until("the command runs", || {
            machine.exec(&["test", "-e", &format!("/tmp/{name}")]).code == Some(0)
        });
        signal(&child, sent);
        assert_eq!(finish(child).code, Some(code), "{name}");
    }
    let child = machine.spawn(&[NAME, "sh", "-c", ": >/tmp/plain; exec sleep 60"]);
    wait_until("the command runs", || {
        machine.exec(&["test", "-e", "/tmp/plain"]).code == Some(0)
    });
    signal(&child, Signal::TERM);
    assert_eq!(finish(child).code, Some(128 + 15));
}

/// 100 MB each way at once, or as many as `CLADE_EXEC_MEGABYTES` says.
fn many_bytes_pass_unchanged(machine: &Machine) {
    let megabytes = std::env::var("CLADE_EXEC_MEGABYTES").map_or(100, |text| {
        text.parse::<u32>().expect("CLADE_EXEC_MEGABYTES")
    });
    let bytes: Vec<u8> = (0..megabytes * 1_000_000)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let begin = Instant::now();
    let mut child = machine.spawn(&["-i", NAME, "cat"]);
    let mut stdin = child.stdin.take().expect("stdin");
    let sent = bytes.clone();
    let writer = thread::spawn(move || stdin.write_all(&sent).expect("write"));
    let finished = common::finish_within(child, Duration::from_secs(300));
    writer.join().expect("writer");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        finished.stdout == bytes,
        "{} bytes came back",
        finished.stdout.len()
    );
    println!(
        "{megabytes} MB to the guest and back: {:.1?}",
        begin.elapsed()
    );
}

fn a_terminal_is_one(machine: &Machine) {
    let refused = machine.home.run(&["exec", "-t", NAME, "tty"]);
    assert_eq!(refused.code, Some(125));
    assert!(refused.stderr.contains("no terminal"), "{refused:?}");
}

fn several_run_at_once(machine: &Machine) {
    thread::scope(|scope| {
        let running: Vec<_> = (0..6)
            .map(|index| {
                let script = format!("sleep 0.2; seq 1 2000; exit {index}");
                scope.spawn(move || (index, machine.shell(&script)))
            })
            .collect();
        for thread in running {
            let (index, finished) = thread.join().expect("thread");
            assert_eq!(finished.code, Some(index), "{}", finished.stderr);
            assert_eq!(finished.stdout().lines().count(), 2000);
        }
    });
}

/// Who waits for a command learns at once that its guest has begun anew.
fn a_reset_ends_them(machine: &Machine) {
    let child = machine.spawn(&[NAME, "sh", "-c", ": >/tmp/before; exec sleep 600"]);
    wait_until("the command runs", || {
        machine.exec(&["test", "-e", "/tmp/before"]).code == Some(0)
    });
    let resetting = Instant::now();
    let last = machine.shell("echo b >/proc/sysrq-trigger");
    for lost in [last, finish(child)] {
        assert_eq!(lost.code, Some(125), "{lost:?}");
        let told = "the guest went away before the command ended";
        assert!(lost.stderr.contains(told), "{lost:?}");
    }
    assert!(resetting.elapsed() < SOON, "{:?}", resetting.elapsed());
    machine.done(&["wait", NAME, "--for", "ready", "--timeout", &timeout(50)]);
    machine.run("test ! -e /tmp/before");
}

/// From here to the next reset commands go by SSH.
fn without_the_agent(machine: &Machine) {
    let of_command = "tr '\\0' ' ' </proc/$pid/cmdline | grep -q 'clade-agent commands'";
    machine.shell(&format!(
        "for pid in $(pidof clade-agent); do {of_command} && kill -9 $pid; done"
    ));
    wait_until("SSH serves commands", || {
        machine.run("ps").contains("dropbear -i")
    });
}

fn what_is_not_there_is_told(machine: &Machine) {
    let nobody = machine.home.run(&["exec", "nobody", "true"]);
    assert_eq!(nobody.code, Some(125));
    assert!(nobody.stderr.contains("nobody"), "{nobody:?}");
    // Its machine is ended while it runs.
    let child = machine.spawn(&[NAME, "sh", "-c", ": >/tmp/gone; exec sleep 60"]);
    wait_until("the command runs", || {
        machine.exec(&["test", "-e", "/tmp/gone"]).code == Some(0)
    });
    assert_eq!(machine.home.run(&["kill", NAME]).code, Some(0));
    let lost = finish(child);
    assert_eq!(lost.code, Some(125), "{lost:?}");
    assert!(lost.stderr.contains("guest"), "{lost:?}");
    let stopped = machine.exec(&["true"]);
    assert_eq!(stopped.code, Some(125));
    assert!(stopped.stderr.contains("clade start"), "{stopped:?}");
}

#[test]
fn files_are_copied_with_owners_and_modes() {
    let Some(machine) = Machine::start(TEST, &[]) else {
        return;
    };
    let tree = machine.home.path("tree");
    plant(&tree);
    let (from, to) = (machine.path("tree"), machine.path("back"));
    let there = format!("{NAME}:/tmp/there");
    let sent = machine.cp(&from, &there);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let listed = machine.shell("cd /tmp/there && stat -c '%a %u:%g %n' . run sub/data link");
    let owner = fs::metadata(&tree).expect("tree");
    let owner = format!("{}:{}", owner.uid(), owner.gid());
    let expected = ["755", "4711", "640", "777"].into_iter();
    let expected = expected.zip([".", "run", "sub/data", "link"]);
    let expected: String = expected
        .map(|(mode, name)| format!("{mode} {owner} {name}\n"))
        .collect();
    assert_eq!(listed.stdout(), expected);
    let changed = machine.shell("chown -h 12:34 /tmp/there/sub/data");
    assert_eq!(changed.code, Some(0));
    let fetched = machine.cp(&there, &to);
    assert_eq!(fetched.code, Some(0), "{fetched:?}");
    let back = PathBuf::from(&to);
    assert_eq!(
        fs::read(back.join("sub/data")).expect("data"),
        vec![9; 300_000]
    );
    assert_eq!(
        fs::metadata(back.join("run")).expect("run").mode() & 0o7777,
        0o4711
    );
    assert_eq!(
        fs::read_link(back.join("link")).expect("link"),
        Path::new("sub/data")
    );
    if rustix::process::geteuid().is_root() {
        let data = fs::metadata(back.join("sub/data")).expect("data");
        assert_eq!((data.uid(), data.gid()), (12, 34));
    } else {
        skip("owners", "only root can keep them");
    }
    // Into a folder that is there, and a file under another name.
    assert_eq!(
        machine.cp(&from, &format!("{NAME}:/tmp/there")).code,
        Some(0)
    );
    assert_eq!(
        machine.exec(&["test", "-f", "/tmp/there/tree/run"]).code,
        Some(0)
    );
    assert_eq!(
        machine
            .cp(&format!("{from}/run"), &format!("{NAME}:renamed"))
            .code,
        Some(0)
    );
    assert_eq!(
        machine.exec(&["cat", "/root/renamed"]).stdout(),
        "#!/bin/sh\n"
    );
    // What is not there.
    let missing = machine.cp(&format!("{NAME}:/no/such"), &to);
    assert_eq!(missing.code, Some(125));
    assert!(missing.stderr.contains("/no"), "{missing:?}");
    let missing = machine.cp(&from, &format!("{NAME}:/no/such/place"));
    assert_eq!(missing.code, Some(125));
    assert!(missing.stderr.contains("/no/such"), "{missing:?}");
    let missing = machine.cp(&machine.path("nothing"), &there);
    assert!(missing.stderr.contains("nothing"), "{missing:?}");
}

fn plant(tree: &Path) {
    fs::create_dir_all(tree.join("sub/empty")).expect("folders");
    fs::write(tree.join("run"), "#!/bin/sh\n").expect("file");
    fs::write(tree.join("sub/data"), vec![9; 300_000]).expect("file");
    symlink("sub/data", tree.join("link")).expect("link");
    for (name, mode) in [("", 0o755), ("run", 0o4711), ("sub/data", 0o640)] {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(tree.join(name), mode).expect("mode");
    }
}

#[test]
fn a_machine_runs_for_one_command() {
    if mini(TEST).is_none() {
        return;
    }
    let home = Home::with_cache();
    let _alone = alone();
    let begin = Instant::now();
    let finished = home.run(&[
        "run",
        "mini",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    ]);
    assert_eq!(
        (finished.code, finished.stdout()),
        (Some(3), "out\n"),
        "{finished:?}"
    );
    assert_eq!(finished.stderr, "err\n");
    println!("a machine for one command: {:.2?}", begin.elapsed());
    assert!(home.machines().is_empty());
    let mut child = home
        .clade(&["run", "-i", "mini", "--", "sha256sum"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("clade");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(b"abc")
        .expect("write");
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n";
    assert_eq!(finish(child).stdout(), sum);
    // The boot fails: the console says why.
    let failed = home.run(&[
        "run",
        "--cmdline",
        "rdinit=/no panic=-1",
        "mini",
        "--",
        "true",
    ]);
    assert_eq!(failed.code, Some(125), "{failed:?}");
    assert!(failed.stderr.contains("panic"), "{failed:?}");
}

#[test]
fn ssh_itself_finds_the_way() {
    let Some(machine) = Machine::start(TEST, &[]) else {
        return;
    };
    let config = machine.home.run(&["ssh-config"]);
    let file = machine.home.file("ssh_config", &config.stdout);
    // The proxy must find this home's machines.
    let clade = machine.home.clade(&[]);
    let home = clade
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let host = format!("{NAME}.clade");
    let output = Command::new("ssh")
        .envs(home)
        .args(["-F", &file, &host, "echo from $(hostname)"])
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            skip("ssh", format!("there is none: {error}"));
            return;
        }
    };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("from {NAME}\n"),
        "{output:?}"
    );
}
