//! `hatchery access`: who may order, for the operator.

use anyhow::Context;
use serde_json::{Value, json};

use crate::Outcome;
use crate::site::OperatorArgs;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    operator: OperatorArgs,
    /// What to do; nothing shows who may order
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Let only those order who show a token or were invited
    InvitedOnly,
    /// Let everybody order
    Everybody,
    /// Make a token for somebody; it is printed once
    Add {
        /// A name by which you know the token
        name: String,
        /// The token lets do all that the operator's own does
        #[arg(long)]
        operator_role: bool,
    },
    /// Take a token back
    Revoke { name: String },
    /// Let whoever logs in by a mail address order, also while only invited users can
    Invite {
        email: String,
        /// They are an operator
        #[arg(long)]
        operator_role: bool,
    },
    /// Take an invitation back
    Uninvite { email: String },
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let operator = args.operator.site()?;
    let path = "/api/v1/operator/access";
    let view = match args.action {
        None => operator.get(path)?,
        Some(Action::InvitedOnly) => operator.post(path, &json!({ "action": "invited-only" }))?,
        Some(Action::Everybody) => operator.post(path, &json!({ "action": "everybody" }))?,
        Some(Action::Add { name, operator_role }) => {
            operator.post(path, &json!({ "action": "add", "name": name, "role": role(operator_role) }))?
        }
        Some(Action::Invite { email, operator_role }) => {
            operator.post(path, &json!({ "action": "invite", "email": email, "role": role(operator_role) }))?
        }
        Some(Action::Uninvite { email }) => operator.post(path, &json!({ "action": "uninvite", "email": email }))?,
        Some(Action::Revoke { name }) => operator.post(path, &json!({ "action": "revoke", "name": name }))?,
    };
    if let Some(token) = view["token"].as_str() {
        println!("{token}");
        return Ok(Outcome::Done);
    }
    let who = if view["access"] == "invited" { "Only invited users can order." } else { "Everybody can order." };
    println!("{who}");
    for (list, name) in [("tokens", "name"), ("invitations", "email")] {
        for one in view[list].as_array().with_context(|| format!("the site's answer lists no {list}"))? {
            let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
            println!("{} ({})", text(name), text("role"));
        }
    }
    Ok(Outcome::Done)
}

fn role(operator: bool) -> &'static str {
    if operator { "operator" } else { "user" }
}
