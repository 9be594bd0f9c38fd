//! What a server knows of each binhost of its channels, and of where their stage3 is from: when it read the index last, what that holds, and
//! what went wrong.

use std::sync::{PoisonError, RwLock};

use contract::Stage3;
use serde::Serialize;

use crate::channels::Availability;
use crate::clock;

/// What was seen of a binhost.
#[derive(Debug, Default)]
pub struct Mirror(RwLock<Seen>);

#[derive(Clone, Debug, Default)]
struct Seen {
    index: Option<Index>,
    failure: Option<Failure>,
    /// Whether the last try was the failure.
    is_failing: bool,
}

/// An index that was read, or a stage3.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Its own TIMESTAMP, seconds since the epoch; none where nothing says it.
    pub made: Option<u64>,
    pub packages: usize,
    /// Of these, those that it lists and its folder does not have.
    pub absent: usize,
    when: i64,
}

impl Index {
    /// An index that has just been read.
    pub fn read_now(made: Option<u64>, packages: usize, absent: usize) -> Index {
        Index { made, packages, absent, when: clock::now() }
    }
}

#[derive(Clone, Debug)]
struct Failure {
    message: String,
    when: i64,
}

impl Mirror {
    /// Notes how a try to read the index ended.
    pub fn note(&self, read: &Result<Index, String>) {
        let mut seen = self.0.write().unwrap_or_else(PoisonError::into_inner);
        seen.is_failing = read.is_err();
        match read {
            Ok(index) => seen.index = Some(*index),
            Err(message) => seen.failure = Some(Failure { message: message.clone(), when: clock::now() }),
        }
    }

    /// For the operator; `channel` is what is known of the channel as a whole.
    pub fn view(&self, name: &str, uri: &str, channel: &Availability) -> MirrorView {
        let Seen { index, failure, is_failing } = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let state = match channel {
            _ if is_failing => MirrorState::Unreadable,
            Availability::Available(_) if index.is_some() => MirrorState::Used,
            Availability::Unavailable(_) if index.is_some() => MirrorState::SetAside,
            Availability::Available(_) | Availability::Unavailable(_) | Availability::Unknown => MirrorState::NotRead,
        };
        MirrorView {
            name: name.to_owned(),
            uri: uri.to_owned(),
            state,
            read: index.map(|index| index.when),
            made: index.and_then(|index| i64::try_from(index.made?).ok()),
            packages: index.map(|index| index.packages),
            absent: index.map(|index| index.absent),
            failed: failure.as_ref().map(|failure| failure.when),
            failure: failure.map(|failure| failure.message),
        }
    }
}

/// When a stage3 was made, by the folder that Gentoo's mirrors have it in (`20261115T170105Z`).
pub fn made(stage3: &Stage3) -> Option<u64> {
    let stamp = stage3.path.split('/').next()?;
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).ok()?;
    u64::try_from(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second()).ok()
}

/// Whether plans are made with a binhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MirrorState {
    /// Plans are made with its index.
    Used,
    /// Its index is good, and no plans are made with it, as the channel cannot be read: another of its binhosts, its profile or its stage3.
    SetAside,
    /// Its index could not be read at the last try, so that the channel cannot be ordered from.
    Unreadable,
    /// It is read with the next order or look at the channel.
    NotRead,
}

impl MirrorState {
    pub const ALL: [MirrorState; 4] = [MirrorState::Used, MirrorState::SetAside, MirrorState::Unreadable, MirrorState::NotRead];

    /// As in the API.
    pub fn name(self) -> &'static str {
        match self {
            MirrorState::Used => "used",
            MirrorState::SetAside => "set-aside",
            MirrorState::Unreadable => "unreadable",
            MirrorState::NotRead => "not-read",
        }
    }

    /// The words people read.
    pub fn label(self) -> String {
        match self {
            MirrorState::Used => say!("used"),
            MirrorState::SetAside => say!("set aside"),
            MirrorState::Unreadable => say!("cannot be read"),
            MirrorState::NotRead => say!("not read yet"),
        }
    }
}

/// A binhost, or a stage3, as this server knows it; times are seconds since the epoch.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Mirror)]
pub struct MirrorView {
    pub name: String,
    pub uri: String,
    pub state: MirrorState,
    /// When its index was read last.
    pub read: Option<i64>,
    /// When that index was made, by its own TIMESTAMP.
    pub made: Option<i64>,
    /// Packages in that index, all builds counted.
    pub packages: Option<usize>,
    /// Packages that it lists and its folder does not have; they are not planned with.
    pub absent: Option<usize>,
    /// When reading it failed last.
    pub failed: Option<i64>,
    /// What was said then.
    pub failure: Option<String>,
}

impl MirrorView {
    /// When its index was read.
    pub fn read_at(&self) -> String {
        self.read.map(clock::timestamp).unwrap_or_default()
    }

    /// How old its index is.
    pub fn age(&self) -> String {
        let seconds = |made: i64| clock::now().saturating_sub(made).max(0).unsigned_abs();
        self.made.map(|made| clock::age(seconds(made))).unwrap_or_default()
    }

    /// When and why it could not be read, if that ever was.
    pub fn last_failure(&self) -> Option<(String, &str)> {
        Some((clock::timestamp(self.failed?), self.failure.as_deref()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage3_is_as_old_as_its_folder_says() {
        let of = |path: &str| made(&Stage3 { path: path.into(), size: 0, sha512: String::new(), blake2b: String::new() });
        assert_eq!(of("20261115T170105Z/stage3-amd64-openrc-20261115T170105Z.tar.xz"), Some(1_794_762_065));
        assert_eq!(of("stage3-of-our-own.tar.xz"), None);
    }
}
