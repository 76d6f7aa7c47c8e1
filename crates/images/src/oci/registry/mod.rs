//! Registries (OCI Distribution Specification 1.1), by way of `oci-client`.

mod failure;
mod upload;

use std::future::poll_fn;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use docker_credential::DockerCredential;
use futures_core::Stream;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::{DigestError, OciDistributionError};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tokio::runtime::{self, Runtime};

use crate::download::{Failure, Piece, Remote, download, retry};
use crate::oci::document::{Descriptor, MAX_DOCUMENT, digest};
use crate::oci::source::Source;
use crate::release::Expected;
use crate::{Error, Progress};

pub(crate) use failure::Purpose;
pub(crate) use upload::Content;

use failure::with_causes;

/// What a manifest may be.
const ACCEPTED: [&str; 4] = [
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
];

/// A manifest is small: who takes longer sends something else.
const MANIFEST_TIME: Duration = Duration::from_secs(60);

/// The name under which credentials for Docker's own registry are kept.
const DOCKER_SERVER: &str = "https://index.docker.io/v1/";

/// One image or artifact in a registry.
pub(crate) struct Registry {
    client: Client,
    runtime: Runtime,
    reference: Reference,
    auth: RegistryAuth,
    purpose: Purpose,
    /// As for [`retry`].
    pause: Duration,
}

impl Registry {
    /// A client for the registry of `reference`. It is spoken to without encryption if it is on
    /// this host or among `insecure`.
    pub(crate) fn new(
        reference: &Reference,
        insecure: &[String],
        purpose: Purpose,
        pause: Duration,
    ) -> Result<Self, Error> {
        let wrong = |reason: String| purpose.error(&reference.to_string(), reason);
        // Somebody else in this process may have chosen a provider already, which is as good.
        let _ = rustls_rustcrypto::provider().install_default();
        let registry = reference.resolve_registry().to_owned();
        let plain = is_loopback(&registry) || insecure.contains(&registry);
        let config = ClientConfig {
            protocol: if plain {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            connect_timeout: Some(Duration::from_secs(15)),
            read_timeout: Some(purpose.patience()),
            user_agent: concat!("clade/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            client: Client::try_from(config).map_err(|error| wrong(no_client(&error)))?,
            runtime,
            auth: credentials(&registry),
            reference: reference.clone(),
            purpose,
            pause,
        })
    }

    fn fetch_manifest(&self, reference: &Reference) -> Result<Vec<u8>, Error> {
        let name = reference.to_string();
        let once = |_| {
            let pull = self
                .client
                .pull_manifest_raw(reference, &self.auth, &ACCEPTED);
            let pulled = self
                .runtime
                .block_on(async { tokio::time::timeout(MANIFEST_TIME, pull).await })
                .map_err(|_| Failure::transient("its manifest does not come to an end"))?;
            let (json, _) = pulled.map_err(|error| self.purpose.failure(&name, error))?;
            if json.len() as u64 > MAX_DOCUMENT {
                let reason = format!("its manifest is larger than {MAX_DOCUMENT} bytes");
                return Err(Failure::Final(Error::malformed(&name, reason)));
            }
            Ok(json.to_vec())
        };
        retry(&name, self.pause, once).map_err(|error| self.purpose.of_registry(&name, error))
    }
}

/// Why there can be no client. It wants certificates even if it is to speak without encryption, as a registry
/// may refer it to one that it has to know.
fn no_client(error: &OciDistributionError) -> String {
    let certificates = rustls_native_certs::load_native_certs().certs;
    match certificates.is_empty() {
        true => "this host has no certificates of authorities, by which registries are known; install them \
                 (Debian: apt install ca-certificates), or name theirs in SSL_CERT_FILE"
            .to_owned(),
        false => with_causes(error),
    }
}

impl Source for Registry {
    fn top(&mut self) -> Result<Vec<u8>, Error> {
        self.fetch_manifest(&self.reference)
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let digest = digest(descriptor.sha256()?);
        self.fetch_manifest(&self.reference.clone_with_digest(digest))
    }

    fn blob(
        &mut self,
        descriptor: &Descriptor,
        label: &str,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let sha256 = descriptor.sha256()?;
        let blob = Blob {
            registry: self,
            name: self.reference.to_string(),
            digest: digest(sha256),
            label,
        };
        let expected = Expected {
            size: descriptor.size,
            sha256,
        };
        download(&blob, target, expected, self.pause, progress)
            .map_err(|error| self.purpose.of_registry(&blob.name, error))
    }
}

/// A configuration or layer in a registry.
struct Blob<'a> {
    registry: &'a Registry,
    name: String,
    digest: String,
    label: &'a str,
}

impl Remote for Blob<'_> {
    fn url(&self) -> &str {
        &self.name
    }

    fn label(&self) -> &str {
        self.label
    }

    fn open(&self, from: u64) -> Result<Piece<'_>, Failure> {
        let Registry {
            client,
            runtime,
            reference,
            auth,
            ..
        } = self.registry;
        let pull = async {
            let registry = reference.resolve_registry();
            client.store_auth_if_needed(registry, auth).await;
            let digest = self.digest.as_str();
            if from > 0 {
                let pull = client.pull_blob_stream_partial(reference, digest, from, None);
                return pull.await;
            }
            let stream = client.pull_blob_stream(reference, digest).await?;
            Ok(BlobResponse::Full(stream))
        };
        let (from, stream) = match runtime.block_on(pull) {
            Ok(BlobResponse::Full(stream)) => (0, stream),
            Ok(BlobResponse::Partial(stream)) => (from, stream),
            Err(error) => return Err(self.registry.purpose.failure(&self.name, error)),
        };
        Ok(Piece {
            from,
            length: stream.content_length,
            body: Box::new(Body {
                runtime,
                stream,
                piece: Bytes::new(),
            }),
        })
    }
}

/// What a registry sends, as it comes.
struct Body<'a> {
    runtime: &'a Runtime,
    stream: SizedStream,
    piece: Bytes,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let stream = &mut self.stream;
            let next = poll_fn(|context| Pin::new(&mut *stream).poll_next(context));
            match self.runtime.block_on(next) {
                Some(Ok(piece)) => self.piece = piece,
                // Found out by whoever reads, too, who knows what to do then.
                Some(Err(error)) if is_about_digest(&error) => return Ok(0),
                Some(Err(error)) => return Err(io::Error::other(with_causes(&error))),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

fn is_about_digest(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<DigestError>())
}

/// What the user's Docker or Podman knows about the registry.
fn credentials(registry: &str) -> RegistryAuth {
    let server = if registry == "index.docker.io" {
        DOCKER_SERVER
    } else {
        registry
    };
    let found = docker_credential::get_credential(server)
        .or_else(|_| docker_credential::get_podman_credential(registry));
    match found {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            RegistryAuth::Basic(user, password)
        }
        // An identity token is good for a kind of login that the client does not know.
        Ok(DockerCredential::IdentityToken(_)) | Err(_) => RegistryAuth::Anonymous,
    }
}

/// Whether a registry (`HOST[:PORT]`) is on this host.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_on_this_host_are_told_from_others() {
        for (registry, here) in [
            ("localhost:5000", true),
            ("localhost", true),
            ("127.0.0.1:80", true),
            ("127.1.2.3", true),
            ("docker.io", false),
            ("localhost.example:5000", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(registry), here, "{registry}");
        }
    }
}
