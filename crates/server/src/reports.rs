//! Reports of failed builds: what a user sends to the operator with one button, and how the operator sees them.

use contract::{Failure, Step};
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::db::{BuildState, NewReport, ReportRow};
use crate::orders::{self, Refusal};
use crate::secret;

/// Lines of the log's end that go with a report.
const LOG_LINES: u32 = 400;
/// Longest words of a user, and longest answer. Characters.
const MAX_WORDS: usize = 4_000;

/// Reports of builds that failed for one reason.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ReportGroup)]
pub struct Group {
    pub step: Step,
    pub package: Option<String>,
    /// The first line of what the newest said.
    pub message: String,
    pub reports: Vec<ReportRow>,
}

impl Group {
    /// How many wait for an answer.
    pub fn open(&self) -> usize {
        self.reports.iter().filter(|report| report.answer.is_none()).count()
    }
}

/// Reports by cause, the most frequent first. A cause is a step with a package, or else with what was said.
pub fn grouped(reports: Vec<ReportRow>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for report in reports {
        let message = first_line(&report.failure);
        let (step, package) = (report.failure.step, report.failure.package.clone());
        let same = |group: &&mut Group| {
            group.step == step && group.package == package && (package.is_some() || group.message == message)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.reports.push(report),
            None => groups.push(Group { step, package, message, reports: vec![report] }),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse((group.open(), group.reports.len())));
    groups
}

fn first_line(failure: &Failure) -> String {
    failure.message.lines().next().unwrap_or_default().to_owned()
}

/// Reports an order's failed build with what its user says. Reported twice, it is one report; whether there is a failure to report.
pub async fn send(app: &App, id: &str, words: &str) -> Result<bool, Refusal> {
    let (Some(order), words) = (app.db.order(id).await?, short(words)) else { return Ok(false) };
    let Some(build) = app.db.build(&order.build).await? else { return Ok(false) };
    let (BuildState::Failed, Some(failure), false) = (build.state, &build.failure, order.cancelled) else { return Ok(false) };
    let mut request = order.request;
    // Who is told is nothing that repeats a build.
    request.notify = contract::Notify::default();
    let log: Vec<String> = app.db.log_tail(&build.id, LOG_LINES).await?.into_iter().map(|line| line.text).collect();
    let order_toml = toml::to_string(&request).map_err(|e| Refusal::Internal(Box::new(e)))?;
    let bundle = json!({
        "hatchery": env!("CARGO_PKG_VERSION"), "order_number": orders::number(id), "build": build.id,
        "worker": app.db.worker_of(&build.id).await?, "attempts": build.attempts, "started": build.started, "ended": build.ended,
        "failure": failure, "progress": build.progress, "order": request, "order_toml": order_toml,
        "plan": app.db.plan(&build.id).await?, "log": log,
    });
    let report = NewReport {
        id: &secret::token::<8>()?,
        order: id,
        build: &build.id,
        failed: build.ended.unwrap_or_default(),
        failure,
        words: &words,
        bundle: &bundle.to_string(),
    };
    if app.db.report(&report).await? {
        tracing::info!(order = orders::number(id), build = build.id, report = report.id, "a failure was reported");
    }
    Ok(true)
}

/// Answers a report. Whether there is such a one.
pub async fn answer(app: &App, id: &str, answer: &str) -> Result<bool, Refusal> {
    let order = app.db.answer_report(id, &short(answer)).await?;
    if let Some(order) = &order {
        tracing::info!(order = orders::number(order), report = id, "a report was answered");
        app.bus.notices.notify_one();
    }
    Ok(order.is_some())
}

/// The text without what no text has, up to the length that is kept.
fn short(text: &str) -> String {
    text.trim().chars().filter(|c| *c == '\n' || !c.is_control()).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_one_cause_are_together() {
        let report = |id: &str, step, package: Option<&str>, message: &str, answer: Option<&str>| ReportRow {
            id: id.into(),
            build: "b".into(),
            made: 0,
            failure: Failure { package: package.map(str::to_owned), ..Failure::new(step, message, "") },
            words: String::new(),
            answer: answer.map(str::to_owned),
        };
        let groups = grouped(vec![
            report("a", Step::Merge, Some("c/p-1"), "ended with 1", None),
            report("b", Step::Fetch, None, "no route", None),
            report("c", Step::Merge, Some("c/p-1"), "ended with 2", None),
            report("d", Step::Fetch, None, "no host\nat all", Some("it is back")),
        ]);
        let seen: Vec<(usize, usize, &str)> = groups.iter().map(|g| (g.reports.len(), g.open(), g.message.as_str())).collect();
        assert_eq!(seen, [(2, 2, "ended with 1"), (1, 1, "no route"), (1, 0, "no host")]);
        assert_eq!(short(" a\u{7}b\n c "), "ab\n c");
    }
}
