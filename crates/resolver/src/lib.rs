//! Which packages an order gets: the indexes of binhosts, a profile and a request go in, a [`Plan`] or an [`Explanation`] comes out.
//! Pure: nothing is read but what is given. It decides as Portage's `emerge --usepkgonly` does on the same index, refuses nothing a
//! fresh root allows, and says why each package is there.
//!
//! [`Universe`] holds what there is to choose from; make it once per channel and ask it often. [`resolve`] does both at once.

mod candidates;
mod choose;
mod conflicts;
mod dead_ends;
mod depstring;
mod difference;
mod explain;
mod graph;
mod mask;
mod net;
mod order;
mod plan;
mod portage;
mod repeat;
mod search;
mod select;
mod universe;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::BinhostRef;
use gentoo::index::{Entry, Packages};

pub use contract::Plan;
pub use difference::{Change, ChangeKind, Difference, Side};
pub use explain::{Explanation, Trouble, TroubleKind, Wish};
pub use gentoo::profile::Profile;
pub use universe::{SearchHit, Universe};

/// A binhost to choose from.
#[derive(Clone, Debug)]
pub struct Binhost {
    pub access: BinhostRef,
    pub index: Arc<Packages>,
}

/// The packages a base has installed already.
#[derive(Clone, Debug, Default)]
pub struct Installed {
    /// One entry per package, with the fields its VDB directory holds.
    pub entries: Vec<Entry>,
}

impl From<Vec<gentoo::vdb::Installed>> for Installed {
    fn from(packages: Vec<gentoo::vdb::Installed>) -> Self {
        Installed { entries: packages.into_iter().map(|p| p.entry).collect() }
    }
}

/// What there is to choose from, and the rules for choosing.
#[derive(Clone, Debug)]
pub struct Source {
    /// Best first.
    pub binhosts: Vec<Binhost>,
    pub profile: Profile,
    pub arch: String,
    pub channel: String,
    /// The machine packages must be built for; none takes the CHOST of the first binhost that names one.
    pub chost: Option<String>,
    /// Sets by name, without `@`, as atoms or further sets; `system` and `profile` are the profile's unless they are here.
    pub sets: BTreeMap<String, Vec<String>>,
    /// Earlier binhosts win: whatever an earlier one has that fits is taken, even when a later one has a newer version. Otherwise all
    /// count alike, and only version and BUILD_TIME decide, as in Portage.
    pub prefer_binhost_order: bool,
    /// Images are published, so packages with RESTRICT=bindist are refused.
    pub published: bool,
    /// Files that indexes list and mirrors do not have, as `(name of the binhost, path)`.
    pub gone: BTreeSet<(String, String)>,
    /// Take `:0/3=` of a built package for `:=` (Portage's `--ignore-built-slot-operator-deps=y`). Binaries may then meet libraries of
    /// another ABI than they were built with, so only for comparisons.
    pub ignore_built_slot_operators: bool,
    pub installed: Option<Installed>,
}

impl Source {
    /// Binhosts with a profile, and the usual rules.
    pub fn new(binhosts: Vec<Binhost>, profile: Profile) -> Source {
        Source {
            binhosts,
            arch: profile.arch.clone(),
            profile,
            channel: String::new(),
            chost: None,
            sets: BTreeMap::new(),
            prefer_binhost_order: true,
            published: false,
            gone: BTreeSet::new(),
            ignore_built_slot_operators: false,
            installed: None,
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Atoms in PMS syntax, with or without category, or sets like `@system`.
    pub atoms: Vec<String>,
    /// Services the plan carries along.
    pub services: Vec<String>,
}

/// A source and what is wanted of it, in one.
#[derive(Clone, Debug)]
pub struct Request {
    /// See [`Source::binhosts`].
    pub binhosts: Vec<Binhost>,
    pub profile: Profile,
    pub arch: String,
    pub channel: String,
    /// See [`Wanted::atoms`].
    pub atoms: Vec<String>,
    pub services: Vec<String>,
    pub installed: Option<Installed>,
}

impl Request {
    /// What there is to choose from, with the usual rules.
    pub fn source(&self) -> Source {
        Source {
            arch: self.arch.clone(),
            channel: self.channel.clone(),
            installed: self.installed.clone(),
            ..Source::new(self.binhosts.clone(), self.profile.clone())
        }
    }

    /// What is asked for.
    pub fn wanted(&self) -> Wanted {
        Wanted { atoms: self.atoms.clone(), services: self.services.clone() }
    }
}

/// A plan, and which wishes it leaves open.
#[derive(Clone, Debug)]
pub struct Resolution {
    pub plan: Plan,
    /// Worth telling: where a cycle was broken that Portage would have refused, for one.
    pub notes: Vec<String>,
    /// Steps of the search, a measure of effort that does not depend on the machine.
    pub steps: u64,
}

/// Chooses packages for a request.
///
/// # Errors
/// An explanation when there is no plan.
pub fn resolve(request: &Request) -> Result<Plan, Explanation> {
    Universe::new(request.source()).resolve(&request.wanted()).map(|r| r.plan)
}
