//! A log entry, from the proposals that share it. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use weir_contract::TableColumn;

use super::{BOOKS, Books, ENGINE, FENCE, Member, Proposal};
use crate::error::LakeError;
use crate::log::Location;
use crate::log::actions::{CommitInfo, Line, Transaction, encode};
use crate::log::state::State;
use crate::schema::changed;

/// A log entry that is ready to be written.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) version: i64,
    /// `commitInfo.txnId`: tells our entry from another's.
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

#[derive(Serialize)]
struct WeirInfo<'a> {
    /// `metaData.id`: whoever reads the entry knows whether it is of the table that it has in mind.
    table: &'a str,
    books: Books,
    producers: Vec<&'a str>,
    #[serde(flatten)]
    details: BTreeMap<&'static str, serde_json::Value>,
}

impl Entry {
    /// The entry after `state`.
    pub(crate) fn build(
        at: &Location,
        state: &State,
        group: &[&Proposal],
        id: String,
        now_ms: i64,
    ) -> Result<Self, LakeError> {
        let corrupt = |error: serde_json::Error| at.corrupt(&at.root, error);
        let members = || group.iter().flat_map(|proposal| &proposal.members);
        let mut books = Books::default();
        members().for_each(|member| books += member.books);
        let mut lines = vec![info(state, group, books, &id, now_ms).map_err(corrupt)?];
        let columns: Vec<TableColumn> = group.iter().flat_map(|proposal| proposal.columns.clone()).collect();
        let missing = state.layout.missing(&columns)?;
        let changes = group.iter().map(|proposal| &proposal.metadata);
        if let Some(metadata) = changed(at, &state.metadata, &missing, changes)? {
            lines.push(Line { meta_data: Some(metadata), ..Line::default() });
        }
        for member in members() {
            transactions(state, member, now_ms, &mut lines);
        }
        let fence = group.iter().filter_map(|proposal| proposal.fence).max();
        if let Some(fence) = fence.filter(|fence| state.transactions.get(FENCE).is_none_or(|at| at.version < *fence)) {
            lines.push(txn(FENCE.to_owned(), fence, None));
        }
        for proposal in group {
            let removes = proposal.remove.iter().cloned();
            lines.extend(removes.map(|remove| Line { remove: Some(remove), ..Line::default() }));
            let adds = proposal.add.iter().map(|(file, data_change)| file.add_action(now_ms, *data_change));
            lines.extend(adds.map(|add| Line { add: Some(add), ..Line::default() }));
        }
        let totals = Books::totals(|id| Some(state.transactions.get(id)?.version));
        for ((key, total), (_, more)) in totals.counters().into_iter().zip(books.counters()) {
            if more > 0 {
                let total = i64::try_from(total + more).unwrap_or(i64::MAX);
                lines.push(txn(format!("{BOOKS}{key}"), total, None));
            }
        }
        let body = encode(&lines).map_err(corrupt)?;
        Ok(Self { version: state.version + 1, id, body })
    }
}

fn info(state: &State, group: &[&Proposal], books: Books, id: &str, now_ms: i64) -> serde_json::Result<Line> {
    let mut details = BTreeMap::new();
    group.iter().for_each(|proposal| details.extend(proposal.details.clone()));
    let operation = group.first().map_or("WRITE", |proposal| proposal.operation);
    // A rewrite's own name for it stands, once: strict readers refuse a key that is there twice.
    details.entry("operation").or_insert_with(|| operation.into());
    let producers =
        group.iter().flat_map(|proposal| &proposal.members).map(|member| member.producer.id.as_str()).collect();
    let table = state.metadata.id.as_str();
    let weir = RawValue::from_string(serde_json::to_string(&WeirInfo { table, books, producers, details })?)?;
    let info = CommitInfo {
        timestamp: now_ms,
        operation: operation.to_owned(),
        txn_id: Some(id.to_owned()),
        engine_info: Some(ENGINE.to_owned()),
        is_blind_append: Some(group.iter().all(|proposal| proposal.is_blind_append())),
        weir: Some(weir),
        ..CommitInfo::default()
    };
    Ok(Line { commit_info: Some(info), ..Line::default() })
}

fn transactions(state: &State, member: &Member, now_ms: i64, lines: &mut Vec<Line>) {
    let Member { producer, raises, .. } = member;
    lines.push(txn(producer.id.clone(), producer.version, producer.expires.then_some(now_ms)));
    let behind =
        |also: &&super::Producer| state.transactions.get(&also.id).is_none_or(|known| known.version < also.version);
    for also in raises.iter().filter(behind) {
        lines.push(txn(also.id.clone(), also.version, also.expires.then_some(now_ms)));
    }
}

fn txn(app_id: String, version: i64, last_updated: Option<i64>) -> Line {
    Line { txn: Some(Transaction { app_id, version, last_updated }), ..Line::default() }
}
