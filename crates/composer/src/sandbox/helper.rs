//! The processes that make up the helper. The outer one makes the namespaces (user, mount, pid), takes on their uid 0 and starts the
//! inner one, which is the pid namespace's first process: it holds the disk trees and runs commands in bubblewrap. It ends when its
//! stdin ends, and then the kernel ends everything in its namespace, whatever it is doing. Both are this same executable again.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufReader, BufWriter, Read, Stdin, Stdout, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::HELPER_ARGUMENT;
use super::disk::Disk;
use super::run::run;
use super::wire::{Area, Reply, Request, receive, send, to_bytes};

/// Where the work directory is bound inside the mount namespace. Its own path may lead through directories the mapped ids cannot pass.
const HOST: &str = "/tmp/host";
/// Directory, below the work directory, of all that foreign ids own.
pub const INSIDE: &str = "inside";
/// The second argument of the inner process, and that of one whose target is another helper's.
const INNER_ARGUMENT: &str = "inner";
const ONLOOKING_ARGUMENT: &str = "onlooking";

const GIB: u64 = 1024 * 1024 * 1024;
/// Limits on every process of a phase: address space and file size in bytes, processes and open files by number.
const LIMITS: [(Resource, u64); 5] = [
    (Resource::RLIMIT_AS, 8 * GIB),
    (Resource::RLIMIT_FSIZE, 4 * GIB),
    (Resource::RLIMIT_NPROC, 4096),
    (Resource::RLIMIT_NOFILE, 4096),
    (Resource::RLIMIT_CORE, 0),
];

/// The helper's two ends of the pipe.
pub struct Pipe {
    pub input: BufReader<Stdin>,
    pub output: BufWriter<Stdout>,
}

impl Pipe {
    pub fn tell(&mut self, reply: &Reply) -> io::Result<()> {
        send(&mut self.output, reply)?;
        self.output.flush()
    }
}

/// Runs the helper until its stdin ends. Returns the exit status.
pub fn main() -> u8 {
    let argument = std::env::args_os().nth(2);
    let is = |word: &str| argument.as_ref().is_some_and(|argument| argument == word);
    let onlooking = is(ONLOOKING_ARGUMENT);
    let mut pipe = Pipe { input: BufReader::new(io::stdin()), output: BufWriter::with_capacity(256 * 1024, io::stdout()) };
    let inner = onlooking || is(INNER_ARGUMENT);
    let result = if inner { serve(&mut pipe, onlooking) } else { make_namespaces(&mut pipe) };
    match result {
        Ok(status) => status,
        Err(error) => {
            // The other end may be gone, and then nobody is left to tell.
            let _gone = pipe.tell(&Reply::Failed { message: error.to_string() });
            1
        }
    }
}

/// The outer process.
fn make_namespaces(pipe: &mut Pipe) -> io::Result<u8> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
        .map_err(|error| io::Error::other(format!("the kernel gives no user namespace ({error})")))?;
    pipe.tell(&Reply::Unshared)?;
    let onlooking = match receive::<Request>(&mut pipe.input)? {
        Some(Request::Enter { target }) => {
            let target = target.map(|path| to_bytes(&path)).transpose()?;
            enter(target.as_deref().map(|path| Path::new(OsStr::from_bytes(path))))?;
            target.is_some()
        }
        Some(other) => return Err(io::Error::other(format!("{other:?} before the ids were mapped"))),
        None => return Ok(0),
    };
    let argument = if onlooking { ONLOOKING_ARGUMENT } else { INNER_ARGUMENT };
    // Nothing more has been read, as the composer waits for the inner process's answer.
    let mut inner = std::process::Command::new("/proc/self/exe").args([HELPER_ARGUMENT, argument]).spawn()?;
    Ok(inner.wait()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The inner process.
fn serve(pipe: &mut Pipe, onlooking: bool) -> io::Result<u8> {
    if nix::unistd::getpid().as_raw() != 1 {
        return Err(io::Error::other("this is not the first process of a namespace"));
    }
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Bubblewrap looks its child up in /proc, by the number that it has in this namespace.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
        .map_err(|error| io::Error::other(format!("/proc cannot be mounted for a new pid namespace ({error})")))?;
    pipe.tell(&Reply::Done)?;
    Session { target: Disk::watched("target"), image: Disk::new("image"), onlooking, failure: None }.serve(pipe)?;
    Ok(0)
}

struct Session {
    target: Disk,
    image: Disk,
    /// The target is another helper's.
    onlooking: bool,
    /// The first thing that went wrong since the last flush; what follows it is skipped.
    failure: Option<String>,
}

impl Session {
    fn serve(&mut self, pipe: &mut Pipe) -> io::Result<()> {
        while let Some(request) = receive::<Request>(&mut pipe.input)? {
            match request {
                Request::Put { area, path, entry } => {
                    let mut body = (&mut pipe.input).take(entry.body());
                    let result = match self.failure.is_none() {
                        true => self.area(area).put(&path, &entry, &mut body),
                        false => Ok(()),
                    };
                    io::copy(&mut body, &mut io::sink())?;
                    self.note(&path, result);
                }
                Request::Meta { area, path, entry } => {
                    let result = self.area(area).meta(&path, &entry);
                    self.note(&path, result);
                }
                Request::Remove { area, path } => {
                    let result = self.area(area).remove(&path);
                    self.note(&path, result);
                }
                Request::Clear { area } => {
                    let result = self.area(area).clear();
                    self.note("", result);
                }
                Request::Flush => {
                    let result = self.target.settle().and_then(|()| self.image.settle());
                    self.note("", result);
                    let failure = self.failure.take();
                    pipe.tell(&failure.map_or(Reply::Done, |message| Reply::Failed { message }))?;
                }
                Request::Scan { area, thorough } => {
                    self.area(area).scan(thorough, &mut pipe.output)?;
                    pipe.tell(&Reply::Done)?;
                }
                Request::Run(what) => {
                    self.target.arm();
                    run(pipe, &what)?;
                    self.target.collect();
                }
                Request::Probe => super::bubblewrap::probe(pipe)?,
                Request::Enable { arch } => {
                    let enabled = super::foreign::enable(&arch)?;
                    pipe.tell(&enabled.map_or_else(|message| Reply::Failed { message }, |()| Reply::Done))?;
                }
                Request::Quit => {
                    if self.onlooking {
                        umount2("target", MntFlags::MNT_DETACH)?;
                    }
                    wipe(Path::new("."))?;
                    return pipe.tell(&Reply::Done);
                }
                // A cancellation or an answer that crossed the end of its command.
                Request::Cancel | Request::Answer { .. } => {}
                Request::Enter { .. } => return Err(io::Error::other("the ids are mapped already")),
            }
        }
        Ok(())
    }

    fn area(&mut self, area: Area) -> &mut Disk {
        match area {
            Area::Target => &mut self.target,
            Area::Image => &mut self.image,
        }
    }

    fn note(&mut self, path: &str, result: io::Result<()>) {
        if let Err(error) = result {
            self.failure.get_or_insert_with(|| format!("/{}: {error}", path.escape_debug()));
        }
    }
}

/// Takes on uid 0 of the user namespace, with the work directory bound where that uid can reach it, and the target that is not its own.
fn enter(target: Option<&Path>) -> io::Result<()> {
    let inside = Path::new(INSIDE);
    if !inside.is_dir() {
        fs::create_dir(inside)?;
    }
    std::os::unix::fs::chown(inside, Some(0), Some(0))?;
    // Its owner is no longer the caller, who has to look into it to remove it, whatever umask it was made with.
    fs::set_permissions(inside, fs::Permissions::from_mode(0o755))?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let work = fs::File::open(inside)?;
    let target = target.map(fs::File::open).transpose()?;
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))?;
    fs::create_dir(HOST)?;
    let source = format!("/proc/self/fd/{}", work.as_raw_fd());
    mount(Some(source.as_str()), HOST, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    setgroups(&[Gid::from_raw(0)])?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    std::env::set_current_dir(HOST)?;
    for dir in ["target", "image", "portage"] {
        if !Path::new(dir).is_dir() {
            fs::create_dir(dir)?;
        }
    }
    if let Some(target) = target {
        let source = format!("/proc/self/fd/{}", target.as_raw_fd());
        mount(Some(source.as_str()), "target", none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    }
    // Scripts have no use for namespaces of their own, which are where the kernel's bugs are. Not all kernels let this be said.
    let _unsupported = fs::write("/proc/sys/user/max_user_namespaces", "0");
    for (resource, limit) in LIMITS {
        setrlimit(resource, limit, limit)?;
    }
    Ok(())
}

/// Empties a directory.
pub fn wipe(dir: &Path) -> io::Result<()> {
    for child in fs::read_dir(dir)? {
        let child = child?;
        match child.file_type()?.is_dir() {
            true => fs::remove_dir_all(child.path())?,
            false => fs::remove_file(child.path())?,
        }
    }
    Ok(())
}
