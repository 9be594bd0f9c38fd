//! What differs from one architecture of the sample to another.

/// What runs the services of a system. Both are in one binhost; a profile decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    OpenRc,
    Systemd,
}

/// An architecture that the sample is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    Amd64,
    X86,
}

impl Arch {
    pub const ALL: [Arch; 2] = [Arch::Amd64, Arch::X86];

    /// The architecture of that name in Gentoo.
    pub fn named(name: &str) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.keyword() == name)
    }

    /// Gentoo's name: the keyword, ARCH and ABI.
    pub fn keyword(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::X86 => "x86",
        }
    }

    /// The tuple of the machine that the packages are for.
    pub fn chost(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64-pc-linux-gnu",
            Arch::X86 => "i686-pc-linux-gnu",
        }
    }

    /// The profile, relative to `profiles/`, by Gentoo's name.
    pub fn profile(self, init: Init) -> &'static str {
        match (self, init) {
            (Arch::Amd64, Init::OpenRc) => "default/linux/amd64/23.0",
            (Arch::Amd64, Init::Systemd) => "default/linux/amd64/23.0/systemd",
            (Arch::X86, Init::OpenRc) => "default/linux/x86/23.0/i686",
            (Arch::X86, Init::Systemd) => "default/linux/x86/23.0/i686/systemd",
        }
    }

    /// Below which folder of the sample its binhost and repository are; amd64's are in the sample's own folder.
    pub fn folder(self) -> &'static str {
        match self {
            Arch::Amd64 => "",
            Arch::X86 => "x86",
        }
    }

    /// ABI_X86 of the profile.
    pub(crate) fn abi_x86(self) -> &'static str {
        match self {
            Arch::Amd64 => "64",
            Arch::X86 => "32",
        }
    }

    /// Flags that are on in every build: the architecture, the libc and the kernel.
    pub(crate) fn implicit_use(self) -> [&'static str; 4] {
        match self {
            Arch::Amd64 => ["abi_x86_64", "amd64", "elibc_glibc", "kernel_linux"],
            Arch::X86 => ["abi_x86_32", "elibc_glibc", "kernel_linux", "x86"],
        }
    }

    /// Where the profile has its libraries, below /usr. Debian's own lie in [`Arch::multiarch`].
    pub(crate) fn libdir(self) -> &'static str {
        match self {
            Arch::Amd64 => "lib64",
            Arch::X86 => "lib",
        }
    }

    /// Debian's name.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::X86 => "i386",
        }
    }

    /// What Debian calls its kernel for it.
    fn debian_kernel(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::X86 => "686-pae",
        }
    }

    /// Debian's folder for its libraries, below /usr/lib.
    fn multiarch(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64-linux-gnu",
            Arch::X86 => "i386-linux-gnu",
        }
    }

    /// The text of a recipe file for this architecture: `@MULTIARCH@`, `@LIBDIR@` and `@KERNEL@` are replaced.
    pub(crate) fn fill(self, text: &str) -> String {
        text.replace("@MULTIARCH@", self.multiarch())
            .replace("@LIBDIR@", self.libdir())
            .replace("@KERNEL@", self.debian_kernel())
            .replace("@HATCHERY_VERSION@", env!("CARGO_PKG_VERSION"))
    }
}
