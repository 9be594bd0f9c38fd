//! `hatchery status`, `logs`, `cancel` and `again`: an order that was placed.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::settings::ClientArgs;
use crate::{Outcome, follow};

/// How often the live log is taken up again when the connection broke, with a second between.
const TRIES: u32 = 60;

#[derive(clap::Args)]
pub struct Args {
    /// The order: the address of its page, or its identifier
    order: String,
    #[command(flatten)]
    client: ClientArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct LogsArgs {
    /// The order: the address of its page, or its identifier
    order: String,
    #[command(flatten)]
    client: ClientArgs,
    /// Go on until the order has ended
    #[arg(short, long)]
    follow: bool,
}

pub fn status(args: Args) -> anyhow::Result<Outcome> {
    let (site, placed) = args.client.order(&args.order)?;
    show(&site.status(&placed)?, args.json)
}

pub fn cancel(args: Args) -> anyhow::Result<Outcome> {
    let (site, placed) = args.client.order(&args.order)?;
    show(&site.post(&format!("{}/cancel", placed.api_path), &Value::Null)?, args.json)
}

pub fn again(args: Args) -> anyhow::Result<Outcome> {
    let (site, placed) = args.client.order(&args.order)?;
    show(&site.post(&format!("{}/again", placed.api_path), &Value::Null)?, args.json)
}

fn show(status: &Value, as_json: bool) -> anyhow::Result<Outcome> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(status)?);
        return Ok(Outcome::Done);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!("{} {}", text(&status["image_name"]), text(&status["state"]));
    if let Some(position) = status["position"].as_u64() {
        println!("number {position} in the queue");
    }
    if matches!(status["state"].as_str(), Some("waiting" | "building")) {
        println!("ready {}", text(&status["ready"]["text"]));
    }
    for step in status["steps"].as_array().into_iter().flatten().filter(|step| step["state"] == "running") {
        println!("{}: {} of {} {}", text(&step["label"]), step["done"], step["total"], text(&step["what"]));
    }
    if let Some(message) = status["failure"]["message"].as_str() {
        println!("{message}\n{}", text(&status["failure"]["advice"]));
    }
    for file in status["artifacts"].as_array().into_iter().flatten() {
        println!("{}  {}", text(&file["sha256"]), text(&file["name"]));
    }
    if status["state"] == "ready" {
        println!("Download: hatchery download {}", text(&status["url"]));
    }
    Ok(Outcome::Done)
}

pub fn logs(args: LogsArgs) -> anyhow::Result<Outcome> {
    let (site, placed) = args.client.order(&args.order)?;
    if !args.follow {
        std::io::stdout().write_all(site.text(&format!("{}/log", placed.api_path))?.as_bytes())?;
        return Ok(Outcome::Done);
    }
    // From the first line on; a stream without a number begins near the end.
    let (mut last, mut broken) = ("0".to_owned(), 0);
    loop {
        let mut printed = Ok(());
        let streamed = site.events(&placed, &mut last, |name, data| {
            broken = 0;
            if name == "log" {
                printed = print(data);
            }
            printed.is_ok()
        });
        printed?;
        // The stream ends with the order, and with the server.
        let status = match streamed.and_then(|()| site.status(&placed)) {
            Ok(status) => status,
            Err(error) if broken >= TRIES => return Err(error),
            Err(_) => json!({}),
        };
        if !matches!(status["state"].as_str(), None | Some("waiting" | "building")) {
            return Ok(follow::outcome(&status));
        }
        broken += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn print(data: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    data["lines"].as_array().into_iter().flatten().filter_map(Value::as_str).try_for_each(|line| writeln!(out, "{line}"))?;
    out.flush()
}
