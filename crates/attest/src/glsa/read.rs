//! Reading one advisory (GLSA DTD, https://www.gentoo.org/dtd/glsa.dtd).

use gentoo::atom::Operator;
use gentoo::version::Version;
use roxmltree::{Document, Node, ParsingOptions};

use super::{Advisory, Affected, Range, Relation};

/// Largest advisory that is read, in bytes; real ones stay below 64 KiB.
pub(super) const MAX_ADVISORY: usize = 4 << 20;
/// Most XML nodes of an advisory.
const MAX_NODES: u32 = 100_000;

/// Why an advisory was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlsaError {
    #[error("it is longer than {MAX_ADVISORY} bytes")]
    TooLong,
    #[error("it is no well-formed XML: {0}")]
    Xml(String),
    #[error("its root is not <glsa> with an id")]
    NoGlsa,
    #[error("<{0}> is missing")]
    Missing(&'static str),
    #[error("“{0}” is not the name of a package")]
    Package(String),
    #[error("range “{0}” is none of le, lt, eq, gt, ge, rle, rlt, rgt and rge")]
    Range(String),
    #[error("“{0}” is not a version")]
    Version(String),
    #[error("“{0}” is not a list of architectures")]
    Arch(String),
}

pub(super) fn advisory(text: &str) -> Result<Advisory, GlsaError> {
    if text.len() > MAX_ADVISORY {
        return Err(GlsaError::TooLong);
    }
    let options = ParsingOptions { allow_dtd: true, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|e| GlsaError::Xml(e.to_string()))?;
    let root = document.root_element();
    let id = root.attribute("id").filter(|id| root.has_tag_name("glsa") && !id.is_empty()).ok_or(GlsaError::NoGlsa)?;
    let affected = child(root, "affected")?;
    let packages = affected.children().filter(|node| node.has_tag_name("package")).map(package).collect::<Result<_, _>>()?;
    Ok(Advisory {
        id: id.to_owned(),
        title: words(child(root, "title")?),
        synopsis: words(child(root, "synopsis")?),
        announced: words(child(root, "announced")?),
        revised: words(child(root, "revised")?),
        severity: child(root, "impact")?.attribute("type").unwrap_or_default().to_owned(),
        affected: packages,
    })
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> Result<Node<'a, 'i>, GlsaError> {
    node.children().find(|child| child.has_tag_name(name)).ok_or(GlsaError::Missing(name))
}

/// The text of a node with its white space made single.
fn words(node: Node<'_, '_>) -> String {
    let text: String = node.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn package(node: Node<'_, '_>) -> Result<Affected, GlsaError> {
    let name = node.attribute("name").unwrap_or_default().trim();
    let (category, package) = name.split_once('/').ok_or_else(|| GlsaError::Package(name.to_owned()))?;
    if !gentoo::names::is_category(category) || !gentoo::names::is_package(package) {
        return Err(GlsaError::Package(name.to_owned()));
    }
    let arch = node.attribute("arch").unwrap_or("*");
    let is_arch = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_ ".contains(&b);
    let arches = match arch {
        "*" => None,
        list if !list.is_empty() && list.bytes().all(is_arch) => Some(list.split_whitespace().map(str::to_owned).collect()),
        other => return Err(GlsaError::Arch(other.to_owned())),
    };
    let ranges = |kind: &str| node.children().filter(|n| n.has_tag_name(kind)).map(range).collect::<Result<Vec<_>, _>>();
    Ok(Affected { package: name.to_owned(), arches, vulnerable: ranges("vulnerable")?, unaffected: ranges("unaffected")? })
}

fn range(node: Node<'_, '_>) -> Result<Range, GlsaError> {
    let name = node.attribute("range").unwrap_or_default();
    let text = words(node);
    let parse = |text: &str| Version::parse(text).map_err(|_| GlsaError::Version(text.to_owned()));
    // Some real advisories write the slot behind the version, and Portage makes the same atom of that.
    let (text, written_slot) = text.split_once(':').map_or((text.as_str(), None), |(version, slot)| (version, Some(slot)));
    let (relation, version) = match (name, text.strip_suffix('*')) {
        ("eq", Some(prefix)) => (Relation::Of(Operator::Prefix), parse(prefix)?),
        _ => (relation(name)?, parse(text)?),
    };
    let slot = node.attribute("slot").or(written_slot).map(str::trim).filter(|slot| !slot.is_empty() && *slot != "*");
    Ok(Range { relation, version, slot: slot.map(str::to_owned) })
}

fn relation(name: &str) -> Result<Relation, GlsaError> {
    Ok(match name {
        "le" => Relation::Of(Operator::LessEqual),
        "lt" => Relation::Of(Operator::Less),
        "eq" => Relation::Of(Operator::Equal),
        "gt" => Relation::Of(Operator::Greater),
        "ge" => Relation::Of(Operator::GreaterEqual),
        "rle" => Relation::RevisionOf(Operator::LessEqual),
        "rlt" => Relation::RevisionOf(Operator::Less),
        "rgt" => Relation::RevisionOf(Operator::Greater),
        "rge" => Relation::RevisionOf(Operator::GreaterEqual),
        other => return Err(GlsaError::Range(other.to_owned())),
    })
}
