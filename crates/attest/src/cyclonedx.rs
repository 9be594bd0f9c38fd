//! A bill of materials in CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/). Written by hand, as the few members it takes need no
//! library; the reference validator (cyclonedx-python-lib) holds it to the official schema in the tests.

use serde_json::{Value, json};

use crate::component::{Component, components, is_complete};
use crate::{Digests, Facts};

/// The bill of materials of an image. It is a function of the facts alone: the same image has the same one.
pub fn cyclonedx(facts: &Facts<'_>) -> Value {
    let image = format!("image:{}", facts.image_name);
    let packages = components(facts.plan, facts.sources);
    let mut parts: Vec<Value> = packages.iter().map(|package| component(package, facts)).collect();
    let mut references: Vec<&str> = packages.iter().map(|c| c.purl.as_str()).collect();
    if let Some(base) = &facts.plan.base {
        parts.push(stage3(base, facts));
        references.push(&base.path);
    }
    let aggregate = if is_complete(facts.plan) { "complete" } else { "incomplete" };
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&facts.identity())),
        "version": 1,
        "metadata": {
            "timestamp": contract::time::rfc3339(facts.time()),
            "tools": { "components": [{ "type": "application", "name": "hatchery", "version": env!("CARGO_PKG_VERSION") }] },
            "component": {
                "type": "operating-system",
                "bom-ref": image,
                "name": facts.image_name,
                "version": facts.plan.hash().0,
                "components": facts.files.iter().map(|f| file(&f.name, &Digests::of_artifact(f))).collect::<Vec<_>>(),
            },
        },
        "components": parts,
        "dependencies": [{ "ref": image, "dependsOn": references }],
        "compositions": [{ "aggregate": aggregate, "assemblies": [image] }],
    })
}

fn file(name: &str, digests: &Digests) -> Value {
    json!({
        "type": "file",
        "bom-ref": format!("file:{name}"),
        "name": name,
        "hashes": [
            { "alg": "SHA-256", "content": digests.sha256 },
            { "alg": "SHA-512", "content": digests.sha512 },
            { "alg": "BLAKE2b-512", "content": digests.blake2b },
        ],
    })
}

fn stage3(base: &contract::Stage3, facts: &Facts<'_>) -> Value {
    json!({
        "type": "file",
        "bom-ref": base.path,
        "name": base.path,
        "description": facts.about_stage3(),
        "hashes": [{ "alg": "SHA-512", "content": base.sha512 }, { "alg": "BLAKE2b-512", "content": base.blake2b }],
    })
}

fn component(component: &Component<'_>, facts: &Facts<'_>) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": component.purl,
        "group": component.category,
        "name": component.package,
        "version": component.version,
        "purl": component.purl,
        "properties": properties(component, facts),
    });
    let Some(members) = value.as_object_mut() else { return value };
    if let Some(text) = component.description() {
        members.insert("description".into(), text.into());
    }
    if let Some(sha256) = component.sha256() {
        members.insert("hashes".into(), json!([{ "alg": "SHA-256", "content": sha256 }]));
    }
    if let Some(expression) = &component.licence.text {
        members.insert("licenses".into(), json!([{ "expression": expression }]));
    }
    let references = references(component);
    if !references.is_empty() {
        members.insert("externalReferences".into(), references.into());
    }
    value
}

/// What Gentoo knows of a package and CycloneDX has no member for, under names of our own.
fn properties(component: &Component<'_>, facts: &Facts<'_>) -> Vec<Value> {
    let property = |name: &str, value: String| json!({ "name": format!("gentoo:{name}"), "value": value });
    let content = component.content;
    let told = |name: &str, text: &str| (!text.is_empty()).then(|| property(name, text.to_owned()));
    let mut found = vec![property("slot", content.slot.to_owned()), property("build_time", content.build_time.to_string())];
    found.extend(content.build_id.map(|id| property("build_id", id.to_string())));
    found.push(property("use", content.use_flags.join(" ")));
    found.extend(told("repository", content.repo));
    found.extend(told("license", content.license));
    found.extend(facts.stage3_of(component).map(|stage3| property("stage3", stage3.to_owned())));
    found
}

fn references(component: &Component<'_>) -> Vec<Value> {
    let reference = |kind: &str, url: &str| json!({ "type": kind, "url": url });
    let homepages = component.homepages().iter().map(|url| reference("website", url));
    let binary = component.location.iter().map(|url| reference("distribution", url));
    let sources = component.sources.iter().map(|url| reference("source-distribution", url));
    let ebuild = component.ebuild.iter().map(|url| reference("build-meta", url));
    homepages.chain(binary).chain(sources).chain(ebuild).collect()
}

/// A UUID of version 8 (RFC 9562, "custom") from the first 32 digits of a hash.
fn uuid(hash: &str) -> String {
    let mut digits: Vec<u8> = hash.bytes().filter(u8::is_ascii_hexdigit).chain(std::iter::repeat(b'0')).take(32).collect();
    for (at, digit) in [(12, b'8'), (16, b'a')] {
        if let Some(place) = digits.get_mut(at) {
            *place = digit;
        }
    }
    let text = String::from_utf8_lossy(&digits).into_owned();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
