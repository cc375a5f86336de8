//! `snowglobe eval` and `snowglobe list`: what a file holds, without building it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::error::{Failed, exit_code_of_errors, show_message, show_warning};
use super::filter::FilterOptions;
use super::many_options::{ConfigOption, EvalOptions, project};
use super::source::{Source, SourceOptions, on_this_thread};
use super::write_stdout;
use crate::model::manifest::Manifest;
use crate::nix_cli::{self, ScriptEdits, TestNames};
use crate::runner::{Candidate, ListedTests, TestSelection, list};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    Human,
    Json,
}

#[derive(Debug, Args)]
pub struct EvalCommand {
    #[command(flatten)]
    source: Source,
    /// Select the output format.
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    format: ListFormat,
}

#[derive(Debug, Args)]
pub struct ListCommand {
    /// Test files, folders with a default.nix, or FLAKE#ATTRIBUTE.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    source: SourceOptions,
    /// Select the output format.
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    format: ListFormat,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    eval: EvalOptions,
}

/// A test of a list.
#[derive(Debug, Serialize)]
struct ListedTest {
    /// If there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(flatten)]
    test: TestNames,
}

impl EvalCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let TestSelection {
            nix,
            library,
            mut evaluation,
            ..
        } = self.source.select()?;
        // The manifest names the script's derivation.
        evaluation.edits = ScriptEdits::Evaluated;
        let tests = on_this_thread(nix_cli::evaluate(&nix, &library, &evaluation))?;
        let manifests: Vec<&Manifest> = tests.iter().map(|test| &test.manifest).collect();
        let text = match self.format {
            // One test is the usual case: it need not be taken out of a list.
            ListFormat::Json if manifests.len() == 1 => json(manifests[0]),
            ListFormat::Json => json(&manifests),
            ListFormat::Human => manifests.iter().copied().map(describe).collect(),
        };
        write_stdout(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ListCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let config = self.config.read()?;
        let files = self.files.iter();
        let selections = files.map(|file| self.source.select_with(file, &config));
        let selections = selections.collect::<Result<Vec<_>, _>>()?;
        let (filter, project) = (self.filter.filter(), project(config));
        let limits = self.eval.limits();
        let ListedTests { tests, errors } =
            on_this_thread(list(&selections, &filter, &project, limits))?;
        let candidates: Vec<Candidate<'_>> = tests.iter().map(candidate).collect();
        if filter.is_all() && errors.is_empty() {
            for expression in project.unused_overrides(&candidates) {
                let file = project.config.file.as_deref().unwrap_or(Path::new(""));
                show_warning(&format!(
                    "no test fits the override `{expression}` in {}",
                    file.display()
                ));
            }
        }
        let tags: Vec<Vec<String>> = candidates.iter().map(|it| project.tags(it)).collect();
        drop(candidates);
        let listed: Vec<ListedTest> = tests
            .into_iter()
            .zip(tags)
            .map(|((selection, test), tags)| ListedTest {
                file: (selections.len() > 1).then(|| selection.evaluation.place.to_string()),
                test: TestNames { tags, ..test },
            })
            .collect();
        let text = match self.format {
            ListFormat::Json => json(&listed),
            ListFormat::Human => listed.iter().map(line).collect(),
        };
        if !listed.is_empty() {
            write_stdout(&text)?;
        }
        for error in &errors {
            show_message(&error.to_string());
        }
        Ok(exit_code_of_errors(&errors))
    }
}

/// Returns a listed test as a filter sees it.
fn candidate<'a>((selection, names): &'a (&TestSelection, TestNames)) -> Candidate<'a> {
    Candidate {
        source: &selection.source,
        names,
        label: names.label(),
        backend: None,
    }
}

fn line(ListedTest { file, test }: &ListedTest) -> String {
    let file = file.as_ref();
    let file = file.map_or(String::new(), |file| format!("{file}: "));
    let containers = test
        .containers
        .iter()
        .map(|name| format!("{name} (container)"));
    let members: Vec<String> = test.nodes.iter().cloned().chain(containers).collect();
    let members = members.join(", ");
    let tags = if test.tags.is_empty() {
        String::new()
    } else {
        format!(" (tags: {})", test.tags.join(", "))
    };
    if test.attribute.is_empty() {
        format!("{file}{}: {members}{tags}\n", test.name)
    } else {
        format!(
            "{file}{} ({}): {members}{tags}\n",
            test.attribute, test.name
        )
    }
}

fn describe(manifest: &Manifest) -> String {
    let nodes = manifest.nodes.iter().map(|(name, node)| {
        let networks: Vec<String> = node.vlans.iter().map(u32::to_string).collect();
        let networks = if networks.is_empty() {
            "none".to_owned()
        } else {
            networks.join(", ")
        };
        let starts = match (&node.start_script, &node.container) {
            (Some(script), _) => script.display().to_string(),
            (None, Some(container)) => match container.init.first() {
                Some(init) => format!("container of {init}"),
                None => "container".to_owned(),
            },
            (None, None) => "not built".to_owned(),
        };
        format!("  {name}: networks {networks}, {starts}\n")
    });
    let containers = manifest
        .containers
        .keys()
        .map(|name| format!("  {name}: of `containers`, which the built-in guests do not have\n"));
    let head = format!(
        "{}: {} machine(s), at most {} s\n",
        manifest.name,
        manifest.nodes.len(),
        manifest.global_timeout_s
    );
    [head].into_iter().chain(nodes).chain(containers).collect()
}

fn json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("manifests are plain data");
    text + "\n"
}
