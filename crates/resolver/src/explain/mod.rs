//! Why there is no plan, in sentences a person can act on: what stands in the way, who needs it, and what to change.

mod clash;
mod masked;
mod missing;
mod words;

use std::fmt;

use serde::{Deserialize, Serialize};

use gentoo::Atom;

use crate::Source;
use crate::graph::{Arg, Graph, Parent};
use crate::order::find_cycles;
use crate::plan::Reasons;
use crate::search::{Failure, NotFound};
use crate::universe::{AtomRef, PkgId, Universe};

pub(crate) use words::similar_names;
use words::{did_you_mean, either, list, unique};

/// Advice for what may not be passed on.
const AFTER_BOOT: &str = "Install it yourself after the first boot.";
/// Most items of a list that a sentence names.
const NAMED: usize = 5;

/// Why there is no plan. Its `Display` is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What stands in the way; the smallest set found, each enough by itself.
    pub troubles: Vec<Trouble>,
    /// Wishes for builds that no binhost has. They name no person, and help operators decide what to build.
    #[serde(default)]
    pub unmet_wishes: Vec<Wish>,
    /// Builds that no binhost has either, which nobody asked for: packages need them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed: Vec<Wish>,
}

/// One thing that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// The atom or package it is about.
    pub subject: String,
    /// What is wrong, in one or more sentences.
    pub message: String,
    /// What to change, in one or more sentences.
    pub advice: String,
    /// What to ask for instead of the subject to get the nearest build there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<String>,
    /// Who needs it, nearest first; the last one is the request.
    #[serde(default)]
    pub because: Vec<String>,
}

/// The kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleKind {
    /// The request itself makes no sense.
    Request,
    /// No binhost has a package of this name.
    UnknownPackage,
    /// Not in this version.
    Version,
    /// Not in this slot or sub-slot.
    Slot,
    /// Not from this repository.
    Repository,
    /// Not built with these USE flags.
    Use,
    /// Masked by keywords.
    Keywords,
    /// Masked by its licence.
    License,
    /// Masked by package.mask.
    Masked,
    /// Must not be passed on.
    Bindist,
    /// Built for another machine.
    Chost,
    /// Needs an EAPI that is not known.
    Eapi,
    /// The index lists a file the mirror does not have.
    Gone,
    /// Its entry in the index cannot be read.
    Damaged,
    /// Two packages would share a slot.
    SlotConflict,
    /// Two packages block each other.
    Blocker,
    /// The search was cut off.
    TooLong,
    /// A mistake in Hatchery.
    Internal,
}

/// A build somebody would like to have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wish {
    /// `category/package`, with version and slot where they were asked for.
    pub package: String,
    /// The flags wished for, `-` before unwanted ones, sorted.
    pub flags: Vec<String>,
    /// The build that comes nearest, with the flags that differ: `+` for those it lacks, `-` for those it has.
    pub nearest: Option<(String, Vec<String>)>,
}

impl Wish {
    /// A build that an atom would take, where none comes near.
    fn of(atom: &Atom) -> Wish {
        Wish { package: words::wished_package(atom), flags: words::wished_flags(atom, &[]), nearest: None }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, trouble) in self.troubles.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            trouble.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for reason in &self.because {
            write!(f, "\n  {reason}")?;
        }
        if !self.advice.is_empty() {
            write!(f, "\n{}", self.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for Explanation {}

impl Explanation {
    /// All that would have to be built, as no binhost has it.
    pub fn lacking(&self) -> impl Iterator<Item = &Wish> {
        self.unmet_wishes.iter().chain(&self.needed)
    }

    pub(crate) fn of(troubles: Vec<Trouble>) -> Explanation {
        Explanation { troubles, unmet_wishes: Vec::new(), needed: Vec::new() }
    }

    pub(crate) fn nothing_asked() -> Explanation {
        Explanation::of(vec![trouble(
            TroubleKind::Request,
            "",
            "Nothing was asked for.",
            "Name at least one package, like app-editors/vim, or a set, like @system.",
        )])
    }

    pub(crate) fn too_much_asked(asked: usize, limit: usize) -> Explanation {
        Explanation::of(vec![trouble(
            TroubleKind::Request,
            "",
            format!("{asked} packages were asked for by name, and at most {limit} can be."),
            "Leave out those that others need anyway.",
        )])
    }

    pub(crate) fn internal(what: String) -> Explanation {
        Explanation::of(vec![trouble(
            TroubleKind::Internal,
            "",
            format!("The packages chosen do not fit together: {what}."),
            "This is a mistake in Hatchery. Please report it with the order and the channel; asking for one of the packages in another \
             version may help meanwhile.",
        )])
    }
}

fn trouble(kind: TroubleKind, subject: impl Into<String>, message: impl Into<String>, advice: impl Into<String>) -> Trouble {
    Trouble { kind, subject: subject.into(), message: message.into(), advice: advice.into(), offer: None, because: Vec::new() }
}

pub(crate) fn bad_atom(text: &str, reason: &str) -> Trouble {
    trouble(
        TroubleKind::Request,
        text,
        format!("“{}” cannot be asked for: {reason}.", text.escape_debug()),
        "Write it like app-editors/vim, >=dev-lang/python-3.12:3.12 or app-editors/vim[python,-X].",
    )
}

pub(crate) fn unknown_set(set: &str, source: &Source) -> Trouble {
    let mut known: Vec<String> = source.sets.keys().map(|s| format!("@{s}")).collect();
    for (name, members) in [("system", &source.profile.system), ("profile", &source.profile.profile_set)] {
        if !members.is_empty() && !source.sets.contains_key(name) {
            known.push(format!("@{name}"));
        }
    }
    known.sort();
    let advice = match known.is_empty() {
        true => "This channel has no sets. Name packages instead.".to_owned(),
        false => format!("This channel has {}.", list(&known)),
    };
    trouble(TroubleKind::Request, format!("@{set}"), format!("There is no set called @{}.", set.escape_debug()), advice)
}

pub(crate) fn empty_set(set: &str) -> Trouble {
    trouble(
        TroubleKind::Request,
        format!("@{set}"),
        format!("The set @{set} is empty here."),
        "The channel's profile names no packages for it; a channel with a profile from a Gentoo tree does. Name packages instead.",
    )
}

pub(crate) fn set_too_deep(set: &str) -> Trouble {
    trouble(
        TroubleKind::Request,
        set,
        format!("The set {set} contains itself, or is nested too deeply."),
        "Write its packages out, or take the circle out of the sets.",
    )
}

pub(crate) fn ambiguous_name(text: &str, several: &[&str]) -> Trouble {
    let names: Vec<String> = several.iter().map(|n| (*n).to_owned()).collect();
    trouble(TroubleKind::Request, text, format!("“{text}” could mean {}.", either(&names)), "Write the category before it.")
}

pub(crate) fn unknown_name(u: &Universe, text: &str, package: &str) -> Trouble {
    trouble(
        TroubleKind::UnknownPackage,
        text,
        format!("No binhost has a package called “{package}”."),
        did_you_mean(&similar_names(u, package), "Look for it with the package search."),
    )
}

/// What is told when packages need each other in a circle that Portage would refuse.
pub(crate) fn cycle_note(graph: &Graph<'_>) -> String {
    let mut members: Vec<String> = find_cycles(graph).keys().map(|p| graph.u.entry(*p).cpv.to_string()).collect();
    members.sort();
    format!(
        "{} were built against each other, so that none can be merged first; Portage refuses this. In a fresh system nothing runs before \
         all are there, so they are merged together.",
        list(&members)
    )
}

/// Explains why a search failed.
pub(crate) struct Explainer<'a> {
    u: &'a Universe,
    args: &'a [Arg],
}

impl<'a> Explainer<'a> {
    pub fn new(u: &'a Universe, args: &'a [Arg]) -> Explainer<'a> {
        Explainer { u, args }
    }

    pub fn explain(&self, not_found: &NotFound<'_>) -> Explanation {
        let graph = &not_found.graph;
        let reasons = Reasons::new(graph);
        let (mut wishes, mut needed) = (Vec::new(), Vec::new());
        let troubles = match &not_found.failure {
            Failure::Missing { atom, parent } => vec![self.missing(graph, &reasons, atom, *parent, &mut wishes)],
            Failure::SlotConflict(conflicts) => conflicts.iter().map(|c| self.slot_conflict(graph, &reasons, c)).collect(),
            Failure::Blocked(blocked) => blocked.iter().map(|b| self.blocked(graph, &reasons, b)).collect(),
            Failure::TooLong => vec![trouble(
                TroubleKind::TooLong,
                "",
                "The search for packages that fit together took too long and was stopped.",
                "Ask for fewer packages at once, or name versions, so that there is less to choose.",
            )],
        };
        // A wish is what a person asked for.
        if let Failure::Missing { parent: Parent::Pkg(_), .. } = not_found.failure {
            std::mem::swap(&mut wishes, &mut needed);
        }
        Explanation { troubles, unmet_wishes: wishes, needed }
    }

    fn chain(&self, reasons: &Reasons, atom: &AtomRef, parent: Parent) -> Vec<String> {
        match parent {
            Parent::Arg(index) => vec![format!("asked for as {}", self.args[index as usize].asked)],
            Parent::Pkg(pkg) => {
                let mut chain = vec![format!("{} is needed by {}", atom.text, self.u.entry(pkg).cpv)];
                chain.extend(reasons.of(pkg).into_iter().map(|r| format!("which is {r}")));
                chain
            }
        }
    }

    fn keep(&self, packages: &[PkgId], fits: impl Fn(PkgId) -> bool) -> Vec<PkgId> {
        packages.iter().copied().filter(|p| fits(*p)).collect()
    }

    /// A build, told apart from others of its version.
    fn build_text(&self, pkg: PkgId) -> String {
        let entry = self.u.entry(pkg);
        match (self.u.pkg(pkg).installed, entry.build_id) {
            (true, _) => format!("{} (installed)", entry.cpv),
            (false, Some(id)) => format!("{} (build {id})", entry.cpv),
            (false, None) => entry.cpv.to_string(),
        }
    }

    fn versions(&self, packages: &[PkgId]) -> Vec<String> {
        unique(packages.iter().map(|p| self.u.entry(*p).cpv.version.to_string()))
    }
}
