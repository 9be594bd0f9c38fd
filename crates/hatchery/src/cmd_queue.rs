//! `hatchery queue`: the queue for its operator.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::Outcome;
use crate::site::OperatorArgs;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// What to do; nothing shows the queue
    #[arg(value_enum)]
    action: Option<Action>,
    /// The build, for what is done with one
    build: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    /// Take orders and give out builds
    Open,
    /// Give nothing more to workers
    Pause,
    /// Take no more orders, and build what waits
    Drain,
    /// Set a build before all others
    First,
    /// Set a build behind all others
    Last,
    /// Set a build back to its usual turn
    Usual,
    /// Cancel a build for all who ordered it
    Cancel,
    /// Build again what failed
    Retry,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let operator = args.operator.site()?;
    let path = "/api/v1/operator/queue";
    let view = match args.action {
        Some(action) => {
            let whole = matches!(action, Action::Open | Action::Pause | Action::Drain);
            if whole == args.build.is_some() {
                bail!(
                    "{}",
                    if whole {
                        "this is done with the whole queue: name no build"
                    } else {
                        "name the build; `hatchery queue` lists them"
                    }
                );
            }
            let build = args.build.unwrap_or_default();
            operator.post(path, &json!({ "action": action, "build": build }))?
        }
        None => operator.get(path)?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&view)?);
        return Ok(Outcome::Done);
    }
    let workers = if view["workers"] == 1 { "worker" } else { "workers" };
    println!("{}, {} {workers}", view["gate"].as_str().unwrap_or_default(), view["workers"]);
    for build in view["builds"].as_array().context("the site's answer lists no builds")? {
        println!("{}", line(build));
    }
    Ok(Outcome::Done)
}

/// `1a2b… waiting  3  hatchery-amd64-server-20261122, ready in 120 to 300 s`
fn line(build: &Value) -> String {
    let text = |key: &str| build[key].as_str().unwrap_or_default();
    let position = build["position"].as_u64().map(|p| format!(" {p}")).unwrap_or_default();
    let ready = match (build["range90"][0].as_u64(), build["range90"][1].as_u64()) {
        (Some(low), Some(high)) => format!(", ready in {low} to {high} s"),
        _ if build["no_worker"] == true => ", no worker can make it".to_owned(),
        _ => String::new(),
    };
    let failure = match text("failure") {
        "" => String::new(),
        failure => format!(": {}", failure.lines().next().unwrap_or_default()),
    };
    format!("{} {}{position} {}{ready}{failure}", text("id"), text("state"), text("image_name"))
}
