//! Merging over a root that has packages installed: what they leave, what stays of them, and what is protected.

mod common;

use common::{Bench, Item, Log, Pack, base_system, script, text};
use composer::Root;
use image::Tree;

/// Merges packages, then others over them; `change` is what an administrator does in between.
fn upgraded(first: &[Pack], change: &dyn Fn(&Bench, &mut Tree), second: &[Pack]) -> (Bench, Root, String) {
    let bench = Bench::new();
    let log = Log::default();
    let mut base = bench.merge(first, &log).unwrap_or_else(|error| panic!("{error}")).tree;
    change(&bench, &mut base);
    let root = bench.merge_over(&base, second, &log).unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    (bench, root, log.text())
}

#[test]
fn the_old_files_go_and_shared_ones_stay() {
    let old = Pack::new("x/a-1")
        .item("usr/bin/tool", script("1"))
        .item("usr/bin/old", script("1"))
        .item("usr/share/a/old/deep", text("1"))
        .item("usr/share/info/a.info", text("1"))
        .item("usr/lib/link", Item::Link("nowhere".into()))
        .item("lib/modules/5/m.ko", text("module"));
    let other = Pack::new("x/b-1").item("usr/share/a/other", text("b"));
    let new = Pack::new("x/a-2").item("bin/tool", script("2"));
    let add_dir = |bench: &Bench, tree: &mut Tree| {
        tree.write_file(&bench.store, "usr/share/info/dir", b"generated", 0o644).unwrap();
    };
    let (bench, root, _) = upgraded(&[old, other], &add_dir, &[new]);
    assert_eq!(bench.read(&root, "usr/bin/tool"), "2");
    for gone in ["usr/bin/old", "usr/share/a/old", "usr/lib/link", "usr/share/info", "var/db/pkg/x/a-1"] {
        assert!(!root.tree.contains(gone), "{gone} is still there");
    }
    assert_eq!(bench.read(&root, "usr/share/a/other"), "b");
    assert!(root.tree.contains("usr/lib/modules/5/m.ko"), "kernel modules are never removed");
    assert_eq!(bench.read(&root, "var/db/pkg/x/a-2/COUNTER"), "3");
    assert_eq!(bench.read(&root, "var/cache/edb/counter"), "3");
}

#[test]
fn other_slots_stay() {
    let (bench, root, _) = upgraded(
        &[Pack::new("x/a-1").item("usr/bin/a1", script("1"))],
        &|_, _| {},
        &[Pack::new("x/a-2").meta("SLOT", "2/2").item("usr/bin/a2", script("2"))],
    );
    assert_eq!((bench.read(&root, "usr/bin/a1"), bench.read(&root, "usr/bin/a2")), ("1".into(), "2".into()));
    assert!(root.tree.contains("var/db/pkg/x/a-1") && root.tree.contains("var/db/pkg/x/a-2"));
}

#[test]
fn changed_configuration_stays_and_unchanged_one_is_updated() {
    let old = Pack::new("x/a-1")
        .item("etc/unchanged", text("1"))
        .item("etc/changed", text("1"))
        .item("etc/deleted", text("1"))
        .item("etc/dropped", text("1"))
        .item("etc/dropped-changed", text("1"));
    let new = Pack::new("x/a-2").item("etc/unchanged", text("2")).item("etc/changed", text("2")).item("etc/deleted", text("2"));
    let administer = |bench: &Bench, tree: &mut Tree| {
        tree.write_file(&bench.store, "etc/changed", b"mine", 0o600).unwrap();
        tree.write_file(&bench.store, "etc/dropped-changed", b"mine", 0o644).unwrap();
        tree.remove("etc/deleted").unwrap();
    };
    let (bench, root, _) = upgraded(&[old], &administer, std::slice::from_ref(&new));
    let read = |path: &str| bench.read(&root, path);
    assert_eq!(
        (read("etc/unchanged"), read("etc/changed"), read("etc/._cfg0000_changed")),
        ("2".into(), "mine".into(), "2".into())
    );
    assert_eq!(read("etc/._cfg0000_deleted"), "2");
    assert!(!root.tree.contains("etc/deleted") && !root.tree.contains("etc/dropped"));
    assert_eq!(read("etc/dropped-changed"), "mine");
    // The offer is remembered, and not made again for the same content.
    assert_eq!(read("var/lib/portage/config"), "/etc/changed c81e728d9d4c2f636f067f89cc14862c\n");
    let again = bench.merge_over(&root.tree, std::slice::from_ref(&new), &Log::default()).unwrap();
    assert!(!again.tree.contains("etc/._cfg0001_changed"));
    let third = Pack::new("x/a-3").item("etc/changed", text("3"));
    let third = bench.merge_over(&again.tree, &[third], &Log::default()).unwrap();
    assert_eq!(bench.read(&third, "etc/._cfg0001_changed"), "3");
}

#[test]
fn a_file_may_move_to_another_package_that_comes_first() {
    let (bench, root, _) = upgraded(
        &[Pack::new("x/all-1").item("usr/bin/part", script("1")).item("usr/bin/all", script("1"))],
        &|_, _| {},
        &[Pack::new("x/part-1").item("usr/bin/part", script("2")), Pack::new("x/all-2").item("usr/bin/all", script("2"))],
    );
    assert_eq!((bench.read(&root, "usr/bin/part"), bench.read(&root, "usr/bin/all")), ("2".into(), "2".into()));
}

#[test]
fn the_world_of_the_base_is_kept() {
    let bench = Bench::new();
    let mut base = bench.merge(&[Pack::new("x/a-1")], &Log::default()).unwrap().tree;
    base.write_file(&bench.store, "var/lib/portage/world", b"app-misc/mc\n", 0o644).unwrap();
    let root = bench.merge_over(&base, &[Pack::new("x/a-1")], &Log::default()).unwrap();
    assert_eq!(bench.read(&root, "var/lib/portage/world"), "app-misc/mc\napp-shells/bash\n");
    assert_eq!(bench.read(&root, "var/db/pkg/x/a-1/COUNTER"), "2");
}

#[test]
fn phases_of_both_run_in_order_with_what_pms_says() {
    let tell = |names: &[&str]| -> String {
        let body = |name: &&str| {
            format!(
                "pkg_{name} () \n{{ \n    echo \"{name} $PVR [$REPLACING_VERSIONS] [$REPLACED_BY_VERSION] [$MERGE_TYPE] $(test -e /usr/bin/old && echo old)\" >> /order\n}}\n"
            )
        };
        names.iter().map(body).collect()
    };
    let old = Pack::new("x/a-1").item("usr/bin/old", script("1")).phases(&tell(&["prerm", "postrm"]));
    let new = Pack::new("x/a-2-r1").item("usr/bin/new", script("2")).phases(&tell(&["setup", "preinst", "postinst", "prerm"]));
    let (bench, root, log) = upgraded(&[base_system(), old], &|_, _| {}, &[new]);
    assert_eq!(
        bench.read(&root, "order"),
        "setup 2-r1 [1] [] [binary] old\npreinst 2-r1 [1] [] [binary] old\nprerm 1 [] [2-r1] [] old\npostrm 1 [] [2-r1] [] \n\
         postinst 2-r1 [1] [] [binary] \n",
        "{log}"
    );
}

#[test]
fn a_plan_for_nothing_new_leaves_a_base_as_it_is() {
    let bench = Bench::new();
    let base = bench.merge(&[Pack::new("x/a-1").item("etc/env.d/50a", text("A=1\n"))], &Log::default()).unwrap().tree;
    let root = bench.merge_over(&base, &[Pack::new("x/b-1").item("usr/b", text("b"))], &Log::default()).unwrap();
    let changed: Vec<String> = root
        .tree
        .iter()
        .filter(|(path, entry)| base.get(path).is_none_or(|old| old.kind != entry.kind))
        .map(|(path, _)| String::from_utf8_lossy(path).into_owned())
        .filter(|path| !path.starts_with("var/db/pkg/x/b-1"))
        .collect();
    assert_eq!(changed, ["usr/b", "var/cache/edb/counter"]);
}
