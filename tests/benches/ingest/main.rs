//! What Weir costs over Polars alone, and over a Python function with `sink_delta`: `cargo bench --workspace --bench
//! ingest`.
//!
//! A pair is the handler and one of the others on the same file, one after the other, the order alternating; a ratio is
//! that of the medians of one run, so that it holds on any machine. Linux tells the peak of resident memory, others do
//! not.
#![allow(clippy::print_stdout)] // the tables are the product

mod alone;
mod baseline;
mod data;
mod handler;
#[allow(dead_code)] // the tests use the rest, and may panic
#[path = "../../src/python.rs"]
mod python;
mod report;
#[allow(dead_code, clippy::unwrap_used, clippy::panic)] // as above
#[path = "../../src/support.rs"]
mod support;

use std::error::Error;
use std::path::{Path, PathBuf};

use handler::Handler;
use report::{Comparison, Report, Run};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
cargo bench --workspace --bench ingest -- [OPTIONS]
  --pairs N      pairs per comparison, at least 1 (default 3)
  --only NAME    csv, ndjson, parquet, python_csv, python_ndjson, python_parquet, faulty_csv, faulty_ndjson or start
                 (default: all)
  --csv-mb N     size of the CSV blob (default 700)
  --ndjson-mb N  size of the NDJSON blob (default 200), of which Parquet is made
  --weir PATH    this binary, instead of one that is built first
  --against PATH compares with another weir, of a release before, instead of with Polars and Python
  --json         JSON lines instead of tables";

struct Options {
    pairs: usize,
    only: Option<String>,
    csv_mb: u64,
    ndjson_mb: u64,
    weir: Option<PathBuf>,
    against: Option<PathBuf>,
    json: bool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [alone::FLAG, contract, input, output] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return alone::run(contract, Path::new(input), Path::new(output));
    }
    let Some(options) = parse(&arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let folder = target_folder()?.join("bench-data");
    std::fs::create_dir_all(&folder)?;
    let weir = match options.weir {
        Some(weir) => weir,
        None => handler::build(&target_folder()?)?,
    };
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);

    let mut report = Report::new(options.json);
    if wanted("start") {
        report.start(&handler::start_times(&weir, &folder, 20)?);
    }
    let blob = |format: &str| match format {
        "csv" => data::sales_csv(&folder, options.csv_mb),
        "ndjson" => data::customers_ndjson(&folder, options.ndjson_mb),
        _ => data::customers_parquet(&folder, options.ndjson_mb),
    };
    for (format, contract) in [("csv", "sales"), ("ndjson", "customers"), ("parquet", "customers")] {
        let others = match &options.against {
            Some(before) => vec![Other::Before(before)],
            None => vec![Other::Alone, Other::Python],
        };
        for other in others {
            let name = other.name(format);
            if wanted(&name) {
                let race = Race { weir: &weir, folder: &folder, contract, pairs: options.pairs };
                report.comparison(&race.compare(name, format, other, &blob(format)?)?);
            }
        }
    }
    if wanted("faulty_csv") {
        let blob = data::sales_csv(&folder, options.csv_mb)?;
        report.comparison(&compare_faulty("faulty_csv", "sales", &blob, &weir, &folder, options.pairs)?);
    }
    if wanted("faulty_ndjson") {
        let blob = data::customers_ndjson(&folder, options.ndjson_mb)?;
        report.comparison(&compare_faulty("faulty_ndjson", "customers", &blob, &weir, &folder, options.pairs)?);
    }
    Ok(())
}

/// `None` asks for help.
fn parse(arguments: &[String]) -> Result<Option<Options>> {
    let mut options =
        Options { pairs: 3, only: None, csv_mb: 700, ndjson_mb: 200, weir: None, against: None, json: false };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--pairs" => options.pairs = value()?.parse::<usize>()?.max(1),
            "--csv-mb" => options.csv_mb = value()?.parse()?,
            "--ndjson-mb" => options.ndjson_mb = value()?.parse()?,
            "--only" => options.only = Some(value()?.clone()),
            "--weir" => options.weir = Some(value()?.into()),
            "--against" => options.against = Some(value()?.into()),
            "--json" => options.json = true,
            "--bench" => {} // cargo's own
            "--help" | "-h" => return Ok(None),
            unknown => return Err(format!("unknown option {unknown}\n{USAGE}").into()),
        }
    }
    Ok(Some(options))
}

/// Who runs beside Weir.
#[derive(Debug, Clone, Copy)]
enum Other<'a> {
    Alone,
    Python,
    /// Another `weir`.
    Before(&'a Path),
}

impl Other<'_> {
    fn name(self, format: &str) -> String {
        match self {
            Self::Alone | Self::Before(_) => format.to_owned(),
            Self::Python => format!("python_{format}"),
        }
    }

    fn ratio_max(self, format: &str) -> f64 {
        match (self, format) {
            (Self::Alone, "parquet") => 1.0 / 0.8,
            (Self::Alone, _) => 1.0 / 0.9,
            (Self::Python, _) => 1.0 / 1.2,
            // Nothing gets slower by more than 3 %.
            (Self::Before(_), _) => 1.03,
        }
    }
}

struct Race<'a> {
    weir: &'a Path,
    folder: &'a Path,
    contract: &'a str,
    pairs: usize,
}

impl Race<'_> {
    fn compare(&self, name: String, format: &str, other: Other<'_>, blob: &data::Blob) -> Result<Comparison> {
        let Self { weir, folder, contract, pairs } = *self;
        // Both find the file in the page cache: the first must not pay for the second.
        std::io::copy(&mut std::fs::File::open(&blob.path)?, &mut std::io::sink())?;
        let ours = || through_weir(weir, folder, contract, blob);
        let theirs = || match other {
            Other::Alone => alone::measure(folder, contract, blob),
            Other::Python => baseline::measure(folder, blob),
            Other::Before(before) => through_weir(before, folder, contract, blob),
        };
        let beside = match other {
            Other::Alone => "polars alone",
            Other::Python => "python",
            Other::Before(_) => "before",
        };
        let who = ["weir", beside];
        let ratio_max = Some(other.ratio_max(format));
        let mut comparison =
            Comparison { name, who, blob_bytes: blob.bytes, records: blob.records, ratio_max, pairs: Vec::new() };
        for pair in 0..pairs {
            comparison.pairs.push(if pair % 2 == 0 {
                (ours()?, theirs()?)
            } else {
                let first = theirs()?;
                (ours()?, first)
            });
        }
        Ok(comparison)
    }
}

/// One faulty record in a hundred, beside none.
fn compare_faulty(
    name: &str,
    contract: &str,
    clean: &data::Blob,
    weir: &Path,
    folder: &Path,
    pairs: usize,
) -> Result<Comparison> {
    let faulty = data::with_faults(clean)?;
    let ratio_max = Some(report::FAULTY_RATIO_MAX);
    let who = ["faulty", "clean"];
    let name = name.to_owned();
    let mut comparison =
        Comparison { name, who, blob_bytes: faulty.bytes, records: faulty.records, ratio_max, pairs: Vec::new() };
    for blob in [&faulty, clean] {
        std::io::copy(&mut std::fs::File::open(&blob.path)?, &mut std::io::sink())?;
    }
    for pair in 0..pairs {
        let order = if pair % 2 == 0 { [&faulty, clean] } else { [clean, &faulty] };
        let [first, second] = order.map(|blob| through_weir(weir, folder, contract, blob));
        comparison.pairs.push(if pair % 2 == 0 { (first?, second?) } else { (second?, first?) });
    }
    Ok(comparison)
}

/// One blob through a fresh handler into a fresh lake, from the start of the process to its answer.
fn through_weir(weir: &Path, folder: &Path, contract: &str, blob: &data::Blob) -> Result<Run> {
    let site = tempfile::tempdir_in(folder)?;
    let place = site.path().join("landing/landing").join(contract);
    std::fs::create_dir_all(&place)?;
    let name = blob.path.file_name().unwrap_or_default();
    std::fs::hard_link(&blob.path, place.join(name))?;
    let path = format!("{contract}/{}", name.to_string_lossy());

    let mut handler = Handler::start(weir, site.path())?;
    let answer = handler.blob_created(&path)?;
    let run = Run { seconds: handler.elapsed(), cpu_seconds: handler.cpu_seconds(), peak_bytes: handler.peak_bytes() };
    let books = &answer["ReturnValue"]["books"];
    let counted = |key: &str| books[key].as_u64();
    if counted("committed") != Some(blob.records - blob.faulty) || counted("quarantined") != Some(blob.faulty) {
        return Err(format!("{} records were sent, and the books say {books}", blob.records).into());
    }
    Ok(run)
}

/// `<target>/release/deps/ingest-<hash>`
fn target_folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.ancestors().nth(3).ok_or("the benchmark is not in a target folder")?.to_owned())
}
