//! Measures the resolver on an index: loading it, a warm plan for each request, searching as one types, memory. Times are CPU time. See
//! `bench/resolve.py`.
//!
//! usage: bench_resolve INDEX [--scale N] [--ignore-built] [--once] < requests (atoms of one request per line)
//! Prints one JSON object; with `--once`, reads the index and makes each plan once, and prints nothing.

use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use contract::BinhostRef;
use gentoo::index::Packages;
use nix::time::ClockId;
use resolver::{Binhost, Profile, Source, Universe, Wanted};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().expect("usage: bench_resolve INDEX [--scale N] [--ignore-built] < requests");
    let scale = args.iter().position(|a| a == "--scale").and_then(|i| args.get(i + 1)).and_then(|n| n.parse().ok());
    let bytes = std::fs::read(path).expect("the index can be read");
    let flag = |name: &str| args.iter().any(|a| a == name);
    let requests = read_requests();
    let mut watch = Stopwatch::started();
    let mut index = Packages::parse(&bytes).expect("the index is one");
    let parse = watch.spent();
    if flag("--once") {
        let universe = Universe::new(source(index, flag("--ignore-built")));
        requests.iter().for_each(|r| drop(universe.resolve(r)));
        return;
    }
    if let Some(wanted) = scale {
        grow(&mut index, wanted);
    }
    let bytes = index.to_bytes();
    let (load, universe) = median(5, |watch| {
        let copy = bytes.clone();
        watch.restart();
        let index = Packages::from_bytes(copy).expect("what was written can be read");
        Universe::new(source(index, flag("--ignore-built")))
    });
    let (mut cold, mut warm, mut packages, mut plans) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for wanted in &requests {
        watch.restart();
        let first = universe.resolve(wanted);
        cold.push(watch.spent());
        plans += usize::from(first.is_ok());
        packages.push(first.map_or(0, |r| r.plan.packages.len()));
        warm.push(median(5, |_| universe.resolve(wanted).is_ok()).0);
    }
    let words = ["p", "py", "pyt", "python", "kde", "lib", "zzz", "text editor", "o"];
    let search = words.iter().map(|w| median(5, |_| universe.search(w, 20).len()).0).max().unwrap_or_default();
    println!(
        "{}",
        serde_json::json!({
            "entries": universe.len(), "index_bytes": bytes.len(), "parse_ms": ms(parse), "load_ms": ms(load), "requests": requests.len(),
            "plans": plans, "largest_plan": packages.iter().max(), "warm_median_ms": ms(quantile(&warm, 50)), "warm_p99_ms": ms(quantile(&warm, 99)),
            "warm_max_ms": ms(quantile(&warm, 100)), "warm_total_ms": ms(warm.iter().sum()), "cold_total_ms": ms(cold.iter().sum()),
            "search_max_ms": ms(search), "peak_rss_kib": peak_rss(),
        })
    );
}

fn read_requests() -> Vec<Wanted> {
    let lines = std::io::stdin().lock().lines().map_while(Result::ok);
    lines
        .filter(|l| !l.trim().is_empty() && !l.starts_with('#'))
        .map(|l| Wanted { atoms: l.split_whitespace().map(str::to_owned).collect(), services: Vec::new() })
        .collect()
}

fn source(index: Packages, ignore_built: bool) -> Source {
    let access = BinhostRef { name: "bench".into(), uri: "file:///bench".into(), index_sha256: String::new(), timestamp: 0 };
    let mut profile = Profile::minimal(index.header.get("ARCH").map_or("amd64", String::as_str));
    profile.accept_keywords.extend("**");
    profile.set_accept_license("*");
    let source = Source::new(vec![Binhost { access, index: Arc::new(index) }], profile);
    Source { ignore_built_slot_operators: ignore_built, prefer_binhost_order: false, ..source }
}

/// Adds copies of the entries under other names until there are `wanted`.
fn grow(index: &mut Packages, wanted: usize) {
    let original = index.entries.clone();
    for round in 1.. {
        for entry in &original {
            if index.entries.len() >= wanted {
                return;
            }
            let mut copy = entry.clone();
            copy.cpv.package = format!("{}-copy{round}x", copy.cpv.package);
            copy.path = format!("copy{round}/{}", copy.path).into();
            index.entries.push(copy);
        }
        if original.is_empty() {
            return;
        }
    }
}

/// Measures the CPU time of this thread, which others on the machine lengthen less than they do the time of day.
struct Stopwatch(Duration);

impl Stopwatch {
    fn started() -> Stopwatch {
        Stopwatch(Stopwatch::now())
    }

    fn now() -> Duration {
        ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("Linux has this clock").into()
    }

    fn restart(&mut self) {
        self.0 = Stopwatch::now();
    }

    fn spent(&self) -> Duration {
        Stopwatch::now() - self.0
    }
}

fn median<T>(times: usize, mut run: impl FnMut(&mut Stopwatch) -> T) -> (Duration, T) {
    let mut spent = Vec::new();
    let mut last = None;
    for _ in 0..times.max(1) {
        // What the run before made is let go of outside the time.
        drop(last.take());
        let mut watch = Stopwatch::started();
        last = Some(run(&mut watch));
        spent.push(watch.spent());
    }
    (quantile(&spent, 50), last.expect("it ran at least once"))
}

fn quantile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get((sorted.len().saturating_sub(1)) * percent / 100).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 1e2
}

fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}
