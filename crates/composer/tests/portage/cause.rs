//! Why a path may differ from Portage's: each cause is one that no user of the image could notice.

use super::{Difference, What, is_ours};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// What scripts and env-update make has the time of the run there, and of the package here, so that the same plan gives the same bytes.
    TimeOfTheRun,
    /// Portage loses the times of symbolic links in GPKG packages.
    LinkTime,
    /// Portage keeps a copy of a record's other files in it, and caches and locks of its own.
    PortagesOwnFiles,
    /// environment.bz2 is what bash printed after the last phase: Portage's bash saves the build variables of its own machine, too.
    Environment,
    /// A package that failed in Portage has taken a number.
    Counter,
    /// Portage was told not to write a world file; ours has one in every image.
    World,
    /// Accounts made before the target's useradd can run: a user that baselayout has already keeps its home and comment
    /// (`nobody`, `portage`), shadow has the package's day, and there are no `-` backups; useradd leaves its lock where it runs.
    Accounts,
    /// Portage took names, ids and programs from the machine it ran on: the group of a set-id program, `dbus-uuidgen`.
    HostOfPortage,
    /// The tools of this machine that stand in for the packages a binhost lacks have a line in ld.so.conf.
    Tools,
}

impl Cause {
    pub fn of(difference: &Difference) -> Option<Cause> {
        let path = difference.path.as_str();
        let record = path.starts_with("/var/db/pkg/");
        let name = path.rsplit('/').next().unwrap_or_default();
        let content = matches!(difference.what, What::Content { .. });
        match &difference.what {
            What::MadeTime { ours } if is_ours(*ours) => Some(Cause::TimeOfTheRun),
            What::LinkTime => Some(Cause::LinkTime),
            What::Missing if record && name == "metadata" => Some(Cause::PortagesOwnFiles),
            What::Missing | What::Mode { .. } if PORTAGES_OWN.contains(&path) => Some(Cause::PortagesOwnFiles),
            What::Content { .. } if record && name == "environment.bz2" => Some(Cause::Environment),
            What::Content { .. } if (record && name == "COUNTER") || path == "/var/cache/edb/counter" => Some(Cause::Counter),
            What::Surplus if path.starts_with("/var/lib/portage/world") => Some(Cause::World),
            What::Missing if ["/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"].contains(&path) => {
                Some(Cause::Accounts)
            }
            What::Surplus if ["/etc/gshadow", "/etc/.pwd.lock"].contains(&path) => Some(Cause::Accounts),
            _ if content && ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"].contains(&path) => Some(Cause::Accounts),
            What::Missing if path == "/etc/machine-id" => Some(Cause::HostOfPortage),
            What::Mode { .. } | What::Owner { .. } if path == "/usr/libexec/dbus-daemon-launch-helper" => {
                Some(Cause::HostOfPortage)
            }
            _ if content && ["/etc/ld.so.conf", "/etc/ld.so.cache"].contains(&path) => Some(Cause::Tools),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Cause::TimeOfTheRun => "time of what scripts and env-update make: the run's there, the package's here",
            Cause::LinkTime => "times of links, which Portage loses in GPKG packages",
            Cause::PortagesOwnFiles => "Portage's own caches, locks and directories",
            Cause::Environment => "environment.bz2 as each side's bash printed it",
            Cause::Counter => "COUNTER after a package that failed in Portage",
            Cause::World => "no world file there (--oneshot)",
            Cause::Accounts => {
                "accounts made before useradd can run: home and comment of nobody and portage as baselayout has them, the day in shadow, backups, gshadow, a lock"
            }
            Cause::HostOfPortage => "Portage used names and programs of the machine it ran on",
            Cause::Tools => "a line of ld.so.conf for the stand-in tools of the test",
        }
    }
}

const PORTAGES_OWN: [&str; 4] =
    ["/var/cache/edb/mtimedb", "/var/lib/portage", "/var/lib/portage/config", "/var/lib/portage/preserved_libs_registry"];

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}
