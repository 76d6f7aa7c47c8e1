//! Writing initramfs archives: cpio in the "newc" format (the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Builds an archive, entry by entry. All entries belong to root and carry one date, so that the
/// same input gives the same bytes.
pub struct Writer<W> {
    output: W,
    modified: u32,
    inode: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Writer<W> {
    /// Begins an archive; `modified` is its entries' date in seconds since 1970.
    pub fn new(output: W, modified: u32) -> Self {
        Self {
            output,
            modified,
            inode: 0,
            folders: BTreeSet::new(),
        }
    }

    /// A folder, after those that hold it, unless it is there already.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        self.parent(path)?;
        self.entry(path, FOLDER | 0o755, (0, 0), &[])
    }

    /// A regular file with these permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.parent(path)?;
        self.entry(path, FILE | permissions, (0, 0), content)
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.parent(path)?;
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes())
    }

    /// A character device with its major and minor number.
    pub fn device(&mut self, path: &str, permissions: u32, number: (u32, u32)) -> io::Result<()> {
        self.parent(path)?;
        self.entry(path, CHARACTER_DEVICE | permissions, number, &[])
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.output)
    }

    fn parent(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((folder, _)) => self.folder(folder),
            None => Ok(()),
        }
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        let too_long = |_| io::Error::new(io::ErrorKind::FileTooLarge, "a file is 4 GiB or larger");
        let size = u32::try_from(content.len()).map_err(too_long)?;
        let name_size = u32::try_from(path.len() + 1).map_err(too_long)?;
        let links = if mode & FOLDER != 0 { 2 } else { 1 };
        self.inode += 1;
        // Inode, mode, user, group, links, date, size, device of the file (2), device that the
        // file is (2), size of the name, checksum (unused in newc).
        let fields = [
            self.inode,
            mode,
            0,
            0,
            links,
            self.modified,
            size,
            0,
            0,
            device.0,
            device.1,
            name_size,
            0,
        ];
        self.output.write_all(b"070701")?;
        for field in fields {
            write!(self.output, "{field:08X}")?;
        }
        self.output.write_all(path.as_bytes())?;
        self.output.write_all(&[0])?;
        self.pad(6 + 8 * fields.len() + path.len() + 1)?;
        self.output.write_all(content)?;
        self.pad(content.len())
    }

    /// Header with name, and content, are each padded to a multiple of four bytes.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.output.write_all(&[0; 3][..written.wrapping_neg() % 4])
    }
}

/// Copies the archive `first` to `target`, for another behind it: Linux unpacks both. The second
/// begins at a multiple of four bytes (the kernel's "initramfs buffer format"), which is where the
/// returned file stands.
///
/// # Errors
/// When one cannot be read, or the other not written.
pub fn copy_for_another(first: &Path, target: &Path) -> io::Result<File> {
    let length = fs::copy(first, target)?;
    let mut file = File::options().append(true).open(target)?;
    let padding = length.next_multiple_of(4) - length;
    file.write_all(&[0; 3][..padding as usize])?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::read_cpio;
    use proptest::prelude::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_cpio_tool_lists_and_extracts_what_was_written() {
        let mut writer = Writer::new(Vec::new(), 1_000_000_000);
        writer.file("a/b/file", 0o640, b"content\n").unwrap();
        writer.link("a/link", "b/file").unwrap();
        writer.file("a/empty", 0o755, b"").unwrap();
        let archive = writer.finish().unwrap();
        let cpio = |arguments: &[&str], folder: &std::path::Path| {
            let mut child = Command::new("cpio")
                .args(arguments)
                .current_dir(folder)
                .env("TZ", "UTC")
                .env("LC_ALL", "C")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .ok()?;
            child.stdin.take()?.write_all(&archive).ok()?;
            let output = child.wait_with_output().ok()?;
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).ok()
        };
        let folder = tempfile::tempdir().unwrap();
        let Some(list) = cpio(&["-itv"], folder.path()) else {
            eprintln!("SKIPPED: the cpio tool is not installed here");
            return;
        };
        let mut lines = list
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let expected = [
            ("drwxr-xr-x", "a"),
            ("drwxr-xr-x", "a/b"),
            ("-rw-r-----", "a/b/file"),
        ];
        for (mode, path) in expected {
            let line = lines.next().unwrap();
            assert_eq!(
                (line[0], line[2], *line.last().unwrap()),
                (mode, "root", path)
            );
        }
        assert!(
            list.contains("Sep  9  2001") && list.contains("a/link -> b/file"),
            "{list}"
        );
        cpio(&["-id", "--quiet"], folder.path()).unwrap();
        let extracted = std::fs::read(folder.path().join("a/link")).unwrap();
        assert_eq!(extracted, b"content\n");
    }

    #[test]
    fn devices_have_their_numbers() {
        let mut writer = Writer::new(Vec::new(), 0);
        writer.device("dev/console", 0o600, (5, 1)).unwrap();
        let archive = writer.finish().unwrap();
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains("0000000500000001"), "{text}");
        assert_eq!(read_cpio(&archive)["dev/console"].0, 0o020_600);
    }

    proptest! {
        #[test]
        fn files_and_their_folders_are_read_back(
            files in proptest::collection::btree_map("([a-z]{1,5}/){0,2}[A-Z]{1,9}", any::<Vec<u8>>(), 0..8)
        ) {
            let mut writer = Writer::new(Vec::new(), 0);
            for (path, content) in &files {
                writer.file(path, 0o644, content).unwrap();
            }
            let archive = writer.finish().unwrap();
            prop_assert_eq!(archive.len() % 4, 0);
            let read = read_cpio(&archive);
            for (path, content) in &files {
                prop_assert_eq!(&read[path], &(0o100_644, content.clone()));
                if let Some((folder, _)) = path.rsplit_once('/') {
                    prop_assert_eq!(read[folder].0, 0o040_755);
                }
            }
        }
    }

    #[test]
    fn archives_are_joined_at_a_multiple_of_four_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (first, target) = (folder.path().join("first"), folder.path().join("target"));
        for (content, joined) in [("12345", "12345\0\0\0seed"), ("1234", "1234seed")] {
            fs::write(&first, content).unwrap();
            let mut file = copy_for_another(&first, &target).unwrap();
            file.write_all(b"seed").unwrap();
            assert_eq!(fs::read(&target).unwrap(), joined.as_bytes());
        }
    }
}
