//! What zip cannot carry, said rather than lost.

use crate::entry::Kind;
use crate::tree::shown;
use crate::write::Item;

/// Names given as examples in a sentence; the text file has them all.
const EXAMPLES: usize = 3;

/// One kind of loss and the entries it befalls.
struct Loss {
    /// What readers must know, to follow "N entries".
    what: &'static str,
    entries: Vec<String>,
}

/// Everything in a tree that a zip file does not keep, or keeps only for some readers.
pub(crate) struct Losses([Loss; 6]);

impl Default for Losses {
    fn default() -> Self {
        let loss = |what| Loss { what, entries: Vec::new() };
        Losses([
            loss("left out, because zip has no device nodes and fifos"),
            loss("with extended attributes (capabilities, ACLs), which zip does not keep"),
            loss("that were hard links of one file and are now copies"),
            loss("with set-user-id, set-group-id or sticky bits, which unzip restores only with -K"),
            loss("owned by somebody else than root, which unzip restores only as root with -X"),
            loss("whose names are not UTF-8, which programs show in different ways"),
        ])
    }
}

impl Losses {
    pub(crate) fn look_at(&mut self, item: &Item) {
        let special = matches!(item.entry.kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo);
        let hits = match special {
            true => [true, false, false, false, false, false],
            false => [
                false,
                !item.entry.xattrs.is_empty(),
                item.hard_link.is_some(),
                item.entry.mode & 0o7000 != 0 && !item.entry.is_symlink(),
                item.entry.uid != 0 || item.entry.gid != 0,
                std::str::from_utf8(item.path).is_err(),
            ],
        };
        for (loss, _) in self.0.iter_mut().zip(hits).filter(|(_, hit)| *hit) {
            loss.entries.push(match item.hard_link.filter(|_| loss.what.contains("hard links")) {
                Some(first) => format!("{} (as {})", shown(item.path), shown(first)),
                None => shown(item.path),
            });
        }
    }

    fn any(&self) -> impl Iterator<Item = &Loss> {
        self.0.iter().filter(|loss| !loss.entries.is_empty())
    }

    /// A sentence for each kind of loss.
    pub(crate) fn sentences(&self) -> Vec<String> {
        self.any().map(Loss::sentence).collect()
    }

    /// The text that goes into the zip file.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(
            "This zip file holds a root filesystem. Zip keeps names, contents, symbolic links, permissions and times (Info-ZIP's\n\
             unzip restores them). To run the system use one of the other formats: a tar archive or an ISO keeps everything.\n",
        );
        if self.any().next().is_none() {
            text.push_str("\nNothing of this tree was lost.\n");
        }
        for loss in self.any() {
            text.push_str(&format!("\n{}:\n", loss.headline()));
            loss.entries.iter().for_each(|entry| text.push_str(&format!("  {entry}\n")));
        }
        text
    }
}

impl Loss {
    fn headline(&self) -> String {
        let count = self.entries.len();
        format!("{count} {} {}", if count == 1 { "entry" } else { "entries" }, self.what)
    }

    fn sentence(&self) -> String {
        let examples: Vec<&str> = self.entries.iter().take(EXAMPLES).map(String::as_str).collect();
        let more = if self.entries.len() > EXAMPLES { ", …" } else { "" };
        format!("zip: {}: {}{more}", self.headline(), examples.join(", "))
    }
}
