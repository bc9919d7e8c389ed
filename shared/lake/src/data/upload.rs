//! A data file on its way into the store. A large one begins to be stored while it still grows, so that little is left to
//! do at its end. Its bytes are kept until it is whole: whatever fails, the file is written again, under another name.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, Result as StoreResult};
use tokio::task::JoinHandle;

use super::encode::Partition;
use super::files::{data_file, to_log_path};
use super::statistics::FileStatistics;
use super::writer::StagedFile;
use crate::error::{LakeError, is_final};
use crate::lake::LakeOptions;
use crate::log::{Location, object_path};
use crate::schema::Layout;

/// Attempts at storing one file, each under a name of its own.
const PUT_ATTEMPTS: usize = 3;

/// What is known of a file when its rows are complete.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) partition: Partition,
    pub(crate) statistics: FileStatistics,
}

impl Whole {
    fn staged(self, Name { log_path, object }: Name, size: u64) -> StagedFile {
        let (rows, stats) = (self.statistics.rows, self.statistics.to_json());
        StagedFile { log_path, object, partition_values: self.partition, size, rows, stats }
    }
}

/// A name that no other file has.
#[derive(Debug)]
struct Name {
    log_path: String,
    object: Path,
}

impl Name {
    fn new(at: &Location, options: &LakeOptions, layout: &Layout, partition: &Partition) -> Result<Self, LakeError> {
        let log_path = to_log_path(&data_file(partition, &layout.partition_by, &options.new_id(), &at.root));
        let object = object_path(&at.root, &log_path).map_err(|message| at.corrupt(&log_path, message))?;
        Ok(Self { log_path, object })
    }
}

/// A file whose first bytes are stored, or about to be. Nobody sees it before it is complete.
#[derive(Debug)]
pub(crate) struct Begun {
    name: Name,
    parts: Vec<Bytes>,
    /// The request of the last part, after those of the parts before it.
    running: JoinHandle<StoreResult<Box<dyn MultipartUpload>>>,
}

impl Begun {
    pub(crate) fn new(
        at: &Location,
        options: &LakeOptions,
        layout: &Layout,
        partition: &Partition,
        bytes: Bytes,
    ) -> Result<Self, LakeError> {
        let name = Name::new(at, options, layout, partition)?;
        let (store, object, first) = (at.store.clone(), name.object.clone(), bytes.clone());
        let running = tokio::spawn(async move { put_part(store.put_multipart(&object).await?, first).await });
        Ok(Self { name, parts: vec![bytes], running })
    }

    pub(crate) fn push(self, bytes: Bytes) -> Self {
        let Self { name, mut parts, running } = self;
        parts.push(bytes.clone());
        let running = tokio::spawn(async move { put_part(running.await??, bytes).await });
        Self { name, parts, running }
    }

    /// Stores the rest.
    pub(crate) async fn finish(
        self,
        at: &Location,
        options: &LakeOptions,
        layout: &Layout,
        rest: Bytes,
        whole: Whole,
    ) -> Result<StagedFile, LakeError> {
        let Self { name, running, mut parts } = self;
        parts.push(rest.clone());
        let complete = async {
            let mut upload = put_part(running.await??, rest).await?;
            upload.complete().await
        };
        match complete.await {
            Ok(_) => {
                let size = parts.iter().map(|part| part.len() as u64).sum();
                Ok(whole.staged(name, size))
            }
            Err(error) if is_final(&error) => Err(at.store_error("write", &name.object, error)),
            Err(error) => {
                tracing::debug!(table = at.name, %error, "a data file is written again");
                store(at, options, layout, parts.into_iter().collect(), whole).await
            }
        }
    }
}

async fn put_part(mut upload: Box<dyn MultipartUpload>, bytes: Bytes) -> StoreResult<Box<dyn MultipartUpload>> {
    match upload.put_part(bytes.into()).await {
        Ok(()) => Ok(upload),
        Err(error) => {
            // What stays is no file: the store forgets it after a time.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

/// Stores one file. Every attempt has a name of its own: what an earlier one may still do cannot touch it.
pub(crate) async fn store(
    at: &Location,
    options: &LakeOptions,
    layout: &Layout,
    payload: PutPayload,
    whole: Whole,
) -> Result<StagedFile, LakeError> {
    let size = payload.content_length() as u64;
    let mut attempt = 1;
    loop {
        let name = Name::new(at, options, layout, &whole.partition)?;
        match at.store.put(&name.object, payload.clone()).await {
            Ok(_) => return Ok(whole.staged(name, size)),
            Err(error) => {
                let final_ = is_final(&error);
                let failed = at.store_error("write", &name.object, error);
                if attempt == PUT_ATTEMPTS || final_ {
                    return Err(failed);
                }
                attempt += 1;
            }
        }
    }
}
