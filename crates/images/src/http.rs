//! A client for files over HTTP and HTTPS.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use crate::download::{Failure, Piece, Remote, download, retry};
use crate::release::Expected;
use crate::{Error, Progress};

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
        retry(url, self.pause, |_| {
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

    /// Fetches a file that a signed index describes to `target`; see [`download`].
    pub(crate) fn download(
        &self,
        url: &str,
        target: &Path,
        expected: Expected,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let remote = File { http: self, url };
        download(&remote, target, expected, self.pause, progress)
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
}

/// A file on the mirror.
struct File<'a> {
    http: &'a Http,
    url: &'a str,
}

impl Remote for File<'_> {
    fn url(&self) -> &str {
        self.url
    }

    fn open(&self, from: u64) -> Result<Piece<'_>, Failure> {
        let response = self.http.request(self.url, from)?;
        let resumes = response.status() == 206 && range_start(&response) == Some(from);
        Ok(Piece {
            from: if resumes { from } else { 0 },
            length: content_length(&response),
            body: Box::new(response.into_body().into_reader()),
        })
    }
}

fn network(url: &str, reason: impl Into<String>) -> Error {
    Error::Network {
        url: url.to_owned(),
        reason: reason.into(),
    }
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
