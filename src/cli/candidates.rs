//! The values that a shell may complete: files with tests, attribute paths, nodes, subtests, and names of tests.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};

use super::Cli;
use super::source::{SourceOptions, on_this_thread};
use crate::config::Config;
use crate::history::History;
use crate::language::check::subtest_names;
use crate::nix_cli::{self, EvalError, Test, TestNames};
use crate::runner::TestSelection;
use crate::runner::running_machines;

/// The number of the word to complete, in the words after `--`; without it, the last one.
const INDEX_VARIABLE: &str = "_CLAP_COMPLETE_INDEX";

/// How long a shell may wait for Nix.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of a file is searched for a test.
const SEARCHED_BYTES: u64 = 1 << 20;

/// Words that only files with tests have.
const WORDS_OF_TESTS: [&str; 5] = [
    "testScript",
    "nixosTest",
    "runTest",
    "runNixOSTest",
    "makeTest",
];

/// Files with tests, folders, and the tests of a flake after a `#`.
pub fn test_files() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        if let Some((flake, _)) = current.to_str().and_then(|text| text.split_once('#')) {
            return tests_of_flake(flake, current);
        }
        let found = |is_wanted: fn(&Path) -> bool| {
            let with_folders = move |path: &Path| path.is_dir() || is_wanted(path);
            PathCompleter::any().filter(with_folders).complete(current)
        };
        let with_tests = found(holds_test);
        let has_file = with_tests.iter().any(|it| !is_folder(it));
        // A file may import its tests.
        if has_file { with_tests } else { found(is_nix) }
    })
}

/// Attribute paths of the tests in the file.
pub fn attributes() -> ArgValueCompleter {
    of_tests(|test| vec![test.attribute])
}

/// Nodes of the tests in the file.
pub fn nodes() -> ArgValueCompleter {
    of_tests(|test| test.nodes)
}

/// Names of the tests in the files.
pub fn test_names() -> ArgValueCompleter {
    of_tests(|test| vec![test.name])
}

/// Names of tests that have run here, and files.
pub fn known_tests() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let history = History::read().unwrap_or_default();
        let tests = history.tests();
        let last = tests.iter().filter_map(|test| test.last());
        let mut found = fitting(last.map(|last| last.label.clone()), current);
        found.extend(PathCompleter::any().complete(current));
        found
    })
}

/// Patterns for the subtests of the tests in the file.
pub fn subtests() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let tests = of_selections(evaluate).into_iter();
        let names = tests.flat_map(|test| subtest_names(test.source_map().script()));
        fitting(names.map(|name| pattern_of(&name)), current)
    })
}

/// Machines that run now.
pub fn running_nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let running = running_machines().into_iter();
        fitting(running.map(|machine| machine.name().to_owned()), current)
    })
}

/// Words that an option has beside numbers or paths.
pub fn words(words: &'static [&'static str]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        fitting(words.iter().map(|word| (*word).to_owned()), current)
    })
}

/// `builtin`, and folders.
pub fn nixpkgs() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let mut found = fitting(["builtin".to_owned()], current);
        found.extend(PathCompleter::dir().complete(current));
        found
    })
}

/// A completer with what `of_test` takes of each test that the other words select.
fn of_tests(of_test: fn(TestNames) -> Vec<String>) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        fitting(of_selections(list).into_iter().flat_map(of_test), current)
    })
}

fn tests_of_flake(flake: &str, current: &OsStr) -> Vec<CompletionCandidate> {
    let selection = selection_of(&ArgMatches::default(), Path::new(&format!("{flake}#")));
    let tests = selection.and_then(|selection| in_time(list(selection)));
    let whole = |test: TestNames| format!("{flake}#{}", test.attribute);
    fitting(tests.unwrap_or_default().into_iter().map(whole), current)
}

/// The candidates that begin as what is typed, each once.
fn fitting(values: impl IntoIterator<Item = String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let begin = current.to_string_lossy();
    let mut values: Vec<String> = values
        .into_iter()
        .filter(|value| !value.is_empty() && value.starts_with(&*begin))
        .collect();
    values.sort();
    values.dedup();
    values.into_iter().map(CompletionCandidate::new).collect()
}

async fn list(selection: TestSelection) -> Result<Vec<TestNames>, EvalError> {
    nix_cli::list(&selection.nix, &selection.library, &selection.evaluation).await
}

async fn evaluate(selection: TestSelection) -> Result<Vec<Test>, EvalError> {
    nix_cli::evaluate(&selection.nix, &selection.library, &selection.evaluation).await
}

/// Returns the answers of Nix about the files that the other words select; none if Nix fails, or takes too long.
fn of_selections<T, Found>(evaluate: impl Fn(TestSelection) -> Found) -> Vec<T>
where
    Found: Future<Output = Result<Vec<T>, EvalError>>,
{
    let selections = selections().into_iter();
    let found = selections.filter_map(|selection| in_time(evaluate(selection)));
    found.flatten().collect()
}

fn in_time<T>(evaluation: impl Future<Output = Result<T, EvalError>>) -> Option<T> {
    let limited = async {
        let evaluation = tokio::time::timeout(PATIENCE, evaluation).await;
        evaluation.ok().transpose()
    };
    on_this_thread(limited).ok().flatten()
}

/// The files that the other words name, with their options.
fn selections() -> Vec<TestSelection> {
    let command = Cli::command().ignore_errors(true);
    let Ok(matches) = command.try_get_matches_from(other_words()) else {
        return Vec::new();
    };
    let Some((_, matches)) = matches.subcommand() else {
        return Vec::new();
    };
    let files = ["file", "files"]
        .into_iter()
        .filter_map(|id| matches.try_get_many::<PathBuf>(id).ok()?);
    let files = files.flatten();
    files
        .filter_map(|file| selection_of(matches, file))
        .collect()
}

/// The command line, but for the word to complete.
fn other_words() -> Vec<OsString> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let mut words: Vec<OsString> = words.collect();
    let index = std::env::var(INDEX_VARIABLE).ok();
    let index = index.and_then(|index| index.parse().ok());
    let index = index.unwrap_or(words.len().saturating_sub(1));
    if index < words.len() {
        words.remove(index);
    }
    words
}

fn selection_of(matches: &ArgMatches, file: &Path) -> Option<TestSelection> {
    let options = SourceOptions::from_arg_matches(matches).ok()?;
    let config = Config::of_folder(Path::new(".")).ok()?;
    options.select_with(file, &config).ok()
}

/// A regular expression that fits a name, and that shells take for one word as it is.
fn pattern_of(name: &str) -> String {
    let as_it_is = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ':' | ',' | '/');
    name.chars()
        .map(|c| if as_it_is(c) { c } else { '.' })
        .collect()
}

fn is_folder(candidate: &CompletionCandidate) -> bool {
    Path::new(candidate.get_value()).is_dir()
}

fn is_nix(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "nix")
}

fn holds_test(path: &Path) -> bool {
    let text = || {
        // Opening a pipe would wait for its other end.
        let file = path
            .is_file()
            .then(|| fs::File::open(path).ok())
            .flatten()?;
        let mut text = Vec::new();
        file.take(SEARCHED_BYTES).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    is_nix(path) && text().is_some_and(|text| WORDS_OF_TESTS.iter().any(|word| text.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_one_word() {
        assert_eq!(
            pattern_of("a user's (first) visit"),
            "a.user.s..first..visit"
        );
        assert_eq!(pattern_of("tcp:80, über"), "tcp:80,.über");
    }

    #[test]
    fn files_with_tests_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.nix"), "{ testScript = \"\"; }").unwrap();
        fs::write(path("b.nix"), "{ services = { }; }").unwrap();
        fs::write(path("c.txt"), "testScript").unwrap();
        fs::create_dir(path("d")).unwrap();
        let found = complete(&test_files(), &path(""));
        assert_eq!(found, ["a.nix", "d/"]);
        fs::remove_file(path("a.nix")).unwrap();
        let found = complete(&test_files(), &path(""));
        assert_eq!(found, ["b.nix", "d/"]);
    }

    /// Returns what a completer offers below a folder.
    fn complete(completer: &ArgValueCompleter, folder: &Path) -> Vec<String> {
        let found = completer.complete(folder.as_os_str());
        let names = found
            .iter()
            .map(|it| it.get_value().to_string_lossy().into_owned());
        let begin = folder.display().to_string();
        let mut names: Vec<String> = names
            .map(|it| {
                it.trim_start_matches(&begin)
                    .trim_start_matches('/')
                    .to_owned()
            })
            .collect();
        names.sort();
        names
    }
}
