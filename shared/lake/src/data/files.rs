//! Names of data files: how a partition value becomes a folder, and a log path an object path.

use std::collections::BTreeMap;

use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// Hive writes these as they are in `column=value` folder names; everything else is percent-encoded.
const PARTITION_SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// What Hive, Spark and delta-rs call the folder of a null partition value.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Bytes of a folder's name: file systems take no more.
const MAX_FOLDER: usize = 255;
/// Characters of an object's whole name: Azure takes no more.
const MAX_NAME: usize = 1_024;
/// What a value that was cut ends with, before its digest.
const CUT: &str = "_weir_";
const DIGEST_BYTES: usize = 8;
const SHORTEST: usize = CUT.len() + 2 * DIGEST_BYTES;

/// `country=PT/part-<id>.snappy.parquet`, relative to the table's root, as the object store knows it. `root`: the root.
///
/// Values stand whole in the folders' names, because some readers take them from there. Where a name would be longer than a
/// store takes, a value is cut and ends with a digest of itself: two values never share a folder, and readers that take
/// values from the log, as the protocol says, read the right one.
pub(crate) fn data_file(
    partition: &BTreeMap<String, Option<String>>,
    columns: &[String],
    id: &str,
    root: &Path,
) -> String {
    let file = format!("part-{id}.snappy.parquet");
    let room = MAX_NAME.saturating_sub(root.as_ref().len() + 1 + file.len());
    let encode = |text: &str| utf8_percent_encode(text, PARTITION_SAFE).to_string();
    let folders: Vec<_> = columns
        .iter()
        .map(|column| {
            let value = partition.get(column).and_then(Option::as_deref).unwrap_or(NULL_PARTITION);
            (encode(column), value, encode(value))
        })
        .collect();
    // `=` and `/`.
    let names: usize = folders.iter().map(|(name, ..)| name.len() + 2).sum();
    let values: usize = folders.iter().map(|(.., encoded)| encoded.len()).sum();
    let share = match names + values <= room {
        true => MAX_FOLDER,
        false => room.saturating_sub(names) / folders.len().max(1),
    };
    let mut path = String::new();
    for (name, value, encoded) in folders {
        let most = share.min(MAX_FOLDER.saturating_sub(name.len() + 1)).max(SHORTEST);
        let value = if encoded.len() <= most { encoded } else { cut(value, most) };
        path.push_str(&format!("{name}={value}/"));
    }
    path + &file
}

/// The beginning of a value, in whole characters so that no percent-encoding is cut, and its digest.
fn cut(value: &str, most: usize) -> String {
    let mut name = String::new();
    for character in value.chars() {
        let mut bytes = [0; 4];
        let encoded = utf8_percent_encode(character.encode_utf8(&mut bytes), PARTITION_SAFE).to_string();
        if name.len() + encoded.len() + SHORTEST > most {
            break;
        }
        name.push_str(&encoded);
    }
    let digest = Sha256::digest(value.as_bytes());
    let digest: String = digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
    name + CUT + &digest
}

/// The path of an add or remove action: the object's name, percent-encoded once more as a URI.
pub(crate) fn to_log_path(object: &str) -> String {
    const URI: &AsciiSet =
        &percent_encoding::CONTROLS.add(b'%').add(b' ').add(b'#').add(b'?').add(b'"').add(b'<').add(b'>');
    utf8_percent_encode(object, URI).to_string()
}

/// The object behind a log path. `None` for absolute paths and `..`, which our tables never have.
pub(crate) fn from_log_path(root: &Path, log_path: &str) -> Option<Path> {
    let decoded = percent_decode_str(log_path).decode_utf8().ok()?;
    if decoded.contains("://") || decoded.starts_with('/') {
        return None;
    }
    let relative = Path::parse(decoded.as_ref()).ok()?;
    Path::parse(format!("{root}/{relative}")).ok()
}
