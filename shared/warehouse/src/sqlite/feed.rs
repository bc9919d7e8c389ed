//! Files of the lake, read one ahead of the worker that inserts them.

use tokio::sync::mpsc::Sender;

use super::load::{Arrive, Message};
use super::reload::{Filled, Numbered};
use crate::{Error, FileReader, Step};

/// Reads the steps' files in order and hands them to the worker. `Ok` also when the worker is gone: it says why.
pub(super) async fn steps(steps: &[Step], reader: &dyn FileReader, feed: Sender<Message>) -> Result<(), Error> {
    for step in steps {
        if !feed_step(step, reader, &feed).await? {
            return Ok(());
        }
    }
    let _ = feed.send(Message::Done).await;
    Ok(())
}

/// The same for the files of a reload.
pub(super) async fn files(files: Vec<Numbered>, reader: &dyn FileReader, feed: Sender<Filled>) -> Result<(), Error> {
    for file in files {
        let Ok(place) = feed.reserve().await else { return Ok(()) };
        let frame = reader.read(&file.1).await.map_err(|error| error.at(&file.1.path))?;
        place.send(Filled { file, frame });
    }
    Ok(())
}

/// False when the worker is gone.
async fn feed_step(step: &Step, reader: &dyn FileReader, feed: &Sender<Message>) -> Result<bool, Error> {
    let (order, files, arrive) = match step {
        Step::AddColumns(columns) => (Message::AddColumns(columns.clone()), [].as_slice(), Arrive::Once),
        Step::Forget { paths } => (Message::Forget(paths.clone()), [].as_slice(), Arrive::Once),
        Step::Append { files } => (Message::AddColumns(Vec::new()), files.as_slice(), Arrive::Once),
        Step::ReplaceSource { source, positions, files } => {
            (Message::Delete { source: source.clone(), positions: *positions }, files.as_slice(), Arrive::Replace)
        }
        Step::Upsert { keys, files } => {
            (Message::AddColumns(Vec::new()), files.as_slice(), Arrive::ByKey(keys.clone()))
        }
        Step::Rewrite { removed, kept, files } => {
            for (files, after_all) in [(removed, false), (kept, true), (files, false)] {
                for file in files {
                    let Ok(place) = feed.reserve().await else { return Ok(false) };
                    let frame = reader.read_lineage(file).await.map_err(|error| error.at(&file.path))?;
                    place.send(Message::Gone { frame, after_all });
                }
            }
            (Message::DeleteGone, files.as_slice(), Arrive::Replace)
        }
    };
    if feed.send(order).await.is_err() {
        return Ok(false);
    }
    for file in files {
        // A place in the channel first, so that a frame never waits in memory beside two others.
        let Ok(place) = feed.reserve().await else { return Ok(false) };
        let frame = reader.read(file).await.map_err(|error| error.at(&file.path))?;
        place.send(Message::Rows { file: file.clone(), frame, arrive: arrive.clone() });
    }
    Ok(true)
}
