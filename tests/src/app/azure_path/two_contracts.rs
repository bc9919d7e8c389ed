//! Two releases that run at the same time, as while a deployment is rolled out: what one refuses the other takes. The same
//! delivery comes to both, and each record must be in one table.

use std::sync::Mutex;

use axum::http::Method;
use serde_json::{Value, json};

use super::account::{Account, EventGrid};
use super::gates::{Gate, Gates, Moment};
use crate::app::gaps::Hub;
use crate::app::handler::{Batch, Handler};
use crate::app::site::{CLICKS, ORDERS};

/// Two handlers on one account, each with its gates.
struct Releases {
    account: Account,
    strict: (Gates, Handler),
    lenient: (Gates, Handler),
}

impl Releases {
    /// The first has the contract as it is, the second without its rule; `strict_first` says which of them was at work
    /// before.
    async fn start(name: &'static str, contract: &str, rule: &str, strict_first: bool) -> Self {
        let both = Self::before(name, contract, rule, "").await;
        let first = if strict_first { &both.strict.1 } else { &both.lenient.1 };
        let warm = both.delivery(name, 0).await.to(first).await;
        assert_eq!(warm["outcome"], "committed", "{warm}");
        both
    }

    /// None was at work yet. `hub` is a connection string.
    async fn before(name: &'static str, contract: &str, rule: &str, hub: &str) -> Self {
        let account = Account::new().await;
        let with = async |contract: &str| {
            account.contract(name, contract);
            let gates = Gates::before(account.blob_url()).await;
            let extra = [("WEIR_DEADLINE_S", "30"), ("EventHub", hub)];
            let handler = account.handler_with(Some(&gates), &extra).await;
            (gates, handler)
        };
        let without = contract.replace(rule, "");
        assert_ne!(without, contract);
        // A handler has read its contracts before it answers.
        let (strict, lenient) = (with(contract).await, with(&without).await);
        Self { account, strict, lenient }
    }

    /// One of several deliveries, all of them alike: three records, of which the second is refused by the strict one.
    async fn delivery(&self, name: &str, number: i64) -> Delivery {
        if name == "clicks" {
            let (at, good) = (number * 3, r#"{"n":1}"#);
            return Delivery::Batch(Batch::of(0, &[(at, good), (at + 1, r#"{"n":-2}"#), (at + 2, good)]));
        }
        let path = format!("orders/{number}.csv");
        let etag = self.account.upload(&path, "id,amount,note\n1,1.00,a\n2,-2.00,b\n3,3.00,c\n").await;
        Delivery::Blob(EventGrid.event(&path, &etag))
    }

    /// Each of so many records is in one of the tables.
    async fn hold_each_once(&self, name: &str, column: &str, records: usize) {
        let place = |row: &String| row.split('|').skip(1).take(3).map(str::to_owned).collect::<Vec<_>>();
        let mut places: Vec<_> = self.account.rows(name, Some(column)).await.iter().map(place).collect();
        places.extend(self.account.rows(&format!("{name}__quarantine"), None).await.iter().map(place));
        let rows = places.len();
        places.sort();
        places.dedup();
        assert_eq!((rows, places.len()), (records, records), "{places:?}");
    }
}

enum Delivery {
    Batch(Batch),
    Blob(String),
}

impl Delivery {
    async fn to(&self, handler: &Handler) -> Value {
        match self {
            Delivery::Batch(batch) => handler.events(batch).await.receipt(),
            Delivery::Blob(event) => handler.ingest(event.as_bytes()).await,
        }
    }
}

/// The lenient one has looked at both tables when the strict one puts a record into quarantine; then its own rows, with
/// that record among them, are there first.
async fn meet(name: &'static str, contract: &str, rule: &str, column: &str, tables: [&'static str; 3]) {
    for strict_first in [true, false] {
        let both = Releases::start(name, contract, rule, strict_first).await;
        let delivery = both.delivery(name, 1).await;
        let [data, refused, log] = tables;
        let hold = |gates: &Gates, part: &'static str, moment: Moment| gates.hold(Method::PUT, part, moment);
        let slow = hold(&both.lenient.0, data, Moment::Before);
        let ready = hold(&both.strict.0, refused, Moment::After);
        let last: Mutex<Option<Gate>> = Mutex::default();
        let strict = async {
            slow.reached().await;
            delivery.to(&both.strict.1).await
        };
        let order = async {
            ready.reached().await;
            // What comes next is the commit of quarantine, and then the one of the table.
            let commit = hold(&both.strict.0, log, Moment::Before);
            last.lock().unwrap().replace(commit.clone());
            ready.open();
            commit.reached().await;
            slow.open();
        };
        let lenient = async {
            let receipt = delivery.to(&both.lenient.1).await;
            last.lock().unwrap().take().unwrap().open();
            receipt
        };
        let receipts = tokio::join!(lenient, strict, order);
        both.hold_each_once(name, column, 6).await;
        let status = both.lenient.1.status().await;
        assert_eq!(status["balanced"], true, "{status} {receipts:?}");
    }
}

/// The strict one is about to commit a record to quarantine when the lenient one takes it, from the beginning to the end.
async fn overtake(name: &'static str, contract: &str, rule: &str, column: &str, log: &'static str) {
    let both = Releases::start(name, contract, rule, true).await;
    let commit = both.strict.0.hold(Method::PUT, log, Moment::Before);
    let delivery = both.delivery(name, 1).await;
    let strict = delivery.to(&both.strict.1);
    let lenient = async {
        commit.reached().await;
        let receipt = delivery.to(&both.lenient.1).await;
        commit.open();
        receipt
    };
    let (strict, lenient) = tokio::join!(strict, lenient);
    assert_eq!((&strict["outcome"], &lenient["outcome"]), (&json!("alreadyCommitted"), &json!("committed")));
    both.hold_each_once(name, column, 6).await;
}

const CLICKS_RULE: &str = "[[rules]]\nname = \"n_is_not_negative\"\nexpr = \"n >= 0\"\naction = \"quarantine\"\n";
const ORDERS_RULE: &str = "[[rules]]\nname = \"amount_is_positive\"\nexpr = \"amount > 0\"\naction = \"quarantine\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_release_takes_meanwhile_the_other_does_not_put_into_quarantine() {
    overtake("orders", ORDERS, ORDERS_RULE, "note", "/orders__quarantine/_delta_log/").await;
    overtake("clicks", CLICKS, CLICKS_RULE, "n", "/clicks__quarantine/_delta_log/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_blob_is_not_refused_by_one_release_and_taken_by_the_other() {
    meet(
        "orders",
        ORDERS,
        ORDERS_RULE,
        "note",
        ["/orders/part-", "/orders__quarantine/part-", "/tables/orders/_delta_log/"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_not_refused_by_one_release_and_taken_by_the_other() {
    meet(
        "clicks",
        CLICKS,
        CLICKS_RULE,
        "n",
        ["/clicks/part-", "/clicks__quarantine/part-", "/tables/clicks/_delta_log/"],
    )
    .await;
}

/// The strict one is about to commit quarantine, and the lenient one, which has done that already, the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_by_two_releases_leave_each_event_once() {
    let hub = Hub::start(6).await;
    let contract = CLICKS.replace("expr = \"n >= 0\"", "expr = \"n >= 3\"");
    let rule = CLICKS_RULE.replace("n >= 0", "n >= 3");
    let both = Releases::before("clicks", &contract, &rule, &hub.service.connection_string()).await;
    let (strict, lenient) = (&both.strict, &both.lenient);
    strict.1.events(&Batch::counting(0, 0..=5)).await.receipt();
    let first = strict.0.hold(Method::PUT, "/clicks__quarantine/_delta_log/", Moment::Before);
    let second = lenient.0.hold(Method::PUT, "/tables/clicks/_delta_log/", Moment::Before);
    let replay = async |handler: &Handler, request: &str| {
        let task = json!({ "task": "replay", "dataset": "clicks", "partition": 0, "window": {}, "request": request });
        handler.queue("run_task", task.to_string().as_bytes()).await.receipt()
    };
    let one = async {
        let receipt = replay(&strict.1, "one").await;
        second.open();
        receipt
    };
    let other = async {
        first.reached().await;
        replay(&lenient.1, "two").await
    };
    let order = async {
        second.reached().await;
        first.open();
    };
    let (one, other, ()) = tokio::join!(one, other, order);
    both.hold_each_once("clicks", "n", 6).await;
    assert_eq!((&one["outcome"], &other["outcome"]), (&json!("committed"), &json!("committed")));
    // Who comes last has the last word.
    assert_eq!(both.account.rows("clicks", Some("n")).await.len(), 6);
}

/// Two deliveries of one partition in one process, as when the host starts again beside an invocation that still runs: the
/// larger one has looked at both tables before the smaller one puts records into quarantine, and commits its own before the
/// smaller one's table is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_delivery_put_into_quarantine_meanwhile_is_not_put_there_again() {
    let both = Releases::start("clicks", CLICKS, CLICKS_RULE, true).await;
    let (gates, handler) = &both.strict;
    // Enough refused bytes for a file of its own, which is stored before the commit of quarantine begins.
    let refused = format!(r#"{{"n":-2,"pad":"{}"}}"#, "x".repeat(900_000));
    let small = Batch::of(0, &[(3, r#"{"n":-3}"#), (4, r#"{"n":1}"#)]);
    let mut events = vec![(3, r#"{"n":-3}"#), (4, r#"{"n":1}"#)];
    events.extend((5..17).map(|at| (at, refused.as_str())));
    let large = Batch::of(0, &events);
    let looked = gates.hold(Method::PUT, "/clicks__quarantine/part-", Moment::Before);
    let larger = async { handler.events(&large).await.receipt() };
    let smaller = async {
        looked.reached().await;
        let between = gates.hold(Method::PUT, "/clicks/part-", Moment::Before);
        let order = async {
            between.reached().await;
            let again = gates.hold(Method::PUT, "/clicks__quarantine/_delta_log/", Moment::After);
            looked.open();
            // Refused, it comes back for what is there; committed, it is here.
            tokio::select! {
                () = again.reached() => again.open(),
                () = tokio::time::sleep(std::time::Duration::from_secs(3)) => again.open(),
            }
            between.open();
        };
        tokio::join!(async { handler.events(&small).await.receipt() }, order).0
    };
    let receipts = tokio::join!(larger, smaller);
    both.hold_each_once("clicks", "n", 17).await;
    let status = handler.status().await;
    assert_eq!(status["balanced"], true, "{status} {receipts:?}");
}
