//! What a file brings into the order form: an order, a lock file, a `world` file, a list of packages, a public key. What cannot be taken over is
//! listed with the reason, so that nothing is lost in silence.

use contract::{Order, Plan};
use gentoo::{Atom, Cpv};
use resolver::Universe;
use serde::Serialize;

use super::form::{FormInput, Upload};
use super::form_packages::{optional, with, words};
use crate::app::App;
use crate::words::heard;

/// Most packages that one form takes; an order takes as many.
const MAX_PACKAGES: usize = 2_000;

/// Of so many packages that are not there, those of similar names are looked for, which takes time.
const MAX_SIMILAR: usize = 100;

/// What became of a file.
#[derive(Debug)]
pub struct Imported {
    /// The file's name, as the browser says.
    pub name: String,
    pub kind: Kind,
    /// The packages that were added.
    pub added: usize,
    pub left: Vec<Left>,
}

/// What a file was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Order,
    Packages,
    Key,
    /// None of them.
    Unknown,
}

/// What was not taken over as it stands, and why.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "reason", content = "about", rename_all = "kebab-case")]
pub enum Left {
    /// A line that is no atom.
    NotAnAtom(String),
    /// The channel has no package of this name, but perhaps some of similar ones.
    NotThere { atom: String, similar: Vec<String> },
    /// The channel has the package, but not so: it was asked for without version and slot.
    Otherwise { atom: String, taken: String, version: String },
    /// More packages than an order takes.
    TooMany(usize),
    /// A file that is not text.
    NotText,
    /// A file that is not an order, and why.
    NotAnOrder(String),
    /// The very builds of a lock file, where the form asks for packages as they are today.
    Builds,
    /// The form has no field for it; in words.
    NoField(String),
    /// A password's hash is a secret that the page does not show.
    Password,
    /// The arch that the order is for, which no channel here has.
    Arch(String),
    /// A private key.
    PrivateKey,
    /// No public key in it.
    NoKey,
}

/// Puts a file into the form; `universe` is what there is to choose from, where it is known.
pub fn import(app: &App, input: &mut FormInput, file: &Upload, universe: Option<&Universe>) -> Imported {
    let result = |kind, left| Imported { name: file.name.clone(), kind, added: 0, left };
    let Some(text) = std::str::from_utf8(&file.bytes).ok().filter(|text| !text.contains('\0')) else {
        return result(Kind::Unknown, vec![Left::NotText]);
    };
    if file.field != "file" {
        let keys = if file.field == "ssh_key_file" { &mut input.ssh_keys } else { &mut input.system.user_ssh_keys };
        return result(Kind::Key, add_keys(keys, text).into_iter().collect());
    }
    if text.trim_start().starts_with('{') {
        return match serde_json::from_str::<Plan>(text) {
            Ok(plan) => Imported { added: plan.world.len(), ..result(Kind::Packages, take_lock(app, input, &plan)) },
            Err(_) => match read_json(text) {
                Ok(order) => result(Kind::Order, take_order(app, input, &order)),
                Err(reason) => result(Kind::Unknown, vec![Left::NotAnOrder(reason)]),
            },
        };
    }
    let is_toml = toml::from_str::<toml::Table>(text).is_ok_and(|table| !table.is_empty());
    if is_toml || file.name.ends_with(".toml") {
        return match Order::from_toml(text) {
            Ok(order) => result(Kind::Order, take_order(app, input, &order)),
            Err(error) => result(Kind::Unknown, vec![Left::NotAnOrder(error.to_string())]),
        };
    }
    let before = words(&input.packages).len();
    let left = take_packages(input, text, universe);
    Imported { added: words(&input.packages).len().saturating_sub(before), ..result(Kind::Packages, left) }
}

impl Left {
    /// What was not taken over, and what to do about it.
    pub fn words(&self) -> String {
        match self {
            Left::NotAnAtom(word) => say!("{word} is not the name of a package", word = word),
            Left::NotThere { atom, similar } if similar.is_empty() => say!("{package} is not in this channel", package = atom),
            Left::NotThere { atom, similar } => {
                say!("{package} is not in this channel; there is {similar}", package = atom, similar = similar.join(", "))
            }
            Left::Otherwise { atom, taken, version } => say!(
                "{package} is not there so; instead {taken} is asked for, which gets version {version}",
                package = atom,
                taken = taken,
                version = version
            ),
            Left::TooMany(count) => {
                say_n!(*count, "{n} package more than an order can name", "{n} packages more than an order can name")
            }
            Left::NotText => say!(
                "It is not text. Of a stage4 or another system, take the file /var/lib/portage/world out of the archive: {command}",
                command = "tar -xOf stage4.tar.xz ./var/lib/portage/world > world"
            ),
            Left::NotAnOrder(reason) => say!("It is not an order: {reason}", reason = heard(reason)),
            Left::Builds => say!(
                "Of a lock file the packages are taken, as they are today. For the very same builds, use “{command}”",
                command = "hatchery build order.toml --lock …plan.json -o DIR"
            ),
            Left::NoField(what) => say!(
                "This form has no field for {what}. Order the file itself instead, with “hatchery order” or the API",
                what = what
            ),
            Left::Password => say!("Passwords: type one below"),
            Left::Arch(arch) => say!("It is for {arch}, which this site has no channel for", arch = arch),
            Left::PrivateKey => say!(
                "This is a private key, which must not leave your machine. Nothing of it was kept. Give the file that ends in .pub"
            ),
            Left::NoKey => say!("There is no public key in it; it would begin with ssh-ed25519 or the like"),
        }
    }
}

/// Adds the public keys of a file; what is wrong with it, if anything.
fn add_keys(keys: &mut String, text: &str) -> Option<Left> {
    if text.contains("PRIVATE KEY") {
        return Some(Left::PrivateKey);
    }
    let found: Vec<&str> = text.lines().map(str::trim).filter(|line| line.contains(" AAAA") && !line.starts_with('#')).collect();
    for key in found.iter().filter(|key| !keys.lines().any(|known| known.trim() == **key)).collect::<Vec<_>>() {
        *keys = optional(keys).map_or_else(|| (*key).to_string(), |known| format!("{known}\n{key}"));
    }
    found.is_empty().then_some(Left::NoKey)
}

/// The form becomes that of the order.
fn take_order(app: &App, input: &mut FormInput, order: &Order) -> Vec<Left> {
    let (read, lacks) = FormInput::of(order);
    *input = FormInput { token: std::mem::take(&mut input.token), ..read };
    let mut left: Vec<Left> = lacks.into_iter().map(Left::NoField).collect();
    if order.system.root_password_hash.is_some() || order.system.users.iter().any(|user| user.password_hash.is_some()) {
        left.push(Left::Password);
    }
    left.extend(take_arch(app, input, &order.arch));
    left
}

/// An order as programs send it to the API.
fn read_json(text: &str) -> Result<Order, String> {
    let order: Order = serde_json::from_str(text).map_err(|e| e.to_string())?;
    order.check().map_err(|e| e.to_string())?;
    Ok(order)
}

/// The form becomes one for the packages that a lock was asked for.
fn take_lock(app: &App, input: &mut FormInput, plan: &Plan) -> Vec<Left> {
    input.preset.clear();
    input.packages = plan.world.join("\n");
    input.services = plan.services.join(" ");
    input.install_mask.clone_from(&plan.install_mask);
    input.prefix = plan.prefix.clone().unwrap_or_default();
    let channel = app.catalogue.channels.get(&plan.channel).filter(|channel| channel.config.arch == plan.arch);
    input.channel = channel.map(|channel| channel.config.name.clone()).unwrap_or_default();
    std::iter::once(Left::Builds).chain(take_arch(app, input, &plan.arch)).collect()
}

/// Chooses a channel for the arch, which the form knows by preset and channel alone; what is in the way, if anything.
fn take_arch(app: &App, input: &mut FormInput, arch: &str) -> Option<Left> {
    if input.arch(app) == arch {
        return None;
    }
    let fits = |own: &str, of_prefix: bool| own == arch && of_prefix != input.prefix.is_empty();
    let channel = app.catalogue.channels.all().iter().find(|c| fits(&c.config.arch, c.config.prefix.is_some()));
    match channel.filter(|_| input.channel.is_empty()) {
        Some(channel) => {
            input.channel.clone_from(&channel.config.name);
            None
        }
        None => Some(Left::Arch(arch.to_owned())),
    }
}

/// The atoms of a list that an order takes, and what cannot be taken over as it stands.
pub fn packages_of(text: &str, universe: &Universe) -> (Vec<String>, Vec<Left>) {
    let mut input = FormInput::default();
    let left = take_packages(&mut input, text, Some(universe));
    (words(&input.packages), left)
}

/// Adds the packages of a list: atoms as in a `world` file, or names with versions as tools print them, one a line.
fn take_packages(input: &mut FormInput, text: &str, universe: Option<&Universe>) -> Vec<Left> {
    let mut left = Vec::new();
    let mut asked: Vec<String> = Vec::new();
    for (word, completes) in text.lines().flat_map(candidates) {
        let complete = || universe.filter(|_| completes && left.len() < MAX_SIMILAR)?.completed(&word);
        let Some(atom) = as_atom(&word).or_else(complete) else {
            left.push(Left::NotAnAtom(word.chars().take(200).collect()));
            continue;
        };
        match universe.map_or(Fit::Fits, |universe| fit(universe, &atom, left.len() < MAX_SIMILAR)) {
            Fit::Fits => asked.push(atom),
            Fit::NotThere(similar) => left.push(Left::NotThere { atom, similar }),
            Fit::Otherwise { taken, version } => {
                asked.push(taken.clone());
                left.push(Left::Otherwise { atom, taken, version });
            }
        }
    }
    let room = MAX_PACKAGES.saturating_sub(words(&input.packages).len());
    if asked.len() > room {
        left.push(Left::TooMany(asked.len() - room));
        asked.truncate(room);
    }
    add_all(&mut input.packages, &asked);
    left
}

/// Adds atoms that may be many; those that are there already stay as they are.
fn add_all(packages: &mut String, asked: &[String]) {
    if let [atom] = asked {
        *packages = with(packages, atom);
        return;
    }
    let mut known: std::collections::BTreeSet<String> = words(packages).into_iter().collect();
    for atom in asked {
        if known.insert(atom.clone()) {
            if !packages.is_empty() && !packages.ends_with('\n') {
                packages.push('\n');
            }
            *packages += atom;
        }
    }
}

/// The words of a line of a list. Of what `emerge --pretend` prints, the package alone.
fn listed(line: &str) -> Vec<String> {
    let line = line.trim();
    match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => words(rest).into_iter().take(1).collect(),
        None => words(line),
    }
}

/// The words of a line, and whether they may be names without a category: alone on its line, that is; among others it may be one of a sentence.
fn candidates(line: &str) -> impl Iterator<Item = (String, bool)> {
    let words = listed(line);
    let is_alone = words.len() == 1;
    words.into_iter().map(move |word| (word, is_alone))
}

/// A word as an atom: a name with a version and nothing before it means that version.
fn as_atom(word: &str) -> Option<String> {
    if word.starts_with('@') && word.len() > 1 {
        return Some(word.to_owned());
    }
    let bare = word.split("::").next().unwrap_or(word);
    if Atom::parse(word).is_ok_and(|atom| atom.blocker.is_none()) {
        return Some(word.to_owned());
    }
    Cpv::parse(bare).is_ok().then(|| format!("={bare}"))
}

/// How an atom fits what there is.
enum Fit {
    Fits,
    NotThere(Vec<String>),
    Otherwise { taken: String, version: String },
}

/// `suggests`: packages of similar names are looked for, if it is not there.
fn fit(universe: &Universe, text: &str, suggests: bool) -> Fit {
    if let Some(set) = text.strip_prefix('@') {
        return if universe.sets().contains_key(set) { Fit::Fits } else { Fit::NotThere(Vec::new()) };
    }
    let Ok(atom) = Atom::parse(text) else { return Fit::NotThere(Vec::new()) };
    let builds = universe.builds(&atom.cp());
    let Some(best) = builds.first() else {
        return Fit::NotThere(if suggests { universe.similar(&atom.cp()) } else { Vec::new() });
    };
    if builds.iter().any(|build| atom.matches(&build.cpv, &build.slot, &build.subslot, &build.repo)) {
        return Fit::Fits;
    }
    let taken = Atom { use_deps: atom.use_deps, ..Atom::any(&atom.category, &atom.package) };
    Fit::Otherwise { taken: taken.to_string(), version: best.cpv.version.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_tools_write_them() {
        let atoms = |line: &str| listed(line).iter().map(|word| as_atom(word)).collect::<Vec<_>>();
        let one = |text: &str| vec![Some(text.to_owned())];
        assert_eq!(atoms("app-editors/vim"), one("app-editors/vim"));
        assert_eq!(atoms("  dev-lang/python:3.12  # mine"), one("dev-lang/python:3.12"));
        assert_eq!(atoms("=dev-vcs/git-2.40.1"), one("=dev-vcs/git-2.40.1"));
        assert_eq!(atoms("dev-vcs/git-2.40.1-r1::gentoo"), one("=dev-vcs/git-2.40.1-r1"));
        assert_eq!(atoms("[ebuild  N     ] sys-apps/x-1  USE=\"a -b\""), one("=sys-apps/x-1"));
        assert_eq!(atoms("@system"), one("@system"));
        assert_eq!(atoms("!a/b"), [None]);
        assert_eq!(atoms("no package"), [None, None]);
        assert!(atoms("# a remark").is_empty() && atoms("").is_empty());
    }

    #[test]
    fn keys_are_added_once_and_private_ones_never() {
        let mut keys = String::new();
        assert_eq!(add_keys(&mut keys, "ssh-ed25519 AAAAC3 a@b\n"), None);
        assert_eq!(add_keys(&mut keys, "# two\nssh-ed25519 AAAAC3 a@b\nssh-rsa AAAAB3 c@d\n"), None);
        assert_eq!(keys, "ssh-ed25519 AAAAC3 a@b\nssh-rsa AAAAB3 c@d");
        assert_eq!(add_keys(&mut keys, "-----BEGIN OPENSSH PRIVATE KEY-----\n"), Some(Left::PrivateKey));
        assert_eq!(add_keys(&mut keys, "hello"), Some(Left::NoKey));
    }

    #[test]
    fn many_packages_are_added_once_each() {
        let mut packages = "a/b # mine".to_owned();
        add_all(&mut packages, &["c/d".into(), "a/b".into(), "c/d".into(), "e/f".into()]);
        assert_eq!(packages, "a/b # mine\nc/d\ne/f");
    }
}
