//! An OCI image (image specification 1.0) as one tar file that is an image layout and, by a further `manifest.json`, what `docker load`
//! reads. A layer is the difference of two trees, so equal stages of different images are equal blobs that are fetched and kept once.
//! A layer is compressed in the pieces of [`tar::write_compressed`], sorted by path, as engines make the directories before what is in them.

mod layer;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::compress::Compression;
use crate::forms::FormKey;
use crate::store::Store;
use crate::tar::{self, Header, RECORD};
use crate::tree::Tree;
use crate::write::{Error, Meter, Progress, Workspace, WriteOptions, WriteReport, content_of, items, write_all};
use crate::zip_record::civil;

/// A stage of the root; what it changes against the stage before becomes a layer.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// Said in the image's history, like `packages`.
    pub name: &'a str,
    /// The whole root as it is at this stage.
    pub tree: &'a Tree,
}

/// How a container of the image runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The image's name, like `hatchery-amd64-server`; what a registry does not allow becomes a hyphen.
    pub name: String,
    /// GOARCH: `amd64`, `386`.
    pub architecture: String,
    /// Variables as `NAME=value`.
    pub env: Vec<String>,
    /// The command with its arguments; may be empty.
    pub command: Vec<String>,
}

/// Writes an OCI archive.
///
/// # Errors
/// Those of [`Error`]; the output appears only when it is whole.
pub fn write_oci(
    stages: &[Stage],
    store: &Store,
    container: &Container,
    options: &WriteOptions,
    out: &Path,
    progress: Progress,
) -> Result<WriteReport, Error> {
    let workspace = Workspace::beside(out)?;
    let empty = Tree::new();
    let mut previous = &empty;
    let mut differences = Vec::new();
    for stage in stages {
        let difference = layer::difference(previous, stage.tree)?;
        if !difference.is_empty() {
            differences.push((stage.name, difference));
        }
        previous = stage.tree;
    }
    // Hashed in one pass and compressed in another.
    let total = 2 * differences.iter().map(|(_, tree)| tree.totals().bytes).sum::<u64>();
    let mut meter = Meter::new(progress, total);
    let mut layers = Vec::new();
    for (number, (name, tree)) in differences.iter().enumerate() {
        let file = workspace.create(&format!("layer-{number}"))?;
        layers.push(Layer::write(name, tree, store, options, file, &mut meter)?);
    }
    write_archive(&layers, container, options, &workspace)?;
    workspace.publish("image.tar")?;
    Ok(WriteReport::default())
}

/// A blob's name: the SHA-256 of its bytes.
struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn of(bytes: &[u8]) -> Blob {
        Blob { digest: hex::encode(Sha256::digest(bytes)), size: bytes.len() as u64 }
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.size})
    }
}

/// A layer on disk.
struct Layer {
    name: String,
    blob: Blob,
    /// SHA-256 of the tar stream before it was compressed.
    diff_id: String,
    path: PathBuf,
}

impl Layer {
    fn write(
        name: &str,
        tree: &Tree,
        store: &Store,
        options: &WriteOptions,
        (path, mut file): (PathBuf, File),
        meter: &mut Meter,
    ) -> Result<Layer, Error> {
        let diff_id = diff_id(tree, store, options, meter)?;
        let (mut hasher, mut size) = (Sha256::new(), 0);
        // gzip is what every engine takes.
        let source = tar::Source { store, compression: Compression::Gzip, options };
        tar::write_compressed(&source, items(tree), meter, &path, |bytes| {
            hasher.update(bytes);
            size += bytes.len() as u64;
            write_all(&mut file, &path, bytes)
        })?;
        let blob = Blob { digest: hex::encode(hasher.finalize()), size };
        Ok(Layer { name: name.to_owned(), blob, diff_id, path })
    }
}

/// The SHA-256 of a layer's tar stream before it is compressed. It is kept as a form, so that a layer seen before is not read for it.
fn diff_id(tree: &Tree, store: &Store, options: &WriteOptions, meter: &mut Meter) -> Result<String, Error> {
    let mut key = FormKey::of("oci diff id, 1");
    for item in items(tree) {
        key.field(&tar::headers(&item, options));
        if let Some((blob, _)) = content_of(&item) {
            key.blob(blob);
        }
    }
    let (key, forms) = (key.finish(), store.forms().map_err(Error::store)?);
    if let Some(known) = forms.get(&key) {
        meter.add(tree.totals().bytes)?;
        return Ok(hex::encode(known));
    }
    let mut hasher = Sha256::new();
    tar::write_stream(tree, store, options, meter, &mut |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    let digest = hasher.finalize();
    forms.put(&key, &digest).map_err(Error::store)?;
    Ok(hex::encode(digest))
}

fn write_archive(layers: &[Layer], container: &Container, options: &WriteOptions, workspace: &Workspace) -> Result<(), Error> {
    let created = rfc3339(options.epoch);
    let config = config(layers, container, &created).to_string();
    let config_blob = Blob::of(config.as_bytes());
    let layer_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config_blob.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": layers.iter().map(|layer| layer.blob.descriptor(layer_type)).collect::<Vec<_>>(),
    })
    .to_string();
    let manifest_blob = Blob::of(manifest.as_bytes());
    let mut entry = manifest_blob.descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    entry["platform"] = json!({"architecture": container.architecture, "os": "linux"});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]});
    let docker = json!([{
        "Config": config_blob.path(),
        "RepoTags": [format!("{}:latest", repository(&container.name))],
        "Layers": layers.iter().map(|layer| layer.blob.path()).collect::<Vec<_>>(),
    }]);

    let mut archive = Archive::create(workspace, options)?;
    archive.add("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
    archive.add("index.json", index.to_string().as_bytes())?;
    archive.add("manifest.json", docker.to_string().as_bytes())?;
    archive.add(&manifest_blob.path(), manifest.as_bytes())?;
    archive.add(&config_blob.path(), config.as_bytes())?;
    let mut written = BTreeSet::new();
    for layer in layers.iter().filter(|layer| written.insert(layer.blob.digest.clone())) {
        archive.copy(&layer.blob.path(), layer.blob.size, &layer.path)?;
    }
    archive.finish()
}

fn config(layers: &[Layer], container: &Container, created: &str) -> Value {
    json!({
        "created": created,
        "architecture": container.architecture,
        "os": "linux",
        "config": {"Env": container.env, "Cmd": container.command, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| format!("sha256:{}", l.diff_id)).collect::<Vec<_>>()},
        "history": layers.iter().map(|layer| json!({"created": created, "created_by": layer.name})).collect::<Vec<_>>(),
    })
}

/// A repository's name: lower-case letters and digits, with single separators between.
fn repository(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        match c.is_ascii_alphanumeric() {
            true => text.push(c),
            false if !text.is_empty() && !text.ends_with('-') => text.push('-'),
            false => (),
        }
    }
    let text = text.trim_end_matches('-');
    if text.is_empty() { "hatchery".to_owned() } else { text.to_owned() }
}

fn rfc3339(epoch: i64) -> String {
    let epoch = epoch.max(0);
    let (year, month, day) = civil(epoch / 86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", epoch / 3600 % 24, epoch / 60 % 60, epoch % 60)
}

/// The tar file around everything, itself not compressed: its layers are.
struct Archive {
    file: File,
    path: PathBuf,
    at: u64,
    mtime: u64,
}

impl Archive {
    fn create(workspace: &Workspace, options: &WriteOptions) -> Result<Archive, Error> {
        let (path, file) = workspace.create("image.tar")?;
        Ok(Archive { file, path, at: 0, mtime: u64::try_from(options.epoch).unwrap_or(0) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.at += bytes.len() as u64;
        write_all(&mut self.file, &self.path, bytes)
    }

    fn add(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        self.write(&Header::file(name.as_bytes(), content.len() as u64, self.mtime))?;
        self.write(content)?;
        self.write_zeros(tar::padding(content.len() as u64))
    }

    fn copy(&mut self, name: &str, size: u64, from: &Path) -> Result<(), Error> {
        self.write(&Header::file(name.as_bytes(), size, self.mtime))?;
        let file = File::open(from).map_err(|e| Error::io(from, e))?;
        self.at += io::copy(&mut file.take(size), &mut self.file).map_err(|e| Error::io(&self.path, e))?;
        self.write_zeros(tar::padding(size))
    }

    fn write_zeros(&mut self, count: u64) -> Result<(), Error> {
        self.write(&vec![0; count as usize])
    }

    fn finish(mut self) -> Result<(), Error> {
        let end = (self.at + 1024).next_multiple_of(RECORD);
        self.write_zeros(end - self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_registries_allow() {
        assert_eq!(repository("Hatchery amd64/Server_2026."), "hatchery-amd64-server-2026");
        assert_eq!(repository("…"), "hatchery");
    }

    #[test]
    fn times() {
        assert_eq!(rfc3339(1_795_304_461), "2026-11-21T23:41:01Z");
    }
}
