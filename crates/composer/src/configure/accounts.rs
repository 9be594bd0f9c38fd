//! Accounts: passwd(5), shadow(5), group(5), gshadow(5), homes and authorized keys.

use std::collections::BTreeSet;

use contract::{System, User};

use super::faults::Faults;
use super::files::Files;
use crate::ComposeError;
use crate::error::Setting;

/// A table of lines with fields between colons. Lines that are not of that shape stay as they are.
struct Table(Vec<String>);

/// Where people's ids start (UID_MIN, GID_MIN of login.defs) and end.
const FIRST_ID: u32 = 1000;
const LAST_ID: u32 = 60_000;

/// A password field that no password matches; unlike `!`, it does not make sshd refuse keys too.
const LOCKED: &str = "*";

/// The groups without which a system cannot name its own files. Numbers: Gentoo's acct-group packages.
const BASE_GROUPS: &[(&str, u32)] = &[
    ("root", 0),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("kmem", 9),
    ("wheel", 10),
    ("floppy", 11),
    ("uucp", 14),
    ("audio", 18),
    ("cdrom", 19),
    ("dialout", 20),
    ("tape", 26),
    ("video", 27),
    ("input", 97),
    ("users", 100),
    ("utmp", 406),
    ("nobody", 65534),
];

/// Makes the accounts of an order. Root has no password unless the order gives a hash of one.
///
/// # Errors
/// A user of the order that a package has already made, or no number left, is one of the `faults`.
pub(super) fn set_up(files: &mut Files, system: &System, faults: &mut Faults) -> Result<(), ComposeError> {
    let mut accounts = Accounts::read(files)?;
    accounts.set_up_root(files, system)?;
    for user in &system.users {
        faults.keep(accounts.add_user(files, user))?;
    }
    accounts.lock_empty_passwords(files);
    accounts.write(files)?;
    say_who_can_log_in(files, system);
    Ok(())
}

struct Accounts {
    passwd: Table,
    shadow: Table,
    group: Table,
    /// Kept in step where the image has it; not made where it does not.
    gshadow: Option<Table>,
    shell: &'static str,
}

impl Accounts {
    fn read(files: &Files) -> Result<Accounts, ComposeError> {
        let table = |name: &str| -> Result<Option<Table>, ComposeError> {
            let text = match files.text(&format!("etc/{name}"))? {
                Some(text) => Some(text),
                // Where baselayout keeps the tables that a new system starts from.
                None => files.text(&format!("usr/share/baselayout/{name}"))?,
            };
            Ok(text.map(|text| Table::parse(&text)))
        };
        let mut group = table("group")?.unwrap_or(Table(Vec::new()));
        for (name, number) in BASE_GROUPS {
            if group.find(name).is_none() && !group.numbers().contains(number) {
                group.0.push(format!("{name}:x:{number}:"));
            }
        }
        Ok(Accounts {
            passwd: table("passwd")?.unwrap_or(Table(Vec::new())),
            shadow: table("shadow")?.unwrap_or(Table(Vec::new())),
            group,
            gshadow: table("gshadow")?,
            shell: if files.has_file("bin/bash") { "/bin/bash" } else { "/bin/sh" },
        })
    }

    fn set_up_root(&mut self, files: &mut Files, system: &System) -> Result<(), ComposeError> {
        if self.passwd.find("root").is_none() {
            self.passwd.0.insert(0, format!("root:x:0:0:root:/root:{}", self.shell));
        }
        if self.passwd.find("nobody").is_none() {
            self.passwd.0.push("nobody:x:65534:65534:nobody:/var/empty:/sbin/nologin".into());
        }
        self.set_password("root", system.root_password_hash.as_deref());
        let home = self.passwd.field("root", 5).unwrap_or_default().trim_matches('/').to_string();
        let home = if home.is_empty() { "root".to_string() } else { home };
        files.dir(&home, 0o700, (0, 0))?;
        authorize(files, &home, &system.root_ssh_keys, (0, 0))
    }

    fn add_user(&mut self, files: &mut Files, user: &User) -> Result<(), ComposeError> {
        let name = &user.name;
        if self.passwd.find(name).is_some() {
            return Err(ComposeError::new(
                format!("The account “{name}” cannot be made: a package of the image has already made one of that name."),
                "Choose another user name.",
            )
            .about(Setting::Users));
        }
        let uid = self.free_id()?;
        let gid = match self.group.number_of(name) {
            Some(gid) => gid,
            None => {
                self.add_group(name, uid);
                uid
            }
        };
        self.passwd.0.push(format!("{name}:x:{uid}:{gid}::/home/{name}:{}", self.shell));
        self.set_password(name, user.password_hash.as_deref());
        for group in &user.groups {
            self.join(files, name, group)?;
        }
        let home = format!("home/{name}");
        files.dir(&home, 0o700, (uid, gid))?;
        files.copy_dir("etc/skel", &home, (uid, gid))?;
        authorize(files, &home, &user.ssh_keys, (uid, gid))
    }

    /// A number that is free both as a user's and as a group's.
    fn free_id(&self) -> Result<u32, ComposeError> {
        let taken: BTreeSet<u32> = self.passwd.numbers().union(&self.group.numbers()).copied().collect();
        (FIRST_ID..LAST_ID).find(|id| !taken.contains(id)).ok_or_else(|| {
            ComposeError::new("There is no user number left between 1000 and 60000.", "Order fewer users.").about(Setting::Users)
        })
    }

    fn add_group(&mut self, name: &str, gid: u32) {
        self.group.0.push(format!("{name}:x:{gid}:"));
        if let Some(gshadow) = &mut self.gshadow
            && gshadow.find(name).is_none()
        {
            gshadow.0.push(format!("{name}:!::"));
        }
    }

    fn join(&mut self, files: &mut Files, user: &str, group: &str) -> Result<(), ComposeError> {
        if self.group.find(group).is_none() {
            let gid = self.free_id()?;
            self.add_group(group, gid);
            files.say(format!(
                "No package of the image brings the group “{group}” of the user “{user}”, so an empty one was made."
            ));
        }
        self.group.add_member(group, user);
        if let Some(gshadow) = &mut self.gshadow {
            gshadow.add_member(group, user);
        }
        Ok(())
    }

    /// Sets a password's hash, or locks the password. The day of the last change stays empty: it would be the day of the build.
    fn set_password(&mut self, name: &str, hash: Option<&str>) {
        let hash = hash.unwrap_or(LOCKED);
        if self.shadow.find(name).is_some() {
            self.shadow.set_field(name, 1, hash);
        } else {
            self.shadow.0.push(format!("{name}:{hash}::0:99999:7:::"));
        }
        self.passwd.set_field(name, 1, "x");
    }

    /// Locks every account that would let anyone in without a password, and gives those without a shadow line one.
    fn lock_empty_passwords(&mut self, files: &mut Files) {
        for name in self.passwd.names() {
            let open_in_passwd = self.passwd.field(&name, 1).is_none_or(str::is_empty);
            let open_in_shadow = self.shadow.field(&name, 1).is_some_and(str::is_empty);
            if open_in_passwd || open_in_shadow {
                files.say(format!("The account “{name}” came without a password; it was locked."));
                self.set_password(&name, None);
            } else if self.shadow.find(&name).is_none() && self.passwd.field(&name, 1) == Some("x") {
                self.set_password(&name, None);
            }
        }
    }

    fn write(&self, files: &mut Files) -> Result<(), ComposeError> {
        files.write("etc/passwd", &self.passwd.text(), 0o644)?;
        files.write("etc/group", &self.group.text(), 0o644)?;
        // Readable for the group of the programs that check passwords, where there is one.
        let shadow_group = self.group.number_of("shadow").unwrap_or(0);
        files.write_owned("etc/shadow", &self.shadow.text(), 0o640, (0, shadow_group))?;
        if let Some(gshadow) = &self.gshadow {
            files.write_owned("etc/gshadow", &gshadow.text(), 0o640, (0, shadow_group))?;
        }
        for backup in ["etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-"] {
            files.remove(backup)?;
        }
        Ok(())
    }
}

/// Puts keys where sshd looks for them, with the modes it insists on.
fn authorize(files: &mut Files, home: &str, keys: &[String], owner: (u32, u32)) -> Result<(), ComposeError> {
    if keys.is_empty() {
        return Ok(());
    }
    files.dir(&format!("{home}/.ssh"), 0o700, owner)?;
    files.write_owned(&format!("{home}/.ssh/authorized_keys"), &(keys.join("\n") + "\n"), 0o600, owner)
}

fn say_who_can_log_in(files: &mut Files, system: &System) {
    let root_in = system.root_password_hash.is_some() || !system.root_ssh_keys.is_empty();
    let user_in = system.users.iter().any(|user| user.password_hash.is_some() || !user.ssh_keys.is_empty());
    let keys = !system.root_ssh_keys.is_empty() || system.users.iter().any(|user| !user.ssh_keys.is_empty());
    if !root_in && !user_in {
        files.say(contract::NOBODY_CAN_LOG_IN);
    } else if system.root_password_hash.is_none() && system.root_ssh_keys.is_empty() {
        files.say("Root's password is locked: none was given.");
    }
    if keys && !files.has_file("usr/sbin/sshd") && !files.has_file("usr/bin/sshd") {
        files.say("SSH keys were given, but there is no sshd in the image: add net-misc/openssh.");
    }
}

impl Table {
    fn parse(text: &str) -> Table {
        Table(text.lines().filter(|line| !line.trim().is_empty()).map(String::from).collect())
    }

    fn text(&self) -> String {
        self.0.iter().map(|line| format!("{line}\n")).collect()
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|line| line.split(':').next() == Some(name))
    }

    fn names(&self) -> Vec<String> {
        self.0
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.to_string())
            .filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))
            .collect()
    }

    fn field(&self, name: &str, index: usize) -> Option<&str> {
        self.0.get(self.find(name)?)?.split(':').nth(index)
    }

    fn set_field(&mut self, name: &str, index: usize, value: &str) {
        if let Some(line) = self.find(name).and_then(|at| self.0.get_mut(at)) {
            let mut fields: Vec<&str> = line.split(':').collect();
            if let Some(field) = fields.get_mut(index) {
                *field = value;
            }
            *line = fields.join(":");
        }
    }

    /// The ids in use: the third field in passwd and group alike.
    fn numbers(&self) -> BTreeSet<u32> {
        self.0.iter().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
    }

    fn number_of(&self, name: &str) -> Option<u32> {
        self.field(name, 2)?.parse().ok()
    }

    /// Adds a member to a group: the last field, a list between commas.
    fn add_member(&mut self, group: &str, user: &str) {
        let Some(members) = self.field(group, 3) else { return };
        let mut list: Vec<&str> = members.split(',').filter(|member| !member.is_empty()).collect();
        if !list.contains(&user) {
            list.push(user);
            let list = list.join(",");
            self.set_field(group, 3, &list);
        }
    }
}
