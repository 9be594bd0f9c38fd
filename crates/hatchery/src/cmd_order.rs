//! `hatchery order`: place an order on a site, follow it, download.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use contract::Order;
use serde_json::json;

use crate::settings::ClientArgs;
use crate::{Outcome, cmd_download, follow};

#[derive(clap::Args)]
pub struct Args {
    /// The order, in TOML; “-” reads it from standard input
    order: PathBuf,
    #[command(flatten)]
    client: ClientArgs,
    /// Wait until the images are ready
    #[arg(long)]
    wait: bool,
    /// Wait, then download the images into this folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON: the order as it stands at the end, and the downloaded files
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let order = read_order(&args.order)?;
    let site = args.client.site()?;
    let placed = match site.order(&order)? {
        Ok(placed) => placed,
        Err(explanation) => {
            eprintln!("{explanation}");
            return Ok(Outcome::NoPlan);
        }
    };
    if !args.json {
        println!("Ordered: {}", placed.page);
    }
    let waits = args.wait || args.output.is_some();
    let status = if waits { follow::follow(&site, &placed)? } else { site.status(&placed)? };
    let is_ready = status["state"] == "ready";
    let files = match &args.output {
        Some(dir) if is_ready => cmd_download::download_all(&site, &placed, &status, dir)?,
        _ => Vec::new(),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "order": status, "files": files }))?);
    } else if args.output.is_some() {
        files.iter().for_each(|path| println!("{}", path.display()));
    } else if is_ready {
        println!("{}", follow::ready_text(&status));
    }
    Ok(if waits { follow::outcome(&status) } else { Outcome::Done })
}

/// Reads and checks an order file.
pub fn read_order(path: &Path) -> anyhow::Result<Order> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("the order cannot be read from standard input")?;
        text
    } else {
        std::fs::read_to_string(path).with_context(|| format!("the order {} cannot be read", path.display()))?
    };
    Order::from_toml(&text).with_context(|| format!("{} is not a good order", path.display()))
}
