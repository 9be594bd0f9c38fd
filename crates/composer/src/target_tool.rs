//! Runs programs of the target itself, in the sandbox, on a copy of its tree: localedef, dracut.

use std::path::Path;

use image::{Store, Tree};

use crate::sandbox::{Area, Command, Listener, PhaseHost, Ran, RunEnd, SEARCH_PATH, Scan};
use crate::{ComposeError, Observer};

/// Where and under whose eyes programs of the target run.
#[derive(Clone, Copy)]
pub(crate) struct Workplace<'a> {
    pub(crate) store: &'a Store,
    /// A directory for the sandbox.
    pub(crate) work_dir: &'a Path,
    /// Gentoo's name of the target's architecture.
    pub(crate) arch: &'a str,
    pub(crate) observer: &'a dyn Observer,
}

/// Runs the commands one after the other with `scratch` as `/`, and takes what they changed into `scratch`. Each may take
/// `limit` seconds. Those after a killed one are not run.
///
/// # Errors
/// The sandbox is not to be had or breaks, or the observer asked to stop. A command that fails is no error: see [`Ran`].
pub(crate) fn run(
    place: Workplace<'_>,
    scratch: &mut Tree,
    commands: &[Vec<String>],
    limit: u64,
) -> Result<Vec<Ran>, ComposeError> {
    let mut host = PhaseHost::start(place.work_dir)?;
    host.enable(place.arch)?;
    host.sync(Area::Target, scratch, place.store)?;
    let time = scratch.iter().map(|(_, entry)| entry.mtime).max().unwrap_or(0);
    let mut listener = ToLog(place.observer);
    let mut all = Vec::new();
    for argv in commands {
        let ran = host.run(&command(argv, limit, time), &mut listener)?;
        let stop = matches!(ran.end, RunEnd::Cancelled | RunEnd::TimedOut);
        all.push(ran);
        if stop {
            break;
        }
    }
    if all.iter().any(|ran| ran.end == RunEnd::Cancelled) {
        return Err(ComposeError::cancelled());
    }
    host.scan(Area::Target, scratch, place.store, &Scan { time, thorough: true })?;
    host.close()?;
    Ok(all)
}

fn command(argv: &[String], limit: u64, time: i64) -> Command {
    let env = [
        ("PATH", SEARCH_PATH.to_owned()),
        ("TERM", "dumb".to_owned()),
        ("LC_ALL", "C".to_owned()),
        ("HOME", "/tmp/portage/homedir".to_owned()),
        // There is no running system to talk to, and no time but that of the packages.
        ("SYSTEMD_OFFLINE", "1".to_owned()),
        ("SOURCE_DATE_EPOCH", time.to_string()),
    ];
    Command {
        argv: argv.to_vec(),
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
        timeout: limit,
        ..Command::default()
    }
}

/// Passes the programs' words on to the log.
pub(crate) struct ToLog<'a>(pub(crate) &'a dyn Observer);

impl Listener for ToLog<'_> {
    fn line(&mut self, line: &str) {
        self.0.log(line);
    }

    fn cancelled(&mut self) -> bool {
        self.0.cancelled()
    }
}
