//! Everything bad that can come in, by name: each has its answer, its place, and leaves the process alive and the books
//! balanced.

use std::io::{Read, Write};
use std::net::TcpStream;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::handler::{Batch, Handler, books, queue_envelope};
use super::site::{Site, blob_created};

/// A case: what comes in, and what must come of it.
struct Case {
    name: &'static str,
    input: Input,
    expected: Expected,
}

enum Input {
    /// A body posted to a function, as it is.
    Post(&'static str, String),
    /// A blob of `orders`, and what happens to it before its event is delivered.
    Blob(&'static [u8], Meanwhile),
    /// The same, gzipped, and then cut short by so many bytes.
    Gzipped(&'static [u8], usize),
    /// A batch of `clicks`.
    Events(Value),
}

enum Meanwhile {
    Nothing,
    Deleted,
    Overwritten,
}

enum Expected {
    /// Status and part of the message: the host tries again, and parks the message in the end.
    Failed(u16, &'static str),
    /// Acknowledged without a receipt.
    Ignored,
    Settled {
        outcome: &'static str,
        /// Records in, committed, quarantined, already committed.
        books: [u64; 4],
        /// Rows that the table has of it: `id|amount|note`, or `n`.
        rows: &'static [&'static str],
        /// Position and reasons.
        quarantined: &'static [(i64, &'static str)],
    },
}

fn case(name: &'static str, input: Input, expected: Expected) -> Case {
    Case { name, input, expected }
}

fn blob(content: &'static [u8]) -> Input {
    Input::Blob(content, Meanwhile::Nothing)
}

fn settled(
    outcome: &'static str,
    books: [u64; 4],
    rows: &'static [&'static str],
    quarantined: &'static [(i64, &'static str)],
) -> Expected {
    Expected::Settled { outcome, books, rows, quarantined }
}

fn requests() -> Vec<Case> {
    vec![
        case(
            "unknown function",
            Input::Post("no_such_function", "{}".to_owned()),
            Expected::Failed(404, "no function is registered under this path"),
        ),
        case(
            "broken JSON envelope",
            Input::Post("ingest_blob", r#"{"Data":{"event":"aGk="#.to_owned()),
            Expected::Failed(400, "`Data` is not valid json (line 1, column 22)"),
        ),
        case("empty envelope", Input::Post("ingest_blob", "{}".to_owned()), Expected::Failed(400, "`Data` is missing")),
        case(
            "queue message that is not base64",
            Input::Post("ingest_blob", r#"{"Data":{"event":"%%% not base64 %%%"},"Metadata":{}}"#.to_owned()),
            Expected::Failed(500, "blob event"),
        ),
        case(
            "queue message that is no blob event",
            Input::Post("ingest_blob", queue_envelope(br#"{"hello":"world"}"#)),
            Expected::Failed(500, "blob event"),
        ),
        case(
            "blob event that leaves its container",
            Input::Post("ingest_blob", queue_envelope(&blob_created("orders/../../secret.csv", "1-2-3"))),
            Expected::Failed(500, "`data.url` has a `.` or `..` segment"),
        ),
        case(
            "blob that no contract matches",
            Input::Post("ingest_blob", queue_envelope(&blob_created("unknown/a.csv", "1-2-3"))),
            Expected::Ignored,
        ),
        case(
            "task that nobody knows",
            Input::Post("run_task", queue_envelope(br#"{"task":"format_disk"}"#)),
            Expected::Failed(500, "task message: not a task that this version knows (line 1"),
        ),
    ]
}

fn events() -> Vec<Case> {
    const UNPLACED: &[(i64, &str)] = &[
        (1, "the host gave no partition or no sequence number, or one that no event has"),
        (2, "the host gave no partition or no sequence number, or one that no event has"),
    ];
    let mut no_metadata = Batch::of(0, &[(1, r#"{"n":1}"#), (2, r#"{"n":2}"#)]).envelope();
    no_metadata["Metadata"] = json!({});
    // The events differ from batch to batch: equal ones are one delivery, repeated.
    let mut no_arrays = Batch::of(0, &[(1, r#"{"n":10}"#), (2, r#"{"n":20}"#)]).envelope();
    for array in ["SequenceNumberArray", "OffsetArray", "SystemPropertiesArray"] {
        no_arrays["Metadata"].as_object_mut().unwrap().remove(array);
    }
    let mut uneven = Batch::of(0, &[(1, r#"{"n":11}"#), (2, r#"{"n":21}"#)]).envelope();
    uneven["Metadata"]["SequenceNumberArray"] = "[1]".into();
    let mut uneven_but_known = Batch::of(5, &[(1, r#"{"n":12}"#), (2, r#"{"n":22}"#)]).envelope();
    uneven_but_known["Metadata"]["SequenceNumberArray"] = "[1,2,3]".into();
    uneven["Metadata"]["SystemPropertiesArray"] = "[]".into();
    let mut bad_base64 = Batch::of(6, &[(1, r#"{"n":13}"#), (2, "")]).envelope();
    bad_base64["Data"]["events"] = r#"["eyJuIjoxM30=","%%% not base64 %%%"]"#.into();
    let case = |name, envelope, books, rows, quarantined| {
        case(name, Input::Events(envelope), settled("committed", books, rows, quarantined))
    };
    vec![
        case("metadata is missing", no_metadata, [2, 0, 2, 0], &[], UNPLACED),
        case("metadata arrays are missing", no_arrays, [2, 0, 2, 0], &[], UNPLACED),
        case("metadata arrays of different lengths", uneven, [2, 0, 2, 0], &[], UNPLACED),
        case("one metadata array is too long, another has it all", uneven_but_known, [2, 2, 0, 0], &["12", "22"], &[]),
        case("event that is not base64", bad_base64, [2, 1, 1, 0], &["13"], &[(2, "the body is not base64")]),
        case(
            "event that is not JSON",
            Batch::of(7, &[(1, "<xml/>"), (2, "[1]"), (3, ""), (4, "\u{0}")]).envelope(),
            [4, 0, 4, 0],
            &[],
            &[
                (1, "not one JSON object"),
                (2, "not one JSON object"),
                (3, "not one JSON object"),
                (4, "not one JSON object"),
            ],
        ),
    ]
}

fn blobs() -> Vec<Case> {
    let committed = |books, rows, quarantined| settled("committed", books, rows, quarantined);
    let a: &[u8] = b"id,amount,note\n1,2.50,a\n";
    let row: &[&str] = &["1|2.50|a"];
    vec![
        case("blob deleted before it is read", Input::Blob(a, Meanwhile::Deleted), settled("gone", [0; 4], &[], &[])),
        case(
            "blob overwritten before it is read",
            Input::Blob(a, Meanwhile::Overwritten),
            settled("overwritten", [0; 4], &[], &[]),
        ),
        case("empty blob", blob(b""), committed([0; 4], &[], &[])),
        case("header only", blob(b"id,amount,note\n"), committed([0; 4], &[], &[])),
        case("BOM", blob(b"\xef\xbb\xbfid,amount,note\n1,2.50,a\n"), committed([1, 1, 0, 0], row, &[])),
        case("CRLF", blob(b"id,amount,note\r\n1,2.50,a\r\n\r\n"), committed([1, 1, 0, 0], row, &[])),
        case("no line end at the end", blob(b"id,amount,note\n1,2.50,a"), committed([1, 1, 0, 0], row, &[])),
        case(
            "wrong header",
            blob(b"kunde;betrag\n1;2.50\n2;3.50\n"),
            committed(
                [3, 0, 3, 0],
                &[],
                &[
                    (0, "the header has none of the contract's columns"),
                    (1, "the header has none of the contract's columns"),
                    (2, "the header has none of the contract's columns"),
                ],
            ),
        ),
        case(
            "header without a column that must not be null",
            blob(b"amount,note\n2.50,a\n"),
            committed([1, 0, 1, 0], &[], &[(1, "missing column `id`")]),
        ),
        case(
            "ragged rows",
            blob(b"id,amount,note\n1\n1,2.50,a\n3,1.00,c,extra\n,,\n"),
            committed([4, 1, 3, 0], row, &[(1, "fields"), (3, "fields"), (4, "id")]),
        ),
        case(
            "wrong types",
            blob(b"id,amount,note\none,2.50,a\n2,2.505,a\n99999999999999999999,1,a\n1,2.50,a\n"),
            committed([4, 1, 3, 0], row, &[(1, "id"), (2, "amount"), (3, "id")]),
        ),
        case(
            "NUL bytes",
            blob(b"id,amount,note\n1,2.50,a\n2,2.50,b\0b\n"),
            committed([2, 1, 1, 0], row, &[(2, "NUL character")]),
        ),
        case(
            "not UTF-8",
            blob(b"id,amount,note\n1,2.50,a\n2,2.50,M\xfcller\n"),
            committed([2, 1, 1, 0], row, &[(2, "not UTF-8")]),
        ),
        case(
            "quote that is never closed",
            blob(b"id,amount,note\n2,2.50,\"open\n1,2.50,a\n"),
            committed([2, 1, 1, 0], row, &[(1, "a quote is opened and never closed")]),
        ),
        case(
            "not text at all",
            blob(b"\x00\x01\x02\xff\xfe"),
            committed([1, 0, 1, 0], &[], &[(0, "the header is not UTF-8")]),
        ),
        case(
            "a record that is the only line",
            blob(b"7,late,9.99\n"),
            committed([1, 0, 1, 0], &[], &[(0, "the header has none of the contract's columns")]),
        ),
        case("lone carriage returns", blob(b"id,amount,note\r1,2.50,a\r"), committed([1, 1, 0, 0], row, &[])),
        case(
            "a header in another encoding",
            blob(b"id,amount,note,gr\xf6\xdfe\n1,2.50,a,1\n"),
            committed([2, 0, 2, 0], &[], &[(0, "the header is not UTF-8"), (1, "the header is not UTF-8")]),
        ),
        case(
            "truncated gzip",
            Input::Gzipped(b"id,amount,note\n1,2.50,a\n2,2.50,b\n", 8),
            committed([3, 2, 1, 0], &["1|2.50|a", "2|2.50|b"], &[(3, "the gzip stream is truncated")]),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_input_has_its_answer_and_the_books_balance() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let mut found = Vec::new();
    for (number, case) in requests().into_iter().chain(events()).chain(blobs()).enumerate() {
        let fault = check(&site, &handler, number, &case).await.err();
        found.extend(fault.map(|fault| format!("{}: {fault}", case.name)));
        assert!(handler.alive().await, "{}: the handler does not answer any more", case.name);
        assert_eq!(handler.status().await["balanced"], true, "{}: the books do not balance", case.name);
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    for dataset in ["orders", "clicks"] {
        site.each_place_once(dataset).await;
    }
}

async fn check(site: &Site, handler: &Handler, number: usize, case: &Case) -> Result<(), String> {
    let (dataset, columns, answers) = match &case.input {
        Input::Post(function, body) => {
            let answer = handler.post(function, body.clone()).await;
            return match case.expected {
                Expected::Failed(status, message) if answer.status == status && answer.text.contains(message) => Ok(()),
                Expected::Ignored if answer.status == 200 && answer.json()["ReturnValue"].is_null() => Ok(()),
                _ => Err(format!("answered {} {}", answer.status, answer.text)),
            };
        }
        Input::Events(envelope) => {
            let send = || handler.post("ingest_clicks", envelope.to_string());
            ("clicks", &["_source", "n"][..], [send().await, send().await])
        }
        Input::Blob(..) | Input::Gzipped(..) => {
            let message = upload(site, number, &case.input).await;
            let send = || handler.queue("ingest_blob", &message);
            ("orders", &["_source", "id", "amount", "note"][..], [send().await, send().await])
        }
    };
    let Expected::Settled { outcome, books: expected, rows, quarantined } = case.expected else { panic!() };
    let [first, second] = answers.map(|answer| answer.receipt());
    if first["outcome"] != outcome || books(&first) != expected {
        return Err(format!("the receipt is {first}"));
    }
    // The second delivery changes nothing. Events are counted once more; a blob is not even read.
    let counted = outcome == "committed" && matches!(case.input, Input::Events(_));
    let again = if counted { [expected[0], 0, 0, expected[0]] } else { [0; 4] };
    if books(&second) != again {
        return Err(format!("the second receipt is {second}"));
    }
    let source = match &case.input {
        Input::Events(envelope) => events_source(site, envelope).await,
        _ => format!("blob:landing/{}", blob_path(number, &case.input)),
    };
    let in_table = site.rows(dataset, columns).await;
    let in_table: Vec<_> = in_table.iter().filter_map(|row| row.strip_prefix(&format!("{source}|"))).collect();
    if in_table != rows {
        return Err(format!("the table has {in_table:?}"));
    }
    let in_quarantine = site.quarantined(dataset, &source).await;
    let same = in_quarantine.len() == quarantined.len()
        && in_quarantine
            .iter()
            .zip(quarantined)
            .all(|(found, (position, reason))| found.position == *position && found.reasons.contains(reason));
    if same { Ok(()) } else { Err(format!("quarantine has {in_quarantine:?}")) }
}

fn blob_path(number: usize, input: &Input) -> String {
    let extension = if matches!(input, Input::Gzipped(..)) { "csv.gz" } else { "csv" };
    format!("orders/case{number}.{extension}")
}

async fn upload(site: &Site, number: usize, input: &Input) -> Vec<u8> {
    let path = blob_path(number, input);
    match input {
        Input::Gzipped(content, missing) => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(content).unwrap();
            let mut bytes = encoder.finish().unwrap();
            bytes.truncate(bytes.len() - missing);
            site.put(&path, bytes).await
        }
        Input::Blob(content, meanwhile) => {
            let message = site.put(&path, content).await;
            match meanwhile {
                Meanwhile::Nothing => {}
                Meanwhile::Deleted => site.delete(&path),
                Meanwhile::Overwritten => {
                    site.put(&path, b"id,amount,note\n7,7.00,newer\n").await;
                }
            }
            message
        }
        Input::Post(..) | Input::Events(..) => panic!("no blob"),
    }
}

/// Events without a place get a source made of what they are; the last one made is this batch's.
async fn events_source(site: &Site, envelope: &Value) -> String {
    match envelope["Metadata"]["PartitionContext"]["PartitionId"].as_str() {
        Some(partition) if partition != "0" => format!("eventhub:ns/clicks/{partition}"),
        _ => {
            let mut rows = site.rows("clicks__quarantine", &["_ingested_at", "_source"]).await;
            rows.retain(|row| row.contains("eventhub:unplaced/"));
            rows.pop().unwrap().split_once('|').unwrap().1.to_owned()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_above_the_limit_is_refused_before_it_is_read() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let mut connection = TcpStream::connect(("127.0.0.1", handler.port)).unwrap();
    let length = 256 * 1024 * 1024 + 1;
    write!(
        connection,
        "POST /ingest_blob HTTP/1.1\r\nhost: x\r\nx-azure-functions-invocationid: i\r\ncontent-length: {length}\r\n\r\n"
    )
    .unwrap();
    let mut answer = [0; 1024];
    let read = connection.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(handler.alive().await);
    assert!(handler.peak_memory() < 100_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_100_mb_costs_no_memory_and_only_itself() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let mut content = b"id,amount,note\n1,1.00,before\n2,1.00,".to_vec();
    content.resize(content.len() + 100_000_000, b'x');
    content.extend_from_slice(b"\n3,1.00,after\n");
    let message = site.put("orders/long.csv", content).await;
    let receipt = handler.ingest(&message).await;
    assert_eq!(books(&receipt), [3, 2, 1, 0]);
    assert_eq!(site.rows("orders", &["id", "note"]).await, ["1|before", "3|after"]);
    let quarantined = site.quarantined("orders", "blob:landing/orders/long.csv").await;
    assert_eq!((quarantined[0].position, &*quarantined[0].reasons), (2, "record longer than 1048576 bytes"));
    assert_eq!(quarantined[0].raw.len(), 64 * 1024, "only the head is kept");
    let peak = handler.peak_memory();
    println!("peak resident memory over a line of 100 MB: {} MB", peak / 1_000_000);
    assert!(peak < 250_000_000, "{peak} bytes");
    assert_eq!(handler.status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_was_overwritten_comes_with_its_newer_event() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let older = site.put("orders/a.csv", b"id,amount,note\n1,1.00,older\n").await;
    let newer = site.put("orders/a.csv", b"id,amount,note\n1,1.00,newer\n2,1.00,newer\n").await;
    assert_eq!(books(&handler.ingest(&newer).await), [2, 2, 0, 0]);
    assert_eq!(handler.ingest(&older).await["outcome"], "overwritten");
    assert_eq!(site.rows("orders", &["id", "note"]).await, ["1|newer", "2|newer"]);
    // Gone meanwhile: the transaction id answers, not the blob.
    site.delete("orders/a.csv");
    assert_eq!(handler.ingest(&newer).await["outcome"], "alreadyCommitted");
}
