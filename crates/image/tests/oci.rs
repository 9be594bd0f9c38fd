//! An OCI archive is read by the tools people use, as layout and as `docker save` makes it, and unpacks to the tree.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{EPOCH, add_file, assert_unpacked, have, plain_tree, run};
use image::{Container, Stage, Store, Tree, WriteOptions, write_oci};
use serde_json::Value;

struct Place {
    dir: tempfile::TempDir,
    store: Store,
    base: Tree,
    last: Tree,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let base = plain_tree(&store);
        let mut last = base.clone();
        add_file(&mut last, &store, b"etc/personal", b"larry", 0o600);
        add_file(&mut last, &store, b"usr/bin/tool", b"changed", 0o755);
        last.hard_link("usr/bin-extra", "usr/alias").unwrap();
        last.remove_all("srv");
        last.remove("etc/empty").unwrap();
        last.get_mut("var/empty").unwrap().mode = 0o700;
        Place { dir, store, base, last }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, stages: &[(&str, &Tree)], name: &str) -> PathBuf {
        let stages: Vec<Stage> = stages.iter().map(|(name, tree)| Stage { name, tree }).collect();
        let container = Container {
            name: "Hatchery test".into(),
            architecture: "amd64".into(),
            env: vec!["PATH=/usr/bin:/bin".into()],
            command: vec!["/bin/sh".into()],
        };
        let out = self.path(name);
        write_oci(&stages, &self.store, &container, &WriteOptions::at(EPOCH), &out, &|_, _| true).unwrap();
        out
    }
}

/// The digests of an archive's layers, by way of its two lists, which must agree.
fn layers(archive: &Path, dir: &Path) -> Vec<String> {
    fs::create_dir(dir).unwrap();
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(dir));
    let json = |name: &str| serde_json::from_slice::<Value>(&fs::read(dir.join(name)).unwrap()).unwrap();
    let blob = |digest: &Value| format!("blobs/sha256/{}", digest.as_str().unwrap().trim_start_matches("sha256:"));
    let manifest = json(&blob(&json("index.json")["manifests"][0]["digest"]));
    let names: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(|layer| blob(&layer["digest"])).collect();
    let docker = json("manifest.json");
    assert_eq!(docker[0]["Layers"], Value::from(names.clone()));
    assert_eq!(docker[0]["RepoTags"][0], "hatchery-test:latest");
    assert_eq!(docker[0]["Config"], blob(&manifest["config"]["digest"]));
    names
}

#[test]
fn equal_stages_are_equal_layers() {
    let place = Place::new();
    let one = layers(&place.write(&[("packages", &place.base), ("personal", &place.last)], "one.tar"), &place.path("one"));
    let two = layers(&place.write(&[("packages", &place.base), ("personal", &place.base)], "two.tar"), &place.path("two"));
    assert_eq!((one.len(), two.len()), (2, 1));
    assert_eq!(one[0], two[0]);
    // The personal layer has what changed, and whiteouts for what is gone.
    let list = run(Command::new("tar").arg("-tf").arg(place.path("one").join(&one[1])));
    let list = String::from_utf8(list.stdout).unwrap();
    let names: Vec<&str> = list.lines().collect();
    for name in
        ["./etc/personal", "./usr/bin/tool", "./usr/alias", "./usr/bin-extra", "./.wh.srv", "./etc/.wh.empty", "./var/empty/"]
    {
        assert!(names.contains(&name), "{name}: {list}");
    }
    assert!(!names.contains(&"./usr/share/large"), "{list}");
}

#[test]
fn umoci_unpacks_the_tree() {
    let place = Place::new();
    if !have("umoci") || !have("skopeo") {
        return;
    }
    let archive = place.write(&[("packages", &place.base), ("personal", &place.last)], "image.tar");
    for kind in ["oci-archive", "docker-archive"] {
        let said = run(Command::new("skopeo").args(["inspect", "--config"]).arg(format!("{kind}:{}", archive.display())));
        let config: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!((&config["architecture"], &config["config"]["Cmd"][0]), (&"amd64".into(), &"/bin/sh".into()), "{kind}");
    }
    let layout = place.path("layout");
    layers(&archive, &layout);
    let bundle = place.path("bundle");
    run(Command::new("umoci").args(["unpack", "--rootless", "--image"]).arg(format!("{}:latest", layout.display())).arg(&bundle));
    assert_unpacked(&place.last, &place.store, &bundle.join("rootfs"), 0);
}
