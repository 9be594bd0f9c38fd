//! A simulated year of orders at a binhost, and the advice for it: `cargo run -p advice --example year -- Packages [md5-cache] [seed]`.
//!
//! People's tastes are made up by a seeded generator: packages and flags by Zipf's law (few are asked for often, most hardly ever), one to
//! three wishes an order. The binhost's index and the metadata cache are real.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use advice::{Budget, Demand, Known, Question, Repository, Wish, advise, ebuild, svg};
use gentoo::index::{Entry, Packages};
use gentoo::useflags::ImplicitIuse;

const ORDERS: usize = 4_000;
const BUILDS: u64 = 25;

/// Flags that hardly anybody asks an image builder for.
const DULL: [&str; 8] = ["debug", "doc", "examples", "gtk-doc", "selinux", "static-libs", "test", "verify-sig"];

struct Random(u64);

impl Random {
    /// A number below `end` (xorshift64*).
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end.max(1)
    }

    /// A rank below `end`, low ones far more often.
    fn rank(&mut self, end: usize) -> usize {
        let share = self.below(1 << 20) as f64 / f64::from(1 << 20);
        (((end + 1) as f64).powf(share) - 1.0) as usize
    }
}

fn main() -> Result<(), String> {
    let mut args = std::env::args().skip(1);
    let index = args.next().ok_or("usage: year Packages [md5-cache] [seed]")?;
    let cache = args.next().map(PathBuf::from);
    let seed = args.next().map_or(Ok(7), |text| text.parse::<u64>()).map_err(|e| e.to_string())?;
    let packages = Packages::from_bytes(std::fs::read(&index).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    let demands = year(&packages, &mut Random(seed.max(1)));
    let question = Question { budget: Budget { builds: Some(BUILDS), bytes: None }, max_added: 5 << 20 };
    let start = std::time::Instant::now();
    let repository = cache.map(|folder| -> Repository { Box::new(move |cp| ebuilds(&folder, cp)) });
    let implicit = ImplicitIuse::from_variables(&packages.header);
    let advice = advise(&demands, &Known::new(implicit, &packages.entries, [], repository), question);
    println!("{advice}");
    eprintln!("{} kinds of orders, worked out in {:.1?}", demands.len(), start.elapsed());
    std::fs::write("advice.svg", svg(&advice, str::to_owned)).map_err(|e| e.to_string())
}

/// Orders by what they lacked, and what they asked for and got.
fn year(index: &Packages, random: &mut Random) -> Vec<Demand> {
    let mut popular: Vec<&Entry> = index.entries.iter().filter(|e| e.iuse.iter().count() > 1).collect();
    popular.sort_by_key(|e| e.cpv.to_string().bytes().fold(7u64, |h, b| h.wrapping_mul(0x100_0000_01b3) ^ u64::from(b)));
    let mut kinds: BTreeMap<(Vec<String>, Vec<String>), u64> = BTreeMap::new();
    for _ in 0..ORDERS {
        let (mut unmet, mut met) = (Vec::new(), Vec::new());
        for _ in 0..=random.rank(3) {
            let Some(entry) = popular.get(random.rank(popular.len())) else { continue };
            let flags: Vec<&str> = entry.iuse_names().filter(|f| !f.contains('_') && !DULL.contains(f)).collect();
            let Some(flag) = flags.get(random.rank(flags.len())) else { continue };
            // Most want more than there is; some want a flag off.
            let on = random.below(10) < 8;
            let text = format!("{} {}{flag}", entry.cpv.cp(), if on { "" } else { "-" });
            let has = index.entries.iter().any(|e| e.cpv.cp() == entry.cpv.cp() && e.use_flags.contains(flag) == on);
            if has { met.push(text) } else { unmet.push(text) }
        }
        unmet.sort();
        unmet.dedup();
        met.sort();
        *kinds.entry((unmet, met)).or_default() += 1;
    }
    let wishes =
        |texts: &[String]| texts.iter().filter_map(|t| t.split_once(' ')).filter_map(|(p, f)| Wish::parse(p, [f]).ok()).collect();
    kinds.iter().map(|((unmet, met), orders)| Demand { orders: *orders, unmet: wishes(unmet), met: wishes(met) }).collect()
}

/// The ebuilds of a name in a metadata cache.
fn ebuilds(cache: &Path, cp: &str) -> Vec<Entry> {
    let (category, package) = cp.split_once('/').unwrap_or_default();
    let files = std::fs::read_dir(cache.join(category)).into_iter().flatten().flatten();
    let named = files.filter_map(|file| Some((file.file_name().into_string().ok()?, file.path())));
    let entry = |(name, path): (String, PathBuf)| {
        let text = std::fs::read_to_string(path).ok()?;
        ebuild(&format!("{category}/{name}"), &text).ok()
    };
    named.filter(|(name, _)| name.starts_with(package)).filter_map(entry).filter(|e| e.cpv.cp() == cp).collect()
}
