//! What `hatchery verify` says where something of a signature is missing: what to do.

use std::path::Path;
use std::process::Command;

/// What it says of the image in `dir`, and whether it is good.
fn verify(dir: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hatchery")).args(["verify", "larry.zip"]).current_dir(dir).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn it_says_what_to_do_where_the_signature_or_its_certificate_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let (good, said) = verify(dir.path());
    assert!(!good && said.contains("hatchery download ORDER --documents"), "{said}");

    write("larry.zip", "");
    write("larry.SHA512SUMS", &format!("{}  larry.zip\n", "0".repeat(128)));
    let (good, said) = verify(dir.path());
    assert!(!good && said.contains("there is no signature larry.SHA512SUMS.asc"), "{said}");
    assert!(said.contains("hatchery verify larry.zip --unsigned"), "{said}");

    write("larry.SHA512SUMS.asc", "-----BEGIN PGP SIGNATURE-----\n");
    let (good, said) = verify(dir.path());
    assert!(!good && said.contains("https://SITE/certificate.asc") && said.contains("--certificate FILE"), "{said}");
    let statement = r#"{"predicate": {"runDetails": {"builder": {"id": "https://hatchery.example.org"}}}}"#;
    write("larry.intoto.json", statement);
    let (_, said) = verify(dir.path());
    assert!(said.contains("https://hatchery.example.org/certificate.asc"), "{said}");

    // A certificate beside the image is taken.
    write("certificate.asc", "none");
    let (good, said) = verify(dir.path());
    assert!(!good && said.contains("certificate.asc is no certificate"), "{said}");
}
