//! An OCI image, made by hand.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use clade_images::{Architecture, Silent};
use clade_store::{Folders, Sha256};
use serde_json::{Value, json};

use super::Home;
use super::images::{mini, source, unless_offline};

/// What the image's own process does.
const PROGRAM: &str =
    "#!/bin/sh\necho \"arguments: $*\"\nid\npwd\nenv\ncat /etc/os-release\nexit 3\n";

/// Debian's busybox, with `mini` in the cache; none, said aloud, where there is neither
/// cache nor network.
pub(crate) fn busybox(test: &str) -> Option<Vec<u8>> {
    mini(test)?;
    let packages = clade_images::package_files(&["busybox-static"], &source(), &Silent);
    let packages = unless_offline(test, packages)?;
    Some(packages[0].read("usr/bin/busybox").expect("busybox"))
}

/// A home that has the user's packages and images of Clade's own, and no OCI images.
pub(crate) fn home() -> Home {
    let home = Home::new();
    let (own, cache) = (
        Folders::of_user().expect("folders"),
        home.path("cache/clade"),
    );
    fs::create_dir(&cache).expect("folder");
    for name in ["images", "packages", "suites"] {
        symlink(own.cache().join(name), cache.join(name)).expect("link");
    }
    home
}

/// An image, as its documents and layers.
pub(crate) struct Image {
    pub(crate) blobs: Vec<Vec<u8>>,
    pub(crate) manifest: Vec<u8>,
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

fn descriptor(bytes: &[u8]) -> Value {
    json!({"digest": digest(bytes), "size": bytes.len()})
}

pub(crate) struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub(crate) fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        self.0
            .append_data(&mut header, path, content)
            .expect("entry");
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        self.0
            .append_link(&mut header, path, target)
            .expect("entry");
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("layer")
    }
}

/// An image with two layers, a user of its own and a process that says what it sees.
pub(crate) fn image(busybox: &[u8], architecture: Architecture) -> Image {
    let mut lower = Layer::new()
        .file("bin/busybox", 0o755, busybox)
        .file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001::/home/bob:/bin/sh",
        )
        .file(
            "etc/group",
            0o644,
            b"root:x:0:\nbob:x:1001:\nfriends:x:2000:bob\n",
        )
        .file("etc/os-release", 0o644, b"NAME=\"Test\"\n")
        .file("etc/secret", 0o644, b"");
    for name in ["sh", "cat", "env", "id", "ls", "pwd"] {
        lower = lower.link(&format!("bin/{name}"), "busybox");
    }
    let layers = [
        lower.bytes(),
        Layer::new()
            .file("etc/.wh.secret", 0o644, b"")
            .file("app/run", 0o755, PROGRAM.as_bytes())
            .bytes(),
    ];
    let config = json!({
        "Entrypoint": ["/app/run", "-x"],
        "Cmd": ["default"],
        "Env": ["PATH=/bin", "GREETING=it's a  test"],
        "User": "bob",
        "WorkingDir": "/app",
    });
    image_of(&layers, architecture, &config)
}

/// An image of these layers.
pub(crate) fn image_of(layers: &[Vec<u8>], architecture: Architecture, config: &Value) -> Image {
    let digests: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({
        "architecture": architecture.name(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": digests},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": typed(descriptor(&config), "application/vnd.docker.container.image.v1+json"),
        "layers": layers.iter().map(|layer| {
            typed(descriptor(layer), "application/vnd.docker.image.rootfs.diff.tar")
        }).collect::<Vec<_>>(),
    });
    Image {
        blobs: [config].into_iter().chain(layers.to_vec()).collect(),
        manifest: manifest.to_string().into_bytes(),
    }
}

fn typed(mut descriptor: Value, media_type: &str) -> Value {
    descriptor["mediaType"] = media_type.into();
    descriptor
}

/// Puts an image into a folder that is an OCI image layout.
pub(crate) fn write_layout(folder: &Path, image: &Image) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("folder");
    for blob in image.blobs.iter().chain([&image.manifest]) {
        fs::write(blobs.join(Sha256::of(blob).to_string()), blob).expect("blob");
    }
    let index = json!({"schemaVersion": 2, "manifests": [descriptor(&image.manifest)]});
    fs::write(folder.join("index.json"), index.to_string()).expect("index");
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("layout");
}
