//! `hatchery try`: the main job in one go, the way a person would do it, with the site's own API.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use contract::{Format, Order};
use sample::Init;
use server::Presets;

use crate::site::Site;
use crate::{Outcome, channels, cmd_download, cmd_sample, follow};

#[derive(clap::Args)]
pub struct Args {
    /// Where everything is kept
    #[arg(long, env = "HATCHERY_DIR", default_value = "var")]
    data_dir: PathBuf,
    /// Where the site listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8480")]
    listen: String,
    /// The preset to order
    #[arg(long, default_value = "amd64-server")]
    preset: String,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let presets = Presets::load(None)?;
    let Some(preset) = presets.get(&args.preset) else {
        let known: Vec<&str> = presets.all().iter().map(|p| p.name.as_str()).collect();
        bail!("there is no preset “{}”; choose from {}", args.preset, known.join(", "));
    };
    let arch = sample::Arch::named(&preset.arch).with_context(|| format!("the sample is not made for {}", preset.arch))?;
    let samples = [Init::OpenRc, Init::Systemd].map(|init| channels::sample_name(arch, init));
    let serves = |name: &&str| preset.channels.is_empty() || preset.channels.iter().any(|channel| channel == name);
    let Some(channel) = samples.into_iter().find(serves) else {
        bail!("the preset “{}” is not for the sample, but for {}", preset.name, preset.channels.join(", "));
    };
    cmd_sample::make(&args.data_dir, arch)?;
    let address = running_site(&args)?;
    println!("The site is at {address}");
    let order = Order {
        arch: preset.arch.clone(),
        channel: Some(channel.into()),
        preset: Some(args.preset.clone()),
        formats: Format::ALL.to_vec(),
        ..Order::default()
    };
    let site = Site::new(&address);
    let placed = match site.order(&order)? {
        Ok(placed) => placed,
        Err(explanation) => {
            eprintln!("{explanation}");
            return Ok(Outcome::NoPlan);
        }
    };
    println!("Ordered {}: {}", args.preset, placed.page);
    let ended = follow::follow(&site, &placed)?;
    match follow::outcome(&ended) {
        Outcome::Done => {}
        other => return Ok(other),
    }
    let images = cmd_download::download_all(&site, &placed, &ended, &args.data_dir.join("images"))?;
    println!("\nReady after {} s. The images:", started.elapsed().as_secs());
    for image in &images {
        println!("  {}", std::path::absolute(image)?.display());
    }
    println!("The order's page:\n  {}\nThe site, which goes on running until you stop it:\n  {address}", placed.page);
    if let Some(iso) = images.iter().find(|p| p.extension().is_some_and(|e| e == "iso")) {
        let machine = if arch == sample::Arch::X86 { "i386" } else { "x86_64" };
        println!("Start the ISO in a virtual machine:\n  qemu-system-{machine} -m 1536 -cdrom {}", iso.display());
    }
    Ok(Outcome::Done)
}

/// The address of a site on our data folder: the one that runs already, or a new one in the background.
fn running_site(args: &Args) -> anyhow::Result<String> {
    let server_dir = args.data_dir.join("server");
    let address_file = server_dir.join("address");
    if let Some(address) = answering(&address_file) {
        return Ok(address);
    }
    std::fs::create_dir_all(&server_dir)?;
    if address_file.exists() {
        std::fs::remove_file(&address_file)?;
    }
    let log_path = server_dir.join("serve.log");
    let log = std::fs::File::create(&log_path).with_context(|| format!("{} cannot be written", log_path.display()))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["serve", "--listen", &args.listen, "--data-dir"])
        .arg(&args.data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // A process group of its own, so that Ctrl-C here leaves the site running.
        .process_group(0)
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(address) = answering(&address_file) {
            println!(
                "Started the site (process {}, stop it with `kill {}`; log: {})",
                child.id(),
                child.id(),
                log_path.display()
            );
            return Ok(address);
        }
        if let Some(status) = child.try_wait()? {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            bail!("the site ended at once ({status}):\n{log}\nIf the address is taken, give another: --listen 127.0.0.1:0");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the site did not answer within a minute; its log is {}", log_path.display())
}

fn answering(address_file: &Path) -> Option<String> {
    let address = std::fs::read_to_string(address_file).ok()?;
    Site::new(&address).is_up().then_some(address)
}
