//! The tests of the KVM engine, in a machine that has KVM.

use crate::Options;
use crate::machine::{self, Machine};
use crate::system::{self, System, Work};

/// Scripts, by their names.
const SCRIPTS: [(&str, &str); 2] = [
    (
        "nested-paging",
        include_str!("../guest/tests/nested-paging"),
    ),
    ("machine", include_str!("../guest/tests/machine")),
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
        ],
    ),
];
/// Tests of those that are not run there, and why.
const LEFT_OUT: [(&str, &str); 5] = [
    (
        "a_slow_reader_gets_every_byte",
        "2.5 million exits take four minutes there",
    ),
    (
        "damage::",
        "what it damages are files, the same on any engine, and it takes minutes there",
    ),
    (
        "settling::",
        "four machines that check themselves keep one emulated processor for more than the test's minute",
    ),
    (
        "parallel::",
        "twenty machines at once are too many for one emulated processor",
    ),
    (
        "walk::every_branch_of_a_machine_with_four_harts",
        "four vCPUs are too many for one emulated processor",
    ),
];
/// What tests are told: the engine, and to be brief.
const ENVIRONMENT: &str =
    "CLADE_ENGINE=kvm CLADE_EXEC_MEGABYTES=10 CLADE_BRANCH_STEPS=10 CLADE_BRANCH_KILLS=3";
/// How long a machine may take, in seconds, on a host that is busy, too.
const SECONDS: u64 = 900;
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
}

/// Runs all tests, or those whose names begin as the arguments say, in one machine.
pub(crate) fn run(mut options: Options) -> Result<u8, String> {
    if let Some(reason) = machine::missing().or_else(system::out_of_reach) {
        println!("SKIPPED the tests of the KVM engine: {reason}");
        return Ok(0);
    }
    if options.machine.seconds == Machine::default().seconds {
        options.machine.seconds = SECONDS;
    }
    let mut tests = tests(&mut options.system)?;
    let is_wanted = |name: &str| options.rest.iter().any(|rest| name.starts_with(rest));
    tests.retain(|test| options.rest.is_empty() || is_wanted(&test.name));
    if tests.is_empty() {
        return Err(format!("no test is called {}", options.rest.join(" or ")));
    }
    let mut passed = 0;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            println!("Once more, in another machine, what did not pass.");
        }
        let boot = options.system.assemble(&Work::Script(script(&tests)))?;
        let mut outcome = Outcome::default();
        let ran = options.machine.run(&boot, |line| outcome.hear(line));
        if let Err(reason) = &ran {
            println!("{reason}");
        }
        tests.retain(|test| !outcome.passed.contains(&test.name));
        passed += outcome.passed.len();
        for Test { name, .. } in &tests {
            let how = match outcome.failed.contains(name) {
                true => "FAILED",
                false => "did not end",
            };
            println!("test {name} ... {how}");
        }
        if tests.is_empty() {
            break;
        }
    }
    for (name, reason) in LEFT_OUT {
        println!("SKIPPED {}: {reason}", name.trim_end_matches("::"));
    }
    println!("{passed} passed, {} failed", tests.len());
    Ok(u8::from(!tests.is_empty()))
}

/// All tests, those first that say most in least time, with what they need in the machine.
fn tests(system: &mut System) -> Result<Vec<Test>, String> {
    system.add_clade()?;
    system.add_mini()?;
    system.add_packages()?;
    system.add_tools()?;
    let mut tests = Vec::new();
    for (name, script) in SCRIPTS {
        let path = format!("{FOLDER}/{name}");
        system.add_content(&path, script.as_bytes());
        tests.push(Test {
            name: name.to_owned(),
            command: format!("sh /{path}"),
        });
    }
    let skips = LEFT_OUT.map(|(name, _)| format!("--skip {name}")).join(" ");
    for (package, only) in PACKAGES {
        let mut paths = system.add_tests(package, only)?;
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        paths.sort_by_key(|path| only.iter().position(|only| *only == name(path)));
        for path in paths {
            tests.push(Test {
                name: format!("{package}/{}", name(&path)),
                command: format!("{ENVIRONMENT} /{path} --test-threads 1 {skips}"),
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
            return;
        };
        let list = match status {
            "0" => &mut self.passed,
            _ => &mut self.failed,
        };
        println!("== {name}: {}", if status == "0" { "ok" } else { "FAILED" });
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
}
