//! `snowglobe eval` and `snowglobe list`: what a file holds, without building it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::error::Failed;
use super::source::{Prepared, Source};
use crate::manifest::Manifest;
use crate::nix;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

#[derive(Debug, Args)]
pub struct EvalCommand {
    #[command(flatten)]
    source: Source,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Debug, Args)]
pub struct ListCommand {
    #[command(flatten)]
    source: Source,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

impl EvalCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let Prepared {
            nix,
            library,
            evaluation,
        } = self.source.prepare()?;
        let tests =
            tokio::runtime::Runtime::new()?.block_on(nix::evaluate(&nix, &library, &evaluation))?;
        let manifests: Vec<&Manifest> = tests.iter().map(|test| &test.manifest).collect();
        let text = match self.format {
            // One test is the usual case: it need not be taken out of a list.
            Format::Json if manifests.len() == 1 => json(manifests[0]),
            Format::Json => json(&manifests),
            Format::Human => manifests.iter().copied().map(describe).collect(),
        };
        print(&text)
    }
}

impl ListCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let Prepared {
            nix,
            library,
            evaluation,
        } = self.source.prepare()?;
        let tests =
            tokio::runtime::Runtime::new()?.block_on(nix::list(&nix, &library, &evaluation))?;
        let text = match self.format {
            Format::Json => json(&tests),
            Format::Human => tests
                .iter()
                .map(|test| {
                    let label = if test.attribute.is_empty() {
                        test.name.clone()
                    } else {
                        format!("{} ({})", test.attribute, test.name)
                    };
                    format!("{label}: {}\n", test.nodes.join(", "))
                })
                .collect(),
        };
        print(&text)
    }
}

fn describe(manifest: &Manifest) -> String {
    let mut text = format!(
        "{}: {} machine(s), at most {} s\n",
        manifest.name,
        manifest.nodes.len(),
        manifest.global_timeout_s
    );
    for (name, node) in &manifest.nodes {
        let networks: Vec<String> = node.vlans.iter().map(u32::to_string).collect();
        text.push_str(&format!(
            "  {name}: networks {}, {}\n",
            if networks.is_empty() {
                "none".to_owned()
            } else {
                networks.join(", ")
            },
            node.start_script.display()
        ));
    }
    text
}

fn json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("manifests are plain data");
    text + "\n"
}

fn print(text: &str) -> Result<ExitCode, Failed> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS).map_err(Failed::from),
    }
}
