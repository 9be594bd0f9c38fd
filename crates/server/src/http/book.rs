//! The book: chapters that whoever starts the server hands over, as HTML.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::pages::render;
use super::problem::Problem;
use super::{assets, query_field};

/// What is served under `/docs`. Trusted: its HTML is given out as it is.
#[derive(Debug, Default)]
pub struct Book {
    /// In reading order; the first one is `/docs` itself.
    pub chapters: Vec<Chapter>,
    /// Names and texts of SVG pictures that chapters show.
    pub pictures: Vec<(String, &'static str)>,
}

/// One page of the book.
#[derive(Debug)]
pub struct Chapter {
    /// The last part of its address.
    pub name: String,
    pub title: String,
    /// The part of the book that begins with this chapter.
    pub part: Option<String>,
    pub html: String,
    /// Its words without markup, which searches look through.
    pub text: String,
}

#[derive(Template)]
#[template(path = "chapter.html")]
struct ChapterPage<'a> {
    version: &'a str,
    book: &'a Book,
    chapter: &'a Chapter,
    before: Option<&'a Chapter>,
    after: Option<&'a Chapter>,
}

#[derive(Template)]
#[template(path = "book_search.html")]
struct SearchPage<'a> {
    version: &'a str,
    book: &'a Book,
    query: &'a str,
    hits: Vec<Hit<'a>>,
}

struct Hit<'a> {
    chapter: &'a Chapter,
    excerpt: String,
}

/// The routes of the book.
pub fn routes<S: Clone + Send + Sync + 'static>(book: Book) -> Router<S> {
    Router::new()
        .route("/docs", get(first))
        .route("/docs/", get(|| async { Redirect::permanent("/docs") }))
        .route("/docs/search", get(search))
        .route("/docs/{name}", get(named))
        .with_state(Arc::new(book))
}

async fn first(State(book): State<Arc<Book>>) -> Response {
    page(&book, 0)
}

async fn named(State(book): State<Arc<Book>>, Path(name): Path<String>) -> Response {
    if let Some((_, picture)) = book.pictures.iter().find(|(n, _)| *n == name) {
        let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "public, max-age=3600")];
        return (headers, *picture).into_response();
    }
    match book.chapters.iter().position(|chapter| chapter.name == name) {
        Some(at) => page(&book, at),
        None => no_chapter(),
    }
}

fn page(book: &Book, at: usize) -> Response {
    let Some(chapter) = book.chapters.get(at) else { return no_chapter() };
    let before = at.checked_sub(1).and_then(|before| book.chapters.get(before));
    let after = book.chapters.get(at + 1);
    render(StatusCode::OK, &ChapterPage { version: &assets::VERSION, book, chapter, before, after })
}

fn no_chapter() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "The book has no such chapter; its contents are at /docs.").into_response()
}

/// `GET /docs/search?q=`: the chapters in which all words stand.
async fn search(State(book): State<Arc<Book>>, RawQuery(query): RawQuery) -> Response {
    let query = query_field(query.as_deref(), "q").unwrap_or_default();
    let hits = book.find(&query);
    render(StatusCode::OK, &SearchPage { version: &assets::VERSION, book: &book, query: &query, hits })
}

/// Characters around the first word found.
const EXCERPT: usize = 160;

impl Book {
    /// Those with a word in the title come first.
    fn find(&self, query: &str) -> Vec<Hit<'_>> {
        let words: Vec<String> = query.split_whitespace().take(8).map(str::to_lowercase).collect();
        let Some(first) = words.first() else { return Vec::new() };
        let mut hits: Vec<(bool, Hit)> = Vec::new();
        for chapter in &self.chapters {
            let (title, text) = (chapter.title.to_lowercase(), chapter.text.to_lowercase());
            if words.iter().all(|word| title.contains(word) || text.contains(word)) {
                let in_title = words.iter().any(|word| title.contains(word));
                hits.push((!in_title, Hit { chapter, excerpt: excerpt(&chapter.text, first) }));
            }
        }
        hits.sort_by_key(|(later, _)| *later);
        hits.into_iter().map(|(_, hit)| hit).collect()
    }
}

/// The text around a word, by whole words.
fn excerpt(text: &str, word: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|w| w.to_lowercase().contains(word)).unwrap_or(0);
    let mut shown = String::new();
    for word in words.iter().skip(at.saturating_sub(8)) {
        if shown.len() + word.len() > EXCERPT {
            break;
        }
        shown.push_str(word);
        shown.push(' ');
    }
    shown.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chapter(name: &str, title: &str, text: &str) -> Chapter {
        Chapter { name: name.into(), title: title.into(), part: None, html: String::new(), text: text.into() }
    }

    #[test]
    fn all_words_have_to_be_there_and_titles_come_first() {
        let chapters =
            vec![chapter("a", "Queue", "whose turn it is; disks too"), chapter("b", "Disks", "they grow at each turn")];
        let book = Book { chapters, pictures: Vec::new() };
        let names = |query| book.find(query).iter().map(|hit| hit.chapter.name.clone()).collect::<Vec<_>>();
        assert_eq!(names("Disks turn"), ["b", "a"]);
        assert_eq!(names("grow"), ["b"]);
        assert!(names("nothing").is_empty() && names(" ").is_empty());
        assert_eq!(book.find("turn")[0].excerpt, "whose turn it is; disks too");
    }
}
