//! What starts at boot, and what brings up the network.

use super::*;

#[test]
fn openrc_starts_services_and_logins() {
    let mut root = Root::openrc();
    let system = System { services: vec!["nginx".into()], ..System::default() };
    root.tree.insert("etc/runlevels/sysinit/udev", Entry::symlink("/etc/init.d/udev")).unwrap();
    root.configure(&system, &["sshd"]).unwrap();
    for service in ["sshd", "nginx", "hatchery-ready", "hatchery-dhcp", "hatchery-sshkeys", "local"] {
        assert_eq!(root.link(&format!("etc/runlevels/default/{service}")), format!("/etc/init.d/{service}"));
    }
    for service in ["udev", "udev-trigger", "sysfs"] {
        assert_eq!(root.link(&format!("etc/runlevels/sysinit/{service}")), format!("/etc/init.d/{service}"));
    }
    assert!(!root.tree.contains("etc/runlevels/boot/hwclock"), "a script that is not there");
    let inittab = root.text("etc/inittab");
    assert_eq!(inittab.matches("s0:12345:respawn:/sbin/agetty -L 115200 ttyS0 vt100").count(), 1, "{inittab}");
    assert_eq!(inittab.matches("ttyS0").count(), 1, "{inittab}");
    assert!(root.text("etc/init.d/hatchery-ready").starts_with("#!/sbin/openrc-run\n"));
    assert_eq!(root.access("etc/init.d/hatchery-ready").0, 0o755);
}

#[test]
fn openrc_init_has_a_service_for_each_login() {
    let mut root = Root::openrc();
    root.put("sbin/openrc-init", "\x7fELF");
    root.tree.insert("sbin/init", Entry::symlink("openrc-init")).unwrap();
    root.configure(&System::default(), &["dhcpcd"]).unwrap_err();
    root.put("etc/init.d/dhcpcd", "#!/sbin/openrc-run\n");
    root.configure(&System::default(), &["dhcpcd"]).unwrap();
    assert_eq!(root.link("etc/init.d/agetty.ttyS0"), "agetty");
    assert_eq!(root.link("etc/runlevels/default/agetty.tty1"), "/etc/init.d/agetty.tty1");
    assert_eq!(root.text("etc/conf.d/agetty.ttyS0"), "baud=\"115200\"\nterm_type=\"vt100\"\n");
    assert!(!root.tree.contains("etc/init.d/hatchery-dhcp"), "one DHCP client is enough");
}

#[test]
fn systemd_gets_its_wants_as_the_units_say() {
    let mut root = Root::systemd();
    let error = root.configure(&System::default(), &["nginx"]).unwrap_err();
    assert!(error.message.contains("getty@, sshd, systemd-networkd"), "{error}");
    root.configure(&System::default(), &["sshd", "getty@tty3"]).unwrap();
    let wants = |target: &str, unit: &str| root.link(&format!("etc/systemd/system/{target}.wants/{unit}.service"));
    assert_eq!(wants("multi-user.target", "sshd"), "/usr/lib/systemd/system/sshd.service");
    assert_eq!(wants("getty.target", "getty@tty3"), "/usr/lib/systemd/system/getty@.service");
    assert_eq!(wants("multi-user.target", "hatchery-ready"), "/usr/lib/systemd/system/hatchery-ready.service");
    assert_eq!(wants("multi-user.target", "hatchery-sshkeys"), "/usr/lib/systemd/system/hatchery-sshkeys.service");
    assert_eq!(wants("multi-user.target", "systemd-networkd"), "/usr/lib/systemd/system/systemd-networkd.service");
    assert!(!root.tree.contains("evil") && !root.tree.contains("etc/evil"));
    assert!(root.text("etc/systemd/network/50-hatchery-dhcp.network").contains("DHCP=yes"));
    assert_eq!((root.text("etc/machine-id"), root.access("etc/machine-id").0), (String::new(), 0o444));
}

fn fixed(interface: Option<&str>) -> System {
    let network = Network {
        interface: interface.map(str::to_owned),
        addresses: vec!["192.0.2.10/24".parse().unwrap(), "2001:db8::10/64".parse().unwrap()],
        gateways: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        dns: vec!["192.0.2.53".parse().unwrap()],
    };
    System { network: Some(network), ..System::default() }
}

#[test]
fn fixed_addresses_go_to_whatever_brings_up_the_network() {
    let mut root = Root::openrc();
    root.configure(&fixed(None), &[]).unwrap();
    let settings = root.text("etc/conf.d/hatchery-network");
    assert!(
        settings.contains("interface=\"\"\naddresses=\"192.0.2.10/24 2001:db8::10/64\"\ngateways=\"192.0.2.1 2001:db8::1\"\n")
    );
    assert_eq!(root.link("etc/runlevels/default/hatchery-network"), "/etc/init.d/hatchery-network");
    assert!(!root.tree.contains("etc/init.d/hatchery-dhcp"), "no DHCP besides");
    assert!(root.text("etc/resolv.conf").ends_with("nameserver 192.0.2.53\n"));

    let mut root = Root::openrc();
    root.configure(&fixed(Some("en-1")), &["net.en-1"]).unwrap();
    let net = root.text("etc/conf.d/net");
    assert!(net.contains(
        "config_en_1=\"192.0.2.10/24 2001:db8::10/64\"\nroutes_en_1=\"default via 192.0.2.1\ndefault via 2001:db8::1\"\n"
    ));
    assert_eq!(root.link("etc/init.d/net.en-1"), "net.lo");

    let mut root = Root::openrc();
    root.put("etc/init.d/dhcpcd", "#!/sbin/openrc-run\n");
    root.put("etc/dhcpcd.conf", "duid\n");
    root.configure(&fixed(Some("eth1")), &["dhcpcd"]).unwrap();
    root.configure(&fixed(Some("eth1")), &["dhcpcd"]).unwrap();
    let conf = root.text("etc/dhcpcd.conf");
    assert!(
        conf.starts_with("duid\n") && conf.matches("interface eth1\nstatic ip_address=192.0.2.10/24\n").count() == 1,
        "{conf}"
    );
    assert!(conf.contains("static routers=192.0.2.1\n") && conf.contains("static domain_name_servers=192.0.2.53\n"), "{conf}");
    let mut two = fixed(None);
    two.network.as_mut().unwrap().addresses.push("192.0.2.11/24".parse().unwrap());
    assert!(root.configure(&two, &["dhcpcd"]).unwrap_err().message.contains("192.0.2.11/24"));

    let mut root = Root::openrc();
    root.put("etc/init.d/NetworkManager", "#!/sbin/openrc-run\n");
    root.configure(&fixed(None), &[]).unwrap();
    let path = "etc/NetworkManager/system-connections/hatchery.nmconnection";
    assert!(root.text(path).contains("[ipv4]\nmethod=manual\naddress1=192.0.2.10/24\ngateway=192.0.2.1\ndns=192.0.2.53;\n"));
    assert_eq!(root.access(path).0, 0o600);

    let mut root = Root::systemd();
    root.configure(&fixed(None), &[]).unwrap();
    let unit = root.text("etc/systemd/network/50-hatchery-static.network");
    assert!(unit.contains("Name=en* eth*\n") && unit.contains("Address=2001:db8::10/64\nGateway=192.0.2.1\n"), "{unit}");
    assert!(!root.tree.contains("etc/systemd/network/50-hatchery-dhcp.network"));
}

#[test]
fn an_order_s_own_way_to_the_network_takes_the_place_of_the_preset_s() {
    let mut root = Root::openrc();
    for service in ["dhcpcd", "NetworkManager"] {
        root.put(&format!("etc/init.d/{service}"), "#!/sbin/openrc-run\n");
    }
    let system = System { services: vec!["NetworkManager".into()], ..System::default() };
    let messages = root.configure(&system, &["dhcpcd", "nginx"]).unwrap();
    assert!(messages.iter().any(|m| m.contains("NetworkManager brings up the network")), "{messages:?}");
    assert!(root.tree.lookup("etc/runlevels/default/dhcpcd").is_err());
    assert_eq!(root.link("etc/runlevels/default/NetworkManager"), "/etc/init.d/NetworkManager");
    assert_eq!(root.link("etc/runlevels/default/nginx"), "/etc/init.d/nginx");
    // Who asks for both gets both.
    let system = System { services: vec!["NetworkManager".into(), "dhcpcd".into()], ..System::default() };
    root.configure(&system, &["dhcpcd"]).unwrap();
    assert_eq!(root.link("etc/runlevels/default/dhcpcd"), "/etc/init.d/dhcpcd");
}
