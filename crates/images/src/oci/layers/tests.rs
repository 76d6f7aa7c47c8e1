use std::fs::File;
use std::io::Write;

use clade_ext4::{Builder, Kind, Options};
use clade_store::Sha256;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{EntryType, Header};

use super::apply;

fn empty() -> Builder {
    let options = Options {
        size: 64 << 20,
        ..Options::default()
    };
    Builder::new(tempfile::tempfile().unwrap(), &options).unwrap()
}

/// A layer that is written by hand, so that it may hold what no tool would write.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, path: &str, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    fn folder(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn apply(self, root: &mut Builder) {
        apply(root, &self.bytes()[..]).unwrap();
    }
}

fn content(root: &mut Builder, path: &str) -> Option<String> {
    let bytes = root.read(path, 1000).unwrap();
    bytes.map(|bytes| String::from_utf8(bytes).unwrap())
}

fn names(root: &mut Builder, path: &str) -> Vec<String> {
    let names = root.names(path).unwrap().unwrap_or_default();
    let names = names.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| name != "lost+found").collect()
}

#[test]
fn a_later_layer_replaces_and_takes_away() {
    let mut root = empty();
    Tar::new()
        .folder("./")
        .folder("etc/")
        .file("etc/one", "1")
        .file("etc/two", "2")
        .file("srv/deep/down", "d")
        .apply(&mut root);
    Tar::new()
        .file("etc/one", "uno")
        .file("etc/.wh.two", "")
        .file(".wh.srv", "")
        .file(".wh.never-was", "")
        .file("no/.wh.such", "")
        .apply(&mut root);
    assert_eq!(names(&mut root, "etc"), ["one"]);
    assert_eq!(content(&mut root, "etc/one").unwrap(), "uno");
    assert_eq!(names(&mut root, ""), ["etc"]);
}

/// Whiteouts are about lower layers, wherever in their own layer they stand.
#[test]
fn whiteouts_spare_their_own_layer() {
    for opaque_first in [true, false] {
        let mut root = empty();
        Tar::new()
            .file("d/lower", "x")
            .file("d/sub/lower", "x")
            .file("f", "old")
            .apply(&mut root);
        let mut upper = Tar::new();
        if opaque_first {
            upper = upper.file("d/.wh..wh..opq", "").file(".wh.f", "");
        }
        upper = upper.file("d/sub/upper", "y").file("f", "new");
        if !opaque_first {
            upper = upper.file("d/.wh..wh..opq", "").file(".wh.f", "");
        }
        upper.apply(&mut root);
        assert_eq!(names(&mut root, "d"), ["sub"]);
        assert_eq!(names(&mut root, "d/sub"), ["upper"]);
        assert_eq!(content(&mut root, "f").unwrap(), "new");
    }
}

#[test]
fn an_opaque_root_hides_all_that_was() {
    let mut root = empty();
    Tar::new().file("a", "x").file("b/c", "x").apply(&mut root);
    Tar::new()
        .file(".wh..wh..opq", "")
        .file("new", "")
        .apply(&mut root);
    assert_eq!(names(&mut root, ""), ["new"]);
    Tar::new()
        .file(".wh..wh.plnk", "")
        .file(".wh..wh.aufs", "")
        .apply(&mut root);
    assert_eq!(names(&mut root, ""), ["new"]);
}

#[test]
fn kinds_replace_each_other_and_a_folder_keeps_what_it_holds() {
    let mut root = empty();
    Tar::new()
        .file("a/x", "1")
        .file("b", "1")
        .symlink("c", "a")
        .apply(&mut root);
    Tar::new().folder("a").apply(&mut root);
    assert_eq!(names(&mut root, "a"), ["x"]);
    let through_a_file = Tar::new().file("b/y", "2").bytes();
    assert!(apply(&mut root, &through_a_file[..]).is_err());
    Tar::new()
        .file("a", "file")
        .folder("b")
        .file("b/y", "2")
        .folder("c")
        .apply(&mut root);
    assert_eq!(content(&mut root, "a").unwrap(), "file");
    assert_eq!(names(&mut root, "b"), ["y"]);
    assert_eq!(root.kind("c").unwrap(), Some(Kind::Folder));
}

/// As in images whose `/bin` is a link to `/usr/bin`.
#[test]
fn links_on_the_way_lead_to_what_the_image_holds() {
    let mut root = empty();
    Tar::new()
        .folder("usr/bin")
        .symlink("bin", "usr/bin")
        .symlink("abs", "/usr/bin")
        .apply(&mut root);
    Tar::new()
        .file("bin/one", "1")
        .file("abs/two", "2")
        .file("bin/.wh.none", "")
        .apply(&mut root);
    assert_eq!(names(&mut root, "usr/bin"), ["one", "two"]);
    Tar::new().file("bin/.wh.one", "").apply(&mut root);
    assert_eq!(names(&mut root, "usr/bin"), ["two"]);
}

#[test]
fn hard_links_outlive_what_they_were_made_from() {
    let mut root = empty();
    Tar::new().file("a", "same").apply(&mut root);
    Tar::new()
        .hard_link("b", "a")
        .hard_link("./c", "/b")
        .apply(&mut root);
    Tar::new()
        .file(".wh.a", "")
        .file("b", "other")
        .apply(&mut root);
    assert_eq!(names(&mut root, ""), ["b", "c"]);
    assert_eq!(content(&mut root, "c").unwrap(), "same");
}

#[test]
fn nothing_leads_out_of_the_image() {
    let refusals: [fn(Tar) -> Tar; 6] = [
        |tar| tar.file("../escaped", "x"),
        |tar| tar.file("a/../../escaped", "x"),
        |tar| tar.folder(".."),
        |tar| tar.hard_link("a", "../../etc/passwd"),
        |tar| tar.hard_link("a", "no-such"),
        |tar| tar.file("a/.wh...", "x").file("../.wh.x", ""),
    ];
    for add in refusals {
        let layer = add(Tar::new()).bytes();
        assert!(apply(&mut empty(), &layer[..]).is_err());
    }
    // An absolute path is one from the image's root, and so is a link's target.
    let mut root = empty();
    Tar::new()
        .symlink("up", "../../../../srv")
        .file("/abs", "x")
        .file("up/file", "y")
        .apply(&mut root);
    assert_eq!(names(&mut root, ""), ["abs", "srv", "up"]);
    assert_eq!(names(&mut root, "srv"), ["file"]);
}

#[test]
fn devices_pipes_and_global_headers_are_what_they_are() {
    let mut root = empty();
    Tar::new()
        .entry(
            EntryType::XGlobalHeader,
            "pax_global_header",
            "",
            b"19 comment=nothing\n",
        )
        .entry(EntryType::Char, "null", "", b"")
        .entry(EntryType::Fifo, "pipe", "", b"")
        .apply(&mut root);
    let null = clade_ext4::Special::CharacterDevice { major: 1, minor: 3 };
    assert_eq!(root.kind("null").unwrap(), Some(Kind::Special(null)));
    let pipe = Kind::Special(clade_ext4::Special::Fifo);
    assert_eq!(root.kind("pipe").unwrap(), Some(pipe));
    let unknown = Tar::new()
        .entry(EntryType::new(b'Z'), "odd", "", b"")
        .bytes();
    assert!(apply(&mut empty(), &unknown[..]).is_err());
}

#[test]
fn the_checksum_is_that_of_the_whole_archive_unpacked() {
    let mut layer = Tar::new().file("a", "x").bytes();
    layer.extend([0; 4096]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&layer).unwrap();
    let packed = packed.finish().unwrap();
    assert_eq!(
        apply(&mut empty(), &packed[..]).unwrap(),
        Sha256::of(&layer)
    );
    let cut = &packed[..packed.len() - 5];
    assert!(apply(&mut empty(), cut).is_err());
}

/// `e2fsck` did not write any of this.
#[test]
fn the_file_system_is_sound() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = Options {
        size: 64 << 20,
        ..Options::default()
    };
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .open(file.path())
            .unwrap()
    };
    let mut root = Builder::new(open(), &options).unwrap();
    Tar::new()
        .file("a/b", "x")
        .hard_link("a/c", "a/b")
        .symlink("l", "a")
        .apply(&mut root);
    Tar::new()
        .file("a/.wh.b", "")
        .file("n", "y")
        .apply(&mut root);
    root.finish().unwrap();
    let mut check = std::process::Command::new("e2fsck");
    match check.args(["-fn"]).arg(file.path()).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => println!("SKIPPED: there is no e2fsck here ({error})"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Layers come from strangers.
    #[test]
    fn damage_is_refused_and_never_panics(at in 0_usize..4096, byte: u8, cut in 0_usize..5120) {
        let mut layer = Tar::new()
            .folder("d")
            .file("d/f", "content")
            .symlink("s", "d")
            .hard_link("h", "d/f")
            .bytes();
        let length = layer.len();
        layer[at % length] = byte;
        layer.truncate(length.min(cut.max(1)));
        let _ = apply(&mut empty(), &layer[..]);
    }
}
