//! The variables and functions of an environment.bz2, as `record.py` tells them apart.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::What;

/// The name that a line begins, when bash printed it by `declare -p` or `declare -f`.
fn declared(line: &str) -> Option<String> {
    let is_name = |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "()=".contains(c));
    if let Some(rest) = line.strip_prefix("declare ") {
        let rest = if rest.starts_with('-') { rest.split_once(' ')?.1 } else { rest };
        let name = rest.split('=').next().unwrap_or_default();
        return (is_name(name) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then(|| name.to_owned());
    }
    let function = line.trim_end_matches(' ');
    function.strip_suffix(" ()").filter(|name| is_name(name)).map(|_| function.to_owned())
}

fn entries(text: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut current = None;
    for line in text.split('\n') {
        if let Some(name) = declared(line) {
            found.insert(name.clone(), line.to_owned());
            current = Some(name);
        } else if let Some(text) = current.as_ref().and_then(|name| found.get_mut(name)) {
            text.push('\n');
            text.push_str(line);
        }
    }
    found
}

/// The same, printed anew by this machine's bash: versions of it print the same differently. In a sandbox, as it is foreign code.
fn printed(text: &[u8]) -> String {
    const PRINT: &str = "shopt -s extglob; source \"$1\" > /dev/null 2>&1; declare -p; declare -f";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    let output = Command::new("bwrap")
        .args(["--unshare-all", "--die-with-parent", "--clearenv", "--ro-bind", "/", "/", "--dev", "/dev", "--"])
        .args(["bash", "--noprofile", "--norc", "-c", PRINT, "bash"])
        .arg(file.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What differs between a recorded environment and the packed text of ours.
pub fn differences(theirs: &BTreeMap<String, String>, packed: &[u8]) -> Vec<What> {
    let mut text = Vec::new();
    bzip2::read::MultiBzDecoder::new(packed).read_to_end(&mut text).unwrap();
    let names = entries(&String::from_utf8_lossy(&text));
    let hash = |text: &String| hex::encode(Sha256::digest(text.trim_end_matches('\n')))[..6].to_owned();
    let mut ours = entries(&printed(&text));
    ours.retain(|name, _| names.contains_key(name));
    let names = theirs.keys().chain(ours.keys().filter(|name| !theirs.contains_key(*name)));
    let differing = names.filter(|name| theirs.get(*name) != ours.get(*name).map(hash).as_ref());
    let what =
        |name: &String| What::Variable { name: name.clone(), theirs: theirs.contains_key(name), ours: ours.get(name).cloned() };
    differing.map(what).collect()
}
