//! The filesystems that the root of a disk can have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::order::OrderError;

/// A filesystem for the root of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RootFilesystem {
    #[default]
    Ext4,
    Btrfs,
    Xfs,
}

impl RootFilesystem {
    /// All, in the order the site lists them.
    pub const ALL: [RootFilesystem; 3] = [RootFilesystem::Ext4, RootFilesystem::Btrfs, RootFilesystem::Xfs];

    /// The name used in orders, by mount(8) and in fstab(5).
    pub fn name(self) -> &'static str {
        match self {
            RootFilesystem::Ext4 => "ext4",
            RootFilesystem::Btrfs => "btrfs",
            RootFilesystem::Xfs => "xfs",
        }
    }

    /// The package that checks it and lets it grow. That of ext4 is in every system of Gentoo's.
    pub fn package(self) -> Option<&'static str> {
        match self {
            RootFilesystem::Ext4 => None,
            RootFilesystem::Btrfs => Some("sys-fs/btrfs-progs"),
            RootFilesystem::Xfs => Some("sys-fs/xfsprogs"),
        }
    }

    /// What it is good for, a sentence for someone choosing.
    pub fn advice(self) -> &'static str {
        match self {
            RootFilesystem::Ext4 => "What most systems have.",
            RootFilesystem::Btrfs => "Has checksums of all data, and snapshots.",
            RootFilesystem::Xfs => "For large files and many writers at once; it can grow, but never shrink.",
        }
    }
}

impl fmt::Display for RootFilesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RootFilesystem {
    type Err = OrderError;
    fn from_str(s: &str) -> Result<Self, OrderError> {
        RootFilesystem::ALL.into_iter().find(|root| root.name() == s).ok_or_else(|| {
            let known: Vec<_> = RootFilesystem::ALL.iter().map(|root| root.name()).collect();
            OrderError::new("system.root_filesystem", format!("“{s}” is not one of {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders and the form use the same names.
    #[test]
    fn names_are_one() {
        for root in RootFilesystem::ALL {
            assert_eq!(root.name().parse::<RootFilesystem>().unwrap(), root);
            assert_eq!(serde_json::to_value(root).unwrap(), root.name());
        }
        assert!("zfs".parse::<RootFilesystem>().is_err());
    }
}
