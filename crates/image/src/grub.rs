//! GRUB for media: its modules come out of the tree, the host's `grub-mkimage` links them into boot programs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::entry::Kind;
use crate::fat;
use crate::iso::BootMedia;
use crate::store::Store;
use crate::tool;
use crate::tree::Tree;
use crate::write::{Error, Workspace, WriteOptions};

/// A firmware GRUB boots on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Platform {
    Bios,
    Efi64,
    Efi32,
}

impl Platform {
    /// The name of GRUB's module folder.
    fn folder(self) -> &'static str {
        match self {
            Platform::Bios => "i386-pc",
            Platform::Efi64 => "x86_64-efi",
            Platform::Efi32 => "i386-efi",
        }
    }

    /// grub-mkimage's name for the form the medium needs.
    fn image_format(self) -> &'static str {
        match self {
            Platform::Bios => "i386-pc-eltorito",
            Platform::Efi64 => "x86_64-efi",
            Platform::Efi32 => "i386-efi",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Platform::Bios => "BIOS",
            Platform::Efi64 => "64-bit UEFI",
            Platform::Efi32 => "32-bit UEFI",
        }
    }
}

/// Without these a medium does not start.
const NEEDED: [&str; 8] = ["normal", "linux", "configfile", "search", "search_label", "iso9660", "part_gpt", "part_msdos"];
/// Taken where GRUB has them: consoles, more filesystems, commands for a person at the prompt.
const WELCOME: [&str; 14] = [
    "serial",
    "terminal",
    "echo",
    "test",
    "fat",
    "ext2",
    "search_fs_uuid",
    "ls",
    "cat",
    "minicmd",
    "halt",
    "reboot",
    "all_video",
    "gzio",
];

/// The boot programs of a medium; at least one is there.
pub(crate) struct BootPrograms {
    pub bios: Option<BiosPrograms>,
    /// A FAT image for the EFI system partition.
    pub efi_partition: Option<PathBuf>,
    /// What the medium will not boot on.
    pub notes: Vec<String>,
}

pub(crate) struct BiosPrograms {
    /// The El Torito boot image, for CDs.
    pub eltorito: PathBuf,
    /// The MBR, for disks and USB sticks.
    pub mbr: PathBuf,
}

/// Makes boot programs for every firmware that the tree has modules for.
///
/// # Errors
/// `Boot` when it has none, or GRUB's folder lacks a module that is needed; the errors of running grub-mkimage.
pub(crate) fn prepare(
    tree: &Tree,
    store: &Store,
    boot: &BootMedia,
    options: &WriteOptions,
    workspace: &Workspace,
) -> Result<BootPrograms, Error> {
    let early = workspace.path("early.cfg");
    let config = format!("search --no-floppy --set=root --label {}\nset prefix=($root)/boot/grub\n", boot.volume_id);
    fs::write(&early, config).map_err(|e| Error::io(&early, e))?;

    let make = |platform| make_image(tree, store, boot, options, workspace, platform);
    let (bios, efi64, efi32) = (make(Platform::Bios)?, make(Platform::Efi64)?, make(Platform::Efi32)?);
    let bios = bios.map(|eltorito| bios_programs(workspace, eltorito)).transpose()?;
    let mut notes = Vec::new();
    for (platform, there) in
        [(Platform::Bios, bios.is_some()), (Platform::Efi64, efi64.is_some()), (Platform::Efi32, efi32.is_some())]
    {
        if !there {
            let (label, folder) = (platform.label(), platform.folder());
            notes.push(format!("iso: it does not boot on {label}: the image has no /{}/{folder}", boot.grub_dir));
        }
    }
    if notes.len() == 3 {
        return Err(Error::Boot(format!(
            "the image has no boot loader: there are no GRUB modules in /{}; add the package sys-boot/grub",
            boot.grub_dir
        )));
    }
    let efi_partition = efi_partition(workspace, efi64, efi32)?;
    Ok(BootPrograms { bios, efi_partition, notes })
}

/// Links a boot program for one platform; `None` when the tree has no modules for it.
fn make_image(
    tree: &Tree,
    store: &Store,
    boot: &BootMedia,
    options: &WriteOptions,
    workspace: &Workspace,
    platform: Platform,
) -> Result<Option<PathBuf>, Error> {
    let source = format!("{}/{}", boot.grub_dir, platform.folder());
    let Ok((source, _)) = tree.lookup(&source) else { return Ok(None) };
    let modules = workspace.path(platform.folder());
    if !extract(tree, store, &source, &modules)? {
        return Ok(None);
    }
    let out = workspace.path(&format!("{}.img", platform.folder()));
    let mut args = vec!["--directory".into(), modules.clone().into_os_string()];
    args.extend(["--format", platform.image_format(), "--prefix", "/boot/grub", "--config"].map(Into::into));
    args.push(workspace.path("early.cfg").into());
    args.extend(["--output".into(), out.clone().into_os_string()]);
    args.extend(module_list(&modules, platform)?.into_iter().map(Into::into));
    tool::run(workspace, ("grub-mkimage", "grub-common"), args, options.epoch, || Ok(()))?;
    Ok(Some(out))
}

/// Copies the files of a folder of the tree; whether there were any.
fn extract(tree: &Tree, store: &Store, source: &[u8], target: &Path) -> Result<bool, Error> {
    use std::os::unix::ffi::OsStrExt;
    fs::create_dir_all(target).map_err(|e| Error::io(target, e))?;
    let mut any = false;
    for (name, entry) in tree.children(source) {
        if let Kind::File { blob, .. } = &entry.kind {
            let path = target.join(std::ffi::OsStr::from_bytes(name));
            let content = store.read(blob).map_err(|e| Error::content(&[source, b"/", name].concat(), e))?;
            fs::write(&path, content).map_err(|e| Error::io(&path, e))?;
            any = true;
        }
    }
    Ok(any)
}

/// The modules to link in.
fn module_list(folder: &Path, platform: Platform) -> Result<Vec<&'static str>, Error> {
    let has = |module: &&str| folder.join(format!("{module}.mod")).is_file();
    let own: &[&str] = match platform {
        Platform::Bios => &["biosdisk"],
        Platform::Efi64 | Platform::Efi32 => &["efi_gop"],
    };
    let needed: Vec<&'static str> = NEEDED.iter().chain(own).copied().collect();
    if let Some(missing) = needed.iter().find(|module| !has(module)) {
        let folder = platform.folder();
        return Err(Error::Boot(format!("GRUB's folder {folder} in the image lacks {missing}.mod: sys-boot/grub is incomplete")));
    }
    Ok(needed.into_iter().chain(WELCOME.into_iter().filter(|module| has(module))).collect())
}

fn bios_programs(workspace: &Workspace, eltorito: PathBuf) -> Result<BiosPrograms, Error> {
    let mbr = workspace.path(Platform::Bios.folder()).join("boot_hybrid.img");
    match mbr.is_file() {
        true => Ok(BiosPrograms { eltorito, mbr }),
        false => Err(Error::Boot("GRUB's folder i386-pc in the image lacks boot_hybrid.img: sys-boot/grub is incomplete".into())),
    }
}

/// The EFI system partition with the programs under the names that firmware looks for on removable media (UEFI 2.10, 3.5.1.1).
fn efi_partition(workspace: &Workspace, efi64: Option<PathBuf>, efi32: Option<PathBuf>) -> Result<Option<PathBuf>, Error> {
    let mut programs = Vec::new();
    for (name, path) in [("BOOTX64.EFI", efi64), ("BOOTIA32.EFI", efi32)] {
        if let Some(path) = path {
            programs.push((name, fat::Node::File(fs::read(&path).map_err(|e| Error::io(&path, e))?)));
        }
    }
    if programs.is_empty() {
        return Ok(None);
    }
    let root = [("EFI", fat::Node::Dir(vec![("BOOT", fat::Node::Dir(programs))]))];
    let path = workspace.path("efi.img");
    fs::write(&path, fat::filesystem("EFI", &root)?).map_err(|e| Error::io(&path, e))?;
    Ok(Some(path))
}
