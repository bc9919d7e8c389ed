//! Numbers for people, or as JSON lines.

use serde_json::json;

/// What one faulty record in a hundred may cost, over the same blob without.
pub(crate) const FAULTY_RATIO_MAX: f64 = 1.5;
const PEAK_MAX_MB: f64 = 600.0;
const START_MAX_MS: f64 = 50.0;

/// One process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    /// CPU time of the process, where it was asked for: what else runs on the machine hardly changes it.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) peak_bytes: Option<u64>,
}

/// The handler and what it is measured against, in pairs.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) name: String,
    /// Who is first and who is second in a pair.
    pub(crate) who: [&'static str; 2],
    pub(crate) blob_bytes: u64,
    pub(crate) records: u64,
    /// The largest ratio that the issue allows.
    pub(crate) ratio_max: Option<f64>,
    pub(crate) pairs: Vec<(Run, Run)>,
}

#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn start(&mut self, seconds: &[f64]) {
        let ms: Vec<f64> = seconds.iter().map(|seconds| seconds * 1000.0).collect();
        let (middle, slowest) = (median(&ms), ms.iter().copied().fold(0.0, f64::max));
        if self.json {
            println!("{}", json!({"bench": "start", "median_ms": middle, "slowest_ms": slowest, "starts": ms.len()}));
            return;
        }
        println!("start to first answered GET /, {} starts", ms.len());
        println!("  median  {middle:>7.1} ms   target < {START_MAX_MS} ms: {}", met(middle < START_MAX_MS));
        println!("  slowest {slowest:>7.1} ms\n");
    }

    pub(crate) fn comparison(&mut self, comparison: &Comparison) {
        let (ours, theirs): (Vec<Run>, Vec<Run>) = comparison.pairs.iter().copied().unzip();
        let seconds = |runs: &[Run]| median(&runs.iter().map(|run| run.seconds).collect::<Vec<_>>());
        // The worst of all runs: a limit on memory is one that no run may pass.
        let peak = |runs: &[Run]| runs.iter().filter_map(|run| run.peak_bytes).max().map(|bytes| bytes as f64 / 1e6);
        let (weir, polars) = (seconds(&ours), seconds(&theirs));
        let ratio = weir / polars;
        let cpu = |runs: &[Run]| median(&runs.iter().filter_map(|run| run.cpu_seconds).collect::<Vec<_>>());
        let cpu_ratio = Some(cpu(&ours) / cpu(&theirs)).filter(|ratio| ratio.is_finite());
        let (weir_mb, polars_mb) = (peak(&ours), peak(&theirs));
        let Comparison { name, who: [first, second], blob_bytes, records, .. } = comparison;
        if self.json {
            let times = |runs: &[Run]| runs.iter().map(|run| run.seconds).collect::<Vec<_>>();
            let line = json!({
                "bench": name, "blob_bytes": blob_bytes, "records": records, "ratio": ratio, "cpu_ratio": cpu_ratio,
                *first: {"median_s": weir, "seconds": times(&ours), "peak_mb": weir_mb},
                *second: {"median_s": polars, "seconds": times(&theirs), "peak_mb": polars_mb},
            });
            println!("{line}");
            return;
        }
        let megabytes = *blob_bytes as f64 / 1e6;
        println!("{name}: one blob of {megabytes:.0} MB, {records} records, {} pairs", ours.len());
        println!("  {:<14}{:>9}{:>9}{:>12}   each run, s", "", "median s", "MB/s", "peak MB");
        for (label, runs, middle, peak) in [(first, &ours, weir, weir_mb), (second, &theirs, polars, polars_mb)] {
            let peak = peak.map_or_else(|| "n/a".to_owned(), |peak| format!("{peak:.0}"));
            let each: Vec<String> = runs.iter().map(|run| format!("{:.2}", run.seconds)).collect();
            println!("  {label:<14}{middle:>9.2}{:>9.0}{peak:>12}   {}", megabytes / middle, each.join(" "));
        }
        if let Some(ratio) = cpu_ratio {
            println!("  CPU {:.2} s and {:.2} s, ratio {ratio:.3}", cpu(&ours), cpu(&theirs));
        }
        match comparison.ratio_max {
            Some(max) => println!("  ratio {ratio:.2}, target <= {max:.2}: {}", met(ratio <= max)),
            None => println!("  ratio {ratio:.2}"),
        }
        if let Some(peak) = weir_mb {
            println!("  peak {peak:.0} MB, target <= {PEAK_MAX_MB} MB: {}", met(peak <= PEAK_MAX_MB));
        }
        println!();
    }
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
