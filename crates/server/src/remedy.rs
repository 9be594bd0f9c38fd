//! What somebody whose build failed can try, by where and in what it failed.

use contract::{Failure, Step};

/// Something to try, the most promising first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It may have been a passing trouble of a mirror, a worker or the storage.
    BuildAgain,
    /// The order names the package itself (as it was typed), so it can go without.
    LeaveOut(String),
    /// Another package needs it: which one is on the page of the packages.
    SeeWhoNeedsIt,
    ChangeSettings,
    /// What the order leaves out of packages took away what the build needs.
    ChangeMask,
    OtherFormats,
    /// Nothing that the user can do helps.
    Report,
}

/// What to try after a failure. `named` is the word of the order that means the package at fault, where there is one.
pub fn remedies(failure: &Failure, named: Option<&str>) -> Vec<Remedy> {
    let without = match (&failure.package, named) {
        (Some(_), Some(word)) => Some(Remedy::LeaveOut(word.to_owned())),
        (Some(_), None) => Some(Remedy::SeeWhoNeedsIt),
        (None, _) => None,
    };
    if failure.setting.as_deref() == Some("install_mask") {
        return vec![Remedy::ChangeMask, Remedy::Report];
    }
    let others = match failure.step {
        Step::Fetch | Step::Upload => vec![Remedy::BuildAgain],
        Step::Merge if without.is_some() => Vec::new(),
        Step::Merge => vec![Remedy::BuildAgain],
        Step::Configure => vec![Remedy::ChangeSettings],
        Step::Write => vec![Remedy::OtherFormats, Remedy::BuildAgain],
    };
    let passing = matches!(failure.step, Step::Fetch);
    let (first, second) = if passing { (others, without.into_iter().collect()) } else { (without.into_iter().collect(), others) };
    first.into_iter().chain(second).chain([Remedy::Report]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_try_depends_on_where_it_failed() {
        let failed =
            |step, package: Option<&str>| Failure { package: package.map(str::to_owned), ..Failure::new(step, "no", "none") };
        let masked = Failure { setting: Some("install_mask".into()), ..failed(Step::Merge, None) };
        assert_eq!(remedies(&masked, None), [Remedy::ChangeMask, Remedy::Report]);
        assert_eq!(remedies(&failed(Step::Merge, None), None), [Remedy::BuildAgain, Remedy::Report]);
        let vim = Some("app-editors/vim-9");
        assert_eq!(remedies(&failed(Step::Fetch, vim), None), [Remedy::BuildAgain, Remedy::SeeWhoNeedsIt, Remedy::Report]);
        assert_eq!(remedies(&failed(Step::Merge, vim), Some("vim")), [Remedy::LeaveOut("vim".into()), Remedy::Report]);
        assert_eq!(remedies(&failed(Step::Configure, None), None), [Remedy::ChangeSettings, Remedy::Report]);
        assert_eq!(remedies(&failed(Step::Write, None), None), [Remedy::OtherFormats, Remedy::BuildAgain, Remedy::Report]);
    }
}
