//! Debian's registry, and a line to it that can be cut.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clade_store::Sha256;
use serde_json::json;

use super::images::skip;
use super::oci_image::{Image, digest};
use super::{Home, wait_until};

/// A registry with what a test put there. It ends with its owner, and what it has stays.
pub(crate) struct Registry {
    process: Child,
    /// `HOST:PORT`
    pub(crate) host: String,
    root: PathBuf,
    log: PathBuf,
}

impl Registry {
    /// Starts it on a free port of this host; none, and why is said, where it is not installed.
    /// `accounts` is an htpasswd file's content.
    pub(crate) fn start(test: &str, home: &Home, accounts: Option<&str>) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").expect("port");
        let host = port.local_addr().expect("address").to_string();
        drop(port);
        Self::start_at(test, home, host, accounts)
    }

    /// The same at this address.
    pub(crate) fn start_at(
        test: &str,
        home: &Home,
        host: String,
        accounts: Option<&str>,
    ) -> Option<Self> {
        let (root, log) = (home.path("registry"), home.path("registry.log"));
        let mut config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": root}},
            "http": {"addr": host},
        });
        if let Some(accounts) = accounts {
            let path = home.file("accounts", accounts.as_bytes());
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": path}});
        }
        let config = home.file("registry.yml", config.to_string().as_bytes());
        let mut command = Command::new("docker-registry");
        command.args(["serve", &config]);
        let output = fs::File::create(&log).expect("log");
        let process = match command.stdout(output).stderr(Stdio::null()).spawn() {
            Ok(process) => process,
            Err(error) => {
                skip(test, format!("there is no docker-registry here ({error})"));
                return None;
            }
        };
        wait_until("the registry answers", || TcpStream::connect(&host).is_ok());
        Some(Self {
            process,
            host,
            root: root.join("docker/registry/v2"),
            log,
        })
    }

    /// Where it keeps a blob.
    pub(crate) fn blob(&self, sum: &str) -> PathBuf {
        let short = &sum[..2];
        self.root.join(format!("blobs/sha256/{short}/{sum}/data"))
    }

    /// How many requests of this method it answered.
    pub(crate) fn requests(&self, method: &str) -> usize {
        let log = fs::read_to_string(&self.log).expect("log");
        log.matches(&format!("\"{method} /v2/")).count()
    }

    /// Puts an image where it keeps what was pushed to `repository:tag`.
    pub(crate) fn store(&self, image: &Image, repository: &str, tag: &str) {
        for blob in &image.blobs {
            self.store_blob(blob, repository);
        }
        self.store_manifest(&image.manifest, repository, tag);
    }

    pub(crate) fn store_blob(&self, blob: &[u8], repository: &str) {
        let sum = Sha256::of(blob).to_string();
        let link = format!("repositories/{repository}/_layers/sha256/{sum}/link");
        write(&self.blob(&sum), blob);
        write(&self.root.join(link), digest(blob).as_bytes());
    }

    pub(crate) fn store_manifest(&self, manifest: &[u8], repository: &str, tag: &str) {
        let (sum, link) = (Sha256::of(manifest).to_string(), digest(manifest));
        let manifests = self
            .root
            .join(format!("repositories/{repository}/_manifests"));
        write(&self.blob(&sum), manifest);
        for place in [
            format!("revisions/sha256/{sum}/link"),
            format!("tags/{tag}/current/link"),
            format!("tags/{tag}/index/sha256/{sum}/link"),
        ] {
            write(&manifests.join(place), link.as_bytes());
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("folder")).expect("folder");
    fs::write(path, content).expect("file");
}

/// A line to a registry: counts bytes, and breaks after some.
pub(crate) struct Line {
    /// `HOST:PORT` of this end.
    pub(crate) host: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Bytes that passed, both ways.
    passed: AtomicU64,
    /// Bytes after which nothing passes any more.
    limit: AtomicU64,
}

impl Line {
    pub(crate) fn to(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let host = listener.local_addr().expect("address").to_string();
        let counts = Arc::new(Counts::default());
        let (shared, far) = (Arc::clone(&counts), registry.host.clone());
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Ok(far) = TcpStream::connect(&far) {
                    join(&near, &far, &shared);
                    join(&far, &near, &shared);
                }
            }
        });
        let line = Self { host, counts };
        line.mend();
        line
    }

    /// Lets this many bytes pass from now on.
    pub(crate) fn cut_after(&self, bytes: u64) {
        let limit = self.passed() + bytes;
        self.counts.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn mend(&self) {
        self.counts.limit.store(u64::MAX, Ordering::Relaxed);
    }

    /// Bytes that passed so far.
    pub(crate) fn passed(&self) -> u64 {
        self.counts.passed.load(Ordering::Relaxed)
    }
}

fn join(from: &TcpStream, to: &TcpStream, counts: &Arc<Counts>) {
    let (mut from, mut to) = (from.try_clone().expect("end"), to.try_clone().expect("end"));
    let counts = Arc::clone(counts);
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let passed = counts.passed.fetch_add(count as u64, Ordering::Relaxed);
            let is_cut = passed >= counts.limit.load(Ordering::Relaxed);
            if is_cut || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}
