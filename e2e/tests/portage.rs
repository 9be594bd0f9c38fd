//! An image goes on as a Gentoo: real Portage, with the image's own configuration, finds nothing to merge or to rebuild, and goes on with
//! binary packages whose signatures it verifies.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::portage::Portage;
use e2e::site::Site;
use e2e::{free_port, sample_dir, user};

/// The sample has no Portage; with this file an image is configured as if it had.
const MAKE_GLOBALS: &str = "/usr/share/portage/config/make.globals";

#[test]
fn emerge_in_a_sample_image_changes_nothing_and_adds_verified_binary_packages() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let sample = sample_dir();
    // A site with packages of its own before the others, and a preset of its own, which gives out both binhosts, so that the image can use them, too.
    own_binhost(&path.join("own"), &sample.join("binhost"), &["app-editors/nano", "app-misc/tmux"]);
    fs::create_dir(path.join("presets")).expect("a folder");
    fs::write(path.join("presets/lab.toml"), LAB).expect("the preset is written");
    let port = free_port();
    let config = format!(
        "listen = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\ndata_dir = \"{dir}/data\"\n\
         presets_dir = \"{dir}/presets\"\n[[channel]]\nname = \"sample\"\ntitle = \"Sample\"\narch = \"amd64\"\n\
         profile = \"{sample}/repo/profiles/default/linux/amd64/23.0\"\naccept_license = \"* -NOTHING\"\n\
         [[channel.binhost]]\nname = \"own\"\nuri = \"file://{dir}/own\"\nkeyring_file = \"{sample}/key/certificate.asc\"\nserve = true\n\
         [[channel.binhost]]\nname = \"sample\"\nuri = \"file://{sample}/binhost\"\nkeyring_file = \"{sample}/key/certificate.asc\"\n\
         serve = true\n",
        dir = path.display(),
        sample = sample.display(),
    );
    let _site = Site::with_config(path, port, &config, false);
    let order = format!(
        "arch = \"amd64\"\nformats = [\"tar.zst\"]\npreset = \"lab\"\npackages = [\"dev-vcs/git[-perl]\"]\n\
         install_mask = [\"/usr/share/doc\"]\n[[system.files]]\npath = \"{MAKE_GLOBALS}\"\ncontent = \"\"\n"
    );
    fs::write(path.join("order.toml"), order).expect("the order is written");
    let output = user::build(path, "out");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let images = fs::read_dir(path.join("out")).expect("images").flatten().map(|entry| entry.path());
    let image = images.into_iter().find(|path| path.to_string_lossy().ends_with(".tar.zst")).expect("an image");

    let Some(portage) = Portage::of_image(&image, ("hatchery-sample", &sample.join("repo")), &[]) else {
        return;
    };
    let priority_of = |binhost: &str| -> i64 {
        let path = portage.file(&format!("etc/portage/binrepos.conf/{binhost}.conf"));
        let text = fs::read_to_string(path).expect("it is there");
        assert!(text.contains(&format!("sync-uri = http://127.0.0.1:{port}/binhost/sample/{binhost}\n")), "{text}");
        let priority = text.lines().find_map(|line| line.strip_prefix("priority = ")).expect("a priority");
        priority.parse().expect("a number")
    };
    assert!(priority_of("own") > priority_of("sample"));
    each_package_comes_from_the_first_that_has_it(&path.join("out"));
    portage.would_change_nothing("@world");
    let added = portage.emerge(&["--getbinpkg", "--usepkgonly", "app-misc/tmux"]);
    assert!(added.contains("[binary") && added.contains("app-misc/tmux-") && !added.contains("[ebuild"), "{added}");
    // The flags ordered are those Portage keeps: the other build of vim is no reason to merge it again.
    portage.would_change_nothing("app-editors/vim");
    let read = |name: &str| fs::read_to_string(portage.file(&format!("etc/portage/{name}"))).expect("it is there");
    let settings = read("package.use/hatchery");
    assert!(settings.contains("app-editors/vim:0 ") && settings.contains("dev-vcs/git:0 "), "{settings}");
    // Flags that are as the profile has them are not repeated: there are more than a hundred packages, with hundreds of flags.
    let flags: usize = settings.lines().skip(1).map(|line| line.split(' ').count() - 1).sum();
    assert!(settings.lines().count() < 60 && flags < 200, "{settings}");
    let make_conf = read("make.conf");
    assert!(
        make_conf.contains("ACCEPT_LICENSE=\"* -NOTHING\"") && make_conf.contains("INSTALL_MASK=\"/usr/share/doc\""),
        "{make_conf}"
    );
    the_binhost_s_key_is_trusted(&portage, &a_package(&sample.join("binhost/app-misc/tmux")));

    let words = ["--getbinpkg", "--usepkgonly", "--oneshot", "app-misc/tmux"];
    let Some((inside, said)) = portage.emerge_inside(&image, ("hatchery-sample", &sample.join("repo")), &words) else { return };
    assert!(said.contains("app-misc/tmux-") && said.contains(">>> Completed ("), "{said}");
    assert!(inside.file("var/cache/binhost/own/app-misc/tmux").exists(), "it comes from the first that has it: {said}");
    let installed = fs::read_dir(inside.file("var/db/pkg/app-misc")).expect("it is merged").flatten();
    assert!(installed.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("tmux-")), "{said}");
    assert!(inside.run(&["/usr/bin/tmux", "-V"]).starts_with("tmux 3"), "what was merged runs in the image");
}

/// The preset of this site's operator.
const LAB: &str = r#"
name = "lab"
title = "Computer lab"
arch = "amd64"
description = "What the machines in the lab run."
packages = ["@system", "app-editors/vim[minimal]", "app-editors/nano"]
formats = ["tar.zst"]
"#;

/// A binhost with these packages of another one.
fn own_binhost(own: &Path, all: &Path, names: &[&str]) {
    let index = fs::read_to_string(all.join("Packages")).expect("an index");
    let mut stanzas = index.split("\n\n");
    let header = stanzas.next().expect("a header");
    let of_name = |stanza: &&str| names.iter().any(|name| stanza.lines().any(|line| line.starts_with(&format!("CPV: {name}-"))));
    let kept: Vec<&str> = stanzas.filter(of_name).collect();
    assert!(kept.len() >= names.len(), "{kept:?}");
    let header = header.lines().filter(|line| !line.starts_with("PACKAGES:")).collect::<Vec<_>>().join("\n");
    for path in kept.iter().filter_map(|stanza| stanza.lines().find_map(|line| line.strip_prefix("PATH: "))) {
        let copy = own.join(path);
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        fs::copy(all.join(path), copy).expect("the package is copied");
    }
    let index = format!("{header}\nPACKAGES: {}\n\n{}\n", kept.len(), kept.join("\n\n").trim_end());
    fs::write(own.join("Packages"), index).expect("the index is written");
}

fn each_package_comes_from_the_first_that_has_it(out: &Path) {
    let files = fs::read_dir(out).expect("images").flatten().map(|entry| entry.path());
    let lock = files.into_iter().find(|path| path.to_string_lossy().ends_with(".plan.json")).expect("a lock file");
    let plan: serde_json::Value = serde_json::from_slice(&fs::read(lock).expect("it can be read")).expect("JSON");
    let packages = plan["packages"].as_array().expect("packages");
    let of_own = |package: &&serde_json::Value| package["cpv"].as_str().is_some_and(|cpv| cpv.starts_with("app-editors/nano-"));
    let expected = |package: &serde_json::Value| if of_own(&package) { "own" } else { "sample" };
    assert!(packages.len() > 40 && packages.iter().filter(of_own).count() == 1, "{plan}");
    packages.iter().for_each(|package| assert_eq!(package["binhost"], expected(package), "{}", package["cpv"]));
}

/// Portage verifies by the keys in the image, and by nothing else.
fn the_binhost_s_key_is_trusted(portage: &Portage, package: &Path) {
    let (trusted, said) = portage.trusts(package);
    assert!(trusted, "{said}");
    let database = portage.file("etc/portage/gnupg/trustdb.gpg");
    let kept = fs::read(&database).expect("it is there");
    // The record of the one owner, without what says that he is trusted.
    let untrusted: Vec<u8> =
        kept.chunks(40).flat_map(|record| if record[0] == 12 || record[0] == 13 { &[0; 40] } else { record }).copied().collect();
    fs::write(&database, untrusted).expect("it is written");
    let (trusted, said) = portage.trusts(package);
    assert!(!trusted, "{said}");
    fs::write(&database, kept).expect("it is written");
    let cut = portage.file("tmp/cut.gpkg.tar");
    let mut bytes = fs::read(package).expect("a package");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&cut, bytes).expect("it is written");
    assert!(!portage.trusts(&cut).0, "a changed package is trusted");
}

fn a_package(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).expect("packages").flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.to_string_lossy().ends_with(".gpkg.tar")).expect("a package")
}
