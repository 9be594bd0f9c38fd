//! Mirrors that fall silent, break off, lie, and change a file while it is used.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::site::Site;
use e2e::{sample_dir, user, wait_for};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(180);
/// Longer than a lease lives here (5 s).
const SILENCE: Duration = Duration::from_secs(7);

/// Whoever asks for a file of this package is served badly.
const SILENT: &str = "/app-arch/zip/";
const LYING: &str = "/net-misc/whois/";
const TORN: &str = "/sys-apps/file/";

/// Serves a binhost over HTTP, the files of some packages in ways of its own.
pub(super) fn mirror(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            // Whoever asks may hang up at any moment.
            std::thread::spawn(move || serve(&stream, &folder));
        }
    });
    address
}

fn serve(mut stream: &TcpStream, folder: &Path) -> Option<()> {
    let lines: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let from =
        lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let Ok(bytes) = std::fs::read(folder.join(path.trim_start_matches('/'))) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok();
    };
    let bytes = if path.contains(LYING) { std::fs::read(another(folder)).ok()? } else { bytes };
    let (status, start) = from.map_or(("200 OK", 0), |from| ("206 Partial Content", from.min(bytes.len())));
    let mut rest = bytes.get(start..)?.to_vec();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\nConnection: close\r\n\r\n",
        rest.len(),
        bytes.len().saturating_sub(1),
        bytes.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let breaks_off = from.is_none() && (path.contains(SILENT) || path.contains(TORN));
    if breaks_off {
        stream.write_all(rest.get(..rest.len() / 2)?).ok()?;
        if path.contains(SILENT) {
            std::thread::sleep(SILENCE);
        }
        return None;
    }
    if path.contains(TORN) {
        // The second half is that of another file.
        rest.iter_mut().for_each(|byte| *byte = !*byte);
    }
    stream.write_all(&rest).ok()
}

/// A good package, signed by who signs all of them, that nobody asked for.
fn another(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder.join("sys-apps/less")).expect("a package").flatten().map(|entry| entry.path());
    files.into_iter().next().expect("a file")
}

pub(super) fn channel(name: &str, uri: &str) -> String {
    let sample = sample_dir();
    format!(
        "[[channel]]\nname = '{name}'\ntitle = '{name}'\narch = 'amd64'\nprofile = '{0}/repo/profiles/default/linux/amd64/23.0'\n\
         [[channel.binhost]]\nname = '{name}'\nuri = '{uri}'\nkeyring_file = '{0}/key/certificate.asc'\n",
        sample.display()
    )
}

fn order(site: &Site, channel: &str, package: &str, hostname: &str) -> String {
    let wish = json!({
        "arch": "amd64", "channel": channel, "packages": ["sys-apps/baselayout", "app-shells/bash", "sys-apps/coreutils", package], "formats": ["tar.gz"],
        "system": {"hostname": hostname},
    });
    let (code, placed) = site.order(&wish);
    assert_eq!(code, 201, "{placed}");
    placed["id"].as_str().expect("an id").to_owned()
}

/// A copy of the sample's binhost that may be written to: links, and a file of its own for one package.
fn folder_of_our_own(dir: &Path, package: &str) -> (PathBuf, PathBuf) {
    let binhost = dir.join("binhost");
    let copied = Command::new("cp")
        .args(["-rs"])
        .arg(sample_dir().join("binhost").canonicalize().expect("the sample"))
        .arg(&binhost)
        .output();
    assert!(copied.is_ok_and(|output| output.status.success()), "cp");
    let file = std::fs::read_dir(binhost.join(package)).expect("a package").flatten().next().expect("a file").path();
    let bytes = std::fs::read(&file).expect("it is read");
    std::fs::remove_file(&file).expect("the link goes");
    std::fs::write(&file, bytes).expect("it is written");
    (binhost, file)
}

/// What an image, a tar.gz, holds at a path.
fn content(site: &Site, order: &Value, path: &str, dir: &Path) -> Vec<u8> {
    let (_, bytes) = site.download(order["artifacts"][0]["url"].as_str().expect("an address"), 0);
    std::fs::write(dir.join("image.tar.gz"), bytes).expect("it is written");
    let output =
        Command::new("tar").arg("-xOzf").arg(dir.join("image.tar.gz")).args(["--wildcards", &format!("*{path}")]).output();
    let output = output.expect("tar runs");
    assert!(output.status.success() && !output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_mirror_that_is_silent_lies_or_changes_a_file_gives_no_wrong_image() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let (binhost, file) = folder_of_our_own(dir.path(), "app-misc/jq");
    let address = mirror(sample_dir().join("binhost"));
    let channels = [channel("mirror", &address), channel("folder", &format!("file://{}", binhost.display()))].concat();
    user::give(dir.path());
    let site = Site::start(dir.path(), &channels);

    // What breaks off after a silence is continued, and meanwhile the worker is not taken for lost.
    let ready = site.wait(&order(&site, "mirror", "app-arch/zip", "silent"), "ready", LIMIT);
    assert_eq!(ready["attempt"], 1, "{ready:#}");

    // Another package under this one's name, however well signed, and a file of two halves are no packages.
    for (package, hostname) in [("net-misc/whois", "lying"), ("sys-apps/file", "torn")] {
        let failed = site.wait(&order(&site, "mirror", package, hostname), "failed", LIMIT);
        let failure = &failed["failure"];
        assert_eq!(failure["step"], "fetch", "{failed:#}");
        assert!(failure["package"].as_str().is_some_and(|name| name.starts_with(package)), "{failed:#}");
    }

    // A file that is another at every moment is merged as it was signed, or not at all.
    let good = std::fs::read(&file).expect("the package");
    let bad: Vec<u8> = good.iter().map(|byte| !byte).collect();
    let over = Arc::new(AtomicBool::new(false));
    let changing = std::thread::spawn({
        let (over, file, good) = (over.clone(), file.clone(), good.clone());
        move || {
            while !over.load(Ordering::Relaxed) {
                for bytes in [&bad, &good] {
                    std::fs::write(&file, bytes).expect("it is written");
                    std::thread::sleep(Duration::from_millis(3));
                }
            }
        }
    });
    let during = order(&site, "folder", "app-misc/jq", "during");
    let during = wait_for("the build ends", LIMIT, || {
        let status = site.json(&format!("/api/v1/orders/{during}"));
        ["ready", "failed"].contains(&status["state"].as_str().unwrap_or_default()).then_some(status)
    });
    over.store(true, Ordering::Relaxed);
    changing.join().expect("the file changes to the end");
    std::fs::write(&file, &good).expect("it is written");
    let after = site.wait(&order(&site, "folder", "app-misc/jq", "after"), "ready", LIMIT);
    eprintln!("while its file changed, the build was {}: {}", during["state"], during["failure"]["message"]);
    match during["state"] == "ready" {
        true => {
            let [during, after] = [&during, &after].map(|order| content(&site, order, "/usr/bin/jq", dir.path()));
            assert!(during == after, "the image holds what was not signed");
        }
        false => assert_eq!(during["failure"]["step"], "fetch", "{during:#}"),
    }
}
