//! `hatchery download`: the files of an order that is ready.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::settings::ClientArgs;
use crate::site::{Placed, Site};
use crate::{Outcome, follow};

/// Under which name a site's certificate is kept beside the images.
pub const CERTIFICATE: &str = "certificate.asc";

#[derive(clap::Args)]
pub struct Args {
    /// The order: the address of its page, or its identifier
    order: String,
    #[command(flatten)]
    client: ClientArgs,
    /// The folder to download into; what is there in part is gone on with, what is there whole is left
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Only this format, like iso; repeat it
    #[arg(long, value_name = "FORMAT")]
    format: Vec<String>,
    /// What lies beside the images too: checksums, signature with the site's certificate, bills of materials
    #[arg(long)]
    documents: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let (site, placed) = args.client.order(&args.order)?;
    let status = site.status(&placed)?;
    if status["state"] != "ready" {
        return Ok(follow::outcome(&status));
    }
    let is_wanted = |file: &&Value| {
        args.format.is_empty() || file["format"].as_str().is_some_and(|format| args.format.iter().any(|wanted| wanted == format))
    };
    let mut files: Vec<&Value> = list(&status, "artifacts")?.iter().filter(is_wanted).collect();
    if files.is_empty() {
        let formats = list(&status, "formats")?.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
        bail!("the order has no such format; it has {formats}");
    }
    if args.documents {
        files.extend(list(&status, "documents")?);
    }
    let mut paths = download(&site, &placed, &files, &args.output)?;
    if files.iter().any(|file| file["kind"] == "signature") {
        paths.push(certificate(&site, &args.output)?);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "files": paths }))?);
    } else {
        paths.iter().for_each(|path| println!("{}", path.display()));
    }
    Ok(Outcome::Done)
}

/// Downloads every image of a finished order.
pub fn download_all(site: &Site, placed: &Placed, status: &Value, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    download(site, placed, &list(status, "artifacts")?.iter().collect::<Vec<_>>(), dir)
}

/// Saves the site's certificate, unless there is one already: that of an earlier day shows whether the site's has changed.
fn certificate(site: &Site, dir: &Path) -> anyhow::Result<PathBuf> {
    let path = dir.join(CERTIFICATE);
    if !path.exists() {
        std::fs::write(&path, site.text("/certificate.asc")?).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(path)
}

fn list<'a>(status: &'a Value, name: &str) -> anyhow::Result<&'a Vec<Value>> {
    status[name].as_array().with_context(|| format!("the site's answer has no {name}"))
}

fn download(site: &Site, placed: &Placed, files: &[&Value], dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let one = |file: &&Value| {
        let name = file["name"].as_str().context("a file of the order has no name")?;
        let sha256 = file["sha256"].as_str().context("a file of the order has no checksum")?;
        site.download(placed, name, sha256, dir)
    };
    files.iter().map(one).collect()
}
