//! Asks the library's entry by `nix-instantiate`: what is remembered, one process, or one for each part of a test.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::future::try_join_all;
use nix::libc;
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

use super::cache::{Cache, NixReply, Question};
use super::entry_command::{HEAP_VARIABLE, entry_command, test_file, whole_command};
use super::eval_error::EvalError;
use super::evaluation::{Evaluation, Nixpkgs, TestSource, Want};
use super::flake::lock_hint;
use super::git_hint::{git_hint, outside_hint};
use super::message::{describe_error, evaluated_file, split_warnings};
use super::moment::Moment;
use super::package_hint::package_hint;
use super::sources::FetchedNixpkgs;
use super::{Library, Nix};
use crate::child;

/// The answer of the library's entry for one test.
pub(super) trait Answer: DeserializeOwned {
    /// Returns the derivation that the evaluation has put into the store for the test.
    fn derivation(&self) -> Option<&Path>;
}

/// Returns the answer of the library's entry for an evaluation: from the cache, if everything that is remembered is
/// still in the store.
pub(super) async fn instantiate<T: Answer>(
    nix: &Nix,
    library: &Library,
    evaluation: &Evaluation,
    want: Want<'_>,
) -> Result<Vec<T>, EvalError> {
    let process = Process {
        nix,
        library,
        evaluation,
    };
    process.lock_flake().await?;
    let command = entry_command(nix, library, evaluation, want)?;
    let memory = Memory::of(library, evaluation, &command);
    if let Some((items, reply)) = memory.as_ref().and_then(Memory::recall) {
        nix.warn(&reply.warnings);
        return Ok(items);
    }
    let begin = Moment::now();
    let whole = if matches!(want, Want::Manifest) && !evaluation.parts.is_empty() {
        process.run_parts().await?
    } else {
        None
    };
    let given = match whole {
        Some(given) => given,
        None => process.run(command).await?,
    };
    nix.warn(&given.reply.warnings);
    let items = serde_json::from_str(&given.reply.answer).map_err(EvalError::BadManifest)?;
    if let Some(memory) = memory {
        let mut read = given.read;
        if let TestSource::File(file) = &evaluation.place {
            // Nix tells where a link leads to, and not of the link.
            read.push(test_file(file)?);
        }
        memory
            .cache
            .remember(&memory.question, &read, begin, given.reply);
    }
    Ok(items)
}

/// Where the answer to a question is remembered.
struct Memory<'a> {
    cache: Cache<'a>,
    question: Question,
}

impl<'a> Memory<'a> {
    /// None without a cache, or if the answer may be another each time.
    fn of(library: &'a Library, evaluation: &'a Evaluation, command: &Command) -> Option<Self> {
        let fetched = if evaluation.nixpkgs == Nixpkgs::Builtin {
            FetchedNixpkgs::Replaced
        } else {
            FetchedNixpkgs::Used
        };
        Some(Self {
            cache: Cache {
                folder: library.evaluations()?,
                own: library.folder(),
                flake: match &evaluation.place {
                    TestSource::File(_) => None,
                    TestSource::Flake(flake) => flake.source(),
                },
                fetched,
            },
            question: question(command, evaluation)?,
        })
    }

    /// The answer, as long as Nix's garbage collector has not been there.
    fn recall<T: Answer>(&self) -> Option<(Vec<T>, NixReply)> {
        let reply = self.cache.recall(&self.question)?;
        let items: Vec<T> = serde_json::from_str(&reply.answer).ok()?;
        let is_there = items.iter().filter_map(T::derivation).all(Path::exists);
        is_there.then_some((items, reply))
    }
}

/// The output of processes of Nix.
struct Given {
    reply: NixReply,
    /// The files that were evaluated.
    read: Vec<PathBuf>,
}

/// A process of Nix to start.
struct Process<'a> {
    nix: &'a Nix,
    library: &'a Library,
    evaluation: &'a Evaluation,
}

impl Process<'_> {
    /// Resolves the inputs of a flake, once for all evaluations.
    async fn lock_flake(&self) -> Result<(), EvalError> {
        let TestSource::Flake(flake) = &self.evaluation.place else {
            return Ok(());
        };
        let run = async |command| {
            let Given { reply, .. } = self.run(command).await?;
            self.nix.warn(&reply.warnings);
            Ok(reply.answer)
        };
        flake.lock(self.nix, self.library, run).await?;
        Ok(())
    }

    async fn run(&self, mut command: Command) -> Result<Given, EvalError> {
        child::die_with_parent(&mut command, Signal::SIGKILL);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let output = command.output().await.map_err(|source| EvalError::NoNix {
            program: command.as_std().get_program().display().to_string(),
            source,
        })?;
        let (warnings, message) = split_warnings(&String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            return Ok(Given {
                reply: NixReply { answer, warnings },
                read: message.lines().filter_map(evaluated_file).collect(),
            });
        }
        self.nix.warn(&warnings);
        if let Some(signal) = output.status.signal() {
            return Err(match signal {
                // What a file can bring about.
                libc::SIGSEGV | libc::SIGABRT | libc::SIGKILL => EvalError::Killed(signal),
                _ => EvalError::EndedByHost(child::describe_end(output.status)),
            });
        }
        let mut message = describe_error(&message, self.library.folder());
        if self.evaluation.nixpkgs == Nixpkgs::Builtin {
            let hint = package_hint(&message, self.evaluation.guest_index.as_deref());
            message.extend(hint);
        }
        if let TestSource::Flake(flake) = &self.evaluation.place {
            message.extend(git_hint(&message, &flake.reference));
            message.extend(outside_hint(&message, &flake.reference));
            message.extend(lock_hint(&message));
        }
        if message.contains(NO_NIXPKGS) {
            message.push_str(NIXPKGS_HINT);
        }
        Err(EvalError::Nix(message))
    }

    /// The parts at a time, and then the whole that they make. The first error of the test ends all; None where one
    /// process may still do it.
    async fn run_parts(&self) -> Result<Option<Given>, EvalError> {
        let Self {
            nix,
            library,
            evaluation,
        } = self;
        let parts = evaluation.parts.iter().map(async |nodes| {
            let command = entry_command(nix, library, evaluation, Want::Part(nodes))?;
            self.run(command).await
        });
        let parts = match try_join_all(parts).await {
            // Several need more memory than one.
            Err(EvalError::Killed(_)) => return Ok(None),
            other => other?,
        };
        let answers: Vec<&str> = parts.iter().map(|part| part.reply.answer.trim()).collect();
        let mut file = tempfile::NamedTempFile::new_in(crate::folders::temporary_base())
            .map_err(EvalError::Temporary)?;
        write!(file, "[{}]", answers.join(",")).map_err(EvalError::Temporary)?;
        let whole = whole_command(nix, library, evaluation, file.path())?;
        let Ok(mut given) = self.run(whole).await else {
            return Ok(None);
        };
        given.reply.warnings = warnings_of(&parts);
        given.read = parts.into_iter().flat_map(|part| part.read).collect();
        Ok(Some(given))
    }
}

/// Returns the warnings of all parts, each once.
fn warnings_of(parts: &[Given]) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for part in parts {
        let new = part.reply.warnings.lines();
        let new: Vec<&str> = new.filter(|line| !lines.contains(line)).collect();
        lines.extend(new);
    }
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// Returns the question that can be remembered; `None` if the answer may differ each time.
fn question(command: &Command, evaluation: &Evaluation) -> Option<Question> {
    let is_fixed = match &evaluation.place {
        TestSource::File(_) => true,
        // Else Nix knows when it is old.
        TestSource::Flake(flake) => flake.source().is_some(),
    };
    if !is_fixed || evaluation.arguments.show_trace {
        return None;
    }
    // Expressions may read anything.
    let is_plain = |text: &str| {
        !text.contains(['/', '<', '(', '.']) && !text.contains("builtins") && !text.contains("__")
    };
    let expressions = &evaluation.arguments.expressions;
    if !expressions.iter().all(|(_, text)| is_plain(text)) {
        return None;
    }
    let mut arguments: Vec<String> = command
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let includes: Vec<String> = arguments
        .windows(2)
        .filter(|pair| pair[0] == "-I")
        .map(|pair| pair[1].clone())
        .collect();
    // How much memory Nix has changes no answer.
    let own = command
        .get_envs()
        .filter(|(name, _)| *name != HEAP_VARIABLE);
    arguments.extend(own.map(|(name, value)| format!("{}={value:?}", name.display())));
    // A relative `-I` means another folder elsewhere.
    arguments.push(std::env::current_dir().ok()?.display().to_string());
    Question::new(arguments, &includes)
}

/// Nix's message on a missing `<nixpkgs>`, and the ways to have one.
const NO_NIXPKGS: &str = "file 'nixpkgs' was not found in the Nix search path";
const NIXPKGS_HINT: &str = "\n\nSay which nixpkgs is meant: `--nixpkgs builtin` for the built-in guests, \
    `--nixpkgs PATH` or `-I nixpkgs=PATH` for a tree of your own; or once for all, in snowglobe.toml: \
    `[defaults]` with `nixpkgs = \"builtin\"` or a path.";
