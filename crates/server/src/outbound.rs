//! Requests that the server itself makes: to the storage, and to addresses that users name. No redirect is followed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{HOST, HeaderValue};
use axum::http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which addresses may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Any: the operator named the address.
    Any,
    /// Those of the public Internet alone: somebody else named the address.
    Public,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("“{0}” is not an address of http or https")]
    NoAddress(String),
    #[error("{host} has only addresses inside this network, where nothing is sent to")]
    Inside { host: String },
    #[error("{host} cannot be reached: {source}")]
    Unreachable { host: String, source: io::Error },
    #[error("{host} took too long")]
    TooSlow { host: String },
    #[error("{host} broke off: {source}")]
    BrokeOff { host: String, source: hyper::Error },
    #[error("{host} answered more than the {limit} bytes that are read")]
    TooLong { host: String, limit: usize },
}

/// Where a request goes.
struct Target {
    tls: bool,
    host: String,
    port: u16,
}

impl Target {
    fn of(uri: &Uri) -> Result<Target, OutboundError> {
        let no_address = || OutboundError::NoAddress(uri.to_string());
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(no_address()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(no_address)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Target { tls, host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
    }

    fn unreachable(&self, source: io::Error) -> OutboundError {
        OutboundError::Unreachable { host: self.host.clone(), source }
    }

    /// The addresses that may be connected to. The connection goes to one of just these, so that a name that is looked up again, with
    /// another answer, changes nothing.
    async fn addresses(&self, reach: Reach) -> Result<Vec<SocketAddr>, OutboundError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(|e| self.unreachable(e))?;
        let allowed: Vec<SocketAddr> = found.filter(|address| reach == Reach::Any || is_public(address.ip())).collect();
        if allowed.is_empty() { Err(OutboundError::Inside { host: self.host.clone() }) } else { Ok(allowed) }
    }

    async fn connect(&self, reach: Reach) -> Result<Box<dyn Stream>, OutboundError> {
        let addresses = self.addresses(reach).await?;
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|e| self.unreachable(e))?;
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let connector = native_tls::TlsConnector::new().map_err(|e| self.unreachable(io::Error::other(e)))?;
        let stream = tokio_native_tls::TlsConnector::from(connector).connect(&self.host, stream).await;
        Ok(Box::new(stream.map_err(|e| self.unreachable(io::Error::other(e)))?))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Sends a request whose address is its URI, and waits for the head of the answer.
pub async fn send(mut request: Request<Body>, reach: Reach, patience: Duration) -> Result<Response<Incoming>, OutboundError> {
    let target = Target::of(request.uri())?;
    let too_slow = || OutboundError::TooSlow { host: target.host.clone() };
    let broke_off = |source| OutboundError::BrokeOff { host: target.host.clone(), source };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, target.connect(reach)).await.map_err(|_| too_slow())??;
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str().rsplit('@').next().unwrap_or_default())
    {
        request.headers_mut().insert(HOST, host);
    }
    // What is written on the line is the path alone (RFC 9112, section 3.2.1).
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
    // The connection serves this one request, and ends when the answer was read or dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an outgoing connection broke off");
        }
    });
    tokio::time::timeout(patience, sender.send_request(request)).await.map_err(|_| too_slow())?.map_err(broke_off)
}

/// Reads the body of an answer, if it is not longer than `limit` bytes.
pub async fn read(host: &str, answer: Response<Incoming>, limit: usize, patience: Duration) -> Result<Vec<u8>, OutboundError> {
    let host = host.to_owned();
    let whole = async {
        let mut stream = Body::new(answer.into_body()).into_data_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| OutboundError::Unreachable { host: host.clone(), source: io::Error::other(e) })?;
            if bytes.len() + chunk.len() > limit {
                return Err(OutboundError::TooLong { host: host.clone(), limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(patience, whole).await.map_err(|_| OutboundError::TooSlow { host: host.clone() })?
}

/// Whether an address is one of the public Internet: not of this machine or network, not shared, documented, multicast or reserved (the
/// IANA special-purpose registries). Addresses that carry an IPv4 address inside are judged by that.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match carried(v6) {
            Some(v4) => is_public_v4(v4),
            None => {
                let [first, second, ..] = v6.segments();
                // Global unicast (2000::/3) without documentation, benchmarking, ORCHID and 6to4 and Teredo, which lead elsewhere.
                (first & 0xe000) == 0x2000
                    && first != 0x2002
                    && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
                    && first != 0x3fff
            }
        },
    }
}

/// The IPv4 address inside a mapped (::ffff:0:0/96), compatible (::/96) or translated (64:ff9b::/96) one.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = u128::from(address);
    let last = Ipv4Addr::from(u32::try_from(bits & 0xffff_ffff).unwrap_or(0));
    let prefix = bits >> 32;
    (prefix == 0xffff || prefix == 0 || prefix == (0x0064_ff9b_u128 << 64)).then_some(last)
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99);
    !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        let public = |text: &str| is_public(text.parse().unwrap());
        for good in [
            "9.9.9.9",
            "100.63.255.255",
            "172.32.0.1",
            "2620:fe::fe",
            "2001:4860:4860::8888",
            "::ffff:9.9.9.9",
            "64:ff9b::909:909",
        ] {
            assert!(public(good), "{good}");
        }
        let bad = [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2001::1",
            "fec0::1",
            "100::1",
        ];
        for bad in bad {
            assert!(!public(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused_before_anything_is_sent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"] {
            let request = Request::get(format!("http://{host}:{port}/")).body(Body::empty()).unwrap();
            let error = send(request, Reach::Public, Duration::from_secs(5)).await.unwrap_err();
            assert!(matches!(error, OutboundError::Inside { .. }), "{host}: {error}");
        }
        for bad in ["ftp://example.org/", "/only/a/path"] {
            let request = Request::get(bad).body(Body::empty()).unwrap();
            assert!(matches!(send(request, Reach::Any, Duration::from_secs(5)).await, Err(OutboundError::NoAddress(_))), "{bad}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(nobody.is_err(), "nothing was connected to");
    }
}
