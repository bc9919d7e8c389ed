//! `weir new`: looks at files and writes the contract that a person would have written, then tries it on them.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use weir_contract::{Contract, Contracts, FormatKind, format_by_extension};
use weir_infer::{Draft, Sample, Source, dataset_name, of_columns, of_text};
use weir_intake::Magic;
use weir_platform::Settings;
use weir_transform::{avro_columns, parquet_columns};

use super::say;
use super::try_::{bytes, dataset, describe};
use crate::app::{datasets_folder, read_contract_files};
use crate::pipeline::trial::{Trial, Tried, blob, file_name};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  weir new orders.csv                        # datasets/orders.toml, for files in landing/orders/
  weir new export.json --name customers
  weir new exports/                          # one dataset of all files of a folder that have one form
  weir new events.ndjson --hub clicks        # of a file of event bodies, one a line")]
pub(crate) struct Arguments {
    /// A file such as those that will come, or a folder of them
    path: PathBuf,
    /// Name of the dataset [default: the file's or the hub's name]
    #[arg(long)]
    name: Option<String>,
    /// The container that files will land in
    #[arg(long, default_value = "landing", conflicts_with = "hub")]
    container: String,
    /// The event hub whose events have bodies like the file's lines
    #[arg(long)]
    hub: Option<String>,
    /// Folder to write the contract to [default: WEIR_DATASETS, else `datasets`]
    #[arg(long)]
    datasets: Option<PathBuf>,
    /// Write over a contract that is there
    #[arg(long)]
    force: bool,
    /// Print the contract and write nothing
    #[arg(long)]
    print: bool,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// A file of this size is looked at from its beginning to its end.
const WHOLE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes that are looked at of a larger one, in each of three places; of a packed one at its beginning.
const PIECE_BYTES: usize = 8 * 1024 * 1024;
/// Time for one try of the contract on the files.
const TRY_FOR: Duration = Duration::from_millis(1_000);
/// Tries, each after columns were made text.
const TRIES: usize = 4;
/// Files of a folder that are looked at; files and folders that are listed, and how deep.
const MAX_FILES: usize = 20;
const MAX_LISTED: usize = 100_000;
const MAX_DEPTH: usize = 32;

pub(crate) async fn run(arguments: Arguments, settings: &Settings) -> Result<ExitCode> {
    let files = files(&arguments.path)?;
    let name = name(&arguments);
    let sound = dataset_name(&name);
    anyhow::ensure!(sound == name, "`{name}` is no name of a dataset; `{sound}` would be one");
    let source = source(&arguments, &name, &files);
    let mut drafted = drafted(&files, &arguments.hub).await?;
    let head = |drafted: &Drafted| {
        vec![format!("Made by `weir new` from {}: {}.", shown(&arguments.path), drafted.looked_at())]
    };
    let mut tried = None;
    for _ in 0..TRIES {
        let text = drafted.draft.toml(&name, &source, &head(&drafted));
        let contract =
            Contract::parse(&text, &format!("{name}.toml")).context("no sound contract can be made of it")?;
        let found = try_on(&contract, &files).await?;
        let changed = widen(&mut drafted.draft, &found);
        tried = Some((text, contract, found));
        if !changed {
            break;
        }
    }
    let Some((text, contract, tried)) = tried else { return Ok(ExitCode::FAILURE) };
    if arguments.print {
        say(text.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let folder = arguments.datasets.clone().unwrap_or_else(|| datasets_folder(settings));
    let folder = folder.strip_prefix(".").unwrap_or(&folder).to_owned();
    let file = folder.join(format!("{name}.toml"));
    free(&folder, &file, &text, arguments.force)?;
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    std::fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
    if arguments.json {
        let value = json!({ "contract": file, "dataset": name, "columns": contract.columns.len(), "notes": drafted.draft.notes, "tried": tried });
        say(value);
    } else {
        report(&file, &contract, &drafted, &tried, &arguments).into_iter().for_each(say);
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(path: &Path) -> String {
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    // It becomes a comment of TOML.
    name.chars().filter(|character| !character.is_control()).collect()
}

/// The file, or the files of a folder, in order. Those that are no data are left alone.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut found, mut folders, mut listed) = (Vec::new(), vec![(path.to_owned(), 0)], 0);
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let entry = entry.with_context(|| format!("read {}", folder.display()))?;
            listed += 1;
            anyhow::ensure!(listed <= MAX_LISTED, "{} has more than {MAX_LISTED} files; name one", path.display());
            if entry.file_name().to_string_lossy().starts_with(['_', '.', '~']) {
                continue;
            }
            // A link to a folder may lead back up.
            let kind = entry.file_type().with_context(|| format!("read {}", entry.path().display()))?;
            if kind.is_dir() && depth < MAX_DEPTH {
                folders.push((entry.path(), depth + 1));
            } else if entry.path().is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    anyhow::ensure!(!found.is_empty(), "there is no file in {}", path.display());
    let first = suffix(&found[0]);
    if let Some(other) = found.iter().find(|path| suffix(path) != first) {
        anyhow::bail!(
            "{} and {} are of two kinds, so they are two datasets; name the files of one (`weir new '{}'`)",
            found[0].display(),
            other.display(),
            found[0].display()
        );
    }
    // The first, the last and some between them.
    let step = found.len().div_ceil(MAX_FILES).max(1);
    Ok(found.into_iter().step_by(step).collect())
}

/// `.csv.gz`, as a glob ends with it; empty without an extension.
fn suffix(path: &Path) -> String {
    let name = file_name(path);
    let packed =
        [".gz", ".zst"].into_iter().find(|packed| name.to_ascii_lowercase().ends_with(packed)).unwrap_or_default();
    let stem = &name[..name.len() - packed.len()];
    let own = stem.rfind('.').filter(|at| *at > 0).map_or("", |at| &stem[at..]);
    format!("{own}{}", &name[name.len() - packed.len()..])
}

fn name(arguments: &Arguments) -> String {
    if let Some(name) = &arguments.name {
        return name.clone();
    }
    if let Some(hub) = &arguments.hub {
        return dataset_name(hub);
    }
    let path = arguments.path.canonicalize().unwrap_or_else(|_| arguments.path.clone());
    let file = file_name(&path);
    let stem = if path.is_dir() { file.clone() } else { file.strip_suffix(&suffix(&path)).unwrap_or(&file).to_owned() };
    dataset_name(&stem)
}

fn source(arguments: &Arguments, name: &str, files: &[PathBuf]) -> Source {
    if let Some(hub) = &arguments.hub {
        return Source::Hub { hub: hub.clone() };
    }
    let suffix = files.first().map(|file| suffix(file)).unwrap_or_default();
    let is_nested = arguments.path.is_dir() && files.iter().any(|file| file.parent() != Some(&arguments.path));
    let paths = vec![format!("{name}/{}*{}", if is_nested { "**/" } else { "" }, literal(&suffix))];
    Source::Blob { container: arguments.container.clone(), paths }
}

/// A glob has no way to write a `*` that is one.
fn literal(suffix: &str) -> String {
    suffix.replace(['*', '?', '/'], "?")
}

struct Drafted {
    draft: Draft,
    size: u64,
    whole: bool,
    files: usize,
}

impl Drafted {
    fn looked_at(&self) -> String {
        let of = if self.files > 1 { format!(" of {} files", self.files) } else { String::new() };
        match (self.draft.records, self.whole) {
            (None, _) => format!("the types are those that the file says itself{of}"),
            (Some(records), true) => format!("all {records} records{of} were looked at"),
            (Some(records), false) => format!("{records} records{of} were looked at, of {}", bytes(self.size)),
        }
    }
}

async fn drafted(files: &[PathBuf], hub: &Option<String>) -> Result<Drafted> {
    let first = files.first().context("there is no file")?;
    let by_name = format_by_extension(&first.to_string_lossy());
    let failed = |file: &Path| format!("read {}", file.display());
    let mut size = 0;
    for file in files {
        size += std::fs::metadata(file).with_context(|| failed(file))?.len();
    }
    let mut head = [0; 16];
    let read = std::fs::File::open(first).and_then(|mut file| file.read(&mut head)).with_context(|| failed(first))?;
    let (mut draft, whole) = match Magic::of(&head[..read]) {
        Magic::Parquet => (of_parquet(first)?, true),
        Magic::Avro => (of_avro(first).await?, true),
        Magic::Zip => anyhow::bail!(
            "{} is a zip archive (or an Excel file), which Weir does not read; unpack it, or save it as CSV",
            first.display()
        ),
        other @ (Magic::Bzip2 | Magic::Xz | Magic::Pdf | Magic::Utf32) => {
            anyhow::bail!("{} is {}, which Weir does not read", first.display(), other.name())
        }
        Magic::Gzip | Magic::Zstd | Magic::Other => {
            let sample = sample(files, size)?;
            let whole = sample.whole || files.len() > 1 && size <= WHOLE_BYTES;
            let draft = of_text(&sample).map_err(|problem| anyhow::anyhow!("{}: {problem}", first.display()))?;
            (draft, whole)
        }
    };
    match hub {
        Some(_) if draft.kind == FormatKind::Csv => anyhow::bail!(
            "{} is no file of JSON, so its lines are no bodies of events that Weir reads",
            first.display()
        ),
        // Bodies tell themselves what they are.
        Some(_) => draft.tell_kind(Some(draft.kind)),
        None => draft.tell_kind(by_name),
    }
    Ok(Drafted { draft, size, whole, files: files.len() })
}

fn of_parquet(path: &Path) -> Result<Draft> {
    let file = std::fs::File::open(path).with_context(|| format!("read {}", path.display()))?;
    let (columns, rows) = parquet_columns(&file).map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))?;
    anyhow::ensure!(!columns.is_empty(), "{}: a Parquet file without columns that can be read", path.display());
    let mut draft = of_columns(FormatKind::Parquet, columns);
    draft.notes.push(format!("the file says that it has {rows} rows"));
    Ok(draft)
}

async fn of_avro(path: &Path) -> Result<Draft> {
    let header = blob(path).await?.avro_header().await?;
    let header = header.map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))?;
    let columns = avro_columns(&header.schema).map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))?;
    anyhow::ensure!(!columns.is_empty(), "{}: an Avro file without fields", path.display());
    Ok(of_columns(FormatKind::Avro, columns))
}

/// The beginning, the middle and the end of the files, unpacked.
fn sample(files: &[PathBuf], size: u64) -> Result<Sample> {
    let mut sample = Sample::default();
    let each = if size <= WHOLE_BYTES { WHOLE_BYTES as usize } else { PIECE_BYTES / files.len().min(4) };
    for path in files {
        let failed = || format!("read {}", path.display());
        let mut file = std::fs::File::open(path).with_context(failed)?;
        let length = file.metadata().with_context(failed)?.len();
        let mut head = [0; 4];
        let read = file.read(&mut head).with_context(failed)?;
        file.seek(SeekFrom::Start(0)).with_context(failed)?;
        let mut piece = Vec::new();
        match Magic::of(&head[..read]) {
            Magic::Gzip => {
                let _ = flate2::read::MultiGzDecoder::new(file).take(each as u64).read_to_end(&mut piece);
            }
            Magic::Zstd => {
                let decoder = zstd::stream::read::Decoder::new(file).with_context(failed)?;
                let _ = decoder.take(each as u64).read_to_end(&mut piece);
            }
            _ => {
                file.by_ref().take(each as u64).read_to_end(&mut piece).with_context(failed)?;
                let (middle, end) = (length / 2, length.saturating_sub(each as u64));
                for at in [middle, end].into_iter().filter(|at| size > WHOLE_BYTES && *at >= each as u64) {
                    sample.pieces.push(std::mem::take(&mut piece));
                    file.seek(SeekFrom::Start(at)).with_context(failed)?;
                    file.by_ref().take(each as u64).read_to_end(&mut piece).with_context(failed)?;
                }
            }
        }
        sample.whole = files.len() == 1 && sample.pieces.is_empty() && piece.len() < each;
        sample.pieces.push(piece);
    }
    Ok(sample)
}

/// Reads the files under the contract, as far as the time goes.
async fn try_on(contract: &Contract, files: &[PathBuf]) -> Result<Tried> {
    let dataset = dataset(contract)?;
    let (mut tried, began, mut complete) = (Tried::new(&dataset), Instant::now(), true);
    for file in files {
        let mut trial = Trial::open(&dataset, file).await.with_context(|| file.display().to_string())?;
        loop {
            if began.elapsed() > TRY_FOR {
                complete = false;
                break;
            }
            let Some(output) = trial.next().await? else { break };
            tried.add(output);
        }
    }
    Ok(tried.finish(&dataset, complete))
}

/// Makes columns text that have refused a record. Whether there was any.
fn widen(draft: &mut Draft, tried: &Tried) -> bool {
    let refused = |reason: &str| {
        let quoted = reason.split('`').nth(1)?;
        (reason.starts_with("column `") || reason.starts_with("field `")).then(|| quoted.to_owned())
    };
    let names: Vec<String> = tried.reasons.iter().filter_map(|reason| refused(&reason.reason)).collect();
    let mut changed = false;
    for name in names {
        if draft.make_text(&name) {
            draft.notes.push(format!("`{name}` has values of several kinds, so it is text"));
            changed = true;
        }
    }
    changed
}

/// A contract that is there is not written over, and another one's files are not taken.
fn free(folder: &Path, file: &Path, text: &str, force: bool) -> Result<()> {
    anyhow::ensure!(force || !file.exists(), "{} is there already; choose another --name, or --force", file.display());
    if !folder.is_dir() {
        return Ok(());
    }
    let name = file_name(file);
    let mut others = read_contract_files(folder)?;
    others.retain(|(other, _)| *other != name);
    let before = Contracts::parse_all(others.clone()).is_ok();
    others.push((name, text.to_owned()));
    match Contracts::parse_all(others) {
        Err(errors) if before => Err(anyhow::Error::new(errors).context("the contract cannot stand beside the others")),
        _ => Ok(()),
    }
}

fn report(file: &Path, contract: &Contract, drafted: &Drafted, tried: &Tried, arguments: &Arguments) -> Vec<String> {
    let mut lines = vec![format!("{}: {} columns; {}", file.display(), contract.columns.len(), drafted.looked_at())];
    for column in &contract.columns {
        let format = column.format.as_ref().map(|format| format!("  {format}")).unwrap_or_default();
        let from = column.from.as_ref().map(|from| format!("  from {from:?}")).unwrap_or_default();
        lines.push(format!("  {:<28} {}{format}{from}", column.name, column.data_type));
    }
    lines.extend(drafted.draft.notes.iter().map(|note| format!("note: {note}")));
    let all = if tried.complete { "dry run" } else { "dry run of a part" };
    let described = describe(Path::new(all), tried);
    lines.extend(described);
    lines.push(match &contract.source {
        weir_contract::Source::Events { hub, .. } => {
            format!("next: `weir dev`, then `weir send {hub} {}`", arguments.path.display())
        }
        _ => format!("next: `weir dev`, then drop files into .weir/landing/{}/{}/", arguments.container, contract.name),
    });
    lines
}
