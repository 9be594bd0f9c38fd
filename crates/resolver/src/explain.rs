//! Why there is no plan, in sentences a person can act on: what stands in the way, who needs it, and what to change.

use std::collections::BTreeMap;
use std::fmt;

use gentoo::atom::Operator;
use gentoo::useflags::UseDepKind;
use gentoo::{Atom, Cpv};
use serde::{Deserialize, Serialize};

use crate::Source;
use crate::conflicts::Blocked;
use crate::depstring::Item;
use crate::graph::{Arg, Graph, Parent};
use crate::mask::{Mask, accepted_chosts};
use crate::order::find_cycles;
use crate::plan::Reasons;
use crate::search::{ConflictReport, Failure, NotFound};
use crate::universe::{AtomRef, PkgId, Universe};

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
    /// The flags wished for, `-` before unwanted ones, sorted; empty when the package itself is missing.
    pub flags: Vec<String>,
    /// The build that comes nearest, with the flags that differ: `+` for those it lacks, `-` for those it has.
    pub nearest: Option<(String, Vec<String>)>,
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
    pub(crate) fn of(troubles: Vec<Trouble>) -> Explanation {
        Explanation { troubles, unmet_wishes: Vec::new() }
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
        let mut wishes = Vec::new();
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
        Explanation { troubles, unmet_wishes: wishes }
    }

    fn chain(&self, graph: &Graph<'_>, reasons: &Reasons, atom: &AtomRef, parent: Parent) -> Vec<String> {
        match parent {
            Parent::Arg(index) => vec![format!("asked for as {}", self.args[index as usize].asked)],
            Parent::Pkg(pkg) => {
                let mut chain = vec![format!("{} is needed by {}", atom.text, self.u.entry(pkg).cpv)];
                chain.extend(reasons.of(graph, pkg).into_iter().map(|r| format!("which is {r}")));
                chain
            }
        }
    }

    /// Nothing satisfies an atom: finds the first thing about it that nothing has.
    fn missing(&self, graph: &Graph<'_>, reasons: &Reasons, atom: &AtomRef, parent: Parent, wishes: &mut Vec<Wish>) -> Trouble {
        let mut found = self.what_is_missing(&atom.atom, wishes);
        if let Parent::Pkg(pkg) = parent {
            // A wish is what a person asked for. What packages need is for the operator, who sees it in the index.
            wishes.clear();
            let built_differently = [TroubleKind::UnknownPackage, TroubleKind::Version, TroubleKind::Slot, TroubleKind::Use];
            if built_differently.contains(&found.kind) {
                found.advice = "Ask the operator of the binhost to build it.".to_owned();
                found.offer = None;
            }
            if let Some(others) = self.alternatives_to(pkg, atom) {
                found.message = format!("{} Any of these would do: {others}.", found.message);
            }
            if [TroubleKind::License, TroubleKind::Bindist].contains(&found.kind) {
                found.advice = found.advice.replace(AFTER_BOOT, "");
            }
            let root = reasons.root_of(graph, pkg).unwrap_or_else(|| self.u.entry(pkg).cpv.cp());
            found.advice = match found.advice.trim_end() {
                "" => format!("Leave out {root}."),
                advice => format!("{advice} Or leave out {root}."),
            };
        }
        found.because = self.chain(graph, reasons, atom, parent);
        found
    }

    /// All alternatives, as text, when the package needs the atom as one of several.
    fn alternatives_to(&self, pkg: PkgId, atom: &AtomRef) -> Option<String> {
        let names = |item: &Item| match item {
            Item::Atom(need) => need.atom.id == atom.id,
            Item::Any(_) => false,
        };
        let groups = self.u.deps(pkg).items().filter_map(|item| match item {
            Item::Any(alternatives) => Some(alternatives),
            Item::Atom(_) => None,
        });
        let group = groups.into_iter().find(|alternatives| alternatives.iter().any(|a| a.iter().any(names)))?;
        let texts: Vec<String> =
            group.iter().map(|a| a.iter().map(crate::depstring::describe).collect::<Vec<_>>().join(" with ")).collect();
        Some(either(&texts))
    }

    fn what_is_missing(&self, atom: &Atom, wishes: &mut Vec<Wish>) -> Trouble {
        let name = atom.cp();
        let all: Vec<PkgId> = self.u.name(&name).map(|cp| self.u.names[cp as usize].available.clone()).unwrap_or_default();
        if all.is_empty() {
            wishes.push(Wish { package: name.clone(), flags: Vec::new(), nearest: None });
            let advice = did_you_mean(&similar_names(self.u, &name), "Ask the operator of the binhost to build it.");
            return trouble(TroubleKind::UnknownPackage, atom.to_string(), format!("No binhost has {name}."), advice);
        }
        let of_version: Vec<PkgId> = self.keep(&all, |p| atom.matches_version(&self.u.entry(p).cpv.version));
        if of_version.is_empty() {
            return self.no_version(atom, &all, wishes);
        }
        let of_repo = self.keep(&of_version, |p| atom.repo.as_deref().is_none_or(|r| r == self.u.entry(p).repo));
        if of_repo.is_empty() {
            return self.no_repository(atom, &of_version);
        }
        let of_slot = self.keep(&of_repo, |p| atom.matches_slot(&self.u.entry(p).slot, &self.u.entry(p).subslot));
        if of_slot.is_empty() {
            return self.no_slot(atom, &of_repo, wishes);
        }
        let of_use = self.keep(&of_slot, |p| self.differing_flags(atom, p).is_empty());
        if of_use.is_empty() {
            return self.no_use(atom, &of_slot, wishes);
        }
        self.all_masked(atom, &of_use)
    }

    fn keep(&self, packages: &[PkgId], fits: impl Fn(PkgId) -> bool) -> Vec<PkgId> {
        packages.iter().copied().filter(|p| fits(*p)).collect()
    }

    fn no_version(&self, atom: &Atom, all: &[PkgId], wishes: &mut Vec<Wish>) -> Trouble {
        wishes.push(Wish { package: wished_package(atom), flags: Vec::new(), nearest: None });
        let versions = self.versions(all);
        let what = match &atom.version {
            Some((Operator::Less, v)) => format!("a version below {v}"),
            Some((Operator::LessEqual, v)) => format!("version {v} or older"),
            Some((Operator::Revision, v)) => format!("version {v} in any revision"),
            Some((Operator::Equal, v)) => format!("version {v}"),
            Some((Operator::Prefix, v)) => format!("a version that starts with {v}"),
            Some((Operator::GreaterEqual, v)) => format!("version {v} or newer"),
            Some((Operator::Greater, v)) => format!("a version above {v}"),
            None => "any version".to_owned(),
        };
        trouble(
            TroubleKind::Version,
            atom.to_string(),
            format!("No binhost has {what} of {}; there is {}.", atom.cp(), list(&versions)),
            "Take a version that is there, or ask the operator of the binhost to build this one.",
        )
    }

    fn no_repository(&self, atom: &Atom, found: &[PkgId]) -> Trouble {
        let repos = unique(found.iter().map(|p| self.u.entry(*p).repo.clone()));
        trouble(
            TroubleKind::Repository,
            atom.to_string(),
            format!(
                "No binhost has {} built from the repository {}; there it is from {}.",
                atom.cp(),
                atom.repo.as_deref().unwrap_or_default(),
                list(&repos)
            ),
            "Leave “::” and the repository out.",
        )
    }

    fn no_slot(&self, atom: &Atom, found: &[PkgId], wishes: &mut Vec<Wish>) -> Trouble {
        wishes.push(Wish { package: wished_package(atom), flags: Vec::new(), nearest: None });
        let slot = atom.slot.as_deref().unwrap_or_default();
        let in_slot = self.keep(found, |p| self.u.entry(p).slot == slot);
        if let (Some(subslot), false) = (&atom.subslot, in_slot.is_empty()) {
            let there =
                unique(in_slot.iter().map(|p| format!("{} ({})", self.u.entry(*p).subslot, self.u.entry(*p).cpv.version)));
            return trouble(
                TroubleKind::Slot,
                atom.to_string(),
                format!(
                    "{} is needed with the library interface (sub-slot) {subslot}, and the binhosts have {}. What needs it was built \
                     against another version than the binhosts have now.",
                    atom.cp(),
                    list(&there)
                ),
                "Ask the operator of the binhost to rebuild what needs it, or wait for the binhost to be updated.",
            );
        }
        let slots = unique(found.iter().map(|p| self.u.entry(*p).slot.clone()));
        trouble(
            TroubleKind::Slot,
            atom.to_string(),
            format!("No binhost has {} in slot {slot}; there is {}.", atom.cp(), slots_text(&slots)),
            "Take one of these slots.",
        )
    }

    /// The flags in which a package differs from what an atom asks for: `+` for those it lacks, `-` for those it has, `!` for those it does
    /// not know.
    fn differing_flags(&self, atom: &Atom, pkg: PkgId) -> Vec<String> {
        let mut found = Vec::new();
        for dep in &atom.use_deps {
            let wanted = dep.kind != UseDepKind::Disabled;
            match (self.u.has_flag(pkg, &dep.flag), dep.default) {
                (true, _) if self.u.is_enabled(pkg, &dep.flag) != wanted => {
                    found.push(format!("{}{}", if wanted { '+' } else { '-' }, dep.flag));
                }
                (true, _) => {}
                (false, Some(default)) if default == wanted => {}
                (false, _) => found.push(format!("!{}", dep.flag)),
            }
        }
        found
    }

    fn no_use(&self, atom: &Atom, found: &[PkgId], wishes: &mut Vec<Wish>) -> Trouble {
        let usable = self.keep(found, |p| self.u.pkg(p).mask.is_none());
        let choices = if usable.is_empty() { found } else { &usable };
        let Some(nearest) = choices.iter().copied().min_by_key(|p| self.differing_flags(atom, *p).len()) else {
            return trouble(TroubleKind::Use, atom.to_string(), format!("No binhost has {}.", atom.cp()), "");
        };
        let differing = self.differing_flags(atom, nearest);
        let mut flags: Vec<String> = atom
            .use_deps
            .iter()
            .map(|d| format!("{}{}", if d.kind == UseDepKind::Disabled { "-" } else { "" }, d.flag))
            .collect();
        flags.sort();
        let build = self.build_text(nearest);
        wishes.push(Wish { package: wished_package(atom), flags, nearest: Some((build.clone(), differing.clone())) });
        let pick =
            |sign: char| -> Vec<String> { differing.iter().filter_map(|f| f.strip_prefix(sign)).map(str::to_owned).collect() };
        let mut parts = Vec::new();
        for (flags, words) in
            [(pick('+'), "is built without"), (pick('-'), "is built with"), (pick('!'), "does not have the flag")]
        {
            if !flags.is_empty() {
                parts.push(format!("{words} {}", list(&flags)));
            }
        }
        let kept: Vec<String> =
            atom.use_deps.iter().filter(|d| !differing.iter().any(|f| f[1..] == d.flag)).map(ToString::to_string).collect();
        let offer = if kept.is_empty() {
            Atom { use_deps: Vec::new(), ..atom.clone() }.to_string()
        } else {
            format!("{}[{}]", Atom { use_deps: Vec::new(), ..atom.clone() }, kept.join(","))
        };
        let found = trouble(
            TroubleKind::Use,
            atom.to_string(),
            format!("No binhost has {} with these USE flags. The nearest build, {build}, {}.", atom.cp(), parts.join(" and ")),
            format!("To take that build, ask for {offer}. The wish is noted for the operator of the binhost."),
        );
        Trouble { offer: Some(offer), ..found }
    }

    /// Everything that fits is masked: tells why, for the best of each kind of mask.
    fn all_masked(&self, atom: &Atom, found: &[PkgId]) -> Trouble {
        let mut told: Vec<Trouble> = Vec::new();
        for pkg in found {
            if let Some(mask) = &self.u.pkg(*pkg).mask {
                let next = self.masked(atom, *pkg, mask);
                if told.len() < NAMED && !told.iter().any(|t| t.kind == next.kind) {
                    told.push(next);
                }
            }
        }
        let mut told = told.into_iter();
        let Some(mut first) = told.next() else { return self.unusable(atom, found) };
        for next in told {
            first.message = format!("{} {}", first.message, next.message);
            if !first.advice.contains(&next.advice) {
                first.advice = format!("{} {}", first.advice, next.advice);
            }
        }
        first
    }

    fn masked(&self, atom: &Atom, best: PkgId, mask: &Mask) -> Trouble {
        let (cpv, subject) = (&self.u.entry(best).cpv, atom.to_string());
        let others = self.instead(atom, best);
        match mask {
            Mask::Keywords(keywords) => trouble(
                TroubleKind::Keywords,
                subject,
                format!(
                    "{cpv} is not marked as working on {} (KEYWORDS: {}), and this channel takes {}.",
                    self.u.source.arch,
                    if keywords.is_empty() { "none" } else { keywords },
                    list(&self.u.source.profile.accept_keywords.words().map(str::to_owned).collect::<Vec<_>>())
                ),
                format!(
                    "{others}{} a channel that takes testing packages.",
                    if others.is_empty() { "Choose" } else { "Or choose" }
                ),
            ),
            Mask::License(licenses) => trouble(
                TroubleKind::License,
                subject,
                format!(
                    "The licence of {cpv} does not allow Hatchery to pass it on: {} {} not in ACCEPT_LICENSE=\"{}\".",
                    list(licenses),
                    if licenses.len() == 1 { "is" } else { "are" },
                    self.u.source.profile.accept_license.text()
                ),
                format!("{others}{AFTER_BOOT}"),
            ),
            Mask::Profile { atom: by, reason } => trouble(
                TroubleKind::Masked,
                subject,
                format!(
                    "{cpv} is masked in the profile by “{by}”{}",
                    if reason.is_empty() { ".".to_owned() } else { format!(": {}", sentence(reason)) }
                ),
                format!("{others}Choose a package in its place, or a channel with another profile."),
            ),
            Mask::Bindist => trouble(
                TroubleKind::Bindist,
                subject,
                format!("{cpv} may not be passed on as a binary (RESTRICT=bindist)."),
                format!("{others}{AFTER_BOOT}"),
            ),
            Mask::Chost(chost) => trouble(
                TroubleKind::Chost,
                subject,
                format!(
                    "{cpv} was built for {chost}, and this channel is for {}: its programs would not run together with the others.",
                    list(&accepted_chosts(&self.u.source))
                ),
                format!("{others}{} the channel for {chost}.", if others.is_empty() { "Choose" } else { "Or choose" }),
            ),
            Mask::Eapi(eapi) => trouble(
                TroubleKind::Eapi,
                subject,
                format!("{cpv} uses EAPI {}, which this version of Hatchery does not know.", eapi.escape_debug()),
                format!("{others}Hatchery must be updated to use it."),
            ),
            Mask::Gone => trouble(
                TroubleKind::Gone,
                subject,
                format!("The binhost lists {}, but its file is not there.", self.build_text(best)),
                format!("{others}The mirror is probably being updated: try again later, or choose another mirror."),
            ),
        }
    }

    /// Nothing is masked, yet nothing could be chosen: an entry cannot be read, or other packages rule it out.
    fn unusable(&self, atom: &Atom, found: &[PkgId]) -> Trouble {
        let broken = found.iter().find_map(|p| self.u.deps(*p).broken.as_ref().map(|e| (*p, e)));
        match broken {
            Some((pkg, error)) => trouble(
                TroubleKind::Damaged,
                atom.to_string(),
                format!("The entry of {} in the binhost's index cannot be used: {error}.", self.u.entry(pkg).cpv),
                "Tell the operator of the binhost.",
            ),
            None => trouble(
                TroubleKind::SlotConflict,
                atom.to_string(),
                format!("{} is there, but what else was asked for leaves no build of it that fits.", atom.cp()),
                "Ask for fewer packages at once to see which one it is.",
            ),
        }
    }

    /// Usable packages of the same name, as advice.
    fn instead(&self, atom: &Atom, not: PkgId) -> String {
        let name = &self.u.names[self.u.pkg(not).cp as usize];
        let usable: Vec<PkgId> = self.keep(&name.available, |p| self.u.pkg(p).mask.is_none());
        let versions = self.versions(&usable);
        if versions.is_empty() { String::new() } else { format!("{} can be had in version {}. ", atom.cp(), either(&versions)) }
    }

    fn slot_conflict(&self, graph: &Graph<'_>, reasons: &Reasons, conflict: &ConflictReport) -> Trouble {
        let mut because = Vec::new();
        let mut roots: Vec<String> = Vec::new();
        for pkg in &conflict.packages {
            // The fewest that show the conflict: one who takes this package and refuses another.
            let against = |(_, atom): &&(Parent, AtomRef)| {
                self.u.atom_matches(atom, *pkg) && conflict.packages.iter().any(|o| !self.u.atom_matches(atom, *o))
            };
            let asker =
                conflict.asked.iter().find(against).or_else(|| conflict.asked.iter().find(|(_, a)| self.u.atom_matches(a, *pkg)));
            let Some((parent, atom)) = asker else { continue };
            because.push(format!("{} is wanted as {} by {}", self.build_text(*pkg), atom.text, self.asker(*parent)));
            match parent {
                Parent::Pkg(parent) => {
                    because.extend(reasons.of(graph, *parent).iter().map(|r| format!("  which is {r}")));
                    roots.extend(reasons.root_of(graph, *parent));
                }
                Parent::Arg(index) => roots.push(self.args[*index as usize].asked.clone()),
            }
        }
        let roots = unique(roots.into_iter());
        let name = conflict.packages.first().map(|p| self.slot_text(*p)).unwrap_or_default();
        Trouble {
            because,
            ..trouble(
                TroubleKind::SlotConflict,
                name.clone(),
                format!("Two builds of {name} are needed, and only one can be installed."),
                match roots.len() {
                    0 | 1 => "Ask the operator of the binhost to rebuild them against one of the two.".to_owned(),
                    _ => format!(
                        "Leave out {}, or ask the operator of the binhost to rebuild them against one of the two.",
                        either(&roots)
                    ),
                },
            )
        }
    }

    fn blocked(&self, graph: &Graph<'_>, reasons: &Reasons, blocked: &Blocked) -> Trouble {
        let (parent, other) = (self.u.entry(blocked.parent).cpv.to_string(), self.u.entry(blocked.blocked).cpv.to_string());
        let mut because = Vec::new();
        let mut roots = Vec::new();
        for (cpv, pkg) in [(&parent, blocked.parent), (&other, blocked.blocked)] {
            let chain = reasons.of(graph, pkg);
            if chain.is_empty() {
                because.push(format!("{cpv} is installed in the base"));
            }
            because.extend(
                chain.iter().enumerate().map(|(i, r)| if i == 0 { format!("{cpv} is {r}") } else { format!("  which is {r}") }),
            );
            roots.extend(reasons.root_of(graph, pkg));
        }
        let roots = unique(roots.into_iter());
        Trouble {
            because,
            ..trouble(
                TroubleKind::Blocker,
                format!("{parent} {other}"),
                format!(
                    "{parent} and {other} cannot be installed together: {parent} blocks {}.",
                    blocked.atom.text.trim_start_matches('!')
                ),
                match roots.len() {
                    0 | 1 => format!("Ask for another version of {} or {}.", cp_of(&parent), cp_of(&other)),
                    _ => format!("Leave out {}.", either(&roots)),
                },
            )
        }
    }

    fn asker(&self, parent: Parent) -> String {
        match parent {
            Parent::Arg(index) => format!("the request ({})", self.args[index as usize].asked),
            Parent::Pkg(pkg) => self.u.entry(pkg).cpv.to_string(),
        }
    }

    fn slot_text(&self, pkg: PkgId) -> String {
        let slot = self.u.slot_name(self.u.pkg(pkg).slot);
        let name = self.u.entry(pkg).cpv.cp();
        if slot == "0" { name } else { format!("{name}:{slot}") }
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

fn cp_of(cpv: &str) -> String {
    Cpv::parse(cpv).map_or_else(|_| cpv.to_owned(), |c| c.cp())
}

fn wished_package(atom: &Atom) -> String {
    Atom { use_deps: Vec::new(), blocker: None, ..atom.clone() }.to_string()
}

fn slots_text(slots: &[String]) -> String {
    if slots.len() == 1 { format!("only slot {}", list(slots)) } else { format!("slot {}", list(slots)) }
}

/// The text of a mask's comment as a sentence.
fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = text.chars().take(300).collect();
    if cut.ends_with(['.', '!', '?']) { cut } else { format!("{cut}.") }
}

fn unique(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

/// `a, b and c`; of long lists the first few.
fn list(items: &[String]) -> String {
    join(items, "and")
}

fn either(items: &[String]) -> String {
    join(items, "or")
}

fn join(items: &[String], word: &str) -> String {
    match items {
        [] => "none".to_owned(),
        [only] => only.clone(),
        _ if items.len() > NAMED => format!("{} {word} {} more", items[..NAMED].join(", "), items.len() - NAMED),
        [first @ .., last] => format!("{} {word} {last}", first.join(", ")),
    }
}

fn did_you_mean(names: &[String], otherwise: &str) -> String {
    if names.is_empty() { otherwise.to_owned() } else { format!("Did you mean {}?", either(names)) }
}

/// Names like the one given: the same package in another category, then those that few changes lead to.
fn similar_names(u: &Universe, wanted: &str) -> Vec<String> {
    let package = wanted.rsplit_once('/').map_or(wanted, |(_, p)| p).to_ascii_lowercase();
    let limit = match package.len() {
        0..=2 => 0,
        3..=4 => 1,
        _ => 2,
    };
    let mut found: BTreeMap<(usize, &str), ()> = BTreeMap::new();
    for name in u.names.iter().filter(|n| n.available.iter().any(|p| u.pkg(*p).mask.is_none())) {
        let own = name.text.rsplit_once('/').map_or(name.text.as_str(), |(_, p)| p).to_ascii_lowercase();
        let distance = edit_distance(&package, &own, limit);
        if distance <= limit {
            found.insert((distance, &name.text), ());
        } else if package.len() >= 4 && own.split(['-', '_']).any(|word| word == package) {
            found.insert((limit + 1, &name.text), ());
        }
    }
    found.into_keys().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Levenshtein's distance, given up above `limit`.
fn edit_distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<u8>, Vec<u8>) = (a.bytes().take(64).collect(), b.bytes().take(64).collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (above + 1).min(row[j] + 1).min(diagonal + usize::from(x != y));
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(limit + 1)
}
