//! `hatchery advise`: what an operator had best build next, as words, `package.use` or JSON.

use anyhow::Context;
use serde_json::Value;

use crate::Outcome;
use crate::site::OperatorArgs;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    operator: OperatorArgs,
    /// The channel whose binhosts are advised; the site's first one where none is named
    #[arg(long)]
    channel: Option<String>,
    /// Look back so many days
    #[arg(long, default_value_t = 365)]
    days: u64,
    /// At most so many builds more than today (25 where neither this nor --mebibytes is given)
    #[arg(long)]
    builds: Option<u64>,
    /// At most so many MiB of packages more than today
    #[arg(long)]
    mebibytes: Option<u64>,
    /// MiB of download that a flag may add for everybody; what adds more is built a second time instead
    #[arg(long, default_value_t = 5)]
    max_added: u64,
    /// Print JSON
    #[arg(long, conflicts_with = "package_use")]
    json: bool,
    /// Print nothing but package.use
    #[arg(long)]
    package_use: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("days", &args.days.to_string()).append_pair("max_added", &args.max_added.to_string());
    query.extend_pairs(args.channel.iter().map(|name| ("channel", name.clone())));
    query.extend_pairs(args.builds.iter().map(|number| ("builds", number.to_string())));
    query.extend_pairs(args.mebibytes.iter().map(|number| ("mebibytes", number.to_string())));
    let advice = args.operator.site()?.get(&format!("/api/v1/operator/advice?{}", query.finish()))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&advice)?);
    } else if args.package_use {
        let passes = advice["package_use"].as_array().context("the site's answer has no package.use")?;
        print!("{}", passes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"));
    } else {
        print!("{}", advice["text"].as_str().context("the site's answer has no text")?);
    }
    Ok(Outcome::Done)
}
