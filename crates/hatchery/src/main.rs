//! The one executable of Hatchery.

mod book;
mod channels;
mod cmd_access;
mod cmd_advise;
mod cmd_build;
mod cmd_download;
mod cmd_fetch;
mod cmd_follow;
mod cmd_keep;
mod cmd_keygen;
mod cmd_manual;
mod cmd_order;
mod cmd_package;
mod cmd_packages;
mod cmd_plan;
mod cmd_queue;
mod cmd_sample;
mod cmd_serve;
mod cmd_source;
mod cmd_try;
mod cmd_verify;
mod cmd_wishes;
mod cmd_work;
mod contents;
mod follow;
mod log;
mod progress;
mod settings;
mod site;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use log::LogFormat;

/// Order a Gentoo image instead of installing Gentoo. Unofficial; “Gentoo” is a trademark of the Gentoo Foundation.
#[derive(Parser)]
#[command(name = "hatchery", version)]
struct Cli {
    /// How what happens is logged, on standard error
    #[arg(long, global = true, value_enum, default_value_t, env = "HATCHERY_LOG")]
    log: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the site, with one worker unless told otherwise
    Serve(cmd_serve::Args),
    /// Work for a site: lease builds, build them, upload the images
    Work(cmd_work::Args),
    /// Build the images of an order file here, with no server
    Build(cmd_build::Args),
    /// Check a downloaded image by what came with it: signature, checksums, contents
    Verify(cmd_verify::Args),
    /// Make the key that images are signed with, for the operator
    Keygen(cmd_keygen::Args),
    /// Show which packages an order or a list of atoms gets, and why
    Plan(cmd_plan::Args),
    /// Place an order on a site and follow it
    Order(cmd_order::Args),
    /// Show how an order stands
    Status(cmd_follow::Args),
    /// Print the log of an order
    Logs(cmd_follow::LogsArgs),
    /// Download the images of an order, going on where an earlier try ended
    Download(cmd_download::Args),
    /// Cancel an order
    Cancel(cmd_follow::Args),
    /// Have an order built again that failed or whose images were removed
    Again(cmd_follow::Args),
    /// Look for packages on a site
    Packages(cmd_packages::Args),
    /// Download the images of an order, and of them only what older images lack
    Fetch(cmd_fetch::Args),
    /// Make the sample channel from Debian's packages
    Sample(cmd_sample::Args),
    /// Show and hold the queue, for the operator
    Queue(cmd_queue::Args),
    /// Say who may order, and give out tokens, for the operator
    Access(cmd_access::Args),
    /// List what people asked for and no binhost has, for the operator
    Wishes(cmd_wishes::Args),
    /// Make binary packages of Hatchery itself
    Package(cmd_package::Args),
    /// Say what to build next, so that most orders that lacked something would be served
    Advise(cmd_advise::Args),
    /// For operators: have a package built from source for a channel's own binhost
    Source(cmd_source::Args),
    /// Make a backup of a site, running or not
    Backup(cmd_keep::BackupArgs),
    /// Put a backup in place of a site that is not there
    Restore(cmd_keep::RestoreArgs),
    /// Write a whole site into one archive, to carry it elsewhere
    Export(cmd_keep::ExportArgs),
    /// Take in a site from an archive, on whatever database and storage the configuration here names
    Import(cmd_keep::ImportArgs),
    /// Bring a site's tables to a version, forward or back; the site must not be running
    Migrate(cmd_keep::MigrateArgs),
    /// Do the main job once: start a site, order the sample image, wait for it
    Try(cmd_try::Args),
    /// Print the completions for a shell
    Completions(cmd_manual::CompletionsArgs),
    /// Print the manual page, or write those of all commands
    #[command(hide = true)]
    Man(cmd_manual::ManArgs),
}

/// How a command ends when it did not fail for technical reasons.
pub enum Outcome {
    Done,
    /// The order was refused, or there is no plan for what was asked; the explanation has been printed.
    NoPlan,
    /// The build failed; why has been printed.
    BuildFailed,
    /// There are no images, as the order was cancelled, has expired, or is not ready; this has been printed.
    NoImages,
}

fn main() -> ExitCode {
    // The composer runs package phases through this very executable, inside a user namespace.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == composer::sandbox::HELPER_ARGUMENT) {
        return composer::sandbox::helper_main();
    }
    end_quietly_where_nobody_reads();
    let Cli { log, command } = Cli::parse();
    log.start();
    let outcome = match command {
        Command::Serve(args) => cmd_serve::run(args, log),
        Command::Work(args) => cmd_work::run(args),
        Command::Build(args) => cmd_build::run(args),
        Command::Verify(args) => cmd_verify::run(args),
        Command::Keygen(args) => cmd_keygen::run(args),
        Command::Plan(args) => cmd_plan::run(args),
        Command::Order(args) => cmd_order::run(args),
        Command::Status(args) => cmd_follow::status(args),
        Command::Logs(args) => cmd_follow::logs(args),
        Command::Download(args) => cmd_download::run(args),
        Command::Cancel(args) => cmd_follow::cancel(args),
        Command::Again(args) => cmd_follow::again(args),
        Command::Packages(args) => cmd_packages::run(args),
        Command::Completions(args) => cmd_manual::completions(args),
        Command::Man(args) => cmd_manual::man(args),
        Command::Fetch(args) => cmd_fetch::run(args),
        Command::Sample(args) => cmd_sample::run(args),
        Command::Queue(args) => cmd_queue::run(args),
        Command::Access(args) => cmd_access::run(args),
        Command::Wishes(args) => cmd_wishes::run(args),
        Command::Package(args) => cmd_package::run(args),
        Command::Advise(args) => cmd_advise::run(args),
        Command::Source(args) => cmd_source::run(args),
        Command::Backup(args) => cmd_keep::backup(args),
        Command::Restore(args) => cmd_keep::restore(args),
        Command::Export(args) => cmd_keep::export(args),
        Command::Import(args) => cmd_keep::import(args),
        Command::Migrate(args) => cmd_keep::migrate(args),
        Command::Try(args) => cmd_try::run(args),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NoPlan) => ExitCode::from(2),
        Ok(Outcome::BuildFailed) => ExitCode::from(3),
        Ok(Outcome::NoImages) => ExitCode::from(4),
        Err(error) => {
            log.fatal(&in_words(&error));
            ExitCode::FAILURE
        }
    }
}

/// Printing to a program that has ended, as `head` does early, is no fault to be shown with a backtrace: it ends the command as SIGPIPE would.
fn end_quietly_where_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let printing = ["failed printing to stdout", "failed to write completion file"];
        let is_unread = |text: &str| printing.iter().any(|start| text.starts_with(start)) && text.contains("Broken pipe");
        if panic.payload().downcast_ref::<String>().is_some_and(|text| is_unread(text)) {
            std::process::exit(128 + nix::sys::signal::Signal::SIGPIPE as i32);
        }
        usual(panic);
    }));
}

/// The error and its causes; one whose text is in the sentence before it is not said again.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        known if known.contains(&cause) => said,
        known => format!("{known}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    #[test]
    fn a_cause_is_said_once() {
        let file = || std::io::Error::other("the disk is gone");
        let repeats = anyhow::Error::new(file()).context("x cannot be read: the disk is gone");
        assert_eq!(super::in_words(&repeats), "x cannot be read: the disk is gone");
        let adds = Err::<(), _>(file()).context("x cannot be read").unwrap_err();
        assert_eq!(super::in_words(&adds), "x cannot be read: the disk is gone");
    }
}
