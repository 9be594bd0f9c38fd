//! GRUB for media and disks: its modules come out of the tree, the host's `grub-mkimage` links them into boot programs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::entry::Kind;
use crate::fat;
use crate::forms::FormKey;
use crate::iso::BootMedia;
use crate::root::RootFilesystem;
use crate::store::{BlobId, Store};
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

#[derive(Clone)]
pub(crate) struct BiosPrograms {
    /// GRUB itself: for CDs an El Torito boot image, for disks the core that its boot sector loads.
    pub core: Vec<u8>,
    /// The MBR's program, for disks and USB sticks.
    pub mbr: Vec<u8>,
}

/// The program of Debian's package grub-common that links the others.
const MKIMAGE: (&str, &str) = ("grub-mkimage", "grub-common");

/// Makes boot programs for every firmware that the tree has modules for. They are kept as forms.
///
/// # Errors
/// `Boot` when it has none, or GRUB's folder lacks a module that is needed; the errors of running grub-mkimage.
pub(crate) fn prepare(tree: &Tree, store: &Store, workspace: &Workspace, boot: &Boot) -> Result<BootPrograms, Error> {
    let mut programs = BootPrograms { bios: None, efi: Vec::new(), notes: Vec::new() };
    let mut linker = Linker { store, workspace, boot, version: None };
    for platform in [Platform::Bios, Platform::Efi64, Platform::Efi32] {
        let Some(modules) = Modules::find(tree, boot, platform) else {
            let (label, folder) = (platform.label(), platform.folder());
            programs.notes.push(format!("it does not boot on {label}: the image has no /{}/{folder}", boot.grub_dir));
            continue;
        };
        let program = linker.program(&modules)?;
        match platform {
            Platform::Bios => {
                let mbr = modules.read(store, boot.medium.boot_sector())?;
                programs.bios = Some(BiosPrograms { core: program, mbr });
            }
            Platform::Efi64 => programs.efi.push(("BOOTX64.EFI", program)),
            Platform::Efi32 => programs.efi.push(("BOOTIA32.EFI", program)),
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

/// Links boot programs.
struct Linker<'a> {
    store: &'a Store,
    workspace: &'a Workspace,
    boot: &'a Boot<'a>,
    /// What `grub-mkimage` says of itself, once it was asked.
    version: Option<Vec<u8>>,
}

impl Linker<'_> {
    /// Links the boot program, or finds it linked: from the same files, by the same version of the program.
    fn program(&mut self, modules: &Modules) -> Result<Vec<u8>, Error> {
        let list = modules.list(self.boot.medium)?;
        let format = modules.platform.image_format(self.boot.medium);
        let version = match &self.version {
            Some(version) => version,
            None => self.version.insert(tool::version(MKIMAGE)?),
        };
        let mut key = FormKey::of("boot program, 1");
        key.field(version).field(format.as_bytes()).field(self.boot.early.as_bytes()).number(list.len() as u64);
        list.iter().for_each(|module| _ = key.field(module.as_bytes()));
        modules.files.iter().for_each(|(name, blob)| _ = key.field(name).blob(blob));
        let (key, forms) = (key.finish(), self.store.forms().map_err(Error::store)?);
        if let Some(known) = forms.get(&key) {
            return Ok(known);
        }
        let program = self.link(modules, format, &list)?;
        forms.put(&key, &program).map_err(Error::store)?;
        Ok(program)
    }

    fn link(&self, modules: &Modules, format: &str, list: &[&str]) -> Result<Vec<u8>, Error> {
        let Linker { store, workspace, boot, .. } = *self;
        let folder = workspace.path(modules.platform.folder());
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        for name in modules.files.keys() {
            let path = folder.join(OsStr::from_bytes(name));
            fs::write(&path, modules.content(store, name)?).map_err(|e| Error::io(&path, e))?;
        }
        let (early, out) = (workspace.path("early.cfg"), folder.with_extension("img"));
        fs::write(&early, boot.early).map_err(|e| Error::io(&early, e))?;
        let mut args = vec!["--directory".into(), folder.into_os_string()];
        args.extend(["--format", format, "--prefix", "/boot/grub", "--config"].map(Into::into));
        args.extend([early.into_os_string(), "--output".into(), out.clone().into_os_string()]);
        args.extend(list.iter().map(Into::into));
        tool::run(workspace, MKIMAGE, args, boot.options.epoch, || Ok(()))?;
        fs::read(&out).map_err(|e| Error::io(&out, e))
    }
}

/// GRUB's files for one platform, as the tree has them.
struct Modules<'a> {
    platform: Platform,
    source: Vec<u8>,
    files: BTreeMap<&'a [u8], &'a BlobId>,
}

impl<'a> Modules<'a> {
    /// `None` when there are none.
    fn find(tree: &'a Tree, boot: &Boot, platform: Platform) -> Option<Modules<'a>> {
        let (source, _) = tree.lookup(format!("{}/{}", boot.grub_dir, platform.folder())).ok()?;
        let files = tree.children(&source).into_iter().filter_map(|(name, entry)| match &entry.kind {
            Kind::File { blob, .. } => Some((name, blob)),
            _ => None,
        });
        let files: BTreeMap<&[u8], &BlobId> = files.collect();
        (!files.is_empty()).then_some(Modules { platform, source, files })
    }

    /// The modules to link in.
    fn list(&self, medium: Medium) -> Result<Vec<&'static str>, Error> {
        let has = |module: &&str| self.files.contains_key(format!("{module}.mod").as_bytes());
        let own: &[&str] = match self.platform {
            Platform::Bios => &["biosdisk"],
            Platform::Efi64 | Platform::Efi32 => &["efi_gop"],
        };
        let needed: Vec<&'static str> = NEEDED.iter().chain(own).chain(&medium.modules()).copied().collect();
        if let Some(missing) = needed.iter().find(|module| !has(module)) {
            return Err(self.lacks(&format!("{missing}.mod")));
        }
        let welcome = WELCOME.into_iter().filter(|module| has(module) && !needed.contains(module)).collect::<Vec<_>>();
        Ok(needed.into_iter().chain(welcome).collect())
    }

    fn read(&self, store: &Store, name: &str) -> Result<Vec<u8>, Error> {
        match self.files.contains_key(name.as_bytes()) {
            true => self.content(store, name.as_bytes()),
            false => Err(self.lacks(name)),
        }
    }

    fn content(&self, store: &Store, name: &[u8]) -> Result<Vec<u8>, Error> {
        let Some(blob) = self.files.get(name) else { return Ok(Vec::new()) };
        store.read(blob).map_err(|e| Error::content(&[&self.source, b"/".as_slice(), name].concat(), e))
    }

    fn lacks(&self, name: &str) -> Error {
        let folder = self.platform.folder();
        Error::Boot(format!("GRUB's folder {folder} in the image lacks {name}: sys-boot/grub is incomplete"))
    }
}

/// The files of an EFI system partition.
pub(crate) fn efi_folder(programs: &[(&'static str, Vec<u8>)]) -> Vec<(&'static str, fat::Node)> {
    let files = programs.iter().map(|(name, program)| (*name, fat::Node::File(program.clone()))).collect();
    vec![("EFI", fat::Node::Dir(vec![("BOOT", fat::Node::Dir(files))]))]
}
