//! The sandbox's helper as an executable of its own, for tests: their own executable is a test harness and cannot become one.

use std::process::ExitCode;

fn main() -> ExitCode {
    composer::sandbox::helper_main()
}
