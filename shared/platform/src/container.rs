//! A landing container, which may not be there.
//!
//! Storage says "not found" of a blob that is gone and of a blob whose container never was. The first is the end of an
//! event's story; the second is a wrong setting, after which every event of the account would be taken for settled.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::error::PlatformError;

/// Answers "not found" only for blobs of a container that exists.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    /// The setting that says where it is.
    pub(crate) key: &'static str,
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl Container {
    async fn explain(&self, error: Error, location: &Path) -> Error {
        if !matches!(error, Error::NotFound { .. }) {
            return error;
        }
        match self.store.list(Some(location)).next().await {
            // object_store has no error of its own for it.
            Some(Err(other)) if other.to_string().contains("ContainerNotFound") => {
                let source = PlatformError::NoContainer { key: self.key, container: self.name.clone() };
                Error::Generic { store: "landing", source: source.into() }
            }
            Some(Err(other)) => other,
            Some(Ok(_)) | None => error,
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.store)
    }
}

#[async_trait]
impl ObjectStore for Container {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.store.get_opts(location, options).await {
            Err(error) => Err(self.explain(error, location).await),
            found => found,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.store.get_ranges(location, ranges).await {
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
