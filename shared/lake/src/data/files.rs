//! Names of data files: how a partition value becomes a folder, and a log path an object path.

use std::collections::BTreeMap;

use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Hive writes these as they are in `column=value` folder names; everything else is percent-encoded.
const PARTITION_SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// What Hive, Spark and delta-rs call the folder of a null partition value.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Bytes of a value in its folder's name: file systems take 255 for a name, Azure 1,024 for a path. The name is for the
/// eye alone, the value is in the log.
const MAX_FOLDER_VALUE: usize = 96;

/// `country=PT/part-<id>.snappy.parquet`, relative to the table's root, as the object store knows it.
pub(crate) fn data_file(partition: &BTreeMap<String, Option<String>>, columns: &[String], id: &str) -> String {
    let mut name = String::new();
    for column in columns {
        let value = partition.get(column).and_then(Option::as_deref).unwrap_or(NULL_PARTITION);
        name.push_str(&utf8_percent_encode(column, PARTITION_SAFE).to_string());
        name.push('=');
        let start = name.len();
        // Whole characters, so that no percent-encoding is cut.
        for character in value.chars() {
            let mut bytes = [0; 4];
            let encoded = utf8_percent_encode(character.encode_utf8(&mut bytes), PARTITION_SAFE).to_string();
            if name.len() - start + encoded.len() > MAX_FOLDER_VALUE {
                break;
            }
            name.push_str(&encoded);
        }
        name.push('/');
    }
    name + "part-" + id + ".snappy.parquet"
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
