//! Packages that exclude each other: two in one slot, or blockers.

use super::words::{cp_of, either, unique};
use super::{Explainer, Trouble, TroubleKind, trouble};
use crate::conflicts::Blocked;
use crate::depstring::Item;
use crate::graph::{Graph, Parent};
use crate::plan::Reasons;
use crate::search::ConflictReport;
use crate::universe::{AtomRef, PkgId};

impl Explainer<'_> {
    pub(super) fn slot_conflict(&self, graph: &Graph<'_>, reasons: &Reasons, conflict: &ConflictReport) -> Trouble {
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
                    because.extend(reasons.of(*parent).iter().map(|r| format!("  which is {r}")));
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

    pub(super) fn blocked(&self, graph: &Graph<'_>, reasons: &Reasons, blocked: &Blocked) -> Trouble {
        let (parent, other) = (self.u.entry(blocked.parent).cpv.to_string(), self.u.entry(blocked.blocked).cpv.to_string());
        let mut because = Vec::new();
        let mut roots = Vec::new();
        for (cpv, pkg) in [(&parent, blocked.parent), (&other, blocked.blocked)] {
            let chain = reasons.of(pkg);
            if chain.is_empty() {
                because.push(match self.user_in_base(pkg) {
                    Some(user) => format!("{cpv} is installed in the base, where {user} needs it"),
                    None => format!("{cpv} is installed in the base"),
                });
            }
            because.extend(
                chain.iter().enumerate().map(|(i, r)| if i == 0 { format!("{cpv}: {r}") } else { format!("  which is {r}") }),
            );
            roots.extend(reasons.root_of(graph, pkg));
        }
        let roots = unique(roots.into_iter());
        let of_base = [blocked.parent, blocked.blocked].into_iter().find(|p| self.u.pkg(*p).installed);
        Trouble {
            because,
            ..trouble(
                TroubleKind::Blocker,
                format!("{parent} {other}"),
                format!(
                    "{parent} and {other} cannot be installed together: {parent} blocks {}.",
                    blocked.atom.text.trim_start_matches('!')
                ),
                match (of_base, roots.len()) {
                    (Some(pkg), 1) => {
                        format!(
                            "Leave out {}, or choose a channel whose base is without {}.",
                            either(&roots),
                            self.u.entry(pkg).cpv.cp()
                        )
                    }
                    (_, 0 | 1) => format!("Ask for another version of {} or {}.", cp_of(&parent), cp_of(&other)),
                    _ => format!("Leave out {}.", either(&roots)),
                },
            )
        }
    }

    /// Who of the base cannot do without a package of it, so that the package is not removed.
    fn user_in_base(&self, pkg: PkgId) -> Option<String> {
        let needs = |other: &PkgId| {
            let wants = |item: &Item| matches!(item, Item::Atom(need) if need.atom.atom.blocker.is_none() && self.u.atom_matches(&need.atom, pkg));
            *other != pkg && self.u.deps(*other).items().any(wants)
        };
        let user = self.u.names.iter().flat_map(|name| name.installed.iter().copied()).find(needs);
        user.map(|user| self.u.entry(user).cpv.to_string())
    }

    pub(super) fn asker(&self, parent: Parent) -> String {
        match parent {
            Parent::Arg(index) => format!("the request ({})", self.args[index as usize].asked),
            Parent::Pkg(pkg) => self.u.entry(pkg).cpv.to_string(),
        }
    }

    pub(super) fn slot_text(&self, pkg: PkgId) -> String {
        let slot = self.u.slot_name(self.u.pkg(pkg).slot);
        let name = self.u.entry(pkg).cpv.cp();
        if slot == "0" { name } else { format!("{name}:{slot}") }
    }
}
