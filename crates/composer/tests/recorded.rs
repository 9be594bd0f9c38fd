//! Whole binhosts against real Portage: what `emerge` made of every package of them was recorded path by path (`portage/record.py`), and
//! the same packages merged by us are held against it. Skipped, with a line that says so, where the real binhosts are not.
//!
//! A difference is either one of [`Cause`], each counted and described in docs/composer.md, or the test fails.

mod common;
mod portage;

use std::collections::BTreeMap;

use common::{Bench, Item, Pack, script, text};
use portage::{Cause, Recording, compare, merge_as_recorded};

/// Compares with a recording and prints the table of docs/composer.md; packages that cannot be merged without what a binhost lacks are
/// left out of ours and theirs.
fn compared(recording: &Recording, left_out: &[&str]) {
    let bench = Bench::new();
    let (root, hosts_own) = merge_as_recorded(&bench, recording, left_out);
    let mut causes: BTreeMap<Cause, (usize, String)> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let found = compare(&bench, &root, recording, &hosts_own, left_out);
    for difference in found.differences {
        match Cause::of(&difference) {
            Some(cause) => causes.entry(cause).or_insert((0, difference.to_string())).0 += 1,
            None => unexplained.push(difference.to_string()),
        }
    }
    println!("{} paths of {} packages compared", found.paths, found.packages);
    for (cause, (count, example)) in &causes {
        println!("| {cause} | {count} | {example} |");
    }
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), unexplained.join("\n"));
    assert!(found.packages > 0 && found.paths > found.packages, "hardly anything was compared");
}

fn against(name: &str, left_out: &[&str]) {
    if let Some(recording) = Recording::load(name) {
        compared(&recording, left_out);
    }
}

#[test]
fn the_gpkg_binhost_is_merged_as_portage_merges_it() {
    // Recorded without app-text/docbook-xml-dtd, whose postinst needs xmlcatalog, which the binhost lacks, and fails in Portage, too, and
    // without app-text/xhtml1, which goes with it.
    against("gpkg", &[]);
}

#[test]
fn the_xpak_binhost_is_merged_as_portage_merges_it() {
    // Its preinst needs Python, which the binhost lacks, and fails in Portage, too.
    against("xpak", &["sys-apps/portage-3.0.49-r1"]);
}

/// Three versions of a package and a neighbour, with all that may happen to a file when they replace each other.
fn generations() -> Vec<Pack> {
    let phase = |name: &str| {
        format!(
            "pkg_{name} () \n{{ \n    echo \"{name} ${{PVR}} [${{REPLACING_VERSIONS}}] [${{REPLACED_BY_VERSION}}]\" >> \"${{ROOT}}/order\"\n}}\n"
        )
    };
    let phases: String = ["setup", "preinst", "postinst", "prerm", "postrm"].map(phase).concat();
    let common = |version: &str| {
        Pack::new(&format!("app-misc/up-{version}"))
            .item("etc/unchanged", text(version))
            .item("etc/changed", text(version))
            .item("etc/same", text("same"))
            .item("etc/deleted", text(version))
            .item("etc/env.d/50up", text(&format!("UP=\"{version}\"\n")))
            .item("usr/bin/tool", script(version))
            .item("usr/bin/twin", Item::Hard("usr/bin/tool"))
            .item("usr/share/up/always", text("always"))
            .phases(&phases)
            // Portage runs the phases of a package that goes only where its ebuild was recorded.
            .meta(&format!("up-{version}.ebuild"), "EAPI=8")
    };
    vec![
        common("1")
            .item("etc/dropped", text("1"))
            .item("etc/dropped-changed", text("1"))
            .item("etc/becomes-link", text("1"))
            .item("usr/bin/old", Item::File(0o4711, b"1".to_vec()))
            .item("usr/share/up/old/deep/file", text("1"))
            .item("usr/share/up/empty", Item::Dir(0o700))
            .item("usr/share/linked", Item::Link("up".into()))
            .item("usr/share/dangling", Item::Link("nowhere".into()))
            .item("usr/share/info/up.info", text("1"))
            .item("var/lib/up/.keep_up", text(""))
            .item("lib/modules/5/m.ko", text("1")),
        common("2").item("etc/becomes-link", Item::Link("unchanged".into())).item("usr/share/up/new", text("2")),
        common("3").item("usr/share/up/old", text("a file now")),
        Pack::new("app-misc/other-1")
            .item("usr/share/up/neighbour", text("n"))
            .item("etc/same", text("same"))
            .phases("pkg_postinst () \n{ \n    :\n}\n"),
    ]
}

#[test]
fn upgrades_and_downgrades_are_what_portage_makes_of_them() {
    let dir = tempfile::tempdir().unwrap();
    compared(&Recording::load_made("upgrade", &generations(), dir.path()), &[]);
}

/// Writes the packages for `portage/record.py` into $PKGDIR.
#[test]
#[ignore = "only for making the recording anew"]
fn write_the_generations() {
    portage::write_packages(&generations(), std::path::Path::new(&std::env::var("PKGDIR").unwrap()));
}
