//! Scripts of prefix packages: run at the prefix's path as a guest on this machine, and undone where they fail.

mod common;

use common::{Log, Pack, plan, planned, script, text};
use composer::{ComposeError, FetchError, MergeRequest, Root, prefix};
use image::{Kind, Store};

const BUILT_AT: &str = "/var/tmp/built/at/a/path/that/is/long";
const PREFIX: &str = "/home/larry/g";

/// What an environment has is moved with the package, as are its files.
const GOOD: &str = r#"declare -x EPREFIX="/var/tmp/built/at/a/path/that/is/long"
pkg_setup ()
{
    [[ ${EPREFIX} == /home/larry/g && ${EROOT} == "${EPREFIX}" && -z ${ROOT} ]] || die "EPREFIX is ${EPREFIX}"
    [[ ${ED} == "${D}${EPREFIX}" ]] || die "ED is ${ED}"
    ! { : > /usr/written; } 2>/dev/null || die "the machine can be written"
    [[ ! -e /etc/shadow && ! -e /root && ! -e /var ]] || die "the machine's own is in reach"
}
pkg_preinst ()
{
    dodir /etc/tool.d
    echo "before" > "${ED}/etc/tool.d/made"
}
pkg_postinst ()
{
    ln -s tool "${EROOT}/bin/alias" || die
    alias-of-host=no
    tool > "${EROOT}/etc/said" || die "the prefix's programs come first"
    elog "set up in ${EPREFIX}"
}
"#;
const BAD: &str = r#"pkg_postinst ()
{
    : > "${EROOT}/etc/half-done"
    rm "${EROOT}/bin/tool"
    die "there is no such daemon"
}
"#;

fn packs() -> [Pack; 2] {
    let at = |path: &str| format!("{}/{path}", BUILT_AT.trim_start_matches('/'));
    let good = Pack::new("app-misc/good-1")
        .meta("EPREFIX", BUILT_AT)
        .item(&at("bin/tool"), script("#!/bin/sh\necho tool of /var/tmp/built/at/a/path/that/is/long\n"))
        .item(&at("etc/conf"), text("at /var/tmp/built/at/a/path/that/is/long\n"))
        .phases(&GOOD.replace("    alias-of-host=no\n", ""));
    [good, Pack::new("app-misc/bad-1").meta("EPREFIX", BUILT_AT).item(&at("etc/bad"), text("kept\n")).phases(BAD)]
}

fn compose(store: &Store, work_dir: &std::path::Path, log: &Log) -> Result<Root, ComposeError> {
    let packs = packs();
    let plan = plan(packs.iter().map(|pack| planned(&pack.cpv)).collect());
    let request = MergeRequest { plan: &plan, store, work_dir, notice: "", base: None };
    let mut fetch = |planned: &contract::PlannedPackage| -> Result<_, FetchError> {
        Ok(packs.iter().find(|pack| pack.cpv == planned.cpv).ok_or("no such package")?.build())
    };
    prefix::compose(&request, PREFIX, &mut fetch, log)
}

#[test]
fn scripts_run_in_the_prefix_or_change_nothing() {
    composer::sandbox::use_helper(env!("CARGO_BIN_EXE_phase-host"));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let log = Log::default();
    let root = compose(&store, dir.path(), &log).unwrap_or_else(|error| panic!("{error:?}"));
    let read = |path: &str| String::from_utf8(root.tree.read_file(&store, path).unwrap().unwrap_or_default()).unwrap();
    let lines = log.0.lock().unwrap().join("\n");
    assert_eq!(read("etc/tool.d/made"), "before\n", "{lines}");
    assert_eq!(read("etc/said"), "tool of /home/larry/g\n", "{lines}");
    assert_eq!(root.tree.get("bin/alias").unwrap().kind, Kind::Symlink(b"tool".to_vec()));
    assert!(read("var/db/pkg/app-misc/good-1/CONTENTS").contains("obj /home/larry/g/etc/tool.d/made "));
    assert!(root.messages.iter().any(|message| message.contains("set up in /home/larry/g")), "{:?}", root.messages);
    // The other's files are there, and nothing of what its script did.
    assert_eq!(read("etc/bad"), "kept\n");
    assert!(!root.tree.contains("etc/half-done") && root.tree.contains("bin/tool"));
    let told: Vec<&String> = root.messages.iter().filter(|message| message.contains("app-misc/bad-1")).collect();
    assert!(told.len() == 1 && !told[0].contains("good"), "{:?}", root.messages);
    assert!(lines.contains("there is no such daemon"), "{lines}");
}
