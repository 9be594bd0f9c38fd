//! Least squares with factors that are not negative: the sequential coordinate-wise algorithm (Franc, Hlaváč, Navara: Sequential
//! coordinate-wise algorithm for the non-negative least squares problem, 2005). A step has few kinds of work, so this is quick.

/// How often each factor is improved, at most.
const SWEEPS: usize = 400;
/// It is over when no factor changes by more than this, relatively.
const SETTLED: f64 = 1e-6;
/// No factor is less than this share of its guess: whatever is to be done takes some time.
const LEAST_SHARE: f64 = 1e-3;
/// A guess counts like an observation of so much weight that this factor alone explains.
const GUESS_WEIGHT: f64 = 0.01;

/// The normal equations of observations, each a sum of factors times amounts.
pub struct Normal<'a> {
    guesses: &'a [f64],
    /// The products of amounts, by rows.
    products: Vec<f64>,
    /// The products of amounts and results.
    results: Vec<f64>,
}

impl<'a> Normal<'a> {
    /// Begins with a guess for each factor, which are above 0.
    pub fn new(guesses: &'a [f64]) -> Normal<'a> {
        let n = guesses.len();
        let mut normal = Normal { guesses, products: vec![0.0; n * n], results: vec![0.0; n] };
        for (factor, guess) in guesses.iter().enumerate() {
            normal.add(GUESS_WEIGHT, &[(factor, 1.0 / guess)], 1.0);
        }
        normal
    }

    /// Notes an observation: these amounts, by factor, had this result.
    pub fn add(&mut self, weight: f64, amounts: &[(usize, f64)], result: f64) {
        for (row, amount) in amounts {
            for (column, other) in amounts {
                if let Some(product) = self.products.get_mut(row * self.guesses.len() + column) {
                    *product += weight * amount * other;
                }
            }
            if let Some(sum) = self.results.get_mut(*row) {
                *sum += weight * amount * result;
            }
        }
    }

    /// Improves the factors until they fit best.
    pub fn solve(&self, factors: &mut [f64]) {
        for _ in 0..SWEEPS {
            let mut changed = 0.0f64;
            let rows = self.products.chunks_exact(self.guesses.len().max(1)).zip(&self.results).zip(self.guesses).enumerate();
            for (row, ((products, result), guess)) in rows {
                let explained: f64 = products.iter().zip(&*factors).map(|(product, factor)| product * factor).sum();
                let (Some(own), Some(factor)) = (products.get(row), factors.get_mut(row)) else { continue };
                let improved = (*factor + (result - explained) / own).max(LEAST_SHARE * guess);
                if improved.is_finite() {
                    changed = changed.max((improved - *factor).abs() / improved);
                    *factor = improved;
                }
            }
            if changed < SETTLED {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_that_go_together_are_told_apart() {
        let (guesses, truth) = ([1.0, 1.0, 1.0], [0.012, 0.3, 2.0]);
        let mut normal = Normal::new(&guesses);
        for (megabytes, packages) in [(135.0, 133.0), (315.0, 146.0), (340.0, 149.0), (300.0, 141.0), (191.0, 139.0)] {
            let amounts = [(0, megabytes), (1, packages), (2, 1.0)];
            let result: f64 = amounts.iter().zip(truth).map(|((_, amount), factor)| amount * factor).sum();
            normal.add(20.0, &amounts.map(|(factor, amount)| (factor, amount / result)), 1.0);
        }
        let mut factors = guesses.to_vec();
        normal.solve(&mut factors);
        let predicted = |megabytes: f64, packages: f64| factors[0] * megabytes + factors[1] * packages + factors[2];
        for (megabytes, packages) in [(135.0, 133.0), (200.0, 140.0), (350.0, 150.0)] {
            let expected = 0.012 * megabytes + 0.3 * packages + 2.0;
            let found = predicted(megabytes, packages);
            assert!((found / expected - 1.0).abs() < 0.02, "{found} instead of {expected}: {factors:?}");
        }
    }

    #[test]
    fn no_factor_is_negative() {
        let guesses = [0.1, 0.1];
        let mut normal = Normal::new(&guesses);
        // The more of the second there is, the sooner it is over: that cannot be.
        normal.add(5.0, &[(0, 10.0), (1, 0.0)], 1.0);
        normal.add(5.0, &[(0, 10.0), (1, 10.0)], 0.5);
        let mut factors = guesses.to_vec();
        normal.solve(&mut factors);
        assert!(factors.iter().all(|factor| *factor > 0.0), "{factors:?}");
        assert!(factors[1] < 0.01, "{factors:?}");
    }
}
