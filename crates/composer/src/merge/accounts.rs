//! Users and groups of the target: names of owners, and accounts made without its tools, from what sysusers.d(5) files say.

use std::collections::{BTreeMap, BTreeSet};

use image::{Store, Tree};

use crate::ComposeError;

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
const SHADOW: &str = "etc/shadow";
const GSHADOW: &str = "etc/gshadow";
/// Where baselayout keeps the files that become those of /etc.
const TEMPLATES: &str = "usr/share/baselayout";
/// Ids handed out where a file asks for any: from here downwards, as useradd -r does (SYS_UID_MAX).
const FIRST_DYNAMIC: u32 = 999;
const LAST_DYNAMIC: u32 = 101;

/// The names of the target's users and groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Names {
    /// Reads the target's /etc/passwd and /etc/group; a file that is not there names nobody.
    pub fn of(tree: &Tree, store: &Store) -> Result<Names, ComposeError> {
        Ok(Names { users: ids(&text(tree, store, PASSWD)?), groups: ids(&text(tree, store, GROUP)?) })
    }

    /// The owner of a file: by name where the target knows it, else by number.
    pub fn uid(&self, name: Option<&str>, number: u32) -> u32 {
        name.and_then(|name| self.users.get(name)).copied().unwrap_or(number)
    }

    /// The group of a file, likewise.
    pub fn gid(&self, name: Option<&str>, number: u32) -> u32 {
        name.and_then(|name| self.groups.get(name)).copied().unwrap_or(number)
    }
}

fn ids(text: &str) -> BTreeMap<String, u32> {
    let pair = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let id = fields.nth(1)?.parse().ok()?;
        Some((name.to_owned(), id))
    };
    text.lines().filter_map(pair).collect()
}

fn text(tree: &Tree, store: &Store, path: &str) -> Result<String, ComposeError> {
    let bytes = tree.read_file(store, path)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One line of a sysusers.d(5) file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    User { name: String, uid: Option<u32>, group: Option<String>, gecos: String, home: String, shell: String },
    Group { name: String, gid: Option<u32> },
    Member { user: String, group: String },
}

/// Reads a sysusers.d(5) file as acct-user and acct-group packages write it.
///
/// # Errors
/// For lines that cannot be understood.
pub fn parse_sysusers(text: &str) -> Result<Vec<Line>, ComposeError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse_line(line).ok_or_else(|| not_understood(line))).collect()
}

fn not_understood(line: &str) -> ComposeError {
    ComposeError::new(format!("its sysusers.d file has a line that is not understood: {}", line.escape_debug()), "")
}

fn parse_line(line: &str) -> Option<Line> {
    let words = words(line)?;
    let word = |at: usize| words.get(at).filter(|word| *word != "-" && !word.is_empty()).cloned();
    let name = word(1).filter(|name| is_name(name))?;
    let line = match words.first()?.trim_end_matches(['!', '-']) {
        "u" => {
            let (uid, group) = match word(2) {
                None => (None, None),
                Some(ids) => match ids.split_once(':') {
                    Some((uid, group)) => {
                        (number(uid)?, Some(group.to_owned()).filter(|group| is_name(group) || number(group).is_some()))
                    }
                    None => (number(&ids)?, None),
                },
            };
            let gecos = word(3).unwrap_or_default();
            let home = word(4).unwrap_or_else(|| "/".into());
            let shell = word(5).unwrap_or_else(|| "/sbin/nologin".into());
            if [&gecos, &home, &shell].iter().any(|field| field.contains(':') || field.chars().any(char::is_control)) {
                return None;
            }
            Line::User { name, uid, group, gecos, home, shell }
        }
        "g" => Line::Group { name, gid: word(2).map_or(Some(None), |gid| number(&gid))? },
        "m" => Line::Member { user: name, group: word(2).filter(|group| is_name(group))? },
        _ => return None,
    };
    Some(line)
}

/// A number, or none for `-`; `None` at the outside for anything else.
fn number(text: &str) -> Option<Option<u32>> {
    match text {
        "-" => Some(None),
        digits => digits.parse().ok().map(Some),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && !name.starts_with('-')
}

/// Words parted by white space, with backslashes and quotes as sysusers.d and bash's `printf %q` know them.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().push(chars.next()?),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// What becomes of a user that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It gets the package's comment, home, shell and groups, as by acct-user.eclass's usermod.
    Updated,
    /// It stays as it is (ACCT_USER_NO_MODIFY).
    Kept,
}

/// Makes the accounts of sysusers.d lines in the target's files, as its useradd, usermod and groupadd would: locked, without a password.
/// Groups that exist stay. `day` is the date of the last password change, days since the epoch.
pub fn create(tree: &mut Tree, store: &Store, lines: &[Line], existing: Existing, day: u64) -> Result<(), ComposeError> {
    let mut files = Files::read(tree, store)?;
    let kept: BTreeSet<String> = match existing {
        Existing::Kept => ids(&files.passwd).into_keys().collect(),
        Existing::Updated => BTreeSet::new(),
    };
    for line in lines {
        match line {
            Line::Group { name, gid } => files.add_group(name, *gid),
            Line::User { name, .. } | Line::Member { user: name, .. } if kept.contains(name) => {}
            Line::User { name, uid, group, gecos, home, shell } => {
                let gid = files.group_of(name, *uid, group.as_deref());
                match ids(&files.passwd).contains_key(name) {
                    true => files.modify_user(name, gid, &[gecos, home, shell], &groups_of(name, lines)),
                    false => files.add_user(name, *uid, gid, &[gecos, home, shell], day),
                }
            }
            Line::Member { user, group } => files.add_member(user, group),
        }
    }
    files.write(tree, store)
}

/// The supplementary groups that lines give a user.
fn groups_of<'a>(name: &str, lines: &'a [Line]) -> BTreeSet<&'a str> {
    let group = |line: &'a Line| match line {
        Line::Member { user, group } if user == name => Some(group.as_str()),
        _ => None,
    };
    lines.iter().filter_map(group).collect()
}

struct Files {
    passwd: String,
    group: String,
    shadow: String,
    /// Only where there is one: shadow's own pkg_postinst makes the first.
    gshadow: Option<String>,
}

impl Files {
    /// What /etc has; where it has nothing yet, what baselayout would put there; else root alone.
    fn read(tree: &Tree, store: &Store) -> Result<Files, ComposeError> {
        let start = |path: &str, template: &str, otherwise: &str| -> Result<String, ComposeError> {
            for candidate in [path, template] {
                let found = text(tree, store, candidate)?;
                if !found.is_empty() {
                    return Ok(if found.ends_with('\n') { found } else { found + "\n" });
                }
            }
            Ok(otherwise.to_owned())
        };
        Ok(Files {
            passwd: start(PASSWD, &format!("{TEMPLATES}/passwd"), "root:x:0:0:root:/root:/bin/bash\n")?,
            group: start(GROUP, &format!("{TEMPLATES}/group"), "root:x:0:root\n")?,
            shadow: start(SHADOW, &format!("{TEMPLATES}/shadow"), "root:*:0:0:::::\n")?,
            gshadow: Some(text(tree, store, GSHADOW)?).filter(|found| !found.is_empty()),
        })
    }

    fn write(self, tree: &mut Tree, store: &Store) -> Result<(), ComposeError> {
        tree.write_file(store, PASSWD, self.passwd.as_bytes(), 0o644)?;
        tree.write_file(store, GROUP, self.group.as_bytes(), 0o644)?;
        tree.write_file(store, SHADOW, self.shadow.as_bytes(), 0o640)?;
        if let Some(gshadow) = self.gshadow {
            tree.write_file(store, GSHADOW, gshadow.as_bytes(), 0o640)?;
        }
        Ok(())
    }

    fn add_group(&mut self, name: &str, gid: Option<u32>) {
        let known = ids(&self.group);
        if known.contains_key(name) {
            return;
        }
        let gid = free_id(&known, gid);
        self.group.push_str(&format!("{name}:x:{gid}:\n"));
        if let Some(gshadow) = &mut self.gshadow {
            gshadow.push_str(&format!("{name}:!::\n"));
        }
    }

    /// The primary group of a new user: the one named (by number or name), else one of the user's own name.
    fn group_of(&mut self, user: &str, uid: Option<u32>, group: Option<&str>) -> u32 {
        if let Some(gid) = group.and_then(|group| group.parse().ok()) {
            return gid;
        }
        let name = group.unwrap_or(user);
        self.add_group(name, uid);
        ids(&self.group).get(name).copied().unwrap_or(u32::from(u16::MAX) - 1)
    }

    fn add_user(&mut self, name: &str, uid: Option<u32>, gid: u32, rest: &[&String; 3], day: u64) {
        let uid = free_id(&ids(&self.passwd), uid);
        let [gecos, home, shell] = rest;
        self.passwd.push_str(&format!("{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}\n"));
        self.shadow.push_str(&format!("{name}:!:{day}::::::\n"));
    }

    /// usermod with --comment, --home, --shell, --gid and --groups: id, password and age stay.
    fn modify_user(&mut self, name: &str, gid: u32, rest: &[&String; 3], groups: &BTreeSet<&str>) {
        let [gecos, home, shell] = rest;
        let change = |line: &str| {
            let mut fields = line.split(':');
            match (fields.next(), fields.next(), fields.next()) {
                (Some(first), Some(password), Some(uid)) if first == name => {
                    format!("{name}:{password}:{uid}:{gid}:{gecos}:{home}:{shell}\n")
                }
                _ => format!("{line}\n"),
            }
        };
        self.passwd = self.passwd.lines().map(change).collect();
        self.group = without_member(&self.group, name, groups);
        self.gshadow = self.gshadow.take().map(|gshadow| without_member(&gshadow, name, groups));
    }

    fn add_member(&mut self, user: &str, group: &str) {
        self.add_group(group, None);
        self.group = with_member(&self.group, user, group);
        self.gshadow = self.gshadow.take().map(|gshadow| with_member(&gshadow, user, group));
    }
}

/// The wanted id unless another name has it, else the highest free one for system accounts.
fn free_id(known: &BTreeMap<String, u32>, wanted: Option<u32>) -> u32 {
    let taken: BTreeSet<u32> = known.values().copied().collect();
    let free = |id: &u32| !taken.contains(id);
    let any = || (LAST_DYNAMIC..=FIRST_DYNAMIC).rev().find(free);
    wanted.filter(free).or_else(any).or(wanted).unwrap_or(FIRST_DYNAMIC)
}

/// Adds a user to the last field of a group's line.
fn with_member(text: &str, user: &str, group: &str) -> String {
    let change = |line: &str| match line.rsplit_once(':') {
        Some((head, members)) if head.split(':').next() == Some(group) && !members.split(',').any(|m| m == user) => {
            let comma = if members.is_empty() { "" } else { "," };
            format!("{head}:{members}{comma}{user}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(change).collect()
}

/// Removes a user from the last field of the lines of all groups but these.
fn without_member(text: &str, user: &str, but: &BTreeSet<&str>) -> String {
    let change = |line: &str| match line.rsplit_once(':') {
        Some((head, members)) if members.split(',').any(|m| m == user) && !but.contains(head.split(':').next().unwrap_or("")) => {
            let others: Vec<&str> = members.split(',').filter(|m| *m != user).collect();
            format!("{head}:{}\n", others.join(","))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, Store, Tree) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store, Tree::new())
    }

    #[test]
    fn lines_of_acct_packages_are_understood() {
        let lines = parse_sysusers(
            "u\tmessagebus\t101:messagebus\tSystem\\ user\\;\\ messagebus\t/dev/null\t/sbin/nologin\nm\tmessagebus\taudio\ng\taudio\t18\n",
        );
        assert_eq!(
            lines.unwrap(),
            [
                Line::User {
                    name: "messagebus".into(),
                    uid: Some(101),
                    group: Some("messagebus".into()),
                    gecos: "System user; messagebus".into(),
                    home: "/dev/null".into(),
                    shell: "/sbin/nologin".into()
                },
                Line::Member { user: "messagebus".into(), group: "audio".into() },
                Line::Group { name: "audio".into(), gid: Some(18) },
            ]
        );
        for bad in ["x a b", "u ../x 1", "u a 1 \"b", "u a 1 \"b:c\" / /bin/sh", "g a x"] {
            assert!(parse_sysusers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn accounts_are_made_once_with_their_ids() {
        let (_dir, store, mut tree) = fresh();
        tree.write_file(
            &store,
            "usr/share/baselayout/passwd",
            b"root:x:0:0:root:/root:/bin/bash\nbin:x:1:1:bin:/bin:/bin/false\n",
            0o644,
        )
        .unwrap();
        let lines =
            parse_sysusers("g web 300\nu web 300:web \"Web\" /var/www /sbin/nologin\nm web audio\nu any - Any / /bin/false")
                .unwrap();
        create(&mut tree, &store, &lines, Existing::Updated, 19_000).unwrap();
        create(&mut tree, &store, &lines, Existing::Updated, 19_001).unwrap();
        let read = |path: &str| String::from_utf8(tree.read_file(&store, path).unwrap().unwrap()).unwrap();
        assert_eq!(
            read(PASSWD),
            "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1:bin:/bin:/bin/false\nweb:x:300:300:Web:/var/www:/sbin/nologin\n\
             any:x:999:998:Any:/:/bin/false\n"
        );
        assert_eq!(read(GROUP), "root:x:0:root\nweb:x:300:\naudio:x:999:web\nany:x:998:\n");
        assert!(read(SHADOW).contains("web:!:19000::::::\n"));
        assert_eq!(tree.get(SHADOW).unwrap().mode, 0o640);
        assert!(!tree.contains(GSHADOW), "the first gshadow is made by shadow's own script");
        let names = Names::of(&tree, &store).unwrap();
        assert_eq!((names.uid(Some("web"), 5), names.uid(Some("nobody"), 5), names.gid(None, 7)), (300, 5, 7));
    }

    #[test]
    fn a_user_that_is_there_gets_what_its_package_says() {
        let (_dir, store, mut tree) = fresh();
        let user = "portage:x:250:250:portage:/var/tmp/portage:/bin/false\n";
        tree.write_file(&store, PASSWD, user.as_bytes(), 0o644).unwrap();
        let groups = "portage:x:250:portage\ndisk:x:6:root,portage,adm\nkvm:x:78:portage\n";
        tree.write_file(&store, GROUP, groups.as_bytes(), 0o644).unwrap();
        tree.write_file(&store, GSHADOW, b"disk:!::root,portage,adm\n", 0o640).unwrap();
        let lines = parse_sysusers(
            "u portage 250:portage \"Merger\" /var/lib/portage/home /sbin/nologin\nm portage kvm\nm portage wheel\n",
        )
        .unwrap();
        let read = |tree: &Tree, path: &str| String::from_utf8(tree.read_file(&store, path).unwrap().unwrap()).unwrap();
        create(&mut tree, &store, &lines, Existing::Kept, 19_000).unwrap();
        assert_eq!((read(&tree, PASSWD), read(&tree, GROUP)), (user.to_owned(), groups.to_owned()));
        create(&mut tree, &store, &lines, Existing::Updated, 19_000).unwrap();
        assert_eq!(read(&tree, PASSWD), "portage:x:250:250:Merger:/var/lib/portage/home:/sbin/nologin\n");
        assert_eq!(read(&tree, GROUP), "portage:x:250:\ndisk:x:6:root,adm\nkvm:x:78:portage\nwheel:x:999:portage\n");
        assert_eq!(read(&tree, GSHADOW), "disk:!::root,adm\nwheel:!::portage\n");
    }
}
