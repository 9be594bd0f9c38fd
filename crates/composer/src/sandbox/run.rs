//! Runs one command in bubblewrap to its end: passes on what it says and asks, and stops it at its limits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid};

use super::bubblewrap::{PORTAGE, TEMPS, command};
use super::helper::{Pipe, wipe};
use super::limits::{Meter, PERIOD};
use super::seccomp::filter;
use super::wire::{Reply, Request, RunEnd, RunRequest, receive, send};

/// Directories made in it: PMS's T, D, WORKDIR and HOME.
const DIRECTORIES: [&str; 4] = ["temp", "image", "work", "homedir"];
/// Longest line passed on, in bytes, and most lines of one command.
const MAX_LINE: usize = 4096;
const MAX_LINES: u64 = 50_000;
/// Folders are looked into so deep for files to give back, and most files of one.
const DEPTH: u8 = 4;
const MAX_FILES: usize = 64;
/// Longest query, in bytes.
const MAX_QUERY: usize = 16 * 1024;

/// Runs a command to its end and tells all about it.
pub fn run(pipe: &mut Pipe, what: &RunRequest) -> io::Result<()> {
    let mut questions = prepare(what)?;
    let (reader, writer) = io::pipe()?;
    let filter = filter()?;
    let meter = Meter::start(what.limits)?;
    let deadline = Instant::now() + Duration::from_secs(what.timeout);
    let mut child = command(what, &filter)
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("bwrap cannot be started: {error}")))?;
    // When the composer goes away this process ends at once, and its namespace with it.
    let end = attend(pipe, &mut child, reader, &mut questions, &mut Watch { meter, deadline })?;
    kill_all()?;
    reap()?;
    for name in &what.outputs {
        for file in files_of(Path::new(PORTAGE), name, DEPTH) {
            give_back(pipe, &file, what.largest_output)?;
        }
    }
    pipe.tell(&Reply::Ended(end))
}

/// Kills every other process of the namespace. (Killing bubblewrap alone leaves its child alive when that has only just been started.)
fn kill_all() -> io::Result<()> {
    if getpid().as_raw() != 1 {
        return Err(io::Error::other("this is not the first process of a namespace"));
    }
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes leave of the orphans that fell to this process; dead ones count against the limit of processes.
fn reap() -> io::Result<()> {
    loop {
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The two fifos by which a script asks.
struct Questions {
    query: File,
    answer: File,
    pending: Vec<u8>,
}

fn prepare(what: &RunRequest) -> io::Result<Questions> {
    let dir = Path::new(PORTAGE);
    wipe(dir)?;
    for name in DIRECTORIES {
        fs::create_dir(dir.join(name))?;
    }
    if let Some(temp) = &what.temp {
        keep_temp(&Path::new(TEMPS).join(temp))?;
    }
    for (name, content) in &what.files {
        fs::write(dir.join(name), super::wire::to_bytes(content)?)?;
    }
    let fifo = |name: &str, flags: OFlag| {
        let at = dir.join(name);
        nix::unistd::mkfifo(&at, Mode::from_bits_truncate(0o600))?;
        OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(at)
    };
    // Opened for both directions they never block for want of another end, and never end.
    Ok(Questions { query: fifo("query", OFlag::O_NONBLOCK)?, answer: fifo("answer", OFlag::O_NONBLOCK)?, pending: Vec::new() })
}

/// Makes a directory of temporary files, unless it is there, and ends that of the owner before.
fn keep_temp(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(slot) = dir.parent().filter(|slot| slot.is_dir()) {
        wipe(slot)?;
    }
    fs::create_dir_all(dir)
}

/// What a command is stopped for.
struct Watch {
    meter: Meter,
    deadline: Instant,
}

impl Watch {
    fn verdict(&mut self) -> io::Result<Option<RunEnd>> {
        match Instant::now() >= self.deadline {
            true => Ok(Some(RunEnd::TimedOut)),
            false => Ok(self.meter.excess()?.map(RunEnd::OverLimit)),
        }
    }
}

/// Passes lines and questions on until the command has ended, has gone over a limit, or the composer says stop.
fn attend(
    pipe: &mut Pipe,
    child: &mut Child,
    mut reader: PipeReader,
    questions: &mut Questions,
    watch: &mut Watch,
) -> io::Result<RunEnd> {
    let mut lines = Lines::default();
    let mut verdict = None;
    loop {
        if verdict.is_none() {
            verdict = watch.verdict()?;
            if verdict.is_some() {
                kill_all()?;
            }
        }
        let ready = wait(pipe, &reader, questions, PERIOD)?;
        if !(ready.composer || ready.question || ready.output) {
            pipe.tell(&Reply::Tick)?;
            // Bubblewrap may fail and leave a child that waits for it for ever, with our pipe in its hands.
            if child.try_wait()?.is_some() {
                kill_all()?;
            }
        }
        if ready.composer {
            match receive::<Request>(&mut pipe.input)? {
                Some(Request::Answer { line }) => write_answer(questions, &line)?,
                Some(Request::Cancel) if verdict.is_none() => {
                    verdict = Some(RunEnd::Cancelled);
                    kill_all()?;
                }
                Some(_) => {}
                None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            }
        }
        if ready.question {
            read_questions(pipe, questions)?;
        }
        if ready.output && !lines.read(pipe, &mut reader)? {
            break;
        }
    }
    lines.finish(pipe)?;
    let status = child.wait()?;
    Ok(verdict.unwrap_or_else(|| end_of(status)))
}

struct Ready {
    composer: bool,
    question: bool,
    output: bool,
}

fn wait(pipe: &Pipe, reader: &PipeReader, questions: &Questions, at_most: Duration) -> io::Result<Ready> {
    if !pipe.input.buffer().is_empty() {
        return Ok(Ready { composer: true, question: false, output: false });
    }
    let stdin = io::stdin();
    let mut fds = [
        PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        PollFd::new(questions.query.as_fd(), PollFlags::POLLIN),
        PollFd::new(reader.as_fd(), PollFlags::POLLIN),
    ];
    let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [composer, question, output] = fds.map(|fd| fd.any().unwrap_or(false));
    Ok(Ready { composer, question, output })
}

fn end_of(status: ExitStatus) -> RunEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => RunEnd::Exit(code),
        (None, signal) => RunEnd::Signal(signal.unwrap_or(0)),
    }
}

/// One question is a line of words parted by unit separators (0x1f).
fn read_questions(pipe: &mut Pipe, questions: &mut Questions) -> io::Result<()> {
    let mut buffer = [0u8; 4096];
    let read = match questions.query.read(&mut buffer) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    questions.pending.extend_from_slice(buffer.get(..read).unwrap_or_default());
    while let Some(end) = questions.pending.iter().position(|b| *b == b'\n') {
        let line: Vec<u8> = questions.pending.drain(..=end).collect();
        let text = String::from_utf8_lossy(&line);
        let words = text.trim_end_matches('\n').split('\u{1f}').map(str::to_owned).collect();
        pipe.tell(&Reply::Query { words })?;
    }
    if questions.pending.len() > MAX_QUERY {
        questions.pending.clear();
    }
    Ok(())
}

/// A full fifo means that a script asked much and read nothing: it can wait for its time limit.
fn write_answer(questions: &mut Questions, line: &str) -> io::Result<()> {
    match questions.answer.write_all(format!("{line}\n").as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        result => result,
    }
}

/// Cuts output into lines.
#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
    told: u64,
}

impl Lines {
    /// Reads what is there; false at the end.
    fn read(&mut self, pipe: &mut Pipe, reader: &mut PipeReader) -> io::Result<bool> {
        let mut buffer = [0u8; 64 * 1024];
        let read = reader.read(&mut buffer)?;
        self.pending.extend_from_slice(buffer.get(..read).unwrap_or_default());
        while let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            self.tell(pipe, line.strip_suffix(b"\n").unwrap_or(&line))?;
        }
        if self.pending.len() > MAX_LINE {
            self.finish(pipe)?;
        }
        Ok(read > 0)
    }

    fn finish(&mut self, pipe: &mut Pipe) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending);
        if rest.is_empty() { Ok(()) } else { self.tell(pipe, &rest) }
    }

    fn tell(&mut self, pipe: &mut Pipe, line: &[u8]) -> io::Result<()> {
        self.told += 1;
        match self.told {
            ..=MAX_LINES => {
                let shown = line.get(..line.len().min(MAX_LINE)).unwrap_or_default();
                pipe.tell(&Reply::Line { line: String::from_utf8_lossy(shown).into_owned() })
            }
            told if told == MAX_LINES + 1 => pipe.tell(&Reply::Line { line: "(more output is left out)".into() }),
            _ => Ok(()),
        }
    }
}

/// The name itself, or where that is a folder, the names of what is in it; no link is followed.
fn files_of(dir: &Path, name: &str, depth: u8) -> Vec<String> {
    if depth == 0 || !fs::symlink_metadata(dir.join(name)).is_ok_and(|meta| meta.is_dir()) {
        return vec![name.to_owned()];
    }
    let children = fs::read_dir(dir.join(name)).into_iter().flatten().flatten();
    let names = children.filter_map(|child| Some(format!("{name}/{}", child.file_name().to_str()?)));
    names.take(MAX_FILES).flat_map(|name| files_of(dir, &name, depth - 1)).take(MAX_FILES).collect()
}

/// Sends a file that the command left, if it left a regular one that is not too large.
fn give_back(pipe: &mut Pipe, name: &str, largest: u64) -> io::Result<()> {
    let at = Path::new(PORTAGE).join(name);
    let Ok(file) = OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(at) else {
        return Ok(());
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > largest {
        return Ok(());
    }
    send(&mut pipe.output, &Reply::Output { name: name.to_owned(), size: meta.len() })?;
    if io::copy(&mut file.take(meta.len()), &mut pipe.output)? != meta.len() {
        return Err(io::Error::other("a file changed while it was read"));
    }
    Ok(())
}
