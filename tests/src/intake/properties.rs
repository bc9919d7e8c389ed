//! The splitter against a model that has all bytes before it and no buffers, and against the reader of the records.

use polars::prelude::DataType as Dtype;
use proptest::prelude::*;
use weir_contract::{
    Column, Compression, Contract, DataType, Drift, Format, FormatKind, OnDelete, OnOverwrite, Quality, Source,
    TableSpec,
};
use weir_intake::{Framing, Piece, Splitter};
use weir_transform::{Lineage, Output, Transform};

use super::{CSV, NEVER_CLOSED, Stretch, joined, records, split};

/// Bytes that are likely to hit the grammar's corners.
pub(super) fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec!["\"", "\"\"", ",\"", "\",", "\n", "\r\n", "\r", ",", "a", "bc", "\"a\nb\""])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => (1..20_usize).prop_map(|length| vec![b'x'; length]),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// `bytes`, cut at some places.
fn parts<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn any_cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..30)
}

/// What the documentation says, byte by byte.
fn model(framing: Framing, bytes: &[u8], limit: usize) -> Vec<Stretch> {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    let (mut stretches, mut start) = (Vec::new(), 0);
    while start < bytes.len() {
        let (stop, open) = record(framing, bytes, start, limit);
        let whole = &bytes[start..stop];
        let content = whole.strip_suffix(b"\n").unwrap_or(whole);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if content.len() > limit {
            stretches.push(super::too_long(&text(content), limit));
        } else if open {
            stretches.push(super::refused(&text(content), NEVER_CLOSED));
        } else if let Some(Stretch::Records(before)) = stretches.last_mut() {
            before.push_str(&text(whole));
        } else {
            stretches.push(records(&text(whole)));
        }
        start = stop;
    }
    stretches
}

/// Where the record at `start` ends, and whether that is in a quote that is never closed.
fn record(framing: Framing, bytes: &[u8], start: usize, limit: usize) -> (usize, bool) {
    let line_end = |from: usize| (from..bytes.len()).find(|at| bytes[*at] == b'\n').map_or(bytes.len(), |at| at + 1);
    let Framing::Csv { delimiter, quote, .. } = framing else { return (line_end(start), false) };
    let mut at = start;
    while at < bytes.len() && bytes[at] != b'\n' {
        if bytes[at] == quote && (at == start || bytes[at - 1] == delimiter) {
            let mut close = at + 1;
            loop {
                if close >= bytes.len().min(start + limit) {
                    return (line_end(at), true);
                }
                match (bytes[close] == quote, bytes.get(close + 1) == Some(&quote)) {
                    (true, true) => close += 2,
                    (true, false) => break,
                    (false, _) => close += 1,
                }
            }
            at = close;
        }
        at += 1;
    }
    ((at + 1).min(bytes.len()), false)
}

fn contract(limit: usize) -> Contract {
    let column = |name: &str, data_type| Column {
        name: name.to_owned(),
        data_type,
        nullable: true,
        from: None,
        format: None,
        personal: None,
        description: None,
    };
    Contract {
        name: "orders".to_owned(),
        description: None,
        source: Source::Blob {
            container: "landing".to_owned(),
            paths: vec!["**".to_owned()],
            ignore: Vec::new(),
            on_overwrite: OnOverwrite::Replace,
            on_delete: OnDelete::Keep,
        },
        format: Format {
            kind: FormatKind::Csv,
            compression: Compression::None,
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
            encoding: "utf-8",
            split_bytes: 1 << 28,
            max_record_bytes: limit,
        },
        columns: vec![column("a", DataType::String), column("b", DataType::String)],
        rules: Vec::new(),
        drift: Drift::default(),
        quality: Quality::default(),
        dedupe: None,
        table: TableSpec::default(),
        warehouse: None,
    }
}

fn transform(contract: &Contract, bytes: &[u8], first: i64) -> Output {
    let lineage = Lineage { source: "s".to_owned(), source_version: "1".to_owned(), ingested_at_us: 0 };
    let transform = Transform::new(contract, None).unwrap();
    let layout = transform.csv_layout(Some(b"a,b")).unwrap();
    transform.csv(&layout, bytes, first, &lineage).unwrap()
}

/// Position, whether it is clean, values.
type Row = (i64, bool, Vec<Option<Vec<u8>>>);

fn rows(output: &Output) -> Vec<Row> {
    let mut rows = Vec::new();
    for (frame, is_clean, columns) in [(&output.clean, true, &["a", "b"][..]), (&output.quarantined, false, &["_raw"])]
    {
        let positions = frame.column("_source_position").unwrap().i64().unwrap();
        let columns = columns.iter().map(|column| frame.column(column).unwrap().cast(&Dtype::Binary).unwrap());
        let columns: Vec<_> = columns.collect();
        for (row, position) in positions.iter().enumerate() {
            let values = columns.iter().map(|column| column.binary().unwrap().get(row).map(<[u8]>::to_vec));
            rows.push((position.unwrap(), is_clean, values.collect()));
        }
    }
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn cuts_and_sizes_change_nothing(
        bytes in soup(),
        cuts in any_cuts(),
        limit in 1..40_usize,
        chunk in 1..60_usize,
        is_csv in any::<bool>(),
    ) {
        let framing = if is_csv { CSV } else { Framing::Lines };
        let expected = model(framing, &bytes, limit);
        let at_once = split(Splitter::new(framing, limit, chunk), [bytes.as_slice()]);
        prop_assert_eq!(joined(at_once), expected.clone());
        let in_parts = split(Splitter::new(framing, limit, chunk), parts(&bytes, &cuts));
        prop_assert_eq!(joined(in_parts), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What the splitter takes for a record, the reader of records takes for one too, at the same position: pieces that
    /// are read one by one give what the whole gives.
    #[test]
    fn positions_are_those_of_the_transform(bytes in soup(), cuts in any_cuts(), chunk in 1..60_usize) {
        let contract = contract(1 << 20);
        let whole = transform(&contract, &bytes, 1);
        let (mut position, mut found) = (1, Vec::new());
        for piece in split(Splitter::new(CSV, 1 << 20, chunk), parts(&bytes, &cuts)) {
            match piece {
                Piece::Records(records) => {
                    let output = transform(&contract, &records, position);
                    position += output.records as i64;
                    found.extend(rows(&output));
                }
                Piece::Refused { head, .. } => {
                    // Alone, it is one record in quarantine.
                    let output = transform(&contract, &[&head[..], b"\r\n"].concat(), position);
                    prop_assert_eq!((output.records, output.clean.height()), (1, 0));
                    position += 1;
                    found.extend(rows(&output));
                }
            }
        }
        prop_assert_eq!(found, rows(&whole));
    }

    /// No record that the splitter lets through is too long for the reader.
    #[test]
    fn limits_agree(bytes in soup(), limit in 1..40_usize) {
        let contract = contract(limit);
        for piece in split(Splitter::new(CSV, limit, 1 << 20), [bytes.as_slice()]) {
            let Piece::Records(records) = piece else { continue };
            let quarantined = transform(&contract, &records, 1).quarantined;
            let reasons = quarantined.column("_reasons").unwrap().str().unwrap();
            prop_assert!(reasons.iter().flatten().all(|reasons| !reasons.contains("longer")));
        }
    }
}
