//! Personal settings of an image: what an order says about the one system it is for. Every value is hostile until [`System::check`]
//! passed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::order::{OrderError, check_word};
use crate::root::RootFilesystem;

/// Personal settings of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// RFC 1123 host name; none means `gentoo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// crypt(5) hash of root's password. Never a plain password; none locks the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_password_hash: Option<String>,
    /// OpenSSH public keys for root, one per item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub root_ssh_keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// The locale to start with, like `de_DE.UTF-8`; none means `C.UTF-8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Further locales that programs can use; those the image's packages do not bring are generated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locales: Vec<String>,
    /// A name of the tz database like `Europe/Berlin`; none means `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// A console keymap like `de` or `us`; none means `us`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keymap: Option<String>,
    /// Services to start at boot, by the name of their OpenRC script or systemd unit, besides the preset's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Fixed addresses; none means DHCP on every wired interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The filesystem that the root of a disk has; none means ext4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_filesystem: Option<RootFilesystem>,
    /// Lines for /etc/fstab (fstab(5)), besides the root, which what starts the image mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fstab: Vec<String>,
    /// Words added to the kernel's command line where the image has a boot loader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_cmdline: Option<String>,
    /// A script that root runs once, when the system has started for the first time. Without a `#!` line it is one for `/bin/sh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_boot: Option<String>,
    /// Files of the person's own, put in last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ExtraFile>,
}

/// A file of the person's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtraFile {
    /// Absolute, without `.` and `..`. Folders on the way are made; a file that is there is replaced.
    pub path: String,
    pub content: String,
    /// Octal permissions like `0644`, the default, or `0755`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The user that owns it, with that user's own group; none means root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// An account to be made in the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    /// crypt(5) hash; none locks the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
}

/// What is said of an image that would let nobody in.
pub const NOBODY_CAN_LOG_IN: &str = "Nobody can log in to this image: no password and no SSH key was given, so root is locked.";

/// Upper bounds, generous for people and tight for floods.
const MAX_USERS: usize = 64;
const MAX_KEYS: usize = 64;
const MAX_KEY: usize = 16 * 1024;
const MAX_LOCALES: usize = 32;
const MAX_FSTAB: usize = 64;
const MAX_CMDLINE: usize = 1024;
const MAX_SCRIPT: usize = 64 * 1024;
const MAX_FILES: usize = 64;
const MAX_FILES_SIZE: usize = 1024 * 1024;

impl System {
    /// Checks each setting; the values end up in files of the image, so line breaks and colons matter.
    pub fn check(&self) -> Result<(), OrderError> {
        if let Some(hostname) = &self.hostname {
            let label_ok = |l: &str| {
                !l.is_empty()
                    && l.len() <= 63
                    && !l.starts_with('-')
                    && !l.ends_with('-')
                    && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if hostname.len() > 253 || !hostname.split('.').all(label_ok) {
                return Err(OrderError::new(
                    "system.hostname",
                    "use letters, digits and hyphens, with dots between parts of at most 63 characters",
                ));
            }
        }
        if let Some(hash) = &self.root_password_hash {
            check_password_hash("system.root_password_hash", hash)?;
        }
        check_keys("system.root_ssh_keys", &self.root_ssh_keys)?;
        if self.users.len() > MAX_USERS {
            return Err(OrderError::new("system.users", format!("at most {MAX_USERS} users can be named")));
        }
        let mut names = BTreeSet::new();
        for user in &self.users {
            user.check()?;
            if !names.insert(&user.name) {
                return Err(OrderError::new("system.users", format!("the user “{}” is named twice", user.name)));
            }
        }
        self.check_region()?;
        for service in &self.services {
            check_word("system.services", service, 128)?;
        }
        if let Some(network) = &self.network {
            network.check()?;
        }
        self.fstab.iter().try_for_each(|line| check_fstab(line))?;
        if self.fstab.len() > MAX_FSTAB {
            return Err(OrderError::new("system.fstab", format!("at most {MAX_FSTAB} lines can be given")));
        }
        if let Some(words) = &self.kernel_cmdline {
            check_cmdline(words)?;
        }
        if self.first_boot.as_ref().is_some_and(|script| script.len() > MAX_SCRIPT || script.contains('\0')) {
            return Err(OrderError::new("system.first_boot", "give a script of at most 64 KiB, without NUL characters"));
        }
        check_files(&self.files)
    }

    fn check_region(&self) -> Result<(), OrderError> {
        for (field, locale) in
            self.locale.iter().map(|l| ("system.locale", l)).chain(self.locales.iter().map(|l| ("system.locales", l)))
        {
            let fine = locale.len() <= 64
                && locale.starts_with(|c: char| c.is_ascii_alphabetic())
                && locale.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b));
            if !fine {
                return Err(OrderError::new(field, "name a locale like de_DE.UTF-8"));
            }
        }
        if self.locales.len() > MAX_LOCALES {
            return Err(OrderError::new("system.locales", format!("at most {MAX_LOCALES} locales can be named")));
        }
        if let Some(timezone) = &self.timezone {
            let part_ok = |p: &str| {
                !p.is_empty() && p != "." && p != ".." && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
            };
            if timezone.len() > 64 || !timezone.split('/').all(part_ok) {
                return Err(OrderError::new("system.timezone", "name a time zone like Europe/Berlin"));
            }
        }
        if let Some(keymap) = &self.keymap {
            check_word("system.keymap", keymap, 64)?;
        }
        Ok(())
    }
}

impl User {
    fn check(&self) -> Result<(), OrderError> {
        match self.name.as_str() {
            "root" => {
                let message = "every image has the account “root”: give its password as root_password_hash and its keys as \
                               root_ssh_keys (the form has fields for both), and choose another name for this user";
                return Err(OrderError::new("system.users", message));
            }
            "nobody" => {
                return Err(OrderError::new("system.users", "every image has the account “nobody”: choose another name"));
            }
            _ => {}
        }
        if !is_account_name(&self.name) {
            return Err(OrderError::new(
                "system.users",
                format!("“{}” is not a user name: use lower-case letters, digits, _ and -", self.name.escape_debug()),
            ));
        }
        if let Some(group) = self.groups.iter().find(|g| !is_account_name(g)) {
            return Err(OrderError::new("system.users", format!("“{}” is not a group name", group.escape_debug())));
        }
        if let Some(hash) = &self.password_hash {
            check_password_hash("system.users", hash)?;
        }
        check_keys("system.users", &self.ssh_keys)
    }
}

/// A crypt(5) hash: `$id$…`, nothing that could break a line of /etc/shadow, and certainly no plain password.
fn check_password_hash(field: &str, hash: &str) -> Result<(), OrderError> {
    let fine = hash.starts_with('$')
        && hash.len() >= 13
        && hash.len() <= 384
        && hash.matches('$').count() >= 3
        && hash.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if fine {
        return Ok(());
    }
    Err(OrderError::new(field, "give a crypt hash such as `openssl passwd -6` prints, never the password itself"))
}

fn check_keys(field: &str, keys: &[String]) -> Result<(), OrderError> {
    if keys.len() > MAX_KEYS {
        return Err(OrderError::new(field, format!("at most {MAX_KEYS} keys can be given")));
    }
    for key in keys {
        let mut words = key.split(' ');
        let kind = words.next().unwrap_or_default();
        let known = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
        let kind_ok = known.contains(&kind) || kind.starts_with("sk-ssh-") || kind.starts_with("sk-ecdsa-");
        let body = words.next().unwrap_or_default();
        let body_ok = body.starts_with("AAAA") && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        if key.len() > MAX_KEY || key.chars().any(char::is_control) || !kind_ok || !body_ok {
            return Err(OrderError::new(field, "give OpenSSH public keys, one per line, like “ssh-ed25519 AAAA… you@example”"));
        }
    }
    Ok(())
}

impl ExtraFile {
    /// The permissions as a number; none when [`ExtraFile::mode`] is not an octal one.
    pub fn permissions(&self) -> Option<u32> {
        match self.mode.as_deref() {
            None => Some(0o644),
            Some(text) if (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) => {
                u32::from_str_radix(text, 8).ok()
            }
            Some(_) => None,
        }
    }

    fn check(&self) -> Result<(), OrderError> {
        let fail = |message: String| Err(OrderError::new("system.files", message));
        let shown = self.path.escape_debug();
        let mut parts = self.path.split('/');
        let is_absolute = parts.next() == Some("");
        let fine = self.path.len() <= 1024
            && is_absolute
            && parts.all(|part| !part.is_empty() && part.len() <= 255 && part != "." && part != "..")
            && !self.path.chars().any(char::is_control);
        if !fine {
            return fail(format!("“{shown}” is not an absolute path of a file, like /etc/motd, without “.” and “..”"));
        }
        if ["/dev/", "/proc/", "/sys/", "/run/"].iter().any(|dir| self.path.starts_with(dir)) {
            return fail(format!("{shown} would be hidden by what the running system mounts there"));
        }
        if self.permissions().is_none() {
            return fail(format!("the mode of {shown} has to be octal, like 0644"));
        }
        if self.owner.as_ref().is_some_and(|owner| !is_account_name(owner)) {
            return fail(format!("the owner of {shown} is not the name of a user"));
        }
        Ok(())
    }
}

fn check_files(files: &[ExtraFile]) -> Result<(), OrderError> {
    files.iter().try_for_each(ExtraFile::check)?;
    let size: usize = files.iter().map(|file| file.content.len()).sum();
    if files.len() > MAX_FILES || size > MAX_FILES_SIZE {
        return Err(OrderError::new("system.files", format!("at most {MAX_FILES} files can be given, of 1 MiB in all")));
    }
    let mut paths = BTreeSet::new();
    match files.iter().find(|file| !paths.insert(&file.path)) {
        Some(twice) => Err(OrderError::new("system.files", format!("{} is given twice", twice.path))),
        None => Ok(()),
    }
}

/// One entry of fstab(5): four to six fields.
fn check_fstab(line: &str) -> Result<(), OrderError> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let numbers = fields.iter().skip(4).all(|field| field.bytes().all(|b| b.is_ascii_digit()));
    let fine = (4..=6).contains(&fields.len())
        && line.len() <= 1024
        && !line.chars().any(|c| c.is_control() && c != '\t')
        && !line.trim_start().starts_with('#')
        && numbers;
    if fine {
        return Ok(());
    }
    Err(OrderError::new("system.fstab", "give lines of fstab(5): device, folder, type, options, and maybe two numbers"))
}

/// The words stand in a boot loader's configuration, so only characters that mean nothing there are taken.
fn check_cmdline(words: &str) -> Result<(), OrderError> {
    let fine = words.len() <= MAX_CMDLINE && words.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-=,:/@+%".contains(&b));
    if fine {
        return Ok(());
    }
    Err(OrderError::new(
        "system.kernel_cmdline",
        "use letters, digits, blanks and . _ - = , : / @ + %, up to 1024 characters, like “console=ttyS0,115200 nosmt”",
    ))
}

fn is_account_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<System, OrderError> {
        let order = format!("arch = 'amd64'\npackages = ['a/b']\nformats = ['iso']\n[system]\n{text}");
        crate::Order::from_toml(&order).map(|order| order.system)
    }

    #[test]
    fn everything_can_be_said_in_toml() {
        let system = read(
            r##"
locale = "de_DE.UTF-8"
locales = ["en_GB.UTF-8", "fr_FR@euro"]
fstab = ["LABEL=data /data ext4 noatime 0 2"]
kernel_cmdline = "console=ttyS0,115200 nosmt"
first_boot = "#!/bin/sh\necho hello\n"
[system.network]
interface = "eth0"
addresses = ["192.0.2.10/24", "2001:db8::10/64"]
gateways = ["192.0.2.1", "2001:db8::1"]
dns = ["192.0.2.53"]
[[system.files]]
path = "/usr/local/bin/hello"
mode = "0755"
owner = "ada"
content = """
#!/bin/sh
echo hello
"""
"##,
        )
        .unwrap();
        let network = system.network.clone().unwrap();
        assert_eq!(network.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.10/24", "2001:db8::10/64"]);
        assert_eq!(system.files[0].permissions(), Some(0o755));
        let json = serde_json::to_string(&system).unwrap();
        assert_eq!(serde_json::from_str::<System>(&json).unwrap(), system);
    }

    #[test]
    fn accounts_that_every_image_has_are_no_users() {
        let users = |names: &[&str]| {
            let tables: String = names.iter().map(|name| format!("[[system.users]]\nname = '{name}'\n")).collect();
            read(&tables).map(drop)
        };
        users(&["ada", "rooty"]).unwrap();
        let root = users(&["ada", "root"]).unwrap_err();
        assert_eq!(root.field, "system.users");
        assert!(root.message.contains("root_password_hash") && root.message.contains("root_ssh_keys"), "{root}");
        assert!(users(&["nobody"]).unwrap_err().message.contains("every image"));
        assert!(users(&["ada", "ada"]).unwrap_err().message.contains("named twice"));
    }

    #[test]
    fn what_could_not_be_or_could_do_harm_is_refused() {
        let file = |fields: &str| format!("[[system.files]]\ncontent=''\n{fields}");
        let cases = [
            ("system.locales", "locales = ['de_DE\\nx']".replace('\'', "\"")),
            ("system.fstab", "fstab = ['LABEL=x /x ext4']".to_owned()),
            ("system.fstab", "fstab = [\"LABEL=x /x ext4 defaults\\nproc /x proc defaults\"]".to_owned()),
            ("system.kernel_cmdline", "kernel_cmdline = 'quiet; reboot'".to_owned()),
            ("system.kernel_cmdline", "kernel_cmdline = \"quiet\\n}\"".to_owned()),
            ("system.first_boot", "first_boot = \"a\\u0000b\"".to_owned()),
            ("order", "[system.network]\naddresses = ['192.0.2.10']".to_owned()),
            ("order", "[system.network]\naddresses = ['192.0.2.10/33']".to_owned()),
            ("system.network", "[system.network]\naddresses = []".to_owned()),
            ("system.network", "[system.network]\ninterface = 'a b'\naddresses = ['192.0.2.10/24']".to_owned()),
            ("system.network", "[system.network]\naddresses = ['192.0.2.10/24']\ngateways = ['2001:db8::1']".to_owned()),
            ("system.files", file("path = '../etc/shadow'")),
            ("system.files", file("path = '/etc/../x'")),
            ("system.files", file("path = '/etc/'")),
            ("system.files", file("path = '/proc/sys/x'")),
            ("system.files", file("path = '/x'\nmode = '9999'")),
            ("system.files", file("path = '/x'\nowner = 'a:b'")),
            ("system.files", format!("{}\n{}", file("path = '/x'"), file("path = '/x'"))),
        ];
        for (field, text) in cases {
            assert_eq!(read(&text).unwrap_err().field, field, "{text}");
        }
    }
}
