//! Who sends a request: a user known by an account or by a token that the operator gave out, or else by the network it came from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use contract::hash::FieldHasher;

use crate::accounts;
use crate::app::App;
use crate::config::Config;
use crate::db::{AccountRow, Role, TokenRow};
use crate::http::Problem;
use crate::secret;

/// What a browser that logged in with a token holds.
pub const COOKIE: &str = "hatchery_user";
/// What all tokens that are given out begin with.
pub const TOKEN_PREFIX: &str = "hatchery_";

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// One IPv4 address, or the /64 that an IPv6 user has to himself.
    network: Option<IpAddr>,
    pub who: Who,
}

/// How a sender is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Not at all.
    Nobody,
    /// By a token that the operator gave out.
    Token(TokenRow),
    /// By an account, in a browser that is logged in.
    Account(Box<AccountRow>),
    /// By an account's token, which a program shows. It lets order, and is no operator's.
    Program(Box<AccountRow>),
}

impl Who {
    /// What the sender may do.
    pub fn role(&self, config: &Config) -> Role {
        match self {
            Who::Token(token) => token.role,
            Who::Account(account) => accounts::role(config, account),
            Who::Nobody | Who::Program(_) => Role::User,
        }
    }

    /// Whether the sender may order while only invited users may.
    pub fn is_invited(&self, config: &Config) -> bool {
        match self {
            Who::Nobody => false,
            Who::Token(_) => true,
            Who::Account(account) | Who::Program(account) => accounts::is_invited(config, account),
        }
    }

    /// The sender's account.
    pub fn account(&self) -> Option<&AccountRow> {
        match self {
            Who::Nobody | Who::Token(_) => None,
            Who::Account(account) | Who::Program(account) => Some(account),
        }
    }
}

/// The other end of the connection, put into each request when it is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What is kept of a token.
pub fn token_hash(token: &str) -> String {
    hash("hatchery token", &[token])
}

/// What a browser holds that logged in with a token. Not the token itself; it ends when the token is taken back.
pub fn session(site: &str, token: &TokenRow) -> String {
    format!("{}:{}", token.name, hash("hatchery user session", &[site, &token.hash]))
}

/// The link to log in that follows from a nonce. Only who knows the site's secret finds it.
pub fn log_in_link(site: &str, nonce: &str) -> String {
    hex::encode(secret::mac(site.as_bytes(), &[b"hatchery link to log in\0", nonce.as_bytes()]))
}

fn hash(domain: &str, fields: &[&str]) -> String {
    let mut hash = FieldHasher::new(domain);
    for field in fields {
        hash.field(field);
    }
    hash.finish()
}

/// A cookie of a request.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
}

impl App {
    /// Whether browsers reach the site by https, so that cookies are for that alone.
    pub fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// The name of the cookie of accounts' sessions. A name with this prefix is taken by browsers from this very host alone (RFC 6265bis).
    pub fn session_cookie(&self) -> &'static str {
        if self.is_secure() { "__Host-hatchery_session" } else { "hatchery_session" }
    }
}

impl Client {
    fn of(address: IpAddr) -> Client {
        let network = match address {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => IpAddr::V4(v4),
                None => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
            },
        };
        Client { network: Some(network), who: Who::Nobody }
    }

    /// A name for the user from which nobody can be found: a hash under a secret of the site. Empty when nothing is known.
    pub fn user(&self, secret: &str) -> String {
        match &self.who {
            Who::Token(token) => hash("hatchery user by token", &[secret, &token.name]),
            Who::Account(account) | Who::Program(account) => hash("hatchery user by account", &[secret, &account.id]),
            Who::Nobody => self.address(secret),
        }
    }

    /// The same for the network alone, whoever it is that asks from there.
    pub fn address(&self, secret: &str) -> String {
        self.network.map(|address| hash("hatchery user by address", &[secret, &address.to_string()])).unwrap_or_default()
    }
}

/// How the sender of a request is known: by a token in `Authorization`, or by the cookie of a log-in.
pub async fn who(app: &App, headers: &HeaderMap) -> Result<Who, Problem> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(shown) = shown.and_then(|s| s.strip_prefix("Bearer ")).filter(|token| token.starts_with(TOKEN_PREFIX)) {
        let hash = token_hash(shown);
        if let Some(token) = app.db.token(&hash).await? {
            return Ok(Who::Token(token));
        }
        let account = app.db.account_of_token(&hash).await?;
        let wrong = || Problem::new(StatusCode::UNAUTHORIZED, "This token is not known here; it may have been taken back.");
        return account.map(|account| Who::Program(Box::new(account))).ok_or_else(wrong);
    }
    if let Some(held) = cookie(headers, app.session_cookie())
        && let Some(session) = app.db.session(&token_hash(held)).await?
    {
        return Ok(Who::Account(Box::new(session.account)));
    }
    let Some((name, held)) = cookie(headers, COOKIE).and_then(|held| Some((held.split_once(':')?.0, held))) else {
        return Ok(Who::Nobody);
    };
    let token = app.db.token_named(name).await?.filter(|token| secret::same(&session(&app.secret, token), held));
    Ok(token.map_or(Who::Nobody, Who::Token))
}

impl FromRequestParts<Arc<App>> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let who = who(app, &parts.headers).await?;
        // A proxy adds the address it was asked from at the end; what stands before that, anybody could have written.
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back().filter(|_| app.config.behind_proxy);
        let last = forwarded.and_then(|value| value.to_str().ok()).and_then(|list| list.rsplit(',').next());
        let network = match last.and_then(|text| text.trim().parse().ok()) {
            Some(address) => Client::of(address).network,
            None => parts.extensions.get::<Peer>().and_then(|peer| Client::of(peer.0.ip()).network),
        };
        Ok(Client { network, who })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Role;

    #[test]
    fn a_user_is_a_network_and_cannot_be_found_from_its_name() {
        let client = |text: &str| Client::of(text.parse().unwrap());
        assert_eq!(client("2001:db8:1:2:aaaa::1"), client("2001:db8:1:2:bbbb::2"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        let name = client("192.0.2.1").user("secret");
        assert_ne!(name, client("192.0.2.1").user("another secret"));
        assert!(!name.contains("192"));
        assert_eq!(Client { network: None, who: Who::Nobody }.user("secret"), "");
    }

    #[test]
    fn whoever_shows_a_token_is_the_same_user_everywhere() {
        let token = TokenRow { name: "larry".into(), role: Role::User, created: 0, hash: token_hash("hatchery_1") };
        let with = |address: &str| Client { who: Who::Token(token.clone()), ..Client::of(address.parse().unwrap()) };
        assert_eq!(with("192.0.2.1").user("secret"), with("192.0.2.2").user("secret"));
        let renewed = TokenRow { hash: token_hash("hatchery_2"), ..token.clone() };
        assert_ne!(session("site", &token), session("site", &renewed), "a session ends with its token");
    }
}
