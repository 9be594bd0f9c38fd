//! Package dependency specifications, "atoms" (PMS 8.3): `!!>=cat/pkg-1.2:0/3=::repo[flag,-other(+),third?]`.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::cpv::{Cpv, split_pf};
use crate::error::shown;
use crate::names::{is_category, is_package, is_repository, is_slot};
use crate::useflags::UseDep;
use crate::version::Version;

/// Longest atom that is read, in bytes.
const MAX_ATOM: usize = 4096;

/// A package dependency specification. Its `Display` gives back the text it was read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Atom {
    pub blocker: Option<Blocker>,
    pub category: String,
    pub package: String,
    /// The operator with its version; none accepts every version.
    pub version: Option<(Operator, Version)>,
    pub slot: Option<String>,
    pub subslot: Option<String>,
    pub slot_operator: Option<SlotOperator>,
    /// `::repo`, an extension of Portage.
    pub repo: Option<String>,
    /// In the order written.
    pub use_deps: Vec<UseDep>,
}

/// What atoms look at in a package, USE aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageRef<'a> {
    pub cpv: &'a Cpv,
    pub slot: &'a str,
    pub subslot: &'a str,
    /// Empty when it is not known.
    pub repo: &'a str,
}

/// PMS 8.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blocker {
    /// `!`: the blocked package may stay until this one is merged.
    Weak,
    /// `!!`: both are never installed at once.
    Strong,
}

/// PMS 8.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    Less,
    LessEqual,
    /// `~`: this version in any revision.
    Revision,
    Equal,
    /// `=…*`: versions that start with this one.
    Prefix,
    GreaterEqual,
    Greater,
}

/// PMS 8.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotOperator {
    /// `:=`: rebuild when the slot or sub-slot found at build time goes away.
    Equal,
    /// `:*`: any slot will do, also later.
    Star,
}

impl Operator {
    /// As written before the version; `=…*` has its star at the end besides.
    pub fn as_str(self) -> &'static str {
        match self {
            Operator::Less => "<",
            Operator::LessEqual => "<=",
            Operator::Revision => "~",
            Operator::Equal | Operator::Prefix => "=",
            Operator::GreaterEqual => ">=",
            Operator::Greater => ">",
        }
    }

    /// Whether `version` stands in this relation to `wanted`.
    pub fn accepts(self, version: &Version, wanted: &Version) -> bool {
        match self {
            Operator::Less => version < wanted,
            Operator::LessEqual => version <= wanted,
            // As in Portage, `~` compares the texts: `~1.0` does not accept `1.00`.
            Operator::Revision => version.base() == wanted.base(),
            Operator::Equal => version == wanted,
            Operator::Prefix => version.has_prefix(wanted),
            Operator::GreaterEqual => version >= wanted,
            Operator::Greater => version > wanted,
        }
    }
}

impl Atom {
    /// Reads an atom of any EAPI, with Portage's `::repo` extension. [`crate::Eapi::check_atom`] tells whether an EAPI allows it.
    ///
    /// # Errors
    /// When the text does not follow PMS 8.3.
    pub fn parse(text: &str) -> Result<Atom, ParseError> {
        if text.len() > MAX_ATOM {
            return Err(ParseError::new("package atom", text, format!("it is longer than {MAX_ATOM} bytes")));
        }
        parse_atom(text).map_err(|reason| ParseError::new("package atom", text, reason))
    }

    /// An atom that accepts every version of `category/package`.
    pub fn any(category: &str, package: &str) -> Atom {
        Atom {
            blocker: None,
            category: category.to_owned(),
            package: package.to_owned(),
            version: None,
            slot: None,
            subslot: None,
            slot_operator: None,
            repo: None,
            use_deps: Vec::new(),
        }
    }

    /// `category/package`.
    pub fn cp(&self) -> String {
        format!("{}/{}", self.category, self.package)
    }

    /// The operator, where there is one.
    pub fn operator(&self) -> Option<Operator> {
        self.version.as_ref().map(|(operator, _)| *operator)
    }

    /// Whether the package is meant, by everything but USE (see [`UseDep`]); the blocker's sign plays no part. `repo` may be empty when
    /// it is not known, and then matches as in Portage.
    pub fn matches(&self, cpv: &Cpv, slot: &str, subslot: &str, repo: &str) -> bool {
        self.matches_cpv(cpv) && self.matches_slot(slot, subslot) && self.matches_repo(repo)
    }

    /// [`Atom::matches`] for a package as one value.
    pub fn matches_package(&self, package: PackageRef<'_>) -> bool {
        self.matches(package.cpv, package.slot, package.subslot, package.repo)
    }

    /// Whether name and version fit.
    pub fn matches_cpv(&self, cpv: &Cpv) -> bool {
        self.package == cpv.package && self.category == cpv.category && self.matches_version(&cpv.version)
    }

    /// Whether the version fits.
    pub fn matches_version(&self, version: &Version) -> bool {
        self.version.as_ref().is_none_or(|(operator, wanted)| operator.accepts(version, wanted))
    }

    /// Whether slot and sub-slot fit.
    pub fn matches_slot(&self, slot: &str, subslot: &str) -> bool {
        self.slot.as_deref().is_none_or(|s| s == slot) && self.subslot.as_deref().is_none_or(|s| s == subslot)
    }

    fn matches_repo(&self, repo: &str) -> bool {
        repo.is_empty() || self.repo.as_deref().is_none_or(|r| r == repo)
    }

    /// The atom as it applies to a parent whose enabled flags `enabled` tells: `[x?]`, `[x=]` and their kin become `[x]`, `[-x]` or nothing.
    pub fn evaluate(&self, enabled: &dyn Fn(&str) -> bool) -> Atom {
        let use_deps = self.use_deps.iter().filter_map(|dep| dep.evaluate(enabled)).collect();
        Atom { use_deps, ..self.clone() }
    }

    /// The same atom without its USE dependencies.
    pub fn without_use(&self) -> Atom {
        Atom { use_deps: Vec::new(), ..self.clone() }
    }
}

fn parse_atom(text: &str) -> Result<Atom, String> {
    let (blocker, rest) = split_blocker(text);
    let (rest, use_deps) = split_use_deps(rest)?;
    let (rest, repo) = match rest.split_once("::") {
        Some((head, repo)) if is_repository(repo) => (head, Some(repo.to_owned())),
        Some((_, repo)) => return Err(format!("“{}” is not a repository name", shown(repo))),
        None => (rest, None),
    };
    let (rest, slot) = match rest.split_once(':') {
        Some((head, slot)) => (head, parse_slot(slot)?),
        None => (rest, Slot::default()),
    };
    let (category, package, version) = parse_name(rest)?;
    Ok(Atom {
        blocker,
        category,
        package,
        version,
        slot: slot.slot,
        subslot: slot.subslot,
        slot_operator: slot.operator,
        repo,
        use_deps,
    })
}

fn split_blocker(text: &str) -> (Option<Blocker>, &str) {
    if let Some(rest) = text.strip_prefix("!!") {
        return (Some(Blocker::Strong), rest);
    }
    match text.strip_prefix('!') {
        Some(rest) => (Some(Blocker::Weak), rest),
        None => (None, text),
    }
}

fn split_use_deps(text: &str) -> Result<(&str, Vec<UseDep>), String> {
    let Some((head, rest)) = text.split_once('[') else { return Ok((text, Vec::new())) };
    let list = rest.strip_suffix(']').ok_or("its USE dependencies do not end with “]”")?;
    let deps: Vec<UseDep> = list.split(',').map(UseDep::parse_inner).collect::<Result<_, _>>()?;
    match clash_of_defaults(&deps) {
        Some(flag) => Err(format!("the flag “{flag}” has two different defaults")),
        None => Ok((head, deps)),
    }
}

/// A flag that is asked for twice with different defaults.
fn clash_of_defaults(deps: &[UseDep]) -> Option<&str> {
    // Comparing each with each would be quick for the few flags of a real atom and slow for thousands of atoms with thousands of flags.
    let mut defaults: Vec<(&str, Option<bool>)> = deps.iter().map(|dep| (dep.flag.as_str(), dep.default)).collect();
    defaults.sort_unstable();
    defaults.windows(2).find_map(|pair| match pair {
        [(flag, one), (same, other)] if flag == same && one != other => Some(*flag),
        _ => None,
    })
}

#[derive(Default)]
struct Slot {
    slot: Option<String>,
    subslot: Option<String>,
    operator: Option<SlotOperator>,
}

fn parse_slot(text: &str) -> Result<Slot, String> {
    let (name, operator) = match text.strip_suffix('=') {
        Some(name) => (name, Some(SlotOperator::Equal)),
        None if text == "*" => ("", Some(SlotOperator::Star)),
        None => (text, None),
    };
    if name.is_empty() && operator.is_some() {
        return Ok(Slot { slot: None, subslot: None, operator });
    }
    let (slot, subslot) = match name.split_once('/') {
        Some((slot, subslot)) => (slot, Some(subslot)),
        None => (name, None),
    };
    if let Some(bad) = [Some(slot), subslot].into_iter().flatten().find(|s| !is_slot(s)) {
        return Err(format!("“{}” is not a slot", shown(bad)));
    }
    Ok(Slot { slot: Some(slot.to_owned()), subslot: subslot.map(str::to_owned), operator })
}

fn parse_operator(text: &str) -> Option<(Operator, &str)> {
    const OPERATORS: [(&str, Operator); 6] = [
        ("<=", Operator::LessEqual),
        (">=", Operator::GreaterEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("=", Operator::Equal),
        ("~", Operator::Revision),
    ];
    OPERATORS.iter().find_map(|(sign, operator)| text.strip_prefix(sign).map(|rest| (*operator, rest)))
}

type Name = (String, String, Option<(Operator, Version)>);

fn parse_name(text: &str) -> Result<Name, String> {
    let (operator, rest) = match parse_operator(text) {
        Some((operator, rest)) => (Some(operator), rest),
        None => (None, text),
    };
    let (category, tail) = rest.split_once('/').ok_or("expected category/package")?;
    if !is_category(category) {
        return Err(format!("“{}” is not a category", shown(category)));
    }
    let (package, version) = match operator {
        None => (tail, None),
        Some(operator) => {
            let (operator, tail) = match tail.strip_suffix('*') {
                Some(tail) if operator == Operator::Equal => (Operator::Prefix, tail),
                _ => (operator, tail),
            };
            let (package, version) = split_pf(tail).ok_or("it has an operator but no version at its end")?;
            let version = Version::from_checked(version);
            if operator == Operator::Revision && version.base() != version.as_str() {
                return Err("“~” accepts every revision and so takes none".to_owned());
            }
            (package, Some((operator, version)))
        }
    };
    if version.is_none() && split_pf(package).is_some() {
        return Err("it has a version but no operator; put “=” before it".to_owned());
    }
    if !is_package(package) {
        return Err(format!("“{}” is not a package name", shown(package)));
    }
    Ok((category.to_owned(), package.to_owned(), version))
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.blocker {
            None => "",
            Some(Blocker::Weak) => "!",
            Some(Blocker::Strong) => "!!",
        })?;
        if let Some((operator, _)) = &self.version {
            f.write_str(operator.as_str())?;
        }
        write!(f, "{}/{}", self.category, self.package)?;
        if let Some((operator, version)) = &self.version {
            write!(f, "-{version}{}", if *operator == Operator::Prefix { "*" } else { "" })?;
        }
        if self.slot.is_some() || self.slot_operator.is_some() {
            write!(f, ":{}", self.slot.as_deref().unwrap_or_default())?;
        }
        if let Some(subslot) = &self.subslot {
            write!(f, "/{subslot}")?;
        }
        f.write_str(match self.slot_operator {
            None => "",
            Some(SlotOperator::Equal) => "=",
            Some(SlotOperator::Star) => "*",
        })?;
        if let Some(repo) = &self.repo {
            write!(f, "::{repo}")?;
        }
        for (index, dep) in self.use_deps.iter().enumerate() {
            write!(f, "{}{dep}", if index == 0 { "[" } else { "," })?;
        }
        f.write_str(if self.use_deps.is_empty() { "" } else { "]" })
    }
}

impl FromStr for Atom {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Atom::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::useflags::UseDepKind;

    #[test]
    fn every_part_is_found_and_printed_back() {
        let text = "!!>=dev-lang/python-3.11.4_p1-r2:3.11/4=::gentoo[ssl,-test(+),xml(-)?,!tk?,sqlite=,!gdbm(+)=]";
        let atom = Atom::parse(text).unwrap();
        assert_eq!(atom.to_string(), text);
        assert_eq!((atom.blocker, atom.cp().as_str()), (Some(Blocker::Strong), "dev-lang/python"));
        assert_eq!(atom.version, Some((Operator::GreaterEqual, Version::parse("3.11.4_p1-r2").unwrap())));
        assert_eq!(
            (atom.slot.as_deref(), atom.subslot.as_deref(), atom.slot_operator),
            (Some("3.11"), Some("4"), Some(SlotOperator::Equal))
        );
        assert_eq!(atom.repo.as_deref(), Some("gentoo"));
        let kinds: Vec<_> = atom.use_deps.iter().map(|dep| (dep.flag.as_str(), dep.kind, dep.default)).collect();
        assert_eq!(
            kinds,
            [
                ("ssl", UseDepKind::Enabled, None),
                ("test", UseDepKind::Disabled, Some(true)),
                ("xml", UseDepKind::EnabledIf, Some(false)),
                ("tk", UseDepKind::DisabledIf, None),
                ("sqlite", UseDepKind::Same, None),
                ("gdbm", UseDepKind::Opposite, Some(true)),
            ]
        );
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, reason) in [
            ("bash", "category/package"),
            ("app-shells/bash-5", "put “=” before it"),
            (">=app-shells/bash", "no version"),
            ("~a/b-1-r1", "every revision"),
            ("a/b:", "not a slot"),
            ("a/b:0/", "not a slot"),
            ("a/b:0*", "not a slot"),
            ("a/b[x", "do not end"),
            ("a/b[]", "not a USE flag"),
            ("a/b[-x?]", "not a form"),
            ("a/b[x(+),y,x(-)]", "two different defaults"),
            ("a/b::", "not a repository"),
            ("a b/c", "not a category"),
        ] {
            let error = Atom::parse(text).unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn conditional_use_dependencies_follow_the_parent() {
        let atom = Atom::parse("a/b[w?,!x?,y=,!z=,v]").unwrap();
        assert_eq!(atom.evaluate(&|_| true).to_string(), "a/b[w,y,-z,v]");
        assert_eq!(atom.evaluate(&|_| false).to_string(), "a/b[-x,-y,z,v]");
        assert_eq!(Atom::parse("a/b[w?]").unwrap().evaluate(&|_| false).to_string(), "a/b");
    }

    #[test]
    fn an_eapi_allows_what_it_has() {
        use crate::Eapi;
        for (text, since) in
            [("a/b", 0), ("a/b:1", 1), ("a/b[x]", 2), ("!!a/b", 2), ("a/b[x(+)]", 4), ("a/b:=", 5), ("a/b:0/1", 5)]
        {
            for eapi in 0..=9 {
                let allowed = Eapi::parse(&eapi.to_string()).unwrap().check_atom(&Atom::parse(text).unwrap()).is_ok();
                assert_eq!(allowed, eapi >= since, "{text} in EAPI {eapi}");
            }
        }
        assert!(Eapi::LATEST.check_atom(&Atom::parse("a/b::c").unwrap()).is_err());
        assert!(Eapi::parse("10").is_err());
    }
}
