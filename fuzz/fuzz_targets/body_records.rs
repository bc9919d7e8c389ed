//! The body of an event, whatever it is: its records are in order, apart and not blank, and there are not too many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_contract::{Compression, Contract, Format, FormatKind};
use weir_intake::Body;

const CONTRACT: &str =
    "name = \"c\"\nsource = { kind = \"events\", hub = \"h\" }\ncolumns = [{ name = \"n\", type = \"long\" }]";

fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (kind, compression, body) = input;
    let kinds = [FormatKind::Auto, FormatKind::Ndjson, FormatKind::Json, FormatKind::Avro];
    let compressions = [Compression::Auto, Compression::None, Compression::Gzip, Compression::Zstd];
    let format = Format {
        kind: kinds[usize::from(kind) % 4],
        compression: compressions[usize::from(compression) % 4],
        ..Contract::parse(CONTRACT, "c.toml").expect("sound").format
    };
    match Body::read(&body.into(), &format) {
        Ok(Body::One(_)) => {}
        Ok(Body::Several { text, records }) => {
            let mut end = 0;
            for record in records {
                assert!(record.start >= end && record.start < record.end && record.end <= text.len());
                // JSON's blanks: a form feed is none, and is for the decoder to refuse.
                assert!(!text[record.clone()].iter().all(|byte| b" \t\r\n".contains(byte)));
                end = record.end;
            }
        }
        Ok(Body::Avro(avro)) => assert!(avro.blocks.iter().map(|(count, _)| *count).sum::<u64>() <= 1 << 20),
        Err(reason) => assert!(!reason.is_empty()),
    }
});
