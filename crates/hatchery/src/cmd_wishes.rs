//! `hatchery wishes`: what people asked for and no binhost has, for the operator to build next.

use anyhow::Context;
use serde_json::Value;

use crate::Outcome;
use crate::site::OperatorArgs;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Look back so many days
    #[arg(long, default_value_t = 90)]
    days: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let wishes = args.operator.site()?.get(&format!("/api/v1/operator/wishes?days={}", args.days))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&wishes)?);
        return Ok(Outcome::Done);
    }
    let list = wishes.as_array().context("the site's answer is no list")?;
    if list.is_empty() {
        println!("Every wish of the last {} days could be met.", args.days);
    }
    for wish in list {
        println!("{}", line(wish));
    }
    Ok(Outcome::Done)
}

/// `12× app-editors/vim[X] on sample; nearest app-editors/vim-9.0 (build 1), differs in +X`
fn line(wish: &Value) -> String {
    let text = |key: &str| wish[key].as_str().unwrap_or_default();
    let words = |key: &str, separator: &str| {
        let all: Vec<&str> = wish[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        all.join(separator)
    };
    let flags = match words("flags", ",") {
        flags if flags.is_empty() => flags,
        flags => format!("[{flags}]"),
    };
    let nearest = match text("nearest") {
        "" => String::new(),
        nearest => format!("; nearest {nearest}, differs in {}", words("differs", " ")),
    };
    format!("{}× {}{flags} on {}{nearest}", wish["count"], text("package"), text("channel"))
}
