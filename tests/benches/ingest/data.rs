//! The blobs: TPC-H data, made once and kept in `<target>/bench-data`.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polars::prelude::*;
use tpchgen::csv::LineItemCsv;
use tpchgen::generators::{CustomerGenerator, LineItemGenerator};

use crate::Result;

/// Large enough that the generators never run dry: a blob ends at its size.
const SCALE_FACTOR: f64 = 10.0;

#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) faulty: u64,
}

/// One record in so many is faulty, in the blobs that have faulty ones.
const FAULTY_EVERY: u64 = 100;

/// Order lines with the header that the sales contract reads.
pub(crate) fn sales_csv(folder: &Path, megabytes: u64) -> Result<Blob> {
    let generator = LineItemGenerator::new(SCALE_FACTOR, 1, 1);
    let lines = generator.iter().map(|line| LineItemCsv::new(line).to_string());
    make(folder.join(format!("lineitem_{megabytes}mb.csv")), megabytes, Some(LineItemCsv::header()), lines)
}

/// A blob with faults of every kind in one record of a hundred: types, missing fields, garbage.
pub(crate) fn with_faults(clean: &Blob) -> Result<Blob> {
    let path = clean.path.with_file_name(format!("faulty_{}", clean.path.file_name().unwrap_or_default().display()));
    let csv = path.extension().is_some_and(|extension| extension == "csv");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let (mut bytes, mut records, mut faulty) = (0, 0, 0);
    for (index, line) in BufReader::with_capacity(1 << 20, File::open(&clean.path)?).lines().enumerate() {
        let mut line = line?;
        let is_record = !csv || index > 0;
        records += u64::from(is_record);
        if is_record && records % FAULTY_EVERY == 0 {
            faulty += 1;
            line = match (faulty % 3, csv) {
                (0, _) => line[..line.len() / 2].to_owned(),
                (1, true) => format!("x{line}"),
                (1, false) => line.replacen(':', ":{},\"customer_key\":", 1),
                (_, _) => "?".repeat(line.len()),
            };
        }
        writeln!(file, "{line}")?;
        bytes += line.len() as u64 + 1;
    }
    file.into_inner()?.sync_all()?;
    Ok(Blob { path, bytes, records, faulty })
}

/// Customers with the fields of the customers contract, a made-up e-mail address each.
pub(crate) fn customers_ndjson(folder: &Path, megabytes: u64) -> Result<Blob> {
    let generator = CustomerGenerator::new(SCALE_FACTOR, 1, 1);
    let lines = generator.iter().map(|customer| {
        serde_json::json!({
            "customer_key": customer.c_custkey,
            "name": customer.c_name.to_string(),
            "email": format!("customer{}@example.com", customer.c_custkey),
            "phone": customer.c_phone.to_string(),
            "address": customer.c_address.to_string(),
            "nation_key": customer.c_nationkey,
            "account_balance": customer.c_acctbal.0 as f64 / 100.0,
            "market_segment": customer.c_mktsegment,
            "comment": customer.c_comment,
        })
        .to_string()
    });
    make(folder.join(format!("customer_{megabytes}mb.ndjson")), megabytes, None, lines)
}

/// The same customers as Parquet, as another system's export: Snappy, the balance as a decimal, row groups of Polars' size.
pub(crate) fn customers_parquet(folder: &Path, ndjson_megabytes: u64) -> Result<Blob> {
    let source = customers_ndjson(folder, ndjson_megabytes)?;
    let path = source.path.with_extension("parquet");
    if !path.exists() {
        let half = path.with_extension("half");
        let name = |path: &Path| PlRefPath::new(&*path.to_string_lossy());
        let money = col("account_balance").cast(DataType::Decimal(12, 2));
        let rows = LazyJsonLineReader::new(name(&source.path)).finish()?.with_columns([money]);
        let options = ParquetWriteOptions { compression: ParquetCompression::Snappy, ..ParquetWriteOptions::default() };
        let target = SinkDestination::File { target: SinkTarget::Path(name(&half)) };
        let format = FileWriteFormat::Parquet(Arc::new(options));
        rows.sink(target, format, UnifiedSinkArgs::default())?.collect_with_engine(Engine::Streaming)?;
        std::fs::rename(half, &path)?;
    }
    Ok(Blob { bytes: std::fs::metadata(&path)?.len(), path, ..source })
}

fn make(path: PathBuf, megabytes: u64, header: Option<&str>, lines: impl Iterator<Item = String>) -> Result<Blob> {
    // The count is written last, so a file without it was left half made.
    let count = path.with_extension("records");
    if let Ok(records) = std::fs::read_to_string(&count) {
        let bytes = std::fs::metadata(&path)?.len();
        return Ok(Blob { path, bytes, records: records.trim().parse()?, faulty: 0 });
    }
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let (mut bytes, mut records) = (0, 0);
    let mut write = |line: &str| -> Result<u64> {
        file.write_all(line.as_bytes())?;
        file.write_all(b"\n")?;
        Ok(line.len() as u64 + 1)
    };
    if let Some(header) = header {
        bytes += write(header)?;
    }
    for line in lines {
        bytes += write(&line)?;
        records += 1;
        if bytes >= megabytes * 1_000_000 {
            break;
        }
    }
    file.into_inner()?.sync_all()?;
    std::fs::write(count, records.to_string())?;
    Ok(Blob { path, bytes, records, faulty: 0 })
}
