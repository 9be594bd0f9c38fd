//! What one user, and all together, may take of a site. All of it is the operator's to set; each refusal says which limit it was and when to
//! come again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::clock::now;
use crate::db::{HOUR, Most, Reached};
use crate::orders::Refusal;

/// Users whose rates are kept in mind at once; when there are more, those that were idle longest are forgotten.
const MAX_USERS: usize = 20_000;

/// Limits of a site. A user is an address (IPv6: a /64), or whoever holds a token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Orders of one user in an hour.
    pub orders_per_hour: u32,
    /// Orders of one user that wait or are built at once.
    pub open_orders: u32,
    /// Orders of all users in an hour.
    pub site_orders_per_hour: u32,
    /// Plans that one user has made in a minute: orders, refused ones among them, and plans alone.
    pub plans_per_minute: u32,
    /// Previews of the order form that one user has made in a minute, as it is being filled in.
    pub previews_per_minute: u32,
    /// Times that one user begins to log in within an hour: by a link that is mailed, or at the provider.
    pub log_ins_per_hour: u32,
    /// Downloads of one user at once, from a folder.
    pub downloads: u32,
    /// Downloads of one user that are sent on to a storage in an hour, parts of files counted each.
    pub downloads_per_hour: u32,
    /// Live pages of one user at once: each holds one of the server's connections.
    pub live_pages: u32,
    /// Orders of one user that are kept fresh.
    pub fresh_orders: u32,
    /// What is kept fresh is ordered anew at most once in so many hours, unless a security advisory is over by it.
    pub fresh_hours: u32,
    /// What is kept fresh is let be when nobody fetched so many images of it in a row.
    pub fresh_unclaimed: u32,
    /// Largest system, in bytes as installed.
    pub max_installed_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            orders_per_hour: 60,
            open_orders: 30,
            site_orders_per_hour: 3_000,
            plans_per_minute: 60,
            previews_per_minute: 240,
            log_ins_per_hour: 30,
            downloads: 8,
            downloads_per_hour: 600,
            live_pages: 32,
            fresh_orders: 5,
            fresh_hours: 24,
            fresh_unclaimed: 3,
            max_installed_bytes: 64 << 30,
        }
    }
}

/// A limit that was reached, for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Limited {
    pub reason: String,
    /// Seconds after which it is worth coming again.
    pub retry_after: u32,
}

/// What is counted of a user over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Plans that were made.
    Plans,
    /// Previews of the order form.
    Previews,
    /// Links to log in that were asked for, and browsers that were sent to the provider.
    LogIns,
    /// Downloads that were sent on to a storage.
    Downloads,
}

impl Rate {
    /// How many there may be, and in how many seconds.
    fn of(self, limits: &Limits) -> (u32, u32) {
        match self {
            Rate::Plans => (limits.plans_per_minute, 60),
            Rate::Previews => (limits.previews_per_minute, 60),
            Rate::LogIns => (limits.log_ins_per_hour, 3_600),
            Rate::Downloads => (limits.downloads_per_hour, 3_600),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Rate::Plans => "plans",
            Rate::Previews => "previews",
            Rate::LogIns => "log-ins",
            Rate::Downloads => "downloads",
        }
    }
}

/// What users take at the moment, on this server. Servers that share a database count rates there.
#[derive(Default)]
pub struct Usage {
    rates: Mutex<HashMap<(Rate, String), Bucket>>,
    downloads: AtOnce,
    live_pages: AtOnce,
}

/// What users have in hand at once.
#[derive(Default)]
struct AtOnce(Mutex<HashMap<String, Arc<Semaphore>>>);

/// Tokens that fill up with time, one being taken each time.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Usage {
    /// Takes one of what this user may have, or says in how many seconds there will be one.
    fn take(&self, rate: Rate, user: &str, (most, seconds): (u32, u32)) -> Result<(), u32> {
        let (most, speed) = (f64::from(most), f64::from(most) / f64::from(seconds));
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= MAX_USERS {
            // Who has a full bucket again is as good as new.
            rates.retain(|(of, _), bucket| *of != rate || bucket.left + bucket.at.elapsed().as_secs_f64() * speed < most);
            if rates.len() >= MAX_USERS {
                rates.clear();
            }
        }
        let bucket = rates.entry((rate, user.to_owned())).or_insert_with(|| Bucket { left: most, at: Instant::now() });
        bucket.left = (bucket.left + bucket.at.elapsed().as_secs_f64() * speed).min(most);
        bucket.at = Instant::now();
        if bucket.left < 1.0 {
            return Err(((1.0 - bucket.left) / speed).ceil().clamp(1.0, 3_600.0) as u32);
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

impl AtOnce {
    /// The right to one more, which lasts until it is dropped; none is needed by somebody of whom nothing is known. `reason` is said where
    /// there is no more.
    fn permit(&self, user: &str, most: u32, reason: &str) -> Result<Option<OwnedSemaphorePermit>, Limited> {
        if user.is_empty() {
            return Ok(None);
        }
        self.take(user, most).map(Some).ok_or_else(|| Limited { reason: reason.to_owned(), retry_after: 30 })
    }

    fn take(&self, user: &str, most: u32) -> Option<OwnedSemaphorePermit> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let semaphore = users.entry(user.to_owned()).or_insert_with(|| {
            Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS)))
        });
        semaphore.clone().try_acquire_owned().ok()
    }
}

impl App {
    /// Whether this user may have a plan made now. Somebody of whom nothing is known has no limit of their own.
    pub async fn may_plan(&self, user: &str) -> Result<(), Refusal> {
        let most = self.config.limits.plans_per_minute;
        self.may(Rate::Plans, user, &format!("this site works out at most {most} plans a minute for one user")).await
    }

    /// Whether this user may have the order form worked out now.
    pub async fn may_preview(&self, user: &str) -> Result<(), Refusal> {
        let most = self.config.limits.previews_per_minute;
        self.may(Rate::Previews, user, &format!("this site works out at most {most} plans a minute for one user")).await
    }

    /// Whether somebody at this address may ask for a link to log in now, or go to the provider.
    pub async fn may_log_in(&self, address: &str) -> Result<(), Refusal> {
        let most = self.config.limits.log_ins_per_hour;
        self.may(Rate::LogIns, address, &format!("this site lets one user begin to log in at most {most} times an hour")).await
    }

    /// Whether this user may be sent on to the storage for one more download.
    pub async fn may_fetch(&self, user: &str) -> Result<(), Refusal> {
        let most = self.config.limits.downloads_per_hour;
        self.may(Rate::Downloads, user, &format!("this site begins at most {most} downloads an hour for one user")).await
    }

    async fn may(&self, rate: Rate, user: &str, limit: &str) -> Result<(), Refusal> {
        if user.is_empty() {
            return Ok(());
        }
        let (most, seconds) = rate.of(&self.config.limits);
        let taken = match self.db.is_shared() {
            // Another server may have given it something already.
            true => {
                let name = format!("{}:{user}", rate.name());
                let taken = self.db.take_rate(&name, f64::from(most), f64::from(most) / f64::from(seconds)).await?;
                taken.map_err(|wait| wait.ceil().clamp(1.0, 3_600.0) as u32)
            }
            false => self.usage.take(rate, user, (most, seconds)),
        };
        taken.map_err(|retry_after| {
            let reason = match retry_after.div_ceil(60) {
                0..=2 => format!("{limit}; please try again in {retry_after} seconds"),
                minutes => format!("{limit}; please try again in {minutes} minutes"),
            };
            Refusal::Limited(Limited { reason, retry_after })
        })
    }

    /// How much may be taken of the site by orders.
    pub fn most(&self) -> Most {
        let limits = &self.config.limits;
        Most { per_hour: Some((limits.site_orders_per_hour, limits.orders_per_hour)), ..self.most_again() }
    }

    /// How much may be taken by builds that are made again for orders of old.
    pub fn most_again(&self) -> Most {
        Most { waiting: self.config.max_waiting, per_hour: None, open: self.config.limits.open_orders }
    }

    /// Whether this user may order now.
    pub async fn may_order(&self, user: &str) -> Result<(), Refusal> {
        self.db.reached(user, &self.most()).await?.map_or(Ok(()), |reached| Err(self.too_many(reached)))
    }

    /// What is said of a limit that was reached.
    pub fn too_many(&self, reached: Reached) -> Refusal {
        let (of_all, of_user) = (self.config.limits.site_orders_per_hour, self.config.limits.orders_per_hour);
        Refusal::Limited(match reached {
            Reached::Waiting(waiting) => return Refusal::QueueFull { waiting },
            Reached::OfAll(at) => until(at, format!("this site takes at most {of_all} orders an hour, and had so many")),
            Reached::OfUser(at) => {
                until(at, format!("this site takes at most {of_user} orders an hour from one user, and had so many from you"))
            }
            Reached::Open(open) => Limited {
                reason: format!(
                    "{open} of your orders wait or are being built, which is all this site takes of one user at a time; cancel one, or wait until one is done"
                ),
                retry_after: 120,
            },
        })
    }

    /// The right of this user to one more download.
    pub fn may_download(&self, user: &str) -> Result<Option<OwnedSemaphorePermit>, Limited> {
        let most = self.config.limits.downloads;
        let reason = format!("this site sends one user at most {most} files at once; let one end first");
        self.usage.downloads.permit(user, most, &reason)
    }

    /// The right of this user to one more live page.
    pub fn may_follow(&self, user: &str) -> Result<Option<OwnedSemaphorePermit>, Limited> {
        let most = self.config.limits.live_pages;
        let reason = format!(
            "this site keeps at most {most} live pages of one user open at once; close one first, or ask for the order itself now and then"
        );
        self.usage.live_pages.permit(user, most, &reason)
    }
}

/// Orders that are too many until the one of `at` is an hour old.
fn until(at: i64, reason: String) -> Limited {
    let seconds = u32::try_from(at.saturating_add(HOUR).saturating_sub(now())).unwrap_or(0).max(1);
    let minutes = seconds.div_ceil(60);
    Limited { reason: format!("{reason}; please order again in {minutes} minutes"), retry_after: seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_counted_for_each_user_and_come_back_with_time() {
        let usage = Usage::default();
        let take = |user| usage.take(Rate::Plans, user, (3, 60));
        for _ in 0..3 {
            assert_eq!(take("a"), Ok(()));
        }
        assert_eq!(take("a"), Err(20));
        assert_eq!(take("b"), Ok(()));
        usage.rates.lock().unwrap().get_mut(&(Rate::Plans, "a".into())).unwrap().left = 1.0;
        assert_eq!(take("a"), Ok(()));
    }

    #[test]
    fn downloads_are_counted_while_they_last() {
        let downloads = AtOnce::default();
        let first = downloads.take("a", 2).unwrap();
        let second = downloads.take("a", 2);
        assert!(second.is_some() && downloads.take("a", 2).is_none() && downloads.take("b", 2).is_some());
        drop(first);
        assert!(downloads.take("a", 2).is_some());
    }

    #[test]
    fn the_hour_is_told_in_minutes() {
        let limited = until(now() - HOUR + 90, "many".into());
        assert!((89..=91).contains(&limited.retry_after), "{limited:?}");
        assert!(limited.reason.ends_with("in 2 minutes"), "{limited}");
        assert_eq!(until(now() - HOUR - 1, String::new()).retry_after, 1);
    }
}
