//! Names and addresses: the host's name, and a DHCP client for every wired interface.

use super::files::Files;
use super::init::Init;
use crate::ComposeError;

/// OpenRC and busybox alone: starts a DHCP client on every interface that is not the loopback.
const UDHCPC_SERVICE: &str = include_str!("udhcpc.initd");
/// What busybox's DHCP client runs when it has got an address.
const UDHCPC_SCRIPT: &str = include_str!("udhcpc.script");

const NETWORKD: &str = "# Written by Hatchery: every wired interface asks for its address by DHCP.
[Match]
Name=en* eth*

[Network]
DHCP=yes
";

/// Services that bring up the network by themselves; whoever orders one of them has decided.
const NETWORK_SERVICES: &[&str] =
    &["NetworkManager", "dhcpcd", "connman", "systemd-networkd", "network", "networking", "wicd", "iwd"];

/// Sets the host's name: its first part is the name, all of it is in /etc/hosts.
pub(super) fn set_hostname(files: &mut Files, hostname: Option<&str>, init: Option<Init>) -> Result<(), ComposeError> {
    let full = hostname.unwrap_or("gentoo");
    let short = full.split('.').next().unwrap_or(full);
    if init == Some(Init::OpenRc) {
        files.assign("etc/conf.d/hostname", "hostname", short)?;
    }
    files.write("etc/hostname", &format!("{short}\n"), 0o644)?;
    let names = if full == short { short.to_string() } else { format!("{full} {short}") };
    let old = files.text("etc/hosts")?.unwrap_or_default();
    let is_loopback = |line: &&str| line.split_whitespace().next().is_some_and(|word| word == "127.0.0.1" || word == "::1");
    let mut text: String = old.lines().filter(|line| !is_loopback(line)).map(|line| format!("{line}\n")).collect();
    text.push_str(&format!("127.0.0.1\t{names} localhost\n::1\t\t{names} localhost\n"));
    files.write("etc/hosts", &text, 0o644)
}

/// Lets whatever the image has bring up the network: the service asked for, or the first one there is.
pub(super) fn set_up_network(files: &mut Files, init: Option<Init>, services: &[String]) -> Result<(), ComposeError> {
    let Some(init) = init else { return Ok(()) };
    write_resolv_conf(files, init)?;
    let decided = services.iter().any(|name| NETWORK_SERVICES.contains(&name.as_str()) || name.starts_with("net."));
    if services.iter().any(|name| name == "systemd-networkd") {
        files.write("etc/systemd/network/50-hatchery-dhcp.network", NETWORKD, 0o644)?;
    }
    if decided || NETWORK_SERVICES.iter().any(|name| init.is_enabled(files, name)) {
        return Ok(());
    }
    match init {
        _ if init.has(files, "NetworkManager") => init.enable(files, "NetworkManager"),
        Init::Systemd if init.has(files, "systemd-networkd") => {
            files.write("etc/systemd/network/50-hatchery-dhcp.network", NETWORKD, 0o644)?;
            init.enable(files, "systemd-networkd")
        }
        _ if init.has(files, "dhcpcd") => init.enable(files, "dhcpcd"),
        Init::OpenRc if files.first_file(&["bin/busybox", "usr/bin/busybox", "sbin/busybox"]).is_some() => {
            files.write("etc/init.d/hatchery-dhcp", UDHCPC_SERVICE, 0o755)?;
            files.write("usr/lib/hatchery/udhcpc", UDHCPC_SCRIPT, 0o755)?;
            init.enable(files, "hatchery-dhcp")
        }
        Init::OpenRc if init.has(files, "net.lo") => {
            files.assign("etc/conf.d/net", "config_eth0", "dhcp")?;
            init.enable(files, "net.eth0")
        }
        _ => {
            files.say("Nothing in the image brings up the network: add net-misc/dhcpcd.");
            Ok(())
        }
    }
}

/// Name servers come from DHCP; those of the machine that made a package do not belong in an image.
fn write_resolv_conf(files: &mut Files, init: Init) -> Result<(), ComposeError> {
    if init == Init::Systemd && init.is_enabled(files, "systemd-resolved") {
        return files.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
    }
    files.write("etc/resolv.conf", "# Filled in by the DHCP client.\n", 0o644)
}
