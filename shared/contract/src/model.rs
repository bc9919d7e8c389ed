//! What a contract says, after it has been read and validated. Every value here is already sound: names are unique,
//! references resolve, types are ones that Delta, Polars and the warehouse share.

use std::fmt;
use std::time::Duration;

use crate::derived::Derived;
use crate::drift::{Drift, PersonalUnknownFields, Quality};

/// One dataset: where its data comes from, what it must look like, where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// `^[a-z][a-z0-9_]{0,62}$`; also the name of the table's folder under the lake's root.
    pub name: String,
    pub description: Option<String>,
    pub source: Source,
    pub format: Format,
    /// In table order. Never empty.
    pub columns: Vec<Column>,
    pub rules: Vec<Rule>,
    pub drift: Drift,
    pub quality: Quality,
    /// Events only.
    pub dedupe: Option<Dedupe>,
    pub table: TableSpec,
    pub warehouse: Option<WarehouseSpec>,
}

/// Where the records come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Files that land in a container. `paths` are globs: `*` within a folder, `**` across folders; what `ignore` matches
    /// is left alone.
    Blob { container: String, paths: Vec<String>, ignore: Vec<String>, on_overwrite: OnOverwrite, on_delete: OnDelete },
    /// Events of one hub, read through one consumer group. `epoch` is 1 for the first hub of that name, and one more each
    /// time that it was made anew: it is part of the identity of an event, and the group is not.
    Events { hub: String, consumer_group: String, gap: Gap, epoch: u32 },
    /// Other tables of the lake.
    Derived(Derived),
}

/// What happens when the host delivers events that do not follow the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gap {
    /// The events in between are read from the hub first.
    #[default]
    Heal,
    /// They are lost, and quarantine says so.
    Report,
    /// Nothing: the hub is a compacted one, whose sequence numbers have holes.
    Ignore,
}

/// Events that a producer sent twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// Columns of the table that name an event.
    pub key: Vec<String>,
    /// How long after an event another one with its key is the same event.
    pub within: Duration,
}

/// What a new version of a blob does to the rows of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOverwrite {
    /// The table has the rows of the newest version.
    #[default]
    Replace,
    /// The table has the rows of every version that was read; each is a source of its own.
    Append,
}

/// What the deletion of a blob does to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDelete {
    /// Nothing: files are cleared away after they were ingested.
    #[default]
    Keep,
    /// They go too.
    Remove,
}

/// How bytes become records.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    pub kind: FormatKind,
    pub compression: Compression,
    /// CSV only.
    pub delimiter: u8,
    /// CSV only; `None` turns quoting off.
    pub quote: Option<u8>,
    /// CSV only: the first record names the fields. Without it fields are taken in column order.
    pub header: bool,
    /// CSV only: field texts that mean null. The default is the empty text.
    pub null_values: Vec<String>,
    /// CSV only: a quoted field may hold line breaks. Without that every line is a record, and a blob has parts.
    pub quoted_newlines: bool,
    /// CSV only: numbers have a comma where others have a point.
    pub decimal_comma: bool,
    /// CSV only: lines at the beginning that say nothing, not even what the fields are.
    pub skip_lines: usize,
    /// CSV only: a line that begins with it is no record.
    pub comment: Option<u8>,
    /// CSV only: there may be a delimiter behind the last field.
    pub trailing_delimiter: bool,
    /// CSV only: what makes a quote in a quoted field one of its characters; `None`: another quote.
    pub escape: Option<u8>,
    /// JSON only: where the array is whose elements are the records, as a JSON Pointer.
    pub records: Option<String>,
    /// JSON and Avro only: the field that holds the record, as a JSON object.
    pub payload: Option<String>,
    /// Of text: one of [`ENCODINGS`]. A blob's byte order mark says it better.
    pub encoding: &'static str,
    /// A longer record is quarantined (its head only), so that one line cannot take the memory budget.
    pub max_record_bytes: usize,
    /// A larger blob is read in parts of about this size, if it can be.
    pub split_bytes: u64,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            kind: FormatKind::Auto,
            compression: Compression::Auto,
            delimiter: b',',
            quote: Some(b'"'),
            header: true,
            null_values: vec![String::new()],
            quoted_newlines: true,
            decimal_comma: false,
            skip_lines: 0,
            comment: None,
            trailing_delimiter: false,
            escape: None,
            records: None,
            payload: None,
            encoding: ENCODINGS[0],
            max_record_bytes: 1024 * 1024,
            split_bytes: 256 * 1024 * 1024,
        }
    }
}

/// By their names in the WHATWG's standard, which also says what each byte means (`iso-8859-1` is `windows-1252` there).
pub const ENCODINGS: [&str; 37] = [
    "utf-8",
    "utf-16",
    "utf-16le",
    "utf-16be",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
    "windows-874",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-3",
    "iso-8859-4",
    "iso-8859-5",
    "iso-8859-6",
    "iso-8859-7",
    "iso-8859-8",
    "iso-8859-9",
    "iso-8859-10",
    "iso-8859-13",
    "iso-8859-14",
    "iso-8859-15",
    "iso-8859-16",
    "macintosh",
    "ibm866",
    "koi8-r",
    "koi8-u",
    "shift_jis",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "big5",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatKind {
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// One document a blob or a body: an array of objects, or one object.
    Json,
    Parquet,
    /// Object container files, as Event Hubs Capture writes them.
    Avro,
    /// By file extension: `.csv`, `.ndjson`, `.jsonl`, `.json`, `.parquet`, `.avro`, each also with `.gz` or `.zst`. Of
    /// events by what the body is.
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// By magic bytes.
    Auto,
    None,
    Gzip,
    Zstd,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    /// The field's name in the source, when it differs from `name`; or another [`Origin`](crate::Origin).
    pub from: Option<String>,
    /// chrono format of a date or timestamp in text; ISO 8601 without it.
    pub format: Option<String>,
    /// Set for personal data: what is done to the value before it reaches the table.
    pub personal: Option<Treatment>,
    pub description: Option<String>,
}

impl Column {
    /// The field's name in the source, or what else it is made of (see [`Contract::origin`]).
    pub fn field(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.name)
    }

    /// The column's type in the table; `None` when the treatment drops it.
    pub fn table_type(&self) -> Option<DataType> {
        match self.personal {
            None => Some(self.data_type),
            Some(Treatment::Drop) => None,
            Some(Treatment::Pseudonym | Treatment::Mask) => Some(DataType::String),
        }
    }
}

/// Delta's primitive types, by Delta's names; `timestamp` is microseconds in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    String,
    Long,
    Integer,
    Short,
    Byte,
    Double,
    Float,
    Boolean,
    Date,
    Timestamp,
    Binary,
    Decimal { precision: u8, scale: u8 },
}

impl fmt::Display for DataType {
    /// As the Delta protocol writes it in a schema.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "string",
            Self::Long => "long",
            Self::Integer => "integer",
            Self::Short => "short",
            Self::Byte => "byte",
            Self::Double => "double",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Binary => "binary",
            Self::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
        })
    }
}

impl DataType {
    /// From a Delta schema; `None` for nested types and for what the protocol has not.
    pub fn from_delta(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "long" => Self::Long,
            "integer" => Self::Integer,
            "short" => Self::Short,
            "byte" => Self::Byte,
            "double" => Self::Double,
            "float" => Self::Float,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "binary" => Self::Binary,
            _ => {
                let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
                let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
                if !(1..=38).contains(&precision) || scale > precision {
                    return None;
                }
                Self::Decimal { precision, scale }
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Keyed HMAC-SHA-256: equal values stay equal, nobody without the key can go back.
    Pseudonym,
    /// Keeps the shape, hides the content (first character and `*`).
    Mask,
    /// Never reaches the table.
    Drop,
}

/// A quality rule: an SQL expression over the contract's columns (their values before privacy is applied). A null
/// result passes, as in an SQL CHECK.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: String,
    pub expr: String,
    pub action: RuleAction,
    /// Line of `expr` in the contract file, for errors found later (by the SQL parser, in `weir_transform`).
    pub line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAction {
    /// Count it, keep the row.
    Warn,
    /// Count it, keep the row, and name the rule in its `_labels`.
    Label,
    /// Keep the row out of the table, in quarantine.
    Quarantine,
    /// Hold the whole blob or batch back: none of its records reaches the table.
    Fail,
}

impl RuleAction {
    /// As a contract writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Label => "label",
            Self::Quarantine => "quarantine",
            Self::Fail => "fail",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableSpec {
    pub partition_by: Vec<String>,
    pub cluster_by: Vec<String>,
    pub new_columns: NewColumns,
    /// Delta table properties (`delta.…`).
    pub properties: Vec<(String, String)>,
}

/// What happens to a column, of the contract or of a record, that the Delta table does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewColumns {
    /// The table gets it, nullable, once, however many writers see it at the same time.
    #[default]
    Add,
    /// The table's schema stays; the value is kept in `_rescued`.
    Rescue,
    /// Writing is refused, by column; a person changes the table.
    Fail,
}

#[derive(Debug, Clone, PartialEq)]
pub struct WarehouseSpec {
    /// `schema.table` or `table`.
    pub table: String,
    pub distribution: Distribution,
    pub index: WarehouseIndex,
    pub long_text: LongText,
    /// Length of string columns, where it is not the most that the warehouse has.
    pub text_lengths: Vec<(String, u32)>,
}

/// How a distributed warehouse spreads rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Distribution {
    #[default]
    RoundRobin,
    Replicate,
    Hash(String),
}

/// How a dedicated pool orders the rows of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WarehouseIndex {
    #[default]
    Columnstore,
    Heap,
    Clustered(String),
}

/// What happens to a text that is longer than its column in the warehouse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LongText {
    /// The load is refused, by column; nothing is lost.
    #[default]
    Fail,
    /// It is cut in the warehouse; the lake has all of it.
    Truncate,
}

/// A column of a Delta table that Weir writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
}

/// Where a row came from: on every row of every table.
pub const SOURCE: &str = "_source";
/// The blob's etag; `1` for events, which never change.
pub const SOURCE_VERSION: &str = "_source_version";
/// Row number in the blob (from 1) or sequence number in the partition; of events that hold several records see
/// [`crate::position_of`].
pub const SOURCE_POSITION: &str = "_source_position";
pub const INGESTED_AT: &str = "_ingested_at";
/// Unknown fields of the record, as a JSON object; null when there were none.
pub const RESCUED: &str = "_rescued";
/// A JSON array with the names of the rules whose action is `label` and that the row violates; null when there are none.
pub const LABELS: &str = "_labels";
/// Quarantine only: a JSON array of texts, one per fault; they name columns and rules, never values.
pub const REASONS: &str = "_reasons";
/// Quarantine only: the record as it came.
pub const RAW: &str = "_raw";
/// Quarantine, of events: what stood around the body (sequence number, times, key, properties), as a JSON object.
pub const EVENT: &str = "_event";

fn lineage() -> Vec<TableColumn> {
    let column = |name: &str, data_type| TableColumn { name: name.to_owned(), data_type, nullable: false };
    vec![
        column(SOURCE, DataType::String),
        column(SOURCE_VERSION, DataType::String),
        column(SOURCE_POSITION, DataType::Long),
        column(INGESTED_AT, DataType::Timestamp),
    ]
}

impl Contract {
    /// Columns of the dataset's table, in order: the contract's (less the dropped), the lineage, `_rescued`, and
    /// `_labels` if a rule writes them. The table may have more: those of [`UnknownFields::Add`]. A derived table has no
    /// `_rescued`, because nothing in it is unknown.
    pub fn table_columns(&self) -> Vec<TableColumn> {
        let own = self.columns.iter().filter_map(|column| {
            let data_type = column.table_type()?;
            Some(TableColumn { name: column.name.clone(), data_type, nullable: column.nullable })
        });
        let text = |name: &str| TableColumn { name: name.to_owned(), data_type: DataType::String, nullable: true };
        let rescued = self.derived().is_none().then(|| text(RESCUED));
        own.chain(lineage()).chain(rescued).chain(self.has_labels().then(|| text(LABELS))).collect()
    }

    /// Whether fields that no column names stay out of the table, because one of them may be personal.
    pub fn leaves_unknown_fields_out(&self) -> bool {
        self.drift.personal_unknown_fields == PersonalUnknownFields::Drop
            && self.columns.iter().any(|column| column.personal.is_some())
    }

    /// Whether a rule writes `_labels`.
    pub fn has_labels(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == RuleAction::Label)
    }

    /// Columns of the dataset's quarantine table: those of every one, and of events what stood around the body.
    pub fn quarantine_columns(&self) -> Vec<TableColumn> {
        let event = TableColumn { name: EVENT.to_owned(), data_type: DataType::String, nullable: true };
        let is_of_events = matches!(self.source, Source::Events { .. });
        Self::refused_columns().into_iter().chain(is_of_events.then_some(event)).collect()
    }

    /// Columns that every table of refused records has.
    pub fn refused_columns() -> Vec<TableColumn> {
        let column = |name: &str, data_type| TableColumn { name: name.to_owned(), data_type, nullable: false };
        lineage().into_iter().chain([column(REASONS, DataType::String), column(RAW, DataType::Binary)]).collect()
    }

    /// Whether a new version of a blob takes the place of the one before.
    pub fn replaces_versions(&self) -> bool {
        !matches!(self.source, Source::Blob { on_overwrite: OnOverwrite::Append, .. })
    }

    /// Whether the rows of a deleted blob go.
    pub fn follows_deletions(&self) -> bool {
        matches!(self.source, Source::Blob { on_delete: OnDelete::Remove, .. })
    }

    /// Name of the quarantine table beside the dataset's own.
    pub fn quarantine_name(&self) -> String {
        format!("{}__quarantine", self.name)
    }
}
