//! Keeping the tree on disk like the tree in memory, and taking back what commands changed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};

use image::{Entry, Kind, LinkId, Store, Tree};

use super::SandboxError;
use super::host::{PhaseHost, gone, unexpected};
use super::wire::{Area, Reply, Request, WireEntry, WireKind, to_bytes, to_text};

/// What an area has on disk, as last sent or scanned.
#[derive(Default)]
pub struct OnDisk(BTreeMap<Vec<u8>, Entry>);

/// How changes are taken over. Times since the host was started become `time` (seconds since the epoch), so that a root does not tell when
/// it was made.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    pub time: i64,
    /// Look at every file, not only at those that were seen to be touched.
    pub thorough: bool,
}

impl PhaseHost {
    /// Makes an area on disk like `tree`, sending only what differs from what was last sent or scanned. Devices stay away.
    pub fn sync(&mut self, area: Area, tree: &Tree, store: &Store) -> Result<(), SandboxError> {
        let mut known = self.areas.remove(&area).unwrap_or_default().0;
        let result = self.send_changes(area, tree, store, &mut known);
        self.areas.insert(area, OnDisk(known));
        result?;
        self.ask(&Request::Flush)?;
        self.done()
    }

    /// Empties an area.
    pub fn clear(&mut self, area: Area) -> Result<(), SandboxError> {
        self.areas.remove(&area);
        self.ask(&Request::Clear { area })?;
        self.ask(&Request::Flush)?;
        self.done()
    }

    fn send_changes(
        &mut self,
        area: Area,
        tree: &Tree,
        store: &Store,
        known: &mut BTreeMap<Vec<u8>, Entry>,
    ) -> Result<(), SandboxError> {
        self.send_removals(area, tree, known)?;
        let relinked = changed_groups(tree, known);
        let mut first_names: HashMap<LinkId, Vec<u8>> = HashMap::new();
        for (path, entry) in changed_or_linked(tree, known) {
            let old = known.get(path);
            let regroup = entry.link().is_some_and(|link| relinked.contains(&link));
            let first = entry.link().map(|link| first_names.entry(link).or_insert_with(|| path.to_vec()).clone());
            if old == Some(entry) && !regroup {
                continue;
            }
            let hard_link = first.filter(|first| first != path);
            match (hard_link, old) {
                (Some(to), _) => self.put(area, path, hard_link_to(&to, entry), None)?,
                (None, Some(old)) if old.kind == entry.kind && !regroup => {
                    let entry = to_wire(entry);
                    self.ask(&Request::Meta { area, path: to_text(path), entry })?;
                }
                (None, _) => self.put(area, path, to_wire(entry), Some((store, entry)))?,
            }
            known.insert(path.to_vec(), entry.clone());
        }
        Ok(())
    }

    fn send_removals(&mut self, area: Area, tree: &Tree, known: &mut BTreeMap<Vec<u8>, Entry>) -> Result<(), SandboxError> {
        let doomed = doomed(tree, known);
        let mut last: Option<Vec<u8>> = None;
        for path in doomed {
            known.remove(&path);
            // What is below a removed directory went with it.
            if last.as_ref().is_some_and(|last| path.strip_prefix(last.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))) {
                continue;
            }
            self.ask(&Request::Remove { area, path: to_text(&path) })?;
            last = Some(path);
        }
        Ok(())
    }

    fn put(&mut self, area: Area, path: &[u8], entry: WireEntry, content: Option<(&Store, &Entry)>) -> Result<(), SandboxError> {
        let size = entry.body();
        self.ask(&Request::Put { area, path: to_text(path), entry })?;
        if let Some((store, Entry { kind: Kind::File { blob, .. }, .. })) = content {
            let mut reader = store.reader(blob)?.take(size);
            let sent = io::copy(&mut reader, self.writer()?).map_err(|error| gone(&error))?;
            if sent != size {
                return Err(SandboxError::Broken { message: format!("the store has {sent} bytes of a file of {size}") });
            }
        }
        Ok(())
    }

    /// Takes over what commands changed in an area since it was last synchronised. Returns how many paths changed.
    pub fn scan(&mut self, area: Area, tree: &mut Tree, store: &Store, how: &Scan) -> Result<usize, SandboxError> {
        self.ask(&Request::Scan { area, thorough: how.thorough })?;
        let mut changed = 0;
        let mut links: HashMap<u64, LinkId> = HashMap::new();
        loop {
            match self.reply()? {
                Reply::Gone { path } => {
                    let path = to_bytes(&path).map_err(|error| gone(&error))?;
                    tree.remove_all(&path);
                    self.known(area).remove(&path);
                    changed += 1;
                }
                Reply::Found { path, entry } => {
                    let path = to_bytes(&path).map_err(|error| gone(&error))?;
                    let Some(mut entry) = self.take(tree, store, &entry, &mut links)? else { continue };
                    if entry.mtime >= self.began {
                        entry.mtime = how.time;
                    }
                    if let Some(old) = tree.get(&path).filter(|old| old.is_dir() && entry.is_dir()) {
                        entry.mtime = old.mtime;
                    }
                    if tree.get(&path) != Some(&entry) {
                        tree.insert(&path, entry.clone())?;
                        changed += 1;
                    }
                    self.known(area).insert(path, entry);
                }
                Reply::Done => return Ok(changed),
                Reply::Failed { message } => return Err(SandboxError::Broken { message }),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// An entry of the tree from what the helper found; content goes to the store. `None` for what no image can hold.
    fn take(
        &mut self,
        tree: &mut Tree,
        store: &Store,
        found: &WireEntry,
        links: &mut HashMap<u64, LinkId>,
    ) -> Result<Option<Entry>, SandboxError> {
        let kind = match &found.kind {
            WireKind::Dir => Kind::Dir,
            WireKind::File { size, link } => {
                let link = link.map(|link| own_link(tree, links, link));
                let (blob, stored) = store.put(&mut (&mut self.from).take(*size))?;
                if stored != *size {
                    return Err(SandboxError::Broken { message: "it ended in the middle of a file".into() });
                }
                Kind::File { blob, size: *size, link }
            }
            WireKind::HardLink { to, link } => {
                let to = to_bytes(to).map_err(|error| gone(&error))?;
                let link = own_link(tree, links, *link);
                match tree.get(&to).map(|entry| entry.kind.clone()) {
                    Some(Kind::File { blob, size, .. }) => Kind::File { blob, size, link: Some(link) },
                    _ => return Err(SandboxError::Broken { message: "it reports a link to nothing".into() }),
                }
            }
            WireKind::Symlink { target } => Kind::Symlink(to_bytes(target).map_err(|error| gone(&error))?),
            WireKind::Fifo => Kind::Fifo,
            WireKind::Other => return Ok(None),
        };
        let xattrs = found.xattrs.iter().map(|(name, value)| Ok((to_bytes(name)?, to_bytes(value)?)));
        let xattrs = xattrs.collect::<io::Result<_>>().map_err(|error| gone(&error))?;
        Ok(Some(Entry { kind, mode: found.mode & 0o7777, uid: found.uid, gid: found.gid, mtime: found.mtime, xattrs }))
    }

    fn known(&mut self, area: Area) -> &mut BTreeMap<Vec<u8>, Entry> {
        &mut self.areas.entry(area).or_default().0
    }
}

/// An entry and where it is.
type At<'a> = (&'a [u8], &'a Entry);

/// Both sides by path, side by side: going along both is many times faster than looking each path up.
fn side_by_side<'t, 'k>(
    tree: &'t Tree,
    known: &'k BTreeMap<Vec<u8>, Entry>,
) -> impl Iterator<Item = (Option<At<'t>>, Option<At<'k>>)> {
    let mut new = tree.iter().filter(|(_, entry)| can_be_on_disk(entry)).peekable();
    let mut old = known.iter().map(|(path, entry)| (path.as_slice(), entry)).peekable();
    std::iter::from_fn(move || {
        let order = match (new.peek(), old.peek()) {
            (Some((new, _)), Some((old, _))) => new.cmp(old),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let new = if order == Ordering::Greater { None } else { new.next() };
        let old = if order == Ordering::Less { None } else { old.next() };
        (new.is_some() || old.is_some()).then_some((new, old))
    })
}

/// What is to be sent, and every name of an inode with several.
fn changed_or_linked<'a>(tree: &'a Tree, known: &BTreeMap<Vec<u8>, Entry>) -> Vec<(&'a [u8], &'a Entry)> {
    let changed = side_by_side(tree, known).filter_map(|(new, old)| {
        let (path, entry) = new?;
        (old.is_none_or(|(_, old)| old != entry) || entry.link().is_some()).then_some((path, entry))
    });
    changed.collect()
}

/// What is on disk and has to go: it is not in the tree, or a directory there and something else here.
fn doomed(tree: &Tree, known: &BTreeMap<Vec<u8>, Entry>) -> Vec<Vec<u8>> {
    let doomed = side_by_side(tree, known).filter_map(|(new, old)| {
        let (path, old) = old?;
        new.is_none_or(|(_, new)| new.is_dir() != old.is_dir()).then(|| path.to_vec())
    });
    doomed.collect()
}

/// Inodes whose names on disk are not those of the tree.
fn changed_groups(tree: &Tree, known: &BTreeMap<Vec<u8>, Entry>) -> BTreeSet<LinkId> {
    let mut before: BTreeMap<LinkId, Vec<&[u8]>> = BTreeMap::new();
    for (path, entry) in known {
        if let Some(link) = entry.link() {
            before.entry(link).or_default().push(path);
        }
    }
    let differs = |link: &LinkId, names: &Vec<&[u8]>| {
        before.get(link) != Some(names) || names.iter().any(|name| known.get(*name) != tree.get(name))
    };
    tree.link_groups().into_iter().filter(|(link, names)| differs(link, names)).map(|(link, _)| link).collect()
}

/// The tree's number for an inode: its own where it is known in the tree, a new one for an inode a command made.
fn own_link(tree: &mut Tree, links: &mut HashMap<u64, LinkId>, link: u64) -> LinkId {
    *links.entry(link).or_insert_with(|| if link < super::disk::FIRST_OWN_LINK { LinkId(link) } else { tree.new_link() })
}

fn can_be_on_disk(entry: &Entry) -> bool {
    !matches!(entry.kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. })
}

fn to_wire(entry: &Entry) -> WireEntry {
    let kind = match &entry.kind {
        Kind::Dir => WireKind::Dir,
        Kind::File { size, link, .. } => WireKind::File { size: *size, link: link.map(|link| link.0) },
        Kind::Symlink(target) => WireKind::Symlink { target: to_text(target) },
        Kind::Fifo => WireKind::Fifo,
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } => WireKind::Other,
    };
    let xattrs = entry.xattrs.iter().map(|(name, value)| (to_text(name), to_text(value))).collect();
    WireEntry { kind, mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs }
}

fn hard_link_to(first: &[u8], entry: &Entry) -> WireEntry {
    let link = entry.link().map_or(0, |link| link.0);
    WireEntry { kind: WireKind::HardLink { to: to_text(first), link }, ..to_wire(entry) }
}
