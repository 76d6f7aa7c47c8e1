//! The key that lets this user into their machines.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use clade_store::Folders;
use rustix::rand::{GetRandomFlags, getrandom};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

use crate::Error;

const FILE: &str = "id_ed25519";

/// An Ed25519 key, one for each user, in a file as OpenSSH has it, so that `ssh` can use it, too.
#[derive(Debug, Clone)]
pub struct Key {
    path: PathBuf,
    private: PrivateKey,
}

impl Key {
    /// The key of the user who runs this process; made when it is first asked for.
    ///
    /// # Errors
    /// When there is nowhere to keep it, or something else is in its place.
    pub fn of_user() -> Result<Self, Error> {
        Self::in_folder(&Folders::of_user()?.data().join("ssh"))
    }

    /// The key in `folder`, which is made, and must be this user's alone.
    ///
    /// # Errors
    /// As for [`Key::of_user`].
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        if !path.exists() {
            if let Some(parent) = folder.parent() {
                clade_store::create_folder(parent)?;
            }
            clade_store::private_folder(folder)?;
            make(&path)?;
        }
        Self::from_file(path)
    }

    /// The file of the private key.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public key as a line of `authorized_keys`, without a line's end: `ssh-ed25519 AAAA...`.
    pub fn public(&self) -> String {
        let key = self.private.public_key().key_data().clone();
        // Only keys of unknown kinds cannot be written.
        ssh_key::PublicKey::from(key)
            .to_openssh()
            .unwrap_or_default()
    }

    /// The second word of [`Key::public`], which no other key has.
    pub fn base64(&self) -> String {
        let public = self.public();
        public.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// A new key for a server, not kept anywhere: a line for its public part, and behind it the private one as OpenSSH
    /// has it in files.
    ///
    /// # Errors
    /// The host has no random numbers.
    pub fn new_pair() -> Result<String, Error> {
        let private = generate()?;
        let encoded = private.public_key().to_openssh().and_then(|public| {
            let private = private.to_openssh(LineEnding::LF)?;
            Ok(format!("{public}\n{}", *private))
        });
        encoded.map_err(|error| Error::Key {
            path: "a new key".to_owned(),
            reason: error.to_string(),
        })
    }

    /// The key in a file that has one.
    ///
    /// # Errors
    /// It cannot be read, or is no Ed25519 key without a password.
    pub fn from_file(path: PathBuf) -> Result<Self, Error> {
        let text = fs::read(&path).map_err(|error| io_error("read", &path, error))?;
        let private = PrivateKey::from_openssh(&text).map_err(|error| Error::Key {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        match private.key_data() {
            KeypairData::Ed25519(_) => Ok(Self { path, private }),
            _ => Err(Error::Key {
                path: path.display().to_string(),
                reason: "it is not an Ed25519 key without a password".to_owned(),
            }),
        }
    }

    pub(crate) fn for_client(&self) -> Result<makiko::Privkey, Error> {
        let fail = |reason: String| Error::Key {
            path: self.path.display().to_string(),
            reason,
        };
        let text = self.private.to_openssh(LineEnding::LF);
        let text = text.map_err(|error| fail(error.to_string()))?;
        makiko::keys::decode_pem_privkey(text.as_bytes(), b"")
            .map_err(|error| fail(error.to_string()))
    }
}

fn generate() -> Result<PrivateKey, Error> {
    let mut seed = [0; 32];
    getrandom(&mut seed, GetRandomFlags::empty()).map_err(|error| Error::Host {
        what: "random bytes",
        source: error.into(),
    })?;
    Ok(PrivateKey::from(Ed25519Keypair::from_seed(&seed)))
}

/// Makes a key; whoever comes first wins, and half a key is never seen.
fn make(path: &Path) -> Result<(), Error> {
    let text = generate()?
        .to_openssh(LineEnding::LF)
        .map_err(|error| Error::Key {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
    // Several processes, and several threads of one, may be about it.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let turn = NEXT.fetch_add(1, Ordering::Relaxed);
    let staged = path.with_extension(format!("{}-{turn}", process::id()));
    let written = write_private(&staged, text.as_bytes()).and_then(|()| link(&staged, path));
    let _ = fs::remove_file(&staged);
    written.map_err(|error| io_error("write", path, error))
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn io_error(doing: &'static str, path: &Path, error: io::Error) -> Error {
    clade_store::Error::io(doing, path, error).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    #[test]
    fn everybody_gets_the_same_key_and_nobody_else_can_read_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("clade/ssh");
        let public = thread::scope(|scope| {
            let ask = || Key::in_folder(&folder).unwrap().public();
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            asked
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert!(public[0].starts_with("ssh-ed25519 AAAA"), "{public:?}");
        assert!(public.iter().all(|key| *key == public[0]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let key = Key::in_folder(&folder).unwrap();
        assert_eq!((mode(&folder), mode(key.path())), (0o700, 0o600));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(key.for_client().is_ok());
    }

    #[test]
    fn what_is_no_key_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(FILE), "mine").unwrap();
        let error = Key::in_folder(home.path()).unwrap_err().to_string();
        assert!(error.contains("id_ed25519 is no SSH key"), "{error}");
    }
}
