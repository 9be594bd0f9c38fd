use crate::BlobId;

/// What makes a tree bootable from a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootMedia {
    /// The kernel (bzImage).
    pub kernel: BlobId,
    /// The initramfs, whole. It finds the medium by the volume's label and the root in `/image.squashfs` there.
    pub initramfs: Vec<u8>,
    /// The ISO's volume label: 1 to 32 of `A-Z`, `0-9`, `_`.
    pub volume_id: String,
    /// The name shown in the boot menu.
    pub title: String,
    /// Kernel parameters; `console=` parameters are added to them.
    pub cmdline: String,
    /// Where GRUB's modules are in the tree, normally `usr/lib/grub`, with `i386-pc`, `x86_64-efi`, `i386-efi` below.
    pub grub_dir: String,
}
