//! Accounts: who may log in and by which way, and what an account lets its user do. Nobody needs one.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{Config, ConfigError};
use crate::db::{AccountRow, Role};

/// How users log in; without it there are no accounts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountsConfig {
    /// By a link that is sent by mail. None means where the site sends mail.
    #[serde(default)]
    pub mail: Option<bool>,
    /// Mail addresses whose readers are operators.
    #[serde(default)]
    pub operators: Vec<String>,
    /// By an OpenID Connect provider.
    #[serde(default)]
    pub oidc: Option<OidcConfig>,
}

/// An OpenID Connect provider (OpenID Connect Core 1.0).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// What users know it as, like `Example University`.
    pub name: String,
    /// Its issuer identifier, to the last character; what it can do is read from `/.well-known/openid-configuration` below it.
    pub issuer: String,
    /// What this site is called there.
    pub client_id: String,
    /// A file holding the client's secret alone; none means a public client.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// The scopes that are asked for, `openid` among them.
    #[serde(default = "default_scope")]
    pub scope: String,
    /// Whom the provider knows counts as invited.
    #[serde(default)]
    pub invited: bool,
    /// The provider's names (`sub`) of users who are operators.
    #[serde(default)]
    pub operator_subjects: Vec<String>,
    /// A claim that makes a user an operator.
    #[serde(default)]
    pub operator_claim: Option<OperatorClaim>,
}

/// A claim that makes a user an operator: it is this text, or a list with it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorClaim {
    pub name: String,
    pub value: String,
}

fn default_scope() -> String {
    "openid email profile".to_owned()
}

/// A mail address as accounts and invitations know it.
pub fn canonical(email: &str) -> String {
    email.trim().to_lowercase()
}

impl AccountsConfig {
    pub(crate) fn check(&self, sends_mail: bool) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(ConfigError::Invalid(format!("[accounts] {text}")));
        if self.mail == Some(true) && !sends_mail {
            return invalid("mail is set, but there is no [mail] to send links with".into());
        }
        if self.oidc.is_none() && (self.mail == Some(false) || !sends_mail) {
            return invalid("nobody could log in: set up [mail], or [accounts.oidc]".into());
        }
        if let Some(bad) = self.operators.iter().find(|email| contract::check_email(email).is_err()) {
            return invalid(format!("operators: “{}” is not a mail address", bad.escape_debug()));
        }
        let Some(oidc) = &self.oidc else { return Ok(()) };
        let of_this_machine = ["http://127.0.0.1:", "http://localhost:"].iter().any(|start| oidc.issuer.starts_with(start));
        if !oidc.issuer.starts_with("https://") && !of_this_machine {
            return invalid(format!("oidc.issuer “{}” must begin with https://", oidc.issuer.escape_debug()));
        }
        if !oidc.scope.split(' ').any(|scope| scope == "openid") {
            return invalid("oidc.scope must have openid in it".into());
        }
        Ok(())
    }
}

impl Config {
    /// Whether users log in by a link that is mailed to them.
    pub(crate) fn log_in_by_mail(&self) -> bool {
        self.mail.is_some() && self.accounts.as_ref().is_some_and(|accounts| accounts.mail != Some(false))
    }

    /// The provider that users log in by.
    pub(crate) fn oidc(&self) -> Option<&OidcConfig> {
        self.accounts.as_ref()?.oidc.as_ref()
    }
}

/// Whether the provider that vouched for an account is the one that is asked today.
fn is_vouched_for(config: &Config, account: &AccountRow) -> bool {
    config.oidc().is_some_and(|oidc| account.issuer.as_deref() == Some(&oidc.issuer))
}

/// Whether the configuration names an address (as [`canonical`] has it) as an operator's.
pub fn is_named(config: &Config, email: &str) -> bool {
    config.accounts.iter().flat_map(|accounts| &accounts.operators).any(|operator| canonical(operator) == email)
}

/// What an account lets its user do.
pub fn role(config: &Config, account: &AccountRow) -> Role {
    let by_email = account.email.as_ref().is_some_and(|email| is_named(config, email));
    let by_claim = account.claimed == Role::Operator && is_vouched_for(config, account);
    if by_email || by_claim || account.invited == Some(Role::Operator) { Role::Operator } else { Role::User }
}

/// Whether an account's user may order while only invited users may.
pub fn is_invited(config: &Config, account: &AccountRow) -> bool {
    account.invited.is_some()
        || role(config, account) == Role::Operator
        || (is_vouched_for(config, account) && config.oidc().is_some_and(|oidc| oidc.invited))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(tables: &str) -> Result<Config, ConfigError> {
        Config::from_toml(tables)
    }

    const MAIL: &str = "[mail]\nhost = 'localhost'\nfrom = 'h@example.org'\n";

    #[test]
    fn accounts_that_nobody_could_have_are_refused() {
        config(&format!("{MAIL}[accounts]\n")).unwrap();
        for bad in [
            "[accounts]\n".to_owned(),
            "[accounts]\nmail = true\n".to_owned(),
            format!("{MAIL}[accounts]\nmail = false\n"),
            format!("{MAIL}[accounts]\noperators = ['olga']\n"),
            "[accounts.oidc]\nname = 'P'\nissuer = 'http://example.org'\nclient_id = 'h'\n".to_owned(),
            "[accounts.oidc]\nname = 'P'\nissuer = 'https://example.org'\nclient_id = 'h'\nscope = 'email'\n".to_owned(),
        ] {
            assert!(config(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn operators_are_named_invited_or_claimed() {
        let oidc = "[accounts]\noperators = ['Olga@example.org']\n[accounts.oidc]\nname = 'P'\nissuer = 'https://p.example'\nclient_id = 'h'\n";
        let config = config(oidc).unwrap();
        let account = AccountRow {
            id: "a".into(),
            created: 0,
            email: Some("larry@example.org".into()),
            issuer: None,
            subject: None,
            name: String::new(),
            claimed: Role::User,
            invited: None,
            tell: true,
            stopped: false,
        };
        let role = |account: &AccountRow| role(&config, account);
        assert_eq!((role(&account), is_invited(&config, &account)), (Role::User, false));
        let invited = AccountRow { invited: Some(Role::User), ..account.clone() };
        assert_eq!((role(&invited), is_invited(&config, &invited)), (Role::User, true));
        let olga = AccountRow { email: Some("olga@example.org".into()), ..account.clone() };
        assert_eq!((role(&olga), is_invited(&config, &olga)), (Role::Operator, true));
        let claimed = AccountRow { claimed: Role::Operator, issuer: Some("https://p.example".into()), ..account.clone() };
        assert_eq!(role(&claimed), Role::Operator);
        let by_another = AccountRow { issuer: Some("https://q.example".into()), ..claimed };
        assert_eq!(role(&by_another), Role::User, "what a provider said that is asked no more does not count");
    }
}
