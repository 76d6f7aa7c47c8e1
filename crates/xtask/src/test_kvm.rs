//! The tests of the KVM engine, in a machine that has KVM.

use crate::Options;
use crate::machine::{self, Machine};
use crate::system::{self, System, Work};

/// Scripts, by their names.
const SCRIPTS: [(&str, &str); 3] = [
    (
        "nested-paging",
        include_str!("../guest/tests/nested-paging"),
    ),
    ("machine", include_str!("../guest/tests/machine")),
    ("power-button", include_str!("../guest/tests/power-button")),
];
/// Packages whose tests are run there, with the names of those of `tests/` if not all are.
const PACKAGES: [(&str, &[&str]); 2] = [
    ("clade-kvm", &[]),
    (
        "clade",
        &[
            "life",
            "suspended",
            "tree",
            "machines",
            "terminal",
            "exec",
            "templates",
            "branch",
            "disks",
            "firmware",
            "network",
            "shares",
            "serial",
            "generation",
            "warm",
            "oci",
            "branches",
            "boot",
            "memory",
            "interrupts",
            "debian",
            "registry",
            "busy",
            "readers",
        ],
    ),
];
/// What tests are told: the engine, to be brief, and that this takes its time.
const ENVIRONMENT: &str = "CLADE_ENGINE=kvm CLADE_TEST_PATIENCE=5 CLADE_EXEC_MEGABYTES=10 \
                           CLADE_BRANCH_STEPS=10 CLADE_BRANCH_KILLS=3";
/// Programs with something to be done before. QEMU 7.2 aborts where a guest writes its task priority while an
/// interrupt waits for it, which UEFI does at the end of every tick of its timer: ticks are to be seldom.
/// A disk may still have machines that ended with one of ours.
const BEFORE: [(&str, &str); 2] = [
    (
        "clade/firmware",
        "echo 100000 >/sys/module/kvm/parameters/min_timer_period_us",
    ),
    (
        "clade/debian",
        "sh /root/scripts/mirror || exit 0; rm -rf $XDG_DATA_HOME/clade/machines $XDG_DATA_HOME/clade/warm",
    ),
];
/// Programs whose image is built there, from a mirror, and kept for the next time on a disk, which is beside
/// this program.
const WITH_DISK: [&str; 1] = ["clade/debian"];
const DISK: &str = "test-kvm-disk";
/// Where `clade` looks for the mirror.
const CONFIG: &str = "root/.config/clade/config.toml";
/// How long a program may take, in seconds, on a host that is busy, too.
const SECONDS: u64 = 3600;
/// QEMU's emulation of a processor with SVM has faults of its own (CONTRIBUTING.md): what fails must fail
/// twice.
const ATTEMPTS: u32 = 2;

/// Where they go.
const FOLDER: &str = "root/scripts";

/// What is run in the machine: a name, and a command of its shell.
struct Test {
    name: String,
    command: String,
}

/// What the machine said of the tests that it ran.
#[derive(Default)]
struct Outcome {
    passed: Vec<String>,
    failed: Vec<String>,
    /// The program that runs found nothing to do.
    idle: bool,
}

/// Which tests are wanted, by words that each say how the name of a program begins and, behind `::`, what
/// its functions have in their names. Without words, all are.
struct Choice(Vec<String>);

impl Choice {
    fn parts(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|word| match word.split_once("::") {
            Some((program, function)) => (program, Some(function)),
            None => (word.as_str(), None),
        })
    }

    fn wants(&self, program: &str) -> bool {
        self.0.is_empty() || self.parts().any(|part| is_of(program, part))
    }

    /// Whether it may want programs of a package.
    fn wants_of(&self, package: &str) -> bool {
        let folder = format!("{package}/");
        let wanted = |(word, _): (&str, _)| word.starts_with(&folder) || folder.starts_with(word);
        self.0.is_empty() || self.parts().any(wanted)
    }

    /// What a program's harness is told: the functions that are wanted, if not all are.
    fn arguments(&self, program: &str) -> String {
        let wanted = self.parts().filter(|part| is_of(program, *part));
        let functions: Option<Vec<_>> = wanted.map(|(_, function)| function).collect();
        functions.unwrap_or_default().join(" ")
    }
}

/// Whether the program has what a word names. Functions are those of one program.
fn is_of(program: &str, (word, function): (&str, Option<&str>)) -> bool {
    match function {
        Some(_) => program == word,
        None => program.starts_with(word),
    }
}

/// Runs all tests, or those that the arguments name, in one machine.
pub(crate) fn run(mut options: Options) -> Result<u8, String> {
    if let Some(reason) = machine::missing().or_else(system::out_of_reach) {
        println!("SKIPPED the tests of the KVM engine: {reason}");
        return Ok(0);
    }
    if options.machine.seconds == Machine::default().seconds {
        options.machine.seconds = SECONDS;
    }
    let choice = Choice(std::mem::take(&mut options.rest));
    let tests = tests(&mut options.system, &choice)?;
    if tests.is_empty() {
        return Err(format!("no test is called {}", choice.0.join(" or ")));
    }
    let (with_disk, mut without): (Vec<_>, Vec<_>) = tests
        .into_iter()
        .partition(|test| WITH_DISK.contains(&test.name.as_str()));
    let mut passed = pass(&options, &mut without)?;
    let mut failed = without;
    if !with_disk.is_empty() {
        match add_disk(&mut options)? {
            Some(reason) => {
                let names = with_disk.iter().map(|test| &test.name);
                names.for_each(|name| println!("SKIPPED {name}: {reason}"));
            }
            None => {
                let mut tests = with_disk;
                passed += pass(&options, &mut tests)?;
                failed.extend(tests);
            }
        }
    }
    println!("{passed} passed, {} failed", failed.len());
    Ok(u8::from(!failed.is_empty()))
}

/// Gives the machine a network and its disk; or says why it cannot have them.
fn add_disk(options: &mut Options) -> Result<Option<String>, String> {
    let mirror = match clade_images::find_mirror(None) {
        Ok(mirror) => mirror.url,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let config = format!("mirror = \"{mirror}\"\n");
    let check = format!(
        "wget -q -O /dev/null {mirror}/dists/trixie/InRelease || {{ echo SKIPPED: {mirror} is out of reach there; exit 1; }}\n"
    );
    let system = &mut options.system;
    system.add_content(CONFIG, config.as_bytes());
    system.add_content(&format!("{FOLDER}/mirror"), check.as_bytes());
    options.machine.network = true;
    if options.machine.disk.is_none() {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let path = program.with_file_name(DISK);
        if !path.exists() {
            system::make_disk(&path)?;
        }
        options.machine.disk = Some(path);
    }
    Ok(None)
}

/// Runs tests, all in one machine. Those that do not pass are left; gives how many did.
fn pass(options: &Options, tests: &mut Vec<Test>) -> Result<usize, String> {
    let mut passed = 0;
    for attempt in 0..ATTEMPTS {
        if tests.is_empty() {
            break;
        }
        if attempt > 0 {
            println!("Once more, in another machine, what did not pass.");
        }
        let boot = options.system.assemble(&Work::Script(script(tests)))?;
        let mut outcome = Outcome::default();
        let ran = options.machine.run(&boot, |line| outcome.hear(line));
        if let Err(reason) = &ran {
            println!("{reason}");
        }
        tests.retain(|test| !outcome.passed.contains(&test.name));
        passed += outcome.passed.len();
        for Test { name, .. } in tests.iter() {
            let how = match outcome.failed.contains(name) {
                true => "FAILED",
                false => "did not end",
            };
            println!("test {name} ... {how}");
        }
    }
    Ok(passed)
}

/// The tests that are wanted, those first that say most in least time, with what they need in the machine.
fn tests(system: &mut System, choice: &Choice) -> Result<Vec<Test>, String> {
    system.add_clade()?;
    system.add_mini()?;
    system.add_packages()?;
    system.add_tools()?;
    let mut tests = Vec::new();
    for (name, script) in SCRIPTS.into_iter().filter(|(name, _)| choice.wants(name)) {
        let path = format!("{FOLDER}/{name}");
        system.add_content(&path, script.as_bytes());
        tests.push(Test {
            name: name.to_owned(),
            command: format!("sh /{path}"),
        });
    }
    for (package, programs) in PACKAGES {
        let name = |path: &str| format!("{package}/{}", path.rsplit('/').next().unwrap_or(path));
        let wanted = programs
            .iter()
            .filter(|name| choice.wants(&format!("{package}/{name}")));
        let wanted: Vec<_> = wanted.copied().collect();
        let wants_none = wanted.is_empty() && !programs.is_empty();
        if wants_none || !choice.wants_of(package) {
            continue;
        }
        let mut paths = system.add_tests(package, &wanted)?;
        paths.sort_by_key(|path| {
            wanted
                .iter()
                .position(|wanted| name(path).ends_with(&format!("/{wanted}")))
        });
        for path in paths.iter().filter(|path| choice.wants(&name(path))) {
            let (name, arguments) = (name(path), choice.arguments(&name(path)));
            let before = BEFORE.iter().find(|(program, _)| name == *program);
            let before = before.map_or("true", |(_, command)| command);
            tests.push(Test {
                command: format!("{before}; {ENVIRONMENT} /{path} --test-threads 1 {arguments}"),
                name,
            });
        }
    }
    Ok(tests)
}

/// One test after the other, each with a line before it and one behind it.
fn script(tests: &[Test]) -> String {
    let mut script = String::new();
    for Test { name, command } in tests {
        script.push_str(&format!(
            "echo '== {name}'\n( {command} )\nstatus=$?\nprintf '\\n@@ {name} %s\\n' $status\n"
        ));
    }
    script
}

impl Outcome {
    /// Takes a line that the machine printed: `@@ NAME STATUS` ends a test.
    fn hear(&mut self, line: &str) {
        let Some((name, status)) = line
            .strip_prefix("@@ ")
            .and_then(|rest| rest.rsplit_once(' '))
        else {
            println!("{line}");
            self.idle |= line == "running 0 tests";
            return;
        };
        let is_idle = std::mem::take(&mut self.idle);
        let (list, how) = match status {
            "0" if !is_idle => (&mut self.passed, "ok"),
            _ => (&mut self.failed, "FAILED"),
        };
        println!("== {name}: {how}");
        list.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_pass_or_fail_by_their_status() {
        let mut outcome = Outcome::default();
        for line in ["@@ a 0", "@@ b 1", "c 0", "@@ d 143"] {
            outcome.hear(line);
        }
        assert_eq!(outcome.passed, ["a"]);
        assert_eq!(outcome.failed, ["b", "d"]);
    }

    #[test]
    fn a_program_that_tests_nothing_fails() {
        let mut outcome = Outcome::default();
        for line in ["running 0 tests", "@@ a 0", "running 1 test", "@@ b 0"] {
            outcome.hear(line);
        }
        assert_eq!(outcome.passed, ["b"]);
        assert_eq!(outcome.failed, ["a"]);
    }

    #[test]
    fn words_choose_programs_and_functions() {
        let choice = |words: &[&str]| Choice(words.iter().map(|word| (*word).to_owned()).collect());
        let some = choice(&["clade/branch::walk", "clade/branch::kills", "machine"]);
        assert!(some.wants("clade/branch") && some.wants("machine"));
        assert!(!some.wants("clade/tree") && !some.wants("clade-kvm/guests"));
        assert!(!some.wants("clade/branches"));
        assert!(some.wants_of("clade") && !some.wants_of("clade-kvm"));
        assert_eq!(some.arguments("clade/branch"), "walk kills");
        let all = choice(&[]);
        assert!(all.wants("clade/tree") && all.wants_of("clade-kvm"));
        assert_eq!(all.arguments("clade/tree"), "");
        let whole = choice(&["clade/branch", "clade/branch::walk"]);
        assert_eq!(whole.arguments("clade/branch"), "");
    }
    #[test]
    fn no_program_of_the_commands_tests_is_forgotten() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../clade/tests");
        let entries = std::fs::read_dir(folder).expect("tests");
        let names = entries.map(|entry| entry.expect("entry").file_name());
        let names = names.map(|name| name.into_string().expect("plain name"));
        let stems = names.map(|name| name.trim_end_matches(".rs").to_owned());
        // The first is what they share, the second is about the command line alone.
        let mut programs: Vec<_> = stems
            .filter(|name| !["common", "cli"].contains(&&**name))
            .collect();
        let [_, (_, known)] = PACKAGES;
        let mut known = known.to_vec();
        programs.sort_unstable();
        known.sort_unstable();
        assert_eq!(programs, known);
    }
}
