//! What a blob or a batch was like: how many records are faulty and why, and whether that is more than its contract
//! allows. Reports of parts are made anywhere, merged in any order of parts, and judged once.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_contract::{Contract, RuleAction};

/// Reasons that a report tells apart: the most frequent of what it has seen.
const MAX_REASONS: usize = 100;
/// Reasons that a held-back blob's one record in quarantine names.
const SHOWN_REASONS: usize = 5;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QualityReport {
    pub records: u64,
    /// Records for quarantine.
    pub faulty: u64,
    /// Records by reason; a record with two reasons counts for both. Reasons name columns, fields and rules, never values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, u64>,
    /// Records with a reason that is not told apart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_reasons: u64,
    /// Records for the table of which unknown fields were left out, because they may be personal.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The rules that were violated, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, RuleCount>,
}

/// The records that violate a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleCount {
    /// As a contract writes it.
    pub action: String,
    pub violations: u64,
}

/// Why nothing of a blob reaches the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// The texts of `_reasons`.
    pub report: Vec<String>,
}

/// Counts in the order in which people read them: the largest first, equal ones by name.
pub fn most_frequent(counts: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.iter().map(|(name, count)| (name.clone(), *count)).collect();
    counts.sort_by(|(left, more), (right, less)| (Reverse(more), left).cmp(&(Reverse(less), right)));
    counts
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl QualityReport {
    /// Adds the report of another part.
    pub fn merge(&mut self, other: Self) {
        self.records += other.records;
        self.faulty += other.faulty;
        self.other_reasons += other.other_reasons;
        self.left_out += other.left_out;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        for (rule, RuleCount { action, violations }) in other.rules {
            self.rules.entry(rule).or_insert(RuleCount { action, violations: 0 }).violations += violations;
        }
        self.bound();
    }

    pub(crate) fn count_reason(&mut self, reason: String, records: u64) {
        *self.reasons.entry(reason).or_default() += records;
    }

    pub(crate) fn count_rule(&mut self, rule: &str, action: RuleAction, violations: u64) {
        let action = action.name().to_owned();
        self.rules.insert(rule.to_owned(), RuleCount { action, violations });
    }

    /// Keeps the most frequent reasons.
    pub(crate) fn bound(&mut self) {
        if self.reasons.len() > MAX_REASONS {
            let rare = most_frequent(&self.reasons).split_off(MAX_REASONS);
            for (reason, count) in rare {
                self.reasons.remove(&reason);
                self.other_reasons += count;
            }
        }
    }

    /// Whether the whole is to be held back: a rule that fails it is violated, or more is faulty than the contract
    /// allows. For blobs; a batch of events is held back by [`crate::Transform::hold_back`].
    pub fn verdict(&self, contract: &Contract) -> Option<HeldBack> {
        let Self { records, faulty, .. } = self;
        let mut report = Vec::new();
        for rule in contract.rules.iter().filter(|rule| rule.action == RuleAction::Fail) {
            if let Some(RuleCount { violations, .. }) = self.rules.get(&rule.name) {
                report.push(format!(
                    "held back: {violations} of {records} records violate rule `{}`, whose action is `fail`",
                    rule.name
                ));
            }
        }
        let judged = contract.quality.max_faulty.filter(|_| *records >= contract.quality.min_records);
        if let Some(share) = judged.filter(|share| share.is_exceeded(*faulty, *records)) {
            report.push(format!("held back: {faulty} of {records} records are faulty, the contract allows {share}"));
        }
        if report.is_empty() {
            return None;
        }
        let frequent = most_frequent(&self.reasons).into_iter().take(SHOWN_REASONS);
        report.extend(frequent.map(|(reason, count)| match count {
            1 => format!("1 record: {reason}"),
            _ => format!("{count} records: {reason}"),
        }));
        Some(HeldBack { report })
    }
}
