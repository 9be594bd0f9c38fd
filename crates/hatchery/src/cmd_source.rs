//! `hatchery source`: has a package built from source for a channel's own binhost.

use anyhow::Context;
use serde_json::json;

use crate::Outcome;
use crate::site::OperatorArgs;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    operator: OperatorArgs,
    /// The channel, which has [channel.source_builds] in the site's configuration
    channel: String,
    /// What to build, like app-editors/vim, or =app-editors/vim-9.1.0[python,-X]
    package: String,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let asked = json!({ "channel": args.channel, "package": args.package });
    let answer = args.operator.site()?.post("/api/v1/operator/source", &asked)?;
    let build = answer["build"].as_str().context("the site's answer names no build")?;
    println!("{build}: {} will be built; `hatchery queue` shows it", args.package);
    Ok(Outcome::Done)
}
