//! Writing data files: frames in, rows that are ready to be committed out. Nothing here touches the log: a file that
//! no commit names is not part of the table, so a writer may stop at any point.
//!
//! Few rows stay in memory, so that the commit can put the rows of many callers into one file; many become files at
//! once. Memory: rows below [`MAX_HELD_BYTES`] and [`ROW_GROUP_BYTES`], then at most one open file for each partition value,
//! together below [`MAX_OPEN_BYTES`], plus one upload.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use polars::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, spawn_blocking};

use super::encode::{EncodedFile, OpenFile, Partition, concat, encode, split};
use super::upload::{Begun, Whole, store};
use crate::commit::writer::Writer;
use crate::error::LakeError;
use crate::log::actions::Add;
use crate::log::object_path;
use crate::schema::{Conformed, Layout};
use crate::table::Table;

/// Bytes of rows that are kept for a file shared with others.
const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of rows that a row group is made of, unless the file ends sooner. Each row group has a note of every column in
/// the file's footer, which stays in memory until the file is closed: frames of one row each would fill it.
const ROW_GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Encoded bytes held for files that are still open; above it the largest is closed early.
const MAX_OPEN_BYTES: usize = 128 * 1024 * 1024;
/// Partition values with an open file; above it the largest is closed early.
const MAX_OPEN_FILES: usize = 256;
/// Files of one commit that are stored at the same time.
const PARALLEL_PUTS: usize = 8;

/// A data file that is in the store and not (yet) in the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StagedFile {
    pub(crate) log_path: String,
    pub(crate) object: Path,
    pub(crate) partition_values: Partition,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) rows: u64,
    pub(crate) stats: String,
}

impl StagedFile {
    pub(crate) fn add_action(&self, now_ms: i64, data_change: bool) -> Add {
        Add {
            path: self.log_path.clone(),
            partition_values: self.partition_values.clone(),
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            modification_time: now_ms,
            data_change,
            stats: Some(self.stats.clone()),
            deletion_vector: None,
        }
    }
}

/// Rows that are ready to be committed: few as a frame, many as files.
#[derive(Debug, Clone)]
pub struct Staged {
    pub(crate) content: Content,
    rows: u64,
    /// Somebody else refers to the files too: they are not discarded when these rows are not committed.
    pub(crate) kept: bool,
}

/// [`Staged`] rows as files, told apart from the process that wrote them: what one instance wrote another can commit,
/// as long as vacuum does not take the files for orphans.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileList(Vec<ListedFile>);

impl FileList {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedFile {
    path: String,
    partition_values: Partition,
    size: u64,
    rows: u64,
    stats: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Frame(DataFrame),
    Files(Vec<StagedFile>),
}

impl Staged {
    fn of_frame(frame: DataFrame) -> Self {
        Self { rows: frame.height() as u64, content: Content::Frame(frame), kept: false }
    }

    pub(crate) fn of_files(files: Vec<StagedFile>) -> Self {
        Self { rows: files.iter().map(|file| file.rows).sum(), content: Content::Files(files), kept: false }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Table {
    /// Starts writing rows for this table.
    pub fn write(self: &Arc<Self>) -> TableWriter {
        let writer = Arc::clone(&self.writer);
        TableWriter { writer, held: Vec::new(), held_bytes: 0, held_room: 0, spilled: None }
    }

    /// Makes one frame ready to be committed.
    pub async fn stage(self: &Arc<Self>, frame: DataFrame) -> Result<Staged, LakeError> {
        let mut writer = self.write();
        writer.write(frame).await?;
        writer.finish().await
    }

    /// Writes what is in memory and names all files.
    pub async fn list_files(self: &Arc<Self>, staged: Staged) -> Result<FileList, LakeError> {
        let listed = |file: StagedFile| ListedFile {
            path: file.log_path,
            partition_values: file.partition_values,
            size: file.size,
            rows: file.rows,
            stats: file.stats,
        };
        Ok(FileList(self.writer.into_files(staged).await?.into_iter().map(listed).collect()))
    }

    /// Rows that are in files which other processes wrote and listed. Whatever becomes of them, the files stay: vacuum
    /// takes those that no commit names.
    ///
    /// # Errors
    /// A path that leaves the table's folder.
    pub fn listed(&self, lists: impl IntoIterator<Item = FileList>) -> Result<Staged, LakeError> {
        let staged = |file: ListedFile| {
            let object = object_path(&self.at.root, &file.path);
            let object = object.map_err(|message| self.at.corrupt(&file.path, message))?;
            let ListedFile { path: log_path, partition_values, size, rows, stats } = file;
            Ok(StagedFile { log_path, object, partition_values, size, rows, stats })
        };
        let files = lists.into_iter().flat_map(|list| list.0).map(staged).collect::<Result<_, LakeError>>()?;
        Ok(Staged { kept: true, ..Staged::of_files(files) })
    }

    /// Gives up files that nobody else was told of.
    pub async fn discard_listed(&self, list: FileList) -> Result<(), LakeError> {
        self.discard(Staged { kept: false, ..self.listed([list])? }).await;
        Ok(())
    }

    /// Gives up rows that were staged and never proposed to the log. Files that cannot be deleted are left to vacuum.
    pub async fn discard(&self, staged: Staged) {
        if let (Content::Files(files), false) = (staged.content, staged.kept) {
            self.writer.discard(&files).await;
        }
    }
}

/// Takes frames until [`TableWriter::finish`].
#[derive(Debug)]
pub struct TableWriter {
    writer: Arc<Writer>,
    held: Vec<DataFrame>,
    /// Of their rows; and with what frames take beside them.
    held_bytes: usize,
    held_room: usize,
    /// Set once the rows are too many to be held.
    spilled: Option<FileWriter>,
}

impl TableWriter {
    /// Adds rows. The frame must have the columns of the table's definition; types that are narrower than the table's
    /// are widened, and columns that the table has not are treated as the definition says.
    pub async fn write(&mut self, frame: DataFrame) -> Result<(), LakeError> {
        if frame.height() == 0 {
            return Ok(());
        }
        let frame = self.writer.conform(frame).await?;
        if self.spilled.is_none() {
            self.held_bytes += frame.estimated_size();
            self.held_room += room_of(&frame);
            self.held.push(frame);
            let rows_are_many = self.held_bytes > MAX_HELD_BYTES.min(self.writer.options.group_bytes);
            if rows_are_many || self.held_room > MAX_HELD_BYTES {
                self.spill().await?;
            }
            return Ok(());
        }
        match &mut self.spilled {
            Some(files) => files.write(frame).await,
            None => Ok(()),
        }
    }

    async fn spill(&mut self) -> Result<(), LakeError> {
        let mut files = self.writer.files();
        for frame in self.held.drain(..) {
            files.write(frame).await?;
        }
        self.spilled = Some(files);
        Ok(())
    }

    pub async fn finish(self) -> Result<Staged, LakeError> {
        match self.spilled {
            Some(files) => files.finish().await.map(Staged::of_files),
            None => {
                // The table may have got columns since the first rows came: all of them can share a file again.
                let mut held = self.held;
                while held.windows(2).any(|pair| pair[0].schema() != pair[1].schema()) {
                    for frame in &mut held {
                        *frame = self.writer.conform_again(std::mem::take(frame)).await?;
                    }
                }
                let frame = concat(held).map_err(|source| self.writer.frame_error("concatenate", source))?;
                Ok(Staged::of_frame(frame))
            }
        }
    }
}

/// Bytes that a frame takes in memory, about.
fn room_of(frame: &DataFrame) -> usize {
    /// What a column takes beside its values.
    const COLUMN_BYTES: usize = 512;
    frame.estimated_size() + frame.width() * COLUMN_BYTES
}

/// Makes files of frames that fit; a file is closed when it has reached the target size.
#[derive(Debug)]
pub(crate) struct FileWriter {
    writer: Arc<Writer>,
    /// Partition columns never change, so this may be of any version.
    layout: Arc<Layout>,
    schema: Option<SchemaRef>,
    /// Rows of one schema for the next row group, and what they take.
    held: Vec<DataFrame>,
    held_room: usize,
    open: HashMap<Partition, (OpenFile, Option<Begun>)>,
    /// One upload runs while the next rows are being encoded.
    upload: Option<JoinHandle<Result<StagedFile, LakeError>>>,
    staged: Vec<StagedFile>,
}

impl FileWriter {
    /// Frames of before and after a change of the table's columns may follow each other: a file has one kind.
    pub(crate) async fn write(&mut self, frame: DataFrame) -> Result<(), LakeError> {
        if self.schema.as_ref().is_some_and(|schema| schema != frame.schema()) {
            self.close_all().await?;
        }
        self.schema = Some(Arc::clone(frame.schema()));
        self.held_room += room_of(&frame);
        self.held.push(frame);
        // A part, and a file, need no larger one.
        let options = &self.writer.options;
        let enough = ROW_GROUP_BYTES.min(options.part_bytes).min(options.target_file_bytes);
        if self.held_room >= enough { self.write_held().await } else { Ok(()) }
    }

    /// Writes one row group for each partition value.
    async fn write_held(&mut self) -> Result<(), LakeError> {
        self.held_room = 0;
        let frame = concat(std::mem::take(&mut self.held));
        let frame = frame.map_err(|source| self.writer.frame_error("concatenate", source))?;
        let parts = split(&frame, &self.layout).map_err(|source| self.writer.frame_error("partition", source))?;
        drop(frame);
        for (partition, rows) in parts {
            let (file, begun) = self.open.remove(&partition).unzip();
            let (indexed, bounded) = (self.layout.indexed.clone(), self.layout.bounded());
            let encoded = spawn_blocking(move || {
                let mut file = match file {
                    Some(file) => file,
                    None => OpenFile::create(&rows, indexed, bounded)?,
                };
                file.write(rows)?;
                PolarsResult::Ok(file)
            });
            let encoded = encoded.await.map_err(|_| self.writer.stopped())?;
            let mut file = encoded.map_err(|source| self.writer.frame_error("encode", source))?;
            let begun = self.begin(&partition, &mut file, begun.flatten())?;
            if file.bytes() >= self.layout.target_file_bytes.unwrap_or(self.writer.options.target_file_bytes) {
                self.close(partition, file, begun).await?;
            } else {
                self.open.insert(partition, (file, begun));
            }
        }
        self.stay_in_budget().await
    }

    /// Sends off what there is of a file, once it is enough for a part.
    fn begin(
        &self,
        partition: &Partition,
        file: &mut OpenFile,
        begun: Option<Begun>,
    ) -> Result<Option<Begun>, LakeError> {
        let Writer { at, options, .. } = &*self.writer;
        let Some(part) = file.take_part(options.part_bytes) else { return Ok(begun) };
        match begun {
            Some(begun) => Ok(Some(begun.push(part))),
            None => Begun::new(at, options, &self.layout, partition, part).map(Some),
        }
    }

    /// Closes the open files, so that the rows that come next are in others.
    pub(crate) async fn close_all(&mut self) -> Result<(), LakeError> {
        self.write_held().await?;
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_by(|left, right| left.0.cmp(&right.0));
        for (partition, (file, begun)) in open {
            self.close(partition, file, begun).await?;
        }
        Ok(())
    }

    /// Closes every open file. The order of the files is that of their closing.
    pub(crate) async fn finish(mut self) -> Result<Vec<StagedFile>, LakeError> {
        self.close_all().await?;
        self.await_upload().await?;
        Ok(self.staged)
    }

    async fn stay_in_budget(&mut self) -> Result<(), LakeError> {
        while self.open.len() > MAX_OPEN_FILES
            || self.open.values().map(|(file, _)| file.bytes()).sum::<usize>() > MAX_OPEN_BYTES
        {
            let largest = self.open.iter().max_by_key(|(_, (file, _))| file.bytes());
            let largest = largest.map(|(partition, _)| partition.clone());
            let Some((partition, (file, begun))) = largest.and_then(|partition| self.open.remove_entry(&partition))
            else {
                break;
            };
            self.close(partition, file, begun).await?;
        }
        Ok(())
    }

    async fn close(&mut self, partition: Partition, file: OpenFile, begun: Option<Begun>) -> Result<(), LakeError> {
        self.await_upload().await?;
        let (writer, layout) = (Arc::clone(&self.writer), Arc::clone(&self.layout));
        self.upload = Some(tokio::spawn(async move {
            let encoded = spawn_blocking(move || file.finish()).await.map_err(|_| writer.stopped())?;
            let (rest, statistics) = encoded.map_err(|source| writer.frame_error("encode", source))?;
            let (Writer { at, options, .. }, whole) = (&*writer, Whole { partition, statistics });
            match begun {
                Some(begun) => begun.finish(at, options, &layout, rest.into(), whole).await,
                None => store(at, options, &layout, rest.into(), whole).await,
            }
        }));
        Ok(())
    }

    async fn await_upload(&mut self) -> Result<(), LakeError> {
        if let Some(upload) = self.upload.take() {
            self.staged.push(upload.await.map_err(|_| self.writer.stopped())??);
        }
        Ok(())
    }
}

impl Writer {
    pub(crate) fn files(self: &Arc<Self>) -> FileWriter {
        FileWriter {
            writer: Arc::clone(self),
            layout: self.layout(),
            schema: None,
            held: Vec::new(),
            held_room: 0,
            open: HashMap::new(),
            upload: None,
            staged: Vec::new(),
        }
    }

    /// A frame that comes in, as the table's columns are now; adds columns to the table first, where that is wanted.
    pub(crate) async fn conform(self: &Arc<Self>, frame: DataFrame) -> Result<DataFrame, LakeError> {
        self.layout().complete(&frame)?;
        self.conform_again(frame).await
    }

    /// A frame that fitted once, as the table's columns are now.
    pub(crate) async fn conform_again(self: &Arc<Self>, frame: DataFrame) -> Result<DataFrame, LakeError> {
        match self.layout().conform(frame.clone())? {
            Conformed::Fits(frame) => Ok(frame),
            Conformed::Needs(columns) => {
                self.add_columns(columns).await?;
                match self.layout().conform(frame)? {
                    Conformed::Fits(frame) => Ok(frame),
                    Conformed::Needs(_) => Err(self.at.corrupt(&self.at.root, "added columns are not there")),
                }
            }
        }
    }

    /// Stores the rows of frames that fit `layout`: one file for each partition value.
    pub(crate) async fn store_frames(
        &self,
        layout: Arc<Layout>,
        frames: Vec<DataFrame>,
    ) -> Result<Vec<StagedFile>, LakeError> {
        let of = Arc::clone(&layout);
        let encoded = spawn_blocking(move || encode(&of, frames)).await.map_err(|_| self.stopped())?;
        let encoded = encoded.map_err(|source| self.frame_error("encode", source))?;
        // Boxed, because the compiler cannot tell that a stream of borrowing futures is `Send`.
        let stores = encoded.into_iter().map(|EncodedFile { partition, bytes, statistics }| {
            store(&self.at, &self.options, &layout, bytes.into(), Whole { partition, statistics }).boxed()
        });
        let stores: Vec<_> = stores.collect();
        futures::stream::iter(stores).buffered(PARALLEL_PUTS).try_collect().await
    }

    /// Files for rows that a rewrite brings along.
    pub(crate) async fn into_files(self: &Arc<Self>, staged: Staged) -> Result<Vec<StagedFile>, LakeError> {
        match staged.content {
            Content::Files(files) => Ok(files),
            Content::Frame(frame) if frame.height() == 0 => Ok(Vec::new()),
            Content::Frame(frame) => {
                let mut files = self.files();
                files.write(frame).await?;
                files.finish().await
            }
        }
    }

    /// Deletes files that no commit can name. Failures are left to vacuum.
    pub(crate) async fn discard(&self, files: &[StagedFile]) {
        for file in files {
            if let Err(error) = self.at.store.delete(&file.object).await {
                tracing::debug!(table = self.at.name, %error, "left an unreferenced file to vacuum");
            }
        }
    }
}
