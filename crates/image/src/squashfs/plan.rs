//! Which contents stand where, decided from the tree alone: contents of a block or more in blocks of their own, smaller ones joined to
//! fragments. Each content is there once, however many files have it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use crate::groups::Groups;
use crate::sparse::Source;
use crate::store::BlobId;
use crate::tree::Tree;
use crate::write::{content_of, grouped_items};

/// What is written one after the other.
pub(super) enum Part<'a> {
    /// All of a content, its end as a short block: so what becomes of it depends on nothing else.
    Blocks(Source<'a>),
    /// Small contents, joined to one block.
    Fragment(Vec<Source<'a>>),
}

/// Where a content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Empty,
    /// In the blocks of the n-th [`Part::Blocks`].
    Blocks(usize),
    /// In the n-th fragment, from this byte on.
    Fragment {
        number: u32,
        offset: u32,
    },
}

pub(super) struct Plan<'a> {
    pub parts: Vec<Part<'a>>,
    places: HashMap<(BlobId, u64), Place>,
    files: usize,
    fragments: u32,
    /// Of all contents, each once.
    pub bytes: u64,
}

impl<'a> Plan<'a> {
    pub(super) fn of(tree: &'a Tree, groups: &Groups, block: usize) -> Plan<'a> {
        let mut plan = Plan { parts: Vec::new(), places: HashMap::new(), files: 0, fragments: 0, bytes: 0 };
        let nothing = BlobId::of(b"");
        let mut packer = Packer { block: block as u64, waiting: Vec::new(), bytes: 0 };
        for item in grouped_items(tree, groups) {
            let Some((blob, size)) = content_of(&item) else { continue };
            let Slot::Vacant(slot) = plan.places.entry((*blob, size)) else { continue };
            // A fragment's place is known, and put here, when the fragment is full.
            slot.insert(if size >= packer.block { Place::Blocks(plan.files) } else { Place::Empty });
            plan.bytes = plan.bytes.saturating_add(size);
            let source = Source { path: item.path, blob, size };
            if size >= packer.block {
                plan.files += 1;
                plan.parts.push(Part::Blocks(source));
            } else if size > 0 || *blob != nothing {
                // A content that is said to be empty and is not is found by reading it.
                packer.add(source, &mut |full| plan.add_fragment(full));
            }
        }
        packer.finish(&mut |full| plan.add_fragment(full));
        plan
    }

    fn add_fragment(&mut self, sources: Vec<Source<'a>>) {
        let mut offset = 0;
        for source in &sources {
            self.places.insert((*source.blob, source.size), Place::Fragment { number: self.fragments, offset });
            offset += source.size as u32;
        }
        self.fragments += 1;
        self.parts.push(Part::Fragment(sources));
    }

    /// All contents, in the order of their places. Where a fragment ends follows from them.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source<'a>> {
        self.parts.iter().flat_map(|part| match part {
            Part::Blocks(source) => std::slice::from_ref(source),
            Part::Fragment(sources) => sources.as_slice(),
        })
    }

    /// Where the content of a file is.
    pub(super) fn place(&self, blob: &BlobId, size: u64) -> Place {
        self.places.get(&(*blob, size)).copied().unwrap_or(Place::Empty)
    }
}

/// Joins small contents to fragments, those of one group beside each other. Where a fragment ends is chosen by the contents around the cut, among all places that leave it at
/// least half full: so contents that are added to a tree change the fragments they fall into and rarely more than the next one or two,
/// and all others are what they were.
struct Packer<'a> {
    block: u64,
    waiting: Vec<Source<'a>>,
    bytes: u64,
}

impl<'a> Packer<'a> {
    fn add(&mut self, source: Source<'a>, full: &mut impl FnMut(Vec<Source<'a>>)) {
        self.bytes += source.size;
        self.waiting.push(source);
        while self.bytes > self.block {
            let rest = self.waiting.split_off(self.cut());
            let fragment = std::mem::replace(&mut self.waiting, rest);
            self.bytes -= fragment.iter().map(|source| source.size).sum::<u64>();
            full(fragment);
        }
    }

    /// How many of those waiting, which are too many for one fragment, become the next. The cut is before the content of the smallest
    /// hash.
    fn cut(&self) -> usize {
        let (mut before, mut last, mut best) = (0, 1, None);
        for (count, source) in self.waiting.iter().enumerate() {
            if before > self.block {
                break;
            }
            last = count;
            if before >= self.block / 2 && best.is_none_or(|(blob, _)| source.blob < blob) {
                best = Some((source.blob, count));
            }
            before += source.size;
        }
        best.map_or(last, |(_, count)| count).max(1)
    }

    fn finish(self, full: &mut impl FnMut(Vec<Source<'a>>)) {
        if !self.waiting.is_empty() {
            full(self.waiting);
        }
    }
}
