//! The order form's further settings of the system: users, network, boot.

use std::net::IpAddr;

use contract::{InterfaceAddress, Network, OrderError, System, User};

/// The fields as they were typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemInput {
    /// Further locales, apart by white space or commas.
    pub locales: String,
    pub user_name: String,
    /// Apart by white space or commas.
    pub user_groups: String,
    /// One a line.
    pub user_ssh_keys: String,
    /// Not empty: the user has root's password.
    pub user_password_of_root: String,
    pub network_interface: String,
    /// Like `192.0.2.10/24`, apart by white space or commas; empty: DHCP.
    pub network_addresses: String,
    pub network_gateways: String,
    pub network_dns: String,
    pub kernel_cmdline: String,
    /// The name of one; empty: ext4.
    pub root_filesystem: String,
    /// Lines of fstab(5).
    pub fstab: String,
    pub first_boot: String,
}

/// The errors that are shown at a field of ours, by the field of the order that they name.
pub const SHOWN: &[&str] = &[
    "system.locales",
    "system.users",
    "system.network",
    "system.kernel_cmdline",
    "system.root_filesystem",
    "system.fstab",
    "system.first_boot",
];

impl SystemInput {
    /// The fields filled with an order's settings, and in words what has no field. Passwords are not kept, so there are none.
    pub fn of(system: &System) -> (SystemInput, Vec<String>) {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let list = |values: &[IpAddr]| values.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
        let (user, network) = (system.users.first().cloned().unwrap_or_default(), system.network.clone().unwrap_or_default());
        let mut lacks = Vec::new();
        if system.users.len() > 1 {
            lacks.push(say!("all users but the first"));
        }
        if !system.files.is_empty() {
            lacks.push(say!("files of your own"));
        }
        let input = SystemInput {
            locales: system.locales.join(" "),
            user_name: user.name,
            user_groups: user.groups.join(" "),
            user_ssh_keys: user.ssh_keys.join("\n"),
            user_password_of_root: String::new(),
            network_interface: text(&network.interface),
            network_addresses: network.addresses.into_iter().map(String::from).collect::<Vec<_>>().join(" "),
            network_gateways: list(&network.gateways),
            network_dns: list(&network.dns),
            kernel_cmdline: text(&system.kernel_cmdline),
            root_filesystem: system.root_filesystem.map(|f| f.to_string()).unwrap_or_default(),
            fstab: system.fstab.join("\n"),
            first_boot: text(&system.first_boot),
        };
        (input, lacks)
    }

    /// Takes a field of the form, if it is one of ours.
    pub fn take(&mut self, name: &str, value: String) {
        if let Some((_, field)) = self.fields_mut().into_iter().find(|(known, _)| *known == name) {
            *field = value;
        }
    }

    /// All values, in the form's order.
    pub fn values(&self) -> Vec<String> {
        self.pairs().into_iter().map(|(_, value)| value).collect()
    }

    /// All fields with their values, in the form's order.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut copy = self.clone();
        copy.fields_mut().into_iter().map(|(name, value)| (name, std::mem::take(value))).collect()
    }

    /// Whether anything was filled in.
    pub fn is_empty(&self) -> bool {
        *self == SystemInput::default()
    }

    fn fields_mut(&mut self) -> [(&'static str, &mut String); 13] {
        [
            ("locales", &mut self.locales),
            ("user_name", &mut self.user_name),
            ("user_groups", &mut self.user_groups),
            ("user_ssh_keys", &mut self.user_ssh_keys),
            ("user_password_of_root", &mut self.user_password_of_root),
            ("network_interface", &mut self.network_interface),
            ("network_addresses", &mut self.network_addresses),
            ("network_gateways", &mut self.network_gateways),
            ("network_dns", &mut self.network_dns),
            ("kernel_cmdline", &mut self.kernel_cmdline),
            ("root_filesystem", &mut self.root_filesystem),
            ("fstab", &mut self.fstab),
            ("first_boot", &mut self.first_boot),
        ]
    }

    /// Puts what was typed into an order's settings, which have root's password already.
    pub fn apply(&self, system: &mut System) -> Result<(), OrderError> {
        system.locales = words(&self.locales);
        system.users.extend(self.user(system)?);
        system.network = self.network()?;
        system.kernel_cmdline = optional(&self.kernel_cmdline);
        system.root_filesystem = optional(&self.root_filesystem).map(|name| name.parse()).transpose()?;
        system.fstab = lines(&self.fstab).into_iter().filter(|line| !line.starts_with('#')).collect();
        system.first_boot = optional(&self.first_boot);
        Ok(())
    }

    fn user(&self, system: &System) -> Result<Option<User>, OrderError> {
        let (groups, ssh_keys) = (words(&self.user_groups), lines(&self.user_ssh_keys));
        match optional(&self.user_name) {
            Some(name) => {
                let password_hash = system.root_password_hash.clone().filter(|_| !self.user_password_of_root.is_empty());
                Ok(Some(User { name, password_hash, groups, ssh_keys }))
            }
            None if groups.is_empty() && ssh_keys.is_empty() => Ok(None),
            None => Err(OrderError::new("system.users", "give the user a name, or leave groups and keys out")),
        }
    }

    fn network(&self) -> Result<Option<Network>, OrderError> {
        let addresses =
            words(&self.network_addresses).iter().map(|word| word.parse()).collect::<Result<Vec<InterfaceAddress>, _>>()?;
        let network = Network {
            interface: optional(&self.network_interface),
            addresses,
            gateways: hosts(&self.network_gateways)?,
            dns: hosts(&self.network_dns)?,
        };
        // Addresses left empty mean DHCP; anything beside them is then a mistake worth a word, which the order's check says.
        Ok((network != Network::default()).then_some(network))
    }
}

fn hosts(text: &str) -> Result<Vec<IpAddr>, OrderError> {
    let host = |word: String| {
        let message = format!("“{}” is not an address like 192.0.2.1 or 2001:db8::1", word.escape_debug());
        word.parse().map_err(|_| OrderError::new("system.network", message))
    };
    words(text).into_iter().map(host).collect()
}

fn optional(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(fields: &[(&str, &str)]) -> SystemInput {
        let mut input = SystemInput::default();
        fields.iter().for_each(|(name, value)| input.take(name, (*value).to_owned()));
        input
    }

    #[test]
    fn an_empty_form_changes_nothing() {
        let mut system = System::default();
        assert!(typed(&[("hostname", "not ours")]).is_empty());
        SystemInput::default().apply(&mut system).unwrap();
        assert_eq!(system, System::default());
    }

    #[test]
    fn what_was_typed_becomes_settings() {
        let input = typed(&[
            ("locales", "de_DE.UTF-8, fr_FR.UTF-8"),
            ("user_name", " ada "),
            ("user_groups", "wheel"),
            ("user_password_of_root", "yes"),
            ("network_addresses", "192.0.2.10/24 2001:db8::10/64"),
            ("network_gateways", "192.0.2.1"),
            ("fstab", "# mine\r\nLABEL=data /data ext4 noatime 0 2\r\n"),
            ("first_boot", "echo hello\r\n"),
            ("root_filesystem", "btrfs"),
        ]);
        let mut system = System { root_password_hash: Some("$6$saltsalt$hash".into()), ..System::default() };
        input.apply(&mut system).unwrap();
        system.check().unwrap();
        assert_eq!(system.locales, ["de_DE.UTF-8", "fr_FR.UTF-8"]);
        assert_eq!((system.users[0].name.as_str(), &system.users[0].password_hash), ("ada", &system.root_password_hash));
        assert_eq!(system.network.unwrap().addresses.len(), 2);
        assert_eq!(system.fstab, ["LABEL=data /data ext4 noatime 0 2"]);
        assert_eq!(system.first_boot.as_deref(), Some("echo hello"));
        assert_eq!(system.root_filesystem, Some(contract::RootFilesystem::Btrfs));
        assert_eq!(input.values().len(), 13);
    }

    #[test]
    fn mistakes_name_their_field() {
        let field = |fields: &[(&str, &str)]| {
            let mut system = System::default();
            typed(fields).apply(&mut system).and_then(|()| system.check()).unwrap_err().field
        };
        assert_eq!(field(&[("network_addresses", "192.0.2.10")]), "system.network");
        assert_eq!(field(&[("network_dns", "192.0.2.53")]), "system.network");
        assert_eq!(field(&[("network_gateways", "gateway")]), "system.network");
        assert_eq!(field(&[("user_groups", "wheel")]), "system.users");
        assert_eq!(field(&[("kernel_cmdline", "a;b")]), "system.kernel_cmdline");
        assert_eq!(field(&[("root_filesystem", "zfs")]), "system.root_filesystem");
        for field in [field(&[("fstab", "x")]), field(&[("locales", "../x")])] {
            assert!(SHOWN.contains(&field.as_str()), "{field}");
        }
    }
}
