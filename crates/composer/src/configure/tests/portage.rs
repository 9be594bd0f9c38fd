//! What Portage finds.

use super::*;

fn plan() -> contract::Plan {
    let binhost = |name: &str, uri: &str| serde_json::json!({ "name": name, "uri": uri, "index_sha256": "", "timestamp": 0 });
    serde_json::from_value(serde_json::json!({
        "version": 1, "arch": "amd64", "channel": "c", "chost": "x86_64-pc-linux-gnu", "world": [], "packages": [],
        "binhosts": [binhost("first", "https://first.example/x"), binhost("own", "file:///srv/own"), binhost("../x", "https://x.example/")],
    }))
    .unwrap()
}

#[test]
fn portage_knows_where_its_packages_come_from() {
    let mut root = Root::bare();
    assert!(configure_portage(&mut root.tree, &root.store, &plan(), &[], None).unwrap().is_empty());
    assert!(!root.tree.contains("etc/portage"), "no Portage, no configuration of it");
    root.put("usr/share/portage/config/make.globals", "");
    let messages = configure_portage(&mut root.tree, &root.store, &plan(), &[], None).unwrap();
    assert_eq!(messages.len(), 2, "{messages:?}");
    let make_conf = root.text("etc/portage/make.conf");
    assert!(
        make_conf.contains("COMMON_FLAGS=\"-march=x86-64 -mtune=generic -O2 -pipe\"\nCFLAGS=\"${COMMON_FLAGS}\"\n"),
        "{make_conf}"
    );
    assert!(make_conf.contains("CHOST=\"x86_64-pc-linux-gnu\"\n"), "{make_conf}");
    let binrepo = root.text("etc/portage/binrepos.conf/first.conf");
    assert!(
        binrepo.contains("[first]\npriority = 100\nsync-uri = https://first.example/x\nverify-signature = true\n"),
        "{binrepo}"
    );
    assert_eq!(root.tree.children("etc/portage/binrepos.conf").len(), 1);
}

fn install(root: &mut Root, cpv: &str, fields: &[(&str, &str)]) {
    fields.iter().for_each(|(name, value)| root.put(&format!("var/db/pkg/{cpv}/{name}"), &format!("{value}\n")));
}

#[test]
fn portage_finds_the_packages_as_they_were_built() {
    let mut root = Root::bare();
    root.put("usr/share/portage/config/make.globals", "");
    let flags = "-O3 -march=x86-64-v3 -pipe";
    install(
        &mut root,
        "app-editors/vim-9.0-r1",
        &[("SLOT", "0/9"), ("IUSE", "+X acl python elibc_musl"), ("USE", "acl amd64"), ("KEYWORDS", "~amd64"), ("CFLAGS", flags)],
    );
    install(&mut root, "sys-apps/sed-4.9", &[("SLOT", "0"), ("IUSE", ""), ("KEYWORDS", "amd64 x86"), ("CFLAGS", flags)]);
    install(
        &mut root,
        "app-misc/live-9999",
        &[("SLOT", "2"), ("IUSE", "$(evil) good"), ("USE", "good"), ("CFLAGS", "-O0 $(evil)")],
    );
    let mut plan = plan();
    plan.profile = Some("gentoo:default/linux/amd64/23.0".into());
    let access = [BinhostAccess {
        name: "first".into(),
        uri: "https://first.example/x".into(),
        keyring: String::new(),
        allow_unsigned: true,
    }];
    configure_portage(&mut root.tree, &root.store, &plan, &access, None).unwrap();
    let before = root.tree.clone();
    configure_portage(&mut root.tree, &root.store, &plan, &access, None).unwrap();
    assert_eq!(root.tree, before, "a second time changes nothing");
    let lines = |path: &str| root.text(path).lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines("etc/portage/package.use/hatchery"), ["app-editors/vim:0 -X acl -python", "app-misc/live:2 good"]);
    let keywords = lines("etc/portage/package.accept_keywords/hatchery");
    assert_eq!(keywords, ["=app-editors/vim-9.0-r1 ~amd64", "=app-misc/live-9999 **"]);
    let make_conf = root.text("etc/portage/make.conf");
    assert!(make_conf.contains(&format!("COMMON_FLAGS=\"{flags}\"\n")), "{make_conf}");
    assert!(make_conf.contains("FEATURES=\"getbinpkg\"\n") && !make_conf.contains("ACCEPT_KEYWORDS"), "{make_conf}");
    assert!(root.text("etc/portage/binrepos.conf/first.conf").contains("verify-signature = false"));
    assert_eq!(root.link("etc/portage/make.profile"), "../../var/db/repos/gentoo/profiles/default/linux/amd64/23.0");
    plan.chost = "i686-pc-linux-gnu".into();
    root.tree.remove_all("etc/portage");
    plan.profile = Some("gentoo:../../x".into());
    configure_portage(&mut root.tree, &root.store, &plan, &[], None).unwrap();
    assert!(root.text("etc/portage/make.conf").contains("COMMON_FLAGS=\"-O2 -march=i686 -pipe\"\n"));
    assert!(!root.tree.contains("etc/portage/make.profile"));
}

#[test]
fn portage_is_told_what_the_packages_were_chosen_by() {
    let mut root = Root::bare();
    root.put("usr/share/portage/config/make.globals", "");
    install(&mut root, "app-editors/vim-9", &[("SLOT", "0"), ("IUSE", "+X acl"), ("USE", "acl"), ("KEYWORDS", "~amd64")]);
    let mut plan = plan();
    plan.profile = Some("gentoo:default/linux/amd64/23.0".into());
    plan.install_mask = "/usr/share/doc *.la".into();
    plan.portage = Some(contract::PortageSettings {
        accept_keywords: Some("amd64 ~amd64".into()),
        accept_license: "@FREE -EVIL".into(),
        packages: Some(contract::PackageSettings {
            use_flags: vec!["app-editors/vim:0 -X".into(), "a/b:0 x\nc/d:0 y".into()],
            use_force: vec!["app-editors/vim:0 -X".into()],
            license: vec!["a/b:0 EVIL".into()],
            ..contract::PackageSettings::default()
        }),
    });
    let keys = TrustedKeys { pubring: b"\x98ring", trustdb: b"\x01gpg" };
    root.tree.insert("etc/portage", Entry::dir(0o755)).unwrap();
    root.tree.insert("etc/portage/make.profile", Entry::symlink("../../var/db/repos/gentoo/profiles/old")).unwrap();
    for _ in 0..2 {
        configure_portage(&mut root.tree, &root.store, &plan, &[], Some(keys)).unwrap();
    }
    let lines = |path: &str| root.text(path).lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines("etc/portage/package.use/hatchery"), ["app-editors/vim:0 -X"], "and no line that is two");
    assert_eq!(lines("etc/portage/profile/package.use.force/hatchery"), ["app-editors/vim:0 -X"]);
    assert_eq!(lines("etc/portage/package.license/hatchery"), ["a/b:0 EVIL"]);
    assert!(!root.tree.contains("etc/portage/package.accept_keywords"), "ACCEPT_KEYWORDS accepts them");
    let make_conf = root.text("etc/portage/make.conf");
    for line in ["ACCEPT_KEYWORDS=\"amd64 ~amd64\"", "ACCEPT_LICENSE=\"@FREE -EVIL\"", "INSTALL_MASK=\"/usr/share/doc *.la\""] {
        assert!(make_conf.contains(&format!("{line}\n")), "{make_conf}");
    }
    assert_eq!(root.link("etc/portage/make.profile"), "../../var/db/repos/gentoo/profiles/default/linux/amd64/23.0");
    assert_eq!(root.tree.read_file(&root.store, "etc/portage/gnupg/pubring.gpg").unwrap().unwrap(), keys.pubring);
    assert!(root.tree.contains("etc/portage/gnupg/trustdb.gpg") && root.tree.contains("etc/portage/gnupg/gpg.conf"));
}

#[test]
fn portage_s_own_configuration_is_kept() {
    let mut root = Root::bare();
    root.put("usr/share/portage/config/make.globals", "");
    root.put("etc/portage/make.conf", "USE=\"x\"\nFEATURES=\"-news\"\n");
    root.put("etc/portage/binrepos.conf/gentoobinhost.conf", "[gentoobinhost]\n");
    configure_portage(&mut root.tree, &root.store, &plan(), &[], None).unwrap();
    configure_portage(&mut root.tree, &root.store, &plan(), &[], None).unwrap();
    let expected = "USE=\"x\"\nFEATURES=\"-news\"\n\n# Written by Hatchery. What the packages of this image were chosen by.\n\
                    FEATURES=\"${FEATURES} getbinpkg binpkg-request-signature\"\nACCEPT_LICENSE=\"@BINARY-REDISTRIBUTABLE\"\n";
    assert_eq!(root.text("etc/portage/make.conf"), expected);
    assert_eq!(root.tree.children("etc/portage/binrepos.conf").len(), 1);
    // Its USE changes what the profile says, so every flag is told.
    let mut plan = plan();
    plan.portage = Some(contract::PortageSettings { packages: Some(contract::PackageSettings::default()), ..Default::default() });
    install(&mut root, "app-editors/vim-9", &[("SLOT", "0"), ("IUSE", "+X acl"), ("USE", "acl"), ("KEYWORDS", "amd64")]);
    configure_portage(&mut root.tree, &root.store, &plan, &[], None).unwrap();
    assert!(root.text("etc/portage/package.use/hatchery").contains("app-editors/vim:0 -X acl"));
}
