//! Nothing satisfies an atom: what about it nothing has, and what comes nearest.

use gentoo::Atom;
use gentoo::atom::Operator;
use gentoo::useflags::UseDepKind;

use super::words::{did_you_mean, either, is_or_are, list, similar_names, slots_text, unique, wished_flags};
use super::{AFTER_BOOT, Explainer, Trouble, TroubleKind, Wish, trouble};
use crate::depstring::Item;
use crate::graph::{Graph, Parent};
use crate::plan::Reasons;
use crate::universe::{AtomRef, PkgId};

impl Explainer<'_> {
    /// Nothing satisfies an atom: finds the first thing about it that nothing has.
    pub(super) fn missing(
        &self,
        graph: &Graph<'_>,
        reasons: &Reasons,
        atom: &AtomRef,
        parent: Parent,
        wishes: &mut Vec<Wish>,
    ) -> Trouble {
        let mut found = self.what_is_missing(&atom.atom, wishes);
        if let Parent::Pkg(pkg) = parent {
            let built_differently = [TroubleKind::UnknownPackage, TroubleKind::Version, TroubleKind::Slot, TroubleKind::Use];
            if found.kind == TroubleKind::Slot && atom.atom.subslot.is_some() {
                found.advice = format!("Ask the operator of the binhost to rebuild {}.", self.u.entry(pkg).cpv.cp());
            } else if built_differently.contains(&found.kind) {
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
        found.because = self.chain(reasons, atom, parent);
        found
    }

    /// All alternatives, as text, when the package needs the atom as one of several.
    pub(super) fn alternatives_to(&self, pkg: PkgId, atom: &AtomRef) -> Option<String> {
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

    pub(super) fn what_is_missing(&self, atom: &Atom, wishes: &mut Vec<Wish>) -> Trouble {
        let name = atom.cp();
        let all: Vec<PkgId> = self.u.name(&name).map(|cp| self.u.names[cp as usize].available.clone()).unwrap_or_default();
        if all.is_empty() {
            wishes.push(Wish::of(atom));
            let advice = did_you_mean(&similar_names(self.u, &name), "Ask the operator of the binhost to build it.");
            return trouble(TroubleKind::UnknownPackage, atom.to_string(), format!("No binhost has {name}."), advice);
        }
        let of_version: Vec<PkgId> = self.keep(&all, |p| atom.matches_version(&self.u.entry(p).cpv.version));
        if of_version.is_empty() {
            return self.no_version(atom, &all, wishes);
        }
        let of_repo = self.keep(&of_version, |p| atom.repo.as_deref().is_none_or(|r| self.u.entry(p).repo == r));
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

    pub(super) fn no_version(&self, atom: &Atom, all: &[PkgId], wishes: &mut Vec<Wish>) -> Trouble {
        wishes.push(Wish::of(atom));
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
            format!("No binhost has {what} of {}; there {} {}.", atom.cp(), is_or_are(&versions), list(&versions)),
            "Take a version that is there, or ask the operator of the binhost to build this one.",
        )
    }

    pub(super) fn no_repository(&self, atom: &Atom, found: &[PkgId]) -> Trouble {
        let repos = unique(found.iter().map(|p| self.u.entry(*p).repo.to_string()));
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

    pub(super) fn no_slot(&self, atom: &Atom, found: &[PkgId], wishes: &mut Vec<Wish>) -> Trouble {
        wishes.push(Wish::of(atom));
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
        let slots = unique(found.iter().map(|p| self.u.entry(*p).slot.to_string()));
        trouble(
            TroubleKind::Slot,
            atom.to_string(),
            format!("No binhost has {} in slot {slot}; there {} {}.", atom.cp(), is_or_are(&slots), slots_text(&slots)),
            if slots.len() == 1 { "Take that slot." } else { "Take one of these slots." },
        )
    }

    /// The flags in which a package differs from what an atom asks for: `+` for those it lacks, `-` for those it has, `!` for those it does
    /// not know.
    pub(super) fn differing_flags(&self, atom: &Atom, pkg: PkgId) -> Vec<String> {
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

    pub(super) fn no_use(&self, atom: &Atom, found: &[PkgId], wishes: &mut Vec<Wish>) -> Trouble {
        let usable = self.keep(found, |p| self.u.pkg(p).mask.is_none());
        let choices = if usable.is_empty() { found } else { &usable };
        let Some(nearest) = choices.iter().copied().min_by_key(|p| self.differing_flags(atom, *p).len()) else {
            return trouble(TroubleKind::Use, atom.to_string(), format!("No binhost has {}.", atom.cp()), "");
        };
        let differing = self.differing_flags(atom, nearest);
        let build = self.build_text(nearest);
        let flags = wished_flags(atom, &differing);
        wishes.push(Wish { flags, nearest: Some((build.clone(), differing.clone())), ..Wish::of(atom) });
        let pick = |sign: char| -> Option<String> {
            let flags: Vec<String> = differing.iter().filter_map(|f| f.strip_prefix(sign)).map(str::to_owned).collect();
            (!flags.is_empty()).then(|| list(&flags))
        };
        let lacks = pick('+').map(|flags| format!("It is built without {flags}."));
        let has = pick('-').map(|flags| format!("It is built with {flags}."));
        let knows_not = pick('!').map(|flags| format!("It does not have the flag {flags}."));
        let parts: Vec<String> = [lacks, has, knows_not].into_iter().flatten().collect();
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
            format!("No binhost has {} with these USE flags. The nearest build is {build}. {}", atom.cp(), parts.join(" ")),
            format!("To take that build, ask for {offer}. The wish is noted for the operator of the binhost."),
        );
        Trouble { offer: Some(offer), ..found }
    }
}
