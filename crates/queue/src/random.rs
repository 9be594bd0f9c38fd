//! Pseudo-random numbers that are the same on every machine, for simulations that can be replayed. Never for secrets.

/// The generator SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to 1, without 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `len` places; 0 when there is none.
    pub fn below(&mut self, len: usize) -> usize {
        ((self.unit() * len as f64) as usize).min(len.saturating_sub(1))
    }

    /// One of the values, or `otherwise` when there is none.
    pub fn pick(&mut self, values: &[f64], otherwise: f64) -> f64 {
        values.get(self.below(values.len())).copied().unwrap_or(otherwise)
    }

    /// Normally distributed with mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Time until the next event of a Poisson process, in units of 1 / `rate`; infinite when nothing ever happens.
    pub fn waiting_time(&mut self, rate: f64) -> f64 {
        if rate <= 0.0 { f64::INFINITY } else { -(1.0 - self.unit()).ln() / rate }
    }
}
