//! Merges binary packages as `bench/compose.py` asks for it, and tells what it cost as one line of JSON.
//!
//! usage: bench_merge [--host] STORE FILE...    the packages in the order to merge them in; `--host` puts a base made of this
//! machine's bash, C library and tools before them, for packages that bring none.

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

use common::{Item, host_tools, plan, planned};
use composer::{MergeRequest, Observer};
use contract::PlannedPackage;
use gentoo::binpkg::BinaryPackage;
use gentoo::gpkg::Signatures;
use image::Store;

struct Verbose(bool);

impl Observer for Verbose {
    fn progress(&self, _done: u64, _total: u64, _what: &str) {}
    fn log(&self, line: &str) {
        if self.0 {
            eprintln!("{line}");
        }
    }
    fn cancelled(&self) -> bool {
        false
    }
}

fn open(path: &str) -> BinaryPackage {
    BinaryPackage::open(File::open(path).unwrap(), path, Signatures::Ignored).unwrap()
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == composer::sandbox::HELPER_ARGUMENT) {
        return composer::sandbox::helper_main();
    }
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let host = arguments.first().is_some_and(|argument| argument == "--host");
    if host {
        arguments.remove(0);
    }
    let store_dir = arguments.remove(0);
    let packages: Vec<(String, String)> = arguments.into_iter().map(|path| (open(&path).cpv().unwrap(), path)).collect();
    let base = match host {
        true => vec![
            host_tools("sys-libs/glibc-2.36", "grep sed gawk mawk getent ldconfig openssl gzip")
                .item("usr/bin/awk", Item::Link("mawk".into())),
            {
                let mut shadow = host_tools("sys-apps/shadow-4.13", "groupadd useradd usermod groupmod");
                shadow.items.retain(|(path, _)| {
                    path.starts_with("usr/bin/") || ["pam", "audit", "semanage"].iter().any(|name| path.contains(name))
                });
                shadow
            },
        ],
        false => Vec::new(),
    };
    let plan =
        plan(base.iter().map(|pack| &pack.cpv).chain(packages.iter().map(|(cpv, _)| cpv)).map(|cpv| planned(cpv)).collect());
    let store = Store::open(&store_dir).unwrap();
    let work_dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let before = cpu();
    let mut fetch = |wanted: &PlannedPackage| {
        let real = packages.iter().find(|(cpv, _)| *cpv == wanted.cpv).map(|(_, path)| open(path));
        real.or_else(|| base.iter().find(|pack| pack.cpv == wanted.cpv).map(common::Pack::build)).ok_or("no such package")
    };
    let request = MergeRequest { plan: &plan, store: &store, work_dir: work_dir.path(), notice: "", base: None };
    let root = match composer::merge(request, &mut fetch, &Verbose(std::env::var_os("VERBOSE").is_some())) {
        Ok(root) => root,
        Err(error) => {
            eprintln!("{error}\n{}", error.output.join("\n"));
            return ExitCode::FAILURE;
        }
    };
    let used: f64 = cpu().iter().zip(before).map(|(after, before)| after - before).sum();
    println!(
        "{{\"packages\": {}, \"files\": {}, \"seconds\": {:.3}, \"cpu\": {used:.3}, \"peak_kib\": {}}}",
        packages.len(),
        root.tree.len(),
        begun.elapsed().as_secs_f64(),
        peak_kib()
    );
    ExitCode::SUCCESS
}

/// CPU seconds of this process and of its children that have ended (getrusage(2)).
fn cpu() -> [f64; 2] {
    use nix::sys::resource::{UsageWho, getrusage};
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].map(|who| {
        let usage = getrusage(who).unwrap();
        [usage.user_time(), usage.system_time()].iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum()
    })
}

/// The most memory this process had, or any of its children, whichever is more.
fn peak_kib() -> i64 {
    use nix::sys::resource::{UsageWho, getrusage};
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].map(|who| getrusage(who).unwrap().max_rss()).into_iter().max().unwrap_or(0)
}
