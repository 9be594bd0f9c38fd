//! A site of two servers on PostgreSQL and S3, with two workers: whatever is killed, whichever disk is full, and though the servers' clocks
//! differ, no order is lost, none is given out twice, nobody is told twice, and no file is left that nobody needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::disk::Disk;
use e2e::services::{self, Heard, Process, S3Server};
use e2e::site::Site;
use e2e::worker::Worker;
use e2e::{hatchery, qemu, sample_dir, some_time, user, wait_for};
use serde_json::{Value, json};

use super::mirrors;
use super::steps::{Held, Hold, killed_in_every_step, killed_while_an_image_starts};

pub(super) const LIMIT: Duration = Duration::from_secs(240);
/// Longer than a server or the database needs to be killed and to come back, so that only workers that are killed are taken for lost.
const LEASE: u32 = 8;
const OPEN: [&str; 2] = ["waiting", "building"];

/// Packages of which an image is soon made.
const FEW: [&str; 3] = ["sys-apps/baselayout", "app-shells/bash", "sys-apps/coreutils"];

/// What can be killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Victim {
    Server(usize),
    Worker(usize),
    Postgres,
}

pub(super) struct Shared {
    dir: PathBuf,
    postgres: Option<Process>,
    postgres_port: u16,
    pub(super) storage: S3Server,
    pub(super) sites: [Site; 2],
    pub(super) workers: [Option<Worker>; 2],
    /// Of the storage, and of the first worker.
    disks: [Disk; 2],
    hook: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    orders: Vec<String>,
    /// Images that start by themselves are started before they are given out.
    pub(super) boot_gate: bool,
}

impl Shared {
    /// None, with a line that says so, where something is missing.
    fn start(dir: &Path) -> Option<Shared> {
        let folder = |name: &str| {
            std::fs::create_dir(dir.join(name)).expect("a folder");
            dir.join(name)
        };
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
        let disks = [Disk::mount(&folder("s3"), 384)?, Disk::mount(&folder("worker0"), 512)?];
        user::give(&dir.join("worker0"));
        user::give(&folder("worker1"));
        let storage = services::start_s3(dir, &e2e::test_venv())?;
        let (postgres, address) = services::start_postgres(dir)?;
        let made =
            services::postgres_program("createdb")?.args(["--maintenance-db", &format!("{address}/postgres"), "site"]).status();
        assert!(made.is_ok_and(|status| status.success()), "no database could be made");
        wait_for("the bucket is made", LIMIT, || ureq::post(format!("{}/buckets/hatchery/", storage.filer)).send_empty().ok());
        let [token, secret] = ["worker.token", "s3.secret"].map(|name| dir.join(name));
        std::fs::write(&token, "token-of-the-tests-0123456789").expect("a token");
        std::fs::write(&secret, services::SECRET_KEY).expect("a secret");
        user::give(&token);
        user::give(&secret);
        let boot_gate = qemu::is_there();
        let extra = format!(
            "database = '{address}/site'\nboot_gate = {boot_gate}\nlease_ttl_seconds = {LEASE}\nworker_token_file = '{}'\nwebhooks_inside = true\n[storage]\nendpoint = '{}'\nbucket = 'hatchery'\n\
             access_key = '{}'\nsecret_key_file = '{}'\n{}",
            token.display(),
            storage.address,
            services::ACCESS_KEY,
            secret.display(),
            mirrors::channel("mirror", &mirrors::mirror(sample_dir().join("binhost"))),
        );
        // Ten minutes ahead: more than leases and notices are held, and less than S3 puts up with.
        let sites = [Site::without_worker(&folder("one"), &extra), Site::without_worker_and_ahead(&folder("two"), &extra, 600)?];
        let (hook, heard) = services::receiver();
        let postgres_port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let mut shared = Shared {
            dir: dir.to_owned(),
            postgres: Some(postgres),
            postgres_port,
            storage,
            sites,
            workers: [None, None],
            disks,
            hook,
            heard,
            orders: Vec::new(),
            boot_gate,
        };
        (0..2).for_each(|worker| shared.work(worker));
        Some(shared)
    }

    fn work(&mut self, worker: usize) {
        let program = user::command(&hatchery());
        let (token, dir) = (self.dir.join("worker.token"), self.dir.join(format!("worker{worker}")));
        self.workers[worker] = Some(Worker::start(program, &self.sites[worker].url, &token, &dir));
    }

    fn order(&mut self) -> String {
        self.order_of(&json!({}))
    }

    /// Orders at one of the servers, as programs do: again with the same key until there is an answer. What is not wished for is small.
    pub(super) fn order_of(&mut self, wished: &Value) -> String {
        let number = self.orders.len();
        let mut wish = json!({
            "arch": "amd64", "channel": "sample", "formats": ["tar.gz"], "packages": FEW, "system": {},
            "notify": {"webhook": format!("{}{number}", self.hook)},
        });
        for (name, value) in wished.as_object().into_iter().flatten() {
            wish[name] = value.clone();
        }
        wish["system"]["hostname"] = json!(format!("host{number}"));
        let key = format!("the order with the number {number}");
        let id = wait_for("an order is taken", LIMIT, || {
            let answer = self.sites[number % 2].order_once(&wish, &key)?;
            assert!([200, 201].contains(&answer.0) || answer.0 >= 500, "{answer:?}");
            answer.1["id"].as_str().map(str::to_owned)
        });
        assert!(!self.orders.contains(&id));
        self.orders.push(id.clone());
        id
    }

    /// Cancels the order that was placed last, of which nothing may be left then.
    pub(super) fn cancel(&mut self, id: &str) {
        let (status, answer) = self.sites[0].post(&format!("/api/v1/orders/{id}/cancel"));
        assert_eq!((status, &answer["state"]), (200, &json!("cancelled")), "{answer}");
        assert_eq!(self.orders.pop().as_deref(), Some(id));
    }

    /// Leaves the work to the second worker, whose disk is the machine's.
    pub(super) fn work_with_room(&mut self) {
        self.workers = [None, None];
        self.work(1);
    }

    /// Whether this worker was given a build.
    pub(super) fn has_leased(&self, worker: usize, build: &str) -> bool {
        let log = std::fs::read_to_string(self.dir.join(format!("worker{worker}.log"))).unwrap_or_default();
        log.lines().any(|line| line.contains("leased") && line.contains(build))
    }

    pub(super) fn status(&self, id: &str) -> Value {
        wait_for("the site answers", LIMIT, || {
            Some(self.sites[0].json(&format!("/api/v1/orders/{id}"))).filter(|s| s["state"].is_string())
        })
    }

    pub(super) fn ready(&self, id: &str) -> Value {
        wait_for("the image", LIMIT, || {
            let status = self.status(id);
            let open = OPEN.contains(&status["state"].as_str().unwrap_or_default());
            assert!(open || status["state"] == "ready", "{status:#}");
            (!open).then_some(status)
        })
    }

    /// Ends a process where it stands, and starts it again a moment later.
    pub(super) fn kill(&mut self, victim: Victim) {
        let moment = some_time(Duration::from_millis(800));
        match victim {
            Victim::Server(number) => {
                self.sites[number].kill();
                std::thread::sleep(moment);
                self.sites[number].resume();
            }
            Victim::Worker(number) => {
                self.workers[number] = None;
                std::thread::sleep(moment);
                self.work(number);
            }
            Victim::Postgres => {
                self.postgres = None;
                std::thread::sleep(moment);
                self.postgres = Some(services::run_postgres(&self.dir.join("postgres"), self.postgres_port));
            }
        }
    }

    /// What the storage has, as `BUILD/ATTEMPT/NAME`.
    fn stored(&self) -> BTreeSet<String> {
        let mut folders = vec![String::new()];
        let mut files = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            let address = format!("{}/buckets/hatchery/{folder}?limit=10000", self.storage.filer);
            let answer = ureq::get(&address).header("Accept", "application/json").call();
            let list: Value = answer.expect("the filer answers").body_mut().read_json().expect("JSON");
            for entry in list["Entries"].as_array().into_iter().flatten() {
                let path = entry["FullPath"].as_str().expect("a path").trim_start_matches("/buckets/hatchery/").to_owned();
                // The highest bits of Go's modes say that it is a folder. What is being uploaded in parts has one of its own.
                match entry["Mode"].as_u64().is_some_and(|mode| mode & (1 << 31) != 0) {
                    true if path.starts_with('.') => {}
                    true => folders.push(format!("{path}/")),
                    false => drop(files.insert(path)),
                }
            }
        }
        files
    }
}

#[test]
fn whatever_is_killed_on_postgresql_and_s3_loses_nothing_and_doubles_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mut shared) = Shared::start(dir.path()) else { return };
    killed_in_every_step(&mut shared, &FEW);
    a_full_storage(&mut shared);
    a_full_worker(&mut shared);
    killed_while_an_image_starts(&mut shared);
    delivered_once(&mut shared);
}

/// A storage that has no room for an image takes it once there is some.
fn a_full_storage(shared: &mut Shared) {
    let filled = shared.disks[0].fill();
    let id = shared.order();
    wait_for("the image is sent", LIMIT, || (shared.status(&id)["progress"]["step"] == "upload").then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(shared.status(&id)["state"], "building", "the worker goes on trying");
    std::fs::remove_file(filled).expect("there is room again");
    let ready = shared.ready(&id);
    assert_eq!(ready["attempt"], 1, "{ready:#}");
}

/// A worker whose disk becomes full gives its build back, and takes it again when there is room.
fn a_full_worker(shared: &mut Shared) {
    shared.workers[1] = None;
    let id = shared.order();
    // So small an image is made in less time than it takes to fill a disk.
    let held = Held::begin(shared, &id, "merge", &Hold::Sandbox);
    let filled = shared.disks[1].fill();
    held.let_go();
    wait_for("it is given back", LIMIT, || (shared.status(&id)["state"] == "waiting").then_some(()));
    std::fs::remove_file(filled).expect("there is room again");
    let ready = shared.ready(&id);
    assert_eq!(ready["attempt"], 2, "{ready:#}");
}

/// Each order has one image, that is whole; each was told of once; and nothing else is kept once the site has looked.
fn delivered_once(shared: &mut Shared) {
    let mut expected = BTreeSet::new();
    for id in &shared.orders {
        let order = shared.status(id);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let [file] = order["artifacts"].as_array().expect("files").as_slice() else { panic!("{order:#}") };
        expected.extend(super::places(&order));
        let (code, bytes) = shared.sites[0].download(&text(&file["url"]), 0);
        assert_eq!((code, Some(bytes.len() as u64)), (206, file["size"].as_u64()));
        std::fs::write(shared.dir.join("image"), &bytes).expect("it is written");
        let sum = std::process::Command::new("sha256sum").arg(shared.dir.join("image")).output().expect("sha256sum runs");
        assert!(String::from_utf8_lossy(&sum.stdout).starts_with(&text(&file["sha256"])));
    }
    // A server that was killed while it told of one is not heard of for 90 seconds; then another tells it again, under the same identifier.
    let told = || {
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let heard = shared.heard.lock().expect("what was heard").clone();
        for Heard { path, id } in heard {
            told.entry(path).or_default().insert(id);
        }
        told
    };
    wait_for("all are told", LIMIT, || (told().len() == shared.orders.len()).then_some(()));
    let told = told();
    assert!(told.values().all(|ids| ids.len() == 1), "each is told of once: {told:#?}");
    for site in &mut shared.sites {
        site.kill();
        site.resume();
    }
    wait_for("only what was given out is kept", Duration::from_secs(30), || {
        let stored = shared.stored();
        if stored != expected {
            eprintln!("still stored: {:?}", stored.difference(&expected).collect::<Vec<_>>());
        }
        (stored == expected).then_some(())
    });
}
