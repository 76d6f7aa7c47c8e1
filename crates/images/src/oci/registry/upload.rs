//! What goes to a registry: blobs, and the manifest that names them.

use std::fs::File;
use std::future::poll_fn;
use std::os::unix::fs::FileExt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use clade_store::Sha256;
use futures_core::Stream;
use oci_client::errors::{OciDistributionError, Result as OciResult};
use oci_client::manifest::OCI_IMAGE_MEDIA_TYPE;
use oci_client::{Reference, RegistryOperation};

use super::Registry;
use crate::download::{Failure, retry};
use crate::oci::document::digest;
use crate::{Error, Progress};

/// Bytes that are sent by one request, and so held in memory: what registries surely take.
const CHUNK: u64 = 4 << 20;

/// The content of a blob.
#[derive(Debug)]
pub(crate) struct Content {
    /// Nobody else writes to it.
    pub(crate) file: File,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) sha256: Sha256,
}

impl Registry {
    /// Asks for leave to write, so that a refusal comes before the work.
    pub(crate) fn log_in(&self) -> Result<(), Error> {
        self.insist(|_| {
            let operation = RegistryOperation::Push;
            let auth = self.client.auth(&self.reference, &self.auth, operation);
            self.block_on(auth).map(drop)
        })
    }

    /// Whether the repository has a blob. One that may not be looked at is taken to be missing.
    pub(crate) fn has(&self, sha256: Sha256) -> Result<bool, Error> {
        let digest = digest(sha256);
        self.insist(|_| {
            let exists = self.client.blob_exists(&self.reference, &digest);
            match self.runtime.block_on(exists) {
                Ok(exists) => Ok(exists),
                Err(OciDistributionError::RequestError(error))
                    if error
                        .status()
                        .is_some_and(|status| status.is_client_error()) =>
                {
                    Ok(false)
                }
                Err(error) => Err(self.purpose.failure(&self.reference.to_string(), error)),
            }
        })
    }

    /// Has a blob of another repository in this one, too; whether the registry does that.
    pub(crate) fn mount(&self, sha256: Sha256, repository: &str) -> bool {
        let registry = self.reference.registry().to_owned();
        let source = Reference::with_tag(registry, repository.to_owned(), "latest".to_owned());
        let digest = digest(sha256);
        let mount = self.client.mount_blob(&self.reference, &source, &digest);
        self.runtime.block_on(mount).is_ok()
    }

    /// Sends a blob, which is called `label` in few words.
    pub(crate) fn upload(
        &self,
        content: &Content,
        label: &str,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let sent = self.insist(|attempt| {
            if attempt > 0 {
                progress.message(&format!("the connection broke; sending {label} again"));
            }
            progress.begin(label, content.size);
            self.upload_once(content, progress)
        });
        progress.finish();
        sent
    }

    fn upload_once(&self, content: &Content, progress: &dyn Progress) -> Result<(), Failure> {
        let taken = Arc::new(AtomicU64::new(0));
        let chunks = Chunks {
            file: content.file.try_clone()?,
            size: content.size,
            at: 0,
            last: 0,
            taken: Arc::clone(&taken),
        };
        let digest = digest(content.sha256);
        let push =
            self.client
                .push_blob_stream(&self.reference, chunks, &digest, Some(content.size));
        let mut push = pin!(push);
        let told = poll_fn(|context| {
            let state = push.as_mut().poll(context);
            progress.advance(taken.swap(0, Ordering::Relaxed));
            state
        });
        self.block_on(told).map(drop)
    }

    /// Gives the manifest the reference's tag.
    pub(crate) fn put_manifest(&self, json: &[u8]) -> Result<(), Error> {
        self.insist(|_| {
            let kind = OCI_IMAGE_MEDIA_TYPE.parse();
            let kind = kind.map_err(|error| Failure::transient(format!("{error}")))?;
            let push = self
                .client
                .push_manifest_raw(&self.reference, json.to_vec(), kind);
            self.block_on(push).map(drop)
        })
    }

    /// Registry and repository: where blobs are, whatever their tag.
    pub(crate) fn repository(&self) -> (&str, &str) {
        (self.reference.registry(), self.reference.repository())
    }

    fn block_on<T>(&self, task: impl Future<Output = OciResult<T>>) -> Result<T, Failure> {
        let done = self.runtime.block_on(task);
        done.map_err(|error| self.purpose.failure(&self.reference.to_string(), error))
    }

    /// [`retry`], in terms of registries.
    fn insist<T>(&self, attempt: impl FnMut(u32) -> Result<T, Failure>) -> Result<T, Error> {
        let name = self.reference.to_string();
        retry(&name, self.pause, attempt).map_err(|error| self.purpose.of_registry(&name, error))
    }
}

/// A file, piece by piece.
struct Chunks {
    file: File,
    size: u64,
    at: u64,
    /// Bytes of the piece that is on its way.
    last: u64,
    /// Bytes that the registry has taken, for whoever shows them.
    taken: Arc<AtomicU64>,
}

impl Stream for Chunks {
    type Item = OciResult<Bytes>;

    /// Whoever asks for the next piece is done with the last.
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.taken.fetch_add(self.last, Ordering::Relaxed);
        self.last = CHUNK.min(self.size - self.at);
        if self.last == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; self.last as usize];
        let read = self.file.read_exact_at(&mut piece, self.at);
        self.at += self.last;
        Poll::Ready(Some(match read {
            Ok(()) => Ok(piece.into()),
            Err(error) => Err(error.into()),
        }))
    }
}
