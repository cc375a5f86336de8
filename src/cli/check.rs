//! `snowglobe check`: what is wrong with a test's script, before anything is built or booted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::error::{Failed, code};
use super::findings::{count, locate, show, stops};
use super::source::{Prepared, Source, on_this_thread};
use super::types::{self, TypeCheck};
use super::write_stdout;
use crate::language::check::{Finding, Parts, TestContext, Toggle, check};
use crate::manifest::{Manifest, Node, python_name};
use crate::nix_cli::{self, Test};
use crate::report::Colours;
use crate::source_map::SourceMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FindingFormat {
    Human,
    Json,
}

#[derive(Debug, Args)]
pub struct CheckCommand {
    #[command(flatten)]
    source: Option<Source>,
    /// Check a Python file instead of a test. Needs no Nix.
    #[arg(long, value_name = "FILE.py", conflicts_with = "Source")]
    script: Option<PathBuf>,
    /// The machines of --script [default: every name that is only used as a machine].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "script")]
    nodes: Option<Vec<String>>,
    /// Require the type check. Without `ty`, explain how to install it.
    #[arg(long)]
    types: bool,
    /// Select the output format.
    #[arg(long, value_enum, default_value_t = FindingFormat::Human)]
    format: FindingFormat,
}

/// A script with what is needed to check it.
struct CheckedScript {
    name: String,
    source_map: SourceMap,
    context: TestContext,
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
                FindingFormat::Human => text.push_str(&subject.emit(&findings)),
                FindingFormat::Json => located.extend(findings.iter().map(|finding| {
                    let located = locate(&subject.name, finding, &subject.source_map);
                    serde_json::to_value(located).unwrap_or_default()
                })),
            }
        }
        if self.format == FindingFormat::Json {
            text = serde_json::to_string_pretty(&located).unwrap_or_default() + "\n";
        }
        write_stdout(&text)?;
        Ok(ExitCode::from(if stopped {
            code::WRONG_USAGE
        } else {
            code::PASSED
        }))
    }

    fn bare(&self, script: &Path) -> Result<CheckedScript, Failed> {
        Ok(CheckedScript {
            name: script.display().to_string(),
            source_map: read_script(script)?,
            context: TestContext {
                machines: self
                    .nodes
                    .as_ref()
                    .map(|nodes| nodes.iter().map(|name| python_name(name)).collect()),
                ..TestContext::default()
            },
            parts: Parts::ALL,
        })
    }
}

/// A script that is a file.
pub fn read_script(path: &Path) -> Result<SourceMap, Failed> {
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
    Ok(SourceMap::of_file(text, path))
}

fn of_tests(source: &Source) -> Result<Vec<CheckedScript>, Failed> {
    let Prepared {
        nix,
        library,
        evaluation,
    } = source.prepare()?;
    let tests = on_this_thread(nix_cli::evaluate(&nix, &library, &evaluation))?;
    Ok(tests.iter().map(CheckedScript::of_test).collect())
}

/// The names that a manifest gives to its script.
pub fn context(manifest: &Manifest) -> TestContext {
    // The driver of nixpkgs 20.09 also has machines under their host names.
    let machine_names = manifest.nodes.values().filter_map(Node::machine_name);
    TestContext {
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

impl CheckedScript {
    fn of_test(test: &Test) -> Self {
        Self {
            name: test.label().to_owned(),
            source_map: test.source_map(),
            context: context(&test.manifest),
            parts: Parts::of(&test.manifest),
        }
    }

    fn findings(&self, type_check: Option<&TypeCheck>) -> Result<Vec<Finding>, Failed> {
        let mut findings = check(self.source_map.script(), &self.context, self.parts);
        // On a script that is wrong already it would only say so again.
        if let Some(type_check) = type_check
            && self.parts.types == Toggle::On
            && !stops(&findings)
        {
            findings.extend(type_check.run(&self.source_map, &self.context)?);
        }
        Ok(findings)
    }

    fn emit(&self, findings: &[Finding]) -> String {
        let text: String = findings
            .iter()
            .map(|finding| show(finding, &self.source_map, Colours::of_stdout()) + "\n")
            .collect();
        let verdict = match count(findings) {
            nothing if nothing.is_empty() => "no findings".to_owned(),
            counts => counts,
        };
        text + &format!("{}: {verdict}\n", self.name)
    }
}
