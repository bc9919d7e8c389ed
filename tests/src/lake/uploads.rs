//! Large data files go into the store in parts while they grow; whatever becomes of the parts, the rows do not suffer.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use weir_lake::{Append, Lake, LakeError, LakeOptions, Staged, Table};
use weir_warehouse::async_trait;

use super::{counted, definition, frame, memory, model, now_ms, orphans, producer, rows};

/// Which request of an upload fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    Nothing,
    Begin,
    Part(usize),
    Complete,
    /// It has its effect, and the answer is lost.
    AnswerOfComplete,
    /// The store says no to all of it.
    Denied,
}

#[derive(Debug)]
struct Uploads {
    inner: Arc<dyn ObjectStore>,
    failing: Failing,
    /// Parts that were asked for, of all uploads.
    parts: Arc<AtomicUsize>,
    aborted: Arc<AtomicUsize>,
    /// Data files that came in one piece.
    whole: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    failing: Failing,
    parts: Arc<AtomicUsize>,
    aborted: Arc<AtomicUsize>,
}

fn lost() -> Error {
    Error::Generic { store: "uploads", source: "operation timed out".into() }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.parts.fetch_add(1, Ordering::SeqCst);
        if self.failing == Failing::Part(part) {
            return async { Err(lost()) }.boxed();
        }
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.failing == Failing::Complete {
            return Err(lost());
        }
        let done = self.inner.complete().await;
        if self.failing == Failing::AnswerOfComplete { Err(lost()) } else { done }
    }

    async fn abort(&mut self) -> Result<()> {
        self.aborted.fetch_add(1, Ordering::SeqCst);
        self.inner.abort().await
    }
}

impl fmt::Display for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("uploads")
    }
}

#[async_trait]
impl ObjectStore for Uploads {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if location.as_ref().ends_with(".parquet") {
            self.whole.lock().unwrap().push(location.to_string());
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        match self.failing {
            Failing::Begin => return Err(lost()),
            Failing::Denied => {
                return Err(Error::PermissionDenied { path: at.to_string(), source: "403".into() });
            }
            _ => {}
        }
        let (failing, parts, aborted) = (self.failing, Arc::clone(&self.parts), Arc::clone(&self.aborted));
        let inner = self.inner.put_multipart_opts(at, options).await?;
        Ok(Box::new(Upload { inner, failing, parts, aborted }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

const ROWS: i64 = 6_000;

async fn open(inner: &Arc<dyn ObjectStore>, failing: Failing) -> (Arc<Uploads>, Arc<Table>) {
    let store = Arc::new(Uploads {
        inner: Arc::clone(inner),
        failing,
        parts: Arc::default(),
        aborted: Arc::default(),
        whole: Mutex::default(),
    });
    let mut options = LakeOptions::new(now_ms);
    options.part_bytes = 4 * 1024;
    options.group_bytes = 1; // no row is held for a shared file
    let lake = Lake::new(Arc::clone(&store) as _, "lake".into(), options);
    (store, lake.table(&definition()).await.unwrap())
}

async fn write(table: &Arc<Table>, count: i64) -> std::result::Result<Staged, LakeError> {
    let mut writer = table.write();
    for rows in model("hub/0", 1..=count).chunks(500) {
        writer.write(frame(rows)).await?;
    }
    writer.finish().await
}

#[tokio::test]
async fn an_upload_that_fails_anywhere_costs_no_row() {
    let failings = [
        Failing::Nothing,
        Failing::Begin,
        Failing::Part(0),
        Failing::Part(2),
        Failing::Complete,
        Failing::AnswerOfComplete,
    ];
    for failing in failings {
        let inner = memory();
        let (store, table) = open(&inner, failing).await;
        let staged = write(&table, ROWS).await.unwrap();
        let append = Append { producer: producer("hub/0", ROWS), rows: staged, books: counted(ROWS as usize) };
        table.append(append, None).await.unwrap();

        let files = table.snapshot().await.unwrap().files;
        assert_eq!(files.len(), 1, "{failing:?}");
        let size = inner.list(None);
        let stored: Vec<ObjectMeta> = futures::TryStreamExt::try_collect(size).await.unwrap();
        let stored = stored.iter().find(|object| object.location.as_ref().ends_with(&files[0].log_path)).unwrap();
        assert_eq!(files[0].size, stored.size, "{failing:?}");
        let mut expected = model("hub/0", 1..=ROWS);
        expected.sort();
        assert_eq!(rows(&table).await, expected, "{failing:?}");

        let (parts, whole) = (store.parts.load(Ordering::SeqCst), store.whole.lock().unwrap().len());
        match failing {
            Failing::Nothing => assert!(parts > 3 && whole == 0, "{parts} parts, {whole} whole"),
            // The file is written again, whole and under another name.
            _ => assert_eq!(whole, 1, "{failing:?}"),
        }
        let aborted = usize::from(matches!(failing, Failing::Part(_)));
        assert_eq!(store.aborted.load(Ordering::SeqCst), aborted, "{failing:?}");
        // What the lost answer was about is a file that nobody names: vacuum's.
        let left = usize::from(failing == Failing::AnswerOfComplete);
        assert_eq!(orphans(&inner).await.len(), left, "{failing:?}");
    }
}

#[tokio::test]
async fn what_the_store_denies_is_not_tried_again() {
    let (store, table) = open(&memory(), Failing::Denied).await;
    assert!(matches!(write(&table, ROWS).await.unwrap_err(), LakeError::Store { .. }));
    assert!(store.whole.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_small_file_is_one_request() {
    let (store, table) = open(&memory(), Failing::Nothing).await;
    write(&table, 100).await.unwrap();
    assert_eq!((store.parts.load(Ordering::SeqCst), store.whole.lock().unwrap().len()), (0, 1));
}
