//! What a server sees of the world: the queue, what can be learnt of builds so far, and what it promises by that.

use std::collections::BTreeMap;

use super::World;
use crate::calibration::{Calibration, MAX_PROMISES};
use crate::cost::{CostModel, MAX_SAMPLES};
use crate::forecast::{self, Arrivals, Came, Entry, Queue, Running};
use crate::policy::{self, Waiting, Wanting};

impl World<'_> {
    /// The queue as a server sees it.
    pub(super) fn queue(&self, model: &CostModel) -> Queue {
        let mut used: BTreeMap<u64, f64> = BTreeMap::new();
        for (user, seconds, ended) in self.got.iter().rev().take(2_000) {
            *used.entry(*user).or_default() += policy::remembered(*seconds, self.now - ended);
        }
        for build in self.in_hand().filter_map(|b| self.builds.get(b)) {
            let share = model.seconds(&build.work, None) / build.orders.len().max(1) as f64;
            build.orders.iter().for_each(|order| *used.entry(order.user).or_default() += share);
        }
        let recent = self.came.iter().filter(|(when, ..)| self.now - when < 3_600.0);
        let recent = recent.map(|(_, user, seconds, before)| Came { user: *user, seconds: *seconds, work_before: *before });
        let arrivals = Arrivals::seen(recent, &used, self.now.min(3_600.0));
        let ends = self.ends.get(self.ends.len().saturating_sub(200)..).unwrap_or_default();
        Queue {
            now: self.now,
            waiting: self.waiting.iter().filter_map(|b| self.entry(*b, model)).collect(),
            running: self.running(),
            idle: self.workers.iter().filter(|w| w.there && w.attempt.is_none()).map(|w| w.name.clone()).collect(),
            used,
            arrivals,
            failing: forecast::failing(ends.iter().filter(|failed| **failed).count() as u64, ends.len() as u64),
        }
    }

    fn entry(&self, build: usize, model: &CostModel) -> Option<Entry> {
        let b = self.builds.get(build)?;
        let wanted_by = b.orders.iter().map(|o| Wanting { user: o.user, since: o.since, doubtful: false }).collect();
        let cost = model.seconds(&b.work, None);
        Some(Entry { waiting: Waiting { id: build as u64, rank: 0, wanted_by, cost }, work: b.work.clone() })
    }

    /// What workers have in hand; of those that are lost, the server does not know it yet.
    fn running(&self) -> Vec<Running> {
        let there = self.workers.iter().filter_map(|w| Some((w.attempt.as_ref()?, &w.name)));
        let lost = self.lost.iter().map(|(_, attempt, name)| (attempt, name));
        let running = there.chain(lost).filter_map(|(attempt, worker)| {
            let work = &self.builds.get(attempt.build)?.work;
            Some(Running::part_way(attempt.build as u64, work, worker, &attempt.steps, self.now - attempt.began))
        });
        running.collect()
    }

    /// What can be learnt of the builds so far.
    pub(super) fn model(&mut self) -> CostModel {
        if self.model.0 != self.samples.len() {
            let newest = self.samples.get(self.samples.len().saturating_sub(MAX_SAMPLES)..).unwrap_or_default();
            self.model = (self.samples.len(), CostModel::learn(newest));
        }
        self.model.1.clone()
    }

    pub(super) fn promise(&mut self, build: usize, is_new: bool) {
        let model = self.model();
        let queue = self.queue(&model);
        let calibration =
            Calibration::learn(self.promises.get(self.promises.len().saturating_sub(MAX_PROMISES)..).unwrap_or_default());
        let forecast = forecast::forecast(&queue, &model, self.count as u64).of(build as u64);
        let waiting: Vec<Waiting> = queue.waiting.iter().map(|e| e.waiting.clone()).collect();
        let place =
            policy::turns(&waiting, &queue.used).into_iter().position(|i| waiting.get(i).is_some_and(|w| w.id == build as u64));
        if is_new {
            let claims = policy::claims(&waiting, &queue.used);
            if let Some((claim, entry)) = claims.last().zip(waiting.last()) {
                let user = entry.wanted_by.first().map_or(0, |wanting| wanting.user);
                self.came.push((self.now, user, entry.cost, claim.work_before(self.now)));
            }
        }
        if let Some(order) = self.builds.get_mut(build).and_then(|b| b.orders.last_mut()) {
            order.promise = forecast.map(|range| (range, calibration.apply(range)));
            order.before = place.unwrap_or(0);
        }
    }
}
