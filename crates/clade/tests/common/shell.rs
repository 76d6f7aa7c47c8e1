//! The shell of a guest, talked to over its console.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};

/// `clade run mini`, with pipes. The machine goes with its client, and this value with both.
pub(crate) struct Shell {
    client: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Shell {
    /// Of a client whose standard input and output are pipes.
    pub(crate) fn of(mut client: Child) -> Self {
        Self {
            input: client.stdin.take(),
            output: BufReader::new(client.stdout.take().expect("piped")),
            client,
        }
    }

    /// Runs a script, and returns what it prints on either stream.
    pub(crate) fn run(&mut self, script: &str) -> String {
        const END: &str = "-- that was all --";
        self.send(&format!("{{ {script}\n}} 2>&1; echo; echo '{END}'"));
        let mut printed = String::new();
        loop {
            let Some(line) = self.line() else {
                panic!("the guest has ended; it printed {printed}");
            };
            if line.trim_end() == END {
                return printed.trim().to_owned();
            }
            printed.push_str(&line);
        }
    }

    /// Runs a script, and does not wait.
    pub(crate) fn send(&mut self, script: &str) {
        let input = self.input.as_mut().expect("piped");
        writeln!(input, "{script}").expect("it listens");
    }

    /// What is written here is typed; nothing else is any more.
    pub(crate) fn take_input(&mut self) -> ChildStdin {
        self.input.take().expect("piped")
    }

    /// The next line that it prints, or nothing if it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line).expect("text");
        (length > 0).then_some(line)
    }

    /// What it prints up to a line that ends with `word`, that line included.
    pub(crate) fn until(&mut self, word: &str) -> String {
        let mut printed = String::new();
        while let Some(line) = self.line() {
            printed.push_str(&line);
            if line.trim_end().ends_with(word) {
                return printed;
            }
        }
        panic!("the guest has ended without {word:?}; it printed {printed}");
    }

    /// Waits for the end of a machine that ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.input = None;
        while self.line().is_some() {}
        self.client.wait().expect("clade")
    }

    /// Ends the input, and with it the guest.
    pub(crate) fn end(mut self) {
        assert!(self.wait().success());
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}
