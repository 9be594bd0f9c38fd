//! The order form: from fields as a browser sends them to an order.

use contract::hash::FieldHasher;
use contract::{Format, Order, OrderError};

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
    /// A password was typed when the form was last refused. It was not kept, so it has to come again.
    had_password: bool,
    /// What is to be asked for instead of what was typed: `TYPED OFFERED`.
    take: Option<String>,
}

impl FormInput {
    /// Reads fields from a query or a form's body. Fields that are not ours are passed over: browser extensions add some.
    pub fn parse(bytes: &[u8]) -> Submitted {
        let mut submitted = Submitted::default();
        let input = &mut submitted.input;
        for (name, value) in form_urlencoded::parse(bytes) {
            let value = value.into_owned();
            match name.as_ref() {
                "token" => input.token = value,
                "preset" => input.preset = value,
                "channel" => input.channel = value,
                "packages" => input.packages = value,
                "formats" => input.formats.push(value),
                "hostname" => input.hostname = value,
                "root_password" => submitted.password = value,
                "root_password_again" => submitted.password_again = value,
                "ssh_keys" => input.ssh_keys = value,
                "locale" => input.locale = value,
                "timezone" => input.timezone = value,
                "keymap" => input.keymap = value,
                "prefix" => input.prefix = value,
                "services" => input.services = value,
                "install_mask" => input.install_mask = value,
                "email" => input.email = value,
                "had_password" => submitted.had_password = true,
                "take" => submitted.take = Some(value),
                name => input.system.take(name, value),
            }
        }
        submitted
    }

    /// Stands for this very form: sent again unchanged it is the same, after a change it is another. `None` when the page's token is
    /// missing. The password does not count, as its hash is never the same twice.
    pub fn key(&self) -> Option<String> {
        if self.token.len() < 16 {
            return None;
        }
        let mut hash = FieldHasher::new("hatchery form");
        let fields = [
            &self.token,
            &self.preset,
            &self.channel,
            &self.packages,
            &self.prefix,
            &self.hostname,
            &self.ssh_keys,
            &self.locale,
            &self.timezone,
            &self.keymap,
            &self.services,
            &self.install_mask,
            &self.email,
        ];
        for field in fields.into_iter().chain(&self.formats).chain(&self.system.values()) {
            hash.field(field);
        }
        Some(hash.finish())
    }

    /// The form as it is first shown: the first preset and its formats chosen.
    pub fn fresh(app: &App) -> FormInput {
        let preset = app.catalogue.presets.all().first();
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
        order.check()?;
        Ok(order)
    }

    /// The form does not ask for the architecture: the preset has one, and the channel has one.
    fn arch(&self, app: &App) -> String {
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

    /// Puts in the build that was offered instead of one that nobody has. A password that had been typed before has to be there again,
    /// so that one click does not order a system nobody can log in to.
    pub fn take_offer(&mut self) -> Result<(), OrderError> {
        let Some((typed, offered)) = self.take.as_deref().and_then(|take| take.split_once(' ')) else {
            return Ok(());
        };
        self.input.packages = replace_word(&self.input.packages, typed, offered);
        if self.had_password && !self.has_password() {
            let message = "the package was changed; type the password once more, as it is not kept, and order";
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

fn optional(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Words apart by white space or commas outside of brackets; what follows a `#` at a line's start or after white space is a remark.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut word = String::new();
        let mut brackets = 0u32;
        for c in line.chars() {
            match c {
                '#' if word.is_empty() => break,
                '[' => brackets += 1,
                ']' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            if c.is_whitespace() || (c == ',' && brackets == 0) {
                words.extend(optional(&std::mem::take(&mut word)));
            } else {
                word.push(c);
            }
        }
        words.extend(optional(&word));
    }
    let mut seen = std::collections::BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
    words
}

/// The text with a word of it replaced wherever it stands alone.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    if word.is_empty() {
        return text.to_owned();
    }
    let is_end = |c: char| c.is_whitespace() || c == ',';
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(word) {
        let alone = before.chars().last().or(out.chars().last()).is_none_or(is_end) && after.chars().next().is_none_or(is_end);
        out += before;
        out += if alone { by } else { word };
        rest = after;
    }
    out + rest
}

/// The word among those typed that means the atom: as it stands, or with the category left out.
pub fn word_for<'a>(packages: &'a [String], atom: &str) -> Option<&'a String> {
    let without_category = |text: &str| {
        let start = text.find(|c: char| c.is_ascii_alphanumeric() || c == '_').unwrap_or(0);
        let slash = text.find('/')?;
        Some(format!("{}{}", text.get(..start)?, text.get(slash + 1..)?))
    };
    let means = |word: &str| {
        gentoo::Atom::parse(word).map_or_else(|_| without_category(atom).as_deref() == Some(word), |a| a.to_string() == atom)
    };
    packages.iter().find(|word| means(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_as_people_type_them() {
        let text = "app-editors/vim[python,-X], dev-vcs/git\n# a remark\n  app-misc/tmux # another\n\ndev-vcs/git\r\n";
        assert_eq!(words(text), ["app-editors/vim[python,-X]", "dev-vcs/git", "app-misc/tmux"]);
    }

    #[test]
    fn what_is_offered_replaces_the_word_it_is_for() {
        let text = "app-editors/vim[X]\napp-editors/vim[X,python], vim[X] # vim[X]\n";
        assert_eq!(replace_word(text, "vim[X]", "vim"), "app-editors/vim[X]\napp-editors/vim[X,python], vim # vim\n");
        assert_eq!(replace_word(text, "", "vim"), text);
        let typed = ["dev-vcs/git".to_owned(), "vim[-X]".into(), "=app-misc/tmux-3*[X]".into()];
        assert_eq!(word_for(&typed, "app-editors/vim[-X]"), Some(&typed[1]));
        assert_eq!(word_for(&typed, "=app-misc/tmux-3*[X]"), Some(&typed[2]));
        assert_eq!(word_for(&typed, "app-editors/vim"), None);
    }

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
}
