//! The files, and what is expected of each.

use std::io::Write;

use polars::prelude::{DataFrame, ParquetWriter, df};
use weir_contract::{Compression, Contract, FormatKind};

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) change: fn(&mut Contract),
    pub(super) clean: usize,
    /// Position and the beginning of the reasons.
    pub(super) refused: Vec<String>,
}

const HEADER: &str = "id,name,price,day\n";

pub(super) fn all() -> Vec<Case> {
    [csv(), wide(), encoded(), packed(), lines(), documents(), parquet(), avro()].into_iter().flatten().collect()
}

fn same(_: &mut Contract) {}

fn case(name: &'static str, path: &'static str, bytes: impl Into<Vec<u8>>, clean: usize, refused: &[&str]) -> Case {
    let refused = refused.iter().map(|reason| (*reason).to_owned()).collect();
    Case { name, path, bytes: bytes.into(), change: same, clean, refused }
}

impl Case {
    fn with(self, change: fn(&mut Contract)) -> Self {
        Self { change, ..self }
    }
}

/// A body below the usual header.
fn under(body: &str) -> String {
    format!("{HEADER}{body}")
}

fn csv() -> Vec<Case> {
    let csv = |name, text: &str, clean, refused: &[&str]| case(name, "a.csv", text, clean, refused);
    vec![
        csv("empty", "", 0, &[]),
        csv("only a header", HEADER, 0, &[]),
        csv("only a header without line break", HEADER.trim_end(), 0, &[]),
        csv("only a byte order mark", "\u{feff}", 0, &[]),
        csv("only line breaks", "\n\r\n\n", 0, &[]),
        csv("blank lines before the header", &format!("\n \r\n{}", under("1,a,1,\n")), 1, &[]),
        csv("no final line break", &under("1,a,1,\n2,b,2,"), 2, &[]),
        csv("CRLF", &under("1,a,1,\n2,b,2,\n").replace('\n', "\r\n"), 2, &[]),
        csv("line ends mixed", &under("1,a,1,\r\n2,b,2,\n\r\n"), 2, &[]),
        csv("CR only", &under("1,a,1,\n2,b,2,\n").replace('\n', "\r"), 2, &[]),
        csv("CR only, without a last one", &under("1,a,1,\n2,b,2,").replace('\n', "\r"), 2, &[]),
        csv("CR, and a quoted line break", "id,name,price,day\r1,\"a\rb\",1,\r2,b,x,\r", 1, &["2: column `price`"]),
        csv("CR, then CRLF", "id,name,price,day\r1,a,1,\r\n\r\n2,b,2,\n", 2, &[]),
        csv(
            "CR, and an open quote",
            "id,name,price,day\r1,\"a,1,\r2,b,2,\r",
            1,
            &["1: a quote is opened and never closed"],
        ),
        csv("only a header, and CR", "id,name,price,day\r", 0, &[]),
        csv("only a record", "7,late,9.99,", 0, &["0: the header has none"]),
        csv(
            "records and no header",
            "7,late,9.99,\n8,late,9.99,\n",
            0,
            &["0: the header has none", "1: the header has none"],
        ),
        csv("not text", "\0\u{1}\u{2}", 0, &["0: the header has NUL characters"]),
        csv("a quote never closed", &under("1,\"a,1,\n2,b,2,\n"), 1, &["1: a quote is opened and never closed"]),
        csv("text after a quote", &under("1,\"a\"x,1,\n2,b,2,\n"), 1, &["1: field 2: text after the closing quote"]),
        csv("a quote in a field", &under("1,5\" pipe,1,\n"), 1, &[]),
        csv("quoted line breaks", &under("1,\"a\n\nb\",1,\n"), 1, &[]),
        csv("NUL", &under("1,a\0,1,\n2,b,2,\n"), 1, &["1: NUL character"]),
        csv("too few fields", &under("1,a\n2,b,2,\n"), 1, &["1: 2 fields, expected 4"]),
        csv("too many fields", &under("1,a,1,,,\n2,b,2,\n"), 1, &["1: 6 fields, expected 4"]),
        csv("names given twice", "id,name,name,price,day\n1,a,b,1,\n", 1, &[]),
        csv("names that differ in case", "id,name,NAME,Price,day\n1,a,b,1,\n", 1, &[]),
        csv(
            "no name is a column's",
            "a,b\n1,2\n3,4\n",
            0,
            &["0: the header has none", "1: the header has none", "2: the header has none"],
        ),
        csv("a needed column is missing", "name,price\nx,1\n", 0, &["1: missing column `id`"]),
        csv("the header again", &under("1,a,1,\nid,name,price,day\n"), 1, &["2: column `id`: not a long"]),
        csv(
            "another delimiter",
            "id;name;price;day\n1;a;1;\n",
            0,
            &[
                "0: the header has none of the contract's columns; with `[format] delimiter = \";\"` it would",
                "1: the header has none",
            ],
        ),
        csv("semicolons and decimal commas", "id;name;price;day\n1;a;1,50;\n2;b;1.50;\n", 1, &["2: column `price`"])
            .with(|contract| {
                contract.format.delimiter = b';';
                contract.format.decimal_comma = true;
            }),
        csv("tabs", "id\tname\tprice\tday\n1\ta,b\t1\t\n", 1, &[]).with(|contract| contract.format.delimiter = b'\t'),
        csv("open quotes where lines are records", &under("1,\"a,1,\n2,b,2,\n"), 1, &["1: field 2: unclosed quote"])
            .with(|contract| contract.format.quoted_newlines = false),
        csv("unknown extension", "", 0, &[]),
        case("no extension", "a", under("1,a,1,\n"), 0, &["1: dataset `orders` tells formats by extension"]),
        csv("formulas are text", &under("1,=cmd|'/c calc'!A1,1,\n"), 1, &[]),
        csv(
            "numbers out of range",
            &under("9223372036854775808,a,1,\n1,a,99999999,\n"),
            0,
            &["1: column `id`: out of range", "2: column `price`: out of range"],
        ),
        csv(
            "days that are none",
            &under("1,a,1,2023-02-29\n2,a,1,0000-00-00\n"),
            0,
            &["1: column `day`", "2: column `day`"],
        ),
    ]
}

/// Long and wide.
fn wide() -> Vec<Case> {
    let long = format!("{HEADER}1,{},1,\n2,b,2,\n", "x".repeat(100 << 20));
    let names: Vec<String> = (0..10_000).map(|index| format!("c{index}")).collect();
    let values = vec!["1"; 10_000].join(",");
    let columns = format!("{},id\n{values},7\n", names.join(","));
    let header = format!("{}\n1,a,1,\n2,b,1,\n", "h".repeat(2 << 20));
    vec![
        case("a line of 100 MB", "a.csv", long, 1, &["1: record longer than 1048576 bytes"]),
        case("10,000 columns", "a.csv", columns, 1, &[]),
        case(
            "a header of 2 MB",
            "a.csv",
            header,
            0,
            &["1: record longer than 1048576 bytes", "2: the header has none", "3: the header has none"],
        ),
        case(
            "an object of 2 MB",
            "a.ndjson",
            format!("{{\"id\":1,\"x\":\"{}\"}}\n{{\"id\":2}}\n", "x".repeat(2 << 20)),
            1,
            &["1: record longer than 1048576 bytes"],
        ),
    ]
}

fn utf16(text: &str, mark: bool) -> Vec<u8> {
    mark.then_some(0xfeff).into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

fn encoded() -> Vec<Case> {
    let text = under("1,größe,1,\n2,b,2,\n");
    let latin: Vec<u8> = text.chars().map(|character| character as u8).collect();
    vec![
        case("UTF-8 with a mark", "a.csv", format!("\u{feff}{text}"), 2, &[]),
        case("a mark twice", "a.csv", format!("\u{feff}\u{feff}{text}"), 2, &[]),
        case("invalid UTF-8", "a.csv", latin.clone(), 1, &["1: not UTF-8"]),
        case("windows-1252", "a.csv", latin, 2, &[]).with(|contract| contract.format.encoding = "windows-1252"),
        case("UTF-16 with a mark", "a.csv", utf16(&text, true), 2, &[]),
        case("UTF-16 without a mark, told", "a.csv", utf16(&text, false), 2, &[])
            .with(|contract| contract.format.encoding = "utf-16"),
        case("UTF-16 without a mark, not told", "a.csv", utf16(&under("1,a,1,\n"), false), 0, &["0: ", "1: ", "2: "]),
        case(
            "UTF-16 that breaks off in a character",
            "a.csv",
            utf16(&text, true)[..73].to_vec(),
            1,
            &["2: not utf-16"],
        )
        .with(|contract| contract.format.encoding = "utf-16"),
        case("UTF-32", "a.csv", b"\xff\xfe\0\0i\0\0\0d\0\0\0".to_vec(), 0, &["1: looks like UTF-32 text"]),
        case(
            "invalid UTF-8 in NDJSON",
            "a.ndjson",
            b"{\"id\":1,\"name\":\"\xff\"}\n{\"id\":2}\n".to_vec(),
            1,
            &["1: not UTF-8"],
        ),
    ]
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn packed() -> Vec<Case> {
    let text = under("1,a,1,\n2,b,2,\n");
    let many = under(&(0..2_000).map(|id| format!("{id},n{},1,\n", id * 7_919 % 1_009)).collect::<String>());
    let (gz, zst) = (gzip(many.as_bytes()), zstd::encode_all(many.as_bytes(), 3).unwrap());
    let bomb = gzip(&vec![b'x'; 100 << 20]);
    vec![
        case("gzip", "a.csv.gz", gzip(text.as_bytes()), 2, &[]),
        case("gzip without its extension", "a.csv", gzip(text.as_bytes()), 2, &[]),
        case("text with gzip's extension", "a.csv.gz", text.clone(), 2, &[]),
        case("zstd", "a.csv.zst", zstd::encode_all(text.as_bytes(), 3).unwrap(), 2, &[]),
        case("gzip told, and it is text", "a.csv", text.clone(), 0, &["1: not a gzip stream"])
            .with(|contract| contract.format.compression = Compression::Gzip),
        case("nothing told, and it is gzip", "a.csv", gzip(text.as_bytes()), 0, &["1: looks like a gzip stream"])
            .with(|contract| contract.format.compression = Compression::None),
        case("gzip in gzip", "a.csv.gz", gzip(&gzip(text.as_bytes())), 0, &["1: looks like a gzip stream within"]),
        case("an empty gzip stream", "a.csv.gz", gzip(b""), 0, &[]),
        case("two gzip members", "a.csv.gz", [gzip(text.as_bytes()), gzip(b"3,c,3,\n")].concat(), 3, &[]),
        case(
            "gzip truncated in its trailer",
            "a.csv.gz",
            gz[..gz.len() - 4].to_vec(),
            2_000,
            &["2001: the gzip stream is truncated"],
        ),
        case("zstd truncated", "a.csv.zst", zst[..zst.len() - 3].to_vec(), 0, &["1: the zstd stream is truncated"]),
        case("a bomb", "a.ndjson.gz", bomb, 0, &["1: the gzip stream expands more than 200 times"]),
        case("a zip archive", "a.csv", b"PK\x03\x04\x14\0\0\0\x08\0".to_vec(), 0, &["1: looks like a zip archive"]),
    ]
}

fn lines() -> Vec<Case> {
    let json = |name, text: &str, clean, refused: &[&str]| case(name, "a.ndjson", text, clean, refused);
    let not = "not one JSON object";
    vec![
        json(
            "no object",
            "[1]\n1\n\"a\"\nnull\n{\"id\":1}\n",
            1,
            &[&format!("1: {not}"), &format!("2: {not}"), &format!("3: {not}"), &format!("4: {not}")],
        ),
        json("two objects in a line", "{\"id\":1}{\"id\":2}\n", 0, &["1: not one JSON object"]),
        json("a field twice", "{\"id\":1,\"id\":2}\n", 0, &["1: column `id`: given twice"]),
        json(
            "brackets that do not fit",
            "{\"id\":1,\"x\":[1}}\n{\"id\":1,\"x\":{\"a\":[2}]}\n{\"id\":1,\"x\":{\"a\":1]}\n",
            0,
            &[&format!("1: {not}"), &format!("2: {not}"), &format!("3: {not}")],
        ),
        json("names escaped", "{\"\\u0069d\":1}\n", 1, &[]),
        json(
            "nested beyond reason",
            &format!("{{\"id\":1,\"x\":{}{}}}\n", "[".repeat(9_000), "]".repeat(9_000)),
            1,
            &[],
        ),
        json(
            "numbers JSON lacks",
            "{\"id\":+1}\n{\"id\":01}\n{\"id\":NaN}\n{\"id\":1e0}\n",
            0,
            &[&format!("1: {not}"), &format!("2: {not}"), &format!("3: {not}"), "4: column `id`: not a long"],
        ),
        json(
            "a lone surrogate",
            "{\"id\":1,\"name\":\"\\ud800\"}\n",
            0,
            &["1: column `name`: not a sound JSON string"],
        ),
        json("an escaped NUL", "{\"id\":1,\"name\":\"a\\u0000\"}\n", 0, &["1: column `name`: NUL character"]),
        json("laid out over lines", "{\n\"id\": 1\n}\n", 0, &["1: not one", "2: not one", "3: not one"]),
        json("CSV in NDJSON", "id,name\n1,a\n", 0, &["1: not one", "2: not one"]),
    ]
}

fn documents() -> Vec<Case> {
    let json = |name, text: &str, clean, refused: &[&str]| case(name, "a.json", text, clean, refused);
    let told = |contract: &mut Contract| contract.format.kind = FormatKind::Json;
    vec![
        json("an array", "[\n{\"id\":1},\n{\"id\":2,\"name\":\"[\"}\n]\n", 2, &[]),
        json("an empty array", "[]", 0, &[]),
        json("lines under .json", "{\"id\":1}\n{\"id\":2}\n", 2, &[]),
        json("an object over lines, told", "{\n\"id\": 1\n}", 1, &[]).with(told),
        json("lines, told to be a document", "{\"id\":1}\n{\"id\":2}\n", 0, &["1: text after the document's object"])
            .with(told),
        json("a truncated array", "[{\"id\":1},{\"id\":", 1, &["2: the document is truncated"]),
        json("an array in an array", "[[{\"id\":1}]]", 0, &["1: not one JSON object"]),
        json("text after the array", "[{\"id\":1}]\n[{\"id\":2}]", 1, &["2: text after the end"]),
        json("a trailing comma", "[{\"id\":1},]", 1, &["2: the document's array is damaged"]),
        json("a line break in a string", "[{\"id\":1,\"name\":\"a\nb\"}]", 0, &["1: not one JSON object"]),
        case("an array in UTF-16", "a.json", utf16("[{\"id\":1}]", true), 1, &[]),
        case("an array in gzip", "a.json.gz", gzip(b"[{\"id\":1}]"), 1, &[]),
    ]
}

fn written(mut frame: DataFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
    bytes
}

fn parquet() -> Vec<Case> {
    let sound = written(df!("id" => [1_i64, 2], "name" => ["a", "b"]).unwrap());
    let foreign = written(df!("id" => ["1", "x"], "name" => [1.5, 2.5], "more" => [true, false]).unwrap());
    let file = |name, bytes: Vec<u8>, clean, refused: &[&str]| case(name, "a.parquet", bytes, clean, refused);
    vec![
        file("Parquet", sound.clone(), 2, &[]),
        file("Parquet of other types", foreign, 1, &["2: column `id`: not a long"]),
        file("Parquet without rows", written(df!("id" => Vec::<i64>::new()).unwrap()), 0, &[]),
        file("Parquet truncated", sound[..sound.len() - 9].to_vec(), 0, &["1: not a Parquet file"]),
        file("Parquet of no bytes", Vec::new(), 0, &["1: not a Parquet file: the blob is empty"]),
        file(
            "text named Parquet",
            under("1,a,1,\n").into_bytes(),
            0,
            &["1: not a Parquet file, it looks like something"],
        ),
        file("Parquet in gzip", gzip(&sound), 0, &["1: not a Parquet file, it looks like a gzip stream"]),
        case("Parquet named CSV", "a.csv", sound, 0, &["1: looks like a Parquet file: set `[format] type`"]),
    ]
}

fn avro() -> Vec<Case> {
    let read = |name: &str| std::fs::read(crate::support::repository().join("tests/data/avro").join(name)).unwrap();
    let (orders, capture) = (read("orders.null.avro"), read("capture.avro"));
    let file = |name, bytes: Vec<u8>, clean, refused: &[&str]| case(name, "a.avro", bytes, clean, refused);
    let mut other_marker = orders.clone();
    let last = other_marker.len() - 1;
    other_marker[last] ^= 1;
    vec![
        file("Avro", orders.clone(), 40, &[]),
        file("Avro without blocks", read("empty.avro"), 0, &[]),
        file(
            "Avro truncated in its header",
            orders[..100].to_vec(),
            0,
            &["1: the Avro file is truncated in its header"],
        ),
        case("Avro named CSV", "a.csv", orders.clone(), 0, &["1: looks like an Avro file"]),
        file("Parquet named Avro", b"PAR1\x15\x04".to_vec(), 0, &["1: not an Avro file, it looks like a Parquet file"]),
        file("Avro without its payload", orders, 0, &["1: the Avro file has no field `Body`"])
            .with(|contract| contract.format.payload = Some("Body".to_owned())),
        file(
            "Capture",
            capture,
            26,
            &["5: not one JSON object", "6: not one JSON object", "7: not one JSON object", "8: column `id`: null"],
        )
        .with(|contract| {
            contract.format.payload = Some("Body".to_owned());
            contract.columns[0].from = Some("n".to_owned());
        }),
        file("Avro with a wrong last marker", other_marker, 30, &["31: the Avro block does not end with"]),
    ]
}
