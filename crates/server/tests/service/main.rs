//! The service as its users and its workers meet it: a real server, spoken to over HTTP.

mod common;
mod documents;
mod fair;
mod keeping;
mod lease;
mod live;
mod mail;
mod orders;
mod pages;
mod wishes;
