//! Warm images: the second machine of an image does not boot.
//!
//! Needs the image `mini`: without it these tests cannot run; they say so, and pass. That a machine has not
//! booted is told by the places that its first process got by chance when it did.

mod common;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::images::{alone, is_emulated, mini, skip};
use common::pty::Terminal;
use common::{Finished, Home, finish, long, read_until, timeout, wait, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// Prints something different for each boot. The kernel's boot id would not do: it is made when it is first
/// read, and so by each clone.
const BOOT: &str = "md5sum </proc/1/auxv";

/// A user who has `mini`, and may have warm images.
struct User {
    home: Home,
    _alone: MutexGuard<'static, ()>,
}

impl User {
    fn new(test: &str) -> Option<Self> {
        mini(test)?;
        let _alone = alone();
        Some(Self {
            home: Home::with_cache(),
            _alone,
        })
    }

    /// One with a warm image of `mini`, and what its boot is known by.
    fn with_warm_image(test: &str) -> Option<(Self, String)> {
        let user = Self::new(test)?;
        let first = user.boot_of(&[]);
        user.wait_for_warm_images(1);
        let warm = user.boot_of(&[]);
        assert_ne!(warm, first);
        Some((user, warm))
    }

    fn clade(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.clade(arguments);
        command.env_remove("CLADE_COLD");
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.clade(arguments).spawn().expect("clade"))
    }

    fn done(&self, arguments: &[&str]) -> Finished {
        let done = self.run(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        done
    }

    /// By what the boot of a machine is known that is made with these options.
    fn boot_of(&self, options: &[&str]) -> String {
        let command = ["mini", "--", "sh", "-c", BOOT];
        let done = self.done(&[&["run"], options, &command].concat());
        done.stdout().to_owned()
    }

    /// Runs a script without a command, as in a pipe.
    fn script(&self, script: &str) -> Finished {
        let mut command = self.clade(&["run"]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("clade");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(script.as_bytes()).expect("it listens");
        drop(input);
        finish(child)
    }

    fn warm_folder(&self) -> PathBuf {
        self.home.path("data/clade/warm")
    }

    /// The warm images' folders.
    fn warm_images(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.warm_folder().join("templates"));
        let entries = entries.into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| !name_of(path).starts_with('.'))
            .collect()
    }

    /// Those of whoever makes one.
    fn locks(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.warm_folder()).into_iter().flatten();
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| name_of(path) != ".lock" && name_of(path).ends_with(".lock"));
        paths
    }

    /// Whether any is being made: who was killed leaves a lock.
    fn is_making(&self) -> bool {
        !self.locks().is_empty() && self.maker().is_some()
    }

    fn wait_for_warm_images(&self, number: usize) {
        let folder = self.warm_folder();
        wait_until("there are warm images", || {
            let failed = fs::read_to_string(folder.join("failed"));
            assert!(failed.is_err(), "{failed:?}");
            self.warm_images().len() == number && !self.is_making()
        });
    }

    /// The process that makes one.
    fn maker(&self) -> Option<Pid> {
        let own = self.home.path("data").display().to_string();
        let is_maker = |pid: &i32| {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let has = |bytes: Vec<u8>, word: &str| {
                bytes
                    .split(|byte| *byte == 0)
                    .any(|one| one == word.as_bytes())
            };
            has(read("cmdline"), "warm-image")
                && has(read("environ"), &format!("XDG_DATA_HOME={own}"))
        };
        let entries = fs::read_dir("/proc").expect("proc").flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(is_maker).and_then(Pid::from_raw)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // Nobody is to write where a home was.
        let began = Instant::now();
        while self.maker().is_some() && began.elapsed() < long() {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn name_of(path: &std::path::Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn json(done: &Finished) -> serde_json::Value {
    serde_json::from_str(done.stdout()).expect("JSON")
}

/// What only those do that go on from it is translated before the first of the user's does.
#[test]
fn a_warm_image_is_practised_with() {
    let test = "a warm image is practised with";
    if !is_emulated(test) {
        return;
    }
    if let Err(lacks) = clade_emulate::translator_support() {
        return skip(test, format!("the host lacks {}", lacks.join(", ")));
    }
    let Some((user, warm)) = User::with_warm_image(test) else {
        return;
    };
    let image = user.warm_images().pop().expect("one");
    let written = |name: &str| {
        let meta = fs::metadata(image.join(name)).expect("a file of it");
        meta.modified().expect("a time")
    };
    assert!(written("code.cache") > written("snapshot.json"));
    assert_eq!(user.boot_of(&[]), warm);
    let machines = user.warm_folder().join("machines");
    let left: Vec<_> = fs::read_dir(machines).expect("a folder").collect();
    let left = left.into_iter().flatten().map(|entry| entry.path());
    let folders: Vec<_> = left.filter(|path| path.is_dir()).collect();
    assert!(folders.is_empty(), "{folders:?}");
}

#[test]
fn the_second_machine_goes_on_from_where_another_had_booted_to() {
    const TEST: &str = "the_second_machine_goes_on_from_where_another_had_booted_to";
    let Some((user, warm)) = User::with_warm_image(TEST) else {
        return;
    };
    assert_eq!(user.boot_of(&[]), warm);

    // The command is as it ever was.
    let script = "echo out; echo err >&2; exit 7";
    let done = user.run(&["run", "mini", "--", "sh", "-c", script]);
    assert_eq!(done.code, Some(7), "{done:?}");
    assert_eq!((done.stdout(), &*done.stderr), ("out\n", "err\n"));
    let mut child = user
        .clade(&["run", "-i", "mini", "--", "wc", "-c"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("clade");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(&[b'x'; 100_000]).expect("input");
    drop(input);
    assert_eq!(finish(child).stdout().trim(), "100000");

    // Nothing of it is seen but where images are listed.
    assert!(user.home.machines().is_empty());
    assert_eq!(user.done(&["ps", "--all", "--json"]).stdout(), "[]\n");
    assert_eq!(user.done(&["template", "ls", "--json"]).stdout(), "[]\n");
    let images = json(&user.done(&["images", "--json"]));
    let images = images.as_array().expect("list");
    let own = |image: &serde_json::Value| image["warm"].as_u64().expect("number");
    assert!(images.iter().any(|image| {
        image["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("mini:"))
            && own(image) > 0
    }));

    // Other machines boot.
    let booted = [
        user.boot_of(&["--cold"]),
        user.boot_of(&["--cold"]),
        user.boot_of(&["-m", "300M"]),
    ];
    user.wait_for_warm_images(2);
    let again = user.boot_of(&["-m", "300M"]);
    let mut all = [&booted[..], &[again, warm]].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5, "{all:?}");
}

#[test]
fn each_machine_has_an_identity_and_a_life_of_its_own() {
    const TEST: &str = "each_machine_has_an_identity_and_a_life_of_its_own";
    let Some((user, warm)) = User::with_warm_image(TEST) else {
        return;
    };
    let look = "cat /proc/sys/kernel/random/uuid; head -c 64 /dev/urandom | base64; date +%s";
    let own = ["one", "two"].map(|name| {
        let done = user.done(&[
            "run", "--rm", "--name", name, "mini", "--", "sh", "-c", look,
        ]);
        let lines: Vec<_> = done.stdout().lines().map(str::to_owned).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("time");
        let time: u64 = lines[lines.len() - 1].parse().expect("seconds");
        assert!(time.abs_diff(now.as_secs()) <= 3, "{time}, {now:?}");
        lines
    });
    assert!(own[0][0] != own[1][0] && own[0][1] != own[1][1], "{own:?}");

    // One that is left alone, with a port, lives as any other.
    let run = user.done(&["run", "-d", "--name", "web", "-p", "0:80", "mini"]);
    assert_eq!(run.stdout(), "web\n");
    assert!(run.stderr.contains("leads to tcp port 80"), "{run:?}");
    let boot_of = |user: &User| user.done(&["exec", "web", "--", "sh", "-c", BOOT]);
    assert_eq!(boot_of(&user).stdout(), warm);
    assert_eq!(
        user.done(&["exec", "web", "--", "hostname"]).stdout(),
        "web\n"
    );
    let tree = json(&user.done(&["tree", "--json"]));
    assert_eq!(tree[0]["name"], "web", "{tree}");
    assert_eq!(tree[0]["parent_removed"], false, "{tree}");
    user.done(&["snapshot", "web", "--tag", "s"]);
    user.done(&["exec", "web", "--", "touch", "/tmp/later"]);
    user.done(&["restore", "web@s"]);
    user.done(&["exec", "web", "--", "test", "!", "-e", "/tmp/later"]);
    // What would fail for one that boots as well is not the warm image's fault.
    let taken = TcpListener::bind("127.0.0.1:0").expect("port");
    let port = taken.local_addr().expect("address").port();
    let refused = user.run(&["run", "-p", &format!("{port}:80"), "mini", "--", "true"]);
    assert_eq!(refused.code, Some(125), "{refused:?}");
    assert!(!refused.stderr.contains("warm"), "{refused:?}");
    assert_eq!(user.warm_images().len(), 1);
    // It outlives the warm image, and boots when it starts again.
    for image in user.warm_images() {
        fs::remove_dir_all(image).expect("warm image");
    }
    assert_eq!(boot_of(&user).stdout(), warm);
    user.done(&["stop", "web"]);
    user.done(&["start", "web"]);
    user.done(&["wait", "web", "--for", "ready", "--timeout", &timeout(50)]);
    assert_ne!(boot_of(&user).stdout(), warm);
}

#[test]
fn a_script_finds_nothing_of_the_one_before() {
    const TEST: &str = "a_script_finds_nothing_of_the_one_before";
    let Some(user) = User::new(TEST) else {
        return;
    };
    let script = format!("{BOOT}; ls /tmp; date +%s; ls -C /proc/1 | head -2; touch /tmp/typed");
    let first = user.script(&script);
    user.wait_for_warm_images(1);
    let [second, third] = [(); 2].map(|()| user.script(&script));
    let lines = |done: &Finished| -> Vec<String> {
        assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
        done.stdout().lines().map(str::to_owned).collect()
    };
    let [first, second, third] = [first, second, third].each_ref().map(lines);
    assert_ne!(first[0], second[0]);
    assert_eq!(second[0], third[0]);
    // A column of files, and nothing in /tmp.
    assert_eq!(second.len(), 4, "{second:?}");
    assert_eq!(first[2..], third[2..], "the same terminal");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("time");
    let time: u64 = third[1].parse().expect("seconds");
    assert!(time.abs_diff(now.as_secs()) <= 3, "{time}, {now:?}");

    // It ends as the guest does, and not with the script's status.
    for (script, code) in [("exit 3\n", 0), ("poweroff -f\n", 0), ("", 0)] {
        assert_eq!(user.script(script).code, Some(code), "{script:?}");
    }
}

#[test]
fn who_sits_at_a_terminal_gets_a_shell() {
    const TEST: &str = "who_sits_at_a_terminal_gets_a_shell";
    let Some((user, warm)) = User::with_warm_image(TEST) else {
        return;
    };
    for end in ["false; exit", "poweroff"] {
        let mut terminal = Terminal::new();
        let mut shell = terminal.spawn(user.clade(&["run"]));
        let shown = read_until(&mut terminal.user, "mini:~# ");
        assert!(shown.contains("Ctrl-] detaches"), "{shown:?}");
        assert!(
            shown.contains("went on from the warm image in "),
            "{shown:?}"
        );
        assert!(terminal.is_raw());
        writeln!(terminal.user, "{BOOT}").expect("type");
        let hash = warm.split(' ').next().expect("hash");
        read_until(&mut terminal.user, hash);
        writeln!(terminal.user, "{end}").expect("type");
        assert_eq!(wait(&mut shell).code(), Some(0), "{end}");
        terminal.assert_restored();
        user.home.wait_for_no_machines();
    }

    let mut terminal = Terminal::new();
    let mut shell = terminal.spawn(user.clade(&["run", "--name", "box", "mini"]));
    read_until(&mut terminal.user, "mini:~# ");
    terminal
        .user
        .write_all(b"touch /tmp/typed\r")
        .expect("type");
    read_until(&mut terminal.user, "mini:~# ");
    terminal.user.write_all(b"\x1d").expect("type");
    let shown = read_until(&mut terminal.user, "clade stop box");
    assert!(shown.contains("'box' runs on"), "{shown:?}");
    assert_eq!(wait(&mut shell).code(), Some(0));
    terminal.assert_restored();
    user.done(&["exec", "box", "--", "test", "-e", "/tmp/typed"]);
}

#[test]
fn a_warm_image_that_is_damaged_is_dropped_and_the_machine_boots() {
    const TEST: &str = "a_warm_image_that_is_damaged_is_dropped_and_the_machine_boots";
    let Some((user, mut warm)) = User::with_warm_image(TEST) else {
        return;
    };
    for file in ["state.json", "snapshot.json"] {
        let path = user.warm_images()[0].join(file);
        let mut bytes = fs::read(&path).expect("file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        // It is read-only, and replaced as a whole.
        fs::remove_file(&path).expect("file");
        fs::write(&path, bytes).expect("file");
        let done = user.done(&["run", "--name", "box", "mini", "--", "sh", "-c", BOOT]);
        assert_ne!(done.stdout(), warm, "{file}");
        assert!(done.stderr.contains("warning: the warm image"), "{done:?}");
        user.done(&["rm", "box"]);
        user.wait_for_warm_images(1);
        let made = user.boot_of(&[]);
        assert!(made != warm && made != done.stdout(), "{file}");
        warm = made;
    }
    // A guest that does not go on.
    let stopped = |path: &PathBuf| name_of(path).ends_with(".mem");
    let entries = fs::read_dir(&user.warm_images()[0]).expect("folder");
    let mut paths = entries.map(|entry| entry.expect("entry").path());
    let layer = paths.find(stopped).expect("layer");
    fs::remove_file(layer).expect("layer");
    assert_ne!(user.boot_of(&["--name", "box"]), warm);
}

#[test]
fn verify_finds_a_flipped_bit_in_a_warm_image_and_the_next_machine_leaves_another() {
    const TEST: &str = "verify_finds_a_flipped_bit_in_a_warm_image";
    let Some((user, warm)) = User::with_warm_image(TEST) else {
        return;
    };
    let whole = user.done(&["verify"]);
    assert_eq!(whole.stdout(), "the warm image of mini:trixie is whole\n");
    let [image] = &user.warm_images()[..] else {
        panic!("one warm image")
    };
    let files = fs::read_dir(image).expect("folder");
    let mut paths = files.map(|file| file.expect("file").path());
    let layer = paths.find(|path| name_of(path).ends_with(".mem"));
    let layer = layer.expect("a layer of memory");
    // The size and time of a file that a failing disk reads otherwise are as they were.
    let modified = fs::metadata(&layer).and_then(|meta| meta.modified());
    fs::set_permissions(&layer, fs::Permissions::from_mode(0o644)).expect("own file");
    let file = fs::File::options().read(true).write(true).open(&layer);
    let file = file.expect("layer");
    let middle = file.metadata().expect("metadata").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("byte");
    file.write_all_at(&[byte[0] ^ 1], middle).expect("byte");
    file.set_modified(modified.expect("time")).expect("time");

    let found = user.run(&["verify"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout().contains(&name_of(&layer)), "{found:?}");
    assert!(found.stdout().contains("was dropped"), "{found:?}");
    assert!(user.warm_images().is_empty());
    assert_eq!(user.done(&["verify"]).stdout(), "");
    assert_ne!(user.boot_of(&[]), warm);
    user.wait_for_warm_images(1);
    user.done(&["verify"]);
}

#[test]
fn several_at_once_make_one() {
    const TEST: &str = "several_at_once_make_one";
    let Some(user) = User::new(TEST) else {
        return;
    };
    let command = ["run", "mini", "--", "sh", "-c", BOOT];
    let runs = [(); 3].map(|()| user.clade(&command).spawn().expect("clade"));
    let mut ids = runs.map(|run| {
        let done = finish(run);
        assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
        done.stdout().to_owned()
    });
    ids.sort();
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    user.wait_for_warm_images(1);
    wait_until("all makers have gone", || user.maker().is_none());
    assert_eq!(user.warm_images().len(), 1);
    let warm = user.boot_of(&[]);
    assert!(!ids.contains(&warm));
    assert_eq!(user.boot_of(&[]), warm);
}

#[test]
fn whoever_makes_one_can_be_killed_at_any_instant() {
    const TEST: &str = "whoever_makes_one_can_be_killed_at_any_instant";
    let Some(user) = User::new(TEST) else {
        return;
    };
    let mut killed = 0;
    for delay in [0, 300, 900, 1500, 2100, 2700] {
        user.boot_of(&[]);
        thread::sleep(Duration::from_millis(delay));
        if let Some(maker) = user.maker() {
            let _ = kill_process(maker, Signal::KILL);
            killed += 1;
            // Its machine ends with it.
            let machines = user.warm_folder().join("machines/mini/spec.json");
            wait_until("its machine is gone", || !machines.exists());
        }
        if user.warm_images().len() == 1 {
            break;
        }
    }
    assert!(killed > 0, "there was nobody to be killed");
    user.boot_of(&[]);
    user.wait_for_warm_images(1);
    wait_until("all makers have gone", || user.maker().is_none());
    assert_eq!(user.boot_of(&[]), user.boot_of(&[]));
    user.done(&["images"]);
    let left = fs::read_dir(user.warm_folder().join("templates")).expect("folder");
    assert_eq!(left.count(), 1, "something was left behind");
    assert_eq!(user.locks(), Vec::<PathBuf>::new(), "somebody left a lock");
}

#[test]
fn it_goes_with_its_image() {
    const TEST: &str = "it_goes_with_its_image";
    let Some(image) = mini(TEST) else {
        return;
    };
    let user = User {
        _alone: alone(),
        home: Home::new(),
    };
    // The image is to be removed, and so is a copy.
    let folder = image.kernel.parent().expect("folder");
    let copy = user.home.path("cache/clade").join(
        folder
            .strip_prefix(clade_store::Folders::of_user().expect("folders").cache())
            .expect("cache"),
    );
    fs::create_dir_all(&copy).expect("folder");
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        fs::copy(&path, copy.join(name_of(&path))).expect("copy");
    }
    user.boot_of(&[]);
    user.wait_for_warm_images(1);
    user.done(&["run", "-d", "--name", "box", "mini"]);
    user.done(&["rmi", "mini"]);
    assert!(user.warm_images().is_empty());
    user.done(&["exec", "box", "--", "true"]);
}
