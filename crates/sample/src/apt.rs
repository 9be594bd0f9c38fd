//! Apt, asked about the packages of one architecture: the machine's own with the machine's lists, another with lists of ours.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use crate::SampleError;

/// How old lists of our own may be before they are fetched again; Debian's mirrors keep what older ones name no longer than this.
const LISTS_AGE: Duration = Duration::from_secs(24 * 3600);

/// Apt for one architecture.
#[cfg_attr(test, derive(Default))]
pub struct Apt {
    /// Debian's name of the architecture.
    arch: &'static str,
    /// What makes it another than the machine's own.
    options: Vec<OsString>,
}

impl Apt {
    /// `dir` takes the lists of an architecture that is not the machine's own; for its own the machine's serve. Neither needs root.
    ///
    /// # Errors
    /// [`SampleError::Program`] where this is no Debian, or its lists could not be fetched.
    pub fn new(arch: &'static str, dir: &Path) -> Result<Apt, SampleError> {
        let native = run(Command::new("dpkg").arg("--print-architecture"), "dpkg")?;
        if String::from_utf8_lossy(&native.stdout).trim() == arch {
            return Ok(Apt { arch, options: Vec::new() });
        }
        let state = dir.join("apt").join(arch);
        let lists = state.join("lists");
        for folder in [lists.join("partial"), state.join("cache/archives/partial")] {
            fs::create_dir_all(&folder).map_err(SampleError::io(&folder))?;
        }
        let apt = Apt { arch, options: options(arch, &state) };
        apt.update(&lists, &state.join("updated"))?;
        Ok(apt)
    }

    /// The name under which its answers are kept, so that the sample can be made again while apt has no lists.
    pub fn remembered(&self) -> String {
        match self.options.is_empty() {
            true => "apt-cache-show.txt".to_owned(),
            false => format!("apt-cache-show-{}.txt", self.arch),
        }
    }

    /// What apt-cache says of `names`; it passes over those it does not know.
    ///
    /// # Errors
    /// [`SampleError::Program`] when it cannot be run.
    pub fn show(&self, names: &BTreeSet<String>) -> Result<String, SampleError> {
        if names.is_empty() {
            return Ok(String::new());
        }
        let mut command = Command::new("apt-cache");
        command.args(&self.options).args(["show", "--no-all-versions", "--"]).args(names);
        // It ends with an error when it does not know one of them.
        let result = output(&mut command, "apt-cache")?;
        Ok(String::from_utf8_lossy(&result.stdout).into_owned())
    }

    /// Fetches packages (`name=version`) into a folder.
    ///
    /// # Errors
    /// [`SampleError::Download`] with what apt said.
    pub fn download(&self, packages: impl Iterator<Item = String>, into: &Path) -> Result<(), SampleError> {
        let mut command = Command::new("apt-get");
        command.args(&self.options).args(["-q", "-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=2", "download"]);
        let result = output(command.args(packages).current_dir(into), "apt-get")?;
        match result.status.success() {
            true => Ok(()),
            false => Err(SampleError::Download { message: errors(&result) }),
        }
    }

    /// Fetches lists that are absent or old. One source of several may fail; whether the others suffice shows when they are asked.
    fn update(&self, lists: &Path, stamp: &Path) -> Result<(), SampleError> {
        let is_fresh = fs::metadata(stamp)
            .and_then(|m| m.modified())
            .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < LISTS_AGE));
        if is_fresh {
            return Ok(());
        }
        let mut command = Command::new("apt-get");
        command.args(&self.options).args(["-q", "-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=2", "update"]);
        let result = output(&mut command, "apt-get")?;
        let suffix = format!("_binary-{}_Packages", self.arch);
        let mut names = fs::read_dir(lists).map_err(SampleError::io(lists))?.flatten().map(|e| e.file_name());
        if !names.any(|name| name.to_string_lossy().contains(&suffix)) {
            return Err(SampleError::Download { message: format!("no lists for {}: {}", self.arch, errors(&result)) });
        }
        fs::write(stamp, "").map_err(SampleError::io(stamp))
    }
}

/// Apt with another architecture, and with state of its own; sources and trusted keys stay the machine's.
fn options(arch: &str, state: &Path) -> Vec<OsString> {
    let path = |name: &str, value: PathBuf| {
        let mut option = OsString::from(format!("{name}="));
        option.push(value);
        option
    };
    let values = [
        OsString::from(format!("APT::Architecture={arch}")),
        OsString::from(format!("APT::Architectures={arch}")),
        path("Dir::State", state.to_owned()),
        path("Dir::State::lists", state.join("lists")),
        path("Dir::State::status", PathBuf::from("/dev/null")),
        path("Dir::Cache", state.join("cache")),
        // Only the lists of packages are wanted, not icons and translations.
        OsString::from("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"),
        OsString::from("Acquire::Languages=none"),
    ];
    values.into_iter().flat_map(|value| [OsString::from("-o"), value]).collect()
}

fn run(command: &mut Command, program: &str) -> Result<Output, SampleError> {
    let result = output(command, program)?;
    match result.status.success() {
        true => Ok(result),
        false => Err(SampleError::program(program, String::from_utf8_lossy(&result.stderr).trim())),
    }
}

fn output(command: &mut Command, program: &str) -> Result<Output, SampleError> {
    let result = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    result.map_err(|e| SampleError::program(program, format!("{e}; the sample channel needs Debian's {program}")))
}

/// Apt's errors, or all it said where it named none.
fn errors(result: &Output) -> String {
    let said = String::from_utf8_lossy(&result.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("E:")).collect();
    if lines.is_empty() { said.into_owned() } else { lines.join("\n") }
}
