//! The databases and storages that the same tests run on: SQLite and a folder; and PostgreSQL and S3, real servers of both that one test
//! starts and all others then share. The S3 server is SeaweedFS, which sites really run, and which PyPI has as one file.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusty_s3::{Credentials, S3Action, UrlStyle};

/// Says where the servers are that the tests are to use; none means SQLite and a folder.
const POSTGRES: &str = "HATCHERY_TEST_POSTGRES";
const S3: &str = "HATCHERY_TEST_S3";
const BUCKET: &str = "hatchery";
const ACCESS_KEY: &str = "hatchery";
const SECRET_KEY: &str = "secret-of-the-tests";

/// What a site of these tests keeps its things in.
pub struct Backend {
    /// `database = …` and `[storage]` of its configuration.
    pub top: String,
    pub tables: String,
    /// The database as sqlx takes it.
    pub database: String,
}

/// The backend of the site in this folder, the same each time it is asked for.
pub fn of(dir: &Path) -> Backend {
    let (Ok(postgres), Ok(s3)) = (std::env::var(POSTGRES), std::env::var(S3)) else {
        let database = format!("sqlite://{}", dir.join("data/hatchery.sqlite").display());
        return Backend { top: String::new(), tables: String::new(), database };
    };
    let name = dir.file_name().unwrap().to_str().unwrap().replace(|c: char| !c.is_ascii_alphanumeric(), "x").to_lowercase();
    let name = format!("site_{name}");
    if !dir.join("secret").exists() {
        execute(&format!("{postgres}/postgres"), &format!("CREATE DATABASE {name}"));
        std::fs::write(dir.join("secret"), SECRET_KEY).unwrap();
    }
    let database = format!("{postgres}/{name}");
    let secret = dir.join("secret");
    Backend {
        top: format!("database = '{database}'\n"),
        tables: format!(
            "[storage]\nendpoint = '{s3}'\nbucket = '{BUCKET}'\nprefix = '{name}/'\naccess_key = '{ACCESS_KEY}'\n\
             secret_key_file = '{}'\n",
            secret.display()
        ),
        database,
    }
}

/// Whether files are in a storage of their own.
pub fn on_s3() -> bool {
    std::env::var_os(S3).is_some()
}

/// Executes statements in a database.
pub fn execute(database: &str, statements: &str) {
    sqlx::any::install_default_drivers();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        use sqlx::Connection;
        let mut connection = sqlx::AnyConnection::connect(database).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

/// The names of the files that a site keeps of a build, whole ones and others.
pub fn stored(dir: &Path, build: &str) -> Vec<String> {
    let Ok(s3) = std::env::var(S3) else {
        let mut names = Vec::new();
        for attempt in std::fs::read_dir(dir.join("data/artifacts").join(build)).into_iter().flatten() {
            let files = std::fs::read_dir(attempt.unwrap().path()).unwrap();
            names.extend(files.map(|file| file.unwrap().file_name().into_string().unwrap()));
        }
        return names;
    };
    let (bucket, credentials) = (bucket(&s3), Credentials::new(ACCESS_KEY, SECRET_KEY));
    let address = bucket.list_objects_v2(Some(&credentials)).sign(Duration::from_secs(60));
    let text = ureq::get(address.as_str()).call().unwrap().body_mut().read_to_string().unwrap();
    let keys = rusty_s3::actions::ListObjectsV2::parse_response(&text).unwrap().contents.into_iter().map(|object| object.key);
    let part = format!("/{build}/");
    keys.filter(|key| key.contains(&part)).filter_map(|key| Some(key.rsplit_once('/')?.1.to_owned())).collect()
}

fn bucket(s3: &str) -> rusty_s3::Bucket {
    rusty_s3::Bucket::new(s3.parse().unwrap(), UrlStyle::Path, BUCKET, "us-east-1").unwrap()
}

/// A server of one kind, ended with the test that started it.
pub struct Process(Child);

impl Process {}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// PostgreSQL with its data in a folder; its address without the name of a database. None, with a line that says so, where it is not
/// installed.
pub fn start_postgres(dir: &Path) -> Option<(Process, String)> {
    let Some(bin) = postgres_programs() else {
        println!("SKIPPED: needs PostgreSQL from Debian's package: run scripts/setup test");
        return None;
    };
    let data = dir.join("postgres");
    std::fs::create_dir(&data).unwrap();
    let user = ordinary_user();
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(&data, Some(uid), Some(gid)).unwrap();
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let made = as_user(&bin.join("initdb"), user)
        .args(["--no-sync", "--auth=trust", "--username=hatchery", "--encoding=UTF8", "--locale=C", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    Some((run_postgres(&data, port), format!("postgres://hatchery@127.0.0.1:{port}")))
}

/// Starts PostgreSQL on data that are there already.
pub fn run_postgres(data: &Path, port: u16) -> Process {
    let mut server = spawn_postgres(data, port);
    wait_for("PostgreSQL answers", || {
        // After a kill it does not start before the last process of the one before has ended.
        if server.0.try_wait().unwrap().is_some() {
            server = spawn_postgres(data, port);
        }
        let mut ready = Command::new(postgres_programs().unwrap().join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status().is_ok_and(|status| status.success())
    });
    server
}

fn spawn_postgres(data: &Path, port: u16) -> Process {
    // Nothing here is to outlive a power cut.
    let server = as_user(&postgres_programs().unwrap().join("postgres"), ordinary_user())
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=400",
        ])
        .args(["-p", &port.to_string(), "-D"])
        .arg(data)
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(data.with_extension("log")).unwrap())
        .spawn()
        .unwrap();
    Process(server)
}

fn postgres_programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|v| Some(v.ok()?.path())).collect();
    versions.sort();
    Some(versions.pop()?.join("bin")).filter(|bin| bin.join("initdb").exists())
}

/// PostgreSQL does not run as root; where the tests do, it runs as the user of Debian's package.
fn ordinary_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts.lines().find(|line| line.starts_with("postgres:")).expect("the account that Debian's package makes");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
    Some((fields.next().unwrap(), fields.next().unwrap()))
}

fn as_user(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
    command
}

/// SeaweedFS with its S3 interface and one bucket; its address. None, with a line that says so, where it is not installed.
pub fn start_s3(dir: &Path) -> Option<(Process, String)> {
    let program = crate::common::venv().join("bin/weed");
    if !program.exists() {
        println!("SKIPPED: needs SeaweedFS in {}: run scripts/setup test", program.display());
        return None;
    }
    let data = dir.join("s3");
    std::fs::create_dir(&data).unwrap();
    let config = dir.join("s3.json");
    let identity = format!(
        r#"{{"identities":[{{"name":"hatchery","credentials":[{{"accessKey":"{ACCESS_KEY}","secretKey":"{SECRET_KEY}"}}],
            "actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
    );
    std::fs::write(&config, identity).unwrap();
    // Each part listens on its port, and on that port with 10,000 added; both are below those that the system gives to connections.
    let random = std::iter::repeat_with(|| 20_000 + free_port() % 2_700);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut ports: Vec<u16> = Vec::new();
    for port in random.filter(|port| is_free(*port) && is_free(*port + 10_000)) {
        if !ports.contains(&port) {
            ports.push(port);
        }
        if ports.len() == 4 {
            break;
        }
    }
    let server = Command::new(program)
        .args([
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=100",
            // The default is a share of the whole disk, which a full machine may not have left.
            "-volume.minFreeSpace=20MiB",
        ])
        .arg(format!("-dir={}", data.display()))
        .arg(format!("-master.port={}", ports[0]))
        .arg(format!("-volume.port={}", ports[1]))
        .arg(format!("-filer.port={}", ports[2]))
        .arg(format!("-s3.port={}", ports[3]))
        .arg(format!("-s3.config={}", config.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("s3.log")).unwrap())
        .spawn()
        .unwrap();
    let server = Process(server);
    let address = format!("http://127.0.0.1:{}", ports[3]);
    let (bucket, credentials) = (bucket(&address), Credentials::new(ACCESS_KEY, SECRET_KEY));
    wait_for("the bucket is made", || {
        let create = bucket.create_bucket(&credentials).sign(Duration::from_secs(60));
        ureq::put(create.as_str()).send_empty().is_ok()
    });
    wait_for("the bucket takes files", || {
        let put = bucket.put_object(Some(&credentials), "probe").sign(Duration::from_secs(60));
        ureq::put(put.as_str()).send("x").is_ok()
    });
    Some((server, address))
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs all other tests of this program again, with servers of PostgreSQL and S3 that they share.
#[test]
fn all_of_it_on_postgresql_and_s3() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_postgres, postgres)) = start_postgres(dir.path()) else { return };
    let Some((_s3, s3)) = start_s3(dir.path()) else { return };
    let mut tests = Command::new(std::env::current_exe().unwrap())
        .args(["--skip", "all_of_it_on_postgresql_and_s3", "--skip", "sqlite", "--test-threads", "4"])
        .env(POSTGRES, postgres)
        .env(S3, s3)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = String::new();
    tests.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    let status = tests.wait().unwrap();
    println!("{output}");
    assert!(status.success(), "a test failed on PostgreSQL and S3; its name and reason are above");
    let passed: u32 = output.rsplit_once("test result: ok. ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(passed > 20, "only {passed} tests ran");
}
