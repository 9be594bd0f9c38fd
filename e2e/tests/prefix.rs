//! A Gentoo Prefix, ordered on the site like anything else: real prefix packages, moved to a folder of an ordinary user's choice, unpacked
//! and run by that user. The binhost lacks the C library, which a test supplies from Debian's libc6-i386.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::site::Site;
use e2e::{sample_dir, shared, user};
use serde_json::{Value, json};

const BUILD_LIMIT: Duration = Duration::from_secs(300);
const LIBRARIES: &str = "/lib32";
/// Where the packages were built, as their binhost's maker chose.
const BUILT_AT: &str = "/tmp/gentoo";

const PACKAGES: [&str; 15] = [
    "app-arch/bzip2",
    "app-arch/gzip",
    "app-arch/tar",
    "app-arch/xz-utils",
    "app-portage/prefix-toolkit",
    "sys-apps/baselayout",
    "sys-apps/diffutils",
    "sys-apps/file",
    "sys-apps/findutils",
    "sys-apps/gawk",
    "sys-apps/grep",
    "sys-apps/sed",
    "sys-apps/which",
    "sys-devel/flex",
    "sys-devel/make",
];

/// Each with what it must say: programs that look for their files below the prefix, by paths that were built into them.
const AT_WORK: [(&str, &str); 10] = [
    ("sed --version", "sed (GNU sed) 4.7"),
    ("tar --version", "tar (GNU tar) 1.32"),
    ("grep --version", "grep (GNU grep) 3.3"),
    // A script, whose first line names the shell of the prefix.
    ("echo larry | egrep 'l(a|o)rry'", "larry"),
    ("which make", "@PREFIX@/usr/bin/make"),
    // The data base of file is where the library was told, and the link from gm4 to m4 is followed by flex.
    ("file @PREFIX@/etc/profile", "ASCII text"),
    ("printf '%%%%\\n[0-9]+ return 1;\\n%%%%\\n' > t.l && flex -o t.c t.l && grep -c yylex t.c", ""),
    ("printf 'all:\\n\\t@echo made | sed s/made/done/\\n' > Makefile && make", "done"),
    ("echo packed > f && tar -cjf f.tar.bz2 f && rm f && tar -xjf f.tar.bz2 && cat f", "packed"),
    ("find @PREFIX@/var/db/pkg -name PF -path '*sed-4*' | xargs cat", "sed-4.7"),
];

#[test]
fn a_prefix_is_ordered_and_run_without_root() {
    let Some(shared) = shared("the real prefix packages") else { return };
    if !Path::new(LIBRARIES).join("ld-linux.so.2").exists() {
        eprintln!("SKIPPED: running the prefix's programs needs Debian's package libc6-i386");
        return;
    }
    if !sample_dir().join("binhost/Packages").exists() {
        eprintln!("SKIPPED: the site of the tests needs the sample channel");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let site_dir = dir.path().join("site");
    fs::create_dir(&site_dir).expect("a folder");
    let site = Site::start(&site_dir, &prefix_channel(&shared));
    // As long as the path that the packages were built at, and no longer.
    let place = tempfile::Builder::new().prefix("g").rand_bytes(5).tempdir_in("/tmp").expect("a folder");
    let prefix = place.path().to_str().expect("text").to_owned();
    assert_eq!(prefix.len(), BUILT_AT.len());

    what_cannot_be_is_refused(&site, &prefix);
    let archive = order(&site, &prefix, dir.path());
    user::give(place.path());
    unpack(&archive, place.path());
    everything_is_there(place.path(), &prefix);
    supply_what_is_absent(place.path());
    for (command, expected) in AT_WORK {
        let said = enter(&prefix, &command.replace("@PREFIX@", &prefix));
        assert!(said.contains(&expected.replace("@PREFIX@", &prefix)), "{command}: {said}");
    }
    it_says_so_at_another_place(dir.path(), &archive, &prefix);
}

fn prefix_channel(shared: &Path) -> String {
    let binhost = fs::canonicalize(shared.join("real/prefix-x86")).expect("the binhost is there");
    format!(
        "[[channel]]\nname = \"prefix\"\ntitle = \"Prefix\"\narch = \"x86\"\naccept_keywords = \"x86 ~x86\"\naccept_license = \"*\"\n\
         [channel.prefix]\nbuilt_at = \"{BUILT_AT}\"\nhost_provides = [\"sys-libs/glibc-2.30-r3\", \"sys-libs/ncurses-6.1_p20190609\"]\n\
         [[channel.binhost]]\nname = \"real\"\nuri = \"file://{}\"\nallow_unsigned = true\n",
        binhost.display()
    )
}

fn what_cannot_be_is_refused(site: &Site, prefix: &str) {
    let order = |prefix: Value, format: &str| json!({"arch": "x86", "channel": "prefix", "packages": ["sys-apps/sed"], "formats": [format], "prefix": prefix});
    for (order, word) in [
        (order(json!(format!("{prefix}/x")), "zip"), "at most 11 characters"),
        (order(json!("/usr/x"), "zip"), "choose a folder of your own"),
        (order(json!(prefix), "iso"), "choose tar or zip"),
        (order(Value::Null, "zip"), "name the folder"),
        (
            json!({"arch": "amd64", "channel": "sample", "packages": ["a/b"], "formats": ["zip"], "prefix": prefix}),
            "no packages for a prefix",
        ),
    ] {
        let (status, answer) = site.order(&order);
        assert!((400..500).contains(&status) && answer.to_string().contains(word), "{order}: {status} {answer}");
    }
}

/// Orders both formats, and downloads the tar archive.
fn order(site: &Site, prefix: &str, dir: &Path) -> std::path::PathBuf {
    let order = json!({"arch": "x86", "packages": PACKAGES, "formats": ["tar.bz2", "zip"], "prefix": prefix});
    let (status, answer) = site.order(&order);
    assert_eq!(status, 201, "{answer}");
    let id = answer["id"].as_str().expect("an id");
    let ready = site.wait(id, "ready", BUILD_LIMIT);
    assert!(ready.to_string().contains("enter"), "the report says how to start it: {ready}");
    assert_eq!(site.json(&format!("/api/v1/orders/{id}/plan"))["prefix"], prefix);
    let names: Vec<&str> = ready["artifacts"].as_array().expect("artifacts").iter().filter_map(|a| a["name"].as_str()).collect();
    assert!(names.iter().any(|name| name.ends_with(".zip")), "{names:?}");
    let name = names.iter().find(|name| name.ends_with(".tar.bz2")).expect("a tar archive");
    let (status, bytes) = site.download(&format!("/api/v1/orders/{id}/artifacts/{name}"), 0);
    assert!(status == 200 || status == 206, "{status}");
    let path = dir.join("prefix.tar.bz2");
    fs::write(&path, bytes).expect("the download is kept");
    path
}

fn unpack(archive: &Path, to: &Path) {
    let output = user::command(Path::new("tar")).arg("-xjf").arg(archive).arg("-C").arg(to).output().expect("tar runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn everything_is_there(place: &Path, prefix: &str) {
    let read = |path: &str| fs::read_to_string(place.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    // What gawk's own script makes when it is installed.
    let awk = fs::read_link(place.join("bin/awk")).expect("gawk's script has run");
    assert_eq!(awk, Path::new("../usr/bin/gawk"));
    let record = "var/db/pkg/sys-devel/flex-2.6.4-r1";
    assert_eq!(read(&format!("{record}/EPREFIX")), format!("{prefix}\n"));
    assert!(read(&format!("{record}/CONTENTS")).contains(&format!("obj {prefix}/usr/bin/flex ")));
    assert!(read(&format!("{record}/NEEDED")).starts_with(&format!("{prefix}/usr/bin/flex ")));
    assert!(read("etc/profile.env").contains(&format!("{prefix}/usr/bin")));
    assert!(read("var/lib/portage/world").contains("sys-devel/flex\n"));
    assert_eq!(fs::read_link(place.join("usr/bin/gm4")).expect("a link"), Path::new(prefix).join("usr/bin/m4"));
    let old = Command::new("grep").args(["-rlI", BUILT_AT]).arg(place).output().expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&old.stdout), "", "these speak of the old path");
}

/// The C library, and a shell: the prefix has neither.
fn supply_what_is_absent(place: &Path) {
    let lib = place.join("lib");
    fs::create_dir_all(&lib).expect("a folder");
    for name in ["ld-linux.so.2", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"] {
        fs::copy(Path::new(LIBRARIES).join(name), lib.join(name)).expect("the library is copied");
    }
    for name in ["bash", "sh"] {
        std::os::unix::fs::symlink("/bin/bash", place.join("bin").join(name)).expect("a link");
    }
}

/// A command in the prefix, run by the ordinary user. A C library built for the prefix would look below it by itself.
fn enter(prefix: &str, command: &str) -> String {
    let script = format!(
        "export LD_LIBRARY_PATH={prefix}/lib:{prefix}/usr/lib; mkdir -p {prefix}/tmp/work; cd {prefix}/tmp/work; {command}"
    );
    let output =
        user::command(&Path::new(prefix).join("enter")).args(["sh", "-c", &script]).output().expect("the prefix is entered");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn it_says_so_at_another_place(dir: &Path, archive: &Path, prefix: &str) {
    let elsewhere = dir.join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    user::give(&elsewhere);
    unpack(archive, &elsewhere);
    let output = user::command(&elsewhere.join("enter")).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&format!("made for the folder {prefix}")), "{said}");
}
