//! What each EAPI allows in dependency strings (PMS appendix "Feature Availability by EAPI").

use crate::atom::Blocker;
use crate::{Atom, ParseError};

/// An EAPI of PMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Eapi(u8);

impl Eapi {
    /// The newest one known.
    pub const LATEST: Eapi = Eapi(9);

    /// Reads an EAPI, `0` to `9`.
    ///
    /// # Errors
    /// When it is none of these: such a package needs a newer Hatchery.
    pub fn parse(text: &str) -> Result<Eapi, ParseError> {
        match text.as_bytes() {
            [digit @ b'0'..=b'9'] => Ok(Eapi(digit - b'0')),
            _ => Err(ParseError::new("EAPI", text, "known ones are 0 to 9")),
        }
    }

    /// Whether BDEPEND counts (7 and later).
    pub fn has_bdepend(self) -> bool {
        self.0 >= 7
    }

    /// Whether IDEPEND counts (8 and later).
    pub fn has_idepend(self) -> bool {
        self.0 >= 8
    }

    /// Whether `?? ( )` is allowed (5 and later).
    pub fn has_at_most_one(self) -> bool {
        self.0 >= 5
    }

    /// Whether an empty `|| ( )` or `^^ ( )` counts as satisfied (0 to 6).
    pub fn empty_groups_are_true(self) -> bool {
        self.0 <= 6
    }

    /// Tells whether this EAPI allows the atom's form. `::repo` never is; Portage accepts it from users only.
    ///
    /// # Errors
    /// Naming the part that needs a later EAPI.
    pub fn check_atom(self, atom: &Atom) -> Result<(), ParseError> {
        let needs = [
            (1, atom.slot.is_some(), "slots"),
            (2, !atom.use_deps.is_empty(), "USE dependencies"),
            (2, atom.blocker == Some(Blocker::Strong), "strong blockers"),
            (4, atom.use_deps.iter().any(|dep| dep.default.is_some()), "defaults of USE dependencies"),
            (5, atom.slot_operator.is_some() || atom.subslot.is_some(), "slot operators and sub-slots"),
        ];
        if let Some((since, _, what)) = needs.iter().find(|(since, used, _)| *used && self.0 < *since) {
            return Err(ParseError::new(
                "package atom",
                &atom.to_string(),
                format!("{what} need EAPI {since}, this is EAPI {}", self.0),
            ));
        }
        if atom.repo.is_some() {
            return Err(ParseError::new("package atom", &atom.to_string(), "no EAPI allows “::repository”"));
        }
        Ok(())
    }
}
