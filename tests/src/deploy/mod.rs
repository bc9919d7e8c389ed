//! The deployment scripts, run by bash against programs that stand for `az`, `terraform`, `curl` and `weir`: what is asked
//! for, in which order, and what is done when something fails. Azure itself has not been asked.

mod wheel;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::repository;

/// A checkout with the scripts, a PATH with the stand-ins before the real programs, and what happened.
struct Desk {
    folder: TempDir,
    scene: &'static str,
}

impl Desk {
    fn new(scene: &'static str) -> Self {
        let folder = TempDir::new().unwrap();
        let desk = Self { folder, scene };
        let scripts = desk.path("infra/deploy");
        fs::create_dir_all(&scripts).unwrap();
        for entry in fs::read_dir(repository().join("infra/deploy")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, scripts.join(path.file_name().unwrap())).unwrap();
        }
        fs::copy(repository().join("Makefile"), desk.path("Makefile")).unwrap();
        for environment in ["dev", "prod"] {
            let root = desk.path("infra/environments").join(environment);
            fs::create_dir_all(&root).unwrap();
            fs::write(root.join("terraform.tfvars"), "").unwrap();
            fs::write(root.join("backend.hcl"), "storage_account_name = \"stweirstateabc\"\n").unwrap();
        }
        fs::create_dir_all(desk.path("bin")).unwrap();
        let fake = desk.path("bin/fake");
        fs::write(&fake, include_str!("fake.sh")).unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["az", "terraform", "curl", "weir"] {
            symlink(&fake, desk.path("bin").join(name)).unwrap();
        }
        fs::write(desk.path("weir.zip"), "the new package").unwrap();
        desk
    }

    /// With a package that was deployed before.
    fn deployed(self) -> Self {
        fs::write(self.path("released"), "the old package").unwrap();
        self
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(path)
    }

    fn run(&self, script: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Run {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .arg(self.path("infra/deploy").join(script))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("SCENE", self.scene)
            .env("CALLS", self.path("calls"))
            .env("HERE", self.folder.path())
            .envs([("WAIT_S", "2"), ("PAUSE_S", "0.1")])
            .env_remove("YES")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Run { output, calls: fs::read_to_string(self.path("calls")).unwrap_or_default() }
    }

    fn deploy(&self, environment: &str, settings: &[(&str, &str)]) -> Run {
        self.run("deploy.sh", &[environment, "weir.zip"], settings)
    }

    fn running(&self) -> String {
        fs::read_to_string(self.path("released")).unwrap_or_default()
    }
}

struct Run {
    output: Output,
    calls: String,
}

impl Run {
    fn ok(self) -> Self {
        assert!(self.output.status.success(), "{}\n{}", self.said(), self.calls);
        self
    }

    /// It failed, and said this.
    fn failed(self, with: &str) -> Self {
        assert!(!self.output.status.success(), "{}", self.said());
        assert!(self.said().contains(with), "{}", self.said());
        self
    }

    fn said(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&self.output.stdout) + &text(&self.output.stderr)
    }

    fn called(&self, what: &str) -> Option<usize> {
        self.calls.lines().position(|line| line.starts_with(what))
    }
}

#[test]
fn a_deployment_asks_for_everything_in_order() {
    let desk = Desk::new("no-keys").deployed();
    let run = desk.deploy("dev", &[]).ok();
    assert_eq!(desk.running(), "the new package");
    let order = [
        "az account show --output none",
        "az storage account show --name stweirstateabc",
        "terraform -chdir=",
        "az keyvault secret set --vault-name kv --name pseudonym-key",
        "az keyvault secret set --vault-name kv --name task-key",
        "az storage blob download --auth-mode login --account-name pkg",
        "az functionapp deployment source config-zip --resource-group rg --name func",
        "curl ",
        "az storage blob upload --auth-mode login --account-name lake --container-name landing",
    ];
    let places: Vec<_> =
        order.iter().map(|what| run.called(what).unwrap_or_else(|| panic!("{what}\n{}", run.calls))).collect();
    assert!(places.is_sorted(), "{}", run.calls);
    // 32 bytes each, and not the same.
    let secrets = fs::read_to_string(desk.path("secrets")).unwrap();
    let lines: Vec<&str> = secrets.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0] != lines[1] && lines.iter().all(|line| line.len() == 44), "{}", lines.len());
    // A secret is in no argument.
    assert!(!run.calls.contains("the-function-key") && !lines.iter().any(|line| run.calls.contains(line)));
    assert!(fs::read_to_string(desk.path("curl-config")).unwrap().contains("x-functions-key: the-function-key"));
}

#[test]
fn keys_that_are_there_are_never_replaced() {
    let run = Desk::new("").deploy("dev", &[]).ok();
    assert_eq!(run.called("az keyvault secret set"), None);
}

/// Before anything is built or changed, and with what mends it.
#[test]
fn what_is_missing_is_said_first() {
    let unchanged = |run: Run| {
        for what in ["terraform", "az functionapp", "az keyvault", "weir"] {
            assert_eq!(run.called(what), None, "{}", run.calls);
        }
    };
    unchanged(Desk::new("signed-out").deploy("dev", &[]).failed("you are not signed in: az login"));
    unchanged(Desk::new("no-state-account").deploy("dev", &[]).failed("\"stweirstateabc\""));
    unchanged(Desk::new("").deploy("test", &[]).failed("no environment \"test\""));
    unchanged(
        Desk::new("").run("deploy.sh", &["dev", "other.zip"], &[]).failed("other.zip is not there: make package"),
    );
    let desk = Desk::new("");
    for file in ["backend.hcl", "terraform.tfvars"] {
        fs::remove_file(desk.path("infra/environments/dev").join(file)).unwrap();
    }
    let run = desk.deploy("dev", &[]).failed("terraform.tfvars is missing: make bootstrap ENV=dev");
    assert!(run.said().contains("backend.hcl is missing: make bootstrap ENV=dev"), "both at once: {}", run.said());
    unchanged(run);
}

#[test]
fn prod_is_asked_about() {
    let desk = Desk::new("").deployed();
    let run = desk.deploy("prod", &[]).failed("Nobody is there to ask: set YES=1");
    assert!(!run.calls.contains(" apply "), "{}", run.calls);
    desk.deploy("prod", &[("YES", "1")]).ok();
    assert_eq!(desk.running(), "the new package");
}

#[test]
fn a_failed_step_stops_what_follows() {
    for (scene, before) in [
        ("init-fails", " plan "),
        ("plan-fails", " apply "),
        ("apply-fails", "az functionapp"),
        ("no-keys no-right-to-secrets", "az functionapp"),
    ] {
        let desk = Desk::new(scene).deployed();
        let run = desk.deploy("dev", &[]).failed("");
        assert!(!run.calls.contains(before), "{scene}\n{}", run.calls);
        assert_eq!(desk.running(), "the old package", "{scene}");
    }
    Desk::new("no-keys no-right-to-secrets").deploy("dev", &[]).failed("Key Vault Secrets Officer");
}

#[test]
fn a_package_that_does_not_work_is_rolled_back() {
    for scene in ["package-refused", "app-dead", "blob-lost", "books-off", "no-right-to-landing"] {
        let desk = Desk::new(scene).deployed();
        desk.deploy("dev", &[]).failed("the previous package runs again");
        assert_eq!(desk.running(), "the old package", "{scene}");
    }
    Desk::new("app-dead").deploy("dev", &[]).failed("there is no previous package to go back to");
}

#[test]
fn a_package_is_checked_and_the_same_twice() {
    let desk = Desk::new("");
    let weir = desk.path("bin/weir");
    let settings = [("HANDLER", weir.to_str().unwrap()), ("DATASETS", "contracts")];
    let digest = |name: &str| {
        let run = desk.run("package.sh", &[name], &settings).ok();
        assert!(run.called("weir check contracts") < run.called("weir package "), "{}", run.calls);
        fs::read(desk.path(name)).unwrap()
    };
    let first = digest("a.zip");
    // Times of files are of two seconds in a zip.
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    assert_eq!(first, digest("b.zip"));
    // What its contracts need goes to Terraform.
    fs::rename(desk.path("a.zip"), desk.path("weir.zip")).unwrap();
    fs::rename(desk.path("a.zip.tfvars.json"), desk.path("weir.zip.tfvars.json")).unwrap();
    let run = desk.deploy("dev", &[]).ok();
    assert!(
        run.calls.lines().any(|call| call.contains(" plan ") && call.contains("weir.zip.tfvars.json")),
        "{}",
        run.calls
    );
    let run = Desk::new("contract-wrong").run("package.sh", &["a.zip"], &settings).failed("datasets/x.toml:3");
    assert_eq!(run.called("weir package"), None);
}

#[test]
fn bootstrap_makes_what_a_deployment_needs() {
    let desk = Desk::new("no-state-account");
    for file in ["backend.hcl", "terraform.tfvars"] {
        fs::remove_file(desk.path("infra/environments/dev").join(file)).unwrap();
    }
    desk.run("bootstrap.sh", &["dev", "Not-Valid"], &[]).failed("SUFFIX must be 3 to 8");
    desk.run("bootstrap.sh", &["dev", "abc1"], &[]).failed("ALERT_EMAIL");
    let run = desk.run("bootstrap.sh", &["dev", "abc1", "owner/weir"], &[("ALERT_EMAIL", "you@example.com")]).ok();
    for what in [
        "az storage account create --name stweirstateabc1",
        "az storage container create --name tfstate",
        "az identity federated-credential create --name github-dev",
    ] {
        assert!(run.called(what).is_some(), "{what}\n{}", run.calls);
    }
    assert!(run.calls.contains("--subject repo:owner/weir:environment:dev"), "{}", run.calls);
    assert!(run.calls.contains("--allow-shared-key-access false"));
    let settings = fs::read_to_string(desk.path("infra/environments/dev/terraform.tfvars")).unwrap();
    assert!(settings.contains("alert_emails = { team = \"you@example.com\" }"), "{settings}");
    // What is there already stays as it is.
    fs::write(desk.path("infra/environments/dev/terraform.tfvars"), "mine").unwrap();
    desk.run("bootstrap.sh", &["dev", "abc1"], &[]).ok();
    assert_eq!(fs::read_to_string(desk.path("infra/environments/dev/terraform.tfvars")).unwrap(), "mine");
}

#[test]
fn only_dev_is_destroyed_and_only_when_asked() {
    let desk = Desk::new("");
    desk.run("destroy.sh", &["prod"], &[("YES", "1")]).failed("only dev");
    assert!(!desk.run("destroy.sh", &["dev"], &[]).failed("set YES=1").calls.contains(" destroy "));
    assert!(desk.run("destroy.sh", &["dev"], &[("YES", "1")]).ok().calls.contains(" destroy "));
}

#[test]
fn make_knows_the_targets() {
    let desk = Desk::new("");
    let output = Command::new("make").arg("help").current_dir(desk.folder.path()).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for target in ["package", "bootstrap", "deploy-dev", "deploy-prod", "destroy-dev"] {
        assert!(help.lines().any(|line| line.starts_with(target)), "{target}: {help}");
    }
}
