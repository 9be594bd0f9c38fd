//! Why a root could not be composed, in words for the person who ordered it.

use std::fmt;

/// A failure of merging, configuring or preparing the boot. Its `Display` is one or two sentences; what a script said is in `output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposeError {
    /// The package at fault (CPV), where there is one.
    pub package: Option<String>,
    /// The phase that failed, like `pkg_postinst`, where there is one.
    pub phase: Option<Box<str>>,
    /// The field of the order that is at fault, where there is one.
    pub setting: Option<Setting>,
    /// The last lines that the phase or tool printed, oldest first.
    pub output: Vec<String>,
    /// What happened and why.
    pub message: String,
    /// What to do about it; may be empty.
    pub advice: String,
    /// The work was stopped because the observer asked for it.
    pub cancelled: bool,
}

/// A field of an order that an image may not be able to have as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Users,
    Timezone,
    Keymap,
    Services,
    Locale,
    Locales,
    Files,
    FirstBoot,
    Network,
    InstallMask,
}

impl Setting {
    /// The field as named in the TOML form.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Users => "system.users",
            Setting::Timezone => "system.timezone",
            Setting::Keymap => "system.keymap",
            Setting::Services => "system.services",
            Setting::Locale => "system.locale",
            Setting::Locales => "system.locales",
            Setting::Files => "system.files",
            Setting::FirstBoot => "system.first_boot",
            Setting::Network => "system.network",
            Setting::InstallMask => "install_mask",
        }
    }
}

impl ComposeError {
    /// A failure that concerns no package in particular.
    pub fn new(message: impl Into<String>, advice: impl Into<String>) -> Self {
        ComposeError {
            package: None,
            phase: None,
            setting: None,
            output: Vec::new(),
            message: message.into(),
            advice: advice.into(),
            cancelled: false,
        }
    }

    /// The observer asked to stop.
    pub fn cancelled() -> Self {
        ComposeError { cancelled: true, ..ComposeError::new("the build was stopped as asked", "") }
    }

    /// The same failure, laid to a package; an earlier, nearer one is kept.
    #[must_use]
    pub fn for_package(mut self, cpv: impl Into<String>) -> Self {
        self.package.get_or_insert_with(|| cpv.into());
        self
    }

    /// The same failure, laid to a phase.
    #[must_use]
    pub fn in_phase(mut self, phase: impl Into<Box<str>>) -> Self {
        self.phase.get_or_insert_with(|| phase.into());
        self
    }

    /// The same failure, laid to a field of the order; an earlier, nearer one is kept.
    #[must_use]
    pub fn about(mut self, setting: Setting) -> Self {
        self.setting.get_or_insert(setting);
        self
    }

    /// The same failure with the last lines of output.
    #[must_use]
    pub fn with_output(mut self, output: Vec<String>) -> Self {
        self.output = output;
        self
    }
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.package, &self.phase) {
            (Some(package), Some(phase)) => write!(f, "{package}, {phase}: ")?,
            (Some(package), None) => write!(f, "{package}: ")?,
            (None, Some(phase)) => write!(f, "{phase}: ")?,
            (None, None) => self.setting.iter().try_for_each(|setting| write!(f, "{}: ", setting.name()))?,
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ComposeError {}

impl From<image::TreeError> for ComposeError {
    fn from(error: image::TreeError) -> Self {
        let advice = match &error {
            image::TreeError::Store { .. } => "Check the disk that holds the worker's store: space, permissions, hardware.",
            _ => "",
        };
        ComposeError::new(error.to_string(), advice)
    }
}

impl From<image::StoreError> for ComposeError {
    fn from(error: image::StoreError) -> Self {
        ComposeError::new(error.to_string(), "Check the disk that holds the worker's store: space, permissions, hardware.")
    }
}
