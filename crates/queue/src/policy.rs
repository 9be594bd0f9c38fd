//! The order in which waiting builds are served.
//!
//! Each user's builds form a line of their own; the place of a build in it is measured in seconds of work: what its user got lately,
//! has running, and has waiting before it. The build with the least work before it goes first, so a user's tenth order waits for
//! another's first, and one large order counts as much as many small ones. Waiting itself counts too: after some time a build goes
//! before whoever comes new, so nobody starves, however many come.

use std::collections::{BTreeMap, HashMap};

/// What one second of waiting is worth, in seconds of work. With all users alike this makes the queue first come, first served; a build
/// with an hour of its user's work before it goes before newcomers after ten hours at the latest.
const AGING: f64 = 0.1;
/// The disadvantage of a user who has not confirmed the address or left earlier images lying, in seconds of work.
const DOUBT: f64 = 1_800.0;
/// After so many seconds, half of what a user got is forgotten.
const HALF_LIFE: f64 = 3_600.0;

/// A user who wants a build.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanting {
    /// Whatever tells users apart.
    pub user: u64,
    /// When the user asked for it, in seconds of any clock.
    pub since: f64,
    /// The user has not confirmed the mail address, or has left without picking up earlier images.
    pub doubtful: bool,
}

/// A build that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Tells builds apart; of two with equal claims the lower one goes first.
    pub id: u64,
    /// The operator's word: lower goes first, whatever else; 0 is usual.
    pub rank: i64,
    /// Empty when nobody has asked for it yet: it is made ahead for all, when there is nothing else to do.
    pub wanted_by: Vec<Wanting>,
    /// The predicted time to build it. Seconds.
    pub cost: f64,
}

/// A build's claim to be served. Smaller goes first. Claims do not change while time passes, only when builds come and go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    rank: i64,
    ahead: bool,
    /// Seconds of work before it, made comparable over time.
    work: f64,
    id: u64,
}

impl Claim {
    /// The claim of somebody's build that comes at `since` and has `work` seconds of its user's before it.
    pub fn of_newcomer(since: f64, work: f64) -> Claim {
        Claim { rank: 0, ahead: false, work: work + AGING * since, id: u64::MAX }
    }

    /// Seconds of its user's work that were before it when it came at `since`.
    pub fn work_before(&self, since: f64) -> f64 {
        self.work - AGING * since
    }
}

impl Eq for Claim {}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let whole = |c: &Claim| (c.rank, c.ahead);
        whole(self).cmp(&whole(other)).then(self.work.total_cmp(&other.work)).then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What a user still counts as having got: `seconds` of work that ended so long ago; 0 for what still runs.
pub fn remembered(seconds: f64, ended_ago: f64) -> f64 {
    seconds * 0.5f64.powf(ended_ago.max(0.0) / HALF_LIFE)
}

/// The claim of each waiting build, in the order given. `used` is what each user got lately or has running, in seconds of work; a build
/// that several want counts for each of them with its share.
pub fn claims(waiting: &[Waiting], used: &BTreeMap<u64, f64>) -> Vec<Claim> {
    // Each user's line: when it was wanted, which build, and whether with doubt.
    let mut lines: BTreeMap<u64, Vec<(f64, u64, usize, bool)>> = BTreeMap::new();
    for (index, build) in waiting.iter().enumerate() {
        for wanting in &build.wanted_by {
            lines.entry(wanting.user).or_default().push((wanting.since, build.id, index, wanting.doubtful));
        }
    }
    let mut best: HashMap<usize, f64> = HashMap::new();
    for (user, line) in &mut lines {
        line.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut before = used.get(user).copied().unwrap_or(0.0);
        for (since, _, index, doubtful) in line {
            let work = before + AGING * *since + if *doubtful { DOUBT } else { 0.0 };
            best.entry(*index).and_modify(|known| *known = known.min(work)).or_insert(work);
            if let Some(build) = waiting.get(*index) {
                before += build.cost / build.wanted_by.len().max(1) as f64;
            }
        }
    }
    let claim = |(index, build): (usize, &Waiting)| Claim {
        rank: build.rank,
        ahead: build.wanted_by.is_empty(),
        work: best.get(&index).copied().unwrap_or(0.0),
        id: build.id,
    };
    waiting.iter().enumerate().map(claim).collect()
}

/// The waiting builds in the order they are served, as places in the list given.
pub fn turns(waiting: &[Waiting], used: &BTreeMap<u64, f64>) -> Vec<usize> {
    let claims = claims(waiting, used);
    let mut order: Vec<(Claim, usize)> = claims.into_iter().zip(0..).collect();
    order.sort();
    order.into_iter().map(|(_, index)| index).collect()
}

/// Whether an idle worker is to have a build now, or leave it to quicker ones that are idle too. `speeds` are the factors on the time of
/// a build ([`CostModel::speed`](crate::CostModel::speed)) of the other idle workers; `waiting` builds could be had.
pub fn gets_a_build(own: f64, others: &[f64], waiting: usize) -> bool {
    // Differences of less than a twentieth are not worth a wait.
    others.iter().filter(|speed| **speed < own * 0.95).count() < waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(id: u64, user: u64, since: f64) -> Waiting {
        Waiting { id, rank: 0, wanted_by: vec![Wanting { user, since, doubtful: false }], cost: 60.0 }
    }

    fn served(waiting: &[Waiting], used: &[(u64, f64)]) -> Vec<u64> {
        turns(waiting, &used.iter().copied().collect()).into_iter().map(|i| waiting[i].id).collect()
    }

    #[test]
    fn first_come_first_served_among_equals() {
        assert_eq!(served(&[build(1, 1, 20.0), build(2, 2, 10.0), build(3, 3, 30.0)], &[]), [2, 1, 3]);
        assert_eq!(served(&[build(2, 1, 10.0), build(1, 1, 10.0)], &[]), [1, 2], "one user's orders keep their order");
    }

    #[test]
    fn a_tenth_order_waits_for_anothers_first() {
        let mut waiting: Vec<Waiting> = (1..=10).map(|id| build(id, 1, 0.0)).collect();
        waiting.push(build(11, 2, 300.0));
        assert_eq!(served(&waiting, &[]), [1, 11, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(served(&waiting, &[(1, 500.0)])[0], 11, "what a user has running counts too");
    }

    #[test]
    fn cost_counts_and_not_number() {
        let mut large = build(1, 1, 0.0);
        large.cost = 600.0;
        let waiting = [large, build(2, 1, 0.0), build(3, 2, 0.0), build(4, 2, 0.0), build(5, 2, 0.0)];
        assert_eq!(served(&waiting, &[]), [1, 3, 4, 5, 2]);
    }

    #[test]
    fn nobody_starves_behind_a_stream_of_newcomers() {
        // The old order has an hour of its user's work before it; each minute somebody new comes.
        let old = build(0, 1, 0.0);
        let goes_first = |now: f64| {
            let waiting = [old.clone(), build(1, 2, now)];
            served(&waiting, &[(1, 3_600.0)])[0] == 0
        };
        assert!(!goes_first(35_000.0));
        assert!(goes_first(36_001.0));
    }

    #[test]
    fn who_left_images_lying_waits_behind_and_comes_in_time() {
        let mut doubtful = build(1, 1, 0.0);
        doubtful.wanted_by[0].doubtful = true;
        assert_eq!(served(&[doubtful.clone(), build(2, 2, 17_000.0)], &[]), [2, 1]);
        assert_eq!(served(&[doubtful.clone(), build(2, 2, 18_001.0)], &[]), [1, 2]);
        // Somebody without doubt wants the same.
        doubtful.wanted_by.push(Wanting { user: 3, since: 10.0, doubtful: false });
        assert_eq!(served(&[doubtful, build(2, 2, 20.0)], &[]), [1, 2]);
    }

    #[test]
    fn what_is_made_ahead_comes_last_and_the_operators_word_first() {
        let ahead = Waiting { id: 1, rank: 0, wanted_by: Vec::new(), cost: 60.0 };
        let mut raised = build(3, 3, 99.0);
        raised.rank = -1;
        assert_eq!(served(&[ahead, build(2, 2, 50.0), raised], &[(2, 9_999.0)]), [3, 2, 1]);
    }

    #[test]
    fn a_shared_build_costs_each_its_share() {
        let shared = Waiting {
            id: 1,
            rank: 0,
            wanted_by: (1..=2).map(|user| Wanting { user, since: 0.0, doubtful: false }).collect(),
            cost: 100.0,
        };
        let waiting = [shared, build(2, 1, 0.0), build(3, 2, 0.0), build(4, 3, 0.0), build(5, 3, 0.0)];
        assert_eq!(served(&waiting, &[]), [1, 4, 2, 3, 5]);
    }

    #[test]
    fn the_quickest_idle_workers_build_first() {
        assert!(gets_a_build(1.0, &[], 1));
        assert!(gets_a_build(1.0, &[0.97, 1.5], 1));
        assert!(!gets_a_build(1.0, &[0.5, 1.5], 1));
        assert!(gets_a_build(1.0, &[0.5, 1.5], 2));
        assert!(!gets_a_build(1.0, &[], 0));
    }

    #[test]
    fn what_a_user_got_is_forgotten_by_and_by() {
        assert_eq!(remembered(100.0, 0.0), 100.0);
        assert_eq!(remembered(100.0, HALF_LIFE), 50.0);
        assert!(remembered(100.0, 30.0 * HALF_LIFE) < 0.001);
    }
}
