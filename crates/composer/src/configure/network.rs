//! Names and addresses: the host's name, and DHCP or fixed addresses by whatever the image has for it.

use contract::{InterfaceAddress, Network};

use super::files::Files;
use super::init::Init;
use crate::ComposeError;
use crate::error::Setting;

/// OpenRC and busybox alone: starts a DHCP client on every interface that is not the loopback.
const UDHCPC_SERVICE: &str = include_str!("udhcpc.initd");
/// What busybox's DHCP client runs when it has got an address.
const UDHCPC_SCRIPT: &str = include_str!("udhcpc.script");
/// OpenRC and an `ip` alone: gives one interface its addresses.
const STATIC_SERVICE: &str = include_str!("network.initd");

const WRITTEN: &str = "# Written by Hatchery, as ordered.\n";
const NETWORKD_DHCP: &str = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n";

/// What brings up the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "it is a program's name")]
enum Manager {
    NetworkManager,
    Networkd,
    Dhcpcd,
    /// OpenRC's net.* scripts.
    Netifrc,
    /// A service of ours that calls busybox's or iproute2's programs.
    Plain,
}

/// Services that bring up the network and that Hatchery knows how to configure.
const MANAGERS: &[(&str, Manager)] =
    &[("NetworkManager", Manager::NetworkManager), ("systemd-networkd", Manager::Networkd), ("dhcpcd", Manager::Dhcpcd)];
/// Further ones; whoever orders one of them configures it.
const OTHER_MANAGERS: &[&str] = &["connman", "network", "networking", "wicd", "iwd"];

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

/// The services to start: the preset's and the order's own. Where an order names one that brings up the network, those of the preset that
/// would do so as well give way, as two of them would take turns with addresses and name servers.
pub(super) fn services(files: &mut Files, of_preset: &[String], own: &[String]) -> Vec<String> {
    let brings_up_network = |name: &String| {
        let known = MANAGERS.iter().map(|(name, _)| *name).chain(OTHER_MANAGERS.iter().copied());
        known.into_iter().any(|known| known == name) || name.strip_prefix("net.").is_some_and(|interface| interface != "lo")
    };
    let chosen = own.iter().find(|name| brings_up_network(name));
    let (kept, given_way): (Vec<&String>, Vec<&String>) =
        of_preset.iter().partition(|name| chosen.is_none() || own.contains(name) || !brings_up_network(name));
    if let Some(chosen) = chosen.filter(|_| !given_way.is_empty()) {
        let names: Vec<&str> = given_way.iter().map(|name| name.as_str()).collect();
        files.say(format!("{chosen} brings up the network, so the preset's {} is not started.", names.join(", ")));
    }
    kept.into_iter().chain(own).cloned().collect()
}

/// Lets whatever the image has bring up the network: the service asked for, or the first one there is.
///
/// # Errors
/// Fixed addresses that the service in charge cannot have, or with nothing in the image to set them.
pub(super) fn set_up_network(
    files: &mut Files,
    init: Option<Init>,
    services: &[String],
    network: Option<&Network>,
) -> Result<(), ComposeError> {
    let Some(init) = init else { return Ok(()) };
    write_resolv_conf(files, init, network)?;
    let is_in_charge = |files: &Files, name: &str| services.iter().any(|s| s == name) || init.is_enabled(files, name);
    if let Some(other) = OTHER_MANAGERS.iter().find(|name| is_in_charge(files, name)) {
        if network.is_some() {
            files.say(format!("The network is left to {other}: set its addresses in {other}'s own configuration."));
        }
        return Ok(());
    }
    let interfaces: Vec<&str> =
        services.iter().filter_map(|name| name.strip_prefix("net.")).filter(|name| *name != "lo").collect();
    if let Some(interface) = interfaces.first() {
        return configure(files, init, Manager::Netifrc, network, interface);
    }
    let in_charge = MANAGERS.iter().find(|(name, _)| is_in_charge(files, name)).map(|(_, manager)| *manager);
    let Some(manager) = in_charge.or_else(|| first_there_is(files, init)) else {
        return match network {
            None => {
                files.say("Nothing in the image brings up the network: add net-misc/dhcpcd.");
                Ok(())
            }
            Some(_) => Err(ComposeError::new(
                "Nothing in the image could give it the addresses that were ordered.",
                "Add sys-apps/iproute2 or net-misc/dhcpcd.",
            )
            .about(Setting::Network)),
        };
    };
    let interface = network.and_then(|network| network.interface.as_deref()).unwrap_or("eth0");
    configure(files, init, manager, network, interface)
}

fn first_there_is(files: &Files, init: Init) -> Option<Manager> {
    let has_busybox = files.first_file(&["bin/busybox", "usr/bin/busybox", "sbin/busybox"]).is_some();
    let has_ip = files.first_file(&["sbin/ip", "bin/ip", "usr/sbin/ip", "usr/bin/ip"]).is_some();
    match init {
        _ if init.has(files, "NetworkManager") => Some(Manager::NetworkManager),
        Init::Systemd if init.has(files, "systemd-networkd") => Some(Manager::Networkd),
        _ if init.has(files, "dhcpcd") => Some(Manager::Dhcpcd),
        Init::OpenRc if has_busybox => Some(Manager::Plain),
        Init::OpenRc if init.has(files, "net.lo") => Some(Manager::Netifrc),
        Init::OpenRc if has_ip => Some(Manager::Plain),
        _ => None,
    }
}

/// Configures a manager and has it started. `interface` is for those that need to know one by name.
fn configure(
    files: &mut Files,
    init: Init,
    manager: Manager,
    network: Option<&Network>,
    interface: &str,
) -> Result<(), ComposeError> {
    match (manager, network) {
        (Manager::NetworkManager, None) | (Manager::Dhcpcd, None) => {}
        (Manager::NetworkManager, Some(network)) => {
            files.write("etc/NetworkManager/system-connections/hatchery.nmconnection", &nmconnection(network), 0o600)?;
        }
        (Manager::Networkd, None) => {
            files.write("etc/systemd/network/50-hatchery-dhcp.network", &format!("{WRITTEN}{NETWORKD_DHCP}"), 0o644)?;
        }
        (Manager::Networkd, Some(network)) => {
            files.write("etc/systemd/network/50-hatchery-static.network", &networkd(network), 0o644)?;
        }
        (Manager::Dhcpcd, Some(network)) => {
            files.append("etc/dhcpcd.conf", &dhcpcd(network)?)?;
        }
        (Manager::Netifrc, network) => configure_netifrc(files, network, interface)?,
        (Manager::Plain, None) => {
            files.write("etc/init.d/hatchery-dhcp", UDHCPC_SERVICE, 0o755)?;
            files.write("usr/lib/hatchery/udhcpc", UDHCPC_SCRIPT, 0o755)?;
        }
        (Manager::Plain, Some(network)) => {
            files.write("etc/init.d/hatchery-network", STATIC_SERVICE, 0o755)?;
            let settings = format!(
                "{WRITTEN}# The interface's name; empty means the first wired one.\ninterface=\"{}\"\naddresses=\"{}\"\ngateways=\"{}\"\n",
                network.interface.as_deref().unwrap_or_default(),
                joined(&network.addresses, " "),
                joined(&network.gateways, " ")
            );
            files.write("etc/conf.d/hatchery-network", &settings, 0o644)?;
        }
    }
    let service = match manager {
        Manager::NetworkManager => "NetworkManager".to_owned(),
        Manager::Networkd => "systemd-networkd".to_owned(),
        Manager::Dhcpcd => "dhcpcd".to_owned(),
        Manager::Netifrc => format!("net.{interface}"),
        Manager::Plain if network.is_some() => "hatchery-network".to_owned(),
        Manager::Plain => "hatchery-dhcp".to_owned(),
    };
    init.enable(files, &service)
}

fn configure_netifrc(files: &mut Files, network: Option<&Network>, interface: &str) -> Result<(), ComposeError> {
    // A dash or a dot cannot be in the name of a shell's variable (net.example of netifrc).
    let variable: String = interface.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let Some(network) = network else { return files.assign("etc/conf.d/net", &format!("config_{variable}"), "dhcp") };
    // One route a line (net.example of netifrc).
    let routes: Vec<String> = network.gateways.iter().map(|gateway| format!("default via {gateway}")).collect();
    let text = format!(
        "{WRITTEN}config_{variable}=\"{}\"\nroutes_{variable}=\"{}\"\ndns_servers_{variable}=\"{}\"\n",
        joined(&network.addresses, " "),
        routes.join("\n"),
        joined(&network.dns, " ")
    );
    files.append("etc/conf.d/net", &text)
}

fn networkd(network: &Network) -> String {
    let mut text = format!("{WRITTEN}[Match]\nName={}\n\n[Network]\n", network.interface.as_deref().unwrap_or("en* eth*"));
    let lines = network.addresses.iter().map(|a| format!("Address={a}\n"));
    let lines = lines.chain(network.gateways.iter().map(|g| format!("Gateway={g}\n")));
    text.extend(lines.chain(network.dns.iter().map(|d| format!("DNS={d}\n"))));
    text
}

fn nmconnection(network: &Network) -> String {
    let mut text = format!("{WRITTEN}[connection]\nid=hatchery\ntype=ethernet\nautoconnect-priority=100\n");
    if let Some(interface) = &network.interface {
        text.push_str(&format!("interface-name={interface}\n"));
    }
    for (section, is_v4) in [("ipv4", true), ("ipv6", false)] {
        let addresses: Vec<&InterfaceAddress> = network.addresses.iter().filter(|a| a.ip.is_ipv4() == is_v4).collect();
        let method = match (addresses.is_empty(), is_v4) {
            (false, _) => "manual",
            (true, true) => "disabled",
            (true, false) => "auto",
        };
        text.push_str(&format!("\n[{section}]\nmethod={method}\n"));
        text.extend(addresses.iter().enumerate().map(|(i, address)| format!("address{}={address}\n", i + 1)));
        text.extend(network.gateways.iter().filter(|g| g.is_ipv4() == is_v4).map(|g| format!("gateway={g}\n")));
        let dns: String = network.dns.iter().filter(|d| d.is_ipv4() == is_v4).map(|d| format!("{d};")).collect();
        if !dns.is_empty() {
            text.push_str(&format!("dns={dns}\n"));
        }
    }
    text
}

/// dhcpcd.conf(5): `static` gives what a server would have said; there is one address of each kind.
fn dhcpcd(network: &Network) -> Result<String, ComposeError> {
    let mut text = String::from(WRITTEN);
    match &network.interface {
        Some(interface) => text.push_str(&format!("interface {interface}\n")),
        None => text.push_str("allowinterfaces en* eth*\n"),
    }
    for (key, is_v4) in [("ip_address", true), ("ip6_address", false)] {
        let mut addresses = network.addresses.iter().filter(|a| a.ip.is_ipv4() == is_v4);
        text.extend(addresses.next().map(|address| format!("static {key}={address}\n")));
        if let Some(second) = addresses.next() {
            return Err(ComposeError::new(
                format!("dhcpcd, which brings up this image's network, cannot give an interface a second address ({second})."),
                "Order one address of each kind, or a system with NetworkManager or systemd-networkd.",
            )
            .about(Setting::Network));
        }
    }
    let routers: Vec<_> = network.gateways.iter().filter(|g| g.is_ipv4()).collect();
    text.extend(routers.first().map(|gateway| format!("static routers={gateway}\n")));
    if !network.dns.is_empty() {
        text.push_str(&format!("static domain_name_servers={}\n", joined(&network.dns, " ")));
    }
    Ok(text)
}

fn joined<T: ToString>(items: &[T], between: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}

/// Name servers are those ordered, or come from DHCP; those of the machine that made a package do not belong in an image.
fn write_resolv_conf(files: &mut Files, init: Init, network: Option<&Network>) -> Result<(), ComposeError> {
    if init == Init::Systemd && init.is_enabled(files, "systemd-resolved") {
        return files.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
    }
    let text = match network {
        None => "# Filled in by the DHCP client.\n".to_owned(),
        Some(network) => network.dns.iter().fold(String::from(WRITTEN), |text, server| format!("{text}nameserver {server}\n")),
    };
    files.write("etc/resolv.conf", &text, 0o644)
}
