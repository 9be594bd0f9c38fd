//! The lease protocol against a model of it: random interleavings of orders, workers, losses, restarts and clock jumps, after each of which
//! the database has to stand as the model does.

use attest::Digests;
use contract::lease::EndReport;
use contract::{Artifact, Failure, Format, Order, Plan, Step, System};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Again, Db, EndError, MAX_ATTEMPTS, Most, NewBuild, NewOrder, Placed, Upload, Uploaded};
use crate::clock;

const TTL: i64 = 60;
const WORKERS: usize = 3;

/// Something that happens.
#[derive(Clone, Debug)]
enum Op {
    /// Somebody orders one of a few images.
    Order {
        image: u8,
    },
    Cancel {
        order: usize,
    },
    /// Somebody wants an ended build again.
    Again {
        order: usize,
    },
    /// A worker takes one of the waiting builds, if it has none.
    Lease {
        worker: usize,
        pick: usize,
    },
    /// A worker reports, under the lease that it believes to have.
    Report {
        worker: usize,
    },
    Upload {
        worker: usize,
    },
    End {
        worker: usize,
        how: How,
    },
    /// A worker forgets all it had.
    Crash {
        worker: usize,
    },
    /// Time goes by while servers look at the leases each second.
    Pass {
        seconds: i64,
    },
    /// Time goes by while nobody looks, or a clock jumps, forward or back.
    Away {
        seconds: i64,
    },
}

/// How a worker says that a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Ready,
    Failed,
    GivenBack,
}

fn op() -> impl Strategy<Value = Op> {
    let worker = 0..WORKERS;
    let how = prop_oneof![2 => Just(How::Ready), 1 => Just(How::Failed), 1 => Just(How::GivenBack)];
    prop_oneof![
        3 => (0..3u8).prop_map(|image| Op::Order { image }),
        1 => (0..8usize).prop_map(|order| Op::Cancel { order }),
        1 => (0..8usize).prop_map(|order| Op::Again { order }),
        6 => (worker.clone(), 0..4usize).prop_map(|(worker, pick)| Op::Lease { worker, pick }),
        3 => worker.clone().prop_map(|worker| Op::Report { worker }),
        4 => worker.clone().prop_map(|worker| Op::Upload { worker }),
        4 => (worker.clone(), how).prop_map(|(worker, how)| Op::End { worker, how }),
        1 => worker.prop_map(|worker| Op::Crash { worker }),
        4 => (1..100i64).prop_map(|seconds| Op::Pass { seconds }),
        1 => prop_oneof![6..10_000i64, -10_000..-6i64].prop_map(|seconds| Op::Away { seconds }),
    ]
}

/// A build as the model has it. `state` is as the database names it.
#[derive(Clone, Debug)]
struct Build {
    id: String,
    image: u8,
    state: &'static str,
    cancel: bool,
    attempts: i64,
    forgiven: i64,
    lease: String,
    expires: i64,
    sent: bool,
    orders: Vec<usize>,
}

impl Build {
    fn may_go_back(&self) -> bool {
        self.attempts - self.forgiven < i64::from(MAX_ATTEMPTS)
    }
}

#[derive(Clone, Debug)]
struct Placing {
    id: String,
    build: usize,
    cancelled: bool,
    /// The notices that are owed for it.
    notices: Vec<&'static str>,
}

#[derive(Default)]
struct Model {
    builds: Vec<Build>,
    orders: Vec<Placing>,
    /// What each worker believes to hold: a build and its lease.
    held: [Option<(usize, String)>; WORKERS],
    watched: Option<i64>,
    leases: u32,
}

impl Model {
    fn holds(&self, worker: usize) -> Option<(usize, String, bool)> {
        let (build, lease) = self.held[worker].clone()?;
        let valid = self.builds[build].state == "building" && self.builds[build].lease == lease;
        Some((build, lease, valid))
    }

    fn tell(&mut self, build: usize, kind: &'static str) {
        for order in self.builds[build].orders.clone() {
            let order = &mut self.orders[order];
            if !order.cancelled && !order.notices.contains(&kind) {
                order.notices.push(kind);
            }
        }
    }

    /// A look at the leases.
    fn look(&mut self) {
        if !self.builds.iter().any(|b| b.state == "building") {
            return;
        }
        let now = clock::now();
        if self.watched.is_none_or(|last| (now - last).abs() > 5) {
            for build in self.builds.iter_mut().filter(|b| b.state == "building") {
                (build.expires, build.forgiven) = (now + TTL, build.attempts);
            }
        }
        self.watched = Some(now);
        for at in 0..self.builds.len() {
            let build = &mut self.builds[at];
            if build.state != "building" || build.expires > now {
                continue;
            }
            build.lease.clear();
            if build.cancel {
                build.state = "cancelled";
            } else if build.may_go_back() {
                build.state = "waiting";
            } else {
                build.state = "failed";
                self.tell(at, "failed");
            }
        }
    }
}

fn plan() -> Plan {
    serde_json::from_str(
        r#"{"version":1,"arch":"amd64","channel":"c","chost":"x86_64-pc-linux-gnu","binhosts":[],"world":[],"packages":[]}"#,
    )
    .unwrap()
}

fn failure() -> Failure {
    Failure::new(Step::Merge, "no", "order less")
}

fn report(how: How) -> EndReport {
    let Digests { size, sha256, sha512, blake2b } = Digests::of(b"image");
    let artifact = Artifact { name: "x.zip".into(), format: Format::Zip, size, sha256, sha512, blake2b };
    match how {
        How::Ready => EndReport::Ready { artifacts: vec![artifact], plan: Box::new(plan()), messages: vec![], evidence: vec![] },
        How::Failed => EndReport::Failed { failure: failure() },
        How::GivenBack => EndReport::GivenBack { failure: failure() },
    }
}

/// Places an order in both; they have to join it to the same build.
async fn place(db: &Db, model: &mut Model, image: u8) {
    let (id, build_id) = (format!("order{}", model.orders.len()), format!("build{}", model.builds.len()));
    let (request, plan, system, work) = (Order::default(), plan(), System::default(), queue::Work::default());
    let sketch = queue::Sketch::default();
    let order = NewOrder {
        id: &id,
        title: "t",
        request: &request,
        email: None,
        address_token: "",
        ask: false,
        webhook: Some("https://example.org/"),
        browsers_of: None,
        language: crate::words::Language::German,
        account: None,
        user: "",
        idempotency_key: None,
        request_hash: "",
        most: None,
    };
    let key = format!("image{image}");
    let build = NewBuild {
        id: &build_id,
        join_key: &key,
        channel: "c",
        image_name: "x",
        notice: "",
        formats: &[Format::Zip],
        system: &system,
        plan: &plan,
        work: &work,
        sketch: &sketch,
        lacking: None,
    };
    let Placed::New { build, .. } = db.place(&order, &build).await.unwrap() else { panic!("every order is new") };
    let at = equal(model, image).unwrap_or_else(|| {
        let (lease, orders) = (String::new(), Vec::new());
        model.builds.push(Build {
            id: build_id.clone(),
            image,
            state: "waiting",
            cancel: false,
            attempts: 0,
            forgiven: 0,
            lease,
            expires: 0,
            sent: false,
            orders,
        });
        model.builds.len() - 1
    });
    assert_eq!(build, model.builds[at].id, "the order joins the build that is equal");
    let number = model.orders.len();
    let notices = if model.builds[at].state == "ready" { vec!["ready"] } else { vec![] };
    model.builds[at].orders.push(number);
    model.orders.push(Placing { id, build: at, cancelled: false, notices });
}

/// The build that an order of this image is joined to: one that is ready, or else the first that waits or runs.
fn equal(model: &Model, image: u8) -> Option<usize> {
    let fits = |b: &&(usize, &Build)| b.1.image == image && !b.1.cancel && matches!(b.1.state, "waiting" | "building" | "ready");
    let all: Vec<(usize, &Build)> = model.builds.iter().enumerate().collect();
    all.iter().filter(fits).find(|b| b.1.state == "ready").or_else(|| all.iter().find(fits)).map(|b| b.0)
}

async fn lease(db: &Db, model: &mut Model, worker: usize, pick: usize) {
    let waiting: Vec<usize> = (0..model.builds.len()).filter(|at| model.builds[*at].state == "waiting").collect();
    // A build that does not wait is asked for as well: somebody else may have been quicker.
    let Some(at) = waiting.get(pick).copied().or((!model.builds.is_empty()).then(|| pick % model.builds.len())) else { return };
    if model.held[worker].is_some() {
        return;
    }
    model.leases += 1;
    let lease = format!("lease{}", model.leases);
    let others = model.builds.iter().enumerate().any(|(other, b)| other != at && b.state == "building");
    let got = db.lease(&model.builds[at].id, &lease, &format!("w{worker}"), TTL as u64).await.unwrap();
    let build = &mut model.builds[at];
    assert_eq!(got.is_some(), build.state == "waiting", "a build is leased when it waits, and only then");
    if got.is_none() {
        return;
    }
    build.attempts += 1;
    (build.state, build.lease, build.expires, build.sent) = ("building", lease.clone(), clock::now() + TTL, false);
    assert_eq!(i64::from(got.unwrap().attempt), build.attempts);
    model.held[worker] = Some((at, lease));
    if !others {
        model.watched = Some(clock::now());
    }
}

async fn end(db: &Db, model: &mut Model, worker: usize, how: How) {
    let Some((at, lease, valid)) = model.holds(worker) else { return };
    model.held[worker] = None;
    let ended = db.end(&model.builds[at].id, &lease, &report(how), &[]).await;
    let build = &mut model.builds[at];
    if !valid {
        assert!(matches!(ended, Err(EndError::LeaseLost)), "a lease that is lost ends nothing: {ended:?}");
        return;
    }
    if how == How::Ready && !build.sent && !build.cancel {
        assert!(matches!(ended, Err(EndError::Disagrees(_))), "what was not sent is no image: {ended:?}");
        return;
    }
    let (state, kind) = match (build.cancel, how) {
        (true, _) => ("cancelled", None),
        (false, How::Ready) => ("ready", Some("ready")),
        (false, How::GivenBack) if build.may_go_back() => ("waiting", None),
        (false, How::Failed | How::GivenBack) => ("failed", Some("failed")),
    };
    assert_eq!(ended.unwrap().name(), state);
    build.state = state;
    if state == "waiting" {
        build.lease.clear();
        return;
    }
    if let Some(kind) = kind {
        model.tell(at, kind);
    }
    let again = db.end(&model.builds[at].id, &lease, &report(how), &[]).await;
    assert_eq!(again.unwrap().name(), state, "the same report again changes nothing");
}

async fn cancel(db: &Db, model: &mut Model, order: usize) {
    let Some(placing) = model.orders.get(order).cloned() else { return };
    let open = matches!(model.builds[placing.build].state, "waiting" | "building");
    assert_eq!(db.cancel_order(&placing.id).await.unwrap(), open && !placing.cancelled);
    if !open || placing.cancelled {
        return;
    }
    model.orders[order].cancelled = true;
    if model.builds[placing.build].orders.iter().all(|order| model.orders[*order].cancelled) {
        let build = &mut model.builds[placing.build];
        build.cancel = true;
        if build.state == "waiting" {
            build.state = "cancelled";
        }
    }
}

async fn again(db: &Db, model: &mut Model, order: usize) {
    let Some(placing) = model.orders.get(order).cloned() else { return };
    let possible = !placing.cancelled && model.builds[placing.build].state == "failed";
    let got = db.order_again(&placing.id, &Most { waiting: u64::MAX, per_hour: None, open: u32::MAX }).await.unwrap();
    if !possible {
        return assert_eq!(got, Again::Nothing);
    }
    let old = placing.build;
    let at = equal(model, model.builds[old].image).unwrap_or_else(|| {
        let build = &mut model.builds[old];
        (build.state, build.cancel, build.forgiven, build.lease) = ("waiting", false, build.attempts, String::new());
        old
    });
    assert_eq!(got, Again::Queued(model.builds[at].id.clone()));
    model.builds[old].orders.retain(|o| *o != order);
    model.builds[at].orders.push(order);
    model.orders[order].build = at;
    model.orders[order].notices = if model.builds[at].state == "ready" { vec!["ready"] } else { vec![] };
}

async fn look(db: &Db, model: &mut Model) {
    db.expire_leases(TTL as u64, |_| failure()).await.unwrap();
    model.look();
}

async fn step(db: &Db, model: &mut Model, op: &Op) {
    match *op {
        Op::Order { image } => place(db, model, image).await,
        Op::Cancel { order } => cancel(db, model, order).await,
        Op::Again { order } => again(db, model, order).await,
        Op::Lease { worker, pick } => lease(db, model, worker, pick).await,
        Op::Report { worker } => {
            let Some((at, lease, valid)) = model.holds(worker) else { return };
            let got = db.record_events(&model.builds[at].id, &lease, 0, &[], TTL as u64).await.unwrap();
            assert_eq!(got.map(|recorded| recorded.cancel).ok(), valid.then_some(model.builds[at].cancel));
            match valid {
                true => model.builds[at].expires = clock::now() + TTL,
                false => model.held[worker] = None,
            }
        }
        Op::Upload { worker } => {
            let Some((at, lease, valid)) = model.holds(worker) else { return };
            let upload = Upload { name: "x.zip".into(), digests: Digests::of(b"image") };
            let noted = db.record_upload(&model.builds[at].id, &lease, &upload).await.unwrap();
            assert_eq!(noted, if valid { Uploaded::Noted } else { Uploaded::LeaseLost });
            model.builds[at].sent |= valid;
        }
        Op::End { worker, how } => end(db, model, worker, how).await,
        Op::Crash { worker } => model.held[worker] = None,
        Op::Pass { seconds } => {
            // Looking every few seconds is often enough to be there all the time.
            for _ in 0..seconds / 4 {
                clock::advance(4);
                look(db, model).await;
            }
            clock::advance(seconds % 4);
            look(db, model).await;
        }
        Op::Away { seconds } => {
            clock::advance(seconds);
            look(db, model).await;
        }
    }
}

/// The database stands as the model does.
async fn compare(db: &Db, model: &Model) {
    for build in &model.builds {
        let row = db.build(&build.id).await.unwrap().unwrap();
        assert_eq!((row.state.name(), i64::from(row.attempts)), (build.state, build.attempts), "{}", build.id);
        let files = db.artifacts(&build.id).await.unwrap().len();
        assert_eq!(files, usize::from(build.state == "ready"), "there are files when it is ready, and only then");
    }
    for order in &model.orders {
        let row = db.order(&order.id).await.unwrap().unwrap();
        assert_eq!((row.build.as_str(), row.cancelled), (model.builds[order.build].id.as_str(), order.cancelled));
        let mut kinds: Vec<String> =
            sqlx::query_scalar("SELECT kind FROM outbox WHERE order_id = $1").bind(&order.id).fetch_all(&db.pool).await.unwrap();
        kinds.sort();
        let mut expected = order.notices.clone();
        expected.sort_unstable();
        assert_eq!(kinds, expected, "{}: each notice is owed once", order.id);
    }
}

async fn run(ops: &[Op]) {
    let shm = std::path::Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let db = Db::open(dir.path().join("db").to_str().unwrap()).await.unwrap();
    let mut model = Model::default();
    clock::advance(0);
    for op in ops {
        step(&db, &mut model, op).await;
        compare(&db, &model).await;
    }
    db.close().await;
}

#[test]
fn leases_are_as_their_model_has_it() {
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, max_shrink_iters: 200, ..Config::default() });
    runner
        .run(&prop::collection::vec(op(), 1..60), |ops| {
            // On one thread, so that the clock is this test's own.
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(&ops));
            Ok(())
        })
        .unwrap();
}
