//! Running the pkg_* phases of a package: what they find, and what they tell (PMS 9, 11).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gentoo::Cpv;

use super::scripts::{Phase, Scripts};
use super::vdb::Vdb;
use crate::sandbox::{Command, Excess, Limits, Listener, PhaseHost, Ran, RunEnd, SEARCH_PATH};
use crate::{ComposeError, Observer};

/// Our bash library with PMS's commands.
const LIBRARY: &str = include_str!("../phase-lib.bash");
/// Seconds that the phases of one package may take, each time some are run.
const TIME_LIMIT: u64 = 900;

/// How a package's phases stand to another instance of it (PMS 11.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// It is installed in place of these versions, which may be none.
    Of(Vec<String>),
    /// It gives way to this version.
    By(String),
}

/// One package whose phases run.
pub struct Subject<'a> {
    pub cpv: &'a Cpv,
    pub metadata: &'a BTreeMap<String, Vec<u8>>,
    pub vdb: &'a Vdb,
    pub replacement: Replacement,
    /// Empty for a system of its own.
    pub eprefix: &'a str,
    pub observer: &'a dyn Observer,
}

impl Subject<'_> {
    /// Runs phases one after the other; the target on disk is what they change. Returns the messages for the user.
    pub fn run(&self, host: &mut PhaseHost, scripts: &mut Scripts, phases: &[Phase]) -> Result<Vec<String>, ComposeError> {
        let names: Vec<&str> = phases.iter().map(|phase| phase.name()).collect();
        let mut argv = ["/bin/bash", "--noprofile", "--norc", "/tmp/portage/phase-lib.bash"].map(str::to_owned).to_vec();
        argv.extend(names.iter().map(|name| (*name).to_owned()));
        let command = Command {
            argv,
            env: [("PATH", self.search_path().as_str()), ("TERM", "dumb"), ("LC_ALL", "C")]
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            files: vec![
                ("phase-lib.bash".into(), LIBRARY.as_bytes().to_vec()),
                ("environment".into(), scripts.environment().to_vec()),
                ("settings".into(), self.settings().into_bytes()),
            ],
            outputs: vec!["environment.new".into(), "messages".into()],
            temp: Some(self.temp()),
            guest: Some(self.eprefix.to_owned()).filter(|prefix| !prefix.is_empty()),
            timeout: TIME_LIMIT,
            ..Command::default()
        };
        let mut listener = Relay { subject: self, phase: None };
        let ran = host.run(&command, &mut listener)?;
        let phase = listener.phase.take().or_else(|| names.first().map(|name| format!("pkg_{name}"))).unwrap_or_default();
        if !ran.succeeded() {
            return Err(self.failure(&ran).in_phase(phase).with_output(ran.tail));
        }
        if let Some(environment) = ran.outputs.get("environment.new") {
            scripts.left(environment.clone());
        }
        Ok(self.messages(ran.outputs.get("messages").map(Vec::as_slice).unwrap_or_default()))
    }

    /// In a prefix its own programs come first, then those of the system around it.
    fn search_path(&self) -> String {
        match self.eprefix {
            "" => SEARCH_PATH.to_owned(),
            prefix => {
                let own: Vec<String> = SEARCH_PATH.split(':').map(|folder| format!("{prefix}{folder}")).collect();
                format!("{}:{SEARCH_PATH}", own.join(":"))
            }
        }
    }

    /// T lives from the first phase of a package to its last, and a replaced package's phases run in between (PMS 11.1).
    fn temp(&self) -> String {
        let slot = match self.replacement {
            Replacement::Of(_) => "installing",
            Replacement::By(_) => "removing",
        };
        format!("{slot}/{}", self.cpv.to_string().replace('/', "_"))
    }

    fn failure(&self, ran: &Ran) -> ComposeError {
        if ran.end == RunEnd::Cancelled {
            return ComposeError::cancelled().for_package(self.cpv.to_string());
        }
        let said = ran.tail.iter().rev().find_map(|line| line.trim().strip_prefix("* ERROR: ")).map(|line| format!(": {line}"));
        let how = match &ran.end {
            // A shell, and bubblewrap, tell of a signal by its number and 128.
            RunEnd::Exit(code @ 129..=192) => {
                format!("was killed by signal {}; it may have gone over a limit of memory", code - 128)
            }
            RunEnd::Exit(127) => "failed, as a program it needs is not in the image".to_owned(),
            RunEnd::Exit(_) => format!("failed{}", said.unwrap_or_default()),
            RunEnd::Signal(signal) => format!("was killed by signal {signal}; it may have gone over a limit of memory"),
            RunEnd::TimedOut => format!("took longer than {} minutes and was stopped", TIME_LIMIT / 60),
            RunEnd::OverLimit(excess) => format!("was stopped, as it took {}", too_much(*excess)),
            RunEnd::Cancelled => "was stopped".to_owned(),
        };
        let advice = "The package's own script failed. Its last lines say why: often a tool is missing that the package forgot to depend on \
                      (add it to the order, or @system, which has what scripts take for granted), or the package is not meant for an image (leave it out).";
        ComposeError::new(format!("its script {how}"), advice).for_package(self.cpv.to_string())
    }

    /// What holds here in place of what the environment says of the machine it was built on (PMS 11.1).
    fn settings(&self) -> String {
        let text = |key: &str| self.metadata.get(key).map(|value| String::from_utf8_lossy(value).trim().to_owned());
        let eapi = text("EAPI").filter(|eapi| !eapi.is_empty()).unwrap_or_else(|| "0".into());
        // PMS 11.1: until EAPI 6 the roots end in a slash.
        let slash = if matches!(eapi.as_str(), "0" | "1" | "2" | "3" | "4" | "5" | "6") { "/" } else { "" };
        let version = self.cpv.version.as_str();
        let (pv, revision) = version.rsplit_once("-r").unwrap_or((version, "0"));
        let prefix = self.eprefix;
        let image = "/tmp/portage/image";
        let pn = &self.cpv.package;
        let mut variables: Vec<(&str, String)> = vec![
            ("CATEGORY", self.cpv.category.clone()),
            ("PN", pn.clone()),
            ("PV", pv.to_owned()),
            ("PR", format!("r{revision}")),
            ("PVR", version.to_owned()),
            ("P", format!("{pn}-{pv}")),
            ("PF", self.cpv.pf()),
            ("EAPI", eapi.clone()),
            ("ROOT", slash.to_owned()),
            ("EROOT", format!("{prefix}{slash}")),
            ("SYSROOT", slash.to_owned()),
            ("ESYSROOT", format!("{prefix}{slash}")),
            ("BROOT", String::new()),
            ("EPREFIX", prefix.to_owned()),
            ("D", format!("{image}{slash}")),
            ("ED", format!("{image}{prefix}{slash}")),
            ("T", "/tmp/portage/temp".to_owned()),
            ("WORKDIR", "/tmp/portage/work".to_owned()),
            ("PORTAGE_BUILDDIR", "/tmp/portage".to_owned()),
            ("EBUILD_PHASE", String::new()),
        ];
        match &self.replacement {
            Replacement::Of(versions) => {
                variables.extend([("MERGE_TYPE", "binary".to_owned()), ("REPLACING_VERSIONS", versions.join(" "))]);
            }
            // Portage gives the phases of a package that goes no MERGE_TYPE.
            Replacement::By(version) => {
                variables.extend([("MERGE_TYPE", String::new()), ("REPLACED_BY_VERSION", version.clone())]);
            }
        }
        for key in ["SLOT", "USE"] {
            variables.extend(text(key).map(|value| (key, value)));
        }
        let search_path = self.search_path();
        let always = [
            ("PATH", search_path.as_str()),
            ("HOME", "/tmp/portage/homedir"),
            ("TMPDIR", "/tmp/portage/temp"),
            ("LC_ALL", "C"),
            // There is no running system to talk to.
            ("SYSTEMD_OFFLINE", "1"),
        ];
        // From EAPI 9 on the variables of PMS are not exported.
        let declare = if eapi == "9" { "declare --" } else { "declare -x" };
        let mut settings = String::new();
        for (name, value) in variables {
            let _infallible = writeln!(settings, "{declare} {name}={}", quoted(&value));
        }
        for (name, value) in always {
            let _infallible = writeln!(settings, "declare -x {name}={}", quoted(value));
        }
        settings
    }

    /// elog, ewarn and eerror, under the package's name.
    fn messages(&self, file: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(file);
        let mut messages: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            let mut fields = line.splitn(3, '\u{1f}');
            let (Some(class), Some(_phase), Some(said)) = (fields.next(), fields.next(), fields.next()) else { continue };
            match messages.last_mut() {
                Some((last, message)) if last == class => {
                    message.push('\n');
                    message.push_str(said);
                }
                _ => messages.push((class.to_owned(), said.to_owned())),
            }
        }
        let label = |class: &str| match class {
            "WARN" => " (warning)",
            "ERROR" => " (error)",
            _ => "",
        };
        let spoken = messages.into_iter().filter(|(_, said)| !said.trim().is_empty());
        spoken.map(|(class, said)| format!("{}{}: {}", self.cpv, label(&class), said.trim_matches('\n'))).collect()
    }
}

/// What a script may not have so much of.
fn too_much(excess: Excess) -> String {
    const GIB: u64 = 1024 * 1024 * 1024;
    let limits = Limits::default();
    match excess {
        Excess::Memory => format!("more than {} GiB of memory", limits.memory / GIB),
        Excess::Processes => format!("more than {} processes at once", limits.processes),
        Excess::Disk => format!("more than {} GiB of disk, or nearly all that was free", limits.disk / GIB),
    }
}

/// A word for bash, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Passes a phase's words on.
struct Relay<'a> {
    subject: &'a Subject<'a>,
    /// The phase that runs, as the script announces it.
    phase: Option<String>,
}

impl Listener for Relay<'_> {
    fn line(&mut self, line: &str) {
        if let Some(phase) = line.strip_prefix(">>> pkg_") {
            self.phase = Some(format!("pkg_{phase}"));
        }
        self.subject.observer.log(&format!("{}: {line}", self.subject.cpv));
    }

    fn answer(&mut self, words: &[String]) -> String {
        self.subject.vdb.answer(words)
    }

    fn cancelled(&mut self) -> bool {
        self.subject.observer.cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_bash_stay_words() {
        assert_eq!(quoted("a'b\n$c"), "'a'\\''b\n$c'");
    }
}
