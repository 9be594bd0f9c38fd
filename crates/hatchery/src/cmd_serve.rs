//! `hatchery serve`: the site, and one worker beside it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::cmd_work::RootArgs;
use crate::log::LogFormat;
use crate::{Outcome, book, channels};

#[derive(clap::Args)]
pub struct Args {
    /// The configuration; without one, embedded defaults serve
    #[arg(long, value_name = "FILE", env = "HATCHERY_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is kept, when there is no configuration file
    #[arg(long, env = "HATCHERY_DIR", default_value = "var")]
    data_dir: PathBuf,
    /// Listen here instead of where the configuration says
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Start no worker: workers elsewhere will come with `hatchery work`
    #[arg(long)]
    no_worker: bool,
    #[command(flatten)]
    roots: RootArgs,
}

pub fn run(args: Args, log: LogFormat) -> anyhow::Result<Outcome> {
    let mut config = channels::load(args.config.as_deref(), &args.data_dir)?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if config.boot_gate && !args.no_worker {
        machine::check().context("boot_gate is set, and the worker beside the site could start no image")?;
    }
    tokio::runtime::Runtime::new()?.block_on(serve(config, (!args.no_worker).then_some(args.roots), log))?;
    Ok(Outcome::Done)
}

async fn serve(config: server::Config, worker: Option<RootArgs>, log: LogFormat) -> anyhow::Result<()> {
    let data_dir = config.data_dir.clone();
    let server = server::Server::bind(config).await?.with_book(book::book()?);
    let address = format!("http://{}", server.addr());
    std::fs::write(data_dir.join("address"), &address).context("the data folder cannot be written")?;
    println!("{address}");
    let worker =
        worker.map(|roots| tokio::spawn(keep_worker(address, server.worker_token_file(), data_dir.join("worker"), roots, log)));
    let stop = async {
        let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(terminate) => terminate,
            Err(error) => {
                tracing::warn!(%error, "SIGTERM will end the site at once");
                return std::future::pending().await;
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let ended = server.run(stop).await;
    if let Some(worker) = worker {
        worker.abort();
    }
    Ok(ended?)
}

/// How long to wait before a worker that ended is started again.
const RESTART: Duration = Duration::from_secs(5);

/// Keeps one worker process running: a process of its own, as it runs package scripts, which the server must not.
async fn keep_worker(server: String, token_file: PathBuf, dir: PathBuf, roots: RootArgs, log: LogFormat) {
    loop {
        match start_worker(&server, &token_file, &dir, &roots, log).await {
            Ok(status) => tracing::warn!(%status, "the worker ended; starting it again"),
            Err(error) => tracing::error!(%error, "the worker could not be started"),
        }
        tokio::time::sleep(RESTART).await;
    }
}

async fn start_worker(
    server: &str,
    token_file: &Path,
    dir: &Path,
    roots: &RootArgs,
    log: LogFormat,
) -> std::io::Result<std::process::ExitStatus> {
    tokio::process::Command::new(std::env::current_exe()?)
        .args(["--log", log.name(), "work", "--exit-with-parent", "--server", server, "--token-file"])
        .arg(token_file)
        .arg("--dir")
        .arg(dir)
        .args(roots.words())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?
        .wait()
        .await
}
