//! What to build when not everything can be: the choice that serves most orders within a budget.
//!
//! An order is served when each of its wishes is met by something chosen; things share what has to be built for them. That is the
//! maximum-coverage problem with shared costs (NP-hard), so small cases are searched to the end by branch and bound, large ones are chosen
//! greedily by orders per cost and then mended by exchanges. Either way the answer comes with a bound that no choice can pass.

use serde::Serialize;

/// What something costs who runs the binhost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Cost {
    /// Binary packages more than today.
    pub builds: u64,
    /// Bytes of the binhost's disk more than today.
    pub bytes: u64,
}

impl Cost {
    fn plus(self, other: Cost) -> Cost {
        Cost { builds: self.builds.saturating_add(other.builds), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// How much may be built; none means as much as one likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Budget {
    pub builds: Option<u64>,
    pub bytes: Option<u64>,
}

impl Budget {
    fn allows(self, cost: Cost) -> bool {
        self.builds.is_none_or(|most| cost.builds <= most) && self.bytes.is_none_or(|most| cost.bytes <= most)
    }

    /// A cost as a share of the budget, for comparing costs of two kinds; without limits every build counts one.
    fn weight(self, cost: Cost) -> f64 {
        let share = |part: u64, whole: Option<u64>| whole.map_or(0.0, |w| part as f64 / w.max(1) as f64);
        match (self.builds, self.bytes) {
            (None, None) => cost.builds as f64,
            (builds, bytes) => share(cost.builds, builds) + share(cost.bytes, bytes),
        }
    }
}

/// The orders that lacked the same.
#[derive(Clone, Debug)]
pub struct Need {
    /// How many orders.
    pub orders: u64,
    /// For each thing they lacked, the options that give it. An order with an empty list of options cannot be served.
    pub lacks: Vec<Vec<usize>>,
}

/// The options there are, by number, and who needs them.
#[derive(Clone, Debug, Default)]
pub struct Puzzle {
    /// What has to be built; each is paid for once, however many options need it.
    pub units: Vec<Cost>,
    /// The units of each option, none twice.
    pub options: Vec<Vec<usize>>,
    pub needs: Vec<Need>,
}

/// A set of options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// In the order in which they are worth building.
    pub options: Vec<usize>,
    pub served: u64,
    pub cost: Cost,
    /// No choice within the budget serves more orders than this.
    pub at_most: u64,
}

/// Most nodes of the search that are looked at before it is left at the best found so far.
const MAX_NODES: usize = 20_000;
/// Most options for which a complete search is tried.
const MAX_SEARCHED: usize = 60;
/// Most exchanges tried to mend a greedy choice.
const MAX_EXCHANGES: usize = 200;

/// Chooses within the budget.
pub fn choose(puzzle: &Puzzle, budget: Budget) -> Choice {
    let mut best = exchanged(puzzle, budget, greedy(puzzle, budget, Vec::new()));
    let mut at_most = puzzle.bound(budget, &vec![State::Open; puzzle.options.len()]);
    if puzzle.options.len() <= MAX_SEARCHED && puzzle.served(&best) < at_most {
        let mut search = Search { puzzle, budget, order: puzzle.by_worth(), best, nodes: 0 };
        search.descend(0, &mut vec![State::Open; puzzle.options.len()]);
        best = search.best;
        if search.nodes <= MAX_NODES {
            at_most = puzzle.served(&best);
        }
    }
    let options = puzzle.in_order_of_worth(&best, budget);
    Choice { served: puzzle.served(&options), cost: puzzle.cost(&options), options, at_most }
}

/// How many orders are served as one goes on building without end: after each step, the cost so far and the orders served.
pub fn curve(puzzle: &Puzzle) -> Vec<(Cost, u64)> {
    let all = greedy(puzzle, Budget::default(), Vec::new());
    let mut points = vec![(Cost::default(), puzzle.served(&[]))];
    for end in 1..=all.len() {
        let so_far = all.get(..end).unwrap_or_default();
        let point = (puzzle.cost(so_far), puzzle.served(so_far));
        match points.last_mut() {
            Some(last) if last.0.builds == point.0.builds => *last = point,
            _ => points.push(point),
        }
    }
    points
}

/// What no choice can pass, with each number of builds from none to `most`.
pub fn bounds(puzzle: &Puzzle, most: u64) -> Vec<u64> {
    let open = vec![State::Open; puzzle.options.len()];
    (0..=most).map(|builds| puzzle.bound(Budget { builds: Some(builds), bytes: None }, &open)).collect()
}

/// What the search has decided about an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    In,
    Out,
}

impl Puzzle {
    /// How many orders a set of options serves.
    pub fn served(&self, options: &[usize]) -> u64 {
        let has = self.flags(options);
        self.needs.iter().filter(|n| met(n, &has)).map(|n| n.orders).sum()
    }

    /// What a set of options costs, with what they share counted once.
    pub fn cost(&self, options: &[usize]) -> Cost {
        self.cost_of_units(&self.paid(options))
    }

    fn flags(&self, options: &[usize]) -> Vec<bool> {
        let mut has = vec![false; self.options.len()];
        for option in options {
            has[*option] = true;
        }
        has
    }

    fn paid(&self, options: &[usize]) -> Vec<bool> {
        let mut paid = vec![false; self.units.len()];
        for unit in options.iter().flat_map(|o| &self.options[*o]) {
            paid[*unit] = true;
        }
        paid
    }

    fn cost_of_units(&self, paid: &[bool]) -> Cost {
        self.units.iter().zip(paid).filter(|(_, paid)| **paid).fold(Cost::default(), |sum, (unit, _)| sum.plus(*unit))
    }

    /// What an option adds to what is paid for.
    fn extra(&self, option: usize, paid: &[bool]) -> Cost {
        self.options[option].iter().filter(|u| !paid[**u]).fold(Cost::default(), |sum, u| sum.plus(self.units[*u]))
    }

    /// The cheapest options that, added to a choice, serve one need; none where it cannot be served.
    fn bundle(&self, need: &Need, has: &[bool], paid: &[bool], budget: Budget) -> Option<Vec<usize>> {
        let (mut has, mut paid, mut bundle) = (has.to_vec(), paid.to_vec(), Vec::new());
        for alternatives in &need.lacks {
            if alternatives.iter().any(|o| has[*o]) {
                continue;
            }
            let weight = |option: &usize| budget.weight(self.extra(*option, &paid));
            let cheapest = *alternatives.iter().min_by(|a, b| weight(a).total_cmp(&weight(b)))?;
            has[cheapest] = true;
            for unit in &self.options[cheapest] {
                paid[*unit] = true;
            }
            bundle.push(cheapest);
        }
        Some(bundle)
    }

    /// The options of most orders first: what the search decides about earliest.
    fn by_worth(&self) -> Vec<usize> {
        let mut orders = vec![0; self.options.len()];
        for need in &self.needs {
            for option in need.lacks.iter().flatten() {
                orders[*option] += need.orders;
            }
        }
        let mut order: Vec<usize> = (0..self.options.len()).collect();
        order.sort_by_key(|o| std::cmp::Reverse(orders[*o]));
        order
    }

    /// Chosen options in the order in which they are best built, without those that serve nobody.
    fn in_order_of_worth(&self, chosen: &[usize], budget: Budget) -> Vec<usize> {
        let within = Puzzle {
            needs: self
                .needs
                .iter()
                .map(|n| {
                    let lacks = n.lacks.iter().map(|l| l.iter().copied().filter(|o| chosen.contains(o)).collect()).collect();
                    Need { orders: n.orders, lacks }
                })
                .collect(),
            ..self.clone()
        };
        let ordered = greedy(&within, budget, Vec::new());
        // Greedy takes the cheapest of several that were chosen; where that serves fewer, the rest is appended.
        let mut all = ordered.clone();
        all.extend(chosen.iter().copied().filter(|o| !ordered.contains(o)));
        match self.served(&ordered) == self.served(&all) {
            true => ordered,
            false => self.pruned(all),
        }
    }

    /// The options without those that serve nobody.
    fn pruned(&self, mut options: Vec<usize>) -> Vec<usize> {
        let served = self.served(&options);
        for index in (0..options.len()).rev() {
            let mut without = options.clone();
            without.remove(index);
            if self.served(&without) == served {
                options = without;
            }
        }
        options
    }

    /// A number of orders that no completion of a half-made choice can pass: each needed unit is shared out evenly among all that could
    /// use it, which can only make it cheaper than it is, and the last order may be served in part.
    fn bound(&self, budget: Budget, states: &[State]) -> u64 {
        let paid = self.paid(&(0..states.len()).filter(|o| states[*o] == State::In).collect::<Vec<_>>());
        let spent = self.cost_of_units(&paid);
        let possible: Vec<&Need> =
            self.needs.iter().filter(|n| n.lacks.iter().all(|l| l.iter().any(|o| states[*o] != State::Out))).collect();
        let mut users = vec![0u64; self.units.len()];
        for lack in possible.iter().flat_map(|n| &n.lacks) {
            let mut units: Vec<usize> =
                lack.iter().filter(|o| states[**o] != State::Out).flat_map(|o| self.options[*o].iter().copied()).collect();
            units.sort_unstable();
            units.dedup();
            for unit in units {
                users[unit] += 1;
            }
        }
        let limits = [(budget.builds, spent.builds), (budget.bytes, spent.bytes)];
        let parts: [fn(Cost) -> u64; 2] = [|cost| cost.builds, |cost| cost.bytes];
        let all: u64 = possible.iter().map(|n| n.orders).sum();
        let of = |(limit, spent): (Option<u64>, u64), part: fn(Cost) -> u64| {
            let Some(limit) = limit else { return all };
            let share = |option: &usize| -> f64 {
                self.options[*option]
                    .iter()
                    .filter(|u| !paid[**u])
                    .map(|u| part(self.units[*u]) as f64 / users[*u].max(1) as f64)
                    .sum()
            };
            let cheapest =
                |lack: &Vec<usize>| lack.iter().filter(|o| states[**o] != State::Out).map(share).fold(f64::INFINITY, f64::min);
            let costs = possible.iter().map(|n| (n.orders, n.lacks.iter().map(cheapest).sum::<f64>())).collect();
            fractional(costs, limit.saturating_sub(spent) as f64)
        };
        limits.into_iter().zip(parts).map(|(limit, part)| of(limit, part)).min().unwrap_or(all)
    }
}

fn met(need: &Need, has: &[bool]) -> bool {
    need.lacks.iter().all(|alternatives| alternatives.iter().any(|o| has[*o]))
}

/// Most orders for a budget when the last may be served in part (the fractional knapsack).
fn fractional(mut costs: Vec<(u64, f64)>, mut budget: f64) -> u64 {
    let worth = |(orders, cost): &(u64, f64)| if *cost <= 0.0 { f64::INFINITY } else { *orders as f64 / cost };
    costs.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    let mut served = 0.0;
    for (orders, cost) in costs {
        if cost <= budget {
            served += orders as f64;
            budget -= cost;
        } else {
            served += orders as f64 * budget / cost;
            break;
        }
    }
    // What rounding took away must not make the bound too low.
    (served + 1e-6).floor() as u64
}

/// Goes on with a choice, each time by what serves most orders for its cost.
fn greedy(puzzle: &Puzzle, budget: Budget, start: Vec<usize>) -> Vec<usize> {
    let mut chosen = start;
    loop {
        let (has, paid) = (puzzle.flags(&chosen), puzzle.paid(&chosen));
        let served = puzzle.served(&chosen);
        let mut best: Option<(f64, Vec<usize>)> = None;
        for need in puzzle.needs.iter().filter(|n| !met(n, &has)) {
            let Some(bundle) = puzzle.bundle(need, &has, &paid, budget) else { continue };
            let mut together = chosen.clone();
            together.extend(&bundle);
            if !budget.allows(puzzle.cost(&together)) {
                continue;
            }
            let mut seen = paid.clone();
            let extra = bundle.iter().fold(Cost::default(), |sum, option| {
                let extra = puzzle.extra(*option, &seen);
                for unit in &puzzle.options[*option] {
                    seen[*unit] = true;
                }
                sum.plus(extra)
            });
            let gain = puzzle.served(&together).saturating_sub(served) as f64;
            let worth = gain / budget.weight(extra).max(1e-9);
            if best.as_ref().is_none_or(|(w, _)| worth > *w) {
                best = Some((worth, bundle));
            }
        }
        match best {
            Some((_, bundle)) => chosen.extend(bundle),
            None => return chosen,
        }
    }
}

/// Takes one option out and fills up again, as long as that serves more.
fn exchanged(puzzle: &Puzzle, budget: Budget, mut chosen: Vec<usize>) -> Vec<usize> {
    let mut tries = 0;
    let mut index = 0;
    while index < chosen.len() && tries < MAX_EXCHANGES {
        tries += 1;
        let mut without = chosen.clone();
        let out = without.remove(index);
        let mut other = puzzle.clone();
        for lack in other.needs.iter_mut().flat_map(|n| &mut n.lacks) {
            lack.retain(|o| *o != out);
        }
        let filled = greedy(puzzle, budget, greedy(&other, budget, without));
        if puzzle.served(&filled) > puzzle.served(&chosen) {
            chosen = filled;
            index = 0;
        } else {
            index += 1;
        }
    }
    chosen
}

struct Search<'a> {
    puzzle: &'a Puzzle,
    budget: Budget,
    order: Vec<usize>,
    best: Vec<usize>,
    nodes: usize,
}

impl Search<'_> {
    /// Decides about the options from `depth` on, in every way that may serve more than the best so far.
    fn descend(&mut self, depth: usize, states: &mut Vec<State>) {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return;
        }
        let chosen: Vec<usize> = (0..states.len()).filter(|o| states[*o] == State::In).collect();
        if !self.budget.allows(self.puzzle.cost(&chosen)) {
            return;
        }
        let best = self.puzzle.served(&self.best);
        if self.puzzle.served(&chosen) > best {
            self.best = chosen;
        }
        let Some(option) = self.order.get(depth).copied() else { return };
        if self.puzzle.bound(self.budget, states) <= self.puzzle.served(&self.best) {
            return;
        }
        for state in [State::In, State::Out] {
            states[option] = state;
            self.descend(depth + 1, states);
        }
        states[option] = State::Open;
    }
}
