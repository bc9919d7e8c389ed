//! What a newcomer does: a contract from a file, the app on this machine, why records were refused, and mending it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use polars::prelude::{ParquetWriter, df};
use serde_json::Value;

use super::bodies::gzip;
use super::command_line::weir;
use super::handler::{Handler, free_port};
use super::site::{ORDERS, STOCK, Site};
use crate::support::{repository, weir_binary};

/// A folder with nothing of Weir in it, and `weir` run there without any setting.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        name.to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(weir_binary());
        command.args(arguments).current_dir(self.0.path()).env_clear().stdin(Stdio::null());
        command
    }

    /// Exit code, stdout, stderr.
    fn weir(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.weir(arguments);
        assert_eq!((code, &*stderr), (0, ""), "weir {arguments:?}: {stdout}");
        stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }
}

struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        // Ctrl-C, so that the app behind it goes too.
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

fn dev(desk: &Desk) -> Dev {
    let (port, log) = (free_port().to_string(), fs::File::create(desk.0.path().join("dev.log")).unwrap());
    let mut command = desk.command(&["dev", "--port", &port, "--amqp-port", "0"]);
    command.stdout(log.try_clone().unwrap()).stderr(log);
    Dev(command.spawn().unwrap())
}

fn eventually(what: &str, desk: &Desk, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}\n{}", desk.read("dev.log"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn bare_weir_says_what_there_is() {
    let (code, stdout, _) = Desk::new().weir(&[]);
    assert_eq!(code, 0);
    for words in ["Usage: weir", "  new ", "  try ", "  quarantine ", "Examples:", "weir new orders.csv"] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
}

#[test]
fn a_contract_is_made_of_every_kind_of_file() {
    let desk = Desk::new();
    let mut parquet = Vec::new();
    let mut frame = df!("id" => [1_i64, 2], "name" => ["a", "b"], "share" => [0.5, f64::NAN]).unwrap();
    ParquetWriter::new(&mut parquet).finish(&mut frame).unwrap();
    let csv = "id;Betrag;am\n1;2,50;31.01.2024\n2;1,25;01.02.2024\n";
    let files = [
        ("german.csv", csv.as_bytes().to_vec()),
        ("german-2.csv.gz", gzip(csv.as_bytes())),
        ("lines.ndjson", b"{\"a\":1,\"at\":{\"x\":\"2024-01-01\"}}\n{\"a\":2,\"at\":{\"x\":null}}\n".to_vec()),
        ("array.json", b"[{\"a\":1},{\"a\":2}]".to_vec()),
        (
            "places.json",
            b"{\"type\":\"F\",\"features\":[{\"id\":1,\"p\":{\"m\":1.5}},{\"id\":2,\"p\":{\"m\":2}}]}".to_vec(),
        ),
        ("frame.parquet", parquet),
        ("tabs.tsv", b"a\tb\n1\tx\n2\ty\n".to_vec()),
        ("none", b"a|b\n1|x\n2|y\n".to_vec()),
    ];
    for (name, content) in files {
        let file = desk.file(name, content);
        let made = desk.json(&["new", &file, "--json"]);
        let dataset = made["dataset"].as_str().unwrap();
        assert_eq!((&made["tried"]["records"], &made["tried"]["quarantined"]), (&2.into(), &0.into()), "{made}");
        assert!(desk.ok(&["check", &format!("datasets/{dataset}.toml")]).contains(": ok: "));
        assert!(
            desk.ok(&["try", dataset, &file]).starts_with(&format!("{file}: 2 records read, 2 would be committed"))
        );
    }
    assert!(desk.read("datasets/frame.toml").contains("name = \"share\", type = \"string\""), "NaN is no double");
    assert!(desk.read("datasets/places.toml").contains("records = \"/features\""));
    assert!(desk.read("datasets/lines.toml").contains("from = \"/at/x\""));
    // All of them together, and none is written over.
    assert!(desk.ok(&["check"]).lines().count() == 8);
    let (code, _, stderr) = desk.weir(&["new", "german.csv"]);
    assert!(code != 0 && stderr.contains("datasets/german.toml is there already"), "{stderr}");
    let (code, _, stderr) = desk.weir(&["new", "german.csv", "--name", "My Orders"]);
    assert!(code != 0 && stderr.contains("`my_orders` would be one"), "{stderr}");
    let (code, _, stderr) = desk.weir(&["new", "nothing.csv"]);
    assert!(code != 0 && stderr.contains("read nothing.csv"), "{stderr}");
}

#[test]
fn a_project_begins_with_a_folder_and_nothing_is_written_over() {
    let desk = Desk::new();
    desk.file("shop/README.md", "mine");
    let said = desk.ok(&["init", "shop"]);
    assert!(
        said.contains("shop/README.md is there already") && said.contains("shop/datasets: your contracts"),
        "{said}"
    );
    assert_eq!(desk.read("shop/README.md"), "mine");
    assert!(desk.read("shop/.gitignore").contains(".weir/"));
    desk.ok(&["init", "shop"]);
}

#[test]
fn a_folder_is_one_dataset_if_its_files_are_alike() {
    let desk = Desk::new();
    desk.file("in/2024/a.csv", "id,n\n1,2\n");
    desk.file("in/2025/b.csv", "id,n\n2,2.5\n");
    let made = desk.json(&["new", "in", "--name", "numbers", "--json"]);
    assert_eq!((&made["tried"]["records"], &made["tried"]["quarantined"]), (&2.into(), &0.into()), "{made}");
    assert!(desk.read("datasets/numbers.toml").contains("path = \"numbers/**/*.csv\""));
    desk.file("in/c.json", "{}");
    let (code, _, stderr) = desk.weir(&["new", "in", "--name", "other"]);
    assert!(code != 0 && stderr.contains("two datasets"), "{stderr}");
}

#[test]
fn events_have_bodies_like_the_lines_of_a_file() {
    let desk = Desk::new();
    desk.file("bodies.ndjson", "{\"user\":\"a\",\"at\":1700000000000}\n{\"user\":\"b\",\"at\":1700000000001}\n");
    desk.ok(&["new", "bodies.ndjson", "--hub", "clicks"]);
    let contract = desk.read("datasets/clicks.toml");
    assert!(contract.contains("kind = \"events\"") && contract.contains("format = \"epoch_ms\""), "{contract}");
    assert!(desk.ok(&["try", "clicks", "bodies.ndjson"]).contains("2 records read, 2 would be committed"));
}

#[test]
fn try_says_what_is_refused_and_why_and_fails() {
    let desk = Desk::new();
    desk.file("datasets/o.toml", "name = \"o\"\ncolumns = [{ name = \"id\", type = \"long\", nullable = false }]\n[source]\nkind = \"blob\"\ncontainer = \"landing\"\npath = \"o/*.csv\"\n");
    desk.file("o.csv", "id\n1\nx\ny\n\n4\n");
    let (code, stdout, _) = desk.weir(&["try", "o", "o.csv", "--show", "1"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("4 records read, 2 would be committed, 2 quarantined (50.0 %)"), "{stdout}");
    assert!(stdout.contains("column `id`: not a long: 2 records, the first is record 2"), "{stdout}");
    assert!(stdout.lines().any(|line| line == "  2: x"), "{stdout}");
    let (_, stdout, _) = desk.weir(&["try", "o", "o.csv", "--json"]);
    let tried: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(tried["reasons"][0]["records"], 2, "{tried}");
    let (code, _, stderr) = desk.weir(&["try", "orders", "o.csv"]);
    assert!(code != 0 && stderr.contains("known: o"), "{stderr}");
}

#[test]
fn check_tells_every_error_where_an_editor_finds_it() {
    let desk = Desk::new();
    let contract = "name = \"a\"\ncolumns = [{ name = \"n\", type = \"long\" }]\n[source]\nkind = \"blob\"\ncontainer = \"landing\"\npath = \"a/*.csv\"\n\
                    [[rules]]\nname = \"one\"\nexpr = \"m > 0\"\naction = \"warn\"\n[[rules]]\nname = \"two\"\nexpr = \"COUNT(n) > 0\"\naction = \"warn\"\n";
    desk.file("datasets/a.toml", contract);
    desk.file("datasets/b.toml", "name = \"b\"\n");
    let (code, stdout, _) = desk.weir(&["check"]);
    assert_eq!(code, 1);
    for words in
        ["datasets/a.toml:9: rule `one`: unknown column `m`", "datasets/a.toml:13: rule `two`", "datasets/b.toml:1:1: "]
    {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    let (_, stdout, _) = desk.weir(&["check", "datasets/a.toml", "--json"]);
    let found: Value = serde_json::from_str(&stdout).unwrap();
    let errors = found["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{found}");
    assert_eq!(
        (&errors[0]["file"], &errors[0]["line"], &errors[0]["key"]),
        (&"datasets/a.toml".into(), &9.into(), &"one".into())
    );
}

#[test]
fn the_app_here_takes_files_and_changes_of_contracts_and_says_why_it_refuses() {
    let desk = Desk::new();
    desk.file("x.csv", "id,email,n\n1,a@b.example,2\n2,c@d.example,3\n");
    desk.ok(&["new", "x.csv", "--name", "orders"]);
    let contract = desk
        .read("datasets/orders.toml")
        .replace("\"email\", type = \"string\"", "\"email\", type = \"string\", personal = \"pseudonym\"");
    desk.file("datasets/orders.toml", &contract);
    let _dev = dev(&desk);
    let folder = desk.0.path().join(".weir/landing/landing/orders");
    eventually("the folder of the dataset is made", &desk, || folder.is_dir());
    fs::copy(desk.0.path().join("x.csv"), folder.join("x.csv")).unwrap();
    fs::write(folder.join("bad.csv"), "id,email,n\n3,e@f.example,many\n").unwrap();
    fs::write(desk.0.path().join(".weir/landing/landing/elsewhere.csv"), "1\n").unwrap();
    let logged = |words: &str| desk.read("dev.log").contains(words);
    eventually("a blob that is refused whole is an error", &desk, || {
        logged("ERROR orders: Committed: 1 records in, 0 committed, 1 quarantined (100.0 %; column `n`: not a long: 1)")
    });
    eventually("a blob of nobody is named, with what is taken", &desk, || {
        logged("WARN no contract takes the blob blob:landing/elsewhere.csv: they take orders/*.csv")
    });
    // Without a setting, and without a key: the lake of this folder.
    eventually("both files are in", &desk, || desk.json(&["status", "--json"])["datasets"][0]["table"]["rows"] == 2);
    let why = desk.ok(&["quarantine", "orders", "--show", "1"]);
    assert!(why.contains("column `n`: not a long (100.0 %)") && why.contains("3,e@f.example,many"), "{why}");
    assert_eq!(desk.json(&["quarantine", "orders", "--reason", "other", "--json"])["records"], 0);
    // The column as text: the app starts anew by itself, and what was refused is read again.
    desk.file(
        "datasets/orders.toml",
        contract.replace("name = \"n\", type = \"long\"", "name = \"m\", type = \"string\", from = \"n\""),
    );
    eventually("the contract is taken over", &desk, || logged("the contracts changed: the app starts anew with them"));
    eventually("what was refused is taken", &desk, || {
        desk.weir(&["quarantine", "orders", "--replay"]).0 == 0
            && desk.json(&["quarantine", "orders", "--json"])["records"] == 0
    });
    assert_eq!(desk.json(&["status", "--json"])["datasets"][0]["table"]["rows"], 3);
}

/// Names of unknown fields may say who a person is: quarantine has them, and nothing that goes further.
#[tokio::test]
async fn names_of_unknown_fields_stay_in_quarantine() {
    let site = Site::new();
    site.contract("stock", &format!("{STOCK}[drift]\nunknown_fields = \"fail\"\n"));
    let handler = Handler::start(&site).await;
    let content =
        "{\"item\":\"a\",\"pieces\":1,\"ada@example.org\":1}\n{\"item\":\"b\",\"pieces\":1,\"grace@example.org\":1}\n";
    let answer = handler.queue("ingest_blob", &site.put("stock/a.ndjson", content).await).await;
    assert_eq!(answer.json()["ReturnValue"]["reasons"], serde_json::json!({ "unknown fields": 2 }), "{}", answer.text);
    assert!(!answer.text.contains("example.org") && !handler.logged().contains("example.org"));
    assert!(weir(&site, &["quarantine", "stock"], &[]).1.contains("ada@example.org"));
}

#[tokio::test]
async fn plan_says_what_becomes_of_tables() {
    let site = Site::new();
    let (code, stdout, _) = weir(&site, &["plan", "orders"], &[]);
    assert_eq!((code, &*stdout), (0, "+ orders: the table, with 3 columns\n"));
    let handler = Handler::start(&site).await;
    handler.queue("ingest_blob", &site.put("orders/a.csv", "id,amount,note\n1,2.00,x\n").await).await;
    assert_eq!(weir(&site, &["plan", "orders"], &[]).1, "orders: no change\n");
    let other = ORDERS.replace("name = \"note\"", "name = \"comment\"").replace("decimal(12,2)", "decimal(10,2)");
    site.contract("orders", &other);
    let (code, stdout, _) = weir(&site, &["plan", "orders"], &[]);
    let expected = "~ orders: column amount: decimal(10,2) is stored as the table's decimal(12,2)\n\
                    + orders: column comment string, null in rows that are there\n\
                    ~ orders: column note stays in the table, null in new rows\n";
    assert_eq!((code, &*stdout), (0, expected));
    site.contract(
        "orders",
        &ORDERS
            .replace("name = \"amount\"\ntype = \"decimal(12,2)\"", "name = \"amount\"\ntype = \"string\"")
            .replace("amount > 0", "id > 0")
            .replace("amount < 1000", "id < 1000"),
    );
    let (code, stdout, _) = weir(&site, &["plan", "orders", "--json"], &[]);
    let plans: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &plans[0]["possible"], &plans[0]["changes"][0]["kind"]), (1, &false.into(), &"refused".into()));
    assert!(plans[0]["changes"][0]["text"].as_str().unwrap().contains("column `amount`"), "{plans}");
}

#[tokio::test]
async fn doctor_says_what_is_wrong_and_what_mends_it() {
    let site = Site::new();
    let found = |extra: &[(&str, &str)]| {
        let (code, stdout, _) = weir(&site, &["doctor", "--json"], extra);
        (code, serde_json::from_str::<Value>(&stdout).unwrap())
    };
    let of = |found: &Value, what: &str| {
        let all = found["findings"].as_array().unwrap();
        all.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("{what}: {found}")).clone()
    };
    let (code, healthy) = found(&[]);
    assert_eq!((code, &healthy["healthy"]), (0, &true.into()), "{healthy}");
    assert_eq!(of(&healthy, "container landing")["state"], "good");
    assert_eq!(of(&healthy, "task key")["state"], "note");
    let (code, no_key) = found(&[("WEIR_PSEUDONYM_KEY", "")]);
    assert_eq!((code, &of(&no_key, "pseudonym key")["state"]), (1, &"wrong".into()));
    // A file where a folder should be.
    std::fs::write(site.path("nowhere"), "").unwrap();
    let nowhere = format!("file://{}", site.path("nowhere").display());
    let (code, lost) = found(&[("WEIR_LANDING_URL", &nowhere)]);
    assert_eq!((code, &of(&lost, "container landing")["state"]), (1, &"wrong".into()), "{lost}");
    let handler = Handler::start(&site).await;
    handler.queue("ingest_blob", &site.put("orders/a.csv", "id,amount,note\n1,2.00,x\n2,-1.00,y\n").await).await;
    let (code, some) = found(&[]);
    let orders = of(&some, "table orders");
    assert_eq!((code, &orders["state"], &orders["mend"]), (0, &"note".into(), &"weir quarantine orders".into()));
    handler.queue("ingest_blob", &site.put("orders/empty.csv", "id,amount,note\n").await).await;
    let (_, files, _) = weir(&site, &["files", "orders", "--json"], &[]);
    let expected = "{\"source\":\"blob:landing/orders/a.csv\",\"rows\":1,\"quarantined\":1}\n\
                    {\"source\":\"blob:landing/orders/empty.csv\",\"rows\":0,\"quarantined\":0}\n";
    assert_eq!(files, expected);
    let (_, files, _) = weir(&site, &["files", "orders", "--refused"], &[]);
    assert!(files.ends_with("1             1  1 sources\n"), "{files}");
    site.contract("orders", &ORDERS.replace("name = \"note\"\ntype = \"string\"", "name = \"note\"\ntype = \"long\""));
    let (code, other) = found(&[]);
    assert_eq!((code, &of(&other, "table orders")["mend"]), (1, &"weir plan".into()), "{other}");
    site.contract("orders", "name = 1");
    let (code, unsound) = found(&[]);
    assert_eq!((code, &of(&unsound, "contracts")["mend"]), (1, &"weir check".into()));
    let (_, text, _) = weir(&site, &["doctor"], &[]);
    assert!(text.starts_with("WRONG   contracts: ") && text.contains("→ weir check"), "{text}");
}

#[test]
fn settings_may_stand_in_a_file() {
    let site = Site::new();
    let lines: String = site.settings().iter().map(|(key, value)| format!("{key}=\"{value}\"\n")).collect();
    let desk = Desk::new();
    desk.file("dev.env", lines);
    assert!(desk.ok(&["check", "--env-file", "dev.env"]).contains("orders: ok"));
    assert!(desk.ok(&["status", "--env-file", "dev.env"]).contains("orders"));
    let (code, _, stderr) = desk.weir(&["status", "--env-file", "none.env"]);
    assert!(code != 0 && stderr.contains("none.env"), "{stderr}");
    // Counting asks for no key.
    let without: Vec<(&str, &str)> = vec![("WEIR_PSEUDONYM_KEY", "")];
    assert_eq!(weir(&site, &["status"], &without).0, 0);
    assert_eq!(weir(&site, &["parked"], &without).0, 0);
    let (code, _, stderr) = weir(&site, &["backfill", "people", "--since", "2026-01-01"], &without);
    assert!(code != 0 && stderr.contains("there is no key"), "{stderr}");
}

/// The blocks of code of a page, each with its language.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```").filter(|language| !language.is_empty()) else { continue };
        let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push((language.to_owned(), code.join("\n") + "\n"));
    }
    blocks
}

#[test]
fn the_tutorial_is_true() {
    let desk = Desk::new();
    let page = fs::read_to_string(repository().join("docs/tutorial.md")).unwrap();
    let binary = weir_binary();
    let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
    let mut running = None;
    let mut printed = String::new();
    for (language, code) in blocks(&page) {
        match language.as_str() {
            "csv" => drop(desk.file("orders.csv", code)),
            "toml" => {
                // The line that the page tells to change.
                let contract = desk.read("datasets/orders.toml");
                let changed =
                    contract.lines().map(|line| if line.contains("\"customer\"") { code.trim_end() } else { line });
                desk.file("datasets/orders.toml", changed.collect::<Vec<_>>().join("\n"));
            }
            "text" => assert_eq!(printed, code, "what the command before prints"),
            "python" => assert!(
                crate::support::checked(
                    Command::new(crate::python::python()).args(["-I", "-c", &code]).current_dir(desk.0.path()),
                    "the tutorial's Python",
                )
                .contains("shape: (3, ")
            ),
            "sh" if code == "weir dev\n" => {
                running = Some(dev(&desk));
                let folder = desk.0.path().join(".weir/landing/landing/orders");
                eventually("the folder is made", &desk, || folder.is_dir());
            }
            "sh" => {
                // What was dropped takes a moment; a person does, too.
                let run = || {
                    let mut shell = Command::new("sh");
                    shell.args(["-e", "-c", &code]).current_dir(desk.0.path()).env_clear().env("PATH", &path);
                    shell.stdin(Stdio::null()).output().unwrap()
                };
                let mut output = run();
                if running.is_some() {
                    std::thread::sleep(Duration::from_secs(2));
                    output = run();
                }
                printed = String::from_utf8(output.stdout).unwrap();
                assert!(output.status.success(), "{code}{printed}{}", String::from_utf8_lossy(&output.stderr));
            }
            other => panic!("a block of {other}"),
        }
    }
    assert!(
        running.is_some() && desk.json(&["quarantine", "orders", "--json"])["records"] == 1,
        "the file is still wrong"
    );
}
