//! `snowglobe check`: what is wrong with a test's script, before anything is built or booted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::error::{Failed, code};
use super::findings::{count, locate, show, stops};
use super::source::{Prepared, Source, on_this_thread};
use super::types::{self, TypeCheck};
use super::write_stdout;
use crate::language::check::{Finding, Parts, Surroundings, Wanted, check};
use crate::manifest::{Manifest, Node, python_name};
use crate::nix::{self, Test};
use crate::origin::Origin;
use crate::report::Colours;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

#[derive(Debug, Args)]
pub struct CheckCommand {
    #[command(flatten)]
    source: Option<Source>,
    /// Check a script that is a file of its own; no Nix is needed.
    #[arg(long, value_name = "FILE.py", conflicts_with = "Source")]
    script: Option<PathBuf>,
    /// The machines that the script of --script has [default: every name that is used only as one].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "script")]
    nodes: Option<Vec<String>>,
    /// Demand the check of types by `ty`, and say how to get it where it is missing.
    #[arg(long)]
    types: bool,
    /// How it is told.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// A script with what is needed to check it.
struct Subject {
    name: String,
    origin: Origin,
    surroundings: Surroundings,
    parts: Parts,
}

impl CheckCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let subjects = match (&self.script, &self.source) {
            (Some(script), _) => vec![self.bare(script)?],
            (None, Some(source)) => of_tests(source)?,
            (None, None) => {
                return Err(Failed::Usage(
                    "nothing to check: give a test file, or a script with --script".to_owned(),
                ));
            }
        };
        let type_check = TypeCheck::find();
        if self.types && type_check.is_none() {
            return Err(Failed::Usage(types::MISSING.to_owned()));
        }
        let mut text = String::new();
        let mut located = Vec::new();
        let mut stopped = false;
        for subject in &subjects {
            let findings = subject.findings(type_check.as_ref())?;
            stopped |= stops(&findings);
            match self.format {
                Format::Human => text.push_str(&subject.tell(&findings)),
                Format::Json => located.extend(findings.iter().map(|finding| {
                    let located = locate(&subject.name, finding, &subject.origin);
                    serde_json::to_value(located).unwrap_or_default()
                })),
            }
        }
        if self.format == Format::Json {
            text = serde_json::to_string_pretty(&located).unwrap_or_default() + "\n";
        }
        write_stdout(&text)?;
        Ok(ExitCode::from(if stopped {
            code::WRONG_USAGE
        } else {
            code::PASSED
        }))
    }

    fn bare(&self, script: &Path) -> Result<Subject, Failed> {
        Ok(Subject {
            name: script.display().to_string(),
            origin: read_script(script)?,
            surroundings: Surroundings {
                machines: self
                    .nodes
                    .as_ref()
                    .map(|nodes| nodes.iter().map(|name| python_name(name)).collect()),
                ..Surroundings::default()
            },
            parts: Parts::ALL,
        })
    }
}

/// A script that is a file.
pub fn read_script(path: &Path) -> Result<Origin, Failed> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failed::Usage(format!(
            "the script {} cannot be read: {error}",
            path.display()
        ))
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        Failed::Usage(format!(
            "the script {} is not UTF-8: the byte at {position} is wrong",
            path.display()
        ))
    })?;
    Ok(Origin::of_file(text, path))
}

fn of_tests(source: &Source) -> Result<Vec<Subject>, Failed> {
    let Prepared {
        nix,
        library,
        evaluation,
    } = source.prepare()?;
    let tests = on_this_thread(nix::evaluate(&nix, &library, &evaluation))?;
    Ok(tests.iter().map(Subject::of_test).collect())
}

/// What a manifest tells of the names in its script.
pub fn surroundings(manifest: &Manifest) -> Surroundings {
    // The driver of 2020 knew machines by their host names.
    let machine_names = manifest.nodes.values().filter_map(Node::machine_name);
    Surroundings {
        machines: Some(
            manifest
                .nodes
                .keys()
                .map(|node| python_name(node))
                .collect(),
        ),
        further_names: machine_names.map(python_name).collect(),
        vlans: Some(manifest.vlans.clone()),
    }
}

impl Subject {
    fn of_test(test: &Test) -> Self {
        Self {
            name: test.label().to_owned(),
            origin: test.origin(),
            surroundings: surroundings(&test.manifest),
            parts: Parts::of(&test.manifest),
        }
    }

    fn findings(&self, type_check: Option<&TypeCheck>) -> Result<Vec<Finding>, Failed> {
        let mut findings = check(self.origin.script(), &self.surroundings, self.parts);
        // On a script that is wrong already it would only say so again.
        if let Some(type_check) = type_check
            && self.parts.types == Wanted::Yes
            && !stops(&findings)
        {
            findings.extend(type_check.run(&self.origin, &self.surroundings)?);
        }
        Ok(findings)
    }

    fn tell(&self, findings: &[Finding]) -> String {
        let text: String = findings
            .iter()
            .map(|finding| show(finding, &self.origin, Colours::of_stdout()) + "\n")
            .collect();
        let verdict = match count(findings) {
            nothing if nothing.is_empty() => "no findings".to_owned(),
            counts => counts,
        };
        text + &format!("{}: {verdict}\n", self.name)
    }
}
