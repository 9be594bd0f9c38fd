//! Where an image is from: an in-toto statement (https://in-toto.io/Statement/v1) with a SLSA provenance predicate
//! (https://slsa.dev/spec/v1.0/provenance).
//!
//! Whoever signs it says what was ordered, what went in, and which bytes came back from a worker. The server makes it, not the worker,
//! so a worker cannot say of one build that it was another; that the worker did what it was told, only a second build shows.

use contract::Plan;
use serde_json::{Value, json};

use crate::{Digests, Facts, Run};

/// What the parameters mean; docs/attestation.md of the project says it at length.
pub const BUILD_TYPE: &str = "urn:hatchery:build:v1";

/// The statement about a build's images. `lock` is of the lock file as it is given out.
pub fn provenance(facts: &Facts<'_>, run: &Run<'_>, lock: &Digests) -> Value {
    let plan = facts.plan;
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": facts.files.iter().map(|file| json!({
            "name": file.name,
            "digest": { "sha256": file.sha256, "sha512": file.sha512, "blake2b": file.blake2b },
        })).collect::<Vec<_>>(),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "arch": plan.arch,
                    "channel": plan.channel,
                    "world": plan.world,
                    "services": plan.services,
                    "prefix": plan.prefix,
                    "formats": formats(facts),
                    "imageName": facts.image_name,
                },
                "internalParameters": {
                    "plan": plan.hash().0,
                    "profile": plan.profile,
                    "chost": plan.chost,
                    "installMask": plan.install_mask,
                },
                "resolvedDependencies": dependencies(plan),
            },
            "runDetails": {
                "builder": { "id": facts.namespace(), "version": { "hatchery": env!("CARGO_PKG_VERSION") } },
                "metadata": {
                    "invocationId": run.build,
                    "startedOn": contract::time::rfc3339(run.started),
                    "finishedOn": contract::time::rfc3339(run.ended),
                },
                "byproducts": [{ "name": facts.lock_name(), "digest": { "sha256": lock.sha256, "sha512": lock.sha512 } }],
            },
        },
    })
}

fn formats(facts: &Facts<'_>) -> Vec<&'static str> {
    let mut formats: Vec<&str> = facts.files.iter().map(|file| file.format.name()).collect();
    formats.dedup();
    formats
}

/// Everything that went in, as it was fetched: indexes, the stage3, and each package by the hash of its file.
fn dependencies(plan: &Plan) -> Vec<Value> {
    let address = |name: &str| plan.binhosts.iter().find(|b| b.name == name).map_or("", |b| b.uri.trim_end_matches('/'));
    let indexes = plan.binhosts.iter().map(|binhost| {
        json!({
            "name": format!("index of {}", binhost.name),
            "uri": format!("{}/Packages", binhost.uri.trim_end_matches('/')),
            "digest": { "sha256": binhost.index_sha256 },
        })
    });
    let base =
        plan.base.iter().map(|base| json!({ "name": base.path, "digest": { "sha512": base.sha512, "blake2b": base.blake2b } }));
    let packages = plan.packages.iter().map(|package| {
        let mut found = json!({ "name": package.cpv, "uri": format!("{}/{}", address(&package.binhost), package.path) });
        if let (Some(members), Some(sha256)) = (found.as_object_mut(), &package.sha256) {
            members.insert("digest".into(), json!({ "sha256": sha256 }));
        }
        found
    });
    indexes.chain(base).chain(packages).collect()
}
