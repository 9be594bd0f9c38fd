//! What Portage must be told to see the packages of a plan as they are: what profile and make.conf alone would decide otherwise.

use std::collections::{BTreeMap, BTreeSet};

use contract::{PackageSettings, PortageSettings};
use gentoo::index::Entry;
use gentoo::keywords::AcceptKeywords;
use gentoo::license::License;

use crate::universe::{PkgId, Universe};

impl Universe {
    /// The settings for the packages of a plan, merged over the installed base.
    pub(crate) fn portage_settings(&self, planned: &[PkgId]) -> PortageSettings {
        let profile = &self.source.profile;
        PortageSettings {
            accept_keywords: self.own_keywords(),
            accept_license: profile.accept_license.text().to_owned(),
            packages: (!profile.nodes.is_empty()).then(|| self.package_settings(planned)),
        }
    }

    /// ACCEPT_KEYWORDS where an operator chose another than the profile's.
    fn own_keywords(&self) -> Option<String> {
        let profile = &self.source.profile;
        let of_profile = AcceptKeywords::parse(profile.variables.get("ACCEPT_KEYWORDS").unwrap_or(&profile.arch));
        let accepted: BTreeSet<&str> = profile.accept_keywords.words().collect();
        if accepted == of_profile.words().collect() {
            return None;
        }
        // The variable adds to the profile's, unless that is taken back first.
        let adds_only = of_profile.words().all(|word| accepted.contains(word));
        let words: Vec<&str> = if adds_only { Vec::new() } else { vec!["-*"] }.into_iter().chain(accepted).collect();
        Some(words.join(" "))
    }

    fn package_settings(&self, planned: &[PkgId]) -> PackageSettings {
        let mut settings = PackageSettings::default();
        for entry in self.in_the_end(planned) {
            self.add_flags(entry, &mut settings);
            self.add_acceptance(entry, &mut settings);
        }
        settings
    }

    /// The packages there are once the plan is merged, by name and slot.
    fn in_the_end(&self, planned: &[PkgId]) -> impl Iterator<Item = &Entry> {
        let key = |entry: &Entry| (entry.cpv.cp(), entry.slot.to_string());
        let installed = self.source.installed.iter().flat_map(|installed| &installed.entries);
        let all: BTreeMap<_, _> =
            installed.chain(planned.iter().map(|id| self.entry(*id))).map(|entry| (key(entry), entry)).collect();
        all.into_values()
    }

    /// The flags that Portage would choose otherwise, and those among them that the profile leaves no choice about.
    fn add_flags(&self, entry: &Entry, settings: &mut PackageSettings) {
        let profile = &self.source.profile;
        let stable = profile.is_stable(entry.package(), &entry.keywords);
        let by_profile = profile.use_for(entry);
        let built: BTreeSet<&str> = entry.use_flags.iter().collect();
        let differing: BTreeSet<&str> =
            entry.iuse_names().filter(|flag| built.contains(flag) != by_profile.contains(*flag)).collect();
        if differing.is_empty() {
            return;
        }
        let (forced, masked) = (profile.use_force_for(entry.package(), stable), profile.use_mask_for(entry.package(), stable));
        let with = |flag: &str| if built.contains(flag) { flag.to_owned() } else { format!("-{flag}") };
        settings.use_flags.extend(line(entry, differing.iter().map(|flag| with(flag))));
        let taken_back = |set: &BTreeSet<String>, on: bool| -> Vec<String> {
            let those = differing.iter().filter(|flag| set.contains(**flag) && built.contains(**flag) == on);
            those.map(|flag| format!("-{flag}")).collect()
        };
        settings.use_force.extend(line(entry, taken_back(&forced, false)));
        settings.use_mask.extend(line(entry, taken_back(&masked, true)));
    }

    /// What is planned is accepted; what a base brought need not be.
    fn add_acceptance(&self, entry: &Entry, settings: &mut PackageSettings) {
        let profile = &self.source.profile;
        if !profile.accepts_keywords(entry.package(), &entry.keywords) {
            let testing = format!("~{}", profile.arch);
            let has = |wanted: &str| entry.keywords.split_ascii_whitespace().any(|word| word == wanted);
            let word = [profile.arch.as_str(), testing.as_str()].into_iter().find(|word| has(word)).unwrap_or("**");
            settings.accept_keywords.push(format!("={} {word}", entry.cpv));
        }
        // A text that is no licence expression can be accepted by no setting.
        let Ok(license) = License::parse(&entry.license) else { return };
        let unaccepted = profile.accept_license.unaccepted(&license, &|flag| entry.use_flags.iter().any(|on| on == flag));
        settings.license.extend(line(entry, unaccepted));
    }
}

/// A line for all versions of a package in its slot; none without words.
fn line(entry: &Entry, words: impl IntoIterator<Item = String>) -> Option<String> {
    let words: Vec<String> = words.into_iter().collect();
    (!words.is_empty()).then(|| format!("{}:{} {}", entry.cpv.cp(), entry.slot, words.join(" ")))
}
