//! The serial console: what it says is kept, and waited for.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::MachineError;

/// Most that is kept of what a console says, in bytes; a machine that says more is not listened to any longer.
const MAX_SAID: usize = 8 << 20;
/// How often is looked whether a text has come.
const LOOK: Duration = Duration::from_millis(100);

/// A serial console.
pub struct Console {
    stream: UnixStream,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    ended: bool,
}

impl Console {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Console> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (mut reader, sink) = (stream.try_clone()?, seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = reader.read(&mut buffer).unwrap_or(0);
                let mut seen = sink.lock().unwrap_or_else(PoisonError::into_inner);
                seen.bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
                if read == 0 || seen.bytes.len() > MAX_SAID {
                    seen.ended = true;
                    return;
                }
            }
        });
        Ok(Console { stream, seen })
    }

    /// Everything the console has said. Positions in it are those that [`Console::expect`] takes and gives.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap_or_else(PoisonError::into_inner).bytes).into_owned()
    }

    /// The last lines it said, for people.
    pub fn tail(&self, lines: usize) -> String {
        let said = self.said();
        let all: Vec<&str> = said.lines().map(|line| line.trim_end_matches('\r')).collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// Waits until the console has said `text`, counted from position `from`; gives where the text ended.
    ///
    /// # Errors
    /// When it does not within `limit`, the machine ends, or `cancelled` says that nobody waits any more.
    pub fn expect(&self, text: &str, from: usize, limit: Duration, cancelled: &dyn Fn() -> bool) -> Result<usize, MachineError> {
        let start = Instant::now();
        loop {
            let ended = self.seen.lock().unwrap_or_else(PoisonError::into_inner).ended;
            if let Some(at) = self.said().get(from..).and_then(|said| said.find(text)) {
                return Ok(from + at + text.len());
            }
            if cancelled() {
                return Err(MachineError::Cancelled);
            }
            if ended {
                return Err(MachineError::Stopped { wanted: text.to_owned() });
            }
            if start.elapsed() > limit {
                return Err(MachineError::Silent { wanted: text.to_owned(), limit });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn type_line(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes())
    }
}
