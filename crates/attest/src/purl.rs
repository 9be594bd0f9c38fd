//! Package URLs (https://github.com/package-url/purl-spec). `ebuild` is the type that its list of types still to be defined has for
//! Gentoo's packages, and what scanners such as Syft write: the category is the namespace, and the version is that of the ebuild, with
//! its revision.

use gentoo::Cpv;

/// The package URL of a package: `pkg:ebuild/dev-libs/openssl@3.0.9-r1?arch=amd64&slot=0`.
pub fn purl(cpv: &Cpv, arch: &str, slot: &str) -> String {
    let slot = slot.split('/').next().unwrap_or_default();
    format!(
        "pkg:ebuild/{}/{}@{}?arch={}&slot={}",
        encode(&cpv.category),
        encode(&cpv.package),
        encode(cpv.version.as_str()),
        encode(arch),
        encode(slot)
    )
}

/// Percent-encoding as the specification has it: letters, digits and `.-_~` stay.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_cannot_hold_is_encoded() {
        let cpv = Cpv::parse("x11-libs/gtk+-3.24.41-r1").unwrap();
        assert_eq!(purl(&cpv, "amd64", "3/3"), "pkg:ebuild/x11-libs/gtk%2B@3.24.41-r1?arch=amd64&slot=3");
    }
}
