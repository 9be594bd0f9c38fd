//! What Portage in an image is told, so that it goes on from the packages of a plan and rebuilds nothing.

use serde::{Deserialize, Serialize};

use crate::hash::FieldHasher;

/// Settings by which a channel's packages were chosen, in the words of Portage's own files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PortageSettings {
    /// ACCEPT_KEYWORDS (make.conf(5)); none where it is the profile's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_keywords: Option<String>,
    /// ACCEPT_LICENSE (make.conf(5)).
    pub accept_license: String,
    /// What single packages need beyond profile and make.conf; none where the channel has no profile to say what that would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<PackageSettings>,
}

/// Lines of files below /etc/portage (portage(5)), an atom and its words each, for the planned packages and those of the base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PackageSettings {
    /// `package.use`: flags a package was built with or without, against what profile and make.conf would make of them.
    #[serde(rename = "use", skip_serializing_if = "Vec::is_empty")]
    pub use_flags: Vec<String>,
    /// `profile/package.use.force`: flags that the profile forces and a package was built without, like `-abi_x86_32`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub use_force: Vec<String>,
    /// `profile/package.use.mask`: flags that the profile masks and a package was built with, like `-custom-cflags`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub use_mask: Vec<String>,
    /// `package.accept_keywords`: packages of the base that ACCEPT_KEYWORDS does not accept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accept_keywords: Vec<String>,
    /// `package.license`: packages of the base that ACCEPT_LICENSE does not accept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub license: Vec<String>,
}

impl PackageSettings {
    /// Each file with its lines, by its path below /etc/portage; where that is a folder, the lines are for a file of their own in it.
    pub fn files(&self) -> [(&'static str, &[String]); 5] {
        [
            ("package.use", &self.use_flags),
            ("profile/package.use.force", &self.use_force),
            ("profile/package.use.mask", &self.use_mask),
            ("package.accept_keywords", &self.accept_keywords),
            ("package.license", &self.license),
        ]
    }
}

impl PortageSettings {
    /// Adds all that decides what is written into an image.
    pub(crate) fn hash_into(&self, h: &mut FieldHasher) {
        h.field("portage").field(self.accept_keywords.as_deref().unwrap_or("")).field(&self.accept_license);
        for (name, lines) in self.packages.iter().flat_map(PackageSettings::files) {
            h.field(name).field(lines.len().to_le_bytes());
            lines.iter().for_each(|line| {
                h.field(line);
            });
        }
    }
}
