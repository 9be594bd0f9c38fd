//! When an image will be ready: an honest, simple estimate from builds of similar size, or none.

use crate::db::{Sample, Unfinished};

/// Fewer finished builds of similar size than this say nothing.
const MIN_SAMPLES: usize = 3;

/// The median time of the finished builds that had between a third and three times as much to fetch. Seconds.
fn expected_build_time(plan_bytes: u64, samples: &[Sample]) -> Option<u64> {
    let mut times: Vec<u64> = samples
        .iter()
        .filter(|s| s.plan_bytes <= plan_bytes.saturating_mul(3) && plan_bytes <= s.plan_bytes.saturating_mul(3))
        .map(|s| s.seconds)
        .collect();
    if times.len() < MIN_SAMPLES {
        return None;
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Seconds until the build is ready: its own time and that of the builds served before it, spread over the workers. None where
/// no worker is at hand or too few builds were seen.
pub fn seconds_until_ready(build: &str, unfinished: &[Unfinished], samples: &[Sample], workers: usize, now: i64) -> Option<u64> {
    let place = unfinished.iter().position(|u| u.id == build)?;
    let remaining = |u: &Unfinished| {
        let expected = expected_build_time(u.plan_bytes, samples)?;
        let elapsed = u.started.filter(|_| u.building).map_or(0, |since| u64::try_from(now.saturating_sub(since)).unwrap_or(0));
        Some(expected.saturating_sub(elapsed))
    };
    let own = unfinished.get(place)?;
    if own.building {
        return remaining(own);
    }
    // Each worker takes the next build as soon as it is free.
    let mut free_at = vec![0u64; workers];
    for other in unfinished.get(..place)? {
        let earliest = free_at.iter_mut().min()?;
        *earliest = earliest.saturating_add(remaining(other)?);
    }
    let start = free_at.iter().min()?;
    start.checked_add(remaining(own)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfinished(id: &str, building: bool, started: Option<i64>) -> Unfinished {
        Unfinished { id: id.into(), building, plan_bytes: 100, started }
    }

    #[test]
    fn a_few_builds_are_not_enough() {
        let samples = [Sample { plan_bytes: 100, seconds: 60 }; 2];
        assert_eq!(seconds_until_ready("a", &[unfinished("a", false, None)], &samples, 1, 0), None);
        let of_other_size = [Sample { plan_bytes: 1_000, seconds: 60 }; 9];
        assert_eq!(seconds_until_ready("a", &[unfinished("a", false, None)], &of_other_size, 1, 0), None);
    }

    #[test]
    fn the_queue_is_served_in_order_by_all_workers() {
        let samples = [Sample { plan_bytes: 100, seconds: 60 }; 3];
        let queue = [
            unfinished("a", true, Some(80)),
            unfinished("b", false, None),
            unfinished("c", false, None),
            unfinished("d", false, None),
        ];
        assert_eq!(seconds_until_ready("a", &queue, &samples, 1, 100), Some(40));
        assert_eq!(seconds_until_ready("b", &queue, &samples, 1, 100), Some(100));
        assert_eq!(seconds_until_ready("c", &queue, &samples, 1, 100), Some(160));
        assert_eq!(seconds_until_ready("c", &queue, &samples, 2, 100), Some(100));
        assert_eq!(seconds_until_ready("d", &queue, &samples, 2, 100), Some(120));
        assert_eq!(seconds_until_ready("d", &queue, &samples, 0, 100), None);
        assert_eq!(seconds_until_ready("gone", &queue, &samples, 1, 100), None);
    }
}
