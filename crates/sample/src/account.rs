//! Packages of the categories `acct-user` and `acct-group`: what they install and the phase that makes the account.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::recipe::{Recipe, TextFile};

/// An account as a recipe describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub kind: Kind,
    pub name: String,
    /// The number it gets unless that is taken.
    pub id: u32,
    #[serde(default)]
    pub home: Option<String>,
    #[serde(default)]
    pub home_mode: Option<u32>,
    #[serde(default)]
    pub shell: Option<String>,
    #[serde(default)]
    pub comment: Option<String>,
    /// Groups besides the one of the same name.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// What kind of account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    User,
    Group,
}

const GROUP_PREINST: &str = r#"
	if grep -q "^${_SAMPLE_NAME}:" "${EROOT}/etc/group"; then
		elog "Group ${_SAMPLE_NAME} already exists"
		return 0
	fi
	local opts=( --system )
	if ! grep -q "^[^:]*:[^:]*:${_SAMPLE_ID}:" "${EROOT}/etc/group"; then
		opts+=( --gid "${_SAMPLE_ID}" )
	fi
	if [[ -n ${ROOT} ]]; then
		opts+=( --prefix "${ROOT}" )
	fi
	elog "Adding group ${_SAMPLE_NAME}"
	groupadd "${opts[@]}" "${_SAMPLE_NAME}" || die "groupadd failed with status $?"
"#;

const USER_PREINST: &str = r#"
	if grep -q "^${_SAMPLE_NAME}:" "${EROOT}/etc/passwd"; then
		elog "User ${_SAMPLE_NAME} already exists"
	else
		local opts=(
			--system --no-create-home --no-user-group
			--comment "${_SAMPLE_COMMENT}" --home-dir "${_SAMPLE_HOME}" --shell "${_SAMPLE_SHELL}"
			--gid "${_SAMPLE_NAME}"
		)
		if [[ -n ${_SAMPLE_GROUPS} ]]; then
			opts+=( --groups "${_SAMPLE_GROUPS// /,}" )
		fi
		if ! grep -q "^[^:]*:[^:]*:${_SAMPLE_ID}:" "${EROOT}/etc/passwd"; then
			opts+=( --uid "${_SAMPLE_ID}" )
		fi
		if [[ -n ${ROOT} ]]; then
			opts+=( --prefix "${ROOT}" )
		fi
		elog "Adding user ${_SAMPLE_NAME}"
		useradd "${opts[@]}" "${_SAMPLE_NAME}" || die "useradd failed with status $?"
	fi
	if [[ -n ${_SAMPLE_HOME_MODE} ]]; then
		local owner=${_SAMPLE_NAME}:${_SAMPLE_NAME}
		if [[ -n ${ROOT} ]]; then
			owner=$(grep "^${_SAMPLE_NAME}:" "${EROOT}/etc/passwd" | cut -d: -f3,4) || die "the user was not made"
		fi
		fowners "${owner}" "${_SAMPLE_HOME}"
		fperms "${_SAMPLE_HOME_MODE}" "${_SAMPLE_HOME}"
	fi
"#;

impl Account {
    /// Puts into the recipe what the account means: the file for systemd-sysusers, the home, the phase and its variables.
    pub fn apply(&self, recipe: &mut Recipe) {
        let file = format!("usr/lib/sysusers.d/{}-{}.conf", recipe.category(), recipe.package());
        recipe.files.insert(file, TextFile { text: self.sysusers(), mode: 0o644 });
        let (phase, depends) = match self.kind {
            Kind::Group => (GROUP_PREINST, Vec::new()),
            Kind::User => (USER_PREINST, self.group_atoms()),
        };
        recipe.functions.insert("pkg_preinst".to_owned(), phase.to_owned());
        recipe.idepend = format!("{} sys-apps/shadow", recipe.idepend).trim().to_owned();
        recipe.rdepend = format!("{} {} sys-apps/baselayout", recipe.rdepend, depends.join(" ")).trim().to_owned();
        if let (Some(home), Some(mode)) = (&self.home, self.home_mode) {
            recipe.dirs.insert(home.trim_start_matches('/').to_owned(), mode);
        }
    }

    /// The variables that the phase reads.
    pub fn variables(&self) -> BTreeMap<&'static str, String> {
        let mut variables = BTreeMap::from([("_SAMPLE_NAME", self.name.clone()), ("_SAMPLE_ID", self.id.to_string())]);
        if self.kind == Kind::User {
            variables.insert("_SAMPLE_COMMENT", self.comment().to_owned());
            variables.insert("_SAMPLE_HOME", self.home().to_owned());
            variables.insert("_SAMPLE_SHELL", self.shell().to_owned());
            variables.insert("_SAMPLE_GROUPS", self.groups.join(" "));
            variables.insert("_SAMPLE_HOME_MODE", self.home_mode.map(|mode| format!("{mode:04o}")).unwrap_or_default());
        }
        variables
    }

    /// Groups of baselayout's own need no package.
    fn group_atoms(&self) -> Vec<String> {
        const BASE: &[&str] = &["users", "audio", "video", "cdrom", "usb", "tty", "wheel"];
        let others = self.groups.iter().filter(|g| !BASE.contains(&g.as_str()));
        std::iter::once(&self.name).chain(others).map(|group| format!("acct-group/{group}")).collect()
    }

    /// The account in the words of sysusers.d(5).
    fn sysusers(&self) -> String {
        match self.kind {
            Kind::Group => format!("g {} {}\n", self.name, self.id),
            Kind::User => {
                let (name, id) = (&self.name, self.id);
                let mut text = format!("u {name} {id}:{name} \"{}\" {} {}\n", self.comment(), self.home(), self.shell());
                for group in &self.groups {
                    text.push_str(&format!("m {name} {group}\n"));
                }
                text
            }
        }
    }

    fn home(&self) -> &str {
        self.home.as_deref().unwrap_or("/dev/null")
    }

    fn shell(&self) -> &str {
        self.shell.as_deref().unwrap_or("/sbin/nologin")
    }

    fn comment(&self) -> &str {
        self.comment.as_deref().unwrap_or("added by portage")
    }
}
