//! Fetches from binhosts: indexes and packages, verified and kept in a cache.

pub mod openpgp;
