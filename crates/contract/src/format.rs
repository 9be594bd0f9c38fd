//! The forms an image can be delivered in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::order::OrderError;

/// A form an image can be delivered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Format {
    #[serde(rename = "tar.bz2")]
    TarBz2,
    #[serde(rename = "zip")]
    Zip,
    #[serde(rename = "iso")]
    Iso,
    #[serde(rename = "tar.gz")]
    TarGz,
    #[serde(rename = "tar.xz")]
    TarXz,
    #[serde(rename = "tar.zst")]
    TarZst,
    #[serde(rename = "squashfs")]
    Squashfs,
    #[serde(rename = "img.gz")]
    ImgGz,
    #[serde(rename = "qcow2")]
    Qcow2,
    #[serde(rename = "vmdk")]
    Vmdk,
    /// Several files: kernel, initramfs, squashfs and the iPXE script that names them.
    #[serde(rename = "netboot")]
    Netboot,
    #[serde(rename = "oci.tar")]
    Oci,
}

impl Format {
    /// Every format, in the order the site lists them.
    pub const ALL: [Format; 12] = [
        Format::Iso,
        Format::Qcow2,
        Format::Vmdk,
        Format::ImgGz,
        Format::Netboot,
        Format::Oci,
        Format::Squashfs,
        Format::TarBz2,
        Format::TarXz,
        Format::TarZst,
        Format::TarGz,
        Format::Zip,
    ];

    /// The name used in orders and as the file's extension.
    pub fn name(self) -> &'static str {
        match self {
            Format::Iso => "iso",
            Format::TarBz2 => "tar.bz2",
            Format::TarGz => "tar.gz",
            Format::TarXz => "tar.xz",
            Format::TarZst => "tar.zst",
            Format::Zip => "zip",
            Format::Squashfs => "squashfs",
            Format::ImgGz => "img.gz",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Netboot => "netboot",
            Format::Oci => "oci.tar",
        }
    }

    /// Whether the image starts on a machine by itself, and so needs a kernel and a boot loader in the plan.
    pub fn is_bootable(self) -> bool {
        match self {
            Format::Iso | Format::ImgGz | Format::Qcow2 | Format::Vmdk | Format::Netboot => true,
            Format::TarBz2 | Format::TarGz | Format::TarXz | Format::TarZst => false,
            Format::Zip | Format::Squashfs | Format::Oci => false,
        }
    }

    /// Whether it is a disk, with a filesystem for the root that can be chosen.
    pub fn is_disk(self) -> bool {
        matches!(self, Format::ImgGz | Format::Qcow2 | Format::Vmdk)
    }

    /// Whether the file is a tar archive, however compressed.
    pub fn is_tar(self) -> bool {
        matches!(self, Format::TarBz2 | Format::TarGz | Format::TarXz | Format::TarZst)
    }

    /// What it is good for, a sentence for someone choosing.
    pub fn advice(self) -> &'static str {
        match self {
            Format::Iso => "Starts from a USB stick, a CD or a virtual machine, on BIOS and UEFI.",
            Format::TarBz2 => "The whole system as an archive: for a chroot, a container or your own partition.",
            Format::TarXz => "The same, smaller, and slower to make.",
            Format::TarZst => "The same, much quicker to make and to unpack.",
            Format::TarGz => "The same, for tools that know gzip only.",
            Format::Zip => "The same for systems that know no tar.",
            Format::Squashfs => "The whole system as a compressed, read-only filesystem that Linux mounts as it is.",
            Format::ImgGz => "A disk to be written to a real one: BIOS and UEFI, grows to the disk's size when it first starts.",
            Format::Qcow2 => "A disk for QEMU, libvirt or Proxmox: BIOS and UEFI, 16 GiB that cost only what is in them.",
            Format::Vmdk => "The same disk for VirtualBox and VMware.",
            Format::Netboot => "Starts over the network by iPXE, straight from this site or from a web server of your own.",
            Format::Oci => {
                "A container for Podman, Docker and the like, with a layer for the packages and one for what is yours."
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = OrderError;
    fn from_str(s: &str) -> Result<Self, OrderError> {
        Format::ALL.into_iter().find(|f| f.name() == s).ok_or_else(|| {
            let known: Vec<_> = Format::ALL.iter().map(|f| f.name()).collect();
            OrderError::new("formats", format!("“{s}” is not a format we write; choose from {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders, files and the database use the same names.
    #[test]
    fn names_are_one() {
        for format in Format::ALL {
            assert_eq!(format.name().parse::<Format>().unwrap(), format);
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
        assert!("tar.lzma".parse::<Format>().is_err());
    }

    /// What can be written in an order can be chosen on the form: serde's own message names every variant.
    #[test]
    fn all_are_listed() {
        let message = serde_json::from_value::<Format>("none".into()).unwrap_err().to_string();
        let named = message.split('`').skip(3).step_by(2).count();
        assert_eq!(named, Format::ALL.len(), "{message}");
    }
}
