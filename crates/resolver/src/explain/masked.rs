//! What would fit is there, but may not be chosen.

use gentoo::Atom;

use super::words::{either, list, sentence};
use super::{AFTER_BOOT, Explainer, NAMED, Trouble, TroubleKind, trouble};
use crate::mask::{Mask, accepted_chosts};
use crate::universe::PkgId;

impl Explainer<'_> {
    /// Everything that fits is masked: tells why, for the best of each kind of mask.
    pub(super) fn all_masked(&self, atom: &Atom, found: &[PkgId]) -> Trouble {
        let mut told: Vec<Trouble> = Vec::new();
        for pkg in found {
            if let Some(mask) = &self.u.pkg(*pkg).mask {
                let next = self.masked(atom, *pkg, mask);
                if told.len() < NAMED && !told.iter().any(|t| t.kind == next.kind) {
                    told.push(next);
                }
            }
        }
        let mut told = told.into_iter();
        let Some(mut first) = told.next() else { return self.unusable(atom, found) };
        for next in told {
            first.message = format!("{} {}", first.message, next.message);
            if !first.advice.contains(&next.advice) {
                first.advice = format!("{} {}", first.advice, next.advice);
            }
        }
        first
    }

    pub(super) fn masked(&self, atom: &Atom, best: PkgId, mask: &Mask) -> Trouble {
        let (cpv, subject) = (&self.u.entry(best).cpv, atom.to_string());
        let others = self.instead(atom, best);
        match mask {
            Mask::Keywords(keywords) => trouble(
                TroubleKind::Keywords,
                subject,
                format!(
                    "{cpv} is not marked as working on {} (KEYWORDS: {}), and this channel takes {}.",
                    self.u.source.arch,
                    if keywords.is_empty() { "none" } else { keywords },
                    list(&self.u.source.profile.accept_keywords.words().map(str::to_owned).collect::<Vec<_>>())
                ),
                self.keywords_advice(atom, keywords, &others),
            ),
            Mask::License(licenses) => trouble(
                TroubleKind::License,
                subject,
                format!(
                    "The licence of {cpv} does not allow Hatchery to pass it on: ACCEPT_LICENSE ({}) does not have {}.",
                    self.u.source.profile.accept_license.text(),
                    list(licenses)
                ),
                format!("{others}{AFTER_BOOT}"),
            ),
            Mask::Profile { atom: by, reason } => trouble(
                TroubleKind::Masked,
                subject,
                match reason.is_empty() {
                    true => format!("{cpv} is masked in the profile by “{by}”."),
                    false => format!("{cpv} is masked in the profile by “{by}”: {}", sentence(reason)),
                },
                format!("{others}Choose a package in its place, or a channel with another profile."),
            ),
            Mask::Bindist => trouble(
                TroubleKind::Bindist,
                subject,
                format!("{cpv} may not be passed on as a binary (RESTRICT=bindist)."),
                format!("{others}{AFTER_BOOT}"),
            ),
            Mask::Chost(chost) => trouble(
                TroubleKind::Chost,
                subject,
                format!(
                    "{cpv} was built for {chost}, and this channel is for {}: its programs would not run together with the others.",
                    list(&accepted_chosts(&self.u.source))
                ),
                match others.is_empty() {
                    true => format!("Choose the channel for {chost}."),
                    false => format!("{others}Or choose the channel for {chost}."),
                },
            ),
            Mask::Eapi(eapi) => trouble(
                TroubleKind::Eapi,
                subject,
                format!("{cpv} uses EAPI {}, which this version of Hatchery does not know.", eapi.escape_debug()),
                format!("{others}Hatchery must be updated to use it."),
            ),
            Mask::Gone => trouble(
                TroubleKind::Gone,
                subject,
                format!("The binhost lists {}, but its file is not there.", self.build_text(best)),
                format!("{others}The mirror is probably being updated: try again later, or choose another mirror."),
            ),
        }
    }

    /// Testing packages are for channels that take them. What no keyword is for at all (live ebuilds, mostly), or only those of other
    /// machines, a channel takes by name alone.
    fn keywords_advice(&self, atom: &Atom, keywords: &str, others: &str) -> String {
        let arch = &self.u.source.arch;
        let is_testing = keywords.split_ascii_whitespace().any(|k| k.strip_prefix('~') == Some(arch.as_str()));
        match (is_testing, others.is_empty()) {
            (true, true) => "Choose a channel that takes testing packages.".to_owned(),
            (true, false) => format!("{others}Or choose a channel that takes testing packages."),
            (false, _) => {
                format!("{others}Only a channel that names it in package.accept_keywords ({} **) has it.", atom.cp())
            }
        }
    }

    /// Nothing is masked, yet nothing could be chosen: an entry cannot be read, or other packages rule it out.
    pub(super) fn unusable(&self, atom: &Atom, found: &[PkgId]) -> Trouble {
        let broken = found.iter().find_map(|p| self.u.deps(*p).broken.as_ref().map(|e| (*p, e)));
        match broken {
            Some((pkg, error)) => trouble(
                TroubleKind::Damaged,
                atom.to_string(),
                format!("The entry of {} in the binhost's index cannot be used: {error}.", self.u.entry(pkg).cpv),
                "Tell the operator of the binhost.",
            ),
            None => trouble(
                TroubleKind::SlotConflict,
                atom.to_string(),
                format!("{} is there, but what else was asked for leaves no build of it that fits.", atom.cp()),
                "Ask for fewer packages at once to see which one it is.",
            ),
        }
    }

    /// Usable packages of the same name, as advice.
    pub(super) fn instead(&self, atom: &Atom, not: PkgId) -> String {
        let name = &self.u.names[self.u.pkg(not).cp as usize];
        let usable: Vec<PkgId> = self.keep(&name.available, |p| self.u.pkg(p).mask.is_none());
        let versions = self.versions(&usable);
        if versions.is_empty() { String::new() } else { format!("{} can be had in version {}. ", atom.cp(), either(&versions)) }
    }
}
