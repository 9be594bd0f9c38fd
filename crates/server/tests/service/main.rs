//! The service as its users and its workers meet it: a real server, spoken to over HTTP.

mod accounts;
mod api;
mod backend;
mod binhosts;
mod carry;
mod common;
mod disk;
mod documents;
mod fair;
mod faults;
mod fresh;
mod keeping;
mod lease;
mod limits;
mod live;
mod look;
mod mail;
mod notices;
mod oidc;
mod orders;
mod pages;
mod reports;
mod services;
mod shared;
mod warm;
mod wishes;
