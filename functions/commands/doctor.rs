//! `weir doctor`: looks at settings, contracts, containers, tables, hubs and the warehouse, and says in plain words what is wrong
//! and what mends it. It changes nothing.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use weir_contract::{Contract, Source, Treatment};
use weir_platform::Settings;

use super::check::{contract_files, sound};
use super::say;
use crate::app::{App, Runtime, datasets_folder};
use crate::pipeline::books;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Good,
    /// It works, and somebody should know.
    Note,
    Wrong,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Wrong => "WRONG",
        }
    }
}

/// The state of one thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    what: String,
    state: State,
    says: String,
    /// The command or step that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &str, state: State, says: impl Into<String>, mend: Option<&str>) {
        let mend = mend.map(str::to_owned);
        self.0.push(Finding { what: what.to_owned(), state, says: says.into(), mend });
    }

    fn good(&mut self, what: &str, says: impl Into<String>) {
        self.add(what, State::Good, says, None);
    }

    fn wrong(&mut self, what: &str, says: impl Into<String>, mend: &str) {
        self.add(what, State::Wrong, says, Some(mend));
    }

    fn note(&mut self, what: &str, says: impl Into<String>, mend: &str) {
        self.add(what, State::Note, says, Some(mend));
    }
}

/// Fails when something is wrong.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    let mut findings = Findings::default();
    if contracts(&settings, &mut findings) {
        match App::load_to_look(settings) {
            Ok(app) => look(&app, &mut findings).await,
            Err(error) => findings.wrong("contracts", error.to_string(), "weir check"),
        }
    }
    let healthy = findings.0.iter().all(|finding| finding.state != State::Wrong);
    if arguments.json {
        say(serde_json::json!({ "healthy": healthy, "findings": findings.0 }));
    } else {
        for Finding { what, state, says, mend } in &findings.0 {
            let mend = mend.as_ref().map(|mend| format!("\n{:8}→ {mend}", "")).unwrap_or_default();
            say(format_args!("{:<6}  {what}: {says}{mend}", state.word()));
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at the contracts; true when there are some and all of them are sound.
fn contracts(settings: &Settings, findings: &mut Findings) -> bool {
    const WHAT: &str = "contracts";
    let folder = datasets_folder(settings);
    let files = match contract_files(std::slice::from_ref(&folder)) {
        Ok(files) => files,
        Err(error) => {
            findings.wrong(WHAT, format!("{error:#}"), "weir new <file> writes one; WEIR_DATASETS names their folder");
            return false;
        }
    };
    let errors = sound(files).errors;
    match errors.first() {
        Some(first) => {
            findings.wrong(WHAT, format!("{} errors, the first: {}", errors.len(), first.text), "weir check")
        }
        None => findings.good(WHAT, format!("those of {} are sound", folder.display())),
    }
    errors.is_empty()
}

async fn look(app: &App, findings: &mut Findings) {
    keys(app, findings);
    let runtime = match app.runtime().await {
        Ok(runtime) => runtime,
        Err(error) => {
            findings.wrong(
                "stores",
                error.to_string(),
                "docs/settings.md says what WEIR_LAKE_URL and the others may be",
            );
            return;
        }
    };
    landing(app, runtime, findings).await;
    hubs(app, runtime, findings);
    tables(app, findings).await;
}

fn keys(app: &App, findings: &mut Findings) {
    let makes = |contract: &&Contract| contract.columns.iter().any(|own| own.personal == Some(Treatment::Pseudonym));
    if let Some(contract) = app.contracts.iter().find(makes) {
        match &app.settings.pseudonym_key {
            Some(_) => findings.good("pseudonym key", "it is set"),
            None => findings.wrong(
                "pseudonym key",
                format!("`{}` makes pseudonyms, and WEIR_PSEUDONYM_KEY is not set", contract.name),
                "weir key makes one; keep it in a Key Vault, and never change it",
            ),
        }
    }
    if !app.task_keys.are_set() {
        findings.note(
            "task key",
            "WEIR_TASK_KEY is not set: whoever may write to the queue `tasks` can have work done again",
            "openssl rand -base64 32 makes one",
        );
    }
}

async fn landing(app: &App, runtime: &Runtime, findings: &mut Findings) {
    let of_blobs = app.contracts.iter().filter_map(|contract| match &contract.source {
        Source::Blob { container, .. } => Some(container.as_str()),
        Source::Events { .. } | Source::Derived(_) => None,
    });
    for container in of_blobs.collect::<BTreeSet<_>>() {
        let what = format!("container {container}");
        let found = match runtime.landing().and_then(|landing| Ok(landing.container(container)?)) {
            Ok(store) => store.page("", None, 1).await.map(drop).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok(()) => findings.good(&what, "its blobs can be listed"),
            Err(error) => findings.wrong(
                &what,
                error,
                "make the container, correct WEIR_LANDING_URL, or give the app's identity `Storage Blob Data Reader` on it",
            ),
        }
    }
}

fn hubs(app: &App, runtime: &Runtime, findings: &mut Findings) {
    let hubs: Vec<&str> = app
        .contracts
        .iter()
        .filter_map(|contract| match &contract.source {
            Source::Events { hub, .. } => Some(hub.as_str()),
            Source::Blob { .. } | Source::Derived(_) => None,
        })
        .collect();
    if !hubs.is_empty() && runtime.hubs.is_none() {
        findings.note(
            "event hubs",
            format!("no connection to {}: events that the host passes over are reported, not healed", hubs.join(", ")),
            "set EventHub or EventHub__fullyQualifiedNamespace",
        );
    }
}

async fn tables(app: &App, findings: &mut Findings) {
    let status = match books::status(app, None).await {
        Ok(status) => status,
        Err(error) => {
            findings.wrong(
                "lake",
                error.to_string(),
                "correct WEIR_LAKE_URL, or the rights of the app's identity on it",
            );
            return;
        }
    };
    for books in &status.datasets {
        let what = format!("table {}", books.name);
        let (rows, refused) = (
            books.table.as_ref().map_or(0, |table| table.rows),
            books.quarantine.as_ref().map_or(0, |quarantine| quarantine.rows),
        );
        match &books.error {
            Some(error) => findings.wrong(&what, error, "weir plan"),
            None if !books.balanced => findings.wrong(&what, "its books do not balance", "weir status, weir verify"),
            None if refused > 0 => {
                let mend = format!("weir quarantine {}", books.name);
                findings.note(&what, format!("{rows} rows, and {refused} records are in quarantine"), &mend);
            }
            None => findings.good(&what, format!("{rows} rows")),
        }
        if let Some(error) = &books.warehouse_error {
            findings.wrong(&format!("warehouse, {}", books.name), error, "weir warehouse status");
        }
    }
    if let Some(error) = &status.parked_error {
        findings.wrong("parked messages", error, "weir parked");
    } else if status.parked_count > 0 {
        findings.note("parked messages", format!("{} failed for good", status.parked_count), "weir parked");
    }
}
