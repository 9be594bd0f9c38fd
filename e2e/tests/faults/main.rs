//! What goes wrong around a site and inside it: processes killed, networks cut, mirrors that lie.

mod alone;
mod mirrors;
mod network;
