//! Bad input gets a clear message each, says what to do, and loses nothing. Through the executable, as a person meets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use e2e::{free_port, hatchery, sample_dir, user, wait_for};

/// A copy of the sample binhost that a test may spoil, with a configuration for it. Hard links make it cheap.
struct Mirror {
    dir: tempfile::TempDir,
}

impl Mirror {
    fn new() -> Self {
        let dir =
            tempfile::Builder::new().tempdir_in(sample_dir().parent().expect("a parent")).expect("a folder beside the sample");
        let status = Command::new("cp").arg("-al").arg(sample_dir().join("binhost")).arg(dir.path()).status().expect("cp runs");
        assert!(status.success());
        let mirror = Mirror { dir };
        let sample = sample_dir();
        let config = format!(
            "data_dir = \"{0}/data\"\n[[channel]]\nname = \"sample\"\ntitle = \"Sample\"\narch = \"amd64\"\nprofile = \"{1}/repo/profiles/default/linux/amd64/23.0\"\n\
             [[channel.binhost]]\nname = \"sample\"\nuri = \"file://{0}/binhost\"\nkeyring_file = \"{1}/key/certificate.asc\"\n",
            mirror.dir.path().display(),
            sample.display()
        );
        fs::write(mirror.path("hatchery.toml"), config).expect("the configuration is written");
        mirror
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The file of a package, made our own so that spoiling it leaves the sample whole.
    fn own_package(&self, cp: &str) -> PathBuf {
        let folder = self.path("binhost").join(cp);
        let file = fs::read_dir(folder).expect("the package is there").flatten().next().expect("a file").path();
        let bytes = fs::read(&file).expect("readable");
        fs::remove_file(&file).expect("removable");
        fs::write(&file, bytes).expect("writable");
        file
    }

    fn build(&self, packages: &str) -> Output {
        fs::write(self.path("order.toml"), format!("arch = \"amd64\"\npackages = [{packages}]\nformats = [\"tar.bz2\"]\n"))
            .expect("an order");
        self.run(Command::new(hatchery()).arg("build").arg(self.path("order.toml")).arg("-o").arg(self.path("out")))
    }

    fn plan(&self, packages: &str) -> Output {
        fs::write(self.path("order.toml"), format!("arch = \"amd64\"\npackages = [{packages}]\nformats = [\"tar.bz2\"]\n"))
            .expect("an order");
        self.run(Command::new(hatchery()).arg("plan").arg(self.path("order.toml")))
    }

    fn run(&self, command: &mut Command) -> Output {
        command
            .arg("--config")
            .arg(self.path("hatchery.toml"))
            .env("HATCHERY_DIR", self.path("data"))
            .output()
            .expect("hatchery runs")
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn says(output: &Output, code: i32, words: &[&str]) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "“{word}” is missing in:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

fn nothing_half_built(out: &Path) {
    let left: Vec<_> = fs::read_dir(out).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn an_unknown_package_is_named() {
    let mirror = Mirror::new();
    says(&mirror.plan("\"app-editors/nanoo\""), 2, &["app-editors/nanoo", "app-editors/nano"]);
}

#[test]
fn an_impossible_use_flag_is_named_with_the_nearest_build() {
    let mirror = Mirror::new();
    says(&mirror.plan("\"app-shells/bash[bashlogger]\""), 2, &["app-shells/bash", "bashlogger"]);
}

#[test]
fn a_malformed_order_says_where() {
    let mirror = Mirror::new();
    fs::write(
        mirror.path("order.toml"),
        "arch = \"amd64\"\npackages = [\"app-shells/bash\"]\nformats = [\"iso\"]\npasword = \"x\"\n",
    )
    .expect("an order");
    let output = mirror.run(Command::new(hatchery()).arg("plan").arg(mirror.path("order.toml")));
    says(&output, 1, &["pasword"]);
}

#[test]
fn a_truncated_package_is_refused() {
    let mirror = Mirror::new();
    let file = mirror.own_package("app-shells/bash");
    let size = file.metadata().expect("a file").len();
    fs::File::options().write(true).open(&file).and_then(|f| f.set_len(size / 2)).expect("cut");
    says(&mirror.build("\"app-shells/bash\""), 1, &["app-shells/bash", "trunc"]);
    nothing_half_built(&mirror.path("out"));
}

#[test]
fn a_tampered_package_is_refused() {
    let mirror = Mirror::new();
    let file = mirror.own_package("app-shells/bash");
    let mut bytes = fs::read(&file).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&file, bytes).expect("written");
    says(&mirror.build("\"app-shells/bash\""), 1, &["app-shells/bash"]);
    nothing_half_built(&mirror.path("out"));
}

#[test]
fn a_package_gone_from_its_mirror_is_named() {
    let mirror = Mirror::new();
    fs::remove_file(mirror.own_package("app-shells/bash")).expect("removed");
    says(&mirror.build("\"app-shells/bash\""), 2, &["app-shells/bash", "its file is not there", "another mirror"]);
    nothing_half_built(&mirror.path("out"));
}

#[test]
fn a_package_gone_from_a_web_mirror_is_named() {
    let mirror = Mirror::new();
    fs::remove_file(mirror.own_package("app-shells/bash")).expect("removed");
    let port = free_port();
    let mut web = Command::new("python3")
        .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"])
        .arg(mirror.path("binhost"))
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 runs");
    wait_for("the web server", Duration::from_secs(30), || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let config = fs::read_to_string(mirror.path("hatchery.toml")).expect("the configuration");
    let config = config.replace(&format!("file://{}", mirror.path("binhost").display()), &format!("http://127.0.0.1:{port}"));
    fs::write(mirror.path("hatchery.toml"), config).expect("the configuration is written");
    let output = mirror.build("\"app-shells/bash\"");
    web.kill().and_then(|()| web.wait()).expect("it ends");
    says(&output, 1, &["app-shells/bash", "no longer"]);
    nothing_half_built(&mirror.path("out"));
}

#[test]
fn a_mirror_that_is_gone_is_named() {
    let mirror = Mirror::new();
    fs::remove_dir_all(mirror.path("binhost")).expect("removed");
    says(&mirror.build("\"app-shells/bash\""), 1, &["sample", "binhost"]);
}

#[test]
fn a_full_disk_is_named() {
    let mirror = Mirror::new();
    fs::write(mirror.path("order.toml"), "arch = \"amd64\"\npackages = [\"@system\"]\nformats = [\"tar.bz2\"]\n")
        .expect("an order");
    // A file system of 24 MB, mounted in a namespace of its own. An ordinary user needs one for users too, with the ids a build needs.
    let small = mirror.path("small");
    fs::create_dir(&small).expect("a folder");
    let script = "mount -t tmpfs -o size=24m tmpfs \"$1\" && shift && exec \"$@\"";
    let output = Command::new("unshare")
        .args(if user::we_are_root() { &["-m"][..] } else { &["-Urm", "--map-auto"] })
        .args(["sh", "-c", script, "sh"])
        .arg(&small)
        .arg(hatchery())
        .arg("build")
        .arg(mirror.path("order.toml"))
        .arg("-o")
        .arg(small.join("out"))
        .arg("--config")
        .arg(mirror.path("hatchery.toml"))
        .env("HATCHERY_DIR", &small)
        .output()
        .expect("unshare runs");
    says(&output, 1, &["disk", "full"]);
}
