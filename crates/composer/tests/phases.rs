//! Phases of packages in the sandbox.

mod common;

use common::{Bench, Item, Log, Pack, base_system, script, text};

/// A merge of the base system and the given packages, which must succeed.
fn merged(packs: &[Pack]) -> (Bench, composer::Root, String) {
    let bench = Bench::new();
    let log = Log::default();
    let mut all = vec![base_system()];
    all.extend_from_slice(packs);
    let root = bench.merge(&all, &log).unwrap_or_else(|error| panic!("{error}\n{}\n{}", error.output.join("\n"), log.text()));
    let left: Vec<_> = std::fs::read_dir(bench.work_dir()).map(|dir| dir.collect()).unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
    (bench, root, log.text())
}

#[test]
fn a_postinst_changes_the_root() {
    let pack = Pack::new("x/a-1").item("usr/share/a", text("a")).phases(
        "pkg_postinst () \n{ \n elog \"hello from ${PF}\"; ewarn careful; mkdir -p \"${EROOT}/var/lib/a\" || die; \
         id -u > \"${EROOT}/var/lib/a/uid\"; chown 42:42 \"${EROOT}/usr/share/a\"; chmod 4711 /usr/share/a; ln -s a /usr/share/b; \
         rm /etc/nsswitch.conf; printf '%s' \"[${ROOT}]${D}\" > /var/lib/a/where\n}\n",
    );
    let (bench, root, _) = merged(&[pack]);
    assert_eq!(bench.read(&root, "var/lib/a/uid"), "0\n");
    assert_eq!(bench.read(&root, "var/lib/a/where"), "[]/tmp/portage/image");
    let a = root.tree.get("usr/share/a").unwrap();
    assert_eq!((a.uid, a.gid, a.mode, a.mtime), (42, 42, 0o4711, common::TIME as i64 - 100));
    assert!(root.tree.get("usr/share/b").unwrap().is_symlink());
    assert!(!root.tree.contains("etc/nsswitch.conf"));
    assert_eq!(root.messages, ["x/a-1: hello from a-1", "x/a-1 (warning): careful"]);
    // What scripts make does not tell when it was made.
    assert_eq!(root.tree.get("var/lib/a/uid").unwrap().mtime, common::TIME as i64);
    assert!(root.tree.contains("etc/ld.so.cache"));
}

#[test]
fn a_preinst_changes_the_image_and_variables_live_on() {
    let pack = Pack::new("x/a-1").item("usr/share/a", text("old")).item("usr/share/gone", text("gone")).phases(
        "pkg_setup () \n{ \n echo kept > \"${T}/kept\"; MINE=\"it's\n set\"\n}\npkg_preinst () \n{ \n [[ ${MINE} == *set ]] || die lost; echo new > \"${ED}/usr/share/a\"; \
         rm \"${D}\"/usr/share/gone; keepdir /var/lib/x; fowners 7:8 /var/lib/x; dosym ../a /usr/share/d/l\n}\n\
         pkg_postinst () \n{ \n [[ -e /usr/share/a && ! -e /usr/share/gone && $(< \"${T}/kept\") == kept ]] || die; elog \"${MINE}\"\n}\n",
    );
    let (bench, root, _) = merged(&[pack]);
    assert_eq!(bench.read(&root, "usr/share/a"), "new\n");
    assert!(!root.tree.contains("usr/share/gone"));
    let contents = bench.read(&root, "var/db/pkg/x/a-1/CONTENTS");
    assert!(contents.contains("obj /var/lib/x/.keep_x_a-0 d41d8cd98f00b204e9800998ecf8427e "), "{contents}");
    assert!(contents.contains("sym /usr/share/d/l -> ../a ") && !contents.contains("gone"), "{contents}");
    assert_eq!(root.tree.get("var/lib/x").unwrap().uid, 7);
    assert_eq!(root.messages, ["x/a-1: it's\n set"]);
    let packed = root.tree.read_file(&bench.store, "var/db/pkg/x/a-1/environment.bz2").unwrap().unwrap();
    let mut environment = String::new();
    std::io::Read::read_to_string(&mut bzip2::read::BzDecoder::new(packed.as_slice()), &mut environment).unwrap();
    assert!(environment.contains("MINE=") && environment.contains("pkg_postinst ()"), "{environment}");
    for foreign in ["__hatchery", "declare -x D=", "BASH_VERSINFO", "ver_cut ()"] {
        assert!(!environment.contains(foreign), "{foreign} in {environment}");
    }
}

#[test]
fn scripts_are_told_nothing_of_the_machine_that_they_run_on() {
    let pack = Pack::new("x/a-1").phases(
        "pkg_setup () \n{ \n elog \"$(uname -snr)\"; elog \"$(uname -a)\"; elog \"$(uname -m)\"; KV_FULL=$(uname -r)\n}\n",
    );
    let (_, root, _) = merged(&[pack]);
    assert_eq!(root.messages, ["x/a-1: Linux localhost 6.1.0\nLinux localhost 6.1.0 #1 SMP x86_64 GNU/Linux\nx86_64"]);
}

#[test]
fn phases_before_bash_wait_for_it() {
    let early = Pack::new("x/early-1")
        .item("usr/share/early", text("x"))
        .phases("pkg_preinst () \n{ \n echo changed > \"${ED}/usr/share/early\"; dodir /usr/share/more\n}\npkg_postinst () \n{ \n elog done\n}\n");
    let bench = Bench::new();
    let log = Log::default();
    let root = bench.merge(&[early, base_system()], &log).unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    assert_eq!(bench.read(&root, "usr/share/early"), "changed\n");
    assert!(bench.read(&root, "var/db/pkg/x/early-1/CONTENTS").contains("dir /usr/share/more\n"));
    assert_eq!(root.messages, ["x/early-1: done"]);
    assert!(log.text().contains("x/early-1: its scripts wait"), "{}", log.text());
}

#[test]
fn a_failing_phase_fails_the_order_with_its_words() {
    let cases = [
        ("echo before; die \"no luck\"", "no luck"),
        ("( die inner ); echo never", "inner"),
        ("false | true; assert \"pipes count\"", "pipes count"),
        ("unpack x", "unpack is not allowed"),
        ("kill -KILL $$", "killed"),
    ];
    for (body, said) in cases {
        let bench = Bench::new();
        let pack = Pack::new("x/a-1").phases(&format!("pkg_postinst () \n{{ \n {body}\n}}\n"));
        let error = bench.merge(&[base_system(), pack], &Log::default()).unwrap_err();
        assert_eq!((error.package.as_deref(), error.phase.as_deref()), (Some("x/a-1"), Some("pkg_postinst")), "{error}");
        assert!(error.to_string().contains(said) || error.output.join("\n").contains(said), "{error} {:?}", error.output);
        assert!(!error.output.join("\n").contains("never") && !error.advice.is_empty());
        assert_eq!(std::fs::read_dir(bench.work_dir()).unwrap().count(), 0);
    }
}

#[test]
fn the_commands_of_pms_do_what_they_say() {
    let lines = [
        r#"[[ $(ver_cut 1-2 1.2.3b_alpha4) == 1.2 && $(ver_cut 3- 1.2.3b_alpha4) == 3b_alpha4 ]]"#,
        r#"[[ $(ver_cut 2 .1.2) == 2 && $(ver_cut 0-1 .1.2) == .1 && -z $(ver_cut 4 1.2) && $(ver_cut 1-9 1.2) == 1.2 ]]"#,
        r#"[[ $(ver_rs 1 _ 1.2.3) == 1_2.3 && $(ver_rs 1- - 1.2.3) == 1-2-3 && $(ver_rs 2-3 '' 3 x 1.2.3.4b) == 1.23x4b ]]"#,
        r#"ver_test 1.2 -lt 1.10 && ver_test 1_rc1 -lt 1 && ! ver_test 1-r1 -le 1 && ver_test -eq 1-r2"#,
        r#"use on && ! use off && use !off && [[ $(usex on a b c d) == ac && $(usex off a b c d) == bd && $(usev on) == on ]]"#,
        r#"[[ $(use_enable on) == --enable-on && $(use_with off x) == --without-x && $(use_enable on y z) == --enable-y=z ]]"#,
        r#"has b a b c && ! has d a b && in_iuse off && ! in_iuse other"#,
        r#"has_version app-shells/bash && has_version ">=app-shells/bash-5" && ! has_version -r "<app-shells/bash-5""#,
        r#"[[ $(best_version app-shells/bash) == app-shells/bash-5.2 ]]"#,
        r#"nonfatal die -n quiet; [[ $? == 1 ]] && nonfatal fperms 0644 /not/there; [[ $? != 0 ]]"#,
        r#"[[ ${ROOT} == "" && ${EAPI} == 8 && ${MERGE_TYPE} == binary && ${EBUILD_PHASE_FUNC} == pkg_postinst && -z ${REPLACING_VERSIONS+x}${REPLACING_VERSIONS} || 1 ]]"#,
        r#"[[ ${PN}:${PV}:${PR}:${PVR}:${P}:${CATEGORY} == a:1:r2:1-r2:a-1:x && $(get_libdir) == lib64 ]]"#,
        r#"[[ ${PATH} == /usr/local/sbin:* && ${HOME} == /tmp/portage/homedir && -d ${T} && -d ${HOME} && -z ${SANDBOX_ON} ]]"#,
        r#"ebegin x && eend 0 && ! eend 1 no && einfon y && eqawarn z && debug-print q"#,
        r#"[[ -z $(ls -A /run) && ! -e /etc/hostname && $$ -lt 10 ]]"#,
    ];
    let mut body = String::new();
    for line in lines {
        body.push_str(&format!(
            " {{ {line}; }} || die {};\n",
            line.replace(['$', '"', '\'', '(', ')', '&', '|', ';', '<', '>', '!', '`', '{', '}', '[', ']', '*'], ".")
        ));
    }
    let environment = format!(
        "declare -x PATH=\"/evil\"\ndeclare -x SANDBOX_ON=\"1\"\ndeclare -x LIBDIR_amd64=\"lib64\"\ndeclare -x ABI=\"amd64\"\npkg_postinst () \n{{ \n{body}\n}}\n"
    );
    let pack = Pack::new("x/a-1-r2")
        .meta("USE", "on")
        .meta("IUSE", "on +off")
        .phases(&format!("declare -x IUSE_EFFECTIVE=\"on off\"\n{environment}"));
    merged(&[pack]);
}

#[test]
fn the_sandbox_holds() {
    let probe = |label: &str, line: &str| format!(" {{ {line}; }} &> /dev/null && die \"{label}\";\n");
    let mut body = String::new();
    body += &probe("the network is there", "exec 9<>/dev/tcp/127.0.0.1/22");
    body += &probe("devices can be made", "mknod /x b 8 0");
    body += &probe("the host can be seen", "[[ -e /work || -e /etc/debian_version || -e /home/user ]]");
    body += &probe("processes can be seen", "[[ $(ls -d /proc/[0-9]* | sort | tr -dc '\\n' | tr '\\n' x) == xxxxxxxxxx* ]]");
    body += &probe("it is the real root", "[[ $(cut -c1-22 /proc/self/uid_map | tr -d ' ') == 00* ]]");
    let pack = Pack::new("x/a-1").phases(&format!("pkg_postinst () \n{{ \n{body} :\n}}\n"));
    merged(&[pack]);
}

#[test]
fn accounts_are_made_by_hand_before_and_by_tools_after_the_base_is_there() {
    let early = Pack::new("acct-group/web-0")
        .item("usr/lib/sysusers.d/acct-group-web.conf", text("g\tweb\t300\n"))
        .phases("pkg_preinst () \n{ \n die never\n}\n");
    let user = Pack::new("acct-user/web-0")
        .item("usr/lib/sysusers.d/acct-user-web.conf", text("u\tweb\t300:web\tWeb\\ user\t/var/www\t/sbin/nologin\n"))
        .item("var/www/.keep", text(""))
        .phases("declare -- _ACCT_USER_HOME_PERMS=\"0750\"\ndeclare -- _ACCT_USER_HOME_OWNER=\"\"\npkg_preinst () \n{ \n die never\n}\n");
    let owned = Pack::new("x/owned-1").item("usr/share/owned", Item::Owned(0o640, b"x".to_vec(), "web", "unknown", 77));
    let late = Pack::new("acct-group/late-0").phases("pkg_preinst () \n{ \n groupadd -g 301 late || die groupadd\n}\n");
    let bench = Bench::new();
    let log = Log::default();
    let mut base = base_system();
    base.items.retain(|(path, _)| path != "etc/passwd" && path != "etc/group");
    let layout = Pack::new("sys-apps/baselayout-2.13")
        .item("usr/share/baselayout/passwd", text("root:x:0:0:root:/root:/bin/bash\n"))
        .item("usr/share/baselayout/group", text("root:x:0:root\n"));
    let root = bench.merge(&[early, user, owned, base, late, layout], &log).unwrap_or_else(|e| panic!("{e}\n{}", log.text()));
    assert_eq!(
        bench.read(&root, "etc/passwd"),
        "root:x:0:0:root:/root:/bin/bash\nweb:x:300:300:Web user:/var/www:/sbin/nologin\n"
    );
    assert_eq!(bench.read(&root, "etc/group"), "root:x:0:root\nweb:x:300:\nlate:x:301:\n");
    let home = root.tree.get("var/www").unwrap();
    assert_eq!((home.uid, home.gid, home.mode), (300, 300, 0o750));
    let owned = root.tree.get("usr/share/owned").unwrap();
    assert_eq!((owned.uid, owned.gid), (300, 77));
}

#[test]
fn capabilities_and_hard_links_come_back_from_a_phase() {
    let pack = Pack::new("x/a-1").item("usr/bin/tool", script("tool")).item("usr/share/one", text("1")).item("usr/share/two", Item::Hard("usr/share/one")).phases(
        "pkg_postinst () \n{ \n setcap cap_net_raw+ep /usr/bin/tool || die setcap; ln /usr/bin/tool /usr/bin/tool2; echo 2 >> /usr/share/two\n}\n",
    );
    let (bench, root, _) = merged(&[pack]);
    let tool = root.tree.get("usr/bin/tool").unwrap();
    // struct vfs_cap_data of revision 2, as outside any namespace.
    assert_eq!(tool.xattrs.get(b"security.capability".as_slice()).map(|value| (value.len(), value[3])), Some((20, 2)));
    assert_eq!(tool.link(), root.tree.get("usr/bin/tool2").unwrap().link());
    assert!(tool.link().is_some());
    assert_eq!(bench.read(&root, "usr/share/one"), "12\n");
    assert_eq!(root.tree.get("usr/share/one").unwrap().link(), root.tree.get("usr/share/two").unwrap().link());
}

#[test]
fn temporary_files_are_a_packages_own() {
    let pack = |name: &str| {
        Pack::new(&format!("x/{name}-1")).phases(&format!(
            "pkg_setup () \n{{ \n [[ -z $(ls -A \"${{T}}\") ]] || die \"not mine\"; : > \"${{T}}/{name}\"\n}}\n\
             pkg_postinst () \n{{ \n [[ $(ls -A \"${{T}}\") == {name} ]] || die \"lost\"\n}}\n"
        ))
    };
    merged(&[pack("a"), pack("b")]);
}
