//! A shell of the user's own, in a machine that goes on from memory: its console is where it was.

use std::io::{self, IsTerminal};

use clade_guest::Command;

use crate::errand::Errand;
use crate::failure::Failure;
use crate::remote;

/// What root would have.
const SHELL: &str = "exec \"${SHELL:-/bin/sh}\" -l";

/// In `mini`, what its console has: its init's shell, with its prompt and its `poweroff`, and without its
/// greeting.
const MINI_SHELL: &str = r"export ENV=/etc/shell PS1='mini:\w# '; exec sh -i >/dev/null";

/// A shell for whoever sits at the terminal, in a machine of this image.
pub(super) fn at_terminal(image: &str) -> Result<Errand, Failure> {
    let script = match clade_images::is_mini(image) {
        true => MINI_SHELL,
        false => SHELL,
    };
    errand(&["sh", "-c", script], true)
}

/// One for whoever sits at the terminal, or else for the script on standard input.
pub(super) fn for_input(image: &str) -> Result<Errand, Failure> {
    match io::stdin().is_terminal() {
        true => at_terminal(image),
        false => errand(&["sh"], false),
    }
}

fn errand(words: &[&str], is_shell: bool) -> Result<Errand, Failure> {
    Ok(Errand {
        command: Command {
            arguments: words.iter().map(ToString::to_string).collect(),
            terminal: is_shell.then(remote::terminal).transpose()?,
            ..Command::default()
        },
        reads: true,
        is_shell,
    })
}
