//! GRUB's menu: what can be chosen, on the screen and on the first serial line.

use crate::iso::BootMedia;

/// Seconds that the boot menu waits.
const MENU_SECONDS: u32 = 4;

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
pub(crate) fn medium_entries(parameters: &str) -> Vec<MenuEntry> {
    let with = |word: &str| format!("{word} {BOTH_CONSOLES}");
    entries(
        parameters,
        &[
            ("", BOTH_CONSOLES),
            ("copy to memory", &with("hatchery.toram")),
            ("keep changes on this stick", &with("hatchery.keep")),
            ("check the medium first", &with("hatchery.check")),
            ("serial console only", SERIAL_CONSOLE),
        ],
    )
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
