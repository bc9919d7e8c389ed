//! Alert rules, run: each fires on the days that it is for, and is silent on all others.
//!
//! The queries are the files that Terraform puts into the rules. Names and types of columns are those of Azure's tables
//! (`AppRequests`), as far as the rules read them; Log Analytics itself has not been asked.

use std::collections::BTreeSet;

use crate::python;
use crate::support::repository;

const FIRED: [&str; 10] = [
    "app_down dead",
    "app_never_started dead",
    "maintain_fails dead",
    "maintain_fails failing",
    "maintain_fails stuck",
    "one_partition_stuck failing",
    "one_partition_stuck stuck",
    "parked parked",
    "throttled failing",
    "undelivered undelivered",
];

#[test]
fn rules_fire_on_bad_days_and_on_no_others() {
    let rules = repository().join("infra/modules/observability/rules");
    let fired = python::run(include_str!("rules.py"), &[rules.to_str().unwrap()]);
    assert_eq!(fired.lines().collect::<BTreeSet<_>>(), BTreeSet::from(FIRED));
}
