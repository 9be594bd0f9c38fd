//! The composer's end of the sandbox: starts the helper, keeps the tree on disk like the tree in memory, and runs commands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use image::{Entry, Kind, LinkId, Store, Tree};

use super::helper::INSIDE;
use super::wire::{Area, Reply, Request, RunEnd, RunRequest, WireEntry, WireKind, receive, send, to_bytes, to_text};
use super::{SandboxError, helper_program, idmap};

/// How directories of helpers are named in a work directory.
const PREFIX: &str = "phase-host-";
/// The file in each that its owner holds locked.
const LOCK: &str = "lock";
/// Lines of output kept for an error message.
const TAIL: usize = 30;

/// A command for the sandbox. It finds the target as `/`, `/tmp/portage` as its own directory with `files` in it, and no network.
#[derive(Clone, Debug, Default)]
pub struct Command {
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Files for `/tmp/portage`, by plain name.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files of `/tmp/portage` to give back.
    pub outputs: Vec<String>,
    /// Seconds until it is killed.
    pub timeout: u64,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub end: RunEnd,
    /// The last lines it printed.
    pub tail: Vec<String>,
    /// The files asked for that exist.
    pub outputs: BTreeMap<String, Vec<u8>>,
}

impl Ran {
    pub fn succeeded(&self) -> bool {
        self.end == RunEnd::Exit(0)
    }
}

/// Who listens to a running command.
pub trait Listener {
    /// A line of its output.
    fn line(&mut self, line: &str);
    /// Answers a question the script asked, in one line.
    fn answer(&mut self, words: &[String]) -> String;
    /// Whether it should be killed.
    fn cancelled(&mut self) -> bool;
}

/// The running helper with its trees on disk. Dropped, it ends and takes its files and processes with it.
pub struct PhaseHost {
    child: Child,
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
    dir: PathBuf,
    _lock: File,
    areas: HashMap<Area, OnDisk>,
}

/// What an area has on disk, as last sent or scanned.
#[derive(Default)]
struct OnDisk(BTreeMap<Vec<u8>, Entry>);

impl PhaseHost {
    /// Starts a helper with a directory of its own below `work_dir`; sweeps there first.
    pub fn start(work_dir: &Path) -> Result<PhaseHost, SandboxError> {
        sweep(work_dir)?;
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(work_dir).map_err(|error| broken(work_dir, &error))?.keep();
        let lock = File::create(dir.join(LOCK)).map_err(|error| broken(&dir, &error))?;
        lock.lock().map_err(|error| broken(&dir, &error))?;
        PhaseHost::start_in(dir, lock)
    }

    fn start_in(dir: PathBuf, lock: File) -> Result<PhaseHost, SandboxError> {
        let (program, argument) = helper_program();
        let mut child = std::process::Command::new(&program)
            .arg(argument)
            .current_dir(&dir)
            // A terminal's Ctrl-C is for the composer to answer.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| broken(&program, &error))?;
        let pid = child.id();
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(SandboxError::Broken { message: "its process has no pipes".into() });
        };
        let to = Some(BufWriter::with_capacity(256 * 1024, to));
        let from = BufReader::with_capacity(256 * 1024, from);
        let mut host = PhaseHost { child, to, from, dir, _lock: lock, areas: HashMap::new() };
        match host.reply()? {
            Reply::Unshared => {}
            Reply::Failed { message } => return Err(unavailable(message)),
            other => return Err(unexpected(&other)),
        }
        idmap::map(pid)?;
        host.ask(&Request::Enter)?;
        match host.reply()? {
            Reply::Done => Ok(host),
            Reply::Failed { message } => Err(unavailable(message)),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether bubblewrap works in here.
    pub fn probe(&mut self) -> Result<(), SandboxError> {
        self.ask(&Request::Probe)?;
        match self.reply()? {
            Reply::Done => Ok(()),
            Reply::Failed { message } => Err(SandboxError::Unavailable {
                message,
                advice:
                    "Install bubblewrap (`apt install bubblewrap`, sys-apps/bubblewrap); in a container, allow it to mount /proc."
                        .into(),
            }),
            other => Err(unexpected(&other)),
        }
    }

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
        for (path, entry) in tree.iter().filter(|(_, entry)| can_be_on_disk(entry)) {
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
        let stays =
            |path: &[u8], old: &Entry| tree.get(path).is_some_and(|new| can_be_on_disk(new) && new.is_dir() == old.is_dir());
        let doomed: Vec<Vec<u8>> = known.iter().filter(|(path, old)| !stays(path, old)).map(|(path, _)| path.clone()).collect();
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

    /// Takes over what commands changed in an area since it was last synchronised. Times from `now` on become `time` (both seconds
    /// since the epoch), so that a root does not tell when it was made. Returns how many paths changed.
    pub fn scan(&mut self, area: Area, tree: &mut Tree, store: &Store, now: i64, time: i64) -> Result<usize, SandboxError> {
        self.ask(&Request::Scan { area })?;
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
                    if entry.mtime >= now {
                        entry.mtime = time;
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

    /// Runs a command to its end.
    pub fn run(&mut self, command: &Command, listener: &mut dyn Listener) -> Result<Ran, SandboxError> {
        let files = command.files.iter().map(|(name, content)| (name.clone(), to_text(content))).collect();
        self.ask(&Request::Run(RunRequest {
            argv: command.argv.clone(),
            env: command.env.clone(),
            files,
            outputs: command.outputs.clone(),
            timeout: command.timeout,
        }))?;
        let mut tail = std::collections::VecDeque::new();
        let mut outputs = BTreeMap::new();
        let mut cancelled = false;
        loop {
            if !cancelled && listener.cancelled() {
                cancelled = true;
                self.ask(&Request::Cancel)?;
            }
            match self.reply()? {
                Reply::Line { line } => {
                    listener.line(&line);
                    if tail.len() == TAIL {
                        tail.pop_front();
                    }
                    tail.push_back(line);
                }
                Reply::Tick => {}
                Reply::Query { words } => {
                    let line = listener.answer(&words);
                    self.ask(&Request::Answer { line })?;
                }
                Reply::Output { name, size } => {
                    let mut content = Vec::new();
                    (&mut self.from).take(size).read_to_end(&mut content).map_err(|error| gone(&error))?;
                    outputs.insert(name, content);
                }
                Reply::Ended(end) => return Ok(Ran { end, tail: tail.into(), outputs }),
                Reply::Failed { message } => return Err(SandboxError::Broken { message }),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Ends the helper and removes all it had on disk.
    ///
    /// # Errors
    /// When something stays behind; the next [`sweep`] tries again.
    pub fn close(mut self) -> Result<(), SandboxError> {
        self.quit()
    }

    fn quit(&mut self) -> Result<(), SandboxError> {
        if self.to.is_none() {
            return Ok(());
        }
        self.ask(&Request::Quit)?;
        let answer = self.done();
        self.to = None;
        self.child.wait().map_err(|error| gone(&error))?;
        answer?;
        fs::remove_dir_all(&self.dir).map_err(|error| broken(&self.dir, &error))
    }

    fn known(&mut self, area: Area) -> &mut BTreeMap<Vec<u8>, Entry> {
        &mut self.areas.entry(area).or_default().0
    }

    /// Sends a request; all but the ones that content or more requests follow are flushed by [`PhaseHost::reply`].
    fn ask(&mut self, request: &Request) -> Result<(), SandboxError> {
        send(self.writer()?, request).map_err(|error| gone(&error))
    }

    fn writer(&mut self) -> Result<&mut BufWriter<ChildStdin>, SandboxError> {
        self.to.as_mut().ok_or_else(|| SandboxError::Broken { message: "its process was ended".into() })
    }

    fn reply(&mut self) -> Result<Reply, SandboxError> {
        self.writer()?.flush().map_err(|error| gone(&error))?;
        match receive(&mut self.from).map_err(|error| gone(&error))? {
            Some(reply) => Ok(reply),
            None => Err(SandboxError::Broken { message: "its process ended unexpectedly".into() }),
        }
    }

    fn done(&mut self) -> Result<(), SandboxError> {
        match self.reply()? {
            Reply::Done => Ok(()),
            Reply::Failed { message } => Err(SandboxError::Broken { message }),
            other => Err(unexpected(&other)),
        }
    }
}

impl Drop for PhaseHost {
    fn drop(&mut self) {
        if self.to.is_some() && self.quit().is_err() {
            self.to = None;
            // It may be gone already; what it leaves on disk is swept at the next start.
            let _ended = self.child.kill();
            let _ended = self.child.wait();
        }
    }
}

/// Removes directories of helpers that nobody holds locked.
pub fn sweep(work_dir: &Path) -> Result<(), SandboxError> {
    fs::create_dir_all(work_dir).map_err(|error| broken(work_dir, &error))?;
    for child in fs::read_dir(work_dir).map_err(|error| broken(work_dir, &error))? {
        let dir = child.map_err(|error| broken(work_dir, &error))?.path();
        let ours = dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let Some(lock) = ours.then(|| File::open(dir.join(LOCK)).ok()).flatten() else { continue };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(broken(&dir, &error)),
        }
        match dir.join(INSIDE).exists() {
            // Foreign ids own what is inside: a helper removes it.
            true => PhaseHost::start_in(dir, lock)?.close()?,
            false => fs::remove_dir_all(&dir).map_err(|error| broken(&dir, &error))?,
        }
    }
    Ok(())
}

/// See [`super::remove_tree`].
pub fn remove_tree(dir: &Path) -> Result<(), SandboxError> {
    let children = match fs::read_dir(dir) {
        Ok(children) => children,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(broken(dir, &error)),
    };
    sweep(dir)?;
    for child in children {
        let path = child.map_err(|error| broken(dir, &error))?.path();
        if path.is_dir() && !path.is_symlink() {
            sweep(&path)?;
        }
    }
    fs::remove_dir_all(dir).map_err(|error| broken(dir, &error))
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

fn unavailable(message: String) -> SandboxError {
    SandboxError::Unavailable {
        message,
        advice: "Allow user namespaces: `sysctl user.max_user_namespaces=15000`, on Ubuntu also \
                 `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in a container, allow unshare and mount."
            .into(),
    }
}

fn broken(path: &Path, error: &io::Error) -> SandboxError {
    SandboxError::Broken { message: format!("{}: {error}", path.display()) }
}

fn gone(error: &io::Error) -> SandboxError {
    SandboxError::Broken { message: format!("its process does not answer ({error})") }
}

fn unexpected(reply: &Reply) -> SandboxError {
    SandboxError::Broken { message: format!("an answer out of turn: {reply:?}") }
}
