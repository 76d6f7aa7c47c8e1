//! The seed of cloud images: a small disk from which cloud-init takes its instructions
//! (cloud-init documentation, "NoCloud": a FAT volume named `CIDATA`).

use std::io::{self, Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

/// Size of the disk in bytes.
const SIZE: u64 = 2 << 20;

/// The most user data that it takes, in bytes.
pub const MAX_USER_DATA: usize = 1 << 20;

/// Makes the content of a seed disk. `instance` tells machines apart: cloud-init does its work
/// once for each. `user_data` is a cloud-config or a script, at most [`MAX_USER_DATA`] bytes.
///
/// # Errors
/// When there is more user data than that.
pub fn seed(instance: &str, host_name: &str, user_data: &[u8]) -> io::Result<Vec<u8>> {
    if user_data.len() > MAX_USER_DATA {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "user data have {} bytes; {MAX_USER_DATA} are possible",
                user_data.len()
            ),
        ));
    }
    let mut disk = Cursor::new(vec![0; SIZE as usize]);
    let options = FormatVolumeOptions::new()
        .volume_label(*b"CIDATA     ")
        .fat_type(FatType::Fat12);
    fatfs::format_volume(&mut disk, options)?;
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new())?;
        let meta_data = format!("instance-id: {instance}\nlocal-hostname: {host_name}\n");
        let write = |name, content: &[u8]| -> io::Result<()> {
            let mut file = volume.root_dir().create_file(name)?;
            file.write_all(content)?;
            file.flush()
        };
        write("meta-data", meta_data.as_bytes())?;
        write("user-data", user_data)?;
    }
    Ok(disk.into_inner())
}

/// User data for those who give none: these SSH keys for the image's own user and root.
pub fn default_user_data(ssh_keys: &[String]) -> String {
    let mut text = String::from("#cloud-config\ndisable_root: false\n");
    if !ssh_keys.is_empty() {
        text.push_str("ssh_authorized_keys:\n");
    }
    for key in ssh_keys {
        // JSON strings are YAML strings.
        text.push_str(&format!("  - {}\n", serde_json::Value::from(key.trim())));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_seed_is_a_fat_volume_that_others_recognise() {
        let user_data = default_user_data(&["ssh-ed25519 AAAA me@host\n".to_owned()]);
        let disk = seed("i-1", "web", user_data.as_bytes()).unwrap();
        let volume = FileSystem::new(Cursor::new(disk.clone()), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label(), "CIDATA");
        let mut names: Vec<String> = volume
            .root_dir()
            .iter()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "CIDATA")
            .collect();
        names.sort();
        assert_eq!(names, ["meta-data", "user-data"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &disk).unwrap();
        let blkid = Command::new("blkid").arg("-p").arg(file.path()).output();
        match blkid {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(
                    text.contains("LABEL=\"CIDATA\"") && text.contains("vfat"),
                    "{text}"
                );
            }
            Err(error) => eprintln!("partly skipped: no blkid to ask: {error}"),
        }
    }

    #[test]
    fn default_user_data_are_yaml_with_the_keys() {
        let text = default_user_data(&["ssh-ed25519 AAAA \"me\"".to_owned()]);
        assert!(
            text.contains("  - \"ssh-ed25519 AAAA \\\"me\\\"\"\n"),
            "{text}"
        );
        assert!(!default_user_data(&[]).contains("keys"));
    }

    #[test]
    fn too_much_is_refused() {
        assert!(seed("i", "n", &vec![b'#'; MAX_USER_DATA]).is_ok());
        assert!(seed("i", "n", &vec![b'#'; MAX_USER_DATA + 1]).is_err());
    }
}
