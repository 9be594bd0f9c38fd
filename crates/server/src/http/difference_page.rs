//! What is other in an order than in an earlier one, as a page.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use contract::{Plan, Summary};
use resolver::{Change, ChangeKind, Difference, Side};

use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, api, assets, query_field};
use crate::app::App;
use crate::clock;
use crate::status::OrderStatus;
use crate::words;

#[derive(Template)]
#[template(path = "difference.html")]
struct DifferencePage<'a> {
    version: &'a str,
    status: &'a OrderStatus,
    earlier: &'a OrderStatus,
    plans: Compared,
}

/// Two plans, the earlier one first.
pub struct Compared {
    pub before: Summary,
    pub after: Summary,
    pub difference: Difference,
}

/// `GET /orders/{id}/difference?to=`: what is other than in an earlier order, named by its link or identifier.
pub async fn page(State(app): SharedApp, Path(id): Path<String>, RawQuery(query): RawQuery) -> Page {
    let (status, earlier, plans) = compared(&app, &id, query.as_deref()).await?;
    let page = DifferencePage { version: &assets::VERSION, status: &status, earlier: &earlier, plans };
    Ok(render(StatusCode::OK, &page))
}

/// The order `id`, the earlier one that `to` in the query names by its link or identifier, and what is other.
pub async fn compared(app: &App, id: &str, query: Option<&str>) -> Result<(OrderStatus, OrderStatus, Compared), Problem> {
    let link = query_field(query, "to").unwrap_or_default();
    // Of a link to a page of the order, or to what the API has of it, what follows `orders/` names it.
    let of_link = link.split_once("orders/").map_or(link.as_str(), |(_, after)| after);
    let other = of_link.split(['/', '?', '#']).next().unwrap_or_default().trim();
    let (status, earlier) = (api::find(app, id).await?, api::find(app, other).await?);
    let plans = Compared::of(&app.db.plan(&earlier.build).await?, &app.db.plan(&status.build).await?);
    Ok((status, earlier, plans))
}

/// A package that both have, but not the same build of it.
#[derive(Debug)]
struct Row<'a> {
    change: &'a Change,
    before: &'a Side,
    after: &'a Side,
}

impl Compared {
    fn of(before: &Plan, after: &Plan) -> Compared {
        Compared { before: before.summary, after: after.summary, difference: Difference::between(before, after) }
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let changes = self.difference.packages.iter();
        changes.filter_map(|change| Some(Row { change, before: change.old.as_ref()?, after: change.new.as_ref()? })).collect()
    }

    /// CPVs of the packages that only the later one has.
    fn added(&self) -> Vec<String> {
        self.cpvs(ChangeKind::Added)
    }

    /// CPVs of the packages that only the earlier one has.
    fn removed(&self) -> Vec<String> {
        self.cpvs(ChangeKind::Removed)
    }

    fn cpvs(&self, kind: ChangeKind) -> Vec<String> {
        let cpv = |change: &Change| {
            let side = change.new.as_ref().or(change.old.as_ref())?;
            Some(format!("{}-{}", change.name, side.version))
        };
        self.difference.of_kind(kind).filter_map(cpv).collect()
    }
}

impl Row<'_> {
    /// `category/package`, with the slot where it is not 0.
    fn name(&self) -> String {
        match self.change.slot.as_str() {
            "" | "0" => self.change.name.clone(),
            slot => format!("{}:{slot}", self.change.name),
        }
    }

    /// The versions, with the number of the build where there is one.
    fn builds(&self) -> String {
        let build = |side: &Side| match side.build_id {
            Some(id) => format!("{}-{id}", side.version),
            None => side.version.clone(),
        };
        format!("{} → {}", build(self.before), build(self.after))
    }

    fn flags(&self) -> String {
        let added = self.change.use_added.iter().map(|flag| format!("+{flag}"));
        let removed = self.change.use_removed.iter().map(|flag| format!("−{flag}"));
        added.chain(removed).collect::<Vec<_>>().join(" ")
    }
}

/// `120.0 MB → 130.5 MB`, or one of them where both are the same.
fn sizes(before: &u64, after: &u64) -> String {
    let (before, after) = (clock::size(*before), clock::size(*after));
    if before == after { after } else { format!("{before} → {after}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(packages: &[(&str, &str, u32, &[&str])]) -> Plan {
        let package = |(cpv, slot, build_id, flags): &(&str, &str, u32, &[&str])| {
            serde_json::json!({
                "cpv": cpv, "slot": slot, "build_id": build_id, "build_time": build_id, "use": flags, "binhost": "b", "path": "p",
                "size": 100, "format": "gpkg", "because": ["@world"],
            })
        };
        serde_json::from_value(serde_json::json!({
            "version": 1, "arch": "amd64", "channel": "c", "chost": "x", "binhosts": [], "world": [],
            "packages": packages.iter().map(package).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    #[test]
    fn packages_come_go_and_change() {
        let before = plan(&[
            ("app-editors/vim-9.0", "0", 1, &["X", "python"]),
            ("dev-lang/python-3.11.4", "3.11", 1, &[]),
            ("app-misc/tmux-3.3", "0", 1, &[]),
            ("sys-libs/zlib-1.2", "0/1", 1, &[]),
        ]);
        let after = plan(&[
            ("app-editors/vim-9.1", "0", 1, &["python", "lua"]),
            ("dev-lang/python-3.11.4", "3.11", 2, &[]),
            ("dev-lang/python-3.12.0", "3.12", 1, &[]),
            ("sys-libs/zlib-1.2", "0/1", 1, &[]),
        ]);
        let compared = Compared::of(&before, &after);
        assert_eq!(
            (compared.added(), compared.removed()),
            (vec!["dev-lang/python-3.12.0".to_owned()], vec!["app-misc/tmux-3.3".to_owned()])
        );
        assert_eq!(compared.difference.unchanged, 1);
        let rows = compared.rows();
        let [vim, python] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((vim.builds().as_str(), vim.change.kind), ("9.0-1 → 9.1-1", ChangeKind::Upgraded));
        assert_eq!(vim.flags(), "+lua −X");
        assert_eq!((python.name().as_str(), python.change.kind), ("dev-lang/python:3.11", ChangeKind::Rebuilt));
        assert!(Compared::of(&before, &before).difference.packages.is_empty());
    }
}
