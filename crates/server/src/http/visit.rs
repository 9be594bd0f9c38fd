//! How a visitor wants pages: in which language, light or dark. A link says so, a cookie keeps it, and else the browser decides.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use super::query_field;
use crate::words::{self, Language};

/// How long a choice is kept. Seconds.
const KEPT: u32 = 365 * 86_400;
const LANGUAGE: &str = "language";
const LOOK: &str = "look";

/// Light, dark, or as the system has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Look {
    #[default]
    System,
    Light,
    Dark,
}

impl Look {
    const ALL: [Look; 3] = [Look::System, Look::Light, Look::Dark];

    fn name(self) -> &'static str {
        match self {
            Look::System => "system",
            Look::Light => "light",
            Look::Dark => "dark",
        }
    }

    fn named(name: &str) -> Option<Look> {
        Look::ALL.into_iter().find(|look| look.name() == name)
    }

    fn called(self) -> String {
        match self {
            Look::System => say!("Look as the system"),
            Look::Light => say!("Light look"),
            Look::Dark => say!("Dark look"),
        }
    }
}

/// A visitor's choices, and what of the address links of a choice have to keep.
#[derive(Clone, Debug, Default)]
struct Visit {
    look: Look,
    /// The query without the choices.
    query: String,
    path: String,
}

tokio::task_local! {
    static VISIT: Visit;
}

/// Answers a request in the visitor's language and look.
pub async fn answer(request: Request, next: Next) -> Response {
    let (language, visit, chosen) = wanted(&request);
    let mut response = words::speaking(language, VISIT.scope(visit, next.run(request))).await;
    for (name, value) in chosen {
        if let Ok(cookie) = HeaderValue::try_from(format!("{name}={value}; Path=/; Max-Age={KEPT}; SameSite=Lax; HttpOnly")) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

/// The language and the look that a request wants, and what of them was chosen by a link just now.
fn wanted(request: &Request) -> (Language, Visit, Vec<(&'static str, &'static str)>) {
    let (query, headers) = (request.uri().query(), request.headers());
    let chosen = |name: &str| query_field(query, name).filter(|_| request.method() == Method::GET);
    let language = chosen(LANGUAGE).and_then(|tag| Language::from_tag(&tag));
    let look = chosen(LOOK).and_then(|name| Look::named(&name));
    let choices = [language.map(|l| (LANGUAGE, l.tag())), look.map(|l| (LOOK, l.name()))];
    let accepted = || headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).and_then(Language::accepted);
    let language =
        language.or_else(|| cookie(headers, LANGUAGE).and_then(Language::from_tag)).or_else(accepted).unwrap_or_default();
    let look = look.or_else(|| cookie(headers, LOOK).and_then(Look::named)).unwrap_or_default();
    let others =
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(name, _)| name != LANGUAGE && name != LOOK);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
    let visit = Visit { look, query, path: request.uri().path().to_owned() };
    (language, visit, choices.into_iter().flatten().collect())
}

/// What the frame of every page says of itself, for `base.html`.
pub struct Frame {
    /// Tag of the language.
    pub language: &'static str,
    pub look: &'static str,
    pub menu: Vec<Entry>,
    pub languages: Vec<Choice>,
    pub looks: Vec<Choice>,
}

/// A link to the same page in another language or look.
pub struct Choice {
    pub address: String,
    pub tag: &'static str,
    pub text: String,
}

/// An entry of the menu.
pub struct Entry {
    pub address: &'static str,
    pub text: String,
    /// `aria-current`: this very page, or one that belongs to it.
    pub current: Option<&'static str>,
}

/// The menu, for somebody who is at a path.
fn menu(path: &str) -> Vec<Entry> {
    let entry = |address: &'static str, text, below: &[&str]| {
        let belongs = below.iter().any(|start| path.starts_with(start));
        let current = if path == address { Some("page") } else { belongs.then_some("true") };
        Entry { address, text, current }
    };
    vec![
        entry("/", say!("Order"), &["/orders"]),
        entry("/queue", say!("Queue"), &[]),
        entry("/stats", say!("Times"), &[]),
        entry("/docs", say!("Book"), &["/docs/"]),
        entry("/account", say!("Account"), &["/account/", "/log-in"]),
    ]
}

/// The frame, as the visitor wants it; for `{% let frame = frame!() %}`.
macro_rules! frame {
    () => {
        $crate::http::visit::Frame::wanted()
    };
}

impl Frame {
    pub fn wanted() -> Frame {
        let visit = VISIT.try_with(Clone::clone).unwrap_or_default();
        let language = words::language();
        let apart = if visit.query.is_empty() { "" } else { "&" };
        let choice = |name: &str, tag, text| Choice { address: format!("?{}{apart}{name}={tag}", visit.query), tag, text };
        let languages = Language::ALL.into_iter().filter(|other| *other != language);
        let looks = Look::ALL.into_iter().filter(|other| *other != visit.look);
        Frame {
            language: language.tag(),
            look: visit.look.name(),
            menu: menu(&visit.path),
            languages: languages.map(|other| choice(LANGUAGE, other.tag(), other.name().to_owned())).collect(),
            looks: looks.map(|other| choice(LOOK, other.name(), other.called())).collect(),
        }
    }
}

/// Whether a query says anything besides the language and the look.
pub fn asks_for_more(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name != LANGUAGE && name != LOOK)
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, v)| v)
}
