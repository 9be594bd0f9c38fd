//! `hatchery keygen`: the operator's key, which images' checksums are signed with.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context;
use binhost::openpgp::SigningKey;

use crate::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Who signs, like "Hatchery of Example <hatchery@example.org>"
    user_id: String,
    /// Where the secret key goes; the certificate goes beside it, with .asc added to the name
    #[arg(short, long, value_name = "FILE", default_value = "hatchery-signing.key")]
    output: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let key = SigningKey::generate(&args.user_id).context("no key could be made")?;
    let mut certificate = args.output.clone().into_os_string();
    certificate.push(".asc");
    let certificate = PathBuf::from(certificate);
    // An old key is not written over: images signed with it could not be checked any more.
    let create = |path: &PathBuf, mode| {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        file.with_context(|| format!("{} cannot be made", path.display()))
    };
    create(&args.output, 0o600)?.write_all(key.to_armored()?.as_bytes())?;
    create(&certificate, 0o644)?.write_all(key.certificate()?.as_bytes())?;
    println!("Secret key:  {} (name it as signing_key_file in the configuration; it has no passphrase)", args.output.display());
    println!("Certificate: {} (give it to those who are to check your images)", certificate.display());
    println!("Fingerprint: {}", key.fingerprint());
    Ok(Outcome::Done)
}
