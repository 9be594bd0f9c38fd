//! Why a path may differ from Portage's: each cause is one that no user of the image could notice.

use super::{Difference, What, is_ours};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// What scripts and env-update make has the time of the run there, and of the package here, so that the same plan gives the same bytes.
    TimeOfTheRun,
    /// Portage makes directories anew, and what is put into them changes their times: they are those of the run. Here the package's stay.
    DirectoryTime,
    /// Portage loses the times of symbolic links in GPKG packages.
    LinkTime,
    /// Portage keeps a copy of a record's other files in it, and caches and locks of its own.
    PortagesOwnFiles,
    /// Variables of environment.bz2, by name: Portage adds those of its own machine and version, and takes others out.
    Environment,
    /// A package that failed in Portage has taken a number.
    Counter,
    /// Portage was told not to write a world file; ours has one in every image.
    World,
    /// Accounts made before the target's useradd can run: shadow has the package's day, there are no `-` backups, and no notes of the
    /// package's script in its environment; useradd leaves its lock where it runs.
    Accounts,
    /// Portage took names, ids, programs and paths from the machine it ran on: the group of a set-id program, `dbus-uuidgen`, the folder
    /// that its root was in, the inode numbers in ldconfig's cache.
    HostOfPortage,
    /// What scripts do only inside the system they are merged into (ROOT is empty), as they are here, and not with Portage from outside:
    /// grpconv, update-ca-certificates, fc-cache, udev's hardware database, the journal's catalogue, owners of programs and folders.
    OnlyInside,
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
            What::DirectoryTime => Some(Cause::DirectoryTime),
            What::LinkTime => Some(Cause::LinkTime),
            What::Missing if record && name == "metadata" => Some(Cause::PortagesOwnFiles),
            What::Missing | What::Mode { .. } if PORTAGES_OWN.contains(&path) => Some(Cause::PortagesOwnFiles),
            What::Variable { name, theirs, ours } => Cause::of_variable(name, *theirs, ours.is_some()),
            What::Content { .. } if (record && name == "COUNTER") || path == "/var/cache/edb/counter" => Some(Cause::Counter),
            What::Surplus if path.starts_with("/var/lib/portage/world") => Some(Cause::World),
            _ if BACKUPS.contains(&path) => Some(Cause::Accounts),
            What::Surplus if MADE_INSIDE.iter().any(|start| path.starts_with(start)) => Some(Cause::OnlyInside),
            What::Mode { .. } | What::Owner { .. } if GIVEN_INSIDE.contains(&path) => Some(Cause::OnlyInside),
            What::Lines { .. } if path == "/etc/gshadow" => Some(Cause::OnlyInside),
            What::Surplus if path == "/etc/.pwd.lock" => Some(Cause::Accounts),
            What::Days if path == "/etc/shadow" => Some(Cause::Accounts),
            What::Missing if ["/etc/machine-id", "/var/cache/ldconfig/aux-cache"].contains(&path) => Some(Cause::HostOfPortage),
            What::Mode { .. } | What::Owner { .. } if path == "/usr/libexec/dbus-daemon-launch-helper" => {
                Some(Cause::HostOfPortage)
            }
            _ if content && ["/etc/ld.so.conf", "/etc/ld.so.cache"].contains(&path) => Some(Cause::Tools),
            _ => None,
        }
    }

    /// What Portage's own shell library and the machine it ran on leave in an environment, or ours.
    fn of_variable(name: &str, theirs: bool, ours: bool) -> Option<Cause> {
        match (theirs, ours) {
            _ if ["_ACCT_USER_ADDED", "_ACCT_USER_HOME_OWNER"].contains(&name) => Some(Cause::Accounts),
            _ if ["CATALOG", "DTDDIR", "XMLTOOL"].contains(&name) => Some(Cause::HostOfPortage),
            (true, false) => THEIRS.contains(&name).then_some(Cause::Environment),
            (false, true) => OURS.contains(&name).then_some(Cause::Environment),
            _ => CHANGED.contains(&name).then_some(Cause::Environment),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Cause::TimeOfTheRun => "time of what scripts and env-update make: the run's there, the package's here",
            Cause::DirectoryTime => "times of directories: the run's there, their packages' here",
            Cause::LinkTime => "times of links, which Portage loses in GPKG packages",
            Cause::PortagesOwnFiles => "Portage's own caches, locks and directories",
            Cause::Environment => {
                "variables in environment.bz2 of Portage's own version and machine (by name, in `portage/cause.rs`)"
            }
            Cause::Counter => "COUNTER after a package that failed in Portage",
            Cause::World => "no world file there (--oneshot)",
            Cause::Accounts => "accounts made before useradd can run: the day in shadow, backups, a lock, two variables",
            Cause::HostOfPortage => "Portage used names and programs of the machine it ran on",
            Cause::OnlyInside => "what scripts do only inside the system (ROOT is empty)",
            Cause::Tools => "a line of ld.so.conf for the stand-in tools of the test",
        }
    }
}

/// Variables and functions that only Portage's environments have: its version's own, the machine's language, what is declared and unset.
const THEIRS: [&str; 48] = [
    "libtoolize ()",
    "automake ()",
    "autoconf ()",
    "aclocal ()",
    "__pipestatus ()",
    "LC_TIME",
    "LC_PAPER",
    "LC_NUMERIC",
    "LC_MONETARY",
    "LC_CTYPE",
    "f",
    "REPOSITORY",
    "PORTAGE_BZIP2_COMMAND",
    "HOMEPAGE",
    "SRC_URI",
    "CFLAGS_default",
    "LDFLAGS_default",
    "SYSTEMD_OFFLINE",
    "INHERITED",
    "BDEPEND",
    "BINPKG_FORMAT",
    "DIROPTIONS",
    "ENV_UNSET",
    "EXEOPTIONS",
    "INSOPTIONS",
    "LANG",
    "LC_COLLATE",
    "LC_MESSAGES",
    "LIBOPTIONS",
    "PORTAGE_COMPRESSION_COMMAND",
    "PORTAGE_FEATURES",
    "PYTHONDONTWRITEBYTECODE",
    "QEMU_SOFTMMU_TARGETS",
    "QEMU_USER_TARGETS",
    "REQUIRED_USE",
    "RESTRICT",
    "USERLAND",
    "SHELL",
    "pkg_nofetch ()",
    "src_compile ()",
    "src_configure ()",
    "src_install ()",
    "src_prepare ()",
    "src_test ()",
    "src_unpack ()",
    "XDG_ECLASS_DESKTOPFILES",
    "XDG_ECLASS_ICONFILES",
    "XDG_ECLASS_MIMEINFOFILES",
];
/// That only ours have: what Portage takes out of the environment of a package even where no phase is run.
const OURS: [&str; 20] = [
    "MAKEOPTS",
    "SRANDOM",
    "EPOCHSECONDS",
    "EPOCHREALTIME",
    "i",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "PORTAGE_REPO_NAME",
    "__eapi6_src_install ()",
    "__eapi6_src_prepare ()",
    "__eapi8_src_prepare ()",
    "eapply ()",
    "eapply_user ()",
    "einstalldocs ()",
    "get_libdir ()",
    "in_iuse ()",
    "ver_cut ()",
    "ver_rs ()",
    "ver_test ()",
];
/// That both have and say differently: the machine's.
const CHANGED: [&str; 10] = [
    "FEATURES",
    "PORTAGE_FEATURES",
    "LANG",
    "LC_COLLATE",
    "LC_MESSAGES",
    "KV_EXTRA",
    "KV_FULL",
    "KV_MAJOR",
    "KV_MINOR",
    "KV_PATCH",
];
/// What such scripts make, by the beginning of paths, and what they give to others.
const MADE_INSIDE: [&str; 5] =
    ["/etc/ssl/certs/", "/etc/udev/hwdb.bin", "/usr/lib/udev/hwdb.bin", "/var/cache/fontconfig/", "/var/lib/systemd/catalog"];
const GIVEN_INSIDE: [&str; 10] = [
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
    "/var/cache/lighttpd",
    "/var/lib/nginx",
    "/var/lib/ntp",
    "/var/log/chrony",
    "/var/log/lighttpd",
    "/var/log/nginx",
    "/var/spool/nullmailer/failed",
    "/var/spool/nullmailer/queue",
    "/var/spool/nullmailer/tmp",
];
const BACKUPS: [&str; 4] = ["/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"];
const PORTAGES_OWN: [&str; 4] =
    ["/var/cache/edb/mtimedb", "/var/lib/portage", "/var/lib/portage/config", "/var/lib/portage/preserved_libs_registry"];

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}
