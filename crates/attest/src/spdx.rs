//! A bill of materials in SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/), as JSON. Written by hand, as the few members it takes need no
//! library; the reference validator (spdx-tools) reads it in the tests.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::component::{Component, components};
use crate::{Digests, Facts};

const IMAGE: &str = "SPDXRef-Image";
const NOTHING_SAID: &str = "NOASSERTION";

/// The bill of materials of an image. It is a function of the facts alone: the same image has the same one.
pub fn spdx(facts: &Facts<'_>) -> Value {
    let components = components(facts.plan, facts.sources);
    let mut packages = vec![image(facts)];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for (index, artifact) in facts.files.iter().enumerate() {
        let id = format!("SPDXRef-File-{index}");
        packages.push(file(&id, &artifact.name, &Digests::of_artifact(artifact)));
        relationships.push(relationship(IMAGE, "DISTRIBUTION_ARTIFACT", &id));
    }
    if let Some(base) = &facts.plan.base {
        packages.push(stage3(base, facts));
        relationships.push(relationship(IMAGE, "CONTAINS", "SPDXRef-Stage3"));
    }
    for (index, component) in components.iter().enumerate() {
        let id = format!("SPDXRef-Package-{index}");
        packages.push(package(&id, component, facts));
        relationships.push(relationship(IMAGE, "CONTAINS", &id));
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": facts.image_name,
        "documentNamespace": format!("{}/spdx/{}", facts.namespace(), facts.identity()),
        "creationInfo": { "created": contract::time::rfc3339(facts.time()), "creators": [format!("Tool: {}", facts.tool())] },
        "packages": packages,
        "relationships": relationships,
    });
    let licences = extracted_licences(&components);
    if !licences.is_empty()
        && let Some(document) = document.as_object_mut()
    {
        document.insert("hasExtractedLicensingInfos".into(), licences.into());
    }
    document
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// What every package of the document has, with the members that are its own.
fn described(id: &str, name: &str, purpose: &str, own: Value) -> Value {
    let mut package = json!({
        "SPDXID": id,
        "name": name,
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": false,
        "primaryPackagePurpose": purpose,
        "copyrightText": NOTHING_SAID,
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": NOTHING_SAID,
    });
    if let (Some(members), Value::Object(own)) = (package.as_object_mut(), own) {
        members.extend(own);
    }
    package
}

fn image(facts: &Facts<'_>) -> Value {
    described(IMAGE, facts.image_name, "OPERATING-SYSTEM", json!({ "versionInfo": facts.plan.hash().0 }))
}

fn file(id: &str, name: &str, digests: &Digests) -> Value {
    let checksums = json!([
        { "algorithm": "SHA256", "checksumValue": digests.sha256 },
        { "algorithm": "SHA512", "checksumValue": digests.sha512 },
        { "algorithm": "BLAKE2b-512", "checksumValue": digests.blake2b },
    ]);
    described(id, name, "ARCHIVE", json!({ "packageFileName": name, "checksums": checksums }))
}

/// A stage3 as a file; those of its packages that are in the image are told of like all others.
fn stage3(base: &contract::Stage3, facts: &Facts<'_>) -> Value {
    let own = json!({
        "packageFileName": base.path,
        "comment": facts.about_stage3(),
        "checksums": [
            { "algorithm": "SHA512", "checksumValue": base.sha512 },
            { "algorithm": "BLAKE2b-512", "checksumValue": base.blake2b },
        ],
    });
    described("SPDXRef-Stage3", &base.path, "ARCHIVE", own)
}

fn package(id: &str, component: &Component<'_>, facts: &Facts<'_>) -> Value {
    let mut package = json!({
        "SPDXID": id,
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": component.location.as_deref().filter(|uri| is_location(uri)).unwrap_or(NOTHING_SAID),
        "filesAnalyzed": false,
        "copyrightText": NOTHING_SAID,
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": component.licence.text.as_deref().unwrap_or(NOTHING_SAID),
        "externalRefs": [
            { "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": component.purl },
        ],
    });
    let Some(members) = package.as_object_mut() else { return package };
    if let Some(sha256) = component.sha256() {
        members.insert("checksums".into(), json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]));
    }
    if let Some(home) = component.homepages().first() {
        members.insert("homepage".into(), home.as_str().into());
    }
    if let Some(text) = component.description() {
        members.insert("summary".into(), text.into());
    }
    if let Some(text) = source_info(component, facts) {
        members.insert("sourceInfo".into(), text.into());
    }
    package
}

/// SPDX takes web addresses as locations; that of a folder on the build machine says nothing to others.
fn is_location(uri: &str) -> bool {
    uri.starts_with("https://") || uri.starts_with("http://")
}

fn source_info(component: &Component<'_>, facts: &Facts<'_>) -> Option<String> {
    let sources = (!component.sources.is_empty()).then(|| format!("Sources: {}", component.sources.join(" ")));
    let ebuild = component.ebuild.as_ref().map(|url| format!("Ebuild: {url}"));
    let stage3 = facts.stage3_of(component).map(|path| format!("From the stage3 {path}"));
    let parts: Vec<String> = sources.into_iter().chain(ebuild).chain(stage3).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// What a name of Gentoo's stands for that SPDX does not list: the text is in Gentoo's repository.
fn extracted_licences(components: &[Component<'_>]) -> Vec<Value> {
    let own: BTreeMap<&String, &String> = components.iter().flat_map(|c| &c.licence.own).collect();
    own.into_iter()
        .map(|(reference, name)| {
            let url = format!("https://gitweb.gentoo.org/repo/gentoo.git/plain/licenses/{}", name.replace('+', "%2B"));
            json!({
                "licenseId": reference,
                "name": name,
                "extractedText": format!("The licence that Gentoo calls {name}; its text is in licenses/{name} of Gentoo's repository."),
                "seeAlsos": [url],
            })
        })
        .collect()
}
