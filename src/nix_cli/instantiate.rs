//! Asks the library's entry by `nix-instantiate`: what is remembered, one process, or one for each part of a test.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use futures_util::future::try_join_all;
use nix::libc;
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cache::{Cache, Evaluated, NixReply};
use super::entry_command::{HEAP_VARIABLE, entry_command, test_file, whole_command};
use super::eval_error::EvalError;
use super::evaluation::{Evaluation, Nixpkgs, ScriptEdits, TestSource, Want};
use super::flake::{Flake, lock_hint};
use super::git_hint::{git_hint, outside_hint};
use super::message::{describe_error, split_warnings};
use super::moment::Moment;
use super::package_hint::package_hint;
use super::question::Question;
use super::reads::{Input, Reads};
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
    // A flake in a folder need not be resolved if what was read of it is the same.
    let of_folder = Memory::of_folder(&process, want)?;
    if let Some(items) = of_folder.as_ref().and_then(|memory| memory.recall(nix)) {
        return Ok(items);
    }
    process.lock_flake().await?;
    let command = entry_command(nix, library, evaluation, want)?;
    let memory = Memory::of(&process, &command, want);
    if let Some(items) = memory.as_ref().and_then(|memory| memory.recall(nix)) {
        return Ok(items);
    }
    let begin = Moment::now();
    let of_node = match &memory {
        Some(memory) if matches!(want, Want::Manifest) => {
            Box::pin(process.of_edited_node(memory)).await?
        }
        _ => None,
    };
    let given = match of_node {
        Some(given) => given,
        None => Box::pin(process.answer(command, want)).await?,
    };
    nix.warn(&given.reply.warnings);
    let items: Vec<T> =
        serde_json::from_str(&given.reply.answer).map_err(EvalError::BadManifest)?;
    remember([of_folder, memory], evaluation, &given, begin)?;
    Ok(items)
}

/// Remembers an answer as one that depends on the files of a flake's folder, or else on the flake's copy.
fn remember(
    memories: [Option<Memory<'_>>; 2],
    evaluation: &Evaluation,
    given: &Given,
    begin: Moment,
) -> Result<(), EvalError> {
    let mut reads = given.reads.clone();
    if let TestSource::File(file) = &evaluation.place {
        // Nix tells where a link leads to, and not of the link.
        reads.add(Input::Import(test_file(file)?));
    }
    for memory in memories.into_iter().flatten() {
        let tree = match memory.flake {
            Some(flake) => match flake.working_tree_of(&given.reply.answer) {
                Ok(tree) => Some(tree),
                Err(reason) => {
                    tracing::info!("the evaluation depends on the whole flake: {reason}");
                    continue;
                }
            },
            None => None,
        };
        let evaluated = Evaluated {
            reads: &reads,
            reply: given.reply.clone(),
            parts: &given.parts,
            begin,
            tree,
        };
        if memory.cache.remember(&memory.question, evaluated) {
            break;
        }
    }
    Ok(())
}

/// Where the answer to a question is remembered.
struct Memory<'a> {
    cache: Cache<'a>,
    question: Question,
    /// The flake, if the files of its folder count, and not its copy in the store.
    flake: Option<&'a Flake>,
}

impl<'a> Memory<'a> {
    /// None without a cache, or if the answer may be another each time.
    fn of(process: &Process<'a>, command: &Command, want: Want<'_>) -> Option<Self> {
        let is_fixed = match &process.evaluation.place {
            TestSource::File(_) => true,
            // Else Nix knows when it is old.
            TestSource::Flake(flake) => flake.is_resolved(),
        };
        if !is_fixed {
            return None;
        }
        let arguments = arguments(command);
        Self::of_arguments(process, arguments, command, want)
    }

    /// The memory for a flake in a folder of this host, before the flake is resolved; `None` for any other.
    fn of_folder(process: &Process<'a>, want: Want<'_>) -> Result<Option<Self>, EvalError> {
        let TestSource::Flake(flake) = &process.evaluation.place else {
            return Ok(None);
        };
        if !flake.is_plain_folder() {
            return Ok(None);
        }
        let Process {
            nix,
            library,
            evaluation,
        } = process;
        let command = entry_command(nix, library, evaluation, want)?;
        let mut arguments = arguments(&command);
        // The same before and after.
        if let Some(place) = arguments.iter().position(|it| it == "flakeLock") {
            "flake".clone_into(&mut arguments[place]);
            arguments[place + 1].clone_from(&flake.reference);
        }
        let memory = Self::of_arguments(process, arguments, &command, want);
        Ok(memory.map(|memory| Self {
            flake: Some(flake),
            ..memory
        }))
    }

    fn of_arguments(
        process: &Process<'a>,
        arguments: Vec<String>,
        command: &Command,
        want: Want<'_>,
    ) -> Option<Self> {
        let Process {
            library,
            evaluation,
            ..
        } = *process;
        let edits = match want {
            Want::Names | Want::Manifest => evaluation.edits,
            Want::Part(_) | Want::Check(_) | Want::Build => ScriptEdits::Evaluated,
        };
        Some(Self {
            cache: Cache {
                folder: library.evaluations()?,
                own: library.folder(),
                edits,
            },
            question: question(arguments, command, evaluation)?,
            flake: None,
        })
    }

    /// The answer, with its warnings again, as long as Nix's garbage collector has not been there.
    fn recall<T: Answer>(&self, nix: &Nix) -> Option<Vec<T>> {
        let reply = self.cache.recall(&self.question)?;
        let items: Vec<T> = serde_json::from_str(&reply.answer).ok()?;
        let is_there = items.iter().filter_map(T::derivation).all(Path::exists);
        is_there.then(|| {
            nix.warn(&reply.warnings);
            items
        })
    }
}

/// The output of processes of Nix.
struct Given {
    reply: NixReply,
    reads: Reads,
    /// The answers of the parts that it is made of.
    parts: Vec<Value>,
}

/// A process of Nix to start.
#[derive(Clone, Copy)]
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

    async fn run(&self, command: Command) -> Result<Given, EvalError> {
        let unobserved = unobserved(&command);
        let output = self.output(command).await?;
        let is_in_builtin = || String::from_utf8_lossy(&output.stderr).contains(OBSERVED_BUILTINS);
        if !output.status.success() && is_in_builtin() {
            return self.given(&self.output(unobserved).await?);
        }
        self.given(&output)
    }

    async fn output(&self, mut command: Command) -> Result<Output, EvalError> {
        child::die_with_parent(&mut command, Signal::SIGKILL);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        command.output().await.map_err(|source| EvalError::NoNix {
            program: command.as_std().get_program().display().to_string(),
            source,
        })
    }

    /// Returns what a process has given, or its error.
    fn given(&self, output: &Output) -> Result<Given, EvalError> {
        let (warnings, message) = split_warnings(&String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            return Ok(Given {
                reply: NixReply { answer, warnings },
                reads: Reads::parse(&message, &self.library.canary()),
                parts: Vec::new(),
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
        let answers = parts
            .iter()
            .map(|part| serde_json::from_str(&part.reply.answer));
        let Ok(answers) = answers.collect::<Result<Vec<Value>, _>>() else {
            return Ok(None);
        };
        let warnings = warnings_of(&parts);
        let mut reads = Reads::known();
        for part in parts {
            reads.merge(part.reads);
        }
        self.whole(answers, reads, warnings).await
    }

    /// Returns the answer that the answers of parts make; `None` if one process has to give it.
    async fn whole(
        &self,
        answers: Vec<Value>,
        reads: Reads,
        warnings: String,
    ) -> Result<Option<Given>, EvalError> {
        let mut file = tempfile::NamedTempFile::new_in(crate::folders::temporary_base())
            .map_err(EvalError::Temporary)?;
        let text = Value::Array(answers.clone()).to_string();
        file.write_all(text.as_bytes())
            .map_err(EvalError::Temporary)?;
        let whole = whole_command(self.nix, self.library, self.evaluation, file.path())?;
        let Ok(mut given) = self.run(whole).await else {
            return Ok(None);
        };
        given.reply.warnings = warnings;
        given.reads = reads;
        given.parts = answers;
        Ok(Some(given))
    }

    /// Returns the answer after an edit of one node, which alone is evaluated; `None` if more may have changed, or the
    /// evaluation fails: that of all nodes says why.
    async fn of_edited_node(&self, memory: &Memory<'_>) -> Result<Option<Given>, EvalError> {
        let Some((node, before)) = memory.cache.edited_node(&memory.question) else {
            return Ok(None);
        };
        let nodes = [node];
        let want = Want::Part(&nodes);
        let command = entry_command(self.nix, self.library, self.evaluation, want)?;
        let Ok(part) = self.run(command).await else {
            return Ok(None);
        };
        let [node] = &nodes;
        let Some(answers) = before.with(node, &part.reply.answer) else {
            return Ok(None);
        };
        let mut reads = before.reads;
        reads.merge(part.reads);
        tracing::info!("the node {node} alone was evaluated");
        self.whole(answers, reads, part.reply.warnings).await
    }

    /// Returns the answer of one process, or of one for each part.
    async fn answer(&self, command: Command, want: Want<'_>) -> Result<Given, EvalError> {
        let has_parts = matches!(want, Want::Manifest) && !self.evaluation.parts.is_empty();
        if has_parts && let Some(given) = self.run_parts().await? {
            return Ok(given);
        }
        self.run(command).await
    }
}

/// The file of the library in whose builtins an error may be.
const OBSERVED_BUILTINS: &str = "/observe/builtins.nix";

/// Returns the same command, without reports of what is read.
fn unobserved(command: &Command) -> Command {
    let mut other = Command::new(command.get_program());
    other.args(command.get_args());
    other.args(["--arg", "isObserved", "false"]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
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

fn arguments(command: &Command) -> Vec<String> {
    let arguments = command.get_args();
    arguments
        .map(|it| it.to_string_lossy().into_owned())
        .collect()
}

/// Returns the question that can be remembered; `None` if the answer may differ each time.
fn question(
    mut arguments: Vec<String>,
    command: &Command,
    evaluation: &Evaluation,
) -> Option<Question> {
    if evaluation.arguments.show_trace {
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
