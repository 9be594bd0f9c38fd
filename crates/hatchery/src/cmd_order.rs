//! `hatchery order`: place an order on a site, follow it, download.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use contract::{Order, Step};
use serde_json::Value;

use crate::Outcome;
use crate::progress::Display;
use crate::site::{Placed, Site};

#[derive(clap::Args)]
pub struct Args {
    /// The order, in TOML
    order: PathBuf,
    /// The site's address
    #[arg(long, env = "HATCHERY_SERVER", default_value = "http://127.0.0.1:8480")]
    server: String,
    /// A file with your token, where only invited users can order
    #[arg(long, value_name = "FILE", env = "HATCHERY_TOKEN")]
    token_file: Option<PathBuf>,
    /// Wait until the images are ready
    #[arg(long)]
    wait: bool,
    /// Wait, then download the images into this folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let order = read_order(&args.order)?;
    let site = Site::new(&args.server).with_token(args.token_file.as_deref())?;
    let placed = match site.order(&order)? {
        Ok(placed) => placed,
        Err(explanation) => {
            eprintln!("{explanation}");
            return Ok(Outcome::NoPlan);
        }
    };
    println!("Ordered: {}", placed.page);
    if args.wait || args.output.is_some() {
        let ended = follow(&site, &placed)?;
        if let Some(dir) = &args.output {
            for path in download_all(&site, &placed, &ended, dir)? {
                println!("{}", path.display());
            }
        }
    }
    Ok(Outcome::Done)
}

/// Reads and checks an order file.
pub fn read_order(path: &Path) -> anyhow::Result<Order> {
    let text = std::fs::read_to_string(path).with_context(|| format!("the order {} cannot be read", path.display()))?;
    Order::from_toml(&text).with_context(|| format!("{} is not a good order", path.display()))
}

/// Waits for the end of an order, showing its steps. Fails with the build's own words.
pub fn follow(site: &Site, placed: &Placed) -> anyhow::Result<Value> {
    let display = Display::new();
    let mut position = None;
    loop {
        let status = site.status(placed)?;
        match status["state"].as_str().unwrap_or_default() {
            "waiting" => {
                let now = status["position"].as_u64();
                if now != position {
                    display.line(&format!("waiting, number {} in the queue", now.unwrap_or(0)));
                    position = now;
                }
            }
            "building" => show_step(&display, &status),
            "ready" => {
                display.finish();
                return Ok(status);
            }
            "failed" => {
                display.finish();
                bail!("{}", failure_text(&status["failure"]));
            }
            "cancelled" => {
                display.finish();
                bail!("the order was cancelled");
            }
            other => bail!("the site says the order is “{other}”, which this version does not know"),
        }
        std::thread::sleep(Duration::from_millis(700));
    }
}

fn show_step(display: &Display, status: &Value) {
    let progress = &status["progress"];
    let Ok(step) = serde_json::from_value::<Step>(progress["step"].clone()) else { return };
    let number = |key: &str| progress[key].as_u64().unwrap_or(0);
    display.step(step, number("done"), number("total"), progress["what"].as_str().unwrap_or_default());
}

fn failure_text(failure: &Value) -> String {
    let text = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
    let package = failure["package"].as_str().map(|p| format!(" ({p})")).unwrap_or_default();
    format!("the build failed at “{}”{package}: {}\n{}", text("step"), text("message"), text("advice"))
}

/// Downloads every artifact of a finished order.
pub fn download_all(site: &Site, placed: &Placed, status: &Value, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let artifacts = status["artifacts"].as_array().context("the site lists no artifacts")?;
    let mut paths = Vec::new();
    for artifact in artifacts {
        let name = artifact["name"].as_str().context("an artifact has no name")?;
        let sha256 = artifact["sha256"].as_str().context("an artifact has no checksum")?;
        paths.push(site.download(placed, name, sha256, dir)?);
    }
    Ok(paths)
}
