//! `clade ssh-config`

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clade_guest::Key;
use clade_manager::Machines;

use crate::failure::Failure;
use crate::verbs::ssh_proxy;

/// What follows a machine's name where `ssh` wants a host's.
pub(crate) const SUFFIX: &str = ".clade";

/// Print what lets `ssh NAME.clade`, scp, rsync and editors into machines.
///
/// To keep it: `clade ssh-config > ~/.ssh/clade`, and `Include ~/.ssh/clade` at the beginning of
/// `~/.ssh/config`. To use it once: `ssh -F <(clade ssh-config) NAME.clade`.
#[derive(Debug, clap::Args)]
pub(crate) struct SshConfig {
    /// A machine; without it, for all there are and will be.
    machine: Option<String>,
}

impl SshConfig {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let host = match self.machine {
            Some(text) => Machines::of_user()?.find(&text)?.spec.name,
            None => "*".to_owned(),
        };
        let program = env::current_exe()?;
        let key = Key::of_user()?;
        io::stdout()
            .write_all(config(&host, &program, key.path()).as_bytes())
            .map_err(|error| Failure::of_output(&error))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The server's key is not looked at: the way there leads to nobody else.
fn config(host: &str, program: &Path, key: &Path) -> String {
    format!(
        "Host {host}{SUFFIX}\n    \
             User root\n    \
             ProxyCommand {} {} %h\n    \
             IdentityFile {}\n    \
             IdentitiesOnly yes\n    \
             StrictHostKeyChecking no\n    \
             UserKnownHostsFile /dev/null\n    \
             LogLevel ERROR\n",
        quote(program),
        ssh_proxy::NAME,
        quote(key),
    )
}

/// In `ssh_config` a path with spaces stands in quotes, and `%` is doubled.
fn quote(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_understands_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let text = config(
            "*",
            Path::new("/opt/my clade"),
            Path::new("/home/a b/id_ed25519"),
        );
        std::fs::write(&file, text).unwrap();
        let Ok(output) = std::process::Command::new("ssh")
            .arg("-G")
            .arg("-F")
            .args([file.as_os_str(), "web.clade".as_ref()])
            .output()
        else {
            println!("SKIPPED: there is no ssh (package openssh-client)");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in [
            "user root",
            "proxycommand \"/opt/my clade\" ssh-proxy %h",
            "identityfile /home/a b/id_ed25519",
            "identitiesonly yes",
        ] {
            assert!(said.lines().any(|said| said == line), "{line}\n{said}");
        }
    }
}
