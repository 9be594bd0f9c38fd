//! What a machine needs to start over the network: kernel, initramfs, the root as squashfs, and the iPXE script that names them.
//! The files stand beside each other on a web server; the script finds them by where it came from itself.

use std::fs;
use std::path::Path;

use crate::iso::BootMedia;
use crate::squashfs::{SquashCompressor, Squashfs};
use crate::store::Store;
use crate::tree::Tree;
use crate::write::{Error, Meter, Progress, Workspace, WriteOptions, WriteReport};

/// The endings of the files, added to a common stem.
pub const NETBOOT_FILES: [&str; 4] = [SCRIPT, KERNEL, INITRAMFS, ROOT];
const SCRIPT: &str = "ipxe";
const KERNEL: &str = "kernel";
const INITRAMFS: &str = "initramfs";
const ROOT: &str = "squashfs";

/// Writes the files `STEM.ipxe`, `STEM.kernel`, `STEM.initramfs` and `STEM.squashfs`. The script comes last, so that what it names is
/// there before it.
///
/// # Errors
/// `Boot` when the stem cannot stand in a script: it must be ASCII letters, digits, dots, hyphens and underscores.
pub fn write_netboot(
    tree: &Tree,
    store: &Store,
    boot: &BootMedia,
    options: &WriteOptions,
    stem: &Path,
    progress: Progress,
) -> Result<WriteReport, Error> {
    boot.check()?;
    let name = stem.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err(Error::Boot(format!("“{}” cannot be the name of files for iPXE", name.escape_debug())));
    }
    let mut meter = Meter::new(progress, tree.totals().bytes);
    let out = |ending: &str| stem.with_file_name(format!("{name}.{ending}"));
    let workspace = Workspace::beside(&out(ROOT))?;
    let squashfs = Squashfs { tree, store, compressor: SquashCompressor::Zstd, options };
    let (made, file) = squashfs.make(&workspace, ROOT, &mut meter)?;
    let digest = made.sha256(store, (&workspace.path(ROOT), &file, 0))?;
    let kernel = store.read(&boot.kernel).map_err(|e| Error::content(b"boot/kernel", e))?;
    let script = script(boot, name, &digest);
    workspace.publish(ROOT)?;
    for (ending, bytes) in [(KERNEL, kernel.as_slice()), (INITRAMFS, &boot.initramfs), (SCRIPT, script.as_bytes())] {
        let workspace = Workspace::beside(&out(ending))?;
        let path = workspace.path(ending);
        fs::write(&path, bytes).map_err(|e| Error::io(&path, e))?;
        workspace.publish(ending)?;
    }
    Ok(WriteReport { notes: made.notes })
}

/// The iPXE script. `${cwuri}` is the script's own address, which the initramfs needs to find the root beside it; an iPXE from before
/// 2021 does not know it, but may have been given the address by DHCP. The checksum goes with it, because the way there is not always
/// a safe one.
fn script(boot: &BootMedia, name: &str, digest: &str) -> String {
    let BootMedia { cmdline, title, .. } = boot;
    let cmdline = cmdline.trim();
    format!(
        "#!ipxe\n\
         # {title}\n\
         set here ${{cwuri}} ||\n\
         isset ${{here}} || set here ${{filename}} ||\n\
         isset ${{here}} || goto nowhere\n\
         kernel {name}.{KERNEL} initrd=initramfs hatchery.fetch=${{here}} hatchery.file={name}.{ROOT} hatchery.sha256={digest} \
         console=ttyS0,115200 console=tty0 {cmdline}\n\
         initrd --name initramfs {name}.{INITRAMFS}\n\
         boot\n\
         :nowhere\n\
         echo This iPXE cannot tell where this script came from. Use one of 2021 or later, or give the script's address by DHCP.\n\
         shell\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::menu::MenuWords;
    use crate::store::BlobId;

    #[test]
    fn the_script_names_its_neighbours() {
        let boot = BootMedia {
            kernel: BlobId::of(b""),
            initramfs: Vec::new(),
            volume_id: "X".into(),
            title: "Test".into(),
            release: "6.1".into(),
            cmdline: "quiet".into(),
            words: MenuWords::Hatchery,
            grub_dir: String::new(),
        };
        let text = script(&boot, "a-1.netboot", "00");
        let expected = "kernel a-1.netboot.kernel initrd=initramfs hatchery.fetch=${here} \
                        hatchery.file=a-1.netboot.squashfs hatchery.sha256=00 console=ttyS0,115200 console=tty0 quiet\n\
                        initrd --name initramfs a-1.netboot.initramfs\nboot\n";
        assert!(text.starts_with("#!ipxe\n# Test\nset here ${cwuri} ||\n"), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}
