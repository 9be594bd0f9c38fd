//! The order form: from fields as a browser sends them to an order.

use contract::hash::FieldHasher;
use contract::{Format, Order, OrderError};

use super::form_packages::{optional, replace_word, with, without, words};
use super::form_system::SystemInput;
use crate::app::App;
use crate::secret;

/// The fields of the form as they were typed. The password is not among them: it is hashed at once and never shown again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormInput {
    /// Makes sending the form twice harmless.
    pub token: String,
    /// Empty: no preset.
    pub preset: String,
    pub channel: String,
    pub packages: String,
    /// The folder of a Gentoo Prefix.
    pub prefix: String,
    pub formats: Vec<String>,
    pub hostname: String,
    pub ssh_keys: String,
    pub locale: String,
    pub timezone: String,
    pub keymap: String,
    pub services: String,
    /// Patterns, apart by white space or commas.
    pub install_mask: String,
    pub system: SystemInput,
    pub email: String,
}

/// The form's fields, and the password, which is kept apart.
#[derive(Default)]
pub struct Submitted {
    pub input: FormInput,
    pub password: String,
    /// The repetition of the password.
    pub password_again: String,
    /// A password was typed when the form was last shown anew. It was not kept, so it has to come again.
    pub had_password: bool,
    /// What the package search is to look for, and in which category.
    pub search: String,
    pub category: String,
    /// What the button that was pressed changes.
    pub edits: Vec<Edit>,
    /// What nobody has is to be built from source first.
    pub from_source: bool,
    /// Files that came along.
    pub files: Vec<Upload>,
}

/// A change that a button makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Another atom is asked for instead of one that was typed.
    Take {
        typed: String,
        offered: String,
    },
    Add(String),
    Remove(String),
    /// A field gets another value; of fields that may have several, one more.
    Set {
        field: String,
        value: String,
    },
}

/// A file that came with the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The field that it was chosen in.
    pub field: String,
    /// As the browser says.
    pub name: String,
    pub bytes: Vec<u8>,
}

impl FormInput {
    /// Reads fields from a query or a form's body. Fields that are not ours are passed over: browser extensions add some.
    pub fn parse(bytes: &[u8]) -> Submitted {
        let mut submitted = Submitted::default();
        for (name, value) in form_urlencoded::parse(bytes) {
            submitted.take(&name, value.into_owned());
        }
        submitted
    }

    /// Takes a field of the form, if it is one.
    fn take(&mut self, name: &str, value: String) {
        match name {
            "formats" if self.formats.contains(&value) => {}
            "formats" => self.formats.push(value),
            name => {
                if let Some((_, field)) = self.fields_mut().into_iter().find(|(known, _)| *known == name) {
                    *field = value;
                } else {
                    self.system.take(name, value);
                }
            }
        }
    }

    /// The fields that have one value, in the form's order.
    fn fields_mut(&mut self) -> [(&'static str, &mut String); 13] {
        [
            ("token", &mut self.token),
            ("preset", &mut self.preset),
            ("channel", &mut self.channel),
            ("packages", &mut self.packages),
            ("prefix", &mut self.prefix),
            ("hostname", &mut self.hostname),
            ("ssh_keys", &mut self.ssh_keys),
            ("locale", &mut self.locale),
            ("timezone", &mut self.timezone),
            ("keymap", &mut self.keymap),
            ("services", &mut self.services),
            ("install_mask", &mut self.install_mask),
            ("email", &mut self.email),
        ]
    }

    /// The form as a query, for a link that carries it: without what is secret or personal, as [`FormInput::in_link`] has it.
    pub fn query(&self) -> String {
        let mut copy = self.clone();
        let mut query = form_urlencoded::Serializer::new(String::new());
        // Without a preset is a choice, too, so that this field is always there.
        query.append_pair("preset", &self.preset);
        let own = copy.fields_mut().into_iter().filter(|(name, _)| *name != "preset").map(|(name, value)| (name, value.clone()));
        let fields: Vec<(&str, String)> = own.chain(self.system.pairs()).collect();
        query.extend_pairs(fields.iter().filter(|(name, value)| Self::in_link(name) && !value.trim().is_empty()));
        query.extend_pairs(self.formats.iter().map(|format| ("formats", format)));
        query.finish()
    }

    /// Whether a link carries a field. Keys are long and somebody's own; a script may hold secrets.
    fn in_link(name: &str) -> bool {
        !matches!(name, "token" | "email" | "ssh_keys" | "user_ssh_keys" | "user_password_of_root" | "first_boot")
    }

    /// Whether anything was filled in that a link leaves out.
    pub fn has_more_than_a_link(&self) -> bool {
        let out = [&self.email, &self.ssh_keys, &self.system.user_ssh_keys, &self.system.first_boot];
        out.iter().any(|value| !value.trim().is_empty())
    }

    /// Stands for this very form: sent again unchanged it is the same, after a change it is another. `None` when the page's token is
    /// missing. The password does not count, as its hash is never the same twice.
    pub fn key(&self) -> Option<String> {
        if self.token.len() < 16 {
            return None;
        }
        let mut hash = FieldHasher::new("hatchery form");
        let mut copy = self.clone();
        for (_, field) in copy.fields_mut() {
            hash.field(field.as_str());
        }
        for field in self.formats.iter().chain(&self.system.values()) {
            hash.field(field);
        }
        Some(hash.finish())
    }

    /// The form as it is first shown: the first preset that is kept warm, or else the first, and its formats chosen.
    pub fn fresh(app: &App) -> FormInput {
        let presets = &app.catalogue.presets;
        let warm = app.config.warm.iter().find_map(|name| presets.get(name));
        let preset = warm.or(presets.all().first());
        FormInput {
            preset: preset.map(|p| p.name.clone()).unwrap_or_default(),
            formats: preset.map(|p| p.formats.iter().map(|f| f.name().to_owned()).collect()).unwrap_or_default(),
            ..FormInput::default()
        }
    }

    /// The form filled with an order, and in words what of it the form has no field for. Passwords are not kept, so there are none.
    pub fn of(order: &Order) -> (FormInput, Vec<String>) {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (system, mut lacks) = SystemInput::of(&order.system);
        if order.notify.webhook.is_some() {
            lacks.push(say!("the webhook"));
        }
        let input = FormInput {
            preset: text(&order.preset),
            channel: text(&order.channel),
            packages: order.packages.join("\n"),
            prefix: text(&order.prefix),
            formats: order.formats.iter().map(|format| format.name().to_owned()).collect(),
            hostname: text(&order.system.hostname),
            ssh_keys: order.system.root_ssh_keys.join("\n"),
            locale: text(&order.system.locale),
            timezone: text(&order.system.timezone),
            keymap: text(&order.system.keymap),
            services: order.system.services.join(" "),
            install_mask: order.install_mask.join(" "),
            email: text(&order.notify.email),
            system,
            token: String::new(),
        };
        (input, lacks)
    }

    /// The packages, one a word.
    pub fn packages(&self) -> Vec<String> {
        words(&self.packages)
    }

    /// The order that the fields mean. `password_hash` is what became of the password.
    pub fn order(&self, app: &App, password_hash: Option<String>) -> Result<Order, OrderError> {
        let order = self.draft(app, password_hash)?;
        order.check()?;
        Ok(order)
    }

    /// The same unchecked.
    pub fn draft(&self, app: &App, password_hash: Option<String>) -> Result<Order, OrderError> {
        let formats = self.formats.iter().map(|name| name.parse::<Format>()).collect::<Result<Vec<_>, _>>()?;
        let mut order = Order {
            arch: self.arch(app),
            channel: optional(&self.channel),
            preset: optional(&self.preset),
            packages: self.packages(),
            prefix: optional(&self.prefix),
            install_mask: words(&self.install_mask),
            formats,
            ..Order::default()
        };
        order.system.hostname = optional(&self.hostname);
        order.system.root_password_hash = password_hash;
        order.system.root_ssh_keys =
            self.ssh_keys.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        order.system.locale = optional(&self.locale);
        order.system.timezone = optional(&self.timezone);
        order.system.keymap = optional(&self.keymap);
        order.system.services = words(&self.services);
        self.system.apply(&mut order.system)?;
        order.notify.email = optional(&self.email);
        Ok(order)
    }

    /// The form does not ask for the architecture: the preset has one, and the channel has one.
    pub fn arch(&self, app: &App) -> String {
        let of_preset = app.catalogue.presets.get(&self.preset).map(|p| p.arch.as_str());
        let of_channel = app.catalogue.channels.get(&self.channel).map(|c| c.config.arch.as_str());
        let first = app.catalogue.channels.all().first().map(|c| c.config.arch.as_str());
        of_preset.or(of_channel).or(first).unwrap_or("amd64").to_owned()
    }
}

impl Submitted {
    /// Whether a password was typed.
    pub fn has_password(&self) -> bool {
        !self.password.is_empty()
    }

    /// Takes a field of the form, or what a button of it says.
    pub fn take(&mut self, name: &str, value: String) {
        match name {
            "root_password" => self.password = value,
            "root_password_again" => self.password_again = value,
            "had_password" => self.had_password = true,
            "from_source" => self.from_source = true,
            "search" => self.search = value,
            "category" => self.category = value,
            "take" | "add" | "remove" | "set" => self.edits.extend(Edit::read(name, &value)),
            name => self.input.take(name, value),
        }
    }

    /// Does what the button says that was pressed. Whether there was one.
    pub fn apply_edits(&mut self) -> bool {
        for edit in &self.edits {
            let packages = &self.input.packages;
            match edit {
                Edit::Take { typed, offered } => self.input.packages = replace_word(packages, typed, offered),
                Edit::Add(atom) => self.input.packages = with(packages, atom),
                Edit::Remove(word) => self.input.packages = without(packages, word),
                Edit::Set { field, value } => self.input.take(field, value.clone()),
            }
        }
        !self.edits.is_empty()
    }

    /// Does what the button says. A password that had been typed before has to be there again, so that nobody orders a system that they
    /// cannot log in to for not having seen that it is not kept.
    pub fn take_offer(&mut self) -> Result<(), OrderError> {
        self.apply_edits();
        if std::mem::take(&mut self.had_password) && !self.has_password() {
            let message = "type the password once more, as it is not kept; or order again as it is, to have none";
            return Err(OrderError::new("system.root_password_hash", message));
        }
        Ok(())
    }

    /// The hash of the password, or none when none was typed. It is work for a processor, so it is not done on the spot.
    pub async fn password_hash(&mut self) -> Result<Option<String>, OrderError> {
        let field = "system.root_password_hash";
        let (password, again) = (std::mem::take(&mut self.password), std::mem::take(&mut self.password_again));
        if password != again {
            return Err(OrderError::new(field, "the two passwords differ; type both again"));
        }
        if password.is_empty() {
            return Ok(None);
        }
        match tokio::task::spawn_blocking(move || secret::hash_password(&password)).await {
            Ok(Ok(hash)) => Ok(Some(hash)),
            Ok(Err(error)) => Err(OrderError::new(field, error.to_string())),
            Err(_) => Err(OrderError::new(field, "the password could not be hashed; type it again")),
        }
    }
}

impl Edit {
    /// What a button of this name and value means; the longest atom bounds what is taken.
    fn read(name: &str, value: &str) -> Option<Edit> {
        match name {
            "take" => value.split_once(' ').map(|(typed, offered)| Edit::Take { typed: typed.into(), offered: offered.into() }),
            "add" => optional(value).map(Edit::Add),
            "remove" => optional(value).map(Edit::Remove),
            "set" => value.split_once('=').map(|(field, value)| Edit::Set { field: field.into(), value: value.into() }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_fills_the_form_that_makes_it_again() {
        let text = r#"
            arch = "amd64"
            packages = ["app-editors/vim[python,-X]", "@system"]
            formats = ["iso", "qcow2"]
            install_mask = ["*.la"]
            [system]
            hostname = "egg"
            locales = ["de_DE.UTF-8"]
            services = ["sshd", "ntpd"]
            kernel_cmdline = "quiet"
            fstab = ["LABEL=data /data ext4 noatime 0 2"]
            first_boot = "echo hello"
            root_filesystem = "xfs"
            [[system.users]]
            name = "ada"
            groups = ["wheel"]
            [system.network]
            addresses = ["192.0.2.10/24"]
            gateways = ["192.0.2.1"]
            [notify]
            email = "ada@example.org"
        "#;
        let order = Order::from_toml(text).unwrap();
        let (input, lacks) = FormInput::of(&order);
        assert!(lacks.is_empty(), "{lacks:?}");
        let mut again = Order { arch: order.arch.clone(), packages: input.packages(), ..Order::default() };
        again.formats = input.formats.iter().map(|f| f.parse().unwrap()).collect();
        again.install_mask = words(&input.install_mask);
        again.system.hostname = optional(&input.hostname);
        again.system.services = words(&input.services);
        input.system.apply(&mut again.system).unwrap();
        again.notify.email = optional(&input.email);
        assert_eq!(again, order);

        let mut more = order;
        more.system.users.push(contract::User { name: "bob".into(), ..contract::User::default() });
        more.system.files.push(contract::ExtraFile { path: "/etc/motd".into(), ..contract::ExtraFile::default() });
        more.notify.webhook = Some("https://example.org/".into());
        assert_eq!(FormInput::of(&more).1.len(), 3);
    }

    #[test]
    fn repeated_fields_make_a_list_and_unknown_ones_are_passed_over() {
        let submitted = FormInput::parse(b"formats=iso&formats=tar.bz2&x=y&hostname=a%20b&root_password=p&root_password_again=p");
        assert_eq!(submitted.input.formats, ["iso", "tar.bz2"]);
        assert_eq!(submitted.input.hostname, "a b");
        assert_eq!(submitted.password, "p");
    }
    #[test]
    fn a_link_carries_what_is_not_personal_and_is_read_back() {
        let typed = b"token=0123456789abcdef0123&preset=&packages=a%2Fb%5Bx%5D&formats=iso&formats=zip&hostname=egg&email=a@b&\
                      first_boot=secret&ssh_keys=ssh-rsa&locales=de_DE.UTF-8&root_password=hunter2";
        let input = FormInput::parse(typed).input;
        let query = input.query();
        assert_eq!(query, "preset=&packages=a%2Fb%5Bx%5D&hostname=egg&locales=de_DE.UTF-8&formats=iso&formats=zip");
        assert!(input.has_more_than_a_link());
        let again = FormInput::parse(query.as_bytes()).input;
        assert_eq!(again.query(), query);
        assert!(!again.has_more_than_a_link());
    }

    #[test]
    fn buttons_change_the_form() {
        let mut submitted =
            FormInput::parse(b"packages=a%2Fb&formats=iso&set=formats%3Dzip&set=root_filesystem%3D&add=c%2Fd&remove=a%2Fb");
        assert!(submitted.apply_edits());
        assert_eq!(submitted.input.packages, "c/d");
        assert_eq!(submitted.input.formats, ["iso", "zip"]);
        assert!(!FormInput::parse(b"take=x&set=y").apply_edits(), "nonsense changes nothing");
    }
}
