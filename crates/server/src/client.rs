//! Who sends a request, as far as the queue must tell users apart.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use contract::hash::FieldHasher;

use crate::app::App;

/// The network a request came from: one IPv4 address, or the /64 that an IPv6 user has to himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(Option<IpAddr>);

/// The other end of the connection, put into each request when it is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl Client {
    fn of(address: IpAddr) -> Client {
        Client(Some(match address {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => IpAddr::V4(v4),
                None => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
            },
        }))
    }

    /// A name for the user from which no address can be found: a hash under a secret of the site. Empty when nothing is known.
    pub fn user(&self, secret: &str) -> String {
        let Some(address) = self.0 else {
            return String::new();
        };
        let mut hash = FieldHasher::new("hatchery user by address");
        hash.field(secret).field(address.to_string());
        hash.finish()
    }
}

impl FromRequestParts<Arc<App>> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        // A proxy adds the address it was asked from at the end; what stands before that, anybody could have written.
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back().filter(|_| app.config.behind_proxy);
        let last = forwarded.and_then(|value| value.to_str().ok()).and_then(|list| list.rsplit(',').next());
        if let Some(address) = last.and_then(|text| text.trim().parse().ok()) {
            return Ok(Client::of(address));
        }
        Ok(parts.extensions.get::<Peer>().map_or(Client(None), |peer| Client::of(peer.0.ip())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_network_and_cannot_be_found_from_its_name() {
        let client = |text: &str| Client::of(text.parse().unwrap());
        assert_eq!(client("2001:db8:1:2:aaaa::1"), client("2001:db8:1:2:bbbb::2"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        let name = client("192.0.2.1").user("secret");
        assert_ne!(name, client("192.0.2.1").user("another secret"));
        assert!(!name.contains("192"));
        assert_eq!(Client(None).user("secret"), "");
    }
}
