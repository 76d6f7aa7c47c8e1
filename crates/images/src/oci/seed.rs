//! What a machine made from an OCI image finds in its initramfs besides what `mini` has there: which
//! process to run in the image, and how.

use std::io;

use super::image::OciProcess;
use crate::cpio;

/// Read by the init of `mini` in place of its own shell.
const START: &str = include_str!("../../guest/oci/start");
/// Runs things inside the image's file system.
const ENTER: &str = include_str!("../../guest/oci/enter");

/// Where programs are looked for if the image does not say, as with other container tools.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl OciProcess {
    /// With `command` in place of the image's own; nothing changes if it is empty.
    #[must_use]
    pub fn with_command(mut self, command: Vec<String>) -> Self {
        if !command.is_empty() {
            self.command = command;
        }
        self
    }

    /// With `entrypoint` in place of the image's own, whose command then does not count either. An
    /// empty one leaves none.
    #[must_use]
    pub fn with_entrypoint(mut self, entrypoint: &str) -> Self {
        self.entrypoint = [entrypoint.to_owned()].into();
        self.entrypoint.retain(|program| !program.is_empty());
        self.command.clear();
        self
    }

    /// The program and its arguments.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let words = self.entrypoint.iter().chain(&self.command);
        words.map(String::as_str)
    }

    /// A cpio archive to be unpacked over the initramfs of `mini`, which then runs this process in
    /// the file system on its first disk, and switches the machine off with the exit status.
    ///
    /// # Errors
    /// A word of the process has a zero byte in it, and there is no such argument.
    pub fn seed(&self, host_name: &str) -> io::Result<Vec<u8>> {
        let mut seed = cpio::Writer::new(Vec::new(), 0);
        seed.folder("oci")?;
        seed.file("oci/start", 0o644, START.as_bytes())?;
        seed.file("oci/enter", 0o755, ENTER.as_bytes())?;
        seed.file("oci/process", 0o644, self.script(host_name)?.as_bytes())?;
        seed.finish()
    }

    /// What `enter` reads about the process.
    fn script(&self, host_name: &str) -> io::Result<String> {
        let path = self.variable("PATH").unwrap_or(DEFAULT_PATH);
        let folder = if self.folder.is_empty() {
            "/"
        } else {
            &self.folder
        };
        let mut environment = format!("{} ", quote(&format!("PATH={path}")));
        for variable in &self.environment {
            // What is no variable would be taken for the program.
            if variable.find('=').is_some_and(|at| at > 0) {
                environment += &format!("{} ", quote(variable));
            }
        }
        let words: Vec<_> = self.words().map(quote).collect();
        let script = format!(
            "user={}\nfolder={}\nhost_name={}\nsearch={}\n\
             start() {{ as_user \"HOME=$home\" \"HOSTNAME=$host_name\" ${{TERM:+\"TERM=$TERM\"}} \
             {environment}\"$@\"; }}\n\
             process() {{ execute {}; }}\n",
            quote(&self.user),
            quote(folder),
            quote(host_name),
            quote(path),
            words.join(" "),
        );
        if script.contains('\0') {
            let reason = "a word of the command or environment has a zero byte in it";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        Ok(script)
    }

    /// A variable's value; the last one counts.
    fn variable(&self, name: &str) -> Option<&str> {
        let value = |variable: &'_ String| -> Option<usize> {
            let (found, _) = variable.split_once('=')?;
            (found == name).then_some(name.len() + 1)
        };
        let mut variables = self.environment.iter().rev();
        variables.find_map(|variable| value(variable).map(|start| &variable[start..]))
    }
}

/// A word as a shell reads it, whatever is in it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn process() -> OciProcess {
        OciProcess {
            entrypoint: words(&["/entry", "-x"]),
            command: words(&["serve"]),
            ..OciProcess::default()
        }
    }

    #[test]
    fn a_command_replaces_the_command_and_an_entrypoint_both() {
        let all = |process: OciProcess| process.words().collect::<Vec<_>>().join(" ");
        assert_eq!(all(process()), "/entry -x serve");
        assert_eq!(all(process().with_command(Vec::new())), "/entry -x serve");
        assert_eq!(
            all(process().with_command(words(&["a", "b"]))),
            "/entry -x a b"
        );
        assert_eq!(all(process().with_entrypoint("sh")), "sh");
        let both = process().with_entrypoint("").with_command(words(&["ls"]));
        assert_eq!(all(both), "ls");
    }

    /// A shell is the oracle: what comes out of the script is what went in.
    #[test]
    fn every_word_reaches_the_process_as_it_is() {
        let odd = "it's $HOME `id` \"x\" \\ \n* é\t";
        let process = OciProcess {
            entrypoint: words(&[odd, ""]),
            command: words(&["--", "-n", "!"]),
            environment: words(&[
                "A=1",
                &format!("ODD={odd}"),
                "PATH=/one",
                "none",
                "=x",
                "PATH=/b",
            ]),
            user: "us'er".to_owned(),
            folder: String::new(),
        };
        let script = process.script("box").unwrap();
        let program = format!(
            "{script}\nas_user() {{ printf '%s\\0' \"$@\"; }}\n\
             execute() {{ printf '%s\\0' \"$user\" \"$folder\" \"$search\" \"$@\"; }}\n\
             process; home=/root; start prog arg"
        );
        let output = Command::new("sh")
            .args(["-c", &program])
            .env_remove("TERM")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let printed: Vec<_> = text.split_terminator('\0').collect();
        let odd_variable = format!("ODD={odd}");
        let expected = [
            "us'er",
            "/",
            "/b",
            odd,
            "",
            "--",
            "-n",
            "!",
            "HOME=/root",
            "HOSTNAME=box",
            "PATH=/b",
            "A=1",
            &odd_variable,
            "PATH=/one",
            "PATH=/b",
            "prog",
            "arg",
        ];
        assert_eq!(printed, expected);
    }

    #[test]
    fn a_zero_byte_is_refused() {
        let bad = process().with_command(words(&["a\0b"]));
        assert!(
            bad.seed("box")
                .unwrap_err()
                .to_string()
                .contains("zero byte")
        );
    }
}
