//! An image goes on as a Gentoo: real Portage, with the image's own configuration, finds nothing to merge or to rebuild, and goes on with
//! binary packages.

use std::fs;

use e2e::portage::Portage;
use e2e::{sample_dir, user};

/// The sample has no Portage; with this file an image is configured as if it had.
const MAKE_GLOBALS: &str = "/usr/share/portage/config/make.globals";

#[test]
fn emerge_in_a_sample_image_changes_nothing_and_adds_binary_packages() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let sample = sample_dir();
    let config = format!(
        "data_dir = \"{dir}/data\"\n[[channel]]\nname = \"sample\"\ntitle = \"Sample\"\narch = \"amd64\"\n\
         profile = \"{sample}/repo/profiles/default/linux/amd64/23.0\"\n\
         [[channel.binhost]]\nname = \"sample\"\nuri = \"file://{sample}/binhost\"\nkeyring_file = \"{sample}/key/certificate.asc\"\n",
        dir = path.display(),
        sample = sample.display(),
    );
    fs::write(path.join("hatchery.toml"), config).expect("the configuration is written");
    let order = format!(
        "arch = \"amd64\"\nformats = [\"tar.zst\"]\npackages = [\"@system\", \"app-editors/vim[minimal]\", \"dev-vcs/git[-perl]\"]\n\
         [[system.files]]\npath = \"{MAKE_GLOBALS}\"\ncontent = \"\"\n"
    );
    fs::write(path.join("order.toml"), order).expect("the order is written");
    let output = user::build(path, "out");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let images = fs::read_dir(path.join("out")).expect("images").flatten().map(|entry| entry.path());
    let image = images.into_iter().find(|path| path.to_string_lossy().ends_with(".tar.zst")).expect("an image");

    let Some(portage) = Portage::of_image(&image, ("hatchery-sample", &sample.join("repo")), &[&sample.join("binhost")]) else {
        return;
    };
    portage.would_change_nothing("@world");
    let added = portage.emerge(&["--getbinpkg", "--usepkgonly", "app-misc/tmux"]);
    assert!(added.contains("[binary") && added.contains("app-misc/tmux-") && !added.contains("[ebuild"), "{added}");
    // The flags ordered are those Portage keeps: the other build of vim is no reason to merge it again.
    portage.would_change_nothing("app-editors/vim");
}
