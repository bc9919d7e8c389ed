//! Notes about work that is not committed yet, kept beside a table: which files a part of a large blob became, so that
//! many processes can do one piece of work and one of them commits it.
//!
//! A note is made once (a conditional create) and never changed; nothing here makes anything correct, the commit's
//! transaction id does. Notes lie in `_weir_staging/<key>/<name>`, where no reader of the table looks.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutPayload};

use crate::error::{LakeError, is_final};
use crate::table::Table;

const FOLDER: &str = "_weir_staging";
const ATTEMPTS: u32 = 3;

/// The notes of one piece of work.
#[derive(Debug, Clone)]
pub struct Staging {
    table: Arc<Table>,
    key: String,
}

/// One note, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Of the piece of work.
    pub key: String,
    pub name: String,
    /// When it was made, by the store's clock: milliseconds since the Unix epoch.
    pub made_ms: i64,
}

impl Table {
    /// The notes of the work that `key` names: letters, digits and hyphens.
    pub fn staging(self: &Arc<Self>, key: &str) -> Staging {
        Staging { table: Arc::clone(self), key: key.to_owned() }
    }

    /// All notes of this table, by key and name.
    pub async fn staged_work(&self) -> Result<Vec<Note>, LakeError> {
        self.notes(&self.at.root.clone().join(FOLDER)).await
    }

    async fn notes(&self, folder: &Path) -> Result<Vec<Note>, LakeError> {
        let failed = |error| self.at.store_error("list", folder, error);
        let objects: Vec<_> = self.at.store.list(Some(folder)).try_collect().await.map_err(failed)?;
        let note = |object: &object_store::ObjectMeta| {
            let mut parts = object.location.parts().rev();
            let (name, key) = (parts.next()?.as_ref().to_owned(), parts.next()?.as_ref().to_owned());
            Some(Note { key, name, made_ms: object.last_modified.timestamp_millis() })
        };
        let mut notes: Vec<_> = objects.iter().filter_map(note).collect();
        notes.sort_by(|left, right| (&left.key, &left.name).cmp(&(&right.key, &right.name)));
        Ok(notes)
    }
}

impl Staging {
    fn folder(&self) -> Path {
        self.table.at.root.clone().join(FOLDER).join(self.key.as_str())
    }

    /// Makes a note, and returns what is there then: this body, or the one of whoever was first.
    ///
    /// # Errors
    /// When the store does not say what is there.
    pub async fn put(&self, name: &str, body: Bytes) -> Result<Bytes, LakeError> {
        let path = self.folder().join(name);
        let mut attempt = 1;
        loop {
            let made =
                self.table.at.store.put_opts(&path, PutPayload::from(body.clone()), PutMode::Create.into()).await;
            let Err(refusal) = made else { return Ok(body) };
            if is_final(&refusal) {
                return Err(self.table.at.store_error("note", &path, refusal));
            }
            // Refused, or ours with the answer lost: what is there tells.
            if let Some(there) = self.get(name).await? {
                return Ok(there);
            }
            if attempt == ATTEMPTS {
                return Err(self.table.at.store_error("note", &path, refusal));
            }
            attempt += 1;
        }
    }

    pub async fn get(&self, name: &str) -> Result<Option<Bytes>, LakeError> {
        let path = self.folder().join(name);
        match self.table.at.store.get(&path).await {
            Ok(found) => {
                let bytes = found.bytes().await.map_err(|error| self.table.at.store_error("read", &path, error))?;
                Ok(Some(bytes))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.table.at.store_error("read", &path, error)),
        }
    }

    /// Its notes, by name.
    pub async fn list(&self) -> Result<Vec<Note>, LakeError> {
        self.table.notes(&self.folder()).await
    }

    /// Deletes the notes. The files that they name are left to vacuum.
    pub async fn clear(&self) -> Result<(), LakeError> {
        for note in self.list().await? {
            let path = self.folder().join(note.name);
            match self.table.at.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.table.at.store_error("delete", &path, error)),
            }
        }
        Ok(())
    }
}
