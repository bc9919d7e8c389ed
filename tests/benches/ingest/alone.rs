//! The yardstick: Polars alone reads the same file with the same types and writes one Parquet file with the same
//! compression, through its streaming engine, in a process of its own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use polars::prelude::*;
use weir_contract::{Contracts, DataType as Type};

use crate::report::Run;
use crate::{Result, data, handler};

/// Makes this very binary Polars alone: `--polars-alone CONTRACT INPUT OUTPUT`.
pub(crate) const FLAG: &str = "--polars-alone";

/// From the start of the process to its end.
pub(crate) fn measure(folder: &Path, contract: &str, blob: &data::Blob) -> Result<Run> {
    let out = tempfile::tempdir_in(folder)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(FLAG).arg(contract).arg(&blob.path).arg(out.path().join("alone.parquet"));
    let began = Instant::now();
    let output = command.output()?;
    let seconds = began.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(format!("Polars alone: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(Run { cpu_seconds: None, seconds, peak_bytes: String::from_utf8_lossy(&output.stdout).trim().parse().ok() })
}

/// Prints its peak of resident memory.
pub(crate) fn run(contract: &str, input: &Path, output: &Path) -> Result<()> {
    let file = format!("{contract}.toml");
    let text = std::fs::read_to_string(handler::datasets().join(&file))?;
    let contracts = Contracts::parse_all(vec![(file, text)]).map_err(|error| format!("{error}"))?;
    let contract = contracts.iter().next().ok_or("no contract")?;
    let is = |wanted: &str| input.extension().is_some_and(|extension| extension == wanted);
    let csv = is("csv");
    let stored = |data_type| match dtype(data_type) {
        // Polars reads no decimals from JSON; doubles are less work, so the yardstick does not get easier.
        DataType::Decimal(..) if !csv => DataType::Float64,
        dtype => dtype,
    };
    let fields = contract.columns.iter().map(|column| Field::new(column.field().into(), stored(column.data_type)));
    let schema = Arc::new(fields.collect::<Schema>());
    let path = |path: &Path| PlRefPath::new(&*path.to_string_lossy());
    let frame = if csv {
        LazyCsvReader::new(path(input)).with_has_header(true).with_dtype_overwrite(Some(schema)).finish()?
    } else if is("parquet") {
        LazyFrame::scan_parquet(path(input), ScanArgsParquet::default())?
    } else {
        LazyJsonLineReader::new(path(input)).with_schema(Some(schema)).finish()?
    };
    let parquet = ParquetWriteOptions { compression: ParquetCompression::Snappy, ..ParquetWriteOptions::default() };
    let target = SinkDestination::File { target: SinkTarget::Path(path(output)) };
    let format = FileWriteFormat::Parquet(Arc::new(parquet));
    frame.sink(target, format, UnifiedSinkArgs::default())?.collect_with_engine(Engine::Streaming)?;
    println!("{}", handler::peak_bytes_of("self").map(|bytes| bytes.to_string()).unwrap_or_default());
    Ok(())
}

/// As the contract's types are stored.
fn dtype(data_type: Type) -> DataType {
    match data_type {
        Type::Long => DataType::Int64,
        Type::Integer => DataType::Int32,
        Type::Short => DataType::Int16,
        Type::Byte => DataType::Int8,
        Type::Double => DataType::Float64,
        Type::Float => DataType::Float32,
        Type::Boolean => DataType::Boolean,
        Type::Date => DataType::Date,
        Type::Timestamp => DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)),
        Type::Decimal { precision, scale } => DataType::Decimal(precision.into(), scale.into()),
        Type::String | Type::Binary => DataType::String,
    }
}
