//! Commands above tests and subtests.

use std::path::Path;

use lsp_types::{CodeLens, Command};
use serde::{Deserialize, Serialize};

use super::known_tests::KnownTests;
use super::open_file::OpenFile;
use super::positions;
use crate::language::check::subtests;

/// The command that runs tests. The server does it, if the editor does not.
pub(super) const RUN: &str = "snowglobe.run";

/// The command that opens a prompt, which takes a terminal of the editor.
pub(super) const DEBUG: &str = "snowglobe.debug";

/// The argument of both commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LensArguments {
    /// The arguments of `snowglobe`.
    pub arguments: Vec<String>,
    /// The folder to run it in.
    pub directory: String,
}

pub(super) fn lenses(
    file: &OpenFile,
    known: &KnownTests,
    server_options: &[String],
) -> Vec<CodeLens> {
    let mut lenses = Vec::new();
    for view in file.views(known) {
        let attribute = view.facts.attribute.as_deref().unwrap_or_default();
        let command = |title: &str, command: &str, words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned());
            let words: Vec<String> = words.chain(server_options.iter().cloned()).collect();
            command_of(&file.test_file, attribute, title, command, &words)
        };
        let mut add = |at: usize, command: Command| {
            lenses.push(CodeLens {
                range: positions::range(&file.text, &(at..at)),
                command: Some(command),
                data: None,
            });
        };
        add(
            view.script.literal.start,
            command("Run test", RUN, &["run"]),
        );
        for subtest in subtests(&view.script.text) {
            let Some(range) = view.script.in_file(&subtest.range) else {
                continue;
            };
            let only = format!("^{}$", regex_lite::escape(&subtest.name));
            let run = command("Run subtest", RUN, &["run", "--only", &only]);
            add(range.start, run);
            let debug = command("Debug from here", DEBUG, &["debug", "--at", &subtest.name]);
            add(range.start, debug);
        }
    }
    lenses
}

fn command_of(
    test_file: &Path,
    attribute: &str,
    title: &str,
    command: &str,
    words: &[String],
) -> Command {
    let mut arguments = words.to_vec();
    arguments.insert(1, test_file.to_string_lossy().into_owned());
    if !attribute.is_empty() {
        arguments.extend(["-A", attribute].map(str::to_owned));
    }
    let directory = test_file.parent().unwrap_or(Path::new("/"));
    let argument = LensArguments {
        arguments,
        directory: directory.to_string_lossy().into_owned(),
    };
    Command {
        title: title.to_owned(),
        command: command.to_owned(),
        arguments: serde_json::to_value(argument).ok().map(|it| vec![it]),
    }
}
