//! The property that the planner promises: whatever happened in the lake and wherever the loads cut the log, the
//! warehouse table holds the rows of the version its watermark names.

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;
use weir_contract::{position_of, sequence_of};
use weir_warehouse::{Limits, Plan, Warehouse};

use super::lake::{Fault, Lake, Row, warehouse_rows};
use super::{connect, open, table};

#[derive(Debug, Clone)]
enum Event {
    Append(Vec<Vec<Row>>),
    AppendAgain,
    RepeatLast,
    Restore,
    Compact,
    Replace {
        source: String,
        positions: Option<(i64, i64)>,
        rows: Vec<Row>,
    },
    AddColumn,
    Noise,
    ForeignDelete,
    Recreate,
    /// The log's oldest commits are cleaned up.
    CleanUp,
    /// One tick of the timer: at most so many commits and files, and what befalls its reads.
    Load {
        commits: usize,
        files: usize,
        fault: Option<(usize, Fault)>,
    },
}

fn source() -> impl Strategy<Value = String> {
    prop_oneof![Just("blob:in/a.csv".to_owned()), Just("it's \"b\"; --".to_owned()), Just("ü\0".to_owned())]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let value = prop_oneof![Just(None), "\\PC{0,8}".prop_map(Some), Just(Some("'\"\0\u{1F600}\r\n,".to_owned()))];
    // Records that are events, and records of events that hold several.
    let position =
        prop_oneof![3 => 0..6_i64, 1 => (0..6_i64, 0..3_usize).prop_map(|(at, n)| position_of(at, n).unwrap())];
    prop::collection::vec((source(), position, value), 0..6)
}

fn event() -> impl Strategy<Value = Event> {
    let replaced = (source(), prop::option::of((0..6_i64, 0..6_i64)), rows()).prop_map(|(source, positions, rows)| {
        let positions = positions.map(|(a, b)| (a.min(b), a.max(b)));
        let inside =
            |position: i64| positions.is_none_or(|(first, last)| (first..=last).contains(&sequence_of(position)));
        let rows = rows.into_iter().filter(|row| inside(row.1)).map(|row| (source.clone(), row.1, row.2)).collect();
        Event::Replace { source, positions, rows }
    });
    let fault = prop_oneof![Just(Fault::Fails), Just(Fault::Gone), Just(Fault::Hangs)];
    let load = (1..5_usize, 1..5_usize, prop::option::weighted(0.3, (0..4_usize, fault)))
        .prop_map(|(commits, files, fault)| Event::Load { commits, files, fault });
    prop_oneof![
        8 => prop::collection::vec(rows(), 1..4).prop_map(Event::Append),
        2 => Just(Event::AppendAgain),
        3 => Just(Event::RepeatLast),
        1 => Just(Event::Restore),
        2 => Just(Event::Compact),
        4 => replaced,
        1 => Just(Event::AddColumn),
        1 => Just(Event::Noise),
        1 => Just(Event::ForeignDelete),
        1 => Just(Event::Recreate),
        1 => Just(Event::CleanUp),
        8 => load,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_history_in_any_chunking_is_the_full_read(events in prop::collection::vec(event(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(events));
    }
}

async fn play(events: Vec<Event>) {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    // Kept open, so that no load is the last to close the file: each of those would wait for the disk.
    let connection = connect(&folder);
    connection.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    let mut lake = Lake::new();
    for event in events {
        match event {
            Event::Append(files) => lake.append(files),
            Event::AppendAgain => lake.append_again(),
            Event::RepeatLast => lake.repeat_last(),
            Event::Restore => lake.restore(),
            Event::Compact => lake.compact(),
            Event::Replace { source, positions, rows } => lake.replace(&source, positions, rows),
            Event::AddColumn => lake.add_column(),
            Event::Noise => lake.noise(),
            Event::ForeignDelete => {
                if let Some(path) = lake.active().first() {
                    lake.delete_file(&path.clone());
                }
            }
            Event::Recreate => lake.recreate(),
            Event::CleanUp => {
                let keep = lake.latest() - 3;
                lake.commits.range_mut(..keep).for_each(|(_, body)| *body = None);
            }
            Event::Load { commits, files, fault } => {
                let limits = Limits { commits, files, ..Limits::default() };
                tick(&lake, warehouse.as_ref(), &connection, limits, fault).await;
            }
        }
    }
    for _ in 0..lake.latest() + 2 {
        tick(&lake, warehouse.as_ref(), &connection, Limits { commits: 3, ..Limits::default() }, None).await;
    }
    let plan = lake.plan(warehouse.as_ref(), &table(), Limits::default()).await.unwrap();
    assert_eq!(plan, Plan::Nothing { version: lake.latest() });
    let rows = lake.rows(lake.latest());
    assert_eq!(warehouse_rows(&connection, &table().table), rows);
    assert_eq!(warehouse.row_count(&table()).await.unwrap(), rows.len() as u64);
}

/// Loads once, or fails to; either way the table must hold exactly what the watermark says.
async fn tick(
    lake: &Lake,
    warehouse: &dyn Warehouse,
    connection: &Connection,
    limits: Limits,
    fault: Option<(usize, Fault)>,
) {
    let before = (warehouse.watermark(&table()).await.unwrap(), warehouse_rows(connection, &table().table));
    let plan = lake.plan(warehouse, &table(), limits).await.unwrap();
    *lake.fault.lock().unwrap() = fault;
    // A hanging read is given up, as an invocation's deadline does: the future of `apply` is dropped in the middle.
    let patience = std::time::Duration::from_millis(if matches!(fault, Some((_, Fault::Hangs))) { 20 } else { 60_000 });
    let outcome = tokio::time::timeout(patience, warehouse.apply(&table(), &plan, lake)).await;
    *lake.fault.lock().unwrap() = None;
    // A load whose future was dropped may still be rolling back, or even be in its commit: wait for it.
    connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
    let after = (warehouse.watermark(&table()).await.unwrap(), warehouse_rows(connection, &table().table));
    match outcome {
        Ok(Ok(report)) => assert_eq!(after.0.as_ref().map(|mark| mark.version), Some(report.version)),
        Ok(Err(error)) => {
            assert!(error.is_retryable(), "{error}");
            assert_eq!(after, before);
        }
        Err(_) => {}
    }
    if after.0 != before.0 {
        let version = after.0.map(|mark| mark.version).unwrap();
        assert_eq!(after.1, lake.rows(version), "after {plan:?}");
    } else {
        assert_eq!(after.1, before.1);
    }
}
