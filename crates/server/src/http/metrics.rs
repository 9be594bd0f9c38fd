//! `/metrics`, in the text format of Prometheus (version 0.0.4), for whoever shows the operator's token. What is counted in memory is this
//! server's own; what is read from the database is the whole site's.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::SharedApp;
use super::openapi::Unauthorized;
use super::operator::Operator;
use super::problem::Problem;
use crate::channels::Channel;
use crate::clock::now;
use crate::db::{BuildState, Way};
use crate::mirrors::{MirrorState, MirrorView};

/// Upper bounds of the times of answers, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Answers counted by this server.
#[derive(Default)]
pub struct Counters(Mutex<BTreeMap<(String, u16), Answers>>);

#[derive(Clone, Default)]
struct Answers {
    /// As many for each of [`BOUNDS`], each counting those below it too.
    within: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

impl Counters {
    /// An answer of a route, which is known by its pattern and so holds no secret.
    pub fn answered(&self, route: &str, status: StatusCode, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = all.entry((route.to_owned(), status.as_u16())).or_default();
        answers.count += 1;
        answers.seconds += took.as_secs_f64();
        for (within, bound) in answers.within.iter_mut().zip(BOUNDS) {
            *within += u64::from(took.as_secs_f64() <= bound);
        }
    }

    fn write(&self, text: &mut Text) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        text.kind("hatchery_http_request_seconds", "histogram", "Time from the head of a request to the head of its answer.");
        for ((route, status), answers) in all {
            let labels = format!("route=\"{route}\",status=\"{status}\"");
            for (within, bound) in answers.within.iter().zip(BOUNDS) {
                text.line("hatchery_http_request_seconds_bucket", &format!("{labels},le=\"{bound}\""), *within as f64);
            }
            text.line("hatchery_http_request_seconds_bucket", &format!("{labels},le=\"+Inf\""), answers.count as f64);
            text.line("hatchery_http_request_seconds_sum", &labels, answers.seconds);
            text.line("hatchery_http_request_seconds_count", &labels, answers.count as f64);
        }
    }
}

/// The text that is written.
#[derive(Default)]
struct Text(String);

impl Text {
    fn kind(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.kind(name, "gauge", help);
        self.line(name, "", value);
    }
}

/// Numbers for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operator",
    operation_id = "metrics",
    security(("operator" = [])),
    responses((status = 200, description = "Text format 0.0.4", body = String, content_type = "text/plain; version=0.0.4; charset=utf-8"), Unauthorized),
)]
pub async fn metrics(State(app): SharedApp, _: Operator) -> Result<Response, Problem> {
    let numbers = app.db.numbers().await?;
    let workers = app.db.workers().await?;
    let mut text = Text::default();
    text.kind("hatchery_builds", "gauge", "Builds that the database knows, by state.");
    // A state with no builds is told of, too: who watches it would wait in vain for its line.
    for state in BuildState::ALL {
        let count = numbers.builds.iter().find(|(name, _)| name == state.name()).map_or(0, |(_, count)| *count);
        text.line("hatchery_builds", &format!("state=\"{state}\""), count as f64);
    }
    let waits = numbers.oldest_waiting.map_or(0, |since| now().saturating_sub(since));
    text.gauge("hatchery_queue_oldest_seconds", "How long the build has waited that waits longest.", waits as f64);
    text.kind("hatchery_notices", "gauge", "Notices by way: owed now, or given up in the last week.");
    for way in Way::ALL.map(Way::name) {
        let of_way = numbers.notices.iter().find(|(name, ..)| name == way);
        let (owed, given_up) = of_way.map_or((0, 0), |(_, owed, given_up)| (*owed, *given_up));
        text.line("hatchery_notices", &format!("way=\"{way}\",state=\"owed\""), owed as f64);
        text.line("hatchery_notices", &format!("way=\"{way}\",state=\"given-up\""), given_up as f64);
    }
    text.gauge("hatchery_stored_bytes", "Bytes of images that can be downloaded.", numbers.stored_bytes as f64);
    text.gauge("hatchery_orders_last_hour", "Orders of the last hour.", numbers.orders_last_hour as f64);
    text.kind("hatchery_workers", "gauge", "Workers heard of in the last two minutes.");
    let asking = workers.iter().filter(|worker| worker.asking).count();
    text.line("hatchery_workers", "state=\"asking\"", asking as f64);
    text.line("hatchery_workers", "state=\"other\"", (workers.len() - asking) as f64);
    mirrors(&mut text, app.catalogue.channels.all());
    app.counters.write(&mut text);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0).into_response())
}

/// How the binhosts do that this server reads.
fn mirrors(text: &mut Text, channels: &[Arc<Channel>]) {
    let mirrors: Vec<(String, MirrorView)> = channels
        .iter()
        .flat_map(|channel| channel.mirrors().into_iter().map(|mirror| (labels(&channel.config.name, &mirror.name), mirror)))
        .collect();
    text.kind("hatchery_mirror", "gauge", "1 for the state that a binhost is in, 0 for the others.");
    for (labels, mirror) in &mirrors {
        for state in MirrorState::ALL {
            let is_in_it = f64::from(u8::from(mirror.state == state));
            text.line("hatchery_mirror", &format!("{labels},state=\"{}\"", state.name()), is_in_it);
        }
    }
    // What was never read has no numbers.
    let mut numbers = |name: &str, help: &str, number: fn(&MirrorView) -> Option<f64>| {
        text.kind(name, "gauge", help);
        for (labels, number) in mirrors.iter().filter_map(|(labels, mirror)| Some((labels, number(mirror)?))) {
            text.line(name, labels, number);
        }
    };
    numbers("hatchery_mirror_packages", "Packages in the index of a binhost.", |mirror| mirror.packages.map(|n| n as f64));
    numbers("hatchery_mirror_read_timestamp_seconds", "When the index of a binhost was read last.", |mirror| {
        mirror.read.map(|s| s as f64)
    });
    numbers("hatchery_mirror_index_timestamp_seconds", "When the index of a binhost was made.", |mirror| {
        mirror.made.map(|s| s as f64)
    });
    numbers("hatchery_mirror_failure_timestamp_seconds", "When reading a binhost failed last.", |mirror| {
        mirror.failed.map(|s| s as f64)
    });
}

/// The labels of a binhost. Their names are the operator's, so they are escaped.
fn labels(channel: &str, binhost: &str) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("channel=\"{}\",binhost=\"{}\"", escaped(channel), escaped(binhost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_is_below_them() {
        let counters = Counters::default();
        for milliseconds in [1, 7, 20, 60_000] {
            counters.answered("/orders/{id}", StatusCode::OK, Duration::from_millis(milliseconds));
        }
        let mut text = Text::default();
        counters.write(&mut text);
        for line in [
            "hatchery_http_request_seconds_bucket{route=\"/orders/{id}\",status=\"200\",le=\"0.01\"} 2",
            "hatchery_http_request_seconds_bucket{route=\"/orders/{id}\",status=\"200\",le=\"30\"} 3",
            "hatchery_http_request_seconds_bucket{route=\"/orders/{id}\",status=\"200\",le=\"+Inf\"} 4",
            "hatchery_http_request_seconds_count{route=\"/orders/{id}\",status=\"200\"} 4",
        ] {
            assert!(text.0.lines().any(|l| l == line), "{line}\n{}", text.0);
        }
    }
}
