//! A medium is what the tools that people look into media with say it should be.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::grub::add_grub;
use common::{EPOCH, Place, add_file, content, go_on, have, plain_tree, run};
use image::{BlobId, BootMedia, MenuWords, SquashCompressor, WriteOptions, write_iso, write_squashfs};

fn text(command: &mut Command) -> String {
    let output = run(command);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The fields of xorriso's line that begins with these words.
fn fields<'a>(said: &'a str, begin: &str) -> Vec<&'a str> {
    let line = said.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin} is not in\n{said}"));
    line.split_whitespace().collect()
}

#[test]
fn firmware_finds_its_programs_and_people_their_files() {
    let place = Place::new();
    let mut tree = plain_tree(&place.store);
    // Enough for several checksums.
    add_file(&mut tree, &place.store, b"usr/share/large", &content(24 << 20, 5), 0o644);
    if !have("xorriso") || !add_grub(&mut tree, &place.store) {
        return;
    }
    let boot = BootMedia {
        kernel: place.store.put_bytes(&b"a kernel ".repeat(1000)).unwrap().0,
        initramfs: b"an initramfs".to_vec(),
        volume_id: "HATCHERY_TEST".into(),
        title: "Test".into(),
        release: "6.1-test".into(),
        cmdline: "quiet".into(),
        words: MenuWords::Hatchery,
        grub_dir: "usr/lib/grub".into(),
    };
    let (iso, squashfs) = (place.path("image.iso"), place.path("image.squashfs"));
    // Once with nothing kept and once with everything.
    for name in ["first.iso", "image.iso"] {
        let report = write_iso(&tree, &place.store, &boot, &WriteOptions::at(EPOCH), &place.path(name), &go_on).unwrap();
        assert_eq!(report.notes, [""; 0]);
    }
    let bytes = fs::read(&iso).unwrap();
    assert!(bytes == fs::read(place.path("first.iso")).unwrap());
    write_squashfs(&tree, &place.store, SquashCompressor::Zstd, &WriteOptions::at(EPOCH), &squashfs, &go_on).unwrap();

    let report = ["-pvd_info", "-report_el_torito", "plain", "-report_system_area", "plain"];
    let said = text(Command::new("xorriso").args(["-report_about", "WARNING", "-indev"]).arg(&iso).args(report));
    assert!(said.contains("System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT"), "{said}");
    assert!(said.contains("Volume Id    : HATCHERY_TEST") && !said.contains("WARNING") && !said.contains("FAILURE"), "{said}");
    let bios = fields(&said, "El Torito boot img :   1  BIOS");
    assert_eq!(bios[5..11], ["1", "BIOS", "y", "none", "0x0000", "0x00"], "{said}");
    assert!(said.contains("El Torito img path :   1  /boot/grub/eltorito.img"), "{said}");
    assert!(said.contains("boot-info-table grub2-boot-info"), "{said}");
    // UEFI's entry for CDs and its partition for sticks are the same place.
    let efi = fields(&said, "El Torito boot img :   2  UEFI");
    let partition = fields(&said, "GPT start and size :   2");
    let sector: u64 = efi.last().unwrap().parse().unwrap();
    assert_eq!((sector * 4).to_string(), partition[6], "{said}");
    let listed =
        text(Command::new("mdir").args(["-b", "-i"]).arg(format!("{}@@{}", iso.display(), sector * 2048)).arg("::EFI/BOOT"));
    assert!(listed.contains("BOOTX64.EFI") && listed.contains("BOOTIA32.EFI"), "{listed}");
    let mut sfdisk = Command::new("sfdisk");
    sfdisk.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    let table = text(sfdisk.arg("--verify").arg(&iso));
    assert!(table.contains("No errors detected"), "{table}");

    check_files(&place, &iso, &squashfs);
}

/// All files, by whoever can read them; the first reader has to be there.
fn check_files(place: &Place, iso: &Path, squashfs: &Path) {
    let by_xorriso = place.path("by-xorriso");
    run(Command::new("xorriso").args(["-osirrox", "on", "-indev"]).arg(iso).args(["-extract", "/"]).arg(&by_xorriso));
    let by_bsdtar = place.path("by-bsdtar");
    fs::create_dir(&by_bsdtar).unwrap();
    let mut folders = vec![by_xorriso];
    if have("bsdtar") {
        run(Command::new("bsdtar").arg("-xf").arg(iso).arg("-C").arg(&by_bsdtar));
        folders.push(by_bsdtar);
    }
    let root = fs::read(squashfs).unwrap();
    let sums: String = root.chunks(4 << 20).map(|part| format!("{}\n", BlobId::of(part))).collect();
    assert!(sums.lines().count() > 2);
    for folder in folders {
        assert!(fs::read(folder.join("image.squashfs")).unwrap() == root);
        assert_eq!(fs::read(folder.join("boot/kernel")).unwrap(), b"a kernel ".repeat(1000));
        assert_eq!(fs::read(folder.join("boot/initramfs")).unwrap(), b"an initramfs");
        let menu = fs::read_to_string(folder.join("boot/grub/grub.cfg")).unwrap();
        assert!(menu.contains("linux /boot/kernel hatchery.label=HATCHERY_TEST "), "{menu}");
        assert_eq!(fs::read_to_string(folder.join("image.squashfs.sums")).unwrap(), sums);
    }
}
