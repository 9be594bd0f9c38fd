//! The promises of the simulated service are as good as the project wants them to be.

use queue::simulation::{Scenario, Served, run};

#[test]
fn promises_hold_after_200_builds() {
    let late = |served: &Served| served.known >= 200;
    let outcomes: Vec<_> = (1..=2).map(|seed| run(&Scenario::usual(seed))).collect();
    let scores: Vec<_> = outcomes.iter().map(|outcome| outcome.score(late)).collect();
    let orders: usize = scores.iter().map(|s| s.orders).sum();
    assert!(orders > 1_000, "{orders}");
    let held: f64 = scores.iter().map(|s| s.in90 * s.orders as f64).sum::<f64>() / orders as f64;
    assert!((0.88..=0.95).contains(&held), "the 90% range held for {held}");
    for score in &scores {
        assert!(score.width < 0.5 * score.build, "{score:?}");
        assert!(score.error < 0.15, "{score:?}");
        assert!((0.4..=0.6).contains(&score.in50), "{score:?}");
    }
    assert!(outcomes.iter().all(|o| o.failed > 0 && o.joined > 0 && o.lapsed > 0), "something that was to happen did not");
}

#[test]
fn a_replay_is_the_same() {
    let scenario = Scenario { orders: 150, ..Scenario::usual(11) };
    let (first, second) = (run(&scenario), run(&scenario));
    let times = |outcome: &queue::simulation::Outcome| -> Vec<(f64, f64)> {
        outcome.served.iter().map(|s| (s.actual, s.named.middle)).collect()
    };
    assert!(!first.served.is_empty());
    assert_eq!(times(&first), times(&second));
}

#[test]
fn one_users_bursts_hardly_delay_the_others() {
    const STORMY: u64 = 49;
    // What the others wait, in the middle and at worst but for one of twenty, with that user's bursts and without.
    let others = |between_bursts: f64| {
        let outcome = run(&Scenario { between_bursts, bursts_of: Some(STORMY as usize), orders: 500, ..Scenario::usual(5) });
        let mut waits: Vec<f64> = outcome.served.iter().filter(|s| s.user != STORMY).map(|s| s.actual).collect();
        waits.sort_by(f64::total_cmp);
        assert!(waits.len() > 100, "{}", waits.len());
        (waits[waits.len() / 2], waits[waits.len() * 19 / 20])
    };
    let (calm, stormy) = (others(f64::INFINITY), others(1_800.0));
    assert!(stormy.0 < 1.5 * calm.0 && stormy.1 < 2.0 * calm.1, "{calm:?} and {stormy:?}");
}
