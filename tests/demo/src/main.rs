//! `cargo xtask demo`: the race, its usual remedy and conngate, side by side against a real Envoy.
//!
//! Knows nothing of how conngate works: every case starts the application as a user would, behind another prefix.
//!
//! Invariants: cases run one after another, for they are measured; each has a pod, a control plane and an Envoy of its
//! own; the demo fails where the story it tells is not true.

mod application;
mod bars;
mod case;
mod oracle;
mod picture;
mod remedy;
mod report;
mod story;
mod talk;
mod together;

use std::{fs, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use conngate_testbed::{
    checkout,
    lab::{self, permissions, tool},
    step::step,
};

use crate::{application::Application, case::Case, remedy::Remedy};

/// A busy machine may need as long to start a JVM as Envoy needs, and then there is no race to show.
const ATTEMPTS: u32 = 3;

/// Show the race and its end: without conngate, with a wait loop, with conngate; against a real Envoy, as root.
#[derive(Parser)]
#[command(name = "cargo xtask demo", bin_name = "cargo xtask demo")]
struct Options {
    /// How long the control plane lets Envoy wait for its listeners (such as 3s or 500ms).
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = delay)]
    delay: Duration,
    /// Also write the picture to docs/timeline.svg.
    #[arg(long)]
    update_docs: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every case, then shows the table, the bars and the picture. An error when the story is not true.
fn run(options: &Options) -> Result<()> {
    let mut missing = permissions::missing();
    missing.extend((!tool::exists("bash")).then(|| "bash (Debian package bash)".to_owned()));
    if !missing.is_empty() {
        bail!("the demo lacks: {}", missing.join("; "));
    }

    let mut cases = Vec::new();
    lab::run(|| {
        for application in Application::installed() {
            step(&format!("{application}: warming up"), || case::warm_up(application))?;
            for remedy in Remedy::ALL {
                let title = format!("{application}, {remedy}");
                let run = || case::run(application, remedy, options.delay);
                let mut case = step(&title, run).context(title.clone())?;
                for _ in 1..ATTEMPTS {
                    if case.is_early() || remedy == Remedy::WaitLoop {
                        break;
                    }
                    case = step(&format!("{title}: Envoy was faster, once more"), run).context(title.clone())?;
                }
                cases.push(case);
            }
        }
        Ok(())
    })?;

    println!("\n{}\n\n{}", report::table(&cases), bars::chart(&cases));
    draw(&cases, options.update_docs)?;
    let broken = story::broken(&cases);
    if !broken.is_empty() {
        bail!("this is not what should have happened:\n  {}", broken.join("\n  "));
    }
    println!("\n{}", report::last_line(&cases));
    Ok(())
}

fn draw(cases: &[Case], update_docs: bool) -> Result<()> {
    let picture = picture::draw(cases);
    let directory = checkout().join("target/demo");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let in_docs = update_docs.then(|| checkout().join("docs/timeline.svg"));
    println!();
    for path in [directory.join("timeline.svg")].into_iter().chain(in_docs) {
        fs::write(&path, &picture).with_context(|| format!("cannot write {}", path.display()))?;
        println!("picture: {}", path.strip_prefix(checkout()).unwrap_or(&path).display());
    }
    Ok(())
}

/// At least what makes the wait visible, at most what an audience bears.
fn delay(text: &str) -> Result<Duration, String> {
    let allowed = "allowed: 500ms to 30s";
    let delay = humantime::parse_duration(text).map_err(|error| format!("{error}; {allowed}"))?;
    let bounds = Duration::from_millis(500)..=Duration::from_secs(30);
    if bounds.contains(&delay) { Ok(delay) } else { Err(allowed.to_owned()) }
}
