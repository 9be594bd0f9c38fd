//! Whole binhosts against real Portage: what `emerge` made of every package of them was recorded path by path (`portage/record.py`), and
//! the same packages merged by us are held against it. Skipped, with a line that says so, where the real binhosts are not.
//!
//! A difference is either one of [`Cause`], each counted and described in docs/composer.md, or the test fails.

mod common;
mod portage;

use portage::made::{generations, libraries};
use portage::{Recording, compared};

fn against(name: &str, left_out: &[&str]) {
    if let Some(recording) = Recording::load(name) {
        compared(&recording, left_out);
    }
}

#[test]
fn the_gpkg_binhost_is_merged_as_portage_merges_it() {
    // Recorded without app-text/docbook-xml-dtd, whose postinst needs xmlcatalog, which the binhost lacks, and fails in Portage, too.
    against("gpkg", &[]);
}

#[test]
fn the_xpak_binhost_is_merged_as_portage_merges_it() {
    // Its preinst needs Python, which the binhost lacks, and fails in Portage, too.
    against("xpak", &["sys-apps/portage-3.0.49-r1"]);
}

fn made() -> Vec<common::Pack> {
    [generations(), libraries()].concat()
}

#[test]
fn upgrades_and_downgrades_are_what_portage_makes_of_them() {
    let dir = tempfile::tempdir().unwrap();
    compared(&Recording::load_made("upgrade", &made(), dir.path()), &[]);
}

/// Writes the packages for `portage/record.py` into $PKGDIR.
#[test]
#[ignore = "only for making the recording anew"]
fn write_the_generations() {
    portage::write_packages(&made(), std::path::Path::new(&std::env::var("PKGDIR").unwrap()));
}
