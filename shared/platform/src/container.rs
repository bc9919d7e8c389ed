//! A landing container, which may not be there.
//!
//! Storage says "not found" of a blob that is gone and of a blob whose container never was. The first is the end of an
//! event's story; the second is a wrong setting, after which every event of the account would be taken for settled.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::azure::{AzureContainer, Refusal};
use crate::blob_name::BlobName;
use crate::error::PlatformError;
use crate::folder::Folder;
use crate::listing::Page;

const NO_CONTAINER: &str = "ContainerNotFound";

/// A container that files land in, asked with the keys of [`BlobName`]s. Answers "not found" only for blobs of a
/// container that exists.
#[derive(Debug)]
pub struct Container {
    pub(crate) name: String,
    /// The setting that says where it is.
    pub(crate) key: &'static str,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) names: Names,
}

/// Whoever knows blobs by their real names.
#[derive(Debug)]
pub(crate) enum Names {
    Azure(AzureContainer),
    Folder(Folder),
}

impl Container {
    /// One page of the blobs whose names begin with `prefix`: the first, or the one that `marker`, an earlier page's
    /// `next`, leads to. At most `limit` names (up to 5,000), and maybe fewer: only `next` says that there are no more.
    ///
    /// # Errors
    /// When storage does not answer, or the container does not exist. One name never fails a page.
    pub async fn page(&self, prefix: &str, marker: Option<&str>, limit: usize) -> Result<Page> {
        let page = match &self.names {
            Names::Azure(azure) => azure.page(prefix, marker, limit).await,
            Names::Folder(folder) => {
                let (folder, prefix, marker) = (folder.clone(), prefix.to_owned(), marker.map(str::to_owned));
                blocking(move || folder.page(&prefix, marker.as_deref(), limit)).await
            }
        };
        page.map_err(|error| self.missing(&error).unwrap_or(error))
    }

    /// What is to be said where it is the container that was not found.
    fn missing(&self, error: &Error) -> Option<Error> {
        let Error::NotFound { source, .. } = error else { return None };
        let refusal = source.downcast_ref::<Refusal>()?;
        (refusal.code == NO_CONTAINER).then(|| self.no_container())
    }

    fn no_container(&self) -> Error {
        let source = PlatformError::NoContainer { key: self.key, container: self.name.clone() };
        // object_store has no error of its own for it.
        Error::Generic { store: "landing", source: source.into() }
    }

    /// Asks whether the container is there when a blob is not: the answer to a read does not always say.
    async fn explain(&self, error: Error, location: &Path) -> Error {
        if !matches!(error, Error::NotFound { .. }) {
            return error;
        }
        // Its blobs are of no interest.
        self.page(location.as_ref(), None, 1).await.err().unwrap_or(error)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.store)
    }
}

#[async_trait]
impl ObjectStore for Container {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match (&self.names, BlobName::raw(location)) {
            // object_store's own goes through an address, which changes some names (`a:`, `a|`) and refuses others (`a#1`).
            (Names::Folder(folder), raw) => {
                let (folder, key) = (folder.clone(), location.clone());
                return blocking(move || folder.get(raw.as_deref().unwrap_or(key.as_ref()), &key, &options)).await;
            }
            (Names::Azure(azure), Some(name)) => {
                let found = azure.get(&name, location, options).await;
                return found.map_err(|error| self.missing(&error).unwrap_or(error));
            }
            (Names::Azure(_), None) => {}
        }
        match self.store.get_opts(location, options).await {
            Err(error) => Err(self.explain(error, location).await),
            found => found,
        }
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
