//! The sandbox itself: what a crash leaves, and limits.

mod common;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Bench, base_system};
use composer::sandbox::{self, Area, Listener, PhaseHost, RunEnd, Scan};
use image::Tree;

struct Quiet {
    cancel: bool,
}

impl Listener for Quiet {
    fn line(&mut self, _line: &str) {}
    fn answer(&mut self, _words: &[String]) -> String {
        String::new()
    }
    fn cancelled(&mut self) -> bool {
        self.cancel
    }
}

fn bash(line: &str, timeout: u64) -> sandbox::Command {
    let argv = ["/bin/bash", "-c", line].map(str::to_owned).to_vec();
    sandbox::Command { argv, env: vec![("PATH".into(), "/usr/bin:/bin".into())], timeout, ..sandbox::Command::default() }
}

fn base_tree(bench: &Bench) -> Tree {
    bench.merge(&[base_system()], &common::Log::default()).unwrap().tree
}

#[test]
fn it_can_be_had_here_and_leaves_nothing() {
    let bench = Bench::new();
    sandbox::check(&bench.work_dir()).unwrap();
    assert_eq!(std::fs::read_dir(bench.work_dir()).unwrap().count(), 0);
}

#[test]
fn commands_are_stopped_in_time_and_on_request() {
    let bench = Bench::new();
    let tree = base_tree(&bench);
    let mut host = PhaseHost::start(&bench.work_dir()).unwrap();
    host.sync(Area::Target, &tree, &bench.store).unwrap();
    // A daemon that outlives its script must not be waited for.
    let ran = host.run(&bash("sleep 1000 & exit 3", 60), &mut Quiet { cancel: false }).unwrap();
    assert_eq!(ran.end, RunEnd::Exit(3));
    let ran = host.run(&bash("echo said; sleep 1000", 1), &mut Quiet { cancel: false }).unwrap();
    assert_eq!((ran.end, ran.tail), (RunEnd::TimedOut, vec!["said".to_owned()]));
    let ran = host.run(&bash("sleep 1000", 60), &mut Quiet { cancel: true }).unwrap();
    assert_eq!(ran.end, RunEnd::Cancelled);
    host.close().unwrap();
}

#[test]
fn a_link_out_of_the_root_is_only_a_link() {
    let bench = Bench::new();
    let mut tree = base_tree(&bench);
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("f"), "untouched").unwrap();
    let mut host = PhaseHost::start(&bench.work_dir()).unwrap();
    host.sync(Area::Target, &tree, &bench.store).unwrap();
    let line = format!("rm -r /opt /mnt && ln -s {} /opt && ln -s /proc/1/root /mnt", secret.path().display());
    assert!(host.run(&bash(&line, 60), &mut Quiet { cancel: false }).unwrap().succeeded());
    host.scan(Area::Target, &mut tree, &bench.store, &Scan { time: 0, thorough: false }).unwrap();
    assert!(tree.get("opt").unwrap().is_symlink() && tree.below("mnt").is_empty());
    assert!(tree.write_file(&bench.store, "opt/f", b"inside", 0o644).is_ok());
    host.sync(Area::Target, &tree, &bench.store).unwrap();
    assert_eq!(std::fs::read_to_string(secret.path().join("f")).unwrap(), "untouched");
    host.close().unwrap();
}

/// Runs itself as a process of its own that is killed in the middle of a phase.
#[test]
fn a_killed_composer_takes_its_processes_along_and_its_files_are_swept() {
    const WORK: &str = "COMPOSER_TEST_WORK_DIR";
    if let Some(dir) = std::env::var_os(WORK) {
        let bench = Bench::new();
        let tree = base_tree(&bench);
        let mut host = PhaseHost::start(Path::new(&dir)).unwrap();
        host.sync(Area::Target, &tree, &bench.store).unwrap();
        struct Tell;
        impl Listener for Tell {
            fn line(&mut self, line: &str) {
                eprintln!("{line}");
            }
        }
        host.run(&bash("chown 5:5 /etc; echo running; exec -a hatchery-victim sleep 1000", 1000), &mut Tell).unwrap();
        return;
    }
    let bench = Bench::new();
    std::fs::create_dir_all(bench.work_dir()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_composer_takes_its_processes_along_and_its_files_are_swept", "--nocapture"])
        .env(WORK, bench.work_dir())
        .env("TMPDIR", bench.dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    let mut byte = [0];
    while !said.contains("running\n") && stderr.read(&mut byte).unwrap() > 0 {
        said.push(char::from(byte[0]));
    }
    assert!(said.contains("running\n"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
    // The pipe's other ends close when all its processes are gone.
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(std::fs::read_dir(bench.work_dir()).unwrap().count(), 1);
    sandbox::sweep(&bench.work_dir()).unwrap();
    assert_eq!(std::fs::read_dir(bench.work_dir()).unwrap().count(), 0);
    sandbox::remove_tree(&bench.work_dir()).unwrap();
    assert!(!bench.work_dir().exists());
}

#[test]
fn an_architecture_whose_programs_do_not_run_here_is_refused() {
    let bench = Bench::new();
    let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let found = sandbox::arches(&bench.work_dir()).unwrap();
    println!("{found:?}");
    assert!(found.contains(&own), "{found:?}");
    for arch in ["amd64", "x86", "arm64", "arm", "riscv"] {
        match sandbox::check_arch(&bench.work_dir(), arch) {
            Ok(()) => assert!(found.contains(&arch), "{arch}"),
            Err(sandbox::SandboxError::Unavailable { message, advice }) => {
                assert!(!found.contains(&arch) && message.contains(arch) && advice.contains("qemu-user-static"), "{message}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let error = sandbox::check_arch(&bench.work_dir(), "vax").unwrap_err();
    assert!(error.to_string().contains("vax"), "{error}");
    assert_eq!(std::fs::read_dir(bench.work_dir()).unwrap().count(), 0);
}
