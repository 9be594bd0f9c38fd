//! The databases and storages that the same tests run on: SQLite and a folder; and PostgreSQL and S3, real servers of both that one test
//! starts and all others then share.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rusty_s3::{Credentials, S3Action, UrlStyle};

use crate::services::{self, ACCESS_KEY, Process, S3Server, SECRET_KEY, start_postgres, wait_for};

/// Says where the servers are that the tests are to use; none means SQLite and a folder.
const POSTGRES: &str = "HATCHERY_TEST_POSTGRES";
const S3: &str = "HATCHERY_TEST_S3";
const BUCKET: &str = "hatchery";

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

/// Does something while somebody else is writing, for whom all other writers of the site wait.
pub fn while_written<T>(database: &str, work: impl FnOnce() -> T) -> T {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let writing = match database.starts_with("sqlite:") {
        true => "BEGIN IMMEDIATE",
        false => "BEGIN; SELECT pg_advisory_xact_lock(7521420822987502201)",
    };
    use sqlx::Connection;
    let mut connection = runtime.block_on(sqlx::AnyConnection::connect(database)).unwrap();
    runtime.block_on(sqlx::raw_sql(writing).execute(&mut connection)).unwrap();
    let done = work();
    runtime.block_on(sqlx::raw_sql("ROLLBACK").execute(&mut connection)).unwrap();
    runtime.block_on(connection.close()).unwrap();
    done
}

/// The texts that a query of one column finds.
pub fn texts(database: &str, query: &'static str) -> Vec<String> {
    sqlx::any::install_default_drivers();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        use sqlx::Connection;
        let mut connection = sqlx::AnyConnection::connect(database).await.unwrap();
        let found = sqlx::query_scalar(query).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        found
    })
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

/// SeaweedFS with its one bucket; its address. None, with a line that says so, where it is not installed.
fn start_s3(dir: &Path) -> Option<(Process, String)> {
    let S3Server { process, address, .. } = services::start_s3(dir, &crate::common::venv())?;
    let (bucket, credentials) = (bucket(&address), Credentials::new(ACCESS_KEY, SECRET_KEY));
    wait_for("the bucket is made", || {
        let create = bucket.create_bucket(&credentials).sign(Duration::from_secs(60));
        ureq::put(create.as_str()).send_empty().is_ok()
    });
    wait_for("the bucket takes files", || {
        let put = bucket.put_object(Some(&credentials), "probe").sign(Duration::from_secs(60));
        ureq::put(put.as_str()).send("x").is_ok()
    });
    Some((process, address))
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
