//! Plays the scenarios with several seeds and prints how good the promised times were, as the table of docs/queue.md.
//!
//!     cargo run --release -p queue --example simulate -- [SEEDS]

use queue::simulation::{Outcome, Scenario, Score, Served, run};

fn main() {
    let seeds: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    table("Usual load", seeds, Scenario::usual);
    table("Busy", seeds, Scenario::busy);
    table("Full", seeds, Scenario::full);
}

fn table(title: &str, seeds: u64, scenario: fn(u64) -> Scenario) {
    println!("### {title}\n");
    println!(
        "| seed | orders | in the 90% range | in the 50% range | 90% uncalibrated | width of 90% / build | error of the middle | wait / build |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let outcomes: Vec<Outcome> = (1..=seeds).map(|seed| run(&scenario(seed))).collect();
    let late = |s: &Served| s.known >= 200;
    for (seed, outcome) in (1..).zip(&outcomes) {
        row(&format!("{seed}"), &outcome.score(late));
    }
    let all = together(&outcomes);
    row("all, after 200 builds", &all.score(late));
    row("all, builds 1 to 20", &all.score(|s| s.known < 20));
    row("all, builds 21 to 200", &all.score(|s| (20..200).contains(&s.known)));
    row("all, nobody before", &all.score(|s| late(s) && s.before == 0));
    row("all, 1 to 5 before", &all.score(|s| late(s) && (1..=5).contains(&s.before)));
    row("all, more before", &all.score(|s| late(s) && s.before > 5));
    let score = all.score(late);
    println!(
        "\n{} orders joined a build, {} found it ready, {} failed, {} leases lapsed; the median build took {:.0} s, the median order {:.0} s; \
         workers were busy for {:.0}%.\n",
        all.joined,
        all.found_ready,
        all.failed,
        all.lapsed,
        score.build,
        score.wait,
        100.0 * all.busy()
    );
}

fn together(outcomes: &[Outcome]) -> Outcome {
    let mut all = Outcome::default();
    for outcome in outcomes {
        all.served.extend(&outcome.served);
        all.builds.extend(&outcome.builds);
        all.available += outcome.available;
        all.failed += outcome.failed;
        all.found_ready += outcome.found_ready;
        all.joined += outcome.joined;
        all.lapsed += outcome.lapsed;
    }
    all
}

fn row(name: &str, score: &Score) {
    println!(
        "| {name} | {} | {:.1}% | {:.1}% | {:.1}% | {:.2} | {:.1}% | {:.2} |",
        score.orders,
        100.0 * score.in90,
        100.0 * score.in50,
        100.0 * score.uncalibrated90,
        score.width / score.build,
        100.0 * score.error,
        score.wait / score.build,
    );
}
