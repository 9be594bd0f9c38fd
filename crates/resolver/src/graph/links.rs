//! Who needs whom in a graph.

use super::{Depth, Edge, Parent};
use crate::universe::{AtomRef, PkgId};

/// What a graph knows about one package.
#[derive(Default)]
pub(crate) struct Links {
    pub children: Vec<Edge>,
    /// Each once.
    pub parents: Vec<Parent>,
    /// The parents with the atoms they ask with, each pair once.
    pub parent_atoms: Vec<(Parent, AtomRef)>,
    pub depth: Option<Depth>,
}

/// The links of a package that has none.
static NO_LINKS: Links = Links { children: Vec::new(), parents: Vec::new(), parent_atoms: Vec::new(), depth: None };
/// The place of a package without links.
const NOWHERE: u32 = u32::MAX;

/// The links of all packages. A graph has few of an index's packages, so they get places as they come; these keep their room when the
/// table is cleared for the next attempt.
pub(super) struct LinkTable {
    places: Vec<u32>,
    links: Vec<Links>,
    used: usize,
}

impl LinkTable {
    pub fn new(packages: usize) -> LinkTable {
        LinkTable { places: vec![NOWHERE; packages], links: Vec::new(), used: 0 }
    }

    pub fn clear(&mut self) {
        self.places.fill(NOWHERE);
        for links in &mut self.links[..self.used] {
            links.children.clear();
            links.parents.clear();
            links.parent_atoms.clear();
            links.depth = None;
        }
        self.used = 0;
    }

    pub fn of(&self, pkg: PkgId) -> &Links {
        self.links.get(self.places[pkg as usize] as usize).unwrap_or(&NO_LINKS)
    }

    pub fn of_mut(&mut self, pkg: PkgId) -> &mut Links {
        let place = &mut self.places[pkg as usize];
        if *place == NOWHERE {
            *place = self.used as u32;
            self.used += 1;
            if self.links.len() < self.used {
                self.links.push(Links::default());
            }
        }
        &mut self.links[*place as usize]
    }
}
