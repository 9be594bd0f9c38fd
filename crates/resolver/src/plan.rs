//! From a request to a plan: atoms and sets are read, the search runs, its result is checked, put in order and given its reasons.

use std::collections::{BTreeSet, VecDeque};

use contract::plan::{Inherited, PLAN_VERSION, Removal};
use contract::{PackageFormat, Plan, PlannedPackage, Summary};
use gentoo::atom::SlotOperator;
use gentoo::index::Entry;
use gentoo::{Atom, Cpv};

use crate::explain::{Explainer, Explanation};
use crate::graph::{Arg, Graph, Parent, Priority};
use crate::mask::accepted_chosts;
use crate::search::{Found, search};
use crate::universe::{AtomRef, IdMap, Origin, PkgId, Universe};
use crate::verify::verify;
use crate::{Resolution, Wanted, explain, order};

/// Most atoms one request may name, sets aside.
const MAX_ATOMS: usize = 4_000;
/// Deepest nesting of sets.
const MAX_SETS: usize = 32;

impl Universe {
    /// Chooses packages.
    ///
    /// # Errors
    /// An explanation when there is no plan.
    pub fn resolve(&self, wanted: &Wanted) -> Result<Resolution, Explanation> {
        let args = self.read_args(wanted)?;
        let found = match search(self, &args) {
            Ok(found) => found,
            Err(not_found) => return Err(Explainer::new(self, &args).explain(&not_found)),
        };
        verify(self, &args, &found.graph).map_err(Explanation::internal)?;
        let notes = notes(&found);
        let plan = self.plan(wanted, &args, &found.graph);
        let gone = plan
            .removals
            .iter()
            .map(|r| format!("{} of the base is removed: {} cannot be beside it ({}).", r.cpv, r.after, r.because));
        let notes: Vec<String> = notes.into_iter().chain(gone).collect();
        let plan = Plan { notes: notes.clone(), ..plan };
        Ok(Resolution { notes, steps: found.steps, plan })
    }

    fn read_args(&self, wanted: &Wanted) -> Result<Vec<Arg>, Explanation> {
        if wanted.atoms.is_empty() {
            return Err(Explanation::nothing_asked());
        }
        if wanted.atoms.len() > MAX_ATOMS {
            return Err(Explanation::too_much_asked(wanted.atoms.len(), MAX_ATOMS));
        }
        let mut args = Vec::new();
        let mut troubles = Vec::new();
        for text in &wanted.atoms {
            let read = match text.strip_prefix('@') {
                Some(set) => self.read_set(set, text, 0, &mut args),
                None => self.read_atom(text).map(|atom| args.push(Arg { atom, asked: text.clone(), from_set: false })),
            };
            if let Err(trouble) = read {
                troubles.push(*trouble);
            }
        }
        if troubles.is_empty() { Ok(args) } else { Err(Explanation::of(troubles)) }
    }

    fn read_set(&self, set: &str, asked: &str, depth: usize, args: &mut Vec<Arg>) -> Result<(), Box<explain::Trouble>> {
        if depth > MAX_SETS {
            return Err(Box::new(explain::set_too_deep(asked)));
        }
        let own: Vec<String>;
        let members: &[String] = match (self.source.sets.get(set), set) {
            (Some(members), _) => members,
            (None, "system") => {
                own = self.source.profile.system.iter().map(ToString::to_string).collect();
                &own
            }
            (None, "profile") => {
                own = self.source.profile.profile_set.iter().map(ToString::to_string).collect();
                &own
            }
            (None, _) => return Err(Box::new(explain::unknown_set(set, &self.source))),
        };
        if members.is_empty() && depth == 0 {
            return Err(Box::new(explain::empty_set(set)));
        }
        let mut members: Vec<&String> = members.iter().collect();
        members.sort();
        for member in members {
            match member.strip_prefix('@') {
                Some(inner) => self.read_set(inner, asked, depth + 1, args)?,
                None => args.push(Arg { atom: self.read_atom(member)?, asked: asked.to_owned(), from_set: true }),
            }
        }
        Ok(())
    }

    /// Reads an atom of a person's; the category may be left out where only one has the package.
    fn read_atom(&self, text: &str) -> Result<AtomRef, Box<explain::Trouble>> {
        let completed = if text.contains('/') { text.to_owned() } else { self.add_category(text)? };
        let atom = Atom::parse(&completed).map_err(|e| Box::new(explain::bad_atom(text, &e.reason)))?;
        if atom.blocker.is_some() {
            return Err(Box::new(explain::bad_atom(text, "a request cannot block packages")));
        }
        if atom.use_deps.iter().any(|d| d.to_string().ends_with(['?', '=']) || d.to_string().starts_with('!')) {
            return Err(Box::new(explain::bad_atom(text, "in a request a flag is either wanted, [flag], or unwanted, [-flag]")));
        }
        if atom.slot_operator == Some(SlotOperator::Equal) {
            return Ok(self.intern(Atom { slot_operator: None, ..atom }));
        }
        Ok(self.intern(atom))
    }

    /// A name without its category, as `vim` or `>=vim-9`, with it; none where no package, or more than one, has the name.
    pub fn completed(&self, text: &str) -> Option<String> {
        self.add_category(text).ok()
    }

    fn add_category(&self, text: &str) -> Result<String, Box<explain::Trouble>> {
        let start = text.find(|c: char| c.is_ascii_alphanumeric() || c == '_').unwrap_or(0);
        let (operator, rest) = text.split_at(start);
        // With a category put in, the grammar can tell where the name ends.
        let probe =
            Atom::parse(&format!("{operator}category/{rest}")).map_err(|e| Box::new(explain::bad_atom(text, &e.reason)))?;
        let suffix = format!("/{}", probe.package);
        let mut found: Vec<&str> =
            self.names.iter().filter(|n| n.text.ends_with(&suffix) && !n.available.is_empty()).map(|n| n.text.as_str()).collect();
        if found.len() > 1 {
            // As in Portage, a virtual or an account of the same name does not make a name ambiguous.
            found.retain(|n| !["virtual/", "acct-user/", "acct-group/"].iter().any(|c| n.starts_with(c)));
        }
        match found.as_slice() {
            [only] => {
                let category = only.split_once('/').map_or("", |(category, _)| category);
                Ok(format!("{operator}{category}/{rest}"))
            }
            [] => Err(Box::new(explain::unknown_name(self, text, &probe.package))),
            several => Err(Box::new(explain::ambiguous_name(text, several))),
        }
    }

    fn plan(&self, wanted: &Wanted, args: &[Arg], graph: &Graph<'_>) -> Plan {
        let order = order::merge_order(graph);
        let reasons = Reasons::new(graph);
        let packages: Vec<_> = order.iter().map(|p| self.planned(*p, reasons.of(*p))).collect();
        let mut world: BTreeSet<String> = BTreeSet::new();
        for arg in args.iter().filter(|a| !a.from_set) {
            world.insert(Atom { version: None, use_deps: Vec::new(), repo: None, ..arg.atom.atom.clone() }.to_string());
        }
        Plan {
            version: PLAN_VERSION,
            arch: self.source.arch.clone(),
            channel: self.source.channel.clone(),
            chost: accepted_chosts(&self.source).into_iter().next().unwrap_or_default(),
            binhosts: self.source.binhosts.iter().map(|b| b.access.clone()).collect(),
            profile: None,
            world: world.into_iter().collect(),
            services: wanted.services.clone(),
            // Whoever gave the installed packages knows what they are of.
            base: None,
            install_mask: String::new(),
            portage: Some(self.portage_settings(&order)),
            removals: removals(self, graph, &order),
            inherited: Vec::new(),
            notes: Vec::new(),
            summary: Summary::estimate(&packages),
            prefix: None,
            packages,
        }
    }

    /// What is installed and stays so, as a plan of this universe neither replaces nor removes it; by CPV.
    pub fn inherited(&self, plan: &Plan) -> Vec<Inherited> {
        let cpvs = plan.packages.iter().filter_map(|package| Some((Cpv::parse(&package.cpv).ok()?, package.slot.as_str())));
        let planned: BTreeSet<(String, String)> = cpvs.map(|(cpv, slot)| (cpv.cp(), main_slot(slot).to_owned())).collect();
        let gone: BTreeSet<&str> = plan.packages.iter().map(|package| package.cpv.as_str()).collect();
        let gone: BTreeSet<&str> = plan.removals.iter().map(|removal| removal.cpv.as_str()).chain(gone).collect();
        let stays = |entry: &&Entry| {
            !gone.contains(entry.cpv.to_string().as_str()) && !planned.contains(&(entry.cpv.cp(), entry.slot.to_string()))
        };
        let installed = self.source.installed.iter().flat_map(|installed| &installed.entries);
        let mut found: Vec<Inherited> = installed.filter(stays).map(inherited).collect();
        found.sort_by(|a, b| a.cpv.cmp(&b.cpv));
        found
    }

    fn planned(&self, id: PkgId, because: Vec<String>) -> PlannedPackage {
        let entry = self.entry(id);
        let binhost = match self.pkg(id).origin {
            Origin::Binhost { binhost, .. } => self.source.binhosts[binhost as usize].access.name.clone(),
            Origin::Installed { .. } => String::new(),
        };
        PlannedPackage {
            cpv: entry.cpv.to_string(),
            slot: format!("{}/{}", entry.slot, entry.subslot),
            build_id: entry.build_id,
            build_time: entry.build_time,
            use_flags: own_flags(entry),
            binhost,
            path: entry.path.to_string(),
            size: entry.size,
            format: if entry.path.ends_with(".gpkg.tar") { PackageFormat::Gpkg } else { PackageFormat::Xpak },
            md5: entry.md5.as_deref().map(str::to_owned),
            sha1: entry.sha1.as_deref().map(str::to_owned),
            sha256: None,
            license: entry.license.to_string(),
            origin: None,
            repo: entry.repo.to_string(),
            defined_phases: entry.defined_phases.to_string(),
            because,
        }
    }
}

fn inherited(entry: &Entry) -> Inherited {
    Inherited {
        cpv: entry.cpv.to_string(),
        slot: format!("{}/{}", entry.slot, entry.subslot),
        build_id: entry.build_id,
        build_time: entry.build_time,
        use_flags: own_flags(entry),
        license: entry.license.to_string(),
        repo: entry.repo.to_string(),
    }
}

/// The flags of IUSE that a package was built with, sorted.
fn own_flags(entry: &Entry) -> Vec<String> {
    let own: BTreeSet<&str> = entry.iuse_names().collect();
    let flags: BTreeSet<&str> = entry.use_flags.iter().filter(|flag| own.contains(flag)).collect();
    flags.into_iter().map(str::to_owned).collect()
}

/// A slot without its sub-slot.
fn main_slot(slot: &str) -> &str {
    slot.split_once('/').map_or(slot, |(slot, _)| slot)
}

/// What goes of the base, each after the last package that cannot be beside it.
fn removals(u: &Universe, graph: &Graph<'_>, order: &[PkgId]) -> Vec<Removal> {
    let hits = graph.blockers_that_hit();
    let place = |pkg: PkgId| order.iter().position(|merged| *merged == pkg);
    let removal = |going: &PkgId| {
        let others = hits.iter().filter_map(|hit| match *going {
            pkg if pkg == hit.blocked => Some((place(hit.parent)?, hit)),
            pkg if pkg == hit.parent => Some((place(hit.blocked)?, hit)),
            _ => None,
        });
        let (last, hit) = others.max_by_key(|(place, _)| *place)?;
        let cpv = |pkg: PkgId| u.entry(pkg).cpv.to_string();
        Some((
            last,
            Removal {
                cpv: cpv(*going),
                after: cpv(*order.get(last)?),
                because: format!("{} of {}", hit.atom.text, cpv(hit.parent)),
            },
        ))
    };
    let mut found: Vec<(usize, Removal)> = graph.lessons.going.iter().filter_map(removal).collect();
    found.sort_by(|(a, first), (b, second)| (a, &first.cpv).cmp(&(b, &second.cpv)));
    found.into_iter().map(|(_, removal)| removal).collect()
}

fn notes(found: &Found<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if found.true_cycles {
        notes.push(explain::cycle_note(&found.graph));
    }
    notes
}

/// The shortest way from each package to the request.
pub(crate) struct Reasons {
    nearest: IdMap<Reason>,
}

/// Why a package is there, by its nearest reason.
struct Reason {
    parent: Parent,
    text: String,
    /// The package that was asked for, at the end of the way, and how many packages away it is.
    asked: PkgId,
    distance: usize,
}

/// Longest way that is told in full: a chain of thousands of packages would be told thousands of times.
const MAX_TOLD: usize = 40;

impl Reasons {
    pub fn new(graph: &Graph<'_>) -> Reasons {
        let mut nearest: IdMap<Reason> = IdMap::default();
        let mut queue: VecDeque<PkgId> = VecDeque::new();
        for pkg in &graph.nodes {
            let arg = graph.parents(*pkg).iter().find(|p| matches!(p, Parent::Arg(_)));
            if let Some(parent) = arg {
                let text = format!("asked for as {}", graph.parent_text(*parent));
                nearest.insert(*pkg, Reason { parent: *parent, text, asked: *pkg, distance: 0 });
                queue.push_back(*pkg);
            }
        }
        while let Some(pkg) = queue.pop_front() {
            let Some((asked, distance)) = nearest.get(&pkg).map(|reason| (reason.asked, reason.distance + 1)) else { continue };
            for edge in graph.children(pkg) {
                if nearest.contains_key(&edge.child) {
                    continue;
                }
                let text = format!("needed by {} ({}: {})", graph.u.entry(pkg).cpv, kind(edge.priority), edge.atom.text);
                nearest.insert(edge.child, Reason { parent: Parent::Pkg(pkg), text, asked, distance });
                queue.push_back(edge.child);
            }
        }
        Reasons { nearest }
    }

    /// What was asked for on whose account a package is there.
    pub fn root_of(&self, graph: &Graph<'_>, pkg: PkgId) -> Option<String> {
        let asked = self.nearest.get(&pkg)?.asked;
        Some(graph.parent_text(self.nearest.get(&asked)?.parent))
    }

    /// The reasons for a package, nearest first; the last one is the request. The middle of very long ways is left out.
    pub fn of(&self, pkg: PkgId) -> Vec<String> {
        let mut chain = Vec::new();
        let mut at = Parent::Pkg(pkg);
        while let Parent::Pkg(current) = at {
            let Some(reason) = self.nearest.get(&current) else { break };
            if chain.len() == MAX_TOLD && reason.distance > 0 {
                chain.push(format!("and so on, through {} more packages", reason.distance));
                at = Parent::Pkg(reason.asked);
                continue;
            }
            chain.push(reason.text.clone());
            at = reason.parent;
        }
        chain
    }
}

fn kind(priority: Priority) -> &'static str {
    match priority {
        Priority { install: true, .. } => "IDEPEND",
        Priority { post: true, .. } => "PDEPEND",
        _ => "RDEPEND",
    }
}
