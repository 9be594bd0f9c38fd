//! GRUB's menu: what can be chosen, on the screen and on the first serial line.

use crate::iso::BootMedia;

/// Seconds that the boot menu waits.
const MENU_SECONDS: u32 = 4;

/// Whose words an initramfs understands, for the ways to start a medium besides the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MenuWords {
    /// Hatchery's own: copy to memory, keep changes, check.
    Hatchery,
    /// dracut's (dracut.cmdline(7), "Booting live images"), with a module of Hatchery's for keeping changes and checking.
    Dracut,
    /// Nobody's: it starts disks only.
    None,
}

/// A way to start.
pub(crate) struct MenuEntry {
    /// Said after the image's title; empty for the usual way.
    pub suffix: &'static str,
    /// Kernel parameters besides the image's own.
    pub parameters: String,
}

/// Kernel messages go to both; the last one named is where the system's own messages go, and a shell in need.
const BOTH_CONSOLES: &str = "console=ttyS0,115200 console=tty0";
const SERIAL_CONSOLE: &str = "console=ttyS0,115200";

/// The ways to start an installed disk.
pub(crate) fn disk_entries(parameters: &str) -> Vec<MenuEntry> {
    entries(parameters, &[("", BOTH_CONSOLES), ("serial console only", SERIAL_CONSOLE)])
}

/// The ways to start a medium.
pub(crate) fn medium_entries(parameters: &str, words: MenuWords) -> Vec<MenuEntry> {
    let to_memory = match words {
        MenuWords::Hatchery => Some("hatchery.toram"),
        MenuWords::Dracut => Some("rd.live.ram=1"),
        MenuWords::None => None,
    };
    let usual = MenuEntry { suffix: "", parameters: format!("{parameters} {BOTH_CONSOLES}") };
    let special = to_memory.map(|word| {
        [("copy to memory", word), ("keep changes on this stick", "hatchery.keep"), ("check the medium first", "hatchery.check")]
    });
    let special = special.into_iter().flatten();
    let special = special.map(|(suffix, word)| MenuEntry { suffix, parameters: format!("{parameters} {word} {BOTH_CONSOLES}") });
    std::iter::once(usual).chain(special).chain(entries(parameters, &[("serial console only", SERIAL_CONSOLE)])).collect()
}

fn entries(parameters: &str, ways: &[(&'static str, &str)]) -> Vec<MenuEntry> {
    ways.iter().map(|(suffix, words)| MenuEntry { suffix, parameters: format!("{parameters} {words}") }).collect()
}

/// The menu as GRUB's configuration, for a kernel and an initramfs at these places. What goes in was checked by [`BootMedia::check`].
pub(crate) fn grub_cfg(boot: &BootMedia, kernel: &str, initramfs: &str, entries: &[MenuEntry]) -> String {
    let mut text = format!("set timeout={MENU_SECONDS}\nset default=0\n");
    // A machine without a serial line keeps its screen.
    text.push_str(
        "if serial --unit=0 --speed=115200; then\n\tterminal_input console serial\n\tterminal_output console serial\nfi\n",
    );
    for MenuEntry { suffix, parameters } in entries {
        let suffix = if suffix.is_empty() { String::new() } else { format!(" ({suffix})") };
        let title = format!("{}{suffix}", boot.title).replace('\'', "'\\''");
        let words: Vec<&str> = parameters.split(' ').chain(boot.cmdline.split(' ')).filter(|word| !word.is_empty()).collect();
        let words = words.join(" ");
        text.push_str(&format!("menuentry '{title}' {{\n\tlinux {kernel} {words}\n\tinitrd {initramfs}\n}}\n"));
    }
    text
}
