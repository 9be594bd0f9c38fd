//! Advice for those who build binary packages: what orders asked for, put before [`advice`] together with what is known of packages.

use std::path::Path;
use std::sync::Arc;

use advice::{Advice, Demand, Known, Question, Repository, Wish};
use contract::Order;
use gentoo::index::Entry;
use gentoo::{Atom, Cpv};

use crate::app::App;
use crate::channels::{Availability, Channel, Snapshot, Unavailable};
use crate::db::CountedDemand;

/// Why there is no advice.
#[derive(Debug, thiserror::Error)]
pub enum NoAdvice {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Channel(#[from] Unavailable),
    #[error("the advice was not worked out to its end")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Notes what an order asked for: what no build met, and what was asked for by its flags and met.
pub async fn note(app: &App, channel: &str, order: &Order, unmet: &[resolver::Wish]) -> Result<(), sqlx::Error> {
    let words = |package: &str, flags: &[String]| {
        std::iter::once(package).chain(flags.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    };
    let lacking: Vec<String> = unmet.iter().map(|wish| words(&wish.package, &wish.flags)).collect();
    let atoms = order.packages.iter().filter_map(|text| Atom::parse(text).ok()).filter(|atom| !atom.use_deps.is_empty());
    let met = atoms.map(|atom| {
        let wish = Wish::from(&atom);
        words(&wish.atom.to_string(), &wish.flag_words())
    });
    let met: Vec<String> = met.filter(|text| !lacking.contains(text)).collect();
    app.db.count_demand(channel, &lacking, &met).await
}

/// The advice for a channel's binhosts, from the orders of the last `days` days.
pub async fn advise(app: &App, channel: &Arc<Channel>, days: u64, question: Question) -> Result<Advice, NoAdvice> {
    let demands = app.db.demands(&channel.config.name, days).await?;
    let snapshot = channel.snapshot().await?;
    let others: Vec<Arc<Snapshot>> = app.catalogue.channels.all().iter().filter_map(|other| like(other, channel)).collect();
    let repository = channel.repository();
    let work = move || {
        let repository = repository.filter(|path| attest::metadata_cache(path).is_dir());
        let ebuilds = repository.map(|path| -> Repository { Box::new(move |cp| ebuilds(&path, cp)) });
        let elsewhere = others.iter().flat_map(|snapshot| snapshot.universe.entries());
        let implicit = snapshot.universe.implicit_iuse().clone();
        let known = Known::new(implicit, snapshot.universe.entries(), elsewhere, ebuilds);
        let demands: Vec<Demand> = demands.iter().map(demand).collect();
        advice::advise(&demands, &known, question)
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// Another channel for the same machines, where it was read.
fn like(other: &Channel, channel: &Channel) -> Option<Arc<Snapshot>> {
    if other.config.arch != channel.config.arch || other.config.name == channel.config.name {
        return None;
    }
    match other.availability() {
        Availability::Available(snapshot) => Some(snapshot),
        Availability::Unknown | Availability::Unavailable(_) => None,
    }
}

fn demand(counted: &CountedDemand) -> Demand {
    let wishes = |texts: &[String]| {
        let wish = |text: &String| {
            let (package, flags) = text.split_once(' ').unwrap_or((text, ""));
            Wish::parse(package, flags.split(' ').filter(|f| !f.is_empty())).ok()
        };
        texts.iter().filter_map(wish).collect()
    };
    Demand { orders: counted.orders, unmet: wishes(&counted.unmet), met: wishes(&counted.met) }
}

/// The ebuilds of a name in a repository's metadata cache; what cannot be read is left out, as a broken ebuild is for Portage.
fn ebuilds(repository: &Path, cp: &str) -> Vec<Entry> {
    let Some((category, package)) = cp.split_once('/') else { return Vec::new() };
    let files = std::fs::read_dir(attest::metadata_cache(repository).join(category)).into_iter().flatten().flatten();
    let named = files.filter_map(|file| Cpv::parse(&format!("{category}/{}", file.file_name().to_str()?)).ok());
    let entry = |cpv: Cpv| advice::ebuild(&cpv.to_string(), &attest::cache_entry(repository, &cpv)?).ok();
    named.filter(|cpv| cpv.package == package).filter_map(entry).collect()
}
