//! What Weir writes on the local disk may hold data, so it is this user's alone: folders 0700, files 0600. What is there
//! already keeps its mode. On systems without such modes nothing is done.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// Makes a folder, and those above it that are missing, for this user alone.
///
/// # Errors
/// What the file system says.
pub fn create_folder(folder: &FilePath) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A store on the local disk whose files nobody else can read.
#[derive(Debug)]
pub(crate) struct PrivateStore {
    store: LocalFileSystem,
}

impl PrivateStore {
    pub(crate) fn new(root: PathBuf) -> Result<Self> {
        let failed = |source: io::Error| Error::Generic { store: "local", source: source.into() };
        create_folder(&root).map_err(failed)?;
        Ok(Self { store: LocalFileSystem::new_with_prefix(root)? })
    }

    /// The file of an object, in a folder that is there: a file is nobody else's even while it is written.
    fn prepared(&self, location: &Path) -> Result<PathBuf> {
        let file = self.store.path_to_filesystem(location)?;
        let folder = file.parent().map_or(Ok(()), create_folder);
        folder.map_err(|source| Error::Generic { store: "local", source: source.into() })?;
        Ok(file)
    }
}

/// The file may be gone by now, or another one.
fn keep(file: &FilePath) {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        let _ = std::fs::set_permissions(file, mode);
    }
}

impl fmt::Display for PrivateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.store)
    }
}

#[async_trait]
impl ObjectStore for PrivateStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let file = self.prepared(location)?;
        let put = self.store.put_opts(location, payload, options).await?;
        keep(&file);
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let file = self.prepared(location)?;
        let upload = self.store.put_multipart_opts(location, options).await?;
        Ok(Box::new(PrivateUpload { file, upload }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
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
        let file = self.prepared(to)?;
        self.store.copy_opts(from, to, options).await?;
        keep(&file);
        Ok(())
    }
}

#[derive(Debug)]
struct PrivateUpload {
    file: PathBuf,
    upload: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for PrivateUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let put = self.upload.complete().await?;
        keep(&self.file);
        Ok(put)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
