//! `hatchery verify`: whether a downloaded image is what its documents say, and who says so.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use attest::verify::{MAX_SUMS, SumOutcome, check_sum, compare};
use attest::{Digests, DocumentKind, SumKind, parse_sums};
use binhost::openpgp::Keyring;
use contract::{Format, Plan};
use gentoo::gpkg::Verifier;

use crate::cmd_download::CERTIFICATE;
use crate::{Outcome, contents};

#[derive(clap::Args)]
pub struct Args {
    /// The image, with the files that came with it in the same folder
    image: PathBuf,
    /// The certificate of the operator who made it, had by a way you trust; without it, certificate.asc beside the image counts
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Do without a signature: then nothing shows who made the image
    #[arg(long, conflicts_with = "certificate")]
    unsigned: bool,
}

/// Largest lock file that is read, in bytes.
const MAX_LOCK: u64 = 256 << 20;

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let beside = Beside::find(&args.image)?;
    match args.unsigned {
        true => {
            println!("NOT CHECKED: the signature, as --unsigned says. Whoever can change the image can change its checksums.")
        }
        false => beside.check_signature(args.certificate.as_deref())?,
    }
    beside.check_sums()?;
    beside.check_contents()?;
    println!("{} is good.", beside.image.display());
    println!(
        "What this does not show: that whoever built it did so honestly. For that, build it again from {} (hatchery build --lock): the same order gives the same bytes.",
        beside.name_of(DocumentKind::Lock)
    );
    Ok(Outcome::Done)
}

/// An image with what lies beside it.
struct Beside {
    image: PathBuf,
    name: String,
    dir: PathBuf,
    /// The stem of the documents' names.
    stem: String,
    sums: Vec<(SumKind, String)>,
}

impl Beside {
    fn find(image: &Path) -> anyhow::Result<Beside> {
        let name = image.file_name().and_then(|n| n.to_str()).context("the image has no plain name")?.to_owned();
        let dir = image.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        // The stem is the image's name without its format, and a name may have dots of its own: the longest that has a list counts.
        let stems: Vec<&str> = name.match_indices('.').filter_map(|(at, _)| name.get(..at)).collect();
        for stem in stems.into_iter().rev() {
            let list = |kind: SumKind| Some((kind, read(&dir.join(format!("{stem}.{}", kind.file_ending())), MAX_SUMS).ok()?));
            let sums: Vec<(SumKind, String)> = SumKind::ALL.into_iter().filter_map(list).collect();
            if sums.iter().any(|(_, text)| parse_sums(text).iter().any(|(listed, _)| *listed == name)) {
                return Ok(Beside { image: image.to_owned(), dir, stem: stem.to_owned(), sums, name });
            }
        }
        bail!(
            "no list of checksums in {dir} names {name}; download the files that came with the image into the same folder: hatchery download ORDER --documents -o {dir}",
            dir = dir.display()
        )
    }

    fn name_of(&self, kind: DocumentKind) -> String {
        kind.file_name(&self.stem)
    }

    fn check_signature(&self, named: Option<&Path>) -> anyhow::Result<()> {
        let signature = self.signature()?;
        let found = self.dir.join(CERTIFICATE);
        let certificate = match named {
            Some(named) => named,
            None if found.exists() => &found,
            None => bail!("{}", self.how_to_get_the_certificate()),
        };
        let text = std::fs::read_to_string(certificate).with_context(|| format!("{} cannot be read", certificate.display()))?;
        let keyring = Keyring::from_armored(&text).with_context(|| format!("{} is no certificate", certificate.display()))?;
        let sums = self.sums.iter().find(|(kind, _)| *kind == SumKind::Sha512).map(|(_, text)| text.as_str());
        let sums = sums.context("there is no list of SHA-512 checksums, which is what is signed")?;
        let outcome = keyring.verify_detached(&mut sums.as_bytes(), signature.as_bytes());
        let name = self.name_of(DocumentKind::Signature);
        outcome.map_err(|e| anyhow::anyhow!("the signature {name} does not hold: {e}"))?;
        println!("signature: the checksums are by the owner of {}", keyring.fingerprints().join(", "));
        if named.is_none() {
            println!("           as {} has it: whether that is the operator's key, nothing here can show", certificate.display());
        }
        Ok(())
    }

    /// The signature beside the image.
    fn signature(&self) -> anyhow::Result<String> {
        let name = self.name_of(DocumentKind::Signature);
        let path = self.dir.join(&name);
        if path.exists() {
            return read(&path, MAX_SUMS);
        }
        bail!(
            "there is no signature {name} beside the image.\n\
             If the site signs nothing, which the order's page says: hatchery verify {image} --unsigned\n\
             If it signs: hatchery download ORDER --documents -o {dir}",
            image = self.image.display(),
            dir = self.dir.display()
        )
    }

    fn how_to_get_the_certificate(&self) -> String {
        format!(
            "the image is signed, but by whose certificate it is to be checked is not said.\n\
             The site gives it out at {site}/{CERTIFICATE}: save it as {found}, or name it with --certificate FILE. Better still, ask its operator.\n\
             To check without the signature: hatchery verify {image} --unsigned",
            site = self.site().as_deref().unwrap_or("https://SITE"),
            found = self.dir.join(CERTIFICATE).display(),
            image = self.image.display()
        )
    }

    /// The site that the provenance names as the builder.
    fn site(&self) -> Option<String> {
        let text = read(&self.dir.join(self.name_of(DocumentKind::Provenance)), MAX_LOCK).ok()?;
        let statement: serde_json::Value = serde_json::from_str(&text).ok()?;
        let site = statement["predicate"]["runDetails"]["builder"]["id"].as_str()?.trim_end_matches('/');
        // What was built with no site names none that could be asked.
        let is_one = site.starts_with("http") && !site.contains(".invalid/") && site.bytes().all(|b| b.is_ascii_graphic());
        is_one.then(|| site.to_owned())
    }

    /// The image, and every file beside it that is there, against every list that is there.
    fn check_sums(&self) -> anyhow::Result<()> {
        let mut names: Vec<&str> = self.sums.iter().flat_map(|(_, text)| parse_sums(text)).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let path = self.dir.join(name);
            if !path.exists() {
                println!("not here:  {name}");
                continue;
            }
            let digests = Digests::read(&mut File::open(&path)?).with_context(|| format!("{} cannot be read", path.display()))?;
            for (kind, list) in &self.sums {
                match check_sum(list, *kind, name, &digests) {
                    SumOutcome::Agrees => {}
                    SumOutcome::NotListed => bail!("{name} is missing in the {} checksums", kind.program()),
                    SumOutcome::Differs { listed, found } => bail!(
                        "{name} is not what was given out: its {} is {found} and should be {listed}; download it again",
                        kind.program()
                    ),
                }
            }
            let programs: Vec<&str> = self.sums.iter().map(|(kind, _)| kind.program()).collect();
            println!("checksums: {name} ({})", programs.join(", "));
        }
        Ok(())
    }

    /// What the image says of itself, against the lock.
    fn check_contents(&self) -> anyhow::Result<()> {
        let name = self.name_of(DocumentKind::Lock);
        let text = read(&self.dir.join(&name), MAX_LOCK).with_context(|| format!("the lock file {name} is not here"))?;
        let plan: Plan = serde_json::from_str(&text).with_context(|| format!("{name} is no lock file"))?;
        let ending = self.name.get(self.stem.len() + 1..).unwrap_or_default();
        let format = Format::ALL.into_iter().find(|f| ending == f.name() || ending.starts_with(&format!("{f}.")));
        let format = format.with_context(|| format!("{} is not an image, but a file beside one", self.name))?;
        if plan.prefix.is_some() {
            println!("NOT CHECKED: the contents, as a prefix has its packages elsewhere");
            return Ok(());
        }
        let Some(installed) = contents::installed(&self.image, format)? else {
            println!("contents:  this file of several holds no packages; check the others too");
            return Ok(());
        };
        let differences = compare(&plan, &installed);
        if !differences.is_empty() {
            bail!("the image is not made from {name}:\n{}", differences.join("\n"));
        }
        println!("contents:  the image says of itself that it has the {} packages of {name}, and no others", plan.packages.len());
        Ok(())
    }
}

fn read(path: &Path, limit: u64) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    file.take(limit).read_to_string(&mut text).with_context(|| format!("{} is not text", path.display()))?;
    Ok(text)
}
