//! The choice against trying everything.

use advice::{Budget, Cost, Need, Puzzle, bounds, choose, curve};
use proptest::prelude::*;

fn puzzle() -> impl Strategy<Value = Puzzle> {
    (1..7usize, 1..9usize).prop_flat_map(|(units, options)| {
        let unit = (0..3u64, 0..50u64).prop_map(|(builds, bytes)| Cost { builds, bytes });
        let option = prop::collection::btree_set(0..units, 1..3).prop_map(|units| units.into_iter().collect());
        let lack = prop::collection::vec(0..options, 0..4);
        let need = (1..20u64, prop::collection::vec(lack, 1..4)).prop_map(|(orders, lacks)| Need { orders, lacks });
        (prop::collection::vec(unit, units), prop::collection::vec(option, options), prop::collection::vec(need, 1..10))
            .prop_map(|(units, options, needs)| Puzzle { units, options, needs })
    })
}

fn budget() -> impl Strategy<Value = Budget> {
    (prop::option::of(0..8u64), prop::option::of(0..150u64)).prop_map(|(builds, bytes)| Budget { builds, bytes })
}

fn allowed(budget: Budget, cost: Cost) -> bool {
    budget.builds.is_none_or(|most| cost.builds <= most) && budget.bytes.is_none_or(|most| cost.bytes <= most)
}

/// The most orders that any set of options serves within the budget.
fn best(puzzle: &Puzzle, budget: Budget) -> u64 {
    let sets = (0..1u32 << puzzle.options.len())
        .map(|set| (0..puzzle.options.len()).filter(|o| set & (1 << o) != 0).collect::<Vec<_>>());
    sets.filter(|set| allowed(budget, puzzle.cost(set))).map(|set| puzzle.served(&set)).max().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_set_of_options_serves_more(puzzle in puzzle(), budget in budget()) {
        let choice = choose(&puzzle, budget);
        prop_assert!(allowed(budget, choice.cost));
        prop_assert_eq!(choice.cost, puzzle.cost(&choice.options));
        prop_assert_eq!(choice.served, puzzle.served(&choice.options));
        prop_assert_eq!(choice.served, best(&puzzle, budget));
        prop_assert_eq!(choice.at_most, choice.served, "small cases are proven");
    }

    #[test]
    fn the_bound_holds_and_the_curve_rises_below_it(puzzle in puzzle()) {
        let curve = curve(&puzzle);
        let most = curve.last().unwrap().0.builds;
        let bounds = bounds(&puzzle, most);
        for (builds, bound) in bounds.iter().enumerate() {
            let best = best(&puzzle, Budget { builds: Some(builds as u64), bytes: None });
            prop_assert!(*bound >= best);
        }
        for pair in curve.windows(2) {
            prop_assert!(pair[0].0.builds < pair[1].0.builds && pair[0].1 <= pair[1].1);
        }
        let all: Vec<usize> = (0..puzzle.options.len()).collect();
        prop_assert_eq!(curve.last().unwrap().1, puzzle.served(&all), "whoever can be served is, in the end");
    }
}

/// Two orders share a library that has to be built: neither is worth it alone.
#[test]
fn what_two_need_is_paid_once() {
    let builds = |builds| Cost { builds, bytes: 0 };
    let puzzle = Puzzle {
        units: vec![builds(1), builds(1), builds(3), builds(2)],
        options: vec![vec![0, 2], vec![1, 2], vec![3]],
        needs: [(10, 0), (10, 1), (11, 2)].map(|(orders, option)| Need { orders, lacks: vec![vec![option]] }).into(),
    };
    let choice = choose(&puzzle, Budget { builds: Some(5), bytes: None });
    assert_eq!((choice.served, choice.cost.builds), (20, 5));
    assert_eq!(choose(&puzzle, Budget { builds: Some(4), bytes: None }).served, 11);
    assert_eq!(choose(&puzzle, Budget::default()).served, 31);
}
