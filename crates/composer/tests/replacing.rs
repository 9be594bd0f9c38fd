//! Merging over a root that has packages installed: what they leave, what stays of them, and what is protected.

mod common;

use common::{Bench, Item, Log, Pack, base_system, libraries_of, plan, planned, script, text, which};
use composer::{Root, Setting};
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
    assert_eq!(bench.read(&root, "var/db/pkg/x/a-2/COUNTER"), "2");
    assert_eq!(bench.read(&root, "var/cache/edb/counter"), "2");
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
    assert_eq!(bench.read(&root, "var/db/pkg/x/a-1/COUNTER"), "1");
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

/// A library of this machine, as the package in question would have it: its content and soname.
fn some_library() -> (Vec<u8>, String) {
    let path = libraries_of(&which("bash").unwrap()).into_iter().find(|path| path.contains("libtinfo")).unwrap();
    (std::fs::read(&path).unwrap(), path.rsplit('/').next().unwrap().to_owned())
}

#[test]
fn libraries_that_others_need_are_preserved_until_they_do_not() {
    let (content, soname) = some_library();
    let line = |path: &str, soname: &str, needed: &str| format!("x86_64;{path};{soname};;{needed};x86_64");
    let file = format!("usr/lib64/{soname}.0");
    let old = Pack::new("x/lib-1")
        .item(&file, Item::File(0o755, content))
        .item(&format!("usr/lib64/{soname}"), Item::Link(format!("{soname}.0")))
        .item("usr/lib64/libunused.so.1", text("1"))
        .item("etc/env.d/50lib", text("LDPATH=\"/usr/lib64\"\n"))
        .meta(
            "NEEDED.ELF.2",
            &format!(
                "{}\n{}",
                line(&format!("/{file}"), &soname, "libc.so.6"),
                line("/usr/lib64/libunused.so.1", "libunused.so.1", "")
            ),
        );
    let app = |version: &str, needed: &str| {
        Pack::new(&format!("x/app-{version}"))
            .item("usr/bin/app", script(version))
            .meta("NEEDED.ELF.2", &line("/usr/bin/app", "", needed))
    };
    let new = Pack::new("x/lib-2")
        .item("usr/lib64/libnew.so.2", text("2"))
        .item("etc/env.d/50lib", text("LDPATH=\"/usr/lib64\"\n"))
        .meta("NEEDED.ELF.2", &line("/usr/lib64/libnew.so.2", "libnew.so.2", ""));
    let (bench, root, log) = upgraded(&[old, app("1", &soname)], &|_, _| {}, &[new]);
    assert!(root.tree.contains(&file) && root.tree.contains(format!("usr/lib64/{soname}")), "{log}");
    assert!(!root.tree.contains("usr/lib64/libunused.so.1"));
    let contents = bench.read(&root, "var/db/pkg/x/lib-2/CONTENTS");
    assert!(
        contents.contains(&format!("obj /{file} ")) && contents.contains(&format!("sym /usr/lib64/{soname} -> ")),
        "{contents}"
    );
    let registry = bench.read(&root, "var/lib/portage/preserved_libs_registry");
    let expected = format!(
        "{{\n\t\"x/lib:0\": [\n\t\t\"x/lib-2\",\n\t\t\"2\",\n\t\t[\n\t\t\t\"/usr/lib64/{soname}\",\n\t\t\t\"/{file}\"\n\t\t]\n\t]\n}}"
    );
    assert_eq!(registry, expected);
    let root = bench.merge_over(&root.tree, &[app("2", "libnew.so.2")], &Log::default()).unwrap();
    assert!(!root.tree.contains(&file) && !root.tree.contains(format!("usr/lib64/{soname}")));
    assert_eq!(bench.read(&root, "var/lib/portage/preserved_libs_registry"), "{}");
    assert!(!bench.read(&root, "var/db/pkg/x/lib-2/CONTENTS").contains(&soname));
}

#[test]
fn install_mask_leaves_files_out_and_is_recorded() {
    let pack = Pack::new("x/a-1")
        .item("usr/share/doc/a/README", text("r"))
        .item("usr/lib/liba.la", text("l"))
        .item("usr/bin/a", script("a"));
    let bench = Bench::new();
    let mut plan = plan(vec![planned("x/a-1")]);
    plan.install_mask = "/usr/share/doc *.la".into();
    let root = bench.merge_plan(&plan, &[pack], &Log::default()).unwrap();
    assert!(root.tree.contains("usr/bin/a") && !root.tree.contains("usr/share/doc") && !root.tree.contains("usr/lib/liba.la"));
    assert_eq!(bench.read(&root, "var/db/pkg/x/a-1/INSTALL_MASK"), "/usr/share/doc *.la\n");
    assert!(!bench.read(&root, "var/db/pkg/x/a-1/CONTENTS").contains("doc"));
}

#[test]
fn a_mask_that_takes_away_what_scripts_need_is_named() {
    let failed = |mask: &str, phase: &str| {
        let pack = Pack::new("x/a-1").item("usr/bin/a", script("a")).phases(phase);
        let mut plan = plan(vec![planned("app-shells/bash-5.2"), planned("x/a-1")]);
        plan.install_mask = mask.into();
        Bench::new().merge_plan(&plan, &[base_system(), pack], &Log::default()).unwrap_err()
    };
    let fine = "pkg_postinst () \n{ \n    sed -n p /etc/passwd || die\n}\n";
    let error = failed("/usr/share/doc /usr", fine);
    assert!(error.message.contains("no bash that starts, as INSTALL_MASK leaves out /usr/bin/bash and "), "{error}");
    assert!(error.message.contains("programs and libraries (“/usr”)"), "{error}");
    assert!(error.advice.contains("Take the pattern out of install_mask"), "{}", error.advice);
    assert_eq!(error.setting, Some(Setting::InstallMask));
    let error = failed("/usr/bin/sed", fine);
    assert!(error.message.contains("; INSTALL_MASK leaves out /usr/bin/sed (“/usr/bin/sed”), which may be why"), "{error}");
    assert_eq!((error.setting, error.package.as_deref()), (Some(Setting::InstallMask), Some("x/a-1")));
    let error = failed("/usr/share/doc", "pkg_postinst () \n{ \n    die no\n}\n");
    assert!(error.setting.is_none() && !error.message.contains("INSTALL_MASK"), "{error}");
}

#[test]
fn what_is_blocked_goes_after_the_merge_and_leaves_what_others_need() {
    let tell = |names: &[&str]| -> String {
        let body = |name: &&str| format!("pkg_{name} () \n{{ \n    echo \"{name} $P [$REPLACED_BY_VERSION]\" >> /order\n}}\n");
        names.iter().map(body).collect()
    };
    let (content, soname) = some_library();
    let line = |path: &str, soname: &str, needed: &str| format!("x86_64;{path};{soname};;{needed};x86_64");
    let library = format!("usr/lib64/{soname}");
    let old = Pack::new("x/old-1")
        .item("usr/bin/shared", script("old"))
        .item("usr/bin/old", script("old"))
        .item("etc/old.conf", text("1"))
        .item(&library, Item::File(0o755, content))
        .meta("NEEDED.ELF.2", &line(&format!("/{library}"), &soname, "libc.so.6"))
        .phases(&tell(&["prerm", "postrm"]));
    let user = Pack::new("x/user-1").item("usr/bin/user", script("u")).meta("NEEDED.ELF.2", &line("/usr/bin/user", "", &soname));
    let new = Pack::new("x/new-1").item("usr/bin/shared", script("new")).phases(&tell(&["preinst", "postinst"]));
    let bench = Bench::new();
    let log = Log::default();
    let base = bench.merge(&[base_system(), old, user], &log).unwrap_or_else(|error| panic!("{error}")).tree;
    let mut plan = plan(vec![planned("x/new-1")]);
    let removal = contract::plan::Removal { cpv: "x/old-1".into(), after: "x/new-1".into(), because: "!x/old".into() };
    plan.removals = vec![removal];
    let root = bench.merge_plan_over(&plan, &base, &[new], &log).unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    assert_eq!(
        bench.read(&root, "order"),
        "preinst new-1 []\npostinst new-1 []\nprerm old-1 []\npostrm old-1 []\n",
        "{}",
        log.text()
    );
    assert_eq!(bench.read(&root, "usr/bin/shared"), "new");
    for gone in ["usr/bin/old", "etc/old.conf", "var/db/pkg/x/old-1"] {
        assert!(!root.tree.contains(gone), "{gone} is still there");
    }
    assert!(root.tree.contains(&library), "x/user-1 needs it");
    assert!(bench.read(&root, "var/lib/portage/preserved_libs_registry").contains("\"x/old:0\""));
    assert!(root.messages.iter().any(|message| message.contains("x/old-1: removed, as x/new-1")), "{:?}", root.messages);
    let error = bench.merge_plan_over(&plan, &root.tree, &[Pack::new("x/new-1")], &log).unwrap_err();
    assert!(error.message.contains("does not have it"), "{error}");
}
