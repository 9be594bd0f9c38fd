//! Advice for those who build binary packages: which USE flags to turn on, which packages to build in a second variant or for the first
//! time, so that most orders that could not be met would be, within a budget.
//!
//! Pure: it is given the wishes as counted, the indexes and the ebuilds, and knows neither who wished nor where anything is kept.

mod choose;
mod draw;
mod known;
mod report;
mod variant;
mod wish;

use std::collections::BTreeMap;

use serde::Serialize;

pub use choose::{Budget, Choice, Cost, Need, Puzzle, bounds, choose, curve};
pub use draw::svg;
pub use known::{Known, Repository, ebuild};
pub use variant::{Adds, Kind};
pub use wish::{Demand, Target, Wish};

use variant::Variant;
use wish::{Group, flag_words, groups};

/// Most kinds of orders looked at; the rarest are left out beyond.
const MAX_KINDS: usize = 600;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub budget: Budget,
    /// Most bytes of download that a flag may add for everybody, to be turned on in the build there is rather than in a second one.
    pub max_added: u64,
}

/// A wish and how many orders had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Wished {
    pub wish: String,
    pub orders: u64,
}

/// Something that could be built.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Buildable {
    pub kind: Kind,
    /// `=category/package-version`, or the package as asked for where no version is known.
    pub package: String,
    /// The flags that differ from the build there is, or from the ebuild's own; `-` before those that are off.
    pub flags: Vec<String>,
    pub adds: Adds,
    /// Orders whose wishes about this package it meets; they may lack others.
    pub meets: u64,
    /// Wishes that it would not meet, since they ask for a flag the other way.
    pub against: Vec<Wished>,
    /// The place among what is chosen, from 1.
    pub chosen: Option<usize>,
}

/// What is wished of one package, and what could be built for it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PackageAdvice {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub package: Target,
    /// Orders that lacked something of it.
    pub orders: u64,
    pub wishes: Vec<Wished>,
    pub options: Vec<Buildable>,
    /// Wishes that no build can meet, with the reason.
    pub impossible: Vec<(Wished, String)>,
}

/// A point of the trade-off: with so much built, so many orders are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Point {
    pub builds: u64,
    pub bytes: u64,
    pub served: u64,
    /// What no choice of so many builds can pass.
    pub at_most: u64,
}

/// The advice.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Advice {
    pub budget: Budget,
    /// Orders that lacked something.
    pub orders: u64,
    /// Those of them that the choice serves.
    pub served: u64,
    /// No choice within the budget serves more than this; equal to `served` where the choice is proven to be the best.
    pub at_most: u64,
    pub cost: Cost,
    /// Most wished first.
    pub packages: Vec<PackageAdvice>,
    /// Packages to build since what is chosen needs them.
    pub needed: Vec<String>,
    /// `package.use` for each run of the build: one for the builds there are and new ones, further ones for second builds.
    pub package_use: Vec<String>,
    pub curve: Vec<Point>,
    /// Orders of kinds too rare to be looked at.
    pub left_out: u64,
}

fn as_text<S: serde::Serializer>(target: &Target, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(target)
}

/// Works out the advice.
pub fn advise(demands: &[Demand], known: &Known, question: Question) -> Advice {
    let (kinds, left_out) = kinds(demands);
    let keep: Vec<(Group, u64)> =
        merged(demands.iter().flat_map(|d| groups(&d.met).into_iter().map(|g| (g, d.orders)))).into_iter().collect();
    let wished = merged(kinds.iter().flat_map(|(groups, orders)| groups.iter().map(|g| (g.clone(), *orders))));
    let mut by_target: BTreeMap<&Target, Vec<(Group, u64)>> = BTreeMap::new();
    for (group, orders) in &wished {
        by_target.entry(&group.target).or_default().push((group.clone(), *orders));
    }
    let mut board = Board::default();
    for (target, mut groups) in by_target {
        groups.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        let kept: Vec<&(Group, u64)> = keep.iter().filter(|(g, _)| g.target.package == target.package).collect();
        board.add(target, &groups, &kept, known, question.max_added);
    }
    let puzzle = board.puzzle(&kinds, known);
    let choice = choose(&puzzle, question.budget);
    board.mark(&choice);
    let chosen: Vec<&Variant> = choice.options.iter().filter_map(|o| board.variants.get(*o)).collect();
    let mut packages = board.packages;
    packages.sort_by(|a, b| (b.orders, &a.package).cmp(&(a.orders, &b.package)));
    let mut needed: Vec<String> = chosen.iter().flat_map(|v| v.adds.builds.iter().cloned()).collect();
    needed.sort();
    needed.dedup();
    Advice {
        budget: question.budget,
        orders: kinds.iter().map(|(_, orders)| orders).sum::<u64>() + left_out,
        served: choice.served,
        at_most: choice.at_most,
        cost: choice.cost,
        packages,
        needed,
        package_use: report::passes(&chosen),
        curve: points(&puzzle),
        left_out,
    }
}

/// The kinds of orders that lacked something, most frequent first, and how many orders are of kinds beyond what is looked at.
fn kinds(demands: &[Demand]) -> (Vec<(Vec<Group>, u64)>, u64) {
    let lacking = demands.iter().filter(|d| !d.unmet.is_empty()).map(|d| (groups(&d.unmet), d.orders));
    let mut kinds: Vec<(Vec<Group>, u64)> = merged(lacking).into_iter().collect();
    kinds.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    let rare = kinds.split_off(kinds.len().min(MAX_KINDS));
    (kinds, rare.iter().map(|(_, orders)| orders).sum())
}

fn merged<K: Ord>(counted: impl Iterator<Item = (K, u64)>) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for (key, orders) in counted {
        *sums.entry(key).or_insert(0u64) += orders;
    }
    sums
}

fn points(puzzle: &Puzzle) -> Vec<Point> {
    let curve = curve(puzzle);
    let most = curve.last().map_or(0, |(cost, _)| cost.builds);
    let bounds = bounds(puzzle, most);
    let at_most = |cost: &Cost| usize::try_from(cost.builds).ok().and_then(|b| bounds.get(b)).copied().unwrap_or_default();
    curve
        .iter()
        .map(|(cost, served)| Point { builds: cost.builds, bytes: cost.bytes, served: *served, at_most: at_most(cost) })
        .collect()
}

/// All that could be built, for all packages.
#[derive(Default)]
struct Board {
    variants: Vec<Variant>,
    /// The package that each variant belongs to, and its place among that package's options.
    places: Vec<(usize, usize)>,
    packages: Vec<PackageAdvice>,
    /// What meets a group.
    meeting: BTreeMap<Group, Vec<usize>>,
}

impl Board {
    fn add(&mut self, target: &Target, groups: &[(Group, u64)], kept: &[&(Group, u64)], known: &Known, max_added: u64) {
        let keep: Vec<Group> = kept.iter().map(|(g, _)| g.clone()).collect();
        let (variants, refused) = variant::variants(groups, &keep, known, max_added);
        let wished = |group: &Group| {
            let orders = groups.iter().chain(kept.iter().copied()).find(|(g, _)| g == group).map_or(0, |(_, orders)| *orders);
            Wished { wish: group.to_string(), orders }
        };
        let package = self.packages.len();
        let mut options = Vec::new();
        for variant in variants {
            let met: Vec<&(Group, u64)> = groups.iter().filter(|(g, _)| variant.meets(g, known)).collect();
            for (group, _) in &met {
                self.meeting.entry(group.clone()).or_default().push(self.variants.len());
            }
            let against = groups.iter().map(|(g, _)| g).chain(&keep).filter(|g| g.contradicts(&variant.changes));
            options.push(Buildable {
                kind: variant.kind,
                package: variant.package.clone(),
                flags: flag_words(&variant.changes),
                adds: variant.adds.clone(),
                meets: met.iter().map(|(_, orders)| orders).sum(),
                against: against.map(wished).collect(),
                chosen: None,
            });
            self.places.push((package, options.len() - 1));
            self.variants.push(variant);
        }
        self.packages.push(PackageAdvice {
            package: target.clone(),
            orders: groups.iter().map(|(_, orders)| orders).sum(),
            wishes: groups.iter().map(|(g, _)| wished(g)).collect(),
            options,
            impossible: refused.into_iter().map(|(group, reason)| (wished(&group), reason)).collect(),
        });
    }

    fn puzzle(&self, kinds: &[(Vec<Group>, u64)], known: &Known) -> Puzzle {
        let mut units = Vec::new();
        let mut shared: BTreeMap<&str, usize> = BTreeMap::new();
        let mut options = Vec::new();
        for variant in &self.variants {
            let builds = if variant.kind == Kind::TurnOn { 0 } else { 1 };
            let bytes = if variant.kind == Kind::TurnOn { 0 } else { variant.adds.size };
            let mut of_option = vec![units.len()];
            units.push(Cost { builds, bytes });
            for needed in &variant.adds.builds {
                of_option.push(*shared.entry(needed).or_insert_with(|| {
                    units.push(Cost { builds: 1, bytes: known.typical_size() });
                    units.len() - 1
                }));
            }
            options.push(of_option);
        }
        let need = |(groups, orders): &(Vec<Group>, u64)| Need {
            orders: *orders,
            lacks: groups.iter().map(|g| self.meeting.get(g).cloned().unwrap_or_default()).collect(),
        };
        Puzzle { units, options, needs: kinds.iter().map(need).collect() }
    }

    fn mark(&mut self, choice: &Choice) {
        for (index, option) in choice.options.iter().enumerate() {
            let Some((package, place)) = self.places.get(*option) else { continue };
            if let Some(option) = self.packages.get_mut(*package).and_then(|p| p.options.get_mut(*place)) {
                option.chosen = Some(index + 1);
            }
        }
    }
}
