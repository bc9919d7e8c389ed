//! Where records end, case by case.

use std::time::{Duration, Instant};

use weir_intake::{ChunkOptions, Framing, Piece, Splitter};

use super::{CSV, NEVER_CLOSED, Stretch, joined, options, read, records, refused, split, too_long};

#[test]
fn records_and_refusals() {
    const LIMIT: usize = 12;
    let cases: &[(Framing, &str, &[Stretch])] = &[
        (CSV, "", &[]),
        (CSV, "a,b\nc,d", &[records("a,b\nc,d")]),
        (CSV, "a\r\n\n\r\nb\n", &[records("a\r\n\n\r\nb\n")]),
        (CSV, "\"a\nb\",c\nd\n", &[records("\"a\nb\",c\nd\n")]),
        (CSV, "\"a\"\"\n\",c\n", &[records("\"a\"\"\n\",c\n")]),
        // A quote within a field is none, and neither is one after a space or before the delimiter.
        (CSV, "5\" x\n7\",y\n \"z\n", &[records("5\" x\n7\",y\n \"z\n")]),
        // A quote that is never closed costs its record up to the end of its line.
        (CSV, "a\n\"b\nc\nd", &[records("a\n"), refused("\"b", NEVER_CLOSED), records("c\nd")]),
        (CSV, "\"b\r\n", &[refused("\"b", NEVER_CLOSED)]),
        (CSV, "\"a\n\",\"b\nc\n", &[refused("\"a\n\",\"b", NEVER_CLOSED), records("c\n")]),
        // Not closed within the limit, counted from the record's start, is never closed.
        (CSV, "\"2\n4567890\"\nx\n", &[records("\"2\n4567890\"\nx\n")]),
        (CSV, "\"2\n456789012\"\nx\n", &[refused("\"2", NEVER_CLOSED), records("456789012\"\nx\n")]),
        // The limit does not count the line break.
        (CSV, "123456789012\n123456789012\r\n123456789012", &[records("123456789012\n123456789012\r\n123456789012")]),
        (CSV, "a\n1234567890123\nb\n", &[records("a\n"), too_long("1234567890123", LIMIT), records("b\n")]),
        (CSV, "1234567890123\r\nb\n", &[too_long("1234567890123", LIMIT), records("b\n")]),
        (CSV, "12345678901\r2\nb\n", &[too_long("12345678901\r2", LIMIT), records("b\n")]),
        (CSV, "a\n1234567890123", &[records("a\n"), too_long("1234567890123", LIMIT)]),
        // The long record's quoted line break is not its end; one in a quote that opens beyond the limit is.
        (CSV, "\"1\n\",123456789012\nb\n", &[too_long("\"1\n\",123456789012", LIMIT), records("b\n")]),
        (CSV, "123456789012,\"a\nb\"\n", &[too_long("123456789012,\"a", LIMIT), records("b\"\n")]),
        (CSV, "\"3456789012345\nb\n", &[too_long("\"3456789012345", LIMIT), records("b\n")]),
        // Lines know no quotes.
        (Framing::Lines, "\"a\nb\n", &[records("\"a\nb\n")]),
        (Framing::Lines, "\"23456789012\"\nb\n", &[too_long("\"23456789012\"", LIMIT), records("b\n")]),
    ];
    for (framing, text, expected) in cases {
        for cut in 1..=text.len().max(1) {
            let pieces = split(Splitter::new(*framing, LIMIT, 4), text.as_bytes().chunks(cut));
            assert_eq!(joined(pieces), *expected, "{text:?} in parts of {cut} bytes");
        }
    }
}

#[test]
fn of_a_refused_record_64_kib_are_kept() {
    let record = "x".repeat(200_000);
    let text = format!("{record}\nb\n");
    for cut in [1000, 65_536, 65_537, text.len()] {
        let pieces = split(Splitter::new(CSV, 100_000, 1 << 20), text.as_bytes().chunks(cut));
        assert_eq!(joined(pieces), [too_long(&record[..64 * 1024], 100_000), records("b\n")]);
    }
}

#[test]
fn a_piece_is_handed_out_when_it_is_big_enough() {
    let mut splitter = Splitter::new(CSV, 1024, 8);
    splitter.push(b"a,b\nc,");
    assert_eq!(splitter.pull(false), None);
    splitter.push(b"d\ne");
    assert_eq!(splitter.pull(false), Some(Piece::Records("a,b\nc,d\n".into())));
    assert_eq!(splitter.pull(false), None);
    assert_eq!(splitter.pull(true), Some(Piece::Records("e".into())));
    assert_eq!(splitter.pull(true), None);
}

#[test]
fn the_first_record_may_stand_after_blank_lines_and_hold_line_breaks() {
    let cases = [("a,b\nc", 4), ("\r\n \n\"a\nb\"\nc", 10), ("a", 1), ("\n\n", 2), ("", 0), ("\"a\nb", 4)];
    for (text, length) in cases {
        assert_eq!(CSV.first_record(text.as_bytes()), length, "{text:?}");
    }
}

/// Each of these looks at the whole rest again after every record when done naively: minutes instead of milliseconds.
#[test]
fn hostile_input_takes_linear_time() {
    const BYTES: usize = 8 << 20;
    const LIMIT: usize = 1 << 20;
    let lines: [(&str, &str, usize); 6] = [
        ("each line closes a quote and opens one", "a\",\"b\n", LIMIT),
        ("every other line opens a quote", "\"a\nb\n", LIMIT),
        ("every line is too long", "abcdefgh\n", 4),
        ("every quote is closed too late", "\"\n\"\"\n", 4),
        ("nothing but quotes", "\"\"\"\"\"\"\"\"", LIMIT),
        ("one line without end", "abcdefgh", LIMIT),
    ];
    for (what, line, limit) in lines {
        let bytes = line.repeat(BYTES / line.len());
        let began = Instant::now();
        let pieces = split(Splitter::new(CSV, limit, 1 << 20), bytes.as_bytes().chunks(BYTES / 2));
        assert!(!pieces.is_empty());
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", began.elapsed());
    }
}

/// Where the first line ends with a lone `\r`, every reader sees the lines of the same text with `\n`.
#[tokio::test]
async fn lone_carriage_returns_end_lines() {
    let with_lf = "\n1,\"a\nb\"\n2,cc\n\n3,\"d\"\"\n\"\n4,\"never\n5,e\n";
    for (framing, kept) in [(CSV, "\r"), (Framing::Lines, "\n")] {
        // In quotes the returns stay what they are.
        let quoted = with_lf.replace("a\nb", &format!("a{kept}b")).replace("\"\"\n\"", &format!("\"\"{kept}\""));
        let expected: Vec<Stretch> = match framing {
            Framing::Lines => vec![records(&quoted)],
            _ => {
                let (before, after) = quoted.split_once("4,\"never\n").unwrap();
                vec![records(before), refused("4,\"never", NEVER_CLOSED), records(after)]
            }
        };
        let content = with_lf.replace('\n', "\r");
        for range in [1, 2, 7, 1_000] {
            let options = ChunkOptions { framing, max_record_bytes: 20, ..options(range) };
            assert_eq!(joined(read(content.as_bytes(), options.clone()).await), expected, "{framing:?} by {range}");
            let packed = super::gzip::gzip(content.as_bytes());
            assert_eq!(joined(read(&packed, options).await), expected, "{framing:?} in gzip by {range}");
        }
    }
    // Elsewhere they are characters.
    for content in ["a\nb\rc\n", "a\r\nb\rc\n", "\"a\rb\"\nc\rd\n"] {
        assert_eq!(joined(read(content.as_bytes(), options(3)).await), [records(content)], "{content:?}");
    }
}
