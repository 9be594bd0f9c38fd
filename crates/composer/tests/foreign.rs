//! A package for another architecture: its phases, the target's ldconfig and its localedef run through QEMU's user mode. The programs are
//! Debian's own for arm64. Skipped, with a line that says so, where there is no emulator or Debian cannot be reached.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Bench, Item, Log, Pack, plan, planned, script, text};
use composer::{ConfigureRequest, Unobserved, sandbox};
use contract::System;

const ARCH: &str = "arm64";
const DEBS: [&str; 4] = ["bash-static", "libc6", "libc-bin", "locales"];

/// apt with lists of its own for the architecture; the machine's stay as they are.
fn apt(dir: &Path, words: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    let own = |key: &str, value: &str| format!("{key}={value}");
    let lists = dir.join("lists");
    command.current_dir(dir).args(["-q", "-o", &own("APT::Architecture", ARCH), "-o", &own("APT::Architectures", ARCH)]);
    command.args(["-o", &own("Dir::State::Lists", lists.to_str().unwrap()), "-o", "Dir::State::status=/dev/null"]);
    command.args(["-o", &own("Dir::Cache", dir.to_str().unwrap()), "-o", "Acquire::Languages=none"]);
    command.args(["-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false", "-o", "APT::Sandbox::User=root"]);
    command.args(words).output().is_ok_and(|output| output.status.success())
}

/// Debian's packages unpacked, fetched once into the build directory.
fn unpacked() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign-debs");
    let root = dir.join("root");
    if root.is_dir() {
        return Some(root);
    }
    std::fs::create_dir_all(dir.join("lists/partial")).unwrap();
    std::fs::create_dir_all(dir.join("archives/partial")).unwrap();
    if !(apt(&dir, &["update"]) && apt(&dir, &[&["download"], DEBS.as_slice()].concat())) {
        eprintln!("skipped: Debian's packages for {ARCH} cannot be fetched");
        return None;
    }
    std::fs::remove_dir_all(dir.join("lists")).unwrap();
    let part = dir.join("part");
    for file in std::fs::read_dir(&dir).unwrap().map(|child| child.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "deb") {
            let status = Command::new("dpkg-deb").arg("-x").arg(&file).arg(&part).status().unwrap();
            assert!(status.success(), "{}", file.display());
            std::fs::remove_file(file).unwrap();
        }
    }
    std::fs::rename(&part, &root).unwrap();
    Some(root)
}

/// A base system of one package: bash, the C library with its tools, and definitions of a tiny locale.
fn base(root: &Path) -> Pack {
    let program = |path: &str| Item::File(0o755, std::fs::read(root.join(path)).unwrap());
    let mut pack = Pack::new("app-shells/bash-5.2")
        .item("usr/bin/bash", program("bin/bash-static"))
        .item("usr/bin/sh", Item::Link("bash".into()))
        .item("usr/bin/ldconfig", program("sbin/ldconfig"))
        .item("usr/bin/localedef", program("usr/bin/localedef"))
        .item("usr/lib/ld-linux-aarch64.so.1", program("lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"))
        .item("usr/lib64/libc.so.6", program("lib/aarch64-linux-gnu/libc.so.6"))
        .item("etc/passwd", text("root:x:0:0:root:/root:/bin/bash\n"))
        .item("etc/group", text("root:x:0:root\n"))
        .item("etc/env.d/00host", text("LDPATH=\"/lib64:/usr/lib64\"\n"));
    let category = |name: &str| format!("{name}\ncopy \"POSIX\"\nEND {name}\n");
    pack = pack.item("usr/share/i18n/locales/POSIX", program("usr/share/i18n/locales/POSIX"));
    let names = ["CTYPE", "COLLATE", "MONETARY", "NUMERIC", "TIME", "MESSAGES"].map(|name| category(&format!("LC_{name}")));
    pack = pack.item("usr/share/i18n/locales/qq_QQ", text(&names.concat()));
    let charmap = "<code_set_name> ASCII\n<comment_char> %\n<escape_char> /\nCHARMAP\n";
    let codes: String = (0..128).map(|code| format!("<U{code:04X}> /x{code:02x} <{code}>\n")).collect();
    pack.item("usr/share/i18n/charmaps/ASCII", text(&format!("{charmap}{codes}END CHARMAP\n")))
}

#[test]
fn scripts_and_tools_of_another_architecture_run_through_qemu() {
    let bench = Bench::new();
    if let Err(error) = sandbox::check_arch(&bench.work_dir(), ARCH) {
        eprintln!("skipped: {error}");
        return;
    }
    let Some(root) = unpacked() else { return };
    let phases = ["setup", "preinst", "postinst"].map(|name| {
        format!("pkg_{name} () \n{{ \n    einfo \"{name} of ${{P}}\"\n    echo \"{name} ${{MACHTYPE%%-*}}\" >> /order\n}}\n")
    });
    let app = Pack::new("app-misc/tool-1").item("usr/bin/tool", script("#!/bin/sh\n")).phases(&phases.concat());
    let packs = [base(&root), app];
    let mut plan = plan(packs.iter().map(|pack| planned(&pack.cpv)).collect());
    (plan.arch, plan.chost) = (ARCH.into(), "aarch64-unknown-linux-gnu".into());
    let log = Log::default();
    let mut root = bench.merge_plan(&plan, &packs, &log).unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    assert_eq!(bench.read(&root, "order"), "setup aarch64\npreinst aarch64\npostinst aarch64\n", "{}", log.text());
    assert!(root.tree.get("etc/ld.so.cache").is_some_and(|entry| entry.size() > 0), "ldconfig did not run");

    let work_dir = bench.work_dir();
    let system = System { locales: vec!["qq_QQ.ASCII".into()], ..System::default() };
    let request = ConfigureRequest {
        store: &bench.store,
        system: &system,
        services: &[],
        notice: "",
        image_name: "foreign",
        arch: ARCH,
        work_dir: &work_dir,
    };
    composer::configure(&mut root.tree, &request, &Unobserved).unwrap_or_else(|error| panic!("{error}\n{:?}", error.output));
    assert!(root.tree.contains("usr/lib/locale/locale-archive"), "localedef did not run");
}
