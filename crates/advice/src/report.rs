//! The advice in words, and as `package.use`.

use std::fmt;
use std::fmt::Write as _;

use crate::variant::Variant;
use crate::{Advice, Buildable, Kind, PackageAdvice};

/// Most packages that the words tell of; the JSON has them all.
const MAX_TOLD: usize = 30;
/// Most names in one sentence.
const MAX_NAMES: usize = 5;

/// What is chosen, as `package.use` for each run of the build. Two builds of one package in one slot cannot come from one run, so second
/// builds go into runs of their own.
pub(crate) fn passes(chosen: &[&Variant]) -> Vec<String> {
    let mut passes: Vec<Vec<&Variant>> = Vec::new();
    for variant in chosen {
        let first = if variant.kind == Kind::Second { 1 } else { 0 };
        let name = |v: &Variant| (v.package.clone(), v.slot.clone());
        let free = (first..passes.len()).find(|i| passes.get(*i).is_some_and(|p| p.iter().all(|v| name(v) != name(variant))));
        let index = free.unwrap_or(passes.len().max(first));
        passes.resize_with(passes.len().max(index + 1), Vec::new);
        if let Some(pass) = passes.get_mut(index) {
            pass.push(variant);
        }
    }
    let mut found: Vec<String> = Vec::new();
    for (index, pass) in passes.into_iter().enumerate().filter(|(_, pass)| !pass.is_empty()) {
        let mut text = match index {
            0 => "# For the builds there are, and new ones.\n".to_owned(),
            _ => format!("# For second builds, run {index} of its own, with FEATURES=binpkg-multi-instance.\n"),
        };
        let mut lines: Vec<String> = pass.iter().map(|v| v.package_use()).collect();
        lines.sort();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        found.push(text);
    }
    found
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.in_short())?;
        let told = self.packages.iter().take(MAX_TOLD);
        for package in told {
            writeln!(f, "\n{package}")?;
        }
        if self.packages.len() > MAX_TOLD {
            writeln!(f, "\nAnd {} packages that fewer orders lacked.", self.packages.len() - MAX_TOLD)?;
        }
        for text in &self.package_use {
            write!(f, "\n{text}")?;
        }
        if !self.needed.is_empty() {
            writeln!(f, "\n# To be built as well, since the above needs it:\n# {}", self.needed.join("\n# "))?;
        }
        Ok(())
    }
}

impl Advice {
    /// The whole in two or three sentences.
    pub fn in_short(&self) -> String {
        let limit = match (self.budget.builds, self.budget.bytes) {
            (None, None) => "Without a limit".to_owned(),
            (Some(most), None) => format!("With {} more", builds(most)),
            (None, Some(bytes)) => format!("With {} more", size(bytes)),
            (Some(most), Some(bytes)) => format!("With {} and {} more", builds(most), size(bytes)),
        };
        let best = match self.at_most == self.served {
            true => "No other choice serves more.".to_owned(),
            false => format!("No choice serves more than {}.", self.at_most),
        };
        let mut text = format!(
            "{limit}, {} of {} that lacked something would have been served, by {} ({}). {best}",
            self.served,
            orders(self.orders),
            builds(self.cost.builds),
            size(self.cost.bytes),
        );
        if self.left_out > 0 {
            let _ = write!(text, " {} with rarer wishes were not looked at.", orders(self.left_out));
        }
        text
    }
}

impl fmt::Display for PackageAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: lacked by {}", self.package, orders(self.orders))?;
        for wished in self.wishes.iter().take(MAX_NAMES) {
            write!(f, "\n  {} asked for {}", orders(wished.orders), wished.wish)?;
        }
        if self.wishes.len() > MAX_NAMES {
            write!(f, "\n  and {} rarer ones", self.wishes.len() - MAX_NAMES)?;
        }
        // What is chosen, or else what most orders would have.
        let mut chosen: Vec<&Buildable> = self.options.iter().filter(|o| o.chosen.is_some()).collect();
        chosen.sort_by_key(|o| o.chosen);
        let best = || self.options.iter().max_by_key(|o| (o.meets, std::cmp::Reverse(o.flags.len())));
        if chosen.is_empty() {
            chosen.extend(best());
        }
        for option in chosen {
            write!(f, "\n  {option}")?;
        }
        for (wished, reason) in &self.impossible {
            write!(f, "\n  not to be had: {}: {reason}", wished.wish)?;
        }
        Ok(())
    }
}

impl fmt::Display for Buildable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.chosen.map_or("not chosen: ".to_owned(), |place| format!("{place}. "));
        let flags = self.flags.join(" ");
        match self.kind {
            Kind::TurnOn => write!(f, "{place}set {flags} in {}", self.package)?,
            Kind::Second => write!(f, "{place}build {} once more with {flags}", self.package)?,
            Kind::New if flags.is_empty() => write!(f, "{place}build {}", self.package)?,
            Kind::New => write!(f, "{place}build {} with {flags}", self.package)?,
        }
        write!(f, "; it meets what {} asked of the package", orders(self.meets))?;
        let adds = &self.adds;
        let size_of = size(adds.size);
        let about = if adds.guessed { format!("some {size_of}") } else { size_of };
        write!(f, "; {about}")?;
        match &adds.known_from {
            None => write!(f, "; what it draws in is not known")?,
            Some(_) if adds.packages.is_empty() && adds.builds.is_empty() => write!(f, "; it draws in nothing more")?,
            Some(_) => {}
        }
        if !adds.packages.is_empty() {
            write!(f, "; it draws in {} ({})", some_of(&adds.packages), size(adds.download))?;
        }
        if !adds.builds.is_empty() {
            write!(f, "; to be built for it: {}", some_of(&adds.builds))?;
        }
        if !adds.licenses.is_empty() {
            write!(f, "; under {} besides", adds.licenses.join(", "))?;
        }
        if let (true, Some(from)) = (adds.other_version, &adds.known_from) {
            write!(f, " (so says {from})")?;
        }
        let against: u64 = self.against.iter().map(|wished| wished.orders).sum();
        if against > 0 {
            write!(f, "; {} asked for the opposite", orders(against))?;
        }
        Ok(())
    }
}

fn some_of(names: &[String]) -> String {
    let first = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMES { format!("{first} and {} more", names.len() - MAX_NAMES) } else { first }
}

pub(crate) fn builds(number: u64) -> String {
    if number == 1 { "1 build".to_owned() } else { format!("{number} builds") }
}

fn orders(number: u64) -> String {
    if number == 1 { "1 order".to_owned() } else { format!("{number} orders") }
}

pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
