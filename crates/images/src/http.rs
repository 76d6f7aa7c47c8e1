//! Fetching files over HTTP and HTTPS, with resumption.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clade_store::Sha256;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use crate::release::Expected;
use crate::{Error, Progress};

/// How often a fetch that gets no further is tried.
const ATTEMPTS: u32 = 4;

/// A client for one mirror.
pub(crate) struct Http {
    agent: Agent,
    /// Before the second attempt; doubled before each further one.
    pause: Duration,
}

impl Http {
    /// A client that speaks to `mirror` as the environment wants: through a proxy or not.
    pub(crate) fn new(mirror: &str, proxy: Option<&str>, pause: Duration) -> Result<Self, Error> {
        let proxy = proxy
            .map(Proxy::new)
            .transpose()
            .map_err(|error| Error::Network {
                url: mirror.to_owned(),
                reason: format!("the proxy's address is wrong: {error}"),
            })?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("clade/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy)
            .timeout_resolve(Some(Duration::from_secs(15)))
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(Duration::from_secs(30)));
        if mirror.starts_with("https:") {
            config = config.tls_config(tls_config(mirror)?);
        }
        Ok(Self {
            agent: config.build().into(),
            pause,
        })
    }

    /// A whole small file, of at most `limit` bytes.
    pub(crate) fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, Error> {
        self.retry(url, |_| {
            let response = self.request(url, 0)?;
            let mut content = Vec::new();
            response
                .into_body()
                .into_reader()
                .take(limit + 1)
                .read_to_end(&mut content)?;
            if content.len() as u64 > limit {
                return Err(Failure::Final(network(
                    url,
                    format!("it is larger than {limit} bytes"),
                )));
            }
            Ok(content)
        })
    }

    /// Fetches a file that a signed index describes to `target`, going on where an earlier fetch
    /// broke off. What arrives is kept as `target.partial`, and named `target` only when its
    /// checksum is right; with a wrong one it is thrown away.
    pub(crate) fn download(
        &self,
        url: &str,
        target: &Path,
        expected: Expected,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let partial = partial_name(target);
        let resumed = length(&partial) > 0;
        ensure_space(target, expected.size.saturating_sub(length(&partial)))?;
        let mut result = self.download_once(url, &partial, expected, progress);
        if resumed && matches!(result, Err(Error::Checksum { .. })) {
            // Perhaps the piece was of another file of this name: start over before giving up.
            result = self.download_once(url, &partial, expected, progress);
        }
        result?;
        Ok(clade_store::rename(&partial, target)?)
    }

    fn download_once(
        &self,
        url: &str,
        partial: &Path,
        expected: Expected,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        progress.begin(label(url), expected.size);
        progress.advance(length(partial).min(expected.size));
        let fetched = self.retry(url, |attempt| {
            if attempt > 0 {
                progress.message(&format!("the connection broke; resuming {}", label(url)));
            }
            self.append(url, partial, expected.size, progress)
        });
        progress.finish();
        fetched?;
        let actual = Sha256::of_file(partial)?;
        if actual != expected.sha256 {
            fs::remove_file(partial)
                .map_err(|error| clade_store::Error::io("remove", partial, error))?;
            return Err(Error::Checksum {
                url: url.to_owned(),
                expected: expected.sha256,
                actual,
            });
        }
        Ok(())
    }

    /// One request for what is still missing.
    fn append(
        &self,
        url: &str,
        partial: &Path,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<(), Failure> {
        let write_error = |error| write_failure(partial, size, error);
        let had = length(partial);
        if had == size {
            return Ok(());
        }
        // A piece longer than the file is not of this file.
        let response = self.request(url, if had < size { had } else { 0 })?;
        let resumes = response.status() == 206 && range_start(&response) == Some(had);
        let announced = content_length(&response);
        let mut have = if resumes { had } else { 0 };
        let mut file = File::options()
            .create(true)
            .write(true)
            .append(resumes)
            .truncate(!resumes)
            .open(partial)
            .map_err(write_error)?;
        if !resumes && had > 0 {
            progress.begin(label(url), size);
        }
        let complete = announced.is_some_and(|length| have.saturating_add(length) < size);
        let mut body = response.into_body().into_reader().take(size - have);
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) if have == size || complete => return Ok(()),
                Ok(0) => {
                    let reason = format!("the connection ended after {have} of {size} bytes");
                    return Err(Failure::Transient {
                        reason,
                        headway: have > had,
                    });
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let reason = error.to_string();
                    return Err(Failure::Transient {
                        reason,
                        headway: have > had,
                    });
                }
            };
            file.write_all(&buffer[..count]).map_err(write_error)?;
            have += count as u64;
            progress.advance(count as u64);
        }
    }

    fn request(&self, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| match error {
            ureq::Error::Io(error) => Failure::from(error),
            other => Failure::transient(other.to_string()),
        })?;
        match response.status().as_u16() {
            200 | 206 => Ok(response),
            // The piece at hand ends past the file: not of this file.
            416 => Err(Failure::transient(
                "the mirror has less of the file than expected",
            )),
            status @ (408 | 425 | 429 | 500..) => Err(Failure::transient(format!(
                "the mirror answered with HTTP status {status}"
            ))),
            status => Err(Failure::Final(Error::Status {
                url: url.to_owned(),
                status,
            })),
        }
    }

    /// Tries until it works, fails for good, or has made no headway [`ATTEMPTS`] times.
    fn retry<T>(
        &self,
        url: &str,
        mut attempt: impl FnMut(u32) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let (mut total, mut fruitless) = (0, 0);
        loop {
            match attempt(total) {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Transient { reason, headway }) => {
                    fruitless = if headway { 1 } else { fruitless + 1 };
                    if fruitless >= ATTEMPTS {
                        return Err(network(url, reason));
                    }
                    std::thread::sleep(self.pause * (1 << (fruitless - 1)));
                }
            }
            total += 1;
        }
    }
}

/// How one attempt failed.
enum Failure {
    /// Another attempt may help; `headway` tells whether this one got further than all before.
    Transient { reason: String, headway: bool },
    /// None will.
    Final(Error),
}

impl Failure {
    fn transient(reason: impl Into<String>) -> Self {
        Self::Transient {
            reason: reason.into(),
            headway: false,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::transient(error.to_string())
    }
}

fn network(url: &str, reason: impl Into<String>) -> Error {
    Error::Network {
        url: url.to_owned(),
        reason: reason.into(),
    }
}

fn write_failure(path: &Path, missing: u64, error: io::Error) -> Failure {
    let error = clade_store::Error::io("write", path, error);
    Failure::Final(match error {
        clade_store::Error::DiskFull { free, .. } => no_space(path, missing, free),
        other => Error::Store(other),
    })
}

fn no_space(target: &Path, needed: u64, free: u64) -> Error {
    let what = target
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = target.parent().unwrap_or(target).to_owned();
    Error::NoSpace {
        what,
        folder,
        needed,
        free,
    }
}

fn ensure_space(target: &Path, needed: u64) -> Result<(), Error> {
    let free = clade_store::free_space(target)?;
    if free < needed {
        Err(no_space(target, needed, free))
    } else {
        Ok(())
    }
}

fn partial_name(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Bytes that the answer says it has; none if it does not say.
fn content_length(response: &Response<Body>) -> Option<u64> {
    response
        .headers()
        .get("content-length")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The last part of an address: the name of the file.
fn label(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// The first byte's place in `Content-Range: bytes 100-199/200` (RFC 9110, section 14.4).
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .trim()
        .parse()
        .ok()
}

fn tls_config(mirror: &str) -> Result<TlsConfig, Error> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(network(
            mirror,
            "this host has no TLS root certificates; install its ca-certificates package, or use an \
             http:// mirror (packages are checked by signature either way)",
        ));
    }
    let roots = found
        .certs
        .iter()
        .map(|der| Certificate::from_der(der.as_ref()).to_owned());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
        .unversioned_rustls_crypto_provider(Arc::new(rustls_rustcrypto::provider()))
        .build())
}
