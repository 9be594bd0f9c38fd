//! How long orders take, and how often reality fell inside the range that was named. Public: it says nothing of any order.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use queue::Range;
use serde::Serialize;

use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, assets};
use crate::app::App;
use crate::clock;
use crate::db;

/// Deliveries of so many days are looked at.
const DAYS: i64 = 30;

/// What the site has done lately.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Stats {
    days: i64,
    /// Orders that became ready.
    delivered: usize,
    /// From the order to the image.
    request_to_delivery: Option<Times>,
    /// The building alone.
    building: Option<Times>,
    /// Of the last orders that were promised a time.
    promises: Option<Promises>,
}

/// Times of many, in seconds.
#[derive(Serialize, utoipa::ToSchema)]
struct Times {
    median: u64,
    /// Nine of ten took no longer.
    ninth: u64,
    longest: u64,
}

/// How the promises held.
#[derive(Serialize, utoipa::ToSchema)]
struct Promises {
    orders: usize,
    /// Shares of orders that were ready within the range, 0 to 1.
    within90: f64,
    within50: f64,
    /// Median width of the 90% range. Seconds.
    width90: f64,
    /// Median of |named middle − actual| / actual.
    error: f64,
}

#[derive(Template)]
#[template(path = "stats.html")]
struct StatsPage<'a> {
    version: &'a str,
    stats: Stats,
}

/// `GET /stats`
pub async fn page(State(app): SharedApp) -> Page {
    Ok(render(StatusCode::OK, &StatsPage { version: &assets::VERSION, stats: stats(&app).await? }))
}

/// How long orders take, and how often the named ranges held
#[utoipa::path(get, path = "/api/v1/stats", tag = "site", operation_id = "stats", responses((status = 200, description = "The last 30 days", body = Stats)))]
pub async fn api(State(app): SharedApp) -> Result<Json<Stats>, Problem> {
    Ok(Json(stats(&app).await?))
}

async fn stats(app: &App) -> db::Result<Stats> {
    let times = app.db.delivery_times(DAYS * 86_400).await?;
    let named: Vec<(Range, f64)> = app.db.promises().await?.into_iter().map(|(promise, named)| (named, promise.actual)).collect();
    Ok(Stats {
        days: DAYS,
        delivered: times.len(),
        request_to_delivery: Times::of(times.iter().map(|(all, _)| *all)),
        building: Times::of(times.iter().map(|(_, building)| *building)),
        promises: Promises::of(&named),
    })
}

impl Times {
    fn of(seconds: impl Iterator<Item = i64>) -> Option<Times> {
        let mut all: Vec<u64> = seconds.filter_map(|s| u64::try_from(s).ok()).collect();
        all.sort_unstable();
        let at = |share: usize| all.get((all.len().saturating_sub(1)) * share / 100).copied();
        Some(Times { median: at(50)?, ninth: at(90)?, longest: at(100)? })
    }

    fn words(&self) -> String {
        let [median, ninth, longest] = [self.median, self.ninth, self.longest].map(clock::measured);
        say!(
            "half within {median}, nine of ten within {ninth}, all within {longest}",
            median = median,
            ninth = ninth,
            longest = longest
        )
    }
}

impl Promises {
    fn of(named: &[(Range, f64)]) -> Option<Promises> {
        let share = |holds: &dyn Fn(&Range, f64) -> bool| {
            named.iter().filter(|(range, actual)| holds(range, *actual)).count() as f64 / named.len() as f64
        };
        let median = |value: &dyn Fn(&Range, f64) -> f64| {
            let mut all: Vec<f64> = named.iter().map(|(range, actual)| value(range, *actual)).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        };
        Some(Promises {
            orders: named.len(),
            width90: median(&|range, _| range.high90 - range.low90)?,
            error: median(&|range, actual| (range.middle - actual).abs() / actual.max(0.5))?,
            within90: share(&|range, actual| range.holds90(actual)),
            within50: share(&|range, actual| range.holds50(actual)),
        })
    }
}

impl StatsPage<'_> {
    fn percent(&self, share: &f64) -> String {
        format!("{:.0}%", share * 100.0)
    }

    fn seconds(&self, seconds: &f64) -> String {
        clock::measured(seconds.max(0.0).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_judged_by_what_came() {
        let range = Range { low90: 10.0, low50: 15.0, middle: 20.0, high50: 25.0, high90: 30.0 };
        let found = Promises::of(&[(range, 20.0), (range, 12.0), (range, 40.0), (range, 16.0)]).unwrap();
        assert_eq!((found.orders, found.within90, found.within50), (4, 0.75, 0.5));
        assert_eq!(found.width90, 20.0);
        assert!(Promises::of(&[]).is_none());
        let times = Times::of([30, 10, 20].into_iter()).unwrap();
        assert_eq!((times.median, times.ninth, times.longest), (20, 20, 30));
        assert!(Times::of(std::iter::empty()).is_none());
    }
}
