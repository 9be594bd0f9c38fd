//! The one place where the server asks the resolver for a plan.

use contract::{Order, Plan, RootFilesystem};
use resolver::Wanted;

use crate::channels::{Channel, Snapshot};
use crate::presets::Preset;

/// Bytes of a root for each byte of its stage3.tar.xz, roughly.
const STAGE3_UNPACKED: u64 = 5;

/// There is no plan, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{explanation}")]
pub struct PlanRefused {
    /// The channel that was to serve the order.
    pub channel: String,
    pub explanation: resolver::Explanation,
    /// The same order with `from_source` would be taken: what it lacks may be built first.
    pub from_source: bool,
}

/// Plans an order on a channel as it was read. Pure computation, but not short: run it where blocking is allowed.
pub fn plan(channel: &Channel, snapshot: &Snapshot, order: &Order, preset: Option<&Preset>) -> Result<Plan, PlanRefused> {
    let wanted =
        Wanted { atoms: atoms(channel, order, preset), services: preset.map(|p| p.services.clone()).unwrap_or_default() };
    let resolved = snapshot.universe.resolve(&wanted);
    let mut plan = resolved.map_err(|explanation| refused(channel, explanation))?.plan;
    let of_channel = channel.config.install_mask.split_whitespace();
    plan.install_mask = of_channel.chain(order.install_mask.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    if let Some(base) = &snapshot.base {
        plan.base = Some(base.clone());
        plan.inherited = snapshot.universe.inherited(&plan);
        plan.summary.download_size = plan.summary.download_size.saturating_add(base.size);
        plan.summary.installed_size = plan.summary.installed_size.saturating_add(base.size.saturating_mul(STAGE3_UNPACKED));
    }
    plan.profile.clone_from(&snapshot.profile);
    plan.prefix.clone_from(&order.prefix);
    Ok(plan)
}

fn refused(channel: &Channel, explanation: resolver::Explanation) -> PlanRefused {
    let from_source = channel.config.source_builds.as_ref().is_some_and(|source| source.serves(&explanation));
    PlanRefused { channel: channel.config.name.clone(), explanation, from_source }
}

/// What is asked for by name: the preset's packages, the order's own, and what a bootable format and its root need. Each once, in that order.
fn atoms(channel: &Channel, order: &Order, preset: Option<&Preset>) -> Vec<String> {
    let of_preset = preset.map(|p| p.packages.as_slice()).unwrap_or_default();
    let bootable = order.formats.iter().any(|f| f.is_bootable());
    let for_boot = if bootable { channel.config.boot_packages.as_slice() } else { &[] };
    let for_root = order.system.root_filesystem.and_then(RootFilesystem::package);
    let named = of_preset.iter().chain(&order.packages).chain(for_boot).map(String::as_str);
    let mut atoms: Vec<String> = Vec::new();
    for atom in named.chain(for_root) {
        if !atoms.iter().any(|known| known == atom) {
            atoms.push(atom.to_owned());
        }
    }
    atoms
}
