//! Accounts of acct-user and acct-group packages, made by ourselves as long as the target's tools cannot run.

use super::accounts::{self, Existing, Line, Names};
use super::{Merger, Package};
use crate::ComposeError;

impl Merger<'_> {
    /// Makes the accounts of an acct-user or acct-group package by ourselves, as long as the target's tools cannot. Tells whether it did.
    pub(super) fn make_accounts(&mut self, package: &mut Package) -> Result<bool, ComposeError> {
        if !matches!(package.cpv.category.as_str(), "acct-user" | "acct-group") {
            return Ok(false);
        }
        let files =
            package.image.tree.children("usr/lib/sysusers.d").into_iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>();
        let mut lines = Vec::new();
        for name in files.iter().filter(|name| name.ends_with(b".conf")) {
            let path = [b"usr/lib/sysusers.d/", name.as_slice()].concat();
            let text = package.image.tree.read_file(self.request.store, path)?.unwrap_or_default();
            lines.extend(accounts::parse_sysusers(&String::from_utf8_lossy(&text))?);
        }
        if lines.is_empty() {
            return Ok(false);
        }
        let day = u64::try_from(package.time).unwrap_or(0) / 86_400;
        let no_modify = package.scripts.variable("ACCT_USER_NO_MODIFY").is_some_and(|text| !text.is_empty());
        let existing = match package.scripts.has_function("acct-user_pkg_postinst") && !no_modify {
            true => Existing::Updated,
            false => Existing::Kept,
        };
        accounts::create(&mut self.tree, self.request.store, &lines, existing, day)?;
        let names = Names::of(&self.tree, self.request.store)?;
        for line in &lines {
            give_home(package, line, &names);
        }
        self.observer.log(&format!("{}: made its accounts", package.cpv));
        Ok(true)
    }
}

/// acct-user_pkg_preinst gives the home directory to its user.
fn give_home(package: &mut Package, line: &Line, names: &Names) {
    let Line::User { name, uid, group, home, .. } = line else { return };
    if home == "/dev/null" || home == "/" {
        return;
    }
    let owner = package.scripts.variable("_ACCT_USER_HOME_OWNER").filter(|owner| !owner.is_empty());
    let (user, group) = match owner.as_deref().and_then(|owner| owner.split_once(':')) {
        Some((user, group)) => (user, group),
        None => (name.as_str(), group.as_deref().unwrap_or(name)),
    };
    let (uid, gid) = (names.uid(Some(user), uid.unwrap_or(0)), names.gid(Some(group), group.parse().unwrap_or(0)));
    let mode = package.scripts.variable("_ACCT_USER_HOME_PERMS").and_then(|mode| u32::from_str_radix(&mode, 8).ok());
    if let Some(entry) = package.image.tree.get_mut(home) {
        (entry.uid, entry.gid) = (uid, gid);
        entry.mode = mode.unwrap_or(entry.mode) & 0o7777;
    }
}
