//! Compaction and replacement, alone and in every race: rows are never doubled and never lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use object_store::{ObjectStore, ObjectStoreExt};
use weir_lake::{Append, Books, CompactOptions, Lake, LakeError, LakeOptions, Outcome, Producer, Replacement, Table};

use super::faulty::{Fault, Faulty, names};
use super::{
    LOG, Row, actions, append, books, counted, definition, frame, memory, model, now_ms, of_kind, open, producer, rows,
};

/// Three files of `hub/0` and two of `blob`.
async fn five_files(store: &Arc<dyn ObjectStore>) -> Vec<Row> {
    let table = open(store).await;
    for first in [1, 4, 7] {
        append(&table, &model("hub/0", first..=first + 2), (first > 1).then(|| first - 1)).await.unwrap();
    }
    append(&table, &model("blob", 1..=3), None).await.unwrap();
    append(&table, &model("blob", 4..=6), Some(3)).await.unwrap();
    [model("blob", 1..=6), model("hub/0", 1..=9)].concat()
}

async fn process(store: &Arc<dyn ObjectStore>) -> (Arc<Faulty>, Arc<Table>) {
    super::process(store, &definition()).await
}

async fn replacement(table: &Arc<Table>, request: &str, rows: &[Row]) -> Replacement {
    let books = counted(rows.len());
    let staged = table.stage(frame(rows)).await.unwrap();
    Replacement { source: "blob".to_owned(), positions: None, producer: producer(request, 1), rows: staged, books }
}

/// The corrected rows of the blob.
fn corrected() -> Vec<Row> {
    (1..=4).map(|position| ("blob".to_owned(), position, Some("corrected".to_owned()))).collect()
}

fn replaced(with: Vec<Row>) -> Vec<Row> {
    [with, model("hub/0", 1..=9)].concat()
}

#[tokio::test]
async fn compaction_keeps_the_rows_and_changes_no_data() {
    let store = memory();
    let expected = five_files(&store).await;
    let table = open(&store).await;
    let before = table.snapshot().await.unwrap();
    let report = table.compact(CompactOptions::default(), None).await.unwrap();
    assert_eq!((report.files_removed, report.files_added, report.commits, report.conflicts), (5, 1, 1, 0));
    assert_eq!(rows(&table).await, expected);
    let after = table.snapshot().await.unwrap();
    assert_eq!((before.files.len(), after.files.len()), (5, 1));
    assert_eq!(Books::of(&before.transactions), Books::of(&after.transactions));

    let actions = actions(&store, after.version).await;
    assert_eq!(of_kind(&actions, "commitInfo")[0]["operation"], "OPTIMIZE");
    let changes = |kind| of_kind(&actions, kind).iter().map(|action| action["dataChange"].clone()).collect::<Vec<_>>();
    assert_eq!((changes("add"), changes("remove")), (vec![false.into()], vec![false.into(); 5]));
    let removed: BTreeSet<_> =
        of_kind(&actions, "remove").iter().map(|remove| remove["path"].as_str().unwrap()).collect();
    assert_eq!(removed, before.files.iter().map(|file| file.log_path.as_str()).collect());
    // What was removed is still there for readers of older versions.
    for file in &before.files {
        store.head(&file.object).await.unwrap();
    }
    assert_eq!(table.compact(CompactOptions::default(), None).await.unwrap().commits, 0, "nothing is left to do");
}

#[tokio::test]
async fn compaction_stays_within_its_limits() {
    let store = memory();
    let expected = five_files(&store).await;
    let table = open(&store).await;
    let size = table.snapshot().await.unwrap().files[0].size;
    let options = CompactOptions { max_bytes_per_commit: 2 * size + size / 2, ..CompactOptions::default() };
    let report = table.compact(options, None).await.unwrap();
    assert_eq!((report.files_removed, report.files_added, report.commits), (4, 2, 2));
    assert_eq!(rows(&table).await, expected);
    let large = CompactOptions { target_bytes: 1, ..options };
    assert_eq!(table.compact(large, None).await.unwrap().commits, 0, "files of the target size are left alone");
}

/// Two processes plan the same compaction; the second to commit must not. Without the check of the removed files both
/// commit and every row is there twice: that is what delta-rs does.
#[tokio::test]
async fn of_two_racing_compactions_one_commits() {
    let store = memory();
    let expected = five_files(&store).await;
    let (faulty, ours) = process(&store).await;
    let theirs = open(&store).await;
    let gate = faulty.hold_next_write(LOG);
    let racing = tokio::spawn(async move { ours.compact(CompactOptions::default(), None).await });
    gate.reached().await;
    let won = theirs.compact(CompactOptions::default(), None).await.unwrap();
    let objects = names(&store, "lake/orders").await.len();
    gate.release();
    let lost = racing.await.unwrap().unwrap();
    assert_eq!((won.commits, lost.commits, lost.conflicts), (1, 0, 1));
    assert_eq!(rows(&theirs).await, expected);
    assert_eq!(names(&store, "lake/orders").await.len(), objects - 1, "the loser's file is discarded");
}

#[tokio::test]
async fn an_append_and_a_compaction_do_not_hinder_each_other() {
    let store = memory();
    let expected = five_files(&store).await;
    let (faulty, ours) = process(&store).await;
    let theirs = open(&store).await;
    let gate = faulty.hold_next_write(LOG);
    let racing = tokio::spawn(async move { ours.compact(CompactOptions::default(), None).await });
    gate.reached().await;
    append(&theirs, &model("hub/1", 1..=2), None).await.unwrap();
    gate.release();
    let report = racing.await.unwrap().unwrap();
    assert_eq!((report.commits, report.conflicts), (1, 0));
    assert_eq!(rows(&theirs).await, [expected, model("hub/1", 1..=2)].concat());
}

/// The compaction's commit landed, its answer did not: its file must stay.
#[tokio::test]
async fn a_compaction_whose_answer_is_lost_keeps_its_files() {
    for fault in [Fault::After, Fault::Late, Fault::Before] {
        let store = memory();
        let expected = five_files(&store).await;
        let (faulty, ours) = process(&store).await;
        faulty.next_write(LOG, fault);
        assert_eq!(ours.compact(CompactOptions::default(), None).await.unwrap().commits, 1);
        faulty.settle().await;
        assert_eq!(rows(&open(&store).await).await, expected);
    }
}

/// Nobody knows whether the commit will land: a file that it names must not be deleted.
#[tokio::test]
async fn a_rewrite_whose_outcome_stays_unknown_keeps_its_files() {
    for replace in [false, true] {
        let store = memory();
        let expected = five_files(&store).await;
        let faulty = Faulty::calm(&store);
        let options = LakeOptions { commit_timeout: Duration::ZERO, ..LakeOptions::new(now_ms) };
        let lake = Lake::new(Arc::clone(&faulty) as _, "lake".into(), options);
        let ours = lake.table(&definition()).await.unwrap();
        let new = replacement(&ours, "request", &corrected()).await;
        faulty.next_write(LOG, Fault::Late);
        let error = match replace {
            true => ours.replace_source(new).await.unwrap_err(),
            false => ours.compact(CompactOptions::default(), None).await.unwrap_err(),
        };
        assert!(matches!(error, LakeError::UnknownOutcome { version: 6, .. }), "{error}");
        faulty.settle().await;
        let cold = open(&store).await;
        assert_eq!(rows(&cold).await, if replace { replaced(corrected()) } else { expected });
        assert_eq!(cold.snapshot().await.unwrap().version, 6, "it landed");
    }
}

#[tokio::test]
async fn a_source_is_replaced_in_one_commit_and_once() {
    let store = memory();
    five_files(&store).await;
    let table = open(&store).await;
    // One file holds rows of both sources.
    table.compact(CompactOptions::default(), None).await.unwrap();
    let outcome = table.replace_source(replacement(&table, "request", &corrected()).await).await.unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 7 });
    assert_eq!(rows(&table).await, replaced(corrected()));
    let totals = Books { records_in: 19, committed: 19, replaced: 6, ..Books::default() };
    assert_eq!(books(&table).await, totals);

    let actions = actions(&store, 7).await;
    let info = of_kind(&actions, "commitInfo")[0];
    assert_eq!((&info["operation"], &info["weir"]["source"]), (&"REPLACE".into(), &"blob".into()));
    // The rows that stay did not change, the others did.
    let mut changes: Vec<_> = of_kind(&actions, "add").iter().map(|add| add["dataChange"].as_bool().unwrap()).collect();
    changes.sort_unstable();
    assert_eq!(changes, [false, true]);
    assert_eq!(of_kind(&actions, "remove")[0]["dataChange"], true);

    let again = open(&store).await;
    let outcome = again.replace_source(replacement(&again, "request", &model("blob", 1..=1)).await).await.unwrap();
    assert_eq!(outcome, Outcome::AlreadyCommitted { producer_version: 1 });
    assert_eq!(rows(&again).await, replaced(corrected()));
    // Nothing in its place, and a source that has no rows.
    again.replace_source(replacement(&again, "empty", &[]).await).await.unwrap();
    assert_eq!(rows(&again).await, model("hub/0", 1..=9));
    again.replace_source(replacement(&again, "new", &corrected()).await).await.unwrap();
    assert_eq!(rows(&again).await, replaced(corrected()));
}

#[tokio::test]
async fn a_producer_of_replacements_moves_on() {
    let store = memory();
    five_files(&store).await;
    let table = open(&store).await;
    for version in 1..=3 {
        let replacement = replacement(&table, "request", &corrected()).await;
        let replacement = Replacement { producer: producer("request", version), ..replacement };
        assert!(matches!(table.replace_source(replacement).await.unwrap(), Outcome::Committed { .. }), "{version}");
    }
    assert_eq!(rows(&table).await, replaced(corrected()));
}

#[tokio::test]
async fn a_replacement_and_a_compaction_race() {
    // Whoever is held finds its files gone: the replacement plans anew, the compaction leaves them alone.
    for held_replacement in [true, false] {
        let store = memory();
        five_files(&store).await;
        let (faulty, ours) = process(&store).await;
        let theirs = open(&store).await;
        let new = replacement(if held_replacement { &ours } else { &theirs }, "request", &corrected()).await;
        let gate = faulty.hold_next_write(LOG);
        if held_replacement {
            let racing = tokio::spawn(async move { ours.replace_source(new).await });
            gate.reached().await;
            assert_eq!(theirs.compact(CompactOptions::default(), None).await.unwrap().commits, 1);
            gate.release();
            assert_eq!(racing.await.unwrap().unwrap(), Outcome::Committed { version: 7 });
        } else {
            let racing = tokio::spawn(async move { ours.compact(CompactOptions::default(), None).await });
            gate.reached().await;
            assert_eq!(theirs.replace_source(new).await.unwrap(), Outcome::Committed { version: 6 });
            gate.release();
            assert_eq!(racing.await.unwrap().unwrap().conflicts, 1);
        }
        assert_eq!(rows(&theirs).await, replaced(corrected()), "held replacement: {held_replacement}");
        assert_eq!(books(&theirs).await.replaced, 6);
    }
}

/// Two requests for the same blob at the same time: one of the two stands, not both.
#[tokio::test]
async fn two_replacements_of_one_source_race() {
    let store = memory();
    five_files(&store).await;
    let (faulty, ours) = process(&store).await;
    let theirs = open(&store).await;
    let (one, other) =
        (replacement(&ours, "one", &corrected()).await, replacement(&theirs, "other", &corrected()).await);
    let gate = faulty.hold_next_write(LOG);
    let racing = tokio::spawn(async move { ours.replace_source(one).await });
    gate.reached().await;
    theirs.replace_source(other).await.unwrap();
    gate.release();
    racing.await.unwrap().unwrap();
    assert_eq!(rows(&theirs).await, replaced(corrected()));
    assert_eq!(books(&theirs).await.replaced, 10);
}

/// A source whose rows are replaced by the commits that name it, each made against the one before.
fn at(version: i64) -> Producer {
    producer("blob:path", version)
}

/// Both were made against the same state; whoever comes second is told, and writes nothing.
#[tokio::test]
async fn a_delivery_that_was_made_before_its_replacement_is_told() {
    let store = memory();
    five_files(&store).await;
    let (table, late) = (open(&store).await, open(&store).await);
    let new = Replacement { producer: at(1), ..replacement(&table, "", &corrected()).await };
    table.replace_source_after(new, None, vec![producer("request", 1)]).await.unwrap();
    let staged = late.stage(frame(&corrected())).await.unwrap();
    let append = Append { producer: at(2), rows: staged, books: counted(4) };
    assert_eq!(late.append(append, None).await.unwrap(), Outcome::Overlaps { producer_version: 1 });
    assert_eq!(rows(&late).await, replaced(corrected()));
    assert_eq!(late.committed("request"), Some(1));
}

/// The delivery commits between the plan of the replacement and its commit: the replacement is void, and says so.
#[tokio::test]
async fn a_replacement_that_is_overtaken_by_a_delivery_is_told() {
    let store = memory();
    five_files(&store).await;
    let (faulty, ours) = process(&store).await;
    let theirs = open(&store).await;
    let before = rows(&theirs).await;
    let new = Replacement { producer: at(2), ..replacement(&ours, "", &corrected()).await };
    let gate = faulty.hold_next_write(LOG);
    let racing = tokio::spawn(async move { ours.replace_source_after(new, None, Vec::new()).await });
    gate.reached().await;
    let staged = theirs.stage(frame(&model("late", 1..=4))).await.unwrap();
    theirs.append(Append { producer: at(1), rows: staged, books: counted(4) }, None).await.unwrap();
    gate.release();
    assert_eq!(racing.await.unwrap().unwrap(), Outcome::Overlaps { producer_version: 1 });
    assert_eq!(rows(&theirs).await, [before, model("late", 1..=4)].concat());
    assert_eq!(books(&theirs).await.replaced, 0);
}

/// Both wait for the same commit of one process: they must not share the next.
#[tokio::test]
async fn a_delivery_and_its_replacement_never_share_a_commit() {
    for delivery_first in [true, false] {
        let store = memory();
        five_files(&store).await;
        let (faulty, table) = process(&store).await;
        let before = rows(&table).await;
        let new = Replacement { producer: at(1), ..replacement(&table, "", &corrected()).await };
        let staged = table.stage(frame(&model("late", 1..=4))).await.unwrap();
        let gate = faulty.hold_next_write(LOG);
        let (first, second, third) = (Arc::clone(&table), Arc::clone(&table), Arc::clone(&table));
        let in_flight = tokio::spawn(async move { append(&first, &model("hub/1", 1..=1), None).await });
        gate.reached().await;
        let pause = |wait: bool| async move {
            if wait {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let replacing = tokio::spawn(async move {
            pause(delivery_first).await;
            second.replace_source_after(new, None, Vec::new()).await
        });
        let delivering = tokio::spawn(async move {
            pause(!delivery_first).await;
            third.append(Append { producer: at(1), rows: staged, books: counted(4) }, None).await
        });
        tokio::time::sleep(Duration::from_millis(400)).await;
        gate.release();
        in_flight.await.unwrap().unwrap();
        let (replacing, delivering) = (replacing.await.unwrap().unwrap(), delivering.await.unwrap().unwrap());
        let committed = [replacing, delivering].map(|outcome| matches!(outcome, Outcome::Committed { .. }));
        assert!(committed[0] != committed[1], "{replacing:?}, {delivering:?}");
        let own = if committed[0] { replaced(corrected()) } else { [before, model("late", 1..=4)].concat() };
        let mut expected = [own, model("hub/1", 1..=1)].concat();
        let mut found = rows(&open(&store).await).await;
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "delivery first: {delivery_first}");
    }
}

/// A replacement that loses every race says so and leaves the table as it is.
#[tokio::test]
async fn a_replacement_that_never_wins_is_a_conflict() {
    let store = memory();
    five_files(&store).await;
    let (faulty, ours) = process(&store).await;
    let theirs = open(&store).await;
    let gates: Vec<_> = (0..8).map(|_| faulty.hold_next_write(LOG)).collect();
    let new = replacement(&ours, "request", &corrected()).await;
    let racing = tokio::spawn(async move { ours.replace_source(new).await });
    for (round, gate) in gates.into_iter().enumerate() {
        gate.reached().await;
        let other = replacement(&theirs, &format!("other {round}"), &corrected()).await;
        theirs.replace_source(other).await.unwrap();
        gate.release();
    }
    let error = racing.await.unwrap().unwrap_err();
    assert!(matches!(error, LakeError::RewriteConflict { .. }), "{error}");
    assert_eq!(rows(&theirs).await, replaced(corrected()));
    assert_eq!(theirs.committed("request"), None);
}
