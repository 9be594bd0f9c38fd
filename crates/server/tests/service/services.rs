//! Real servers of PostgreSQL and S3, started for tests. The S3 server is SeaweedFS, which sites really run, and which PyPI has as one file.
//! The tests of this crate use them and, by this file's path, those of the whole.
#![allow(dead_code, reason = "each of the two uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const ACCESS_KEY: &str = "hatchery";
pub const SECRET_KEY: &str = "secret-of-the-tests";

/// A server of one kind, ended with the test that started it.
pub struct Process(Child);

impl Process {
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

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

/// A program that comes with PostgreSQL.
pub fn postgres_program(name: &str) -> Option<Command> {
    Some(as_user(&postgres_programs()?.join(name), ordinary_user()))
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

/// SeaweedFS that has just been started.
pub struct S3Server {
    pub process: Process,
    /// Of its S3 interface, which answers only after a while.
    pub address: String,
    /// Of its filer, which makes buckets as folders below `/buckets` and lists what is in them.
    pub filer: String,
}

/// Starts SeaweedFS with its data in the folder `s3` below this one, which may be there already. None, with a line that says so, where it is
/// not installed in `venv`.
pub fn start_s3(dir: &Path, venv: &Path) -> Option<S3Server> {
    let program = venv.join("bin/weed");
    if !program.exists() {
        println!("SKIPPED: needs SeaweedFS in {}: run scripts/setup test", program.display());
        return None;
    }
    let data = dir.join("s3");
    std::fs::create_dir_all(&data).unwrap();
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
            // Their ports are fixed, so that a second server on the machine would end at once.
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
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
    let address = |port: u16| format!("http://127.0.0.1:{port}");
    Some(S3Server { process: Process(server), address: address(ports[3]), filer: address(ports[2]) })
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A webhook that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The path it was sent to.
    pub path: String,
    /// What tells one notice from another, however often it is sent.
    pub id: String,
}

/// A receiver of webhooks that answers each; its address, and what it has heard.
pub fn receiver() -> (String, Arc<Mutex<Vec<Heard>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
    let kept = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let lines: Vec<String> = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
            let id = lines.iter().find_map(|line| line.strip_prefix("webhook-id: "));
            kept.lock().unwrap().extend(id.map(|id| Heard { path, id: id.to_owned() }));
            // Whoever sends may have been killed meanwhile.
            let _ = reader.into_inner().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    });
    (url, heard)
}
