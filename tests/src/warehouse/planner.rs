//! The planner alone: one window of commits in, one plan out.

use serde_json::json;
use weir_warehouse::{
    Error, Limits, LogWindow, Plan, RawCommit, ReloadReason, Step, Watermark, plan, plan::reload, schema,
};

const BASE: &[(&str, &str, bool)] = &[("_source", "string", false), ("_source_position", "long", false)];

fn schema_of(fields: &[(&str, &str, bool)]) -> String {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, data_type, nullable)| {
            json!({"name": name, "type": data_type, "nullable": nullable, "metadata": {}})
        })
        .collect();
    json!({"type": "struct", "fields": fields}).to_string()
}

fn watermark() -> Watermark {
    Watermark { table_id: "t".to_owned(), version: 4, schema: schema_of(BASE) }
}

fn plan_of(bodies: &[String], limits: Limits) -> Result<Plan, Error> {
    let commits: Vec<_> =
        bodies.iter().zip(5..).map(|(body, version)| RawCommit { version, body: body.as_bytes() }).collect();
    let window =
        LogWindow { table_id: "t", schema: &watermark().schema, latest: 4 + bodies.len() as i64, commits: &commits };
    plan(Some(&watermark()), &window, limits)
}

fn add(path: &str) -> String {
    format!(
        r#"{{"add":{{"path":"{path}","partitionValues":{{}},"size":10,"dataChange":true,"stats":"{{\"numRecords\":3}}"}}}}"#
    )
}

fn unchanged(action: &str, path: &str) -> String {
    json!({action: {"path": path, "dataChange": false, "size": 10}}).to_string()
}

fn remove(path: &str) -> String {
    json!({"remove": {"path": path, "dataChange": true}}).to_string()
}

fn metadata(id: &str, fields: &[(&str, &str, bool)]) -> String {
    json!({"metaData": {"id": id, "schemaString": schema_of(fields)}}).to_string()
}

fn note(weir: serde_json::Value) -> String {
    json!({"commitInfo": {"operation": "REPLACE", "weir": weir}}).to_string()
}

fn replace(source: &str, positions: serde_json::Value) -> String {
    note(json!({"operation": "replace_source", "source": source, "positions": positions}))
}

fn upsert(covered: serde_json::Value) -> serde_json::Value {
    json!({"operation": "upsert", "keys": ["_source_position"], "covered": covered})
}

/// One commit a line, its actions separated by blanks of JSON lines.
fn commit(actions: &[String]) -> String {
    actions.join("\n")
}

/// A plan's steps in short, for tables.
fn short(plan: &Plan) -> Vec<String> {
    let Plan::Load { steps, .. } = plan else { panic!("not a load: {plan:?}") };
    let paths =
        |files: &[weir_warehouse::DataFile]| files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(" ");
    steps
        .iter()
        .map(|step| match step {
            Step::AddColumns(columns) => {
                format!("columns {}", columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(" "))
            }
            Step::Append { files } => format!("append {}", paths(files)),
            Step::ReplaceSource { source, positions, files } => {
                format!("replace {source} {positions:?} by {}", paths(files))
            }
            Step::Forget { paths } => format!("forget {}", paths.join(" ")),
            Step::Upsert { keys, files } => format!("upsert {} by {}", keys.join(" "), paths(files)),
            Step::Rewrite { removed, kept, files } => {
                format!("rewrite {} to {} and {}", paths(removed), paths(kept), paths(files))
            }
        })
        .collect()
}

#[test]
fn log_windows_that_load() {
    let cases: &[(&str, Vec<String>, &[&str])] = &[
        ("appends merge", vec![add("a"), commit(&[add("b"), add("c")])], &["append a b c"]),
        ("a path logged twice counts once", vec![add("a"), commit(&[add("a"), add("b")])], &["append a b"]),
        ("paths are decoded once", vec![add("s=a%2520b/%C3%BC")], &["append s=a%20b/ü"]),
        (
            "a compaction moves no rows",
            vec![add("a"), commit(&[unchanged("remove", "a"), unchanged("add", "b")])],
            &["append a", "forget a"],
        ),
        (
            "a removed path may come back",
            vec![add("a"), unchanged("remove", "a"), add("a")],
            &["append a", "forget a", "append a"],
        ),
        (
            "a replace deletes and inserts; survivors stay where they are",
            vec![commit(&[replace("s", json!(null)), remove("a"), unchanged("add", "b"), add("c")])],
            &["forget a", "replace s None by c"],
        ),
        (
            "a replace by position, of a source that had nothing",
            vec![commit(&[add("c"), replace("s", json!([2, 9]))])],
            &["replace s Some((2, 9)) by c"],
        ),
        (
            "a replace without new rows",
            vec![commit(&[remove("a"), replace("s", json!(null))])],
            &["forget a", "replace s None by "],
        ),
        (
            "an upsert that says that it took no other rows",
            vec![commit(&[note(upsert(json!(true))), remove("a"), unchanged("add", "b"), add("c")])],
            &["forget a", "upsert _source_position by c"],
        ),
        (
            "an upsert that took others, or does not say",
            vec![
                commit(&[note(upsert(json!(false))), remove("a"), unchanged("add", "b"), add("c")]),
                commit(&[note(upsert(json!(null))), remove("b"), add("d")]),
            ],
            &["forget a", "rewrite a to b and c", "forget b", "rewrite b to  and d"],
        ),
        (
            "a deletion is told by its files",
            vec![commit(&[note(json!({"operation": "delete_where"})), remove("a"), unchanged("add", "b")])],
            &["forget a", "rewrite a to b and "],
        ),
        ("a deletion that found nothing", vec![note(json!({"operation": "delete_where"}))], &[]),
        (
            "new nullable columns come first",
            vec![
                add("a"),
                metadata("t", &[("x", "decimal(10, 2)", true), BASE[0], BASE[1]]),
                metadata("t", &[("x", "decimal(10,2)", true), BASE[0], BASE[1], ("y", "date", true)]),
            ],
            &["columns x y", "append a"],
        ),
        ("properties alone change nothing", vec![metadata("t", BASE)], &[]),
        (
            "unknown, empty and foreign lines",
            vec![
                r#"{"protocol":{"minReaderVersion":1}}"#.to_owned(),
                "\n\n{\"sidecar\":[1]}\r\n{\"commitInfo\":[]}\n".to_owned(),
                r#"{"txn":{"appId":"x","version":1},"new":{"deep":[{}]}}"#.to_owned(),
                note(json!({"operation": "append", "rows": 3})),
            ],
            &[],
        ),
        (
            "statistics may be broken",
            vec![r#"{"add":{"path":"a","dataChange":true,"stats":"{"}}"#.to_owned()],
            &["append a"],
        ),
    ];
    for (name, bodies, expected) in cases {
        let plan = plan_of(bodies, Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(short(&plan), *expected, "{name}");
        let Plan::Load { from, to, .. } = &plan else { unreachable!() };
        assert_eq!((from, to.version), (&watermark(), 4 + bodies.len() as i64), "{name}");
    }
}

#[test]
fn log_windows_that_reload() {
    let unknown = |version| ReloadReason::UnknownRewrite { version };
    let column = |column: &str| ReloadReason::IncompatibleSchema { version: 5, column: column.to_owned() };
    let cases: Vec<(&str, Vec<String>, ReloadReason)> = vec![
        ("foreign delete", vec![add("a"), remove("a")], unknown(6)),
        ("foreign overwrite", vec![commit(&[remove("a"), add("b")])], unknown(5)),
        ("a remove that does not say", vec![r#"{"remove":{"path":"a"}}"#.to_owned()], unknown(5)),
        ("another operation of ours", vec![commit(&[note(json!({"operation": "erase"})), remove("a")])], unknown(5)),
        (
            "a note without source",
            vec![commit(&[note(json!({"operation": "replace_source"})), remove("a")])],
            unknown(5),
        ),
        ("a note with odd positions", vec![commit(&[replace("s", json!([1])), remove("a")])], unknown(5)),
        (
            "an upsert without keys",
            vec![commit(&[note(json!({"operation": "upsert", "keys": [], "covered": true})), remove("a")])],
            unknown(5),
        ),
        ("positions as text", vec![commit(&[replace("s", json!(["1", "2"])), remove("a")])], unknown(5)),
        ("recreated within the window", vec![metadata("u", BASE)], ReloadReason::TableRecreated),
        ("dropped column", vec![metadata("t", &BASE[..1])], column("_source_position")),
        (
            "retyped column",
            vec![metadata("t", &[BASE[0], ("_source_position", "integer", false)])],
            column("_source_position"),
        ),
        (
            "nullability",
            vec![metadata("t", &[BASE[0], ("_source_position", "long", true)])],
            column("_source_position"),
        ),
        (
            "new column that may not be null",
            vec![metadata("t", &[BASE[0], BASE[1], ("x", "long", false)])],
            column("x"),
        ),
        (
            "deletion vector",
            vec![r#"{"add":{"path":"a","dataChange":true,"deletionVector":{"storageType":"u"}}}"#.to_owned()],
            ReloadReason::DeletionVectors { version: 5 },
        ),
    ];
    for (name, bodies, expected) in cases {
        match plan_of(&bodies, Limits::default()).unwrap() {
            Plan::Reload { from, to, reason } => {
                assert_eq!(reason, expected, "{name}");
                assert_eq!((from, to.version), (Some(watermark()), 4 + bodies.len() as i64), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// The first commit of a table with these columns, planned.
fn plan_in(fields: &[(&str, &str, bool)], body: &str) -> Plan {
    let mark = Watermark { schema: schema_of(fields), ..watermark() };
    let commits = [RawCommit { version: 5, body: body.as_bytes() }];
    let window = LogWindow { table_id: "t", schema: &mark.schema, latest: 5, commits: &commits };
    plan(Some(&mark), &window, Limits::default()).unwrap()
}

/// No warehouse need tell not-a-number from null, and a note about a source means nothing where no row has one.
#[test]
fn rows_are_told_apart_only_by_what_every_warehouse_has() {
    let upsert = |key: &str| {
        let note = note(json!({"operation": "upsert", "keys": [key], "covered": true}));
        commit(&[note, remove("a"), unchanged("add", "b"), add("c")])
    };
    let with = |data_type| [BASE[0], BASE[1], ("x", data_type, true)];
    assert_eq!(short(&plan_in(&with("long"), &upsert("x")))[1], "upsert x by c");
    for (data_type, key) in [("double", "x"), ("float", "x"), ("long", "gone")] {
        assert_eq!(short(&plan_in(&with(data_type), &upsert(key)))[1], "rewrite a to b and c", "{data_type} {key}");
    }
    for body in [commit(&[replace("s", json!(null)), remove("a")]), upsert("gone")] {
        let Plan::Reload { reason, .. } = plan_in(&[BASE[0], ("x", "long", true)], &body) else { panic!("{body}") };
        assert_eq!(reason, ReloadReason::UnknownRewrite { version: 5 });
    }
}

#[test]
fn watermark_against_the_lake() {
    let body = add("a");
    let at = |version| RawCommit { version, body: body.as_bytes() };
    fn window<'a>(table_id: &'a str, latest: i64, commits: &'a [RawCommit<'a>]) -> LogWindow<'a> {
        LogWindow { table_id, schema: "{}", latest, commits }
    }
    let mark = watermark();
    let reason = |watermark: Option<&Watermark>, window: LogWindow<'_>, limits| match plan(watermark, &window, limits) {
        Ok(Plan::Reload { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let all = Limits::default();
    assert_eq!(plan(Some(&mark), &window("t", 4, &[]), all).unwrap(), Plan::Nothing { version: 4 });
    assert_eq!(reason(None, window("t", 4, &[]), all), ReloadReason::FirstLoad);
    assert_eq!(reason(Some(&mark), window("u", 9, &[]), all), ReloadReason::TableRecreated);
    assert_eq!(reason(Some(&mark), window("t", 3, &[]), all), ReloadReason::WentBack { loaded: 4, latest: 3 });
    let missing = |version| ReloadReason::MissingCommit { version };
    assert_eq!(reason(Some(&mark), window("t", 6, &[]), all), missing(5));
    assert_eq!(reason(Some(&mark), window("t", 6, &[at(6)]), all), missing(5));
    assert_eq!(reason(Some(&mark), window("t", 7, &[at(5), at(7)]), all), missing(6));
    let small = Limits { commit_bytes: 10, ..all };
    let too_large = ReloadReason::CommitTooLarge { version: 5, bytes: body.len() };
    assert_eq!(reason(Some(&mark), window("t", 5, &[at(5)]), small), too_large);
    // Commits that are loaded already are passed over; a window may stop before the latest version.
    let Plan::Load { to, .. } = plan(Some(&mark), &window("t", 9, &[at(3), at(4), at(5)]), all).unwrap() else {
        panic!()
    };
    assert_eq!(to.version, 5);
    let gone = ReloadReason::FileMissing { path: "a".to_owned() };
    assert_eq!(
        reload(Some(&mark), &window("t", 9, &[]), gone.clone()),
        Plan::Reload {
            from: Some(mark.clone()),
            to: Watermark { version: 9, schema: "{}".to_owned(), ..mark.clone() },
            reason: gone
        }
    );
}

#[test]
fn plans_end_at_a_commit_when_they_are_full() {
    let bodies: Vec<_> =
        (0..10).map(|commit_| commit(&[add(&format!("{commit_}a")), add(&format!("{commit_}b"))])).collect();
    let reaches = |limits| match plan_of(&bodies, limits).unwrap() {
        Plan::Load { to, .. } => to.version - 4,
        other => panic!("{other:?}"),
    };
    let all = Limits::default();
    assert_eq!(reaches(all), 10);
    assert_eq!(reaches(Limits { commits: 3, ..all }), 3);
    assert_eq!(reaches(Limits { files: 5, ..all }), 3);
    assert_eq!(reaches(Limits { data_bytes: 41, ..all }), 3);
    assert_eq!(reaches(Limits { commits: 0, files: 0, data_bytes: 0, ..all }), 1);
}

#[test]
fn broken_logs_are_errors_that_name_the_line_and_not_the_text() {
    let cases: &[(&[u8], usize)] = &[
        (b"{\"add\":{\"path\":\"secret\"", 1),
        (b"{}\n{\"add\":\"secret\"}", 2),
        (b"\n\n[\"secret\"]", 3),
        (b"{\"add\":{\"path\":\"secret%FF\",\"dataChange\":true}}", 1),
        (b"{\"remove\":{\"path\":\"\"}}", 1),
        (b"{\"metaData\":{\"id\":\"secret\"}}", 1),
        (b"\xFF\xFEsecret", 1),
    ];
    for (body, expected) in cases {
        let commits = [RawCommit { version: 5, body }];
        let window = LogWindow { table_id: "t", schema: "", latest: 5, commits: &commits };
        let error = plan(Some(&watermark()), &window, Limits::default()).unwrap_err();
        assert!(matches!(error, Error::Log { version: 5, line, .. } if line == *expected), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!error.is_retryable());
    }
}

#[test]
fn schemas_are_read_or_refused_by_column() {
    let wide: Vec<_> = (0..1_025).map(|number| format!("c{number}")).collect();
    let wide: Vec<_> = wide.iter().map(|name| (name.as_str(), "long", true)).collect();
    for refused in [
        schema_of(&[("tags", "array", true)]),
        schema_of(&[("tags", "decimal(39,2)", true)]),
        schema_of(&[("tags", "decimal(3,4)", true)]),
        schema_of(&[("tags", "timestamp_ntz", true)]),
        json!({"fields": [{"name": "tags", "type": {"type": "struct", "fields": []}, "nullable": true}]}).to_string(),
    ] {
        let error = schema::columns(&refused).unwrap_err();
        assert!(error.to_string().contains("`tags`"), "{error}");
    }
    for refused in ["", "{}", "[]", &schema_of(&[]), &schema_of(&wide)] {
        assert!(matches!(schema::columns(refused), Err(Error::Schema(_))));
    }
    assert_eq!(schema::columns(&schema_of(&wide[..1_024])).unwrap().len(), 1_024);
}
