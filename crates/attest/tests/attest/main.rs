mod common;
mod documents;
mod glsa;
