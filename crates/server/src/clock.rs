//! The time of day, and times, sizes and durations as people read them.

use std::sync::{PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use contract::time::civil;

use crate::words;

/// The clock that is followed instead of this machine's: what it showed, in seconds since the epoch, and when.
static FOLLOWED: RwLock<Option<(f64, Instant)>> = RwLock::new(None);
/// A machine whose clock is off by more is told of. Seconds.
const MUCH_OFF: f64 = 5.0;

/// From now on the time is counted from here, `time` being seconds since the epoch, and not by this machine's clock, which may be wrong and
/// may jump.
pub fn follow(time: f64) {
    let off = own() - time;
    let mut followed = FOLLOWED.write().unwrap_or_else(PoisonError::into_inner);
    if followed.is_none() && off.abs() > MUCH_OFF {
        tracing::warn!(seconds = off, "this machine's clock is not that of the database, which is followed");
    }
    *followed = Some((time, Instant::now()));
}

/// Seconds since the epoch; 0 when the clock stands before it.
pub fn now() -> i64 {
    let now = exact_now() as i64;
    #[cfg(test)]
    let now = FIXED.with(|fixed| fixed.get().unwrap_or(now));
    now
}

#[cfg(test)]
thread_local! {
    /// The time on this thread, once a test has moved it.
    static FIXED: std::cell::Cell<Option<i64>> = const { std::cell::Cell::new(None) };
}

/// Moves the clock of this thread, which from then on moves by this alone.
#[cfg(test)]
pub fn advance(seconds: i64) {
    let now = now();
    FIXED.with(|fixed| fixed.set(Some(now + seconds)));
}

/// Seconds since the epoch, with their fraction; 0 when the clock stands before it.
pub fn exact_now() -> f64 {
    let followed = *FOLLOWED.read().unwrap_or_else(PoisonError::into_inner);
    followed.map_or_else(own, |(time, when)| time + when.elapsed().as_secs_f64())
}

/// By this machine's own clock.
fn own() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Days since the epoch (UTC).
pub fn today() -> i64 {
    now().div_euclid(86_400)
}

/// `2026-11-22`, from days since the epoch.
pub fn date(days: i64) -> String {
    let (year, month, day) = civil(days.saturating_mul(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// `20261122`, for file names.
pub fn compact_date(seconds: i64) -> String {
    let (year, month, day) = civil(seconds);
    format!("{year:04}{month:02}{day:02}")
}

/// `2026-11-22 08:05 UTC`.
pub fn timestamp(seconds: i64) -> String {
    let (year, month, day) = civil(seconds);
    let minutes = seconds.rem_euclid(86_400) / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// `2026-11-22T08:05:00Z` (RFC 3339).
pub fn rfc3339(seconds: i64) -> String {
    let (year, month, day) = civil(seconds);
    let of_day = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// `about 4 minutes`, rounded the way people say it.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => say!("less than a minute"),
        60..90 => say!("about a minute"),
        90..5_400 => say!("about {n} minutes", n = (seconds + 30) / 60),
        _ => say!("about {n} hours", n = (seconds + 1_800) / 3_600),
    }
}

/// `2 to 5 minutes`: a range of times.
pub fn between(low: u64, high: u64) -> String {
    match high {
        0..120 => say!("{low} to {high} seconds", low = low, high = high),
        120..7_200 => say!("{low} to {high} minutes", low = low / 60, high = high.div_ceil(60)),
        _ => say!("{low} to {high} hours", low = low / 3_600, high = high.div_ceil(3_600)),
    }
}

/// `42 s`, `3 min 5 s`: a time that was measured.
pub fn measured(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// `3 min 5 s`, `12 days`: how old something is.
pub fn age(seconds: u64) -> String {
    match seconds / 86_400 {
        0 | 1 => measured(seconds),
        days => say!("{n} days", n = days),
    }
}

/// `123.4 MB`, in powers of ten.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 { say!("{n} bytes", n = bytes) } else { format!("{} {name}", words::decimal(value, 1)) }
}

/// `312 packages, 240.1 MB to fetch, about 720 MB installed`: how much a plan is.
pub fn contents(summary: &contract::Summary) -> String {
    let packages = say_n!(summary.packages, "{n} package", "{n} packages");
    let (fetched, installed) = (size(summary.download_size), size(summary.installed_size));
    match summary.measured {
        true => say!(
            "{packages}, {fetched} to fetch, {installed} installed",
            packages = packages,
            fetched = fetched,
            installed = installed
        ),
        false => say!(
            "{packages}, {fetched} to fetch, about {installed} installed",
            packages = packages,
            fetched = fetched,
            installed = installed
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(timestamp(0), "1970-01-01 00:00 UTC");
        assert_eq!(timestamp(1_795_334_700), "2026-11-22 08:05 UTC");
        assert_eq!(rfc3339(1_795_334_701), "2026-11-22T08:05:01Z");
        assert_eq!(compact_date(951_782_400), "20000229");
        assert_eq!(compact_date(4_107_542_400), "21000301");
    }

    #[test]
    fn sizes_and_durations_read_well() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(999_999), "1.0 MB");
        assert_eq!(size(1_234_567_890), "1.2 GB");
        assert_eq!([measured(42), measured(185), measured(7_260)], ["42 s", "3 min 5 s", "2 h 1 min"]);
        assert_eq!(
            [between(5, 119), between(100, 121), between(0, 7_300)],
            ["5 to 119 seconds", "1 to 3 minutes", "0 to 3 hours"]
        );
        assert_eq!([age(185), age(2 * 86_400 + 5)], ["3 min 5 s", "2 days"]);
        assert_eq!(duration(61), "about a minute");
        assert_eq!(duration(95), "about 2 minutes");
        assert_eq!(duration(7_200), "about 2 hours");
    }
}
