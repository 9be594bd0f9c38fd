//! Ten thousand orders of one user at once, and what others notice of it.

use std::collections::{BTreeMap, BinaryHeap};

use queue::policy::{Waiting, Wanting, remembered, turns};

const WORKERS: usize = 4;
const COST: f64 = 90.0;
const FLOOD: u64 = 10_000;
const FLOODER: u64 = 1;

/// The median and the longest time from order to image of users who order one image each, a worker's share of the day apart from
/// each other: first come those of `flooder`, all at once.
fn served(flooder: u64) -> (f64, f64) {
    let mut waiting: Vec<Waiting> = (0..flooder).map(|id| wish(id, FLOODER, 0.0)).collect();
    // Somebody else every 40 seconds keeps the four workers half busy.
    let mut coming: Vec<Waiting> = (0..60).map(|i| wish(FLOOD + i, 2 + i, 100.0 + 40.0 * i as f64)).rev().collect();
    // What each user got, and when it ended; and the ends of what runs, soonest first.
    let mut got: Vec<(u64, f64)> = Vec::new();
    let mut running: BinaryHeap<std::cmp::Reverse<(u64, u64)>> = BinaryHeap::new();
    let (mut took, mut now) = (Vec::new(), 0.0);
    while took.len() < 60 {
        while coming.last().is_some_and(|next| next.wanted_by[0].since <= now) {
            waiting.extend(coming.pop());
        }
        while running.len() < WORKERS && !waiting.is_empty() {
            let mut used: BTreeMap<u64, f64> = BTreeMap::new();
            for (user, ended) in &got {
                // What runs counts whole, what is done is forgotten with time.
                *used.entry(*user).or_default() += if *ended > now { COST } else { remembered(COST, now - ended) };
            }
            // The policy looks at all; of one user's builds, all equal, the first few stand for the rest, to save time.
            let first = waiting.iter().filter(|w| w.wanted_by[0].user == FLOODER).take(20);
            let looked_at: Vec<Waiting> =
                first.chain(waiting.iter().filter(|w| w.wanted_by[0].user != FLOODER)).cloned().collect();
            let next = looked_at[turns(&looked_at, &used)[0]].id;
            let at = waiting.iter().position(|w| w.id == next).unwrap();
            let build = waiting.remove(at);
            let wanted = build.wanted_by[0].clone();
            got.push((wanted.user, now + COST));
            running.push(std::cmp::Reverse(((now + COST).to_bits(), build.id)));
            if wanted.user != FLOODER {
                took.push(now + COST - wanted.since);
            }
        }
        let ends = running.peek().map_or(f64::INFINITY, |end| f64::from_bits(end.0.0));
        let comes = coming.last().map_or(f64::INFINITY, |next| next.wanted_by[0].since);
        now = ends.min(comes);
        if ends <= comes {
            running.pop();
        }
    }
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], took[took.len() - 1])
}

fn wish(id: u64, user: u64, since: f64) -> Waiting {
    Waiting { id, rank: 0, wanted_by: vec![Wanting { user, since, doubtful: false }], cost: COST }
}

#[test]
fn ten_thousand_orders_of_one_user_do_not_double_the_time_of_others() {
    let (quiet, flooded) = (served(0), served(FLOOD));
    println!("from order to image, median and longest: {quiet:?} without the flood, {flooded:?} with it");
    assert!(flooded.0 < 2.0 * quiet.0 && flooded.1 < 2.0 * quiet.1, "{quiet:?} {flooded:?}");
}

#[test]
fn who_comes_after_ten_thousand_orders_is_next() {
    let mut waiting: Vec<Waiting> = (0..FLOOD).map(|id| wish(id, FLOODER, 0.0)).collect();
    waiting.push(wish(FLOOD, 2, 60.0));
    let order = turns(&waiting, &BTreeMap::new());
    let place = order.iter().position(|at| *at == waiting.len() - 1).unwrap();
    assert!(place <= 1, "it is at place {place}");
}
