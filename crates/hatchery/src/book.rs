//! The book of `docs/`, as the site serves it. The folder is an mdBook: `mdbook build` at the top makes the same from `book.toml`.

use std::collections::HashMap;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};
use server::{Book, Chapter};

macro_rules! files {
    ($folder:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!($folder, $name)))),*]
    };
}

/// Every text and picture of `docs/`, `SUMMARY.md` first.
const FILES: &[(&str, &str)] = files!("../../../docs/":
    "SUMMARY.md" "introduction.md" "first-image.md" "ordering.md" "presets.md" "formats.md" "use.md" "lock-files.md" "settings.md"
    "prefix.md" "attestation.md" "operating.md" "queue.md" "advice.md" "appliance.md" "extending.md" "security.md" "architecture.md"
    "api.md" "cli.md" "fresh.md" "carrying.md" "source-builds.md" "resolver.md" "composer.md" "benchmarks.md" "advice-year.svg");

/// What chapters include from outside `docs/`.
const INCLUDED: &[(&str, &str)] = files!("../../../": "ARCHITECTURE.md" "crates/image/tests/worked_format.rs"
    "crates/server/src/notices/worked.rs");

/// What is wrong with the book, for whoever writes it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    #[error("SUMMARY.md names {0}, which is not among the files of the book")]
    NoChapter(String),
    #[error("{chapter} includes {path}, which is not there")]
    NoInclude { chapter: String, path: String },
    #[error("{chapter} leads to {target}, which is not in the book")]
    DeadLink { chapter: String, target: String },
}

/// The whole book, its links checked.
pub fn book() -> Result<Book, BookError> {
    let summary = text_of("SUMMARY.md").unwrap_or_default();
    let mut chapters = Vec::new();
    let mut anchors = HashMap::new();
    for entry in entries(summary) {
        let source = text_of(&entry.file).ok_or_else(|| BookError::NoChapter(entry.file.clone()))?;
        let source = with_includes(&entry.file, source)?;
        let made = chapter(&source);
        anchors.insert(entry.file.clone(), made.anchors);
        chapters.push((entry, made.html, made.text, made.links));
    }
    let mut book = Book::default();
    for (entry, html, text, links) in chapters {
        if let Some(dead) = links.iter().find(|link| !leads_somewhere(&entry.file, link, &anchors)) {
            return Err(BookError::DeadLink { chapter: entry.file, target: dead.clone() });
        }
        book.chapters.push(Chapter { name: name_of(&entry.file).to_owned(), title: entry.title, part: entry.part, html, text });
    }
    book.pictures =
        FILES.iter().filter(|(name, _)| name.ends_with(".svg")).map(|(name, text)| ((*name).to_owned(), *text)).collect();
    Ok(book)
}

fn text_of(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(file, _)| *file == name).map(|(_, text)| *text)
}

fn name_of(file: &str) -> &str {
    file.strip_suffix(".md").unwrap_or(file)
}

/// A chapter as `SUMMARY.md` names it.
struct Entry {
    file: String,
    title: String,
    part: Option<String>,
}

/// The chapters in order: each link is one, and a heading below the first begins a part.
fn entries(summary: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut part, mut file, mut words) = (None, None, String::new());
    for event in Parser::new(summary) {
        match event {
            Event::Start(Tag::Heading { .. }) => words.clear(),
            Event::Start(Tag::Link { dest_url, .. }) => {
                words.clear();
                file = Some(dest_url.into_string());
            }
            Event::Text(text) | Event::Code(text) => words.push_str(&text),
            Event::End(TagEnd::Heading(HeadingLevel::H1)) if words != "Summary" => part = Some(words.clone()),
            Event::End(TagEnd::Link) => {
                if let Some(file) = file.take() {
                    entries.push(Entry { file, title: words.clone(), part: part.take() });
                }
            }
            _ => {}
        }
    }
    entries
}

/// Puts in what `{{#include PATH}}` and `{{#include PATH:ANCHOR}}` name, as mdBook does.
fn with_includes(chapter: &str, source: &str) -> Result<String, BookError> {
    let mut whole = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{{#include ") {
        let Some((name, after)) = after.split_once("}}") else { break };
        let missing = || BookError::NoInclude { chapter: chapter.to_owned(), path: name.to_owned() };
        let (path, anchor) = name.split_once(':').map_or((name, None), |(path, anchor)| (path, Some(anchor)));
        let path = path.strip_prefix("../").ok_or_else(missing)?;
        let (_, text) = INCLUDED.iter().find(|(file, _)| *file == path).ok_or_else(missing)?;
        whole += before;
        whole += &match anchor {
            Some(anchor) => anchored(text, anchor).ok_or_else(missing)?,
            None => (*text).to_owned(),
        };
        rest = after;
    }
    whole += rest;
    Ok(whole)
}

/// The lines between `ANCHOR: name` and `ANCHOR_END: name`, without those that only mark others.
fn anchored(text: &str, name: &str) -> Option<String> {
    let marks = |line: &str, word: &str| line.trim().strip_prefix("// ").and_then(|l| l.strip_prefix(word)) == Some(name);
    let mut lines = text.lines().skip_while(|line| !marks(line, "ANCHOR: ")).skip(1);
    let mut part = String::new();
    loop {
        let line = lines.next()?;
        if marks(line, "ANCHOR_END: ") {
            return Some(part.trim_end().to_owned());
        }
        if !line.trim().starts_with("// ANCHOR") {
            part += line;
            part += "\n";
        }
    }
}

/// A chapter's HTML, what is searched, the names of its headings, and where it leads.
struct Made {
    html: String,
    text: String,
    anchors: Vec<String>,
    links: Vec<String>,
}

fn chapter(source: &str) -> Made {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    let mut events: Vec<Event> = Parser::new_ext(source, options).collect();
    let anchors = name_headings(&mut events);
    let (mut links, mut text) = (Vec::new(), String::new());
    let events = events.into_iter().filter_map(|event| {
        if let Event::Text(words) | Event::Code(words) = &event {
            text += words;
        } else if !matches!(
            event,
            Event::Start(Tag::Emphasis | Tag::Strong | Tag::Link { .. })
                | Event::End(TagEnd::Emphasis | TagEnd::Strong | TagEnd::Link)
        ) {
            text.push(' ');
        }
        on_the_site(event, &mut links)
    });
    let mut made = String::new();
    html::push_html(&mut made, events);
    // A wide table scrolls by itself, and keyboards reach it.
    let made = made.replace("<table>", "<div class=\"wide\" tabindex=\"0\"><table>").replace("</table>", "</table></div>");
    let made = made.replace("<pre>", "<pre tabindex=\"0\">");
    Made { html: made, text, anchors, links }
}

/// An event as the site shows it: links by the site's addresses, and nothing of what is HTML in the source.
fn on_the_site<'a>(event: Event<'a>, links: &mut Vec<String>) -> Option<Event<'a>> {
    Some(match event {
        Event::Html(_) | Event::InlineHtml(_) | Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => return None,
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(words))) => {
            let language = words.split(',').next().unwrap_or_default().to_owned();
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language.into())))
        }
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let dest_url = address(link_type, dest_url, links);
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            let dest_url = address(link_type, dest_url, links);
            Event::Start(Tag::Image { link_type, dest_url, title, id })
        }
        other => other,
    })
}

/// Where a link of a file leads on the site; those into the book are noted.
fn address<'a>(kind: LinkType, target: CowStr<'a>, links: &mut Vec<String>) -> CowStr<'a> {
    if kind == LinkType::Email || target.contains("://") || target.starts_with('/') {
        return target;
    }
    links.push(target.to_string());
    let (file, anchor) = target.split_once('#').map_or((&*target, None), |(file, anchor)| (file, Some(anchor)));
    let page = match file {
        "" => String::new(),
        file => format!("/docs/{}", name_of(file)),
    };
    anchor.map_or(page.clone(), |anchor| format!("{page}#{anchor}")).into()
}

/// Whether a link into the book finds its chapter, heading or picture.
fn leads_somewhere(chapter: &str, link: &str, anchors: &HashMap<String, Vec<String>>) -> bool {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let file = if file.is_empty() { chapter } else { file };
    match (anchors.get(file), anchor) {
        (Some(headings), Some(anchor)) => headings.iter().any(|heading| heading == anchor),
        (Some(_), None) => true,
        (None, _) => file.ends_with(".svg") && text_of(file).is_some(),
    }
}

/// Gives every heading a name to lead to, made as mdBook makes it: letters and digits in lower case, hyphens for spaces, and a number
/// where it would be there twice.
fn name_headings(events: &mut [Event]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut open = None;
    let mut words = String::new();
    for at in 0..events.len() {
        match &events[at] {
            Event::Start(Tag::Heading { .. }) => {
                open = Some(at);
                words.clear();
            }
            Event::Text(text) | Event::Code(text) if open.is_some() => words.push_str(text),
            Event::End(TagEnd::Heading(_)) => {
                let plain = slug(&words);
                let again = names
                    .iter()
                    .filter(|n| {
                        **n == plain
                            || n.strip_prefix(&plain).is_some_and(|r| r.starts_with('-') && r[1..].parse::<u32>().is_ok())
                    })
                    .count();
                let name = if again == 0 { plain } else { format!("{plain}-{again}") };
                if let Some(Event::Start(Tag::Heading { id, .. })) = open.take().map(|start| &mut events[start]) {
                    *id = Some(name.clone().into());
                }
                names.push(name);
            }
            _ => {}
        }
    }
    names
}

fn slug(words: &str) -> String {
    let letters = words.trim().chars().filter_map(|c| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_is_whole() {
        let book = book().unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
        let mut there: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut named: Vec<String> = book.chapters.iter().map(|c| format!("{}.md", c.name)).collect();
        named.extend(book.pictures.iter().map(|(name, _)| name.clone()));
        named.push("SUMMARY.md".to_owned());
        there.sort();
        named.sort();
        assert_eq!(named, there, "docs/SUMMARY.md, the files of book.rs and docs/ name the same");
    }

    #[test]
    fn chapters_are_as_mdbook_shows_them() {
        let made = chapter(
            "# A *b*, `c`!\n\n## Same\n\n## Same\n\n[x](formats.md#disks) [y](#same) <b onclick=x>z</b>\n\n<!-- no -->\n",
        );
        assert_eq!(made.anchors, ["a-b-c", "same", "same-1"]);
        assert_eq!(made.links, ["formats.md#disks", "#same"]);
        assert!(made.html.contains(r##"<a href="/docs/formats#disks">x</a> <a href="#same">y</a> z"##), "{}", made.html);
        assert!(!made.html.contains("onclick") && !made.html.contains("no --"), "{}", made.html);
        assert_eq!(anchored("a\n// ANCHOR: x\n  b\n// ANCHOR: y\nc\n// ANCHOR_END: x\nd", "x").unwrap(), "  b\nc");
        assert_eq!(anchored("a\n// ANCHOR: x\nb", "x"), None);
    }

    #[test]
    fn a_summary_is_read_in_parts() {
        let read: Vec<_> = entries("# Summary\n\n[I](i.md)\n\n# Part\n\n- [A](a.md)\n  - [B `b`](b.md)\n")
            .into_iter()
            .map(|entry| (entry.file, entry.part))
            .collect();
        let part = Some("Part".to_owned());
        assert_eq!(read, [("i.md".to_owned(), None), ("a.md".to_owned(), part), ("b.md".to_owned(), None)]);
    }
}
