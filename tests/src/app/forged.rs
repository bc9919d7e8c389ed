//! Messages of the queue `tasks` that the app did not make: whatever they ask for, nothing is put where its contract does
//! not put it, and nothing is lost.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::handler::{Answer, Batch, Handler, books, queue_envelope};
use super::large;
use super::site::Site;
use crate::python;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

async fn run(handler: &Handler, task: &Value) -> Answer {
    handler.queue("run_task", task.to_string().as_bytes()).await
}

/// Fails, says why, and is parked with that reason.
async fn refused(handler: &Handler, task: &Value, reason: &str) {
    let answer = run(handler, task).await;
    assert_eq!(answer.status, 500, "{task}: {}", answer.text);
    assert!(answer.text.contains(reason), "{task}: {}", answer.text);
    let answer = handler.queue("park_tasks", task.to_string().as_bytes()).await;
    assert!(answer.status == 200 && answer.text.contains(reason), "{task}: {}", answer.text);
}

fn blob(dataset: &str, container: &str, path: &str) -> Value {
    json!({ "task": "ingest_blob", "dataset": dataset, "container": container, "path": path })
}

/// The same message with something changed.
fn with(task: &Value, key: &str, value: Value) -> Value {
    let mut task = task.clone();
    *task.pointer_mut(key).unwrap() = value;
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_puts_a_blob_where_its_contract_does_not() {
    let site = Site::new();
    let derived = "name = \"totals\"\n[derived]\nfollows = \"orders\"\nby = \"id\"\nsql = \"SELECT id, SUM(amount) AS total FROM orders GROUP BY id\"\n[[columns]]\nname = \"id\"\ntype = \"long\"\n[[columns]]\nname = \"total\"\ntype = \"decimal(38,2)\"\n";
    site.contract("totals", derived);
    let handler = Handler::start(&site).await;
    let person = r#"{"id":1,"email":"a@example.com","name":"A","phone":"+49 1"}"#;
    site.put("people/a.ndjson", format!("{person}\n")).await;
    site.put("stock/a.ndjson", "{\"item\":\"a\",\"pieces\":1}\n").await;
    std::fs::create_dir_all(site.path("landing/hr")).unwrap();
    std::fs::write(site.path("landing/hr/a.csv"), "id,amount,note\n1,1.00,secret\n").unwrap();
    let not_taken = "the contract does not take this blob";
    let long = format!("orders/{}", "x".repeat(4_090));
    let cases = [
        // A blob with personal columns as another dataset; and that dataset's names in other containers.
        (blob("stock", "landing", "people/a.ndjson"), not_taken),
        (blob("orders", "landing", "people/a.ndjson"), not_taken),
        (blob("orders", "lake", "people__quarantine/part-0.parquet"), not_taken),
        (blob("orders", "hr", "orders/a.csv"), not_taken),
        (blob("orders", "$web", "orders/a.csv"), not_taken),
        (blob("orders", "../lake", "orders/a.csv"), not_taken),
        (blob("orders", "landing", "orders/../people/a.ndjson"), not_taken),
        (blob("orders", "landing", "orders/_temporary/a.csv"), not_taken),
        // Blobs for a dataset of events, and for a derived one.
        (blob("clicks", "landing", "people/a.ndjson"), "dataset `clicks` takes events, not blobs"),
        (blob("totals", "landing", "people/a.ndjson"), "dataset `totals` takes its rows from other tables, not blobs"),
        (blob("orders__quarantine", "landing", "orders/a.csv"), "no dataset `orders__quarantine`"),
        (with(&blob("orders", "landing", "orders/a.csv"), "/dataset", json!("x\u{1}<b>")), "no dataset `xb`"),
        (
            json!({ "task": "remove_blob", "dataset": "orders", "container": "landing", "path": "stock/a.ndjson" }),
            not_taken,
        ),
        (
            json!({ "task": "sweep", "dataset": "orders", "prefix": "people/" }),
            "the contract takes no blob of this prefix",
        ),
        (json!({ "task": "sweep", "dataset": "clicks" }), "takes events, not blobs"),
        (json!({ "task": "sweep", "dataset": "orders", "since_ms": -1 }), "its time is before 1970"),
        (json!({ "task": "sweep", "dataset": "orders", "prefix": long }), "it is too long"),
        (json!({ "task": "sweep", "dataset": "orders", "marker": long }), "it is too long"),
        (json!({ "task": "vanished", "dataset": "orders", "prefix": "orders/", "after": long }), "it is too long"),
        (
            json!({ "task": "reprocess", "dataset": "orders", "prefix": "people/", "request": "r" }),
            "the contract takes no blob of this prefix",
        ),
        (json!({ "task": "replay", "dataset": "orders", "partition": 0, "window": {}, "request": "r" }), "takes blobs"),
        (
            json!({ "task": "replay", "dataset": "clicks", "partition": 0, "window": { "from": -1 }, "request": "r" }),
            "its range is none that a hub has",
        ),
        (
            json!({ "task": "replay", "dataset": "clicks", "partition": 0, "window": { "to": (1_i64 << 53) + 1 }, "request": "r" }),
            "its range is none that a hub has",
        ),
        (
            json!({ "task": "replay", "dataset": "clicks", "partition": 0, "window": { "from": 5, "to": 4 }, "request": "r" }),
            "its range is none that a hub has",
        ),
        (
            json!({ "task": "replay", "dataset": "clicks", "partition": 0, "window": { "since_ms": 5, "until_ms": 4 }, "request": "r" }),
            "its range is none that a hub has",
        ),
        (
            json!({ "task": "replay", "dataset": "clicks", "partition": 70_000, "window": {}, "request": "r" }),
            "no hub has such a partition",
        ),
        (json!({ "task": "retry", "parked": "tasks/../../x" }), "its id is none of a parked message"),
        (
            json!({ "task": "ingest_blob", "dataset": "orders", "container": "landing", "path": "orders/a.csv", "etag": "a b" }),
            "its etag is no id",
        ),
        (
            json!({ "task": "ingest_blob", "dataset": "orders", "container": "landing", "path": "orders/a.csv", "request": "" }),
            "its request is no id",
        ),
    ];
    let count = cases.len();
    for (task, reason) in cases {
        refused(&handler, &task, reason).await;
    }
    let status = handler.status().await;
    // A retry is not parked itself.
    assert_eq!(status["parkedCount"], count - 1);
    for dataset in ["orders", "stock", "people", "clicks", "totals"] {
        assert_eq!(site.placed(dataset).await.len(), 0, "{dataset}");
    }
    assert!(!handler.logged().contains("a@example.com") && !status.to_string().contains("a@example.com"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_says_how_many_parts_a_blob_has() {
    let site = Site::new();
    site.contract("orders", &large::contract(large::CUT));
    let handler = Handler::start(&site).await;
    let message = site.put("orders/big.csv", large::content()).await;
    let parts = large::tasks(&handler.queue("ingest_blob", &message).await);
    let count = parts.len();
    for (parts_said, part, reason) in [
        (1, 0, "another number of parts"),
        (0, 0, "1 to 10,000 parts"),
        (count - 1, 1, "another number of parts"),
        (count + 1, 0, "another number of parts"),
        (count + 1, count, "another number of parts"),
        (count, count, "the blob has no such part"),
        (1, 7, "the blob has no such part"),
        (10_001, 0, "1 to 10,000 parts"),
    ] {
        let forged = with(&with(&parts[0], "/part/parts", json!(parts_said)), "/part/part", json!(part));
        refused(&handler, &forged, reason).await;
    }
    refused(&handler, &with(&parts[0], "/part/key", json!("../x")), "its key names no reading").await;
    assert!(site.rows("orders", &["id"]).await.is_empty());
    // A key of no reading: the blob's own parts are left to whoever has handed them out.
    let stray = with(&parts[0], "/part/key", json!("0".repeat(32)));
    assert_eq!(run(&handler, &stray).await.receipt()["outcome"], "handedOut");
    for part in &parts {
        run(&handler, part).await.receipt();
    }
    large::check(&site, &handler).await;
}

/// A part's note that says less than the part is: what does not cover the blob is not committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_do_not_cover_a_blob_are_not_committed() {
    let site = Site::new();
    site.contract("orders", &large::contract(large::CUT));
    let handler = Handler::start(&site).await;
    let message = site.put("orders/big.csv", large::content()).await;
    let parts = large::tasks(&handler.queue("ingest_blob", &message).await);
    run(&handler, &parts[1]).await.receipt();
    let staging = site.path("lake/orders/_weir_staging");
    let folder = std::fs::read_dir(staging).unwrap().next().unwrap().unwrap().path();
    let note = folder.join("piece-000001");
    let text = std::fs::read_to_string(&note).unwrap();
    let mut content: Value = serde_json::from_str(&text).unwrap();
    let begins = content["bytes"]["start"].as_u64().unwrap();
    assert!(begins > 500_000 && content["bytes"]["end"].as_u64().unwrap() > 2 * begins - 2, "{}", content["bytes"]);
    content["bytes"]["start"] = json!(begins + 1);
    std::fs::write(&note, content.to_string()).unwrap();
    let (mut last, rest) = (None, parts.iter().enumerate().filter(|(number, _)| *number != 1));
    for (_, part) in rest {
        last = Some(run(&handler, part).await);
    }
    let last = last.unwrap();
    assert!(last.status == 500 && last.text.contains(&format!("do not cover it: {begins} of")), "{}", last.text);
    assert!(site.rows("orders", &["id"]).await.is_empty());
    std::fs::write(&note, text).unwrap();
    run(&handler, &parts[0]).await.receipt();
    large::check(&site, &handler).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_key_only_signed_tasks_are_carried_out() {
    let site = Site::new();
    site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n").await;
    let handler = Handler::start_with(&site, &[("WEIR_TASK_KEY", KEY)]).await;
    let plain = blob("orders", "landing", "orders/a.csv");
    refused(&handler, &plain, "the task is not signed").await;
    // What the app hands on is signed.
    let backfill = json!({ "dataset": "orders" });
    let envelope = json!({
        "Data": { "request": { "Url": "http://x/api/backfill", "Method": "POST", "Query": {}, "Headers": {}, "Params": {},
            "Body": backfill.to_string() } },
        "Metadata": {},
    });
    let answer = handler.post("backfill", envelope.to_string()).await;
    let sealed: Value = serde_json::from_str(answer.json()["Outputs"]["tasks"][0].as_str().unwrap()).unwrap();
    assert!(sealed["mac"].as_str().is_some_and(|mac| mac.len() == 64), "{sealed}");
    let swept = run(&handler, &sealed).await;
    let ingest = swept.json()["Outputs"]["tasks"][0].as_str().unwrap().to_owned();
    let ingest: Value = serde_json::from_str(&ingest).unwrap();
    // Changed in any way, or by another key, it counts no more.
    let stranger = Handler::start_with(&site, &[("WEIR_TASK_KEY", OTHER)]).await;
    let foreign = "is signed with a key that does not count";
    refused(&stranger, &ingest, foreign).await;
    for (key, value) in [
        ("/task", json!(plain.to_string())),
        ("/made_ms", json!(ingest["made_ms"].as_i64().unwrap() + 1)),
        ("/mac", json!("00".repeat(32))),
        ("/mac", json!("")),
        ("/mac", json!(ingest["mac"].as_str().unwrap()[..62])),
    ] {
        refused(&handler, &with(&ingest, key, value), foreign).await;
    }
    assert!(site.rows("orders", &["id"]).await.is_empty());
    // What somebody made up keeps no blob out of a sweep, and is not carried out when all that is parked is tried again.
    let answer = run(&handler, &sealed).await;
    assert_eq!((&answer.receipt()["missing"], &answer.receipt()["parked"]), (&json!(1), &json!(0)), "{}", answer.text);
    // Both keys count while one takes the other's place.
    let changing = Handler::start_with(&site, &[("WEIR_TASK_KEY", &format!("{OTHER},{KEY}"))]).await;
    assert_eq!(run(&changing, &ingest).await.receipt()["outcome"], "committed");
    // Put back, it changes nothing.
    assert_eq!(run(&handler, &ingest).await.receipt()["outcome"], "alreadyCommitted");
    assert_eq!(site.each_place_once("orders").await, 1);
}

/// The message of a task, made by another implementation: the key, when it was made, the task.
const SIGN: &str = r#"
import hashlib, hmac, json, struct, sys
key, made, task = bytes.fromhex(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
mac = hmac.new(key, b"weir task 1" + struct.pack(">q", made) + task.encode(), hashlib.sha256)
print(json.dumps({"task": task, "made_ms": made, "mac": mac.hexdigest()}))
"#;

/// What is put back into the queue counts as long as a message lives in it and in its poison queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_task_counts_for_fifteen_days() {
    const HOUR: i64 = 3_600_000;
    let site = Site::new();
    site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n").await;
    let handler = Handler::start_with(&site, &[("WEIR_TASK_KEY", KEY)]).await;
    let task = blob("orders", "landing", "orders/a.csv").to_string();
    let now = chrono::Utc::now().timestamp_millis();
    let signed = |made_ms: i64| -> Value {
        serde_json::from_str(&python::run(SIGN, &[KEY, &made_ms.to_string(), &task])).unwrap()
    };
    for made_ms in [now - 361 * HOUR, now + 2 * HOUR, 0, i64::MIN] {
        refused(&handler, &signed(made_ms), "was signed more than two weeks ago, or in the future").await;
    }
    assert!(site.rows("orders", &["id"]).await.is_empty());
    for (made_ms, outcome) in [(now - 359 * HOUR, "committed"), (now + HOUR / 2, "alreadyCommitted")] {
        assert_eq!(run(&handler, &signed(made_ms)).await.receipt()["outcome"], outcome);
    }
}

/// What was checked when it was parked can be tried again after its key is gone; what was not, is checked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_task_outlives_its_key() {
    let site = Site::new();
    site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n").await;
    let old = Handler::start_with(&site, &[("WEIR_TASK_KEY", KEY)]).await;
    let envelope = json!({
        "Data": { "request": { "Url": "http://x/api/reprocess", "Method": "POST", "Query": {}, "Headers": {}, "Params": {},
            "Body": json!({ "dataset": "orders", "path": "orders/a.csv" }).to_string() } },
        "Metadata": {},
    });
    let answer = old.post("reprocess", envelope.to_string()).await;
    let signed = answer.json()["Outputs"]["tasks"][0].as_str().unwrap().to_owned();
    let late = |message: &[u8]| queue_envelope(message).replace("\"DequeueCount\":\"1\"", "\"DequeueCount\":\"2\"");
    let forged = blob("orders", "landing", "orders/a.csv").to_string();
    for message in [&signed, &forged] {
        assert_eq!(old.post("park_tasks", late(message.as_bytes())).await.status, 200);
    }
    let parked = old.status().await["parked"].as_array().unwrap().clone();
    let id = |doubted: bool| parked.iter().find(|parked| parked["doubted"] == doubted).unwrap()["id"].clone();
    let retry = |id: &Value| json!({ "dataset": "", "parked": [id] })["parked"].clone();
    let new = Handler::start_with(&site, &[("WEIR_TASK_KEY", OTHER)]).await;
    let ask = |ids: Value| {
        json!({
            "Data": { "request": { "Url": "http://x/api/retry", "Method": "POST", "Query": {}, "Headers": {}, "Params": {},
                "Body": json!({ "parked": ids }).to_string() } },
            "Metadata": {},
        })
    };
    for (id, expected) in [(id(true), None), (id(false), Some("committed"))] {
        let answer = new.post("retry", ask(retry(&id)).to_string()).await;
        let task = answer.json()["Outputs"]["tasks"][0].as_str().unwrap().to_owned();
        let answer = new.queue("run_task", task.as_bytes()).await;
        match expected {
            Some(outcome) => assert_eq!(answer.receipt()["outcome"], outcome),
            None => assert!(answer.status == 500 && answer.text.contains("not signed"), "{}", answer.text),
        }
    }
    assert_eq!(new.status().await["parkedCount"], 1);
    assert_eq!(site.each_place_once("orders").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_key_that_is_none_stops_the_start() {
    let site = Site::new();
    for (key, problem) in [
        ("00".repeat(32), "is no random key"),
        ("password".repeat(4), "is not 32 bytes"),
        (format!("{KEY},{OTHER},{KEY}"), "more than two keys"),
        (format!("{KEY},"), "is not 32 bytes"),
    ] {
        let (code, _, complaint) = super::command_line::weir(&site, &["status"], &[("WEIR_TASK_KEY", &key)]);
        assert!(code != 0 && complaint.contains(problem) && !complaint.contains(&key), "{complaint}");
    }
}

/// A number that the hub cannot have would have all true events taken for committed ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_no_hub_has_moves_no_partition() {
    let site = Site::new();
    site.contract("clicks", &super::site::CLICKS.replace("consumer_group", "gap = \"ignore\"\nconsumer_group"));
    let handler = Handler::start(&site).await;
    assert_eq!(books(&handler.events(&Batch::counting(0, 1..=10)).await.receipt()), [10, 10, 0, 0]);
    for number in [4_000_000_000_000_000_000, (1 << 53) + 1, 1 << 52, 7_776_000_000_011] {
        let answer = handler.events(&Batch::counting(0, [number])).await;
        assert!(answer.status == 500 && answer.text.contains("cannot have an event"), "{number}: {}", answer.text);
    }
    assert_eq!(books(&handler.events(&Batch::counting(0, 11..=12)).await.receipt()), [2, 2, 0, 0]);
    // Far ahead, and possible: a hub that nobody read for long.
    assert_eq!(
        books(&handler.events(&Batch::of(0, &[(1_000_000_000_000, "{\"n\":1}")])).await.receipt()),
        [1, 1, 0, 0]
    );
    assert_eq!(books(&handler.events(&Batch::of(1, &[(1 << 52, "{\"n\":1}")])).await.receipt()), [1, 1, 0, 0]);
    assert_eq!(handler.status().await["balanced"], true);
}

/// Tasks that are well-formed and say anything: each is refused or harmless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_task_says_the_tables_hold_what_landed() {
    const SEED: u64 = 29;
    println!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    let site = Site::new();
    site.contract("orders", &large::contract(large::CUT).replace("path = [", "on_delete = \"remove\"\npath = ["));
    let handler = Handler::start(&site).await;
    let big = site.put("orders/big.csv", large::content()).await;
    let parts = large::tasks(&handler.queue("ingest_blob", &big).await);
    let small = site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n2,-1.00,b\n").await;
    let mut etags = vec![
        json!(site.etag("orders/a.csv").await),
        json!(site.etag("orders/big.csv").await),
        json!("0x1"),
        Value::Null,
    ];
    site.put("people/a.ndjson", "{\"id\":1,\"email\":\"a@example.com\",\"name\":\"A\",\"phone\":\"1\"}\n").await;
    etags.push(json!(""));
    let key = parts[0]["part"]["key"].clone();
    let mut answers = [0, 0];
    for _ in 0..1_500 {
        let mut pick = |from: &[Value]| from.choose(&mut random).unwrap().clone();
        let dataset = pick(&["orders", "stock", "people", "clicks", "nope", "orders__quarantine"].map(Value::from));
        let container = pick(&["landing", "landing", "lake", "hr", "..", ""].map(Value::from));
        let path = pick(
            &["orders/a.csv", "orders/big.csv", "people/a.ndjson", "orders//a.csv", "orders/../x", "", "orders/_a.csv"]
                .map(Value::from),
        );
        let request = pick(&[Value::Null, json!("r1"), json!("a:b"), json!("\n")]);
        let prefix = pick(&["orders/", "", "people/", "or", "/"].map(Value::from));
        let number = pick(&[json!(0), json!(1), json!(5), json!(6), json!(7), json!(4_294_967_295_u32)]);
        let count = pick(&[json!(0), json!(1), json!(parts.len()), json!(parts.len() + 1), json!(10_000)]);
        let (etag, key) = (pick(&etags), pick(&[key.clone(), json!("0".repeat(32)), json!("")]));
        let time = pick(&[Value::Null, json!(-1), json!(0), json!(i64::MAX)]);
        let task = match random.random_range(0..9) {
            0 => json!({ "task": "maintain", "dataset": dataset }),
            1 => {
                json!({ "task": "sweep", "dataset": dataset, "marker": request, "prefix": prefix, "since_ms": time, "asked": true })
            }
            2 => json!({ "task": "reprocess", "dataset": dataset, "prefix": prefix, "request": request }),
            3 | 4 => {
                json!({ "task": "ingest_blob", "dataset": dataset, "container": container, "path": path, "etag": etag, "request": request })
            }
            5 => json!({
                "task": "ingest_part", "dataset": dataset, "container": container, "path": path, "etag": etag, "request": request,
                "part": { "key": key, "part": number, "parts": count },
            }),
            6 => json!({ "task": "remove_blob", "dataset": dataset, "container": container, "path": path }),
            7 => json!({ "task": "vanished", "dataset": dataset, "prefix": prefix, "after": request }),
            _ => {
                json!({ "task": "replay", "dataset": dataset, "partition": number, "window": { "from": time }, "request": request })
            }
        };
        let answer = run(&handler, &task).await;
        assert!(matches!(answer.status, 200 | 500), "{task}: {}", answer.text);
        answers[usize::from(answer.status == 500)] += 1;
    }
    println!("carried out {}, refused {}", answers[0], answers[1]);
    assert!(answers[0] > 100 && answers[1] > 500, "{answers:?}");
    // What is left to do is done; then all of it is there, each record once, and nothing else.
    for part in &parts {
        run(&handler, part).await.receipt();
    }
    handler.ingest(&small).await;
    handler.ingest(&site.event("people/a.ndjson").await).await;
    let placed = site.placed("orders").await;
    let of = |path: &str| placed.iter().filter(|((source, ..), _)| source == &format!("blob:landing/{path}")).count();
    assert_eq!((of("orders/big.csv"), of("orders/a.csv"), placed.len()), (100_000, 2, 100_002));
    assert!(placed.values().all(|rows| *rows == 1), "a record is there twice");
    assert_eq!((site.placed("people").await.len(), site.placed("stock").await.len()), (1, 0));
    assert_eq!(site.placed("clicks").await.len(), 0);
    assert_eq!(handler.status().await["balanced"], true);
}
