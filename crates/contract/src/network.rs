//! Fixed addresses of an image's network. Every value is hostile until `Network::check` passed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::order::OrderError;

const MAX_ADDRESSES: usize = 16;

/// Fixed addresses of one wired interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The interface's name, like `eth0` or `enp1s0`; none means the first wired one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Like `192.0.2.10/24`, `2001:db8::10/64`; at least one.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<InterfaceAddress>,
    /// The default routes, at most one of IPv4 and one of IPv6.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<IpAddr>,
}

/// An address with the length of its network's prefix, written `192.0.2.10/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceAddress {
    pub ip: IpAddr,
    /// Bits: 1 to 32 of IPv4, 1 to 128 of IPv6.
    pub prefix: u8,
}

impl Network {
    pub(crate) fn check(&self) -> Result<(), OrderError> {
        let fail = |message: &str| Err(OrderError::new("system.network", message));
        if self.interface.as_ref().is_some_and(|name| {
            name.len() > 15
                || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
                || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        }) {
            return fail("an interface has a name like eth0 or enp1s0, of at most 15 characters");
        }
        if self.addresses.is_empty() {
            return fail("give an address like 192.0.2.10/24, or leave the network out to use DHCP");
        }
        if self.addresses.len() > MAX_ADDRESSES || self.dns.len() > MAX_ADDRESSES {
            return fail("at most 16 addresses and 16 name servers can be given");
        }
        if self.gateways.iter().filter(|g| g.is_ipv4()).count() > 1 || self.gateways.iter().filter(|g| g.is_ipv6()).count() > 1 {
            return fail("there is one default route of IPv4 and one of IPv6 at most");
        }
        if self.gateways.iter().any(|g| !self.addresses.iter().any(|a| a.ip.is_ipv4() == g.is_ipv4())) {
            return fail("a gateway needs an address of its own kind, IPv4 or IPv6");
        }
        Ok(())
    }
}

impl FromStr for InterfaceAddress {
    type Err = OrderError;
    fn from_str(text: &str) -> Result<Self, OrderError> {
        let parsed = text.split_once('/').and_then(|(ip, prefix)| Some((ip.parse().ok()?, prefix.parse().ok()?)));
        let bits = |ip: &IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        match parsed {
            Some((ip, prefix)) if (1..=bits(&ip)).contains(&prefix) => Ok(InterfaceAddress { ip, prefix }),
            _ => Err(OrderError::new(
                "system.network",
                format!("“{}” is not an address with its prefix, like 192.0.2.10/24", text.escape_debug()),
            )),
        }
    }
}

impl TryFrom<String> for InterfaceAddress {
    type Error = OrderError;
    fn try_from(text: String) -> Result<Self, OrderError> {
        text.parse()
    }
}

impl From<InterfaceAddress> for String {
    fn from(address: InterfaceAddress) -> String {
        address.to_string()
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}
