//! Who sends a request: a user known by the token that the operator gave out, or else by the network it came from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use contract::hash::FieldHasher;

use crate::app::App;
use crate::db::TokenRow;
use crate::http::Problem;
use crate::secret;

/// What a browser that logged in with a token holds.
pub const COOKIE: &str = "hatchery_user";
/// What all tokens that are given out begin with.
const TOKEN_PREFIX: &str = "hatchery_";

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// One IPv4 address, or the /64 that an IPv6 user has to himself.
    network: Option<IpAddr>,
    /// The token that was shown.
    pub token: Option<TokenRow>,
}

/// The other end of the connection, put into each request when it is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What is kept of a token.
pub fn token_hash(token: &str) -> String {
    let mut hash = FieldHasher::new("hatchery token");
    hash.field(token);
    hash.finish()
}

/// What a browser holds that logged in with a token. Not the token itself; it ends when the token is taken back.
pub fn session(site: &str, token: &TokenRow) -> String {
    let mut hash = FieldHasher::new("hatchery user session");
    hash.field(site).field(&token.hash);
    format!("{}:{}", token.name, hash.finish())
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
        Client { network: Some(network), token: None }
    }

    /// A name for the user from which no address can be found: a hash under a secret of the site. Empty when nothing is known.
    pub fn user(&self, secret: &str) -> String {
        if let Some(token) = &self.token {
            let mut hash = FieldHasher::new("hatchery user by token");
            hash.field(secret).field(&token.name);
            return hash.finish();
        }
        let Some(address) = self.network else {
            return String::new();
        };
        let mut hash = FieldHasher::new("hatchery user by address");
        hash.field(secret).field(address.to_string());
        hash.finish()
    }
}

/// The token a request shows, if it is one that was given out: in `Authorization`, or by the cookie of a log-in.
pub async fn token_of(app: &App, headers: &HeaderMap) -> Result<Option<TokenRow>, Problem> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(shown) = shown.and_then(|s| s.strip_prefix("Bearer ")).filter(|token| token.starts_with(TOKEN_PREFIX)) {
        let token = app.db.token(&token_hash(shown)).await?;
        let wrong = || Problem::new(StatusCode::UNAUTHORIZED, "This token is not known here; it may have been taken back.");
        return token.map(Some).ok_or_else(wrong);
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let Some((name, held)) = pairs.find(|(name, _)| *name == COOKIE).and_then(|(_, held)| Some((held.split_once(':')?.0, held)))
    else {
        return Ok(None);
    };
    let token = app.db.token_named(name).await?;
    Ok(token.filter(|token| secret::same(&session(&app.secret, token), held)))
}

impl FromRequestParts<Arc<App>> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let token = token_of(app, &parts.headers).await?;
        // A proxy adds the address it was asked from at the end; what stands before that, anybody could have written.
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back().filter(|_| app.config.behind_proxy);
        let last = forwarded.and_then(|value| value.to_str().ok()).and_then(|list| list.rsplit(',').next());
        let client = match last.and_then(|text| text.trim().parse().ok()) {
            Some(address) => Client::of(address),
            None => parts.extensions.get::<Peer>().map_or(Client { network: None, token: None }, |peer| Client::of(peer.0.ip())),
        };
        Ok(Client { token, ..client })
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
        assert_eq!(Client { network: None, token: None }.user("secret"), "");
    }

    #[test]
    fn whoever_shows_a_token_is_the_same_user_everywhere() {
        let token = TokenRow { name: "larry".into(), role: Role::User, created: 0, hash: token_hash("hatchery_1") };
        let with = |address: &str| Client { token: Some(token.clone()), ..Client::of(address.parse().unwrap()) };
        assert_eq!(with("192.0.2.1").user("secret"), with("192.0.2.2").user("secret"));
        let renewed = TokenRow { hash: token_hash("hatchery_2"), ..token.clone() };
        assert_ne!(session("site", &token), session("site", &renewed), "a session ends with its token");
    }
}
