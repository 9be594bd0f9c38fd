//! `hatchery packages`: what a site's channels have.

use anyhow::Context;
use serde_json::Value;

use crate::Outcome;
use crate::settings::ClientArgs;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List the packages that every word of a text fits, by name, category or description, best match first
    Search(SearchArgs),
}

#[derive(clap::Args)]
struct SearchArgs {
    /// The text; several words need no quotes
    #[arg(required = true)]
    text: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// The channel; without one, the first that can be read
    #[arg(long)]
    channel: Option<String>,
    /// At most so many packages
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let Action::Search(args) = args.action;
    let found = search(&args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(Outcome::Done);
    }
    if found.is_empty() {
        eprintln!("no package has “{}” in its name, category or description", args.text.join(" "));
    }
    for package in &found {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        println!("{}: {}", text(&package["name"]), text(&package["description"]));
        for build in package["builds"].as_array().into_iter().flatten() {
            let flags: Vec<&str> = build["use"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            println!(
                "    {}:{} [{}] {}",
                text(&build["version"]),
                text(&build["slot"]),
                flags.join(" "),
                text(&build["license"])
            );
        }
    }
    Ok(Outcome::Done)
}

/// Follows the list until there are enough.
fn search(args: &SearchArgs) -> anyhow::Result<Vec<Value>> {
    let site = args.client.site()?;
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("q", &args.text.join(" ")).extend_pairs(args.channel.iter().map(|channel| ("channel", channel)));
        query.extend_pairs(cursor.iter().map(|cursor: &String| ("cursor", cursor)));
        let answer = site.get(&format!("/api/v1/packages?{}", query.finish()))?;
        found.extend(answer["packages"].as_array().context("the site's answer has no packages")?.iter().cloned());
        cursor = answer["next"].as_str().map(str::to_owned);
        if cursor.is_none() || found.len() >= args.limit {
            found.truncate(args.limit);
            return Ok(found);
        }
    }
}
