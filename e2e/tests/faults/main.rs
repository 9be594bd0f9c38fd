//! What goes wrong around a site and inside it: processes killed, networks cut, disks full, clocks that differ, mirrors that lie.

mod alone;
mod mirrors;
mod network;
mod shared;
