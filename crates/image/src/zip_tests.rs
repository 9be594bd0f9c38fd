use std::process::Command;

use super::*;

/// Zip64 with small files: the border is put at ten bytes, so that sizes, offsets and the directory all need it.
#[test]
fn zip64_is_read_by_unzip() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let mut tree = Tree::new();
    tree.write_file(&store, "small", b"small", 0o644).unwrap();
    tree.write_file(&store, "some", &b"some more ".repeat(20), 0o644).unwrap();
    tree.write_file(&store, "large", &b"large ".repeat(500_000), 0o644).unwrap();
    let out = dir.path().join("image.zip");
    write_with_limit(&tree, &store, &WriteOptions::at(0), &out, &|_, _| true, 10).unwrap();
    for (name, content) in
        [("small", b"small".to_vec()), ("some", b"some more ".repeat(20)), ("large", b"large ".repeat(500_000))]
    {
        let output = Command::new("unzip").arg("-p").arg(&out).arg(name).output().unwrap();
        assert!(output.status.success() && output.stdout == content, "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = Command::new("unzip").arg("-tqq").arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
