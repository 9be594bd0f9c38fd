//! Knows what running commands touched, so that a tree of tens of thousands of files need not be looked through after each: inotify(7)
//! watches on all its directories. Where the kernel cannot tell (too many changes at once, too many watches), it says so.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// Paths to look at; true where all below is to be looked at as well.
pub type Touched = BTreeMap<Vec<u8>, bool>;

/// Watches the directories of one tree.
pub struct Watcher {
    /// None once it was found that it cannot be relied on.
    inotify: Option<Inotify>,
    paths: HashMap<WatchDescriptor, Vec<u8>>,
    /// Directories without a watch yet: the composer's own writing is not watched.
    unwatched: Vec<Vec<u8>>,
    touched: Touched,
    /// More happened than `touched` tells.
    missed: bool,
}

impl Watcher {
    pub fn new() -> Watcher {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        Watcher { inotify, paths: HashMap::new(), unwatched: Vec::new(), touched: Touched::new(), missed: false }
    }

    /// A directory is there that was not.
    pub fn directory(&mut self, path: &[u8]) {
        self.unwatched.push(path.to_vec());
    }

    /// To be called right before a command runs: what happened until now was the composer's own doing.
    pub fn arm(&mut self, root: &Path) {
        self.read(&mut |_, _| {});
        let Some(inotify) = &self.inotify else { return };
        for path in std::mem::take(&mut self.unwatched) {
            match inotify.add_watch(&root.join(OsStr::from_bytes(&path)), wanted()) {
                Ok(watch) => {
                    self.paths.insert(watch, path);
                }
                // It was removed again.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(_) => {
                    self.inotify = None;
                    return;
                }
            }
        }
    }

    /// To be called when a command has ended.
    pub fn collect(&mut self) {
        let (mut touched, mut missed) = (std::mem::take(&mut self.touched), self.missed || self.inotify.is_none());
        self.read(&mut |dir, event| match (dir, &event.name) {
            _ if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => missed = true,
            (None, _) => {}
            (Some(dir), Some(name)) => {
                let path = if dir.is_empty() { name.as_bytes().to_vec() } else { [dir, b"/", name.as_bytes()].concat() };
                let new = event.mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVE);
                *touched.entry(path).or_default() |= new && event.mask.contains(AddWatchFlags::IN_ISDIR);
            }
            (Some(dir), None) => {
                touched.entry(dir.to_vec()).or_default();
            }
        });
        (self.touched, self.missed) = (touched, missed || self.inotify.is_none());
    }

    /// What was touched since this was asked last; `None` when that is not known.
    pub fn take(&mut self) -> Option<Touched> {
        let touched = std::mem::take(&mut self.touched);
        (!std::mem::take(&mut self.missed)).then_some(touched)
    }

    fn read(&mut self, each: &mut dyn FnMut(Option<&[u8]>, &InotifyEvent)) {
        while let Some(inotify) = &self.inotify {
            match inotify.read_events() {
                Ok(events) => {
                    for event in events {
                        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                            self.paths.remove(&event.wd);
                        } else {
                            each(self.paths.get(&event.wd).map(Vec::as_slice), &event);
                        }
                    }
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(_) => self.inotify = None,
            }
        }
    }
}

fn wanted() -> AddWatchFlags {
    AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_ONLYDIR
        | AddWatchFlags::IN_DONT_FOLLOW
}
