//! Which waiting build a worker that asks is given: those that it can make, in their turn; and of several workers, the one that will have
//! it done first, as it has the packages already or is quicker.

use contract::Format;
use contract::lease::LeaseRequest;
use queue::Known;
use queue::affinity::{self, Candidate, WINDOW};

use crate::app::App;
use crate::db::{self, CandidateRow, Gate};
use crate::outlook::{Outlook, Turn};

/// The memory that any build may take: measured peaks are below 100 MiB, and the packages' own scripts come to that. Bytes.
const BUILD_MEMORY: u64 = 512 << 20;
/// The memory of two virtual machines at once. Bytes.
const BOOT_MEMORY: u64 = 3 << 30;

/// The builds that a worker may have now, best first.
#[derive(Default)]
pub struct Offer {
    pub builds: Vec<String>,
    /// Those whose turn it was before that of the first of `builds`.
    passed_over: Vec<String>,
}

impl Offer {
    /// Notes that this build was taken: when it is the first, others were passed over for it.
    pub async fn taken(&self, app: &App, build: &str) -> db::Result<()> {
        if self.builds.first().is_some_and(|first| first == build) {
            for other in &self.passed_over {
                app.db.passed_over(other).await?;
            }
        }
        Ok(())
    }
}

impl App {
    /// What a worker may have: nothing when others are idle that will be done sooner with all there is.
    pub async fn offer(&self, worker: &str, abilities: &LeaseRequest) -> db::Result<Offer> {
        if self.db.queue_length().await?.0 == 0 || self.db.gate().await? == Gate::Paused {
            return Ok(Offer::default());
        }
        let outlook = self.outlook().await?;
        let can = |abilities: &LeaseRequest, turn: &Turn| can_make(abilities, turn, self.config.boot_gate);
        let mut turns: Vec<&Turn> = outlook.turns().iter().filter(|turn| can(abilities, turn)).collect();
        let workers = self.db.workers().await?;
        let Some(first) = turns.first().filter(|_| workers.iter().any(|other| other.name != worker)) else {
            // Nobody else is there to leave anything to.
            return Ok(Offer { builds: turns.into_iter().map(|turn| turn.build.clone()).collect(), passed_over: Vec::new() });
        };
        let known = self.db.known_by(worker).await?;
        let rows = self.rows_of(turns.get(..WINDOW).unwrap_or(&turns)).await?;
        if let Some(Some(row)) = rows.first() {
            let own = seconds(&outlook, worker, row, &known);
            let mut others = Vec::new();
            for other in workers.iter().filter(|o| o.asking && o.name != worker && can(&o.abilities, first)) {
                others.push(seconds(&outlook, &other.name, row, &self.db.known_by(&other.name).await?));
            }
            if !queue::policy::gets_a_build(own, &others, turns.len()) {
                return Ok(Offer::default());
            }
        }
        let nothing = Known::default();
        let candidate = |row: &CandidateRow| Candidate {
            rank: row.rank,
            ahead: !row.ordered,
            passed_over: row.passed_over,
            saves: seconds(&outlook, worker, row, &nothing) - seconds(&outlook, worker, row, &known),
        };
        // One that waits no more ends the choice: those behind it come in their turn.
        let candidates: Vec<Candidate> = rows.iter().map_while(Option::as_ref).map(candidate).collect();
        let chosen = affinity::choose(&candidates);
        let passed_over = turns.iter().take(chosen).map(|turn| turn.build.clone()).collect();
        if chosen < turns.len() {
            let best = turns.remove(chosen);
            turns.insert(0, best);
        }
        Ok(Offer { builds: turns.into_iter().map(|turn| turn.build.clone()).collect(), passed_over })
    }

    async fn rows_of(&self, turns: &[&Turn]) -> db::Result<Vec<Option<CandidateRow>>> {
        let mut rows = Vec::with_capacity(turns.len());
        for turn in turns {
            rows.push(self.db.candidate(&turn.build).await?);
        }
        Ok(rows)
    }
}

/// How long a worker will take for a build, with the packages it has. Seconds.
fn seconds(outlook: &Outlook, worker: &str, row: &CandidateRow, known: &Known) -> f64 {
    outlook.build_seconds(&row.work.left_to(known, &row.sketch)) * outlook.speed(worker)
}

/// Whether there are workers and, by what they can, none for a build. One that is known by its reports alone has not said yet what it can.
pub fn none_can_make<'a>(workers: impl IntoIterator<Item = &'a LeaseRequest>, turn: &Turn, boot_gate: bool) -> bool {
    let may = |abilities: &LeaseRequest| *abilities == LeaseRequest::default() || can_make(abilities, turn, boot_gate);
    let mut workers = workers.into_iter().peekable();
    workers.peek().is_some() && !workers.any(may)
}

/// Whether a worker can make a build: it runs the architecture, writes the formats, and has the memory.
fn can_make(abilities: &LeaseRequest, turn: &Turn, boot_gate: bool) -> bool {
    let writes = |format: &String| abilities.formats.is_empty() || abilities.formats.contains(format);
    let needs = memory(&turn.formats, boot_gate);
    let has_root = |channel: &String| abilities.builds_source_for.contains(channel);
    abilities.arches.contains(&turn.arch)
        && turn.source_for.as_ref().is_none_or(has_root)
        && turn.formats.iter().all(writes)
        && (abilities.memory_bytes == 0 || abilities.memory_bytes >= needs)
        && (abilities.starts_images || !boot_gate)
}

/// The memory that making images of these formats takes. A build's own does not grow with it, as files go through in pieces. Bytes.
fn memory(formats: &[String], boot_gate: bool) -> u64 {
    let starts = |name: &String| name.parse::<Format>().is_ok_and(Format::is_bootable);
    BUILD_MEMORY + if boot_gate && formats.iter().any(starts) { BOOT_MEMORY } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_gets_what_it_can_make() {
        let turn = |arch: &str, formats: &[&str]| Turn {
            build: "x".into(),
            arch: arch.into(),
            formats: formats.iter().map(|format| (*format).to_owned()).collect(),
            source_for: None,
        };
        let all = LeaseRequest { arches: vec!["amd64".into()], starts_images: true, ..LeaseRequest::default() };
        assert!(can_make(&all, &turn("amd64", &["iso", "zip"]), true));
        assert!(!can_make(&all, &turn("x86", &["zip"]), false));
        let zip = LeaseRequest { formats: vec!["zip".into()], ..all.clone() };
        assert!(can_make(&zip, &turn("amd64", &["zip"]), false));
        assert!(!can_make(&zip, &turn("amd64", &["iso", "zip"]), false));
        let small = LeaseRequest { memory_bytes: 1 << 30, ..all.clone() };
        assert!(can_make(&small, &turn("amd64", &["iso"]), false), "writing an ISO takes no more than another format");
        assert!(!can_make(&small, &turn("amd64", &["iso"]), true), "starting it does");
        assert!(can_make(&small, &turn("amd64", &["zip"]), true), "and what is not started does not");
        let source = Turn { source_for: Some("own".into()), ..turn("amd64", &[]) };
        assert!(!can_make(&all, &source, false), "building from source takes a build root for the channel");
        assert!(can_make(&LeaseRequest { builds_source_for: vec!["own".into()], ..all.clone() }, &source, false));
        let tiny = LeaseRequest { memory_bytes: 256 << 20, ..all };
        assert!(!can_make(&tiny, &turn("amd64", &["zip"]), false));
    }
}
