//! Profiles from damaged or hostile trees, and none at all.

use std::path::Path;

use gentoo::profile::Profile;
use gentoo::{Atom, Cpv, PackageRef};

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn error(files: &[(&str, &str)]) -> String {
    let folder = tree(files);
    Profile::load(&folder.path().join("profiles/p"), folder.path()).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_told_with_file_and_line() {
    const ARCH: (&str, &str) = ("profiles/p/make.defaults", "ARCH=amd64\n");
    for (files, said) in [
        (vec![("profiles/p/eapi", "8\n")], "sets ARCH"),
        (vec![("profiles/p/make.defaults", "ARCH=amd64\nUSE=\"x\n")], "make.defaults, line 3: a double quote"),
        (vec![("profiles/p/make.defaults", "ARCH=$(uname -m)\n")], "line 1: commands are not allowed"),
        (vec![ARCH, ("profiles/p/eapi", "99\n")], "eapi, line 1"),
        (vec![ARCH, ("profiles/p/parent", "../p\n")], "its own parent"),
        (vec![ARCH, ("profiles/p/parent", "../q\n"), ("profiles/q/parent", "../p\n")], "its own parent"),
        (vec![ARCH, ("profiles/p/parent", "# c\n../../../..\n")], "parent, line 2: the parent “../../../..” lies outside"),
        (vec![ARCH, ("profiles/p/parent", "../gone\n")], "cannot be read"),
        (vec![ARCH, ("profiles/p/parent", "overlay:base\n")], "repository “overlay”, which is not here"),
        (vec![ARCH, ("profiles/p/package.mask", "a/b\nnonsense\n")], "package.mask, line 2"),
        (vec![ARCH, ("profiles/package.mask", ">=a/b\n")], "no version"),
        (vec![ARCH, ("profiles/p/use.mask", "a\n%\n")], "use.mask, line 2"),
        (vec![ARCH, ("profiles/p/package.use", "a/b x!\n")], "“x!” is not a USE flag"),
        (vec![ARCH, ("profiles/p/package.provided", "a/b\n")], "package.provided, line 1"),
    ] {
        let message = error(&files);
        assert!(message.contains(said), "{files:?}: {message}");
    }
    let folder = tree(&[ARCH]);
    assert!(
        Profile::load(&folder.path().join("profiles/none"), folder.path()).unwrap_err().to_string().contains("cannot be read")
    );
}

#[test]
fn many_ways_to_one_parent_are_cut_off() {
    // Each level names the next twice: 2^40 visits without a limit.
    let mut files = vec![("profiles/p/make.defaults".to_owned(), "ARCH=amd64\n".to_owned())];
    for level in 0..40 {
        let folder = if level == 0 { "p".to_owned() } else { format!("l{level}") };
        files.push((format!("profiles/{folder}/parent"), format!("../l{0}\n../l{0}\n", level + 1)));
    }
    files.push(("profiles/l40/eapi".to_owned(), "8\n".to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert!(error(&files).contains("too many parents"));
}

#[test]
fn a_minimal_profile_knows_its_arch_and_free_licences() {
    let profile = Profile::minimal("amd64");
    let cpv = Cpv::parse("a/b-1").unwrap();
    let package = PackageRef { cpv: &cpv, slot: "0", subslot: "0", repo: "gentoo" };
    assert!(profile.accepts_keywords(package, "amd64 ~x86") && !profile.accepts_keywords(package, "~amd64"));
    assert!(profile.masks.find(package).is_none() && profile.system.is_empty());
    let refused = |text: &str| profile.accept_license.unaccepted(&gentoo::license::License::parse(text).unwrap(), &|_| false);
    assert!(refused("|| ( GPL-2 NVIDIA ) MIT").is_empty());
    assert_eq!(refused("NVIDIA"), ["NVIDIA"]);
}

#[test]
fn an_operators_masks_and_provided_packages_count() {
    let mut profile = Profile::minimal("amd64");
    let cpv = Cpv::parse("a/b-2").unwrap();
    let package = PackageRef { cpv: &cpv, slot: "0", subslot: "0", repo: "" };
    profile.masks.mask(Atom::parse(">=a/b-2").unwrap(), "broken");
    assert_eq!(profile.masks.find(package).unwrap().reason, "broken");
    profile.masks.unmask(Atom::parse("=a/b-2").unwrap());
    assert!(profile.masks.find(package).is_none());
    profile.provided.push(Cpv::parse("a/p-3").unwrap());
    assert!(profile.provides(&Atom::parse(">=a/p-2:5[x]").unwrap()) && !profile.provides(&Atom::parse("<a/p-2").unwrap()));
}

#[test]
fn profiles_of_a_real_tree_load() {
    let Some(home) = std::env::var_os("HOME") else { return };
    let repo = Path::new(&home).join(".cache/hatchery-oracle/repos/gentoo-202608");
    let Ok(list) = std::fs::read_to_string(repo.join("profiles/profiles.desc")) else {
        println!("skipped: {} is not there", repo.display());
        return;
    };
    let mut loaded = 0;
    // Every third of some 300 is enough of a sample.
    for line in list.lines().step_by(3) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [arch, path, _status] = words.as_slice() else { continue };
        if arch.starts_with('#') {
            continue;
        }
        let profile = Profile::load(&repo.join("profiles").join(path), &repo).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert!(path.starts_with("prefix") || !profile.system.is_empty(), "{path}");
        assert!(profile.use_flags().contains(&profile.arch), "{path}");
        loaded += 1;
    }
    assert!(loaded > 50, "{loaded}");
}
