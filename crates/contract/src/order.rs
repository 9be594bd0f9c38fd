//! The order: what a person wants, as TOML, JSON or the site's form make it. Every value is hostile until [`Order::check`] passed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::eprefix::check_eprefix;
use crate::format::Format;
use crate::system::System;

/// An order for images of one system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Gentoo's name of the architecture: `amd64`, `x86`.
    pub arch: String,
    /// The channel (a set of binhosts with a profile) to take packages from; none means the site's default for the arch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// A preset whose packages and services are added to the ones named here, like `amd64-server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Package atoms in PMS syntax, USE dependencies included, or a set such as `@system`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// The formats wanted; at least one.
    pub formats: Vec<Format>,
    /// EPREFIX: the folder of a foreign system that a Gentoo Prefix is wanted for, like `/home/larry/gentoo`; none means a system of
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// INSTALL_MASK (make.conf(5)): patterns of what is left out of every package, besides what the channel leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub install_mask: Vec<String>,
    /// What no binhost has is built from source first, where the site's operator allows it; the order waits for that. Otherwise an order that
    /// lacks a package is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_source: bool,
    /// Personal settings: put in last, never part of a shared cache key.
    #[serde(default)]
    pub system: System,
    /// Who is told, and how.
    #[serde(default)]
    pub notify: Notify,
}

/// Who is told when an image is ready or has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// An address of http or https that gets a signed POST (Standard Webhooks 1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// What is wrong with an order, in words for the person who placed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct OrderError {
    /// The field as named in the TOML form, like `system.hostname`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl OrderError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        OrderError { field: field.into(), message: message.into() }
    }
}

/// Upper bounds on an order, generous for people and tight for floods.
const MAX_PACKAGES: usize = 2_000;
const MAX_ATOM: usize = 512;
const MAX_PATTERNS: usize = 64;
const MAX_PATTERN: usize = 256;

impl Order {
    /// Reads an order from TOML, then checks it.
    pub fn from_toml(text: &str) -> Result<Order, OrderError> {
        let order: Order = toml::from_str(text).map_err(|e| OrderError::new("order", e.to_string()))?;
        order.check()?;
        Ok(order)
    }

    /// Checks everything that can be checked without an index: syntax, lengths, characters. Atoms are checked by the resolver.
    pub fn check(&self) -> Result<(), OrderError> {
        check_word("arch", &self.arch, 32)?;
        if let Some(channel) = &self.channel {
            check_word("channel", channel, 64)?;
        }
        if let Some(preset) = &self.preset {
            check_word("preset", preset, 64)?;
        }
        if self.preset.is_none() && self.packages.is_empty() {
            return Err(OrderError::new("packages", "nothing was ordered: choose a preset or name at least one package"));
        }
        if self.packages.len() > MAX_PACKAGES {
            return Err(OrderError::new("packages", format!("at most {MAX_PACKAGES} packages can be named")));
        }
        for atom in &self.packages {
            if atom.is_empty() || atom.len() > MAX_ATOM || atom.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(OrderError::new("packages", format!("“{}” is not a package atom", atom.escape_debug())));
            }
        }
        if self.formats.is_empty() {
            return Err(OrderError::new("formats", "choose at least one format"));
        }
        if self.formats.iter().collect::<BTreeSet<_>>().len() != self.formats.len() {
            return Err(OrderError::new("formats", "a format is named twice"));
        }
        check_install_mask(&self.install_mask)?;
        self.system.check()?;
        self.check_root()?;
        self.check_prefix()?;
        if let Some(email) = &self.notify.email {
            check_email(email)?;
        }
        if let Some(webhook) = &self.notify.webhook {
            check_webhook(webhook)?;
        }
        Ok(())
    }
}

/// Checks patterns of INSTALL_MASK (make.conf(5)). They become one variable, and stand in the image's make.conf.
///
/// # Errors
/// When there are too many, when one is no pattern, and when one leaves nothing of any package.
pub fn check_install_mask(patterns: &[String]) -> Result<(), OrderError> {
    let field = "install_mask";
    if patterns.len() > MAX_PATTERNS {
        return Err(OrderError::new(field, format!("at most {MAX_PATTERNS} patterns can be named")));
    }
    let fine = |c: char| c.is_ascii_graphic() && !"\"'\\$`#".contains(c);
    for pattern in patterns {
        let text = pattern.strip_prefix('-').unwrap_or(pattern);
        if text.is_empty() || text.len() > MAX_PATTERN || !text.chars().all(fine) {
            let message = format!(
                "“{}” is not a pattern of INSTALL_MASK: give a path like /usr/share/doc or a name like *.la",
                pattern.escape_debug()
            );
            return Err(OrderError::new(field, message));
        }
        if text == "/" || text == "*" || text == "/*" {
            return Err(OrderError::new(field, format!("“{pattern}” would leave nothing of any package")));
        }
    }
    Ok(())
}

impl Order {
    /// A prefix lives on a system that is there already, so nothing that makes a system can be asked of it.
    /// Nobody is to find out at the end that what was chosen is in none of the images.
    fn check_root(&self) -> Result<(), OrderError> {
        match self.system.root_filesystem {
            Some(root) if !self.formats.iter().any(|format| format.is_disk()) => {
                let message = format!("only a disk has {root} for its root: choose qcow2, vmdk or img.gz, or leave this out");
                Err(OrderError::new("system.root_filesystem", message))
            }
            _ => Ok(()),
        }
    }

    fn check_prefix(&self) -> Result<(), OrderError> {
        let Some(prefix) = &self.prefix else { return Ok(()) };
        check_eprefix("prefix", prefix)?;
        if let Some(format) = self.formats.iter().find(|format| !format.is_tar() && **format != Format::Zip) {
            let message =
                format!("a prefix is unpacked into a folder of a running system, so it cannot be {format}: choose tar or zip");
            return Err(OrderError::new("formats", message));
        }
        if self.system != System::default() {
            let message = "a prefix takes host name, users, passwords, keys, time zone and services from the system it is on: leave \
                           these settings out, or order without a prefix";
            return Err(OrderError::new("system", message));
        }
        Ok(())
    }
}

/// Longest address of a webhook, in bytes.
const MAX_WEBHOOK: usize = 2_000;

fn check_webhook(address: &str) -> Result<(), OrderError> {
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let plain = address.len() <= MAX_WEBHOOK && address.bytes().all(|b| b.is_ascii_graphic());
    if plain && host.is_some_and(|host| !host.is_empty() && !host.contains('@')) {
        return Ok(());
    }
    Err(OrderError::new("notify.webhook", "use an address like https://example.org/hook, without a name or password in it"))
}

/// Checks that a text is a mail address that notices can be sent to (RFC 5321, without quoted local parts).
pub fn check_email(email: &str) -> Result<(), OrderError> {
    let parts = email.split_once('@').filter(|(_, domain)| !domain.contains('@'));
    let fine = email.len() <= 254
        && parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && email.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"<>()[]\\,;:\"".contains(c));
    if fine {
        return Ok(());
    }
    Err(OrderError::new("notify.email", "this is not an e-mail address"))
}

/// Words that name things of ours or of the image: no separators, no control characters.
pub(crate) fn check_word(field: &str, word: &str, max: usize) -> Result<(), OrderError> {
    let fine = !word.is_empty()
        && word.len() <= max
        && word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+@".contains(&b));
    if fine {
        return Ok(());
    }
    Err(OrderError::new(field, format!("“{}” is not a name: use letters, digits, dots, hyphens", word.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order { arch: "amd64".into(), preset: Some("amd64-server".into()), formats: vec![Format::Iso], ..Order::default() }
    }

    #[test]
    fn a_plain_order_passes() {
        order().check().unwrap();
    }

    #[test]
    fn unknown_fields_are_refused() {
        let err = Order::from_toml("arch='amd64'\nformats=['iso']\npackages=['a/b']\nroot_password='x'").unwrap_err();
        assert!(err.message.contains("root_password"), "{err}");
    }

    #[test]
    fn a_prefix_is_a_plain_path_and_asks_for_nothing_that_makes_a_system() {
        let with = |prefix: &str| Order { prefix: Some(prefix.into()), formats: vec![Format::TarBz2, Format::Zip], ..order() };
        with("/home/larry/gentoo-1.0").check().unwrap();
        let long = format!("/home/{}", "x".repeat(100));
        for bad in [
            "", "/", "gentoo", "/home/", "/home//x", "/a/../b", "/a/./b", "/a b", "/a'b", "/a:b", "/a\nb", "/é", "/-a", "/usr/x",
            "/etc", &long,
        ] {
            assert_eq!(with(bad).check().unwrap_err().field, "prefix", "{bad:?}");
        }
        let bootable = Order { formats: vec![Format::Zip, Format::Iso], ..with("/home/x") };
        assert_eq!(bootable.check().unwrap_err().field, "formats");
        let mut settings = with("/home/x");
        settings.system.services = vec!["sshd".into()];
        assert_eq!(settings.check().unwrap_err().field, "system");
    }

    #[test]
    fn values_that_could_break_a_file_are_refused() {
        type Change = fn(&mut Order);
        let changes: [(&str, Change); 13] = [
            ("system.hostname", |o| o.system.hostname = Some("a\nb".into())),
            ("system.hostname", |o| o.system.hostname = Some("-a".into())),
            ("system.root_password_hash", |o| o.system.root_password_hash = Some("secret".into())),
            ("system.root_password_hash", |o| o.system.root_password_hash = Some("$6$salt$ha:sh000000".into())),
            ("system.root_ssh_keys", |o| o.system.root_ssh_keys = vec!["ssh-rsa AAAA\nroot".into()]),
            ("system.timezone", |o| o.system.timezone = Some("../../etc/shadow".into())),
            ("system.services", |o| o.system.services = vec!["../x".into()]),
            ("system.root_filesystem", |o| {
                (o.formats, o.system.root_filesystem) = (vec![Format::Iso], Some(crate::RootFilesystem::Btrfs));
            }),
            ("install_mask", |o| o.install_mask = vec!["/usr/share/doc\n".into()]),
            ("install_mask", |o| o.install_mask = vec!["$(x)".into()]),
            ("install_mask", |o| o.install_mask = vec!["/*".into()]),
            ("packages", |o| o.packages = vec!["a/b; rm".into()]),
            ("notify.email", |o| o.notify.email = Some("a@b\r\nBcc: c@d".into())),
        ];
        for (field, change) in changes {
            let mut o = order();
            change(&mut o);
            assert_eq!(o.check().unwrap_err().field, field);
        }
    }
}
