//! Reading Debian packages: an ar(5) archive of compressed tar archives (deb(5)).
//!
//! Nothing here writes to disk: entries are handed out by name, and it is the caller who names files.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Most bytes that a package unpacks to. Debian's kernel, one of the largest, has 130 MiB.
const MAX_UNPACKED: u64 = 2 << 30;
/// Most bytes that its control files unpack to.
const MAX_CONTROL: u64 = 64 << 20;
/// Largest dictionary that an .xz file may ask for, in KiB. `xz -9` asks for 64 MiB.
const MAX_XZ_MEMORY: u32 = 256 << 10;

/// What an entry of a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link, with its target as written.
    Link(String),
    /// Another name of a file in the same package, whose path it gives in the form of [`Entry::path`].
    HardLink(String),
    /// A folder.
    Folder,
    /// A device or a pipe; packages have none.
    Other,
}

/// One entry of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path from the root of the file system, without `./` or `/` in front: `usr/bin/busybox`.
    /// As the package says, which may well contain `..`: a name to compare with, not to open.
    pub path: String,
    /// Bytes of content.
    pub size: u64,
    /// Permission bits, as in `chmod`.
    pub mode: u32,
    /// The owner's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
    /// When it was last changed, in seconds since 1970.
    pub modified: i64,
    /// What it is.
    pub kind: Kind,
}

/// Calls `visit` with each entry of the package's file tree, in order, and a reader of its content.
///
/// # Errors
/// The package is malformed or truncated, or `visit` fails.
pub fn visit(
    package: impl Read,
    mut visit: impl FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let data = member(BufReader::new(package), "data.tar")?;
    let mut archive = tar::Archive::new(decompress(data)?.take(MAX_UNPACKED));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let described = Entry::of(&entry)?;
        visit(&described, &mut entry)?;
    }
    // What follows the last entry is padding, but only its reader knows whether all was intact.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

impl Entry {
    fn of(entry: &tar::Entry<'_, impl Read>) -> io::Result<Self> {
        let header = entry.header();
        let target = || {
            let target = entry.link_name_bytes().unwrap_or_default();
            String::from_utf8_lossy(&target).into_owned()
        };
        let kind = match header.entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => Kind::File,
            tar::EntryType::Symlink => Kind::Link(target()),
            tar::EntryType::Link => Kind::HardLink(from_root(&target())),
            tar::EntryType::Directory => Kind::Folder,
            _ => Kind::Other,
        };
        let number = |value: u64| {
            u32::try_from(value).map_err(|_| malformed("an owner's number has more than 32 bits"))
        };
        Ok(Self {
            path: from_root(&String::from_utf8_lossy(&entry.path_bytes())),
            size: entry.size(),
            mode: header.mode()? & 0o7777,
            user: number(header.uid()?)?,
            group: number(header.gid()?)?,
            modified: header.mtime()?.try_into().unwrap_or(i64::MAX),
            kind,
        })
    }
}

fn from_root(path: &str) -> String {
    path.trim_start_matches("./")
        .trim_start_matches('/')
        .to_owned()
}

/// The package's control files (deb(5)) by their names: `control`, `postinst`, `md5sums` and so on.
///
/// # Errors
/// The package is malformed or truncated.
pub fn control_files(package: impl Read) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let control = member(BufReader::new(package), "control.tar")?;
    let mut archive = tar::Archive::new(decompress(control)?.take(MAX_CONTROL));
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let described = Entry::of(&entry)?;
        if described.kind == Kind::File {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(described.path, content);
        }
    }
    Ok(files)
}

/// [`visit`] for a package in a file.
///
/// # Errors
/// The same, and those of opening the file.
pub fn visit_file(
    package: &Path,
    visit_entry: impl FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    visit(std::fs::File::open(package)?, visit_entry)
}

/// Finds a member by its name, which may have an ending that tells its compression. `data.tar` holds
/// the file tree.
fn member<R: BufRead>(mut package: R, wanted: &str) -> io::Result<BufReader<Member<R>>> {
    let mut magic = [0; 8];
    package.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(malformed("it is not a Debian package"));
    }
    loop {
        let (name, size) = ar_header(&mut package)?;
        let ending = name.strip_prefix(wanted);
        if ending.is_some_and(|ending| ending.is_empty() || ending.starts_with('.')) {
            return Ok(BufReader::new(Member {
                package,
                left: size,
            }));
        }
        // Members are padded to an even size.
        let skipped = size.saturating_add(size % 2);
        let got = io::copy(&mut package.by_ref().take(skipped), &mut io::sink())?;
        if got < skipped {
            return Err(malformed("it ends within a member, before its file tree"));
        }
    }
}

/// The content of an ar member, of which all must be there.
struct Member<R> {
    package: R,
    left: u64,
}

impl<R: Read> Read for Member<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.package.by_ref().take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Reads an ar member's header: 16 bytes of name, 32 of metadata, 10 of decimal size, 2 of magic.
fn ar_header(package: &mut impl Read) -> io::Result<(String, u64)> {
    let mut header = [0; 60];
    package
        .read_exact(&mut header)
        .map_err(|_| malformed("it has no file tree (data.tar)"))?;
    let text =
        std::str::from_utf8(&header).map_err(|_| malformed("a member's header is damaged"))?;
    let (Some(name), Some(size), Some("`\n")) = (text.get(..16), text.get(48..58), text.get(58..))
    else {
        return Err(malformed("a member's header is damaged"));
    };
    let size = size.trim_end();
    let size = match size.bytes().all(|digit| digit.is_ascii_digit()) {
        true => size
            .parse()
            .map_err(|_| malformed("a member has no size"))?,
        false => return Err(malformed("a member's size is no number")),
    };
    Ok((name.trim_end().trim_end_matches('/').to_owned(), size))
}

/// Decompresses xz, zstd or gzip, told by its first bytes; anything else is passed on as it is.
///
/// # Errors
/// The input cannot be read, or begins like a compressed file and is none.
pub fn decompress<'a>(mut input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    // A buffered reader may hand out less than it could; six bytes tell all three apart.
    let mut start = Vec::new();
    input.by_ref().take(6).read_to_end(&mut start)?;
    let input = io::Cursor::new(start.clone()).chain(input);
    Ok(match start[..] {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new_mem_limit(
            input,
            true,
            MAX_XZ_MEMORY,
        )),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(
            ruzstd::decoding::StreamingDecoder::new(input)
                .map_err(|error| malformed(&error.to_string()))?,
        ),
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        _ => Box::new(input),
    })
}

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::{ar, deb};
    use proptest::prelude::*;
    use std::fs;
    use std::process::Command;

    fn all(package: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut entries = Vec::new();
        visit(package, |entry, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            entries.push((entry.clone(), bytes));
            Ok(())
        })?;
        Ok(entries)
    }

    #[test]
    fn what_dpkg_packs_is_read_back_in_every_compression() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        let long = format!("usr/share/{}/file", "long".repeat(40));
        fs::create_dir_all(tree.join(&long).parent().unwrap()).unwrap();
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::write(
            tree.join("DEBIAN/control"),
            "Package: t\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: t\n",
        )
        .unwrap();
        let content: Vec<u8> = (0..100_000u32)
            .flat_map(|n| (n * n).to_le_bytes())
            .collect();
        fs::write(tree.join(&long), &content).unwrap();
        std::os::unix::fs::symlink("../share", tree.join("usr/link")).unwrap();
        for compression in ["xz", "zstd", "gzip", "none"] {
            let package = folder.path().join(format!("{compression}.deb"));
            let packed = Command::new("dpkg-deb")
                .args(["--root-owner-group", &format!("-Z{compression}"), "-b"])
                .args([&tree, &package])
                .output();
            if !packed.is_ok_and(|output| output.status.success()) {
                eprintln!("SKIPPED: no dpkg-deb here that packs with {compression}");
                continue;
            }
            let entries = all(&fs::read(&package).unwrap()).unwrap();
            let find = |path: &str| {
                entries
                    .iter()
                    .find(|(entry, _)| entry.path == path)
                    .unwrap()
            };
            assert!(
                find(&long).1 == content && find(&long).0.kind == Kind::File,
                "{compression}"
            );
            assert_eq!(find("usr/link").0.kind, Kind::Link("../share".to_owned()));
            assert_eq!(find("usr/share/").0.kind, Kind::Folder);
            let control = control_files(&*fs::read(&package).unwrap()).unwrap();
            assert!(control["control"].starts_with(b"Package: t\n"));
            assert!(control.contains_key("md5sums") || control.len() == 1);
        }
    }

    #[test]
    fn names_and_permissions_are_given_as_packed() {
        let package = deb(&[("usr/bin/a", "abc"), ("b", "")]);
        let entries = all(&package).unwrap();
        let file = |path: &str, size| Entry {
            path: path.to_owned(),
            size,
            mode: 0o644,
            user: 0,
            group: 0,
            modified: 0,
            kind: Kind::File,
        };
        assert_eq!(
            entries,
            [
                (file("usr/bin/a", 3), b"abc".to_vec()),
                (file("b", 0), Vec::new())
            ]
        );
    }

    #[test]
    fn a_package_cut_short_anywhere_is_an_error() {
        let package = deb(&[("a", [7; 5000])]);
        // The last byte may be padding, which nobody needs.
        for length in 0..package.len() - 1 {
            assert!(
                all(&package[..length]).is_err(),
                "{length} of {} bytes",
                package.len()
            );
        }
    }

    #[test]
    fn archives_that_are_no_packages_are_refused() {
        let mut no_size = ar(&[("data.tar", b"")]);
        no_size[56..66].copy_from_slice(b"-1        ");
        for package in [
            ar(&[]),
            ar(&[("debian-binary", b"2.0\n")]),
            ar(&[("data.tar", &[7; 512])]),
            no_size,
        ] {
            assert!(all(&package).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, members in proptest::collection::vec(("[a-z.]{1,12}|data.tar(.xz)?", any::<Vec<u8>>()), 0..4)) {
            let _ = all(&bytes);
            let members: Vec<_> = members.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
            let _ = all(&ar(&members));
            for magic in [&b"\xfd7zXZ\0"[..], b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08\0"] {
                let input = [magic, &bytes].concat();
                let _ = decompress(input.as_slice()).map(|reader| io::copy(&mut reader.take(1 << 20), &mut io::sink()));
            }
        }

        #[test]
        fn a_damaged_package_never_panics(at: prop::sample::Index, bit in 0u8..8) {
            let mut package = deb(&[("a", &b"content"[..]), ("b/c", &[1; 1000])]);
            let at = at.index(package.len());
            package[at] ^= 1 << bit;
            let _ = all(&package);
        }

        #[test]
        fn a_damaged_tar_never_panics(at in 0usize..1536, byte: u8) {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            tar.append_data(&mut header, "usr/file", &b"abc"[..]).unwrap();
            let mut tar = tar.into_inner().unwrap();
            tar[at] = byte;
            let _ = all(&ar(&[("data.tar", &tar)]));
        }
    }
}
