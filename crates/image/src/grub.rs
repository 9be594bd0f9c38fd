//! GRUB for media and disks: its modules come out of the tree, the host's `grub-mkimage` links them into boot programs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::entry::Kind;
use crate::fat;
use crate::iso::BootMedia;
use crate::root::RootFilesystem;
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
    fn image_format(self, medium: Medium) -> &'static str {
        match (self, medium) {
            (Platform::Bios, Medium::Iso) => "i386-pc-eltorito",
            (Platform::Bios, Medium::Disk(_)) => "i386-pc",
            (Platform::Efi64, _) => "x86_64-efi",
            (Platform::Efi32, _) => "i386-efi",
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

/// What is booted from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    Iso,
    /// A disk with this root, which has `/boot`.
    Disk(RootFilesystem),
}

impl Medium {
    /// What finds its files.
    fn modules(self) -> [&'static str; 2] {
        match self {
            Medium::Iso => ["iso9660", "search_label"],
            Medium::Disk(root) => [root.grub_module(), "search_fs_uuid"],
        }
    }

    /// The program in its first sector that starts the rest on BIOS.
    fn boot_sector(self) -> &'static str {
        match self {
            Medium::Iso => "boot_hybrid.img",
            Medium::Disk(_) => "boot.img",
        }
    }
}

/// What boot programs are made for.
pub(crate) struct Boot<'a> {
    medium: Medium,
    /// Where GRUB's modules are in the tree.
    grub_dir: &'a str,
    /// GRUB's configuration that is built in: it finds the medium and sets `prefix`.
    early: &'a str,
    options: &'a WriteOptions,
}

impl<'a> Boot<'a> {
    pub(crate) fn iso(boot: &'a BootMedia, early: &'a str, options: &'a WriteOptions) -> Boot<'a> {
        Boot { medium: Medium::Iso, grub_dir: &boot.grub_dir, early, options }
    }

    pub(crate) fn disk(boot: &'a BootMedia, root: RootFilesystem, early: &'a str, options: &'a WriteOptions) -> Boot<'a> {
        Boot { medium: Medium::Disk(root), grub_dir: &boot.grub_dir, early, options }
    }
}

/// Without these nothing starts.
const NEEDED: [&str; 6] = ["normal", "linux", "configfile", "search", "part_gpt", "part_msdos"];
/// Taken where GRUB has them: consoles, more filesystems, commands for a person at the prompt.
const WELCOME: [&str; 16] = [
    "serial",
    "terminal",
    "echo",
    "test",
    "fat",
    "iso9660",
    "ext2",
    "search_label",
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
    /// The programs for UEFI under the names that firmware looks for on removable media (UEFI 2.10, 3.5.1.1).
    pub efi: Vec<(&'static str, Vec<u8>)>,
    /// What the medium will not boot on.
    pub notes: Vec<String>,
}

pub(crate) struct BiosPrograms {
    /// GRUB itself: for CDs an El Torito boot image, for disks the core that its boot sector loads.
    pub core: PathBuf,
    /// The MBR's program, for disks and USB sticks.
    pub mbr: PathBuf,
}

/// Makes boot programs for every firmware that the tree has modules for.
///
/// # Errors
/// `Boot` when it has none, or GRUB's folder lacks a module that is needed; the errors of running grub-mkimage.
pub(crate) fn prepare(tree: &Tree, store: &Store, workspace: &Workspace, boot: &Boot) -> Result<BootPrograms, Error> {
    let early = workspace.path("early.cfg");
    fs::write(&early, boot.early).map_err(|e| Error::io(&early, e))?;
    let mut programs = BootPrograms { bios: None, efi: Vec::new(), notes: Vec::new() };
    for platform in [Platform::Bios, Platform::Efi64, Platform::Efi32] {
        let Some(path) = make_image(tree, store, workspace, boot, platform)? else {
            let (label, folder) = (platform.label(), platform.folder());
            programs.notes.push(format!("it does not boot on {label}: the image has no /{}/{folder}", boot.grub_dir));
            continue;
        };
        let read = || fs::read(&path).map_err(|e| Error::io(&path, e));
        match platform {
            Platform::Bios => programs.bios = Some(bios_programs(workspace, boot, path)?),
            Platform::Efi64 => programs.efi.push(("BOOTX64.EFI", read()?)),
            Platform::Efi32 => programs.efi.push(("BOOTIA32.EFI", read()?)),
        }
    }
    if programs.notes.len() == 3 {
        return Err(Error::Boot(format!(
            "the image has no boot loader: there are no GRUB modules in /{}; add the package sys-boot/grub",
            boot.grub_dir
        )));
    }
    Ok(programs)
}

/// Links a boot program for one platform; `None` when the tree has no modules for it.
fn make_image(
    tree: &Tree,
    store: &Store,
    workspace: &Workspace,
    boot: &Boot,
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
    args.extend(["--format", platform.image_format(boot.medium), "--prefix", "/boot/grub", "--config"].map(Into::into));
    args.push(workspace.path("early.cfg").into());
    args.extend(["--output".into(), out.clone().into_os_string()]);
    args.extend(module_list(&modules, platform, boot.medium)?.into_iter().map(Into::into));
    tool::run(workspace, ("grub-mkimage", "grub-common"), args, boot.options.epoch, || Ok(()))?;
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
fn module_list(folder: &Path, platform: Platform, medium: Medium) -> Result<Vec<&'static str>, Error> {
    let has = |module: &&str| folder.join(format!("{module}.mod")).is_file();
    let own: &[&str] = match platform {
        Platform::Bios => &["biosdisk"],
        Platform::Efi64 | Platform::Efi32 => &["efi_gop"],
    };
    let needed: Vec<&'static str> = NEEDED.iter().chain(own).chain(&medium.modules()).copied().collect();
    if let Some(missing) = needed.iter().find(|module| !has(module)) {
        let folder = platform.folder();
        return Err(Error::Boot(format!("GRUB's folder {folder} in the image lacks {missing}.mod: sys-boot/grub is incomplete")));
    }
    let welcome = WELCOME.into_iter().filter(|module| has(module) && !needed.contains(module)).collect::<Vec<_>>();
    Ok(needed.into_iter().chain(welcome).collect())
}

fn bios_programs(workspace: &Workspace, boot: &Boot, core: PathBuf) -> Result<BiosPrograms, Error> {
    let name = boot.medium.boot_sector();
    let mbr = workspace.path(Platform::Bios.folder()).join(name);
    match mbr.is_file() {
        true => Ok(BiosPrograms { core, mbr }),
        false => Err(Error::Boot(format!("GRUB's folder i386-pc in the image lacks {name}: sys-boot/grub is incomplete"))),
    }
}

/// The files of an EFI system partition.
pub(crate) fn efi_folder(programs: &[(&'static str, Vec<u8>)]) -> Vec<(&'static str, fat::Node)> {
    let files = programs.iter().map(|(name, program)| (*name, fat::Node::File(program.clone()))).collect();
    vec![("EFI", fat::Node::Dir(vec![("BOOT", fat::Node::Dir(files))]))]
}
