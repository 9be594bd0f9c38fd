//! What the composer and its process inside the user namespace say to each other over the latter's stdin and stdout.
//!
//! A message is a little-endian u32 length, that many bytes of JSON, and, where the message announces a size, that many bytes of
//! content. The process inside runs no foreign code itself, but it reports on what foreign code left behind: every length is limited.

use std::io::{self, Read, Write};

use super::limits::{Excess, Limits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Longest header accepted, in bytes. Symbolic links, paths and attributes are all far smaller.
const MAX_HEADER: u32 = 16 * 1024 * 1024;

/// The two trees the namespace holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Area {
    /// The root being composed.
    Target,
    /// The image of one package (`D`), while its `pkg_preinst` may change it.
    Image,
}

/// A file's metadata as it crosses the pipe. Bytes are carried as text of one character each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireEntry {
    pub kind: WireKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub xattrs: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireKind {
    Dir,
    /// `size` bytes of content follow the message. `link` is the composer's number of an inode with several names.
    File {
        size: u64,
        link: Option<u64>,
    },
    /// A further name of the file at `to`; no content follows.
    HardLink {
        to: String,
        link: u64,
    },
    Symlink {
        target: String,
    },
    Fifo,
    /// A kind that cannot be made without privileges (devices) or means nothing at rest (sockets).
    Other,
}

impl WireEntry {
    /// Bytes of content that follow the message.
    pub fn body(&self) -> u64 {
        match self.kind {
            WireKind::File { size, .. } => size,
            _ => 0,
        }
    }
}

/// From the composer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The namespace's ids are mapped: take them on. The work directory is the process's current one.
    Enter {
        /// For an onlooker: the target of another helper, which is its own, too.
        target: Option<String>,
    },
    /// Try an empty sandbox. Answered by `Done` or `Failed`.
    Probe,
    /// Make programs of an architecture run, and try one. Answered by `Done` or `Failed`.
    Enable {
        /// Gentoo's name.
        arch: String,
    },
    Remove {
        area: Area,
        path: String,
    },
    Put {
        area: Area,
        path: String,
        entry: WireEntry,
    },
    /// Set owner, mode, time and attributes alone.
    Meta {
        area: Area,
        path: String,
        entry: WireEntry,
    },
    /// Remove all of an area.
    Clear {
        area: Area,
    },
    /// Report whether all requests so far succeeded: `Done` or `Failed`.
    Flush,
    /// Report all that changed on disk since the last report: `Gone`s, `Found`s, `Done`. `thorough` looks at every file, not only at
    /// those that were seen to be touched.
    Scan {
        area: Area,
        thorough: bool,
    },
    /// Run a command in the sandbox: `Line`s and `Query`s, then `Output`s, then `Ended`.
    Run(RunRequest),
    /// The answer to a `Query`, one line.
    Answer {
        line: String,
    },
    /// Kill the running command.
    Cancel,
    /// Remove everything and exit. Answered by `Done`.
    Quit,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RunRequest {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Files for `/tmp/portage` inside, by plain name.
    pub files: Vec<(String, String)>,
    /// Names of files and folders of `/tmp/portage` to give back.
    pub outputs: Vec<String>,
    /// Bytes of the largest file given back.
    pub largest_output: u64,
    /// Whose `/tmp/portage/temp` it has: `SLOT/OWNER`, plain names both. It is kept until another owner takes the slot; none gets a fresh one.
    pub temp: Option<String>,
    /// EPREFIX: the command finds this machine's programs and libraries, and the part of the target below this path, there alone.
    pub guest: Option<String>,
    /// What is found there instead of the target, of this machine.
    pub build_root: Option<Vec<Shown>>,
    /// The target cannot be written.
    pub onlooking: bool,
    /// Seconds until it is killed.
    pub timeout: u64,
    pub limits: Limits,
}

/// Something that a command in a build root finds and cannot change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shown {
    /// A folder or file of this machine, at a path inside; below `target` it is the helper's own target.
    Path { here: String, inside: String },
    /// A symbolic link.
    Link { target: String, inside: String },
}

/// From the process inside.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The namespaces exist; the ids can be mapped now.
    Unshared,
    Found {
        path: String,
        entry: WireEntry,
    },
    Gone {
        path: String,
    },
    Line {
        line: String,
    },
    /// Nothing happened for a while: a chance to cancel.
    Tick,
    /// The script asks: words of a query such as `has_version`, the atom.
    Query {
        words: Vec<String>,
    },
    /// `size` bytes of content follow.
    Output {
        name: String,
        size: u64,
    },
    Ended(RunEnd),
    Done,
    Failed {
        message: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    Exit(i32),
    Signal(i32),
    TimedOut,
    OverLimit(Excess),
    Cancelled,
}

/// Sends a message without content.
pub fn send<M: Serialize>(out: &mut dyn Write, message: &M) -> io::Result<()> {
    let json = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_HEADER);
    let length = length.ok_or_else(|| io::Error::other("a message too long to send"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&json)
}

/// Receives a message; `None` at the end of the stream.
pub fn receive<M: DeserializeOwned>(input: &mut dyn Read) -> io::Result<Option<M>> {
    let mut length = [0u8; 4];
    match input.read(&mut length)? {
        0 => return Ok(None),
        read => input.read_exact(length.get_mut(read..).unwrap_or_default())?,
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(io::Error::other("a message longer than allowed"));
    }
    let mut json = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut json)?;
    serde_json::from_slice(&json).map(Some).map_err(io::Error::other)
}

/// Bytes as text of one character each, as JSON knows no bytes.
pub fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The reverse of [`to_text`].
///
/// # Errors
/// When a character stands for no byte.
pub fn to_bytes(text: &str) -> io::Result<Vec<u8>> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).map_err(|_| io::Error::other("a character that stands for no byte")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_bytes_survive_the_pipe() {
        let path: Vec<u8> = (0..=255).collect();
        let mut pipe = Vec::new();
        send(&mut pipe, &Reply::Gone { path: to_text(&path) }).unwrap();
        let Some(Reply::Gone { path: back }) = receive(&mut pipe.as_slice()).unwrap() else { panic!("another message") };
        assert_eq!(to_bytes(&back).unwrap(), path);
    }

    #[test]
    fn broken_messages_are_refused() {
        assert!(receive::<Reply>(&mut [0xff; 8].as_slice()).is_err());
        assert!(receive::<Reply>(&mut [4, 0, 0, 0, b'{'].as_slice()).is_err());
        assert!(receive::<Reply>(&mut [].as_slice()).unwrap().is_none());
        assert!(to_bytes("ā").is_err());
    }
}
