//! `hatchery fetch`: downloads what an order made, and of that only what images from before lack.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use zsync::{Control, Found, Outcome as Fetched};

use crate::Outcome;
use crate::site::{is_file_name, sha256_of};

/// The largest control file that is read. Bytes.
const MAX_CONTROL: u64 = 64 << 20;

#[derive(clap::Args)]
pub struct Args {
    /// The address of the order's page
    order: String,
    /// An older image, or any other file that may have parts of the new one; can be given several times
    #[arg(long, value_name = "FILE")]
    seed: Vec<PathBuf>,
    /// Only the images in this format
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Where the images go
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
}

/// A site that answers at the address of an order.
struct Source {
    agent: ureq::Agent,
    /// The order in the API, with the site's address.
    api: String,
}

/// A file of an order as the site describes it.
struct Wanted {
    name: String,
    sha256: String,
    size: u64,
    /// The name of its control file, where it has one.
    control: Option<String>,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let source = Source::of(&args.order)?;
    let wanted = source.wanted(args.format.as_deref())?;
    std::fs::create_dir_all(&args.output).with_context(|| format!("{} cannot be made", args.output.display()))?;
    for file in &wanted {
        let fetched = source.fetch(file, &args.seed, &args.output)?;
        println!("{}: {}", args.output.join(&file.name).display(), in_words(&fetched, file.size));
    }
    Ok(Outcome::Done)
}

fn in_words(fetched: &Fetched, size: u64) -> String {
    let percent = if size == 0 { 0.0 } else { fetched.fetched as f64 * 100.0 / size as f64 };
    format!("{} of {size} bytes fetched ({percent:.1} %) in {} requests", fetched.fetched, fetched.requests)
}

impl Source {
    /// The order at the address of its page, or in the API.
    fn of(address: &str) -> anyhow::Result<Source> {
        let parts = address.trim_end_matches('/').rsplit_once("/orders/");
        let (site, order) = parts.context("this is no address of an order; it looks like https://site/orders/…")?;
        if order.is_empty() || !order.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            bail!("this is no address of an order; it looks like https://site/orders/…");
        }
        let site = site.trim_end_matches("/api/v1");
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .http_status_as_error(false)
            .build();
        Ok(Source { agent: config.into(), api: format!("{site}/api/v1/orders/{order}") })
    }

    /// The files that are ready.
    fn wanted(&self, format: Option<&str>) -> anyhow::Result<Vec<Wanted>> {
        let mut answer = self.agent.get(&self.api).call().context("the site cannot be reached; is the address right?")?;
        if answer.status() != 200 {
            bail!("the site answered {} for this order", answer.status());
        }
        let status: Value = answer.body_mut().with_config().limit(64 << 20).read_json()?;
        let state = status["state"].as_str().unwrap_or_default();
        if state != "ready" {
            bail!("the order is “{state}”; its images can be fetched when it is ready");
        }
        let list = |key: &str| status[key].as_array().cloned().unwrap_or_default();
        let controls: Vec<String> = list("documents")
            .iter()
            .filter(|d| d["kind"] == "zsync")
            .filter_map(|d| d["name"].as_str().map(str::to_owned))
            .collect();
        let mut wanted = Vec::new();
        for artifact in list("artifacts").iter().filter(|a| format.is_none_or(|format| a["format"] == format)) {
            let text = |key: &str| artifact[key].as_str().map(str::to_owned).with_context(|| format!("the site names no {key}"));
            let (name, sha256) = (text("name")?, text("sha256")?);
            if !is_file_name(&name) {
                bail!("the site names a file “{}”, which is no plain file name", name.escape_debug());
            }
            let control = controls.iter().find(|control| control.strip_suffix(".zsync") == Some(name.as_str())).cloned();
            wanted.push(Wanted { name, sha256, size: artifact["size"].as_u64().unwrap_or(0), control });
        }
        if wanted.is_empty() {
            bail!("the order has no image of this kind");
        }
        Ok(wanted)
    }

    /// Fetches one file into the folder. What an earlier try left there is a seed as well.
    fn fetch(&self, file: &Wanted, seeds: &[PathBuf], dir: &Path) -> anyhow::Result<Fetched> {
        let (path, partial, left) =
            (dir.join(&file.name), dir.join(format!("{}.part", file.name)), dir.join(format!("{}.left", file.name)));
        if partial.exists() {
            std::fs::rename(&partial, &left)?;
        }
        let mut all: Vec<&Path> = seeds.iter().map(PathBuf::as_path).collect();
        all.extend([left.as_path(), path.as_path()].into_iter().filter(|path| path.exists()));
        let fetched = self.assemble(file, &all, &partial)?;
        let fetched = match sha256_of(&partial)? == file.sha256 {
            true => fetched,
            // Two blocks of the same weak checksums, as good as never; or a control file that is not the image's.
            false => self.whole(file, &partial, fetched)?,
        };
        File::open(&partial)?.sync_all()?;
        std::fs::rename(&partial, &path)?;
        if left.exists() {
            std::fs::remove_file(&left)?;
        }
        Ok(fetched)
    }

    fn assemble(&self, file: &Wanted, seeds: &[&Path], partial: &Path) -> anyhow::Result<Fetched> {
        let (Some(name), false) = (&file.control, seeds.is_empty()) else {
            return self.whole(file, partial, Fetched::default());
        };
        let control = self.control(name)?;
        if control.length != file.size {
            return self.whole(file, partial, Fetched::default());
        }
        let mut found = Found::none(&control);
        let mut files = Vec::new();
        for (number, seed) in seeds.iter().enumerate() {
            let mut open = File::open(seed).with_context(|| format!("{} cannot be read", seed.display()))?;
            zsync::find(&control, &mut found, number, &mut open).with_context(|| format!("{} cannot be read", seed.display()))?;
            files.push(open);
        }
        let target = File::create(partial).with_context(|| format!("{} cannot be written", partial.display()))?;
        let mut parts = Parts { agent: &self.agent, address: self.address(&file.name), moved: false };
        let fetched = zsync::assemble(&control, &found, &files, &target, &mut |part, out| parts.fetch(part, out));
        fetched.with_context(|| format!("the download of {} broke off; run it again to go on", file.name))
    }

    fn control(&self, name: &str) -> anyhow::Result<Control> {
        let mut answer = self.agent.get(self.address(name)).call().context("the control file cannot be fetched")?;
        if answer.status() != 200 {
            bail!("the site answered {} for {name}", answer.status());
        }
        let bytes =
            answer.body_mut().with_config().limit(MAX_CONTROL).read_to_vec().context("the control file cannot be fetched")?;
        Ok(Control::parse(&bytes)?)
    }

    /// Fetches all of a file, in one piece. What was fetched of it before counts too.
    fn whole(&self, file: &Wanted, partial: &Path, before: Fetched) -> anyhow::Result<Fetched> {
        let mut answer = self.agent.get(self.address(&file.name)).call().context("the image cannot be fetched")?;
        if answer.status() != 200 {
            bail!("the site answered {} for {}", answer.status(), file.name);
        }
        let mut target = File::create(partial).with_context(|| format!("{} cannot be written", partial.display()))?;
        let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
        let copied = io::copy(&mut body, &mut target);
        let copied = copied.with_context(|| format!("the download of {} broke off; run it again to go on", file.name))?;
        if sha256_of(partial)? != file.sha256 {
            std::fs::remove_file(partial)?;
            bail!("{} arrived damaged (its SHA-256 differs) and was removed; fetch it again", file.name);
        }
        Ok(Fetched { reused: 0, fetched: before.fetched + copied, requests: before.requests + 1 })
    }

    fn address(&self, name: &str) -> String {
        format!("{}/artifacts/{name}", self.api)
    }
}

/// Parts of one file. Where the site sends its downloads on to a storage, that is asked from then on.
struct Parts<'a> {
    agent: &'a ureq::Agent,
    address: String,
    moved: bool,
}

impl Parts<'_> {
    fn fetch(&mut self, part: Range<u64>, out: &mut dyn Write) -> io::Result<()> {
        use ureq::ResponseExt;
        let range = format!("bytes={}-{}", part.start, part.end.saturating_sub(1));
        let mut answer = self.agent.get(&self.address).header("Range", &range).call().map_err(io::Error::other)?;
        if answer.status() != 206 {
            return Err(io::Error::other(format!("the site answered {} where a part was asked for", answer.status())));
        }
        let came_from = answer.get_uri().to_string();
        if !self.moved && came_from != self.address {
            (self.address, self.moved) = (came_from, true);
        }
        let length = part.end.saturating_sub(part.start);
        io::copy(&mut answer.body_mut().with_config().limit(length.saturating_add(1)).reader(), out).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn an_order_is_found_by_its_page_and_by_its_place_in_the_api() {
        for address in ["https://x.example/orders/abc", "https://x.example/orders/abc/", "https://x.example/api/v1/orders/abc"] {
            assert_eq!(Source::of(address).unwrap().api, "https://x.example/api/v1/orders/abc");
        }
        for wrong in ["https://x.example/", "https://x.example/orders/", "https://x.example/orders/a/b", "x"] {
            assert!(Source::of(wrong).is_err(), "{wrong}");
        }
    }
}
