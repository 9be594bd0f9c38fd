//! USE dependencies (PMS 8.3.4), what an atom asks of the flags of the package it matches, and which flags a package has.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use crate::error::shown;
use crate::names::is_use_flag;
use crate::{ParseError, Words};

/// One USE dependency of an atom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UseDep {
    pub flag: String,
    pub kind: UseDepKind,
    /// `(+)` or `(-)`: how a package counts that does not have the flag at all.
    pub default: Option<bool>,
}

/// The six forms of PMS 8.3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UseDepKind {
    /// `[x]`
    Enabled,
    /// `[-x]`
    Disabled,
    /// `[x?]`: enabled if it is enabled in the parent.
    EnabledIf,
    /// `[!x?]`: disabled if it is disabled in the parent.
    DisabledIf,
    /// `[x=]`: as in the parent.
    Same,
    /// `[!x=]`: the opposite of the parent.
    Opposite,
}

impl UseDep {
    /// Reads one USE dependency as it stands between the brackets, like `-ssl(+)`.
    ///
    /// # Errors
    /// When the text does not follow PMS 8.3.4.
    pub fn parse(text: &str) -> Result<UseDep, ParseError> {
        UseDep::parse_inner(text).map_err(|reason| ParseError::new("USE dependency", text, reason))
    }

    pub(crate) fn parse_inner(text: &str) -> Result<UseDep, String> {
        let before = |sign| text.strip_prefix(sign).map(|rest| (Some(sign), rest));
        let (sign, rest) = before('!').or_else(|| before('-')).unwrap_or((None, text));
        let after = |sign| rest.strip_suffix(sign).map(|rest| (rest, Some(sign)));
        let (rest, ending) = after('?').or_else(|| after('=')).unwrap_or((rest, None));
        let kind = match (sign, ending) {
            (None, None) => UseDepKind::Enabled,
            (Some('-'), None) => UseDepKind::Disabled,
            (None, Some('?')) => UseDepKind::EnabledIf,
            (Some('!'), Some('?')) => UseDepKind::DisabledIf,
            (None, Some('=')) => UseDepKind::Same,
            (Some('!'), Some('=')) => UseDepKind::Opposite,
            _ => return Err(format!("“{}” is not a form of USE dependency", shown(text))),
        };
        let (flag, default) = match (rest.strip_suffix("(+)"), rest.strip_suffix("(-)")) {
            (Some(flag), _) => (flag, Some(true)),
            (_, Some(flag)) => (flag, Some(false)),
            _ => (rest, None),
        };
        if !is_use_flag(flag) {
            return Err(format!("“{}” is not a USE flag", shown(flag)));
        }
        Ok(UseDep { flag: flag.to_owned(), kind, default })
    }

    /// The dependency as it applies to a parent whose enabled flags `enabled` tells: [`UseDepKind::Enabled`], [`UseDepKind::Disabled`], or
    /// none when nothing is asked.
    pub fn evaluate(&self, enabled: &dyn Fn(&str) -> bool) -> Option<UseDep> {
        let wanted = self.wanted(enabled)?;
        let kind = if wanted { UseDepKind::Enabled } else { UseDepKind::Disabled };
        Some(UseDep { flag: self.flag.clone(), kind, default: self.default })
    }

    /// The state asked for, given the parent's flags; none when nothing is asked.
    pub fn wanted(&self, enabled: &dyn Fn(&str) -> bool) -> Option<bool> {
        match self.kind {
            UseDepKind::Enabled => Some(true),
            UseDepKind::Disabled => Some(false),
            UseDepKind::EnabledIf => enabled(&self.flag).then_some(true),
            UseDepKind::DisabledIf => (!enabled(&self.flag)).then_some(false),
            UseDepKind::Same => Some(enabled(&self.flag)),
            UseDepKind::Opposite => Some(!enabled(&self.flag)),
        }
    }

    /// Whether a package satisfies the dependency, with Portage's semantics: a flag the package does not have counts as the default says,
    /// and without a default never satisfies, not even `[-x]` or a condition that asks nothing.
    pub fn satisfied_by(&self, package: &dyn PackageUse, parent: &dyn Fn(&str) -> bool) -> bool {
        let state = match (package.has_flag(&self.flag), self.default) {
            (true, _) => package.is_enabled(&self.flag),
            (false, Some(default)) => default,
            (false, None) => return false,
        };
        self.wanted(parent).is_none_or(|wanted| wanted == state)
    }
}

/// The flags of one build of a package.
pub trait PackageUse {
    /// Whether the flag is in IUSE or implicit there.
    fn has_flag(&self, flag: &str) -> bool;
    /// Whether the package was built with the flag.
    fn is_enabled(&self, flag: &str) -> bool;
}

impl fmt::Display for UseDep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, ending) = match self.kind {
            UseDepKind::Enabled => ("", ""),
            UseDepKind::Disabled => ("-", ""),
            UseDepKind::EnabledIf => ("", "?"),
            UseDepKind::DisabledIf => ("!", "?"),
            UseDepKind::Same => ("", "="),
            UseDepKind::Opposite => ("!", "="),
        };
        let default = match self.default {
            None => "",
            Some(true) => "(+)",
            Some(false) => "(-)",
        };
        write!(f, "{sign}{}{default}{ending}", self.flag)
    }
}

/// The flags that count as members of IUSE without being named there.
///
/// From EAPI 5 on that is PMS's IUSE_EFFECTIVE (PMS 11.1.1); before, Portage takes the arches, the hidden USE_EXPAND groups and all masked or
/// forced flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImplicitIuse {
    effective: BTreeSet<String>,
    legacy: BTreeSet<String>,
    legacy_prefixes: Vec<String>,
}

impl ImplicitIuse {
    /// Computes it from profile variables; an index's header has the same ones, so that it serves where there is no profile.
    pub fn from_variables(variables: &BTreeMap<String, String>) -> ImplicitIuse {
        let words = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default().split_ascii_whitespace();
        let values = |name: &str| words(&format!("USE_EXPAND_VALUES_{name}")).map(str::to_owned).collect::<Vec<_>>();
        let implicit: BTreeSet<&str> = words("USE_EXPAND_IMPLICIT").collect();
        let mut found = ImplicitIuse::default();
        found.effective.extend(words("IUSE_IMPLICIT").map(str::to_owned));
        for name in words("USE_EXPAND_UNPREFIXED").filter(|name| implicit.contains(name)) {
            found.effective.extend(values(name));
        }
        for name in words("USE_EXPAND").filter(|name| implicit.contains(name)) {
            found.effective.extend(values(name).iter().map(|value| format!("{}_{value}", name.to_ascii_lowercase())));
        }
        found.legacy.extend(words("ARCH").chain(["build", "bootstrap"]).map(str::to_owned));
        found.legacy_prefixes.extend(words("USE_EXPAND_HIDDEN").map(|name| format!("{}_", name.to_ascii_lowercase())));
        found
    }

    /// Adds flags that count before EAPI 5: arches, and flags that are masked or forced.
    pub fn add_legacy(&mut self, flags: impl IntoIterator<Item = String>) {
        self.legacy.extend(flags);
    }

    /// Whether the flag is implicit for packages of the EAPI.
    pub fn contains(&self, eapi: &str, flag: &str) -> bool {
        match has_effective_iuse(eapi) {
            true => self.effective.contains(flag),
            false => self.legacy.contains(flag) || self.legacy_prefixes.iter().any(|prefix| flag.starts_with(prefix.as_str())),
        }
    }
}

/// Whether an EAPI has profile-defined IUSE injection (5 and later).
pub(crate) fn has_effective_iuse(eapi: &str) -> bool {
    !matches!(eapi, "0" | "1" | "2" | "3" | "4")
}

/// A flag of IUSE without its `+` or `-` default.
pub fn bare_flag(flag: &str) -> &str {
    flag.strip_prefix(['+', '-']).unwrap_or(flag)
}

/// The flags of a built package: its recorded IUSE and USE, and what is implicit. As in Portage, from EAPI 5 on a flag it was built with
/// counts as one it has, even if the profile has changed since.
#[derive(Clone, Copy, Debug)]
pub struct BuiltUse<'a> {
    pub eapi: &'a str,
    /// With or without the `+` and `-` defaults.
    pub iuse: &'a Words,
    pub enabled: &'a Words,
    pub implicit: &'a ImplicitIuse,
}

impl PackageUse for BuiltUse<'_> {
    fn has_flag(&self, flag: &str) -> bool {
        self.iuse.iter().any(|f| bare_flag(f) == flag)
            || self.implicit.contains(self.eapi, flag)
            || (has_effective_iuse(self.eapi) && self.enabled.contains(flag))
    }

    fn is_enabled(&self, flag: &str) -> bool {
        self.enabled.contains(flag) && self.has_flag(flag)
    }
}

impl<'a> BuiltUse<'a> {
    /// The same flags, for asking about many: each question is a look-up instead of a walk over all flags.
    pub fn indexed(self) -> IndexedUse<'a> {
        let iuse = self.iuse.iter().map(bare_flag).collect();
        IndexedUse { built: self, iuse, enabled: self.enabled.iter().collect() }
    }
}

/// A [`BuiltUse`] whose flags are found by their hash.
#[derive(Clone, Debug)]
pub struct IndexedUse<'a> {
    built: BuiltUse<'a>,
    iuse: HashSet<&'a str>,
    enabled: HashSet<&'a str>,
}

impl PackageUse for IndexedUse<'_> {
    fn has_flag(&self, flag: &str) -> bool {
        self.iuse.contains(flag)
            || self.built.implicit.contains(self.built.eapi, flag)
            || (has_effective_iuse(self.built.eapi) && self.enabled.contains(flag))
    }

    fn is_enabled(&self, flag: &str) -> bool {
        self.enabled.contains(flag) && self.has_flag(flag)
    }
}
