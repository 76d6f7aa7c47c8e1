//! What is to be run, and how the guest's shell is told of it.

use std::time::Duration;

/// A terminal that the command gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// What kind it is (`TERM`).
    pub kind: String,
    /// Its width and height in characters.
    pub size: (u16, u16),
}

/// A command to be run in a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// Variables that are added to its environment.
    pub environment: Vec<(String, String)>,
    /// The folder that it starts in, in place of its user's own.
    pub folder: Option<String>,
    /// The user that it runs as, in place of root.
    pub user: Option<String>,
    /// Its terminal; without one it has three streams.
    pub terminal: Option<Terminal>,
    /// Whether it is for the machine itself, where its users' guest is one within it (an OCI image). Only the
    /// agent makes a difference.
    pub outer: bool,
    /// The time since 1970 to which the guest's clock is set before, if it is more than a second off. Only
    /// the agent does that.
    pub clock: Option<Duration>,
    /// The Ethernet address that the guest's network card is given before. Only the agent does that.
    pub address: Option<[u8; 6]>,
}

impl Command {
    /// A command line for the guest's shell, which takes every argument as it is. The shell gives
    /// way to the command, so that signals reach it.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        if let Some(folder) = &self.folder {
            // As other programs that start programs say that they cannot.
            line.push_str(&format!("cd -- {} || exit 126; ", quote(folder)));
        }
        line.push_str("exec");
        if !self.environment.is_empty() {
            line.push_str(" env");
        }
        let variables = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        for word in variables.chain(self.arguments.iter().cloned()) {
            line.push(' ');
            line.push_str(&quote(&word));
        }
        match &self.user {
            Some(user) => format!("exec su -s /bin/sh -c {} -- {}", quote(&line), quote(user)),
            None => line,
        }
    }
}

/// Within quotes nothing has a meaning for a shell but their end.
fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arguments: &[&str]) -> Command {
        Command {
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            ..Command::default()
        }
    }

    #[test]
    fn a_shell_takes_every_argument_as_it_is() {
        let odd = [
            "a b", "", "'", "''", "\"", "$HOME", "`id`", "\\", "a\nb", "*", "~", "!", "é", "-n",
            "a=b", "#", "\t", "&", ";", "{a,b}", "\u{1}",
        ];
        let line = command(&[&["printf", "%s\\0"], &odd[..]].concat()).line();
        let output = std::process::Command::new("sh")
            .args(["-c", &line])
            .output()
            .unwrap();
        let expected: String = odd.iter().map(|word| format!("{word}\0")).collect();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }

    #[test]
    fn environment_and_folder_reach_the_command() {
        let line = Command {
            environment: vec![("A".into(), "x y".into()), ("B".into(), "'".into())],
            folder: Some("/tmp".into()),
            ..command(&["sh", "-c", "echo \"$A$B\" $PWD"])
        }
        .line();
        let output = std::process::Command::new("sh")
            .args(["-c", &line])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "x y' /tmp\n");
        let nowhere = Command {
            folder: Some("/does/not/exist".into()),
            ..command(&["true"])
        };
        let status = std::process::Command::new("sh")
            .args(["-c", &nowhere.line()])
            .output()
            .unwrap()
            .status;
        assert_eq!(status.code(), Some(126));
    }

    #[test]
    fn another_user_is_a_matter_of_su() {
        let line = Command {
            user: Some("www data".into()),
            ..command(&["id", "-u x"])
        };
        let expected = r"exec su -s /bin/sh -c 'exec id '\''-u x'\''' -- 'www data'";
        assert_eq!(line.line(), expected);
    }
}
