//! What an event is besides its body, and where its records stand.
//!
//! A record's position is a number that no other record of its partition has, whatever its contract was when it came:
//! an event that is one record has its sequence number; the records of an event that holds several have numbers of their
//! own, beyond all sequence numbers, in the order of the partition and then of the event. So a table keeps its positions
//! when its events begin to hold several records. Everything that counts in sequence numbers (what is committed, what is
//! dropped, what is read again and replaced) goes through [`sequence_of`] and [`positions_of`].

use std::ops::RangeInclusive;

use crate::drift::is_column_name;
use crate::format::by_extension;
use crate::model::FormatKind::{Auto, Csv, Parquet};
use crate::model::{Column, Contract, DataType, Source};
use crate::path::pointer;

/// Positions from here on are records of events that hold several. No sequence number is so large.
pub const FIRST_OF_SEVERAL: i64 = 1 << 62;
/// Records of one event.
pub const MAX_EVENT_RECORDS: usize = 1 << INDEX_BITS;

const INDEX_BITS: u32 = 20;
/// Sequence numbers whose records have positions of their own: four trillion.
const SEQUENCES: i64 = FIRST_OF_SEVERAL >> INDEX_BITS;

/// Empty, and within what SQL and Delta's statistics compare.
const NOTHING: RangeInclusive<i64> = RangeInclusive::new(FIRST_OF_SEVERAL, FIRST_OF_SEVERAL - 1);

/// The position of the record `index` of an event that holds several; `None` if there is none.
pub fn position_of(sequence: i64, index: usize) -> Option<i64> {
    let index = i64::try_from(index).ok().filter(|_| index < MAX_EVENT_RECORDS)?;
    (0..SEQUENCES).contains(&sequence).then_some(FIRST_OF_SEVERAL | sequence << INDEX_BITS | index)
}

/// The sequence number of the event that a record came in. Of other sources' positions, themselves.
pub fn sequence_of(position: i64) -> i64 {
    if position < FIRST_OF_SEVERAL { position } else { (position - FIRST_OF_SEVERAL) >> INDEX_BITS }
}

/// All positions of records with these sequence numbers: two ranges, the second of them empty where there can be none.
pub fn positions_of(sequences: &RangeInclusive<i64>) -> [RangeInclusive<i64>; 2] {
    let (first, last) = (*sequences.start(), (*sequences.end()).min(FIRST_OF_SEVERAL - 1));
    let (from, to) = (first.max(0), last.min(SEQUENCES - 1));
    let several = match (position_of(from, 0), position_of(to, MAX_EVENT_RECORDS - 1)) {
        (Some(from), Some(to)) => from..=to,
        _ => NOTHING,
    };
    [first..=last, several]
}

/// A part of an event beside its body, which a column may take: `from = "event:…"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventField {
    EnqueuedTime,
    SequenceNumber,
    Offset,
    PartitionKey,
    Partition,
    Hub,
    /// What the sender gave it, by name.
    Property(String),
    /// What the broker, or an IoT Hub before it, wrote on it, by name.
    System(String),
}

/// What a column is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A field of the record, by its name.
    Field,
    /// A value within the record, by the names that lead to it.
    Path(Vec<String>),
    Event(EventField),
    /// The day of another column, a timestamp.
    DayOf(String),
}

pub(crate) const COLUMN_PREFIX: &str = "column:";

pub(crate) const EVENT_PREFIX: &str = "event:";
pub(crate) const PROPERTY_PREFIX: &str = "event:property:";
pub(crate) const SYSTEM_PREFIX: &str = "event:system:";
pub(crate) const EVENT_FIELDS: [(&str, EventField); 6] = [
    ("event:enqueued_time", EventField::EnqueuedTime),
    ("event:sequence_number", EventField::SequenceNumber),
    ("event:offset", EventField::Offset),
    ("event:partition_key", EventField::PartitionKey),
    ("event:partition", EventField::Partition),
    ("event:hub", EventField::Hub),
];

impl EventField {
    /// What `from` names; `None` if that is no part of an event.
    pub(crate) fn named(from: &str) -> Option<Self> {
        if let Some(property) = from.strip_prefix(PROPERTY_PREFIX) {
            return (!property.is_empty()).then(|| Self::Property(property.to_owned()));
        }
        if let Some(property) = from.strip_prefix(SYSTEM_PREFIX) {
            return (!property.is_empty()).then(|| Self::System(property.to_owned()));
        }
        EVENT_FIELDS.iter().find(|(name, _)| *name == from).map(|(_, field)| field.clone())
    }

    /// The types that always hold it, for those that not every type may.
    pub(crate) fn types(&self) -> Option<(&'static str, &'static [DataType])> {
        use DataType::{Date, Integer, Long, Short, String, Timestamp};
        Some(match self {
            Self::EnqueuedTime => ("a timestamp, a date or a string", &[Timestamp, Date, String]),
            Self::SequenceNumber => ("a long or a string", &[Long, String]),
            Self::Offset => ("a string or a long", &[String, Long]),
            Self::Partition => ("a string or a whole number", &[String, Short, Integer, Long]),
            Self::PartitionKey | Self::Hub => ("a string", &[String]),
            Self::Property(_) | Self::System(_) => return None,
        })
    }
}

impl Contract {
    pub fn origin(&self, column: &Column) -> Origin {
        if let Some(field) = self.event_field(column) {
            return Origin::Event(field);
        }
        match column.from.as_deref() {
            Some(from) if from.starts_with(COLUMN_PREFIX) => Origin::DayOf(from[COLUMN_PREFIX.len()..].to_owned()),
            Some(from) if from.starts_with('/') => pointer(from).map_or(Origin::Field, Origin::Path),
            _ => Origin::Field,
        }
    }

    /// Columns whose `from` has a dot, which means nothing, and the path that may have been meant. Not of CSV and Parquet,
    /// where dots in names are common.
    pub fn dotted_fields(&self) -> Vec<(&str, String)> {
        let flat = match &self.source {
            Source::Blob { paths, .. } => paths.iter().all(|path| matches!(by_extension(path), Some(Csv | Parquet))),
            Source::Events { .. } => false,
            Source::Derived(_) => true,
        };
        if matches!(self.format.kind, Csv | Parquet) || self.format.kind == Auto && flat {
            return Vec::new();
        }
        let dotted = self.columns.iter().filter_map(|column| {
            let from =
                column.from.as_deref().filter(|from| from.split('.').all(is_column_name) && from.contains('.'))?;
            Some((column.name.as_str(), format!("/{}", from.replace('.', "/"))))
        });
        dotted.collect()
    }

    /// What of an event a column takes; `None`: it takes a field of the record.
    pub fn event_field(&self, column: &Column) -> Option<EventField> {
        if !matches!(self.source, Source::Events { .. }) {
            return None;
        }
        EventField::named(column.from.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAST: i64 = SEQUENCES - 1;

    #[test]
    fn the_limits() {
        assert_eq!(position_of(0, 0), Some(FIRST_OF_SEVERAL));
        assert_eq!(position_of(LAST, MAX_EVENT_RECORDS - 1), Some(i64::MAX));
        for (sequence, index) in [(SEQUENCES, 0), (i64::MAX, 0), (-1, 0), (i64::MIN, 0), (0, MAX_EVENT_RECORDS)] {
            assert_eq!(position_of(sequence, index), None, "{sequence} {index}");
        }
        assert_eq!(sequence_of(FIRST_OF_SEVERAL - 1), FIRST_OF_SEVERAL - 1);
        assert_eq!(sequence_of(i64::MAX), LAST);
        let [one, several] = positions_of(&(0..=i64::MAX));
        assert_eq!((one, several), (0..=FIRST_OF_SEVERAL - 1, FIRST_OF_SEVERAL..=i64::MAX));
        assert!(positions_of(&(SEQUENCES..=SEQUENCES + 5))[1].is_empty());
        assert!(positions_of(&(-5..=-1))[1].is_empty());
        assert_eq!(positions_of(&(7..=7))[0], 7..=7);
    }

    fn sequences() -> impl Strategy<Value = i64> {
        prop_oneof![0..=LAST, 0..20_i64, LAST - 20..=LAST]
    }

    proptest! {
        /// There and back; never a sequence number; ordered as the partition and then as the event.
        #[test]
        fn a_position_is_one_record(
            (left, right) in (sequences(), sequences()),
            (first, second) in (0..MAX_EVENT_RECORDS, 0..MAX_EVENT_RECORDS),
        ) {
            let (one, other) = (position_of(left, first).unwrap(), position_of(right, second).unwrap());
            prop_assert_eq!(sequence_of(one), left);
            prop_assert!(one >= FIRST_OF_SEVERAL);
            prop_assert_eq!(sequence_of(left), left);
            prop_assert_eq!(one.cmp(&other), (left, first).cmp(&(right, second)));
        }

        /// A range of events has exactly the positions of its records, of both kinds.
        #[test]
        fn a_range_of_events_is_two_of_positions(
            (from, to, sequence) in (sequences(), sequences(), sequences()), index in 0..MAX_EVENT_RECORDS,
        ) {
            let range = from..=to;
            let within = |position: i64| positions_of(&range).iter().any(|part| part.contains(&position));
            prop_assert_eq!(within(sequence), range.contains(&sequence));
            prop_assert_eq!(within(position_of(sequence, index).unwrap()), range.contains(&sequence));
        }
    }
}
