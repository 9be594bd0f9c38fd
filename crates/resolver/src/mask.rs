//! Why a package of an index may not be chosen: keywords, licence, package.mask, another CHOST, an unknown EAPI, RESTRICT=bindist, or a
//! file the mirror no longer has.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use gentoo::index::{Entry, Packages};
use gentoo::license::License;
use gentoo::{Eapi, Text};

use crate::Source;

/// One reason not to choose a package; where several apply, the one hardest to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// The index lists a file the mirror answered it does not have.
    Gone,
    /// Built for another machine; its CHOST.
    Chost(Text),
    /// An EAPI newer than PMS's known ones.
    Eapi(Text),
    /// RESTRICT=bindist: its binary must not be passed on.
    Bindist,
    /// Licences that are not accepted.
    License(Vec<String>),
    /// The entry of package.mask that hits it, and the reason its comment gives.
    Profile { atom: String, reason: String },
    /// Its KEYWORDS.
    Keywords(Text),
}

/// The policy of a source, ready to be applied to many packages.
pub(crate) struct Masks<'a> {
    source: &'a Source,
    chosts: Vec<String>,
    gone: HashSet<(&'a str, &'a str)>,
    keywords: RefCell<HashMap<&'a str, bool>>,
    licenses: RefCell<HashMap<&'a str, Vec<String>>>,
}

impl<'a> Masks<'a> {
    pub fn new(source: &'a Source) -> Masks<'a> {
        let gone = source.gone.iter().map(|(binhost, path)| (binhost.as_str(), path.as_str())).collect();
        Masks { source, gone, chosts: accepted_chosts(source), keywords: RefCell::default(), licenses: RefCell::default() }
    }

    /// The reason not to choose the entry, if there is one.
    pub fn of(&self, entry: &'a Entry, binhost: &'a str) -> Option<Mask> {
        if self.gone.contains(&(binhost, entry.path.as_str())) {
            return Some(Mask::Gone);
        }
        if !entry.chost.is_empty() && !self.chosts.is_empty() && !self.chosts.iter().any(|c| entry.chost == *c) {
            return Some(Mask::Chost(entry.chost.clone()));
        }
        if Eapi::parse(&entry.eapi).is_err() {
            return Some(Mask::Eapi(entry.eapi.clone()));
        }
        if self.source.published && entry.restrict.split_ascii_whitespace().any(|word| word == "bindist") {
            return Some(Mask::Bindist);
        }
        if let Some(mask) = self.source.profile.masks.find(entry.package()) {
            return Some(Mask::Profile { atom: mask.atom.to_string(), reason: mask.reason.clone() });
        }
        let unaccepted = self.unaccepted_licenses(entry);
        if !unaccepted.is_empty() {
            return Some(Mask::License(unaccepted));
        }
        if !self.accepts_keywords(entry) {
            return Some(Mask::Keywords(entry.keywords.clone()));
        }
        None
    }

    fn unaccepted_licenses(&self, entry: &'a Entry) -> Vec<String> {
        let accept = &self.source.profile.accept_license;
        let read = |text: &str| match License::parse(text) {
            Ok(license) => accept.unaccepted(&license, &|flag| entry.use_flags.iter().any(|f| f == flag)),
            Err(_) => vec![text.to_owned()],
        };
        // Indexes hold licences with conditionals resolved, so that one text has one answer.
        if entry.license.contains('?') {
            return read(&entry.license);
        }
        self.licenses.borrow_mut().entry(&entry.license).or_insert_with(|| read(&entry.license)).clone()
    }

    fn accepts_keywords(&self, entry: &'a Entry) -> bool {
        let profile = &self.source.profile;
        let keywords = entry.keywords.as_str();
        let usual = *self.keywords.borrow_mut().entry(keywords).or_insert_with(|| profile.accept_keywords.accepts(keywords));
        usual || profile.accepts_keywords(entry.package(), keywords)
    }
}

/// The CHOSTs whose packages run here: the one the source names, or else that of the first binhost that names one.
pub(crate) fn accepted_chosts(source: &Source) -> Vec<String> {
    if let Some(chost) = &source.chost {
        return vec![chost.clone()];
    }
    source.binhosts.iter().find_map(|b| chost_of(&b.index)).into_iter().collect()
}

/// The CHOST an index says its packages were built for; where it says nothing, that of its first package.
fn chost_of(index: &Packages) -> Option<String> {
    let header = index.header.get("CHOST").filter(|c| !c.is_empty()).cloned();
    header.or_else(|| index.entries.iter().map(|e| e.chost.to_string()).find(|c| !c.is_empty()))
}
