//! OCI images, from a registry of the tests' own that can be told to misbehave.

mod files;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use clade_store::Sha256;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::server::Server;
use super::world::World;
use crate::{Architecture, Error, OciImage, OciRequest, oci};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Documents and layers of an image by their digests, and its manifest.
struct Made {
    blobs: Vec<(String, Vec<u8>)>,
    manifest: Vec<u8>,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

fn descriptor(bytes: &[u8]) -> Value {
    json!({"digest": digest(bytes), "size": bytes.len()})
}

fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

impl Made {
    /// Two layers, of which the second takes a file of the first away.
    fn for_platform(architecture: &str) -> Self {
        let noise: String = (0..40_000_u32)
            .map(|n| (b'a' + (n * n % 23) as u8) as char)
            .collect();
        let layers = [
            layer(&[("etc/one", "1"), ("etc/two", "2"), ("noise", &noise)]),
            layer(&[("etc/.wh.two", ""), ("etc/three", architecture)]),
        ];
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["A=b"], "User": "1", "WorkingDir": "/etc"},
            "rootfs": {"type": "layers", "diff_ids": layers.each_ref().map(|of| digest(of))},
        })
        .to_string()
        .into_bytes();
        let packed = [gzip(&layers[0]), layers[1].clone()];
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(&config),
            "layers": packed.each_ref().map(|of| descriptor(of)),
        });
        let blobs = [&config, &packed[0], &packed[1]].map(|of| (digest(of), of.clone()));
        Self {
            blobs: blobs.into(),
            manifest: manifest.to_string().into_bytes(),
        }
    }

    /// Another image of the same parts.
    fn with_annotations() -> Self {
        let mut made = Self::for_platform("riscv64");
        let text = String::from_utf8(made.manifest).unwrap();
        made.manifest = text
            .replace("{\"config\"", "{\"annotations\":{},\"config\"")
            .into_bytes();
        made
    }

    fn first_layer(&self) -> &(String, Vec<u8>) {
        &self.blobs[1]
    }
}

/// A registry with images, and a cache of one's own.
struct Registry {
    world: World,
    server: Server,
}

impl Registry {
    fn new() -> Self {
        Self {
            world: World::new(),
            server: Server::start(),
        }
    }

    fn put(&self, name: &str, made: &Made) {
        for (digest, content) in &made.blobs {
            self.server
                .put_at(&blob_path(name, digest), content.clone());
        }
        let by_digest = format!("/v2/{name}/manifests/{}", digest(&made.manifest));
        self.server.put_at(&by_digest, made.manifest.clone());
        self.tag(name, "latest", &made.manifest);
    }

    fn tag(&self, name: &str, tag: &str, json: &[u8]) {
        self.server
            .put_at(&format!("/v2/{name}/manifests/{tag}"), json);
    }

    fn request(&self, name: &str) -> OciRequest {
        OciRequest {
            name: format!("{}/{name}", self.server.host()),
            ..OciRequest::default()
        }
    }

    fn ensure(&self, name: &str) -> Result<OciImage, Error> {
        oci::ensure(&self.world.setup(), &self.request(name), &self.world.said)
    }

    fn error(&self, name: &str) -> String {
        self.ensure(name).unwrap_err().to_string()
    }
}

fn blob_path(name: &str, digest: &str) -> String {
    format!("/v2/{name}/blobs/{digest}")
}

/// A file of the image as `debugfs`, which knows nothing of us, reads it.
fn file(image: &OciImage, path: &str) -> Option<String> {
    let mut debugfs = Command::new("debugfs");
    match debugfs
        .args(["-R", &format!("cat {path}")])
        .arg(&image.root)
        .output()
    {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(error) => {
            println!("SKIPPED: there is no debugfs here ({error})");
            None
        }
    }
}

#[test]
fn an_image_becomes_a_file_system() {
    let registry = Registry::new();
    registry.put("a/b", &Made::for_platform("riscv64"));
    let image = registry.ensure("a/b").unwrap();
    assert_eq!(image.name, format!("{}/a/b:latest", registry.server.host()));
    assert_eq!(image.process.command, ["/bin/sh"]);
    assert_eq!(image.process.environment, ["A=b"]);
    assert_eq!(
        (image.process.user.as_str(), image.process.folder.as_str()),
        ("1", "/etc")
    );
    if let Some(three) = file(&image, "/etc/three") {
        assert_eq!(three, "riscv64");
        assert_eq!(file(&image, "/etc/one").unwrap(), "1");
        assert_eq!(file(&image, "/etc/two").unwrap(), "");
    }
    let listed = oci::list(&registry.world.setup());
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].name, listed[0].digest),
        (&image.name, Some(image.digest))
    );
    assert!((1..1 << 30).contains(&listed[0].size), "{listed:?}");
}

#[test]
fn a_cached_image_needs_no_registry_and_a_changed_one_is_made_again() {
    let registry = Registry::new();
    registry.put("a", &Made::for_platform("riscv64"));
    let image = registry.ensure("a").unwrap();
    let asked = registry.server.request_count();
    assert_eq!(registry.ensure("a").unwrap(), image);
    assert_eq!(registry.server.request_count(), asked);
    fs::write(&image.root, "damaged").unwrap();
    assert_eq!(registry.ensure("a").unwrap(), image);
    assert!(fs::metadata(&image.root).unwrap().len() > 1 << 30);
    assert_eq!(
        registry
            .server
            .requests_at(&blob_path(
                "a",
                &Made::for_platform("riscv64").first_layer().0
            ))
            .len(),
        1
    );
}

#[test]
fn a_newer_image_of_a_name_comes_when_asked_for() {
    let registry = Registry::new();
    registry.put("a", &Made::for_platform("riscv64"));
    let old = registry.ensure("a").unwrap();
    let newer = Made::with_annotations();
    assert_ne!(digest(&newer.manifest), format!("sha256:{}", old.digest));
    registry.put("a", &newer);
    assert_eq!(registry.ensure("a").unwrap(), old);
    let refresh = OciRequest {
        refresh: true,
        ..registry.request("a")
    };
    let new = oci::ensure(&registry.world.setup(), &refresh, &registry.world.said).unwrap();
    assert_eq!(digest(&newer.manifest), format!("sha256:{}", new.digest));
    assert_eq!(registry.ensure("a").unwrap(), new);
    assert!(old.root.exists(), "machines may be made from it");
}

#[test]
fn what_is_removed_takes_with_it_what_no_other_name_needs() {
    let registry = Registry::new();
    registry.put("a", &Made::for_platform("riscv64"));
    registry.put("b", &Made::with_annotations());
    registry.put("c", &Made::for_platform("riscv64"));
    let [a, b, c] = ["a", "b", "c"].map(|name| registry.ensure(name).unwrap());
    assert_eq!(a.root, c.root);
    let setup = registry.world.setup();
    let remove_needing = |name: &str, needed: &[PathBuf]| {
        let name = registry.request(name).name;
        oci::remove(
            &setup,
            &name,
            Architecture::Riscv64,
            needed,
            &registry.world.said,
        )
    };
    let remove = |name: &str| remove_needing(name, &[]);
    let blobs = || fs::read_dir(setup.cache.join("oci/blobs")).unwrap().count();
    assert_eq!(remove("a").unwrap(), a.name);
    assert!(c.root.exists(), "another name of it");
    let needed = [c.root.canonicalize().unwrap()];
    let error = remove_needing("c", &needed).unwrap_err();
    assert!(matches!(error, Error::Needed { .. }), "{error}");
    let machine = setup.cache.join("machine");
    fs::hard_link(&c.root, &machine).unwrap();
    remove("c").unwrap();
    assert!(!c.root.exists() && machine.exists());
    assert_eq!(
        (b.root.exists(), blobs()),
        (true, 3),
        "all parts are in b, too"
    );
    let error = remove("a").unwrap_err().to_string();
    assert!(
        error.contains(&a.name) && error.contains("clade images"),
        "{error}"
    );
    remove("b").unwrap();
    assert_eq!(blobs(), 0);
    assert!(oci::list(&setup).is_empty());
    assert_eq!(registry.ensure("a").unwrap(), a);
}

#[test]
fn of_an_index_the_manifest_for_riscv64_is_taken() {
    let registry = Registry::new();
    let platforms = ["amd64", "riscv64"].map(|architecture| {
        let made = Made::for_platform(architecture);
        registry.put("many", &made);
        let mut of = descriptor(&made.manifest);
        of["platform"] = json!({"os": "linux", "architecture": architecture});
        (made, of)
    });
    let index = |of: &[&Value]| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": of}).to_string()
    };
    registry.tag(
        "many",
        "latest",
        index(&[&platforms[0].1, &platforms[1].1]).as_bytes(),
    );
    let image = registry.ensure("many").unwrap();
    assert_eq!(
        format!("sha256:{}", image.digest),
        digest(&platforms[1].0.manifest)
    );
    registry.tag("many", "foreign", index(&[&platforms[0].1]).as_bytes());
    let error = registry.error("many:foreign");
    assert!(
        error.contains("linux/amd64") && error.contains("riscv64"),
        "{error}"
    );
    // One name may be here for several.
    let ensure_for = |architecture| {
        let request = OciRequest {
            architecture,
            ..registry.request("many")
        };
        oci::ensure(&registry.world.setup(), &request, &registry.world.said)
    };
    let other = ensure_for(Architecture::Amd64).unwrap();
    let sum = format!("sha256:{}", other.digest);
    assert_eq!(sum, digest(&platforms[0].0.manifest));
    assert_eq!(ensure_for(Architecture::Riscv64).unwrap(), image);
    let listed = oci::list(&registry.world.setup());
    let architectures: Vec<_> = listed.iter().map(|image| image.architecture).collect();
    assert_eq!(architectures, Architecture::ALL);
    assert_eq!(listed[0].name, listed[1].name);
    // Without an index, only the configuration tells.
    let by_digest = format!("many@{}", digest(&platforms[0].0.manifest));
    let error = registry.error(&by_digest);
    assert!(error.contains("is for linux/amd64"), "{error}");
    // An index that names itself for ever cannot be, but one may be deep.
    let mut deep = index(&[&platforms[1].1]);
    for _ in 0..10 {
        registry.tag("many", &digest(deep.as_bytes()), deep.as_bytes());
        deep = index(&[&descriptor(deep.as_bytes())]);
    }
    registry.tag("many", "deep", deep.as_bytes());
    assert!(registry.error("many:deep").contains("nested too deeply"));
}

#[test]
fn a_registry_that_lies_is_found_out() {
    let registry = Registry::new();
    let made = Made::for_platform("riscv64");
    registry.put("lies", &made);
    let (layer, content) = made.first_layer();
    let mut forged = content.clone();
    *forged.last_mut().unwrap() ^= 1;
    for wrong in [&forged[..], b"", &content[1..]] {
        registry.server.put_at(&blob_path("lies", layer), wrong);
        let error = registry.error("lies");
        assert!(error.contains("damaged or forged"), "{error}");
    }
    assert!(oci::list(&registry.world.setup()).is_empty());
    // A manifest under a digest that is not its own.
    let by_digest = format!("lies@{}", digest(b"another"));
    registry.tag("lies", &digest(b"another"), &made.manifest);
    let error = registry.error(&by_digest);
    assert!(error.contains("something else"), "{error}");
    // The truth is taken afterwards.
    registry
        .server
        .put_at(&blob_path("lies", layer), content.clone());
    registry.ensure("lies").unwrap();
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let registry = Registry::new();
    let mut made = Made::for_platform("riscv64");
    let config = String::from_utf8(made.blobs[0].1.clone()).unwrap();
    let other = digest(b"another layer");
    let first = config.find("sha256:").unwrap();
    let config = [&config[..first], &other, &config[first + other.len()..]]
        .concat()
        .into_bytes();
    let mut manifest: Value = serde_json::from_slice(&made.manifest).unwrap();
    manifest["config"] = descriptor(&config);
    made.manifest = manifest.to_string().into_bytes();
    made.blobs[0] = (digest(&config), config);
    registry.put("a", &made);
    assert!(registry.error("a").contains("damaged or forged"));
}

#[test]
fn a_registry_that_stops_half_way_is_asked_for_the_rest() {
    let registry = Registry::new();
    let made = Made::for_platform("riscv64");
    registry.put("a", &made);
    let (layer, content) = made.first_layer();
    let path = blob_path("a", layer);
    registry.server.cut_at(&path, content.len() / 2, false);
    registry.ensure("a").unwrap();
    let ranges = registry.server.requests_at(&path);
    let rest = format!("bytes={}-", content.len() / 2);
    assert_eq!(ranges.last().unwrap().as_deref(), Some(rest.as_str()));
    assert!(registry.world.said.all().contains("resuming layer 1 of 2"));

    let registry = Registry::new();
    registry.put("a", &made);
    registry.server.cut_at(&path, 0, true);
    let error = registry.error("a");
    assert!(error.contains("check the network"), "{error}");
}

#[test]
fn a_registry_that_refuses_says_why() {
    let registry = Registry::new();
    registry.put("a", &Made::for_platform("riscv64"));
    assert!(registry.error("no-such").contains("no such image"));
    assert!(registry.error("a:no-such").contains("no such image"));
    for (status, said) in [
        ("401 Unauthorized", "docker login"),
        ("403 Forbidden", "403"),
        ("500 Oh", "500"),
        ("429 Slow", "429"),
    ] {
        registry.server.refuse("/v2/a/manifests/latest", status);
        let error = registry.error("a");
        assert!(
            error.contains(said) && error.contains("a:latest"),
            "{error}"
        );
    }
    drop(registry.server);
    let request = OciRequest {
        name: "127.0.0.1:1/a".to_owned(),
        ..OciRequest::default()
    };
    let error = oci::ensure(&registry.world.setup(), &request, &registry.world.said).unwrap_err();
    assert!(error.to_string().contains("check the network"), "{error}");
}

#[test]
fn documents_that_are_none_are_refused() {
    let registry = Registry::new();
    registry.put("a", &Made::for_platform("riscv64"));
    for json in ["", "<html>", "{}", "{\"schemaVersion\":2}", "[]"] {
        registry.tag("a", "odd", json.as_bytes());
        let error = registry.error("a:odd");
        assert!(error.contains("manifest"), "{error}");
    }
    let huge = vec![b' '; 5 << 20];
    registry.tag("a", "huge", &huge);
    assert!(registry.error("a:huge").contains("larger"));
}

#[test]
fn two_processes_fetch_an_image_once() {
    let registry = Registry::new();
    let made = Made::for_platform("riscv64");
    registry.put("a", &made);
    let images: Vec<OciImage> = thread::scope(|scope| {
        let fetch = || registry.ensure("a").unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(fetch)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(images.iter().all(|image| *image == images[0]));
    let path = blob_path("a", &made.first_layer().0);
    assert_eq!(registry.server.requests_at(&path).len(), 1);
}
