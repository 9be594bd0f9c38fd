//! OpenPGP for packages: a key to sign the ones we make, a keyring to check the ones we fetch.

mod gnupg;
mod sign;
mod verify;

pub use gnupg::GnupgHome;
pub use sign::SigningKey;
pub use verify::{Keyring, KeyringError};
