//! The command line of `nix-instantiate` for an evaluation.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::eval_error::EvalError;
use super::evaluation::{
    Arguments, DebianPackages, Evaluation, Form, Nixpkgs, PackageSource, TestSource, Want,
};
use super::working_tree::flake_file;
use super::{Library, Nix};
use crate::bounded_file::open_regular;

/// The command that evaluates the library's entry.
pub(super) fn entry_command(
    nix: &Nix,
    library: &Library,
    evaluation: &Evaluation,
    want: Want<'_>,
) -> Result<Command, EvalError> {
    let mut paths = paths(&evaluation.attributes)?;
    if paths.is_empty() {
        // The one to the value itself.
        paths.push(Vec::new());
    }
    let mut command = instantiate(nix, &library.entry());
    command
        .args(["--arg", "attributes", &nix_lists(&paths)])
        .args(["--arg", "arguments", &nix_arguments(&evaluation.arguments)])
        .args(["--argstr", "want", want.name()]);
    if !evaluation.chosen.is_empty() {
        let chosen = nix_lists(&self::paths(&evaluation.chosen)?);
        command.args(["--arg", "chosen", &chosen]);
    }
    if evaluation.is_part {
        command.args(["--arg", "isPart", "true"]);
    }
    if evaluation.form == Form::ByHand {
        command.args(["--arg", "interactive", "true"]);
    }
    if let Some(store) = evaluation.snapshot_safety.name() {
        command.args(["--argstr", "snapshotStore", store]);
    }
    if evaluation.is_switchable {
        command.args(["--arg", "isSwitchable", "true"]);
    }
    add_backend(&mut command, evaluation);
    if let Want::Part(nodes) = want {
        command.args(["--arg", "nodes", &nix_list(nodes)]);
    }
    if let Want::Check(options) = want {
        let allow = if options.allow_emulation {
            "true"
        } else {
            "false"
        };
        command.args(["--arg", "allowEmulation", allow]);
        if let Some(program) = &options.program {
            command.arg("--argstr").arg("program").arg(program);
        }
    }
    add_place(&mut command, &evaluation.place)?;
    add_nixpkgs(&mut command, library, &evaluation.nixpkgs)?;
    if let PackageSource::Debian(packages) = &evaluation.packages {
        add_debian(&mut command, library, packages)?;
    }
    if evaluation.nixpkgs != Nixpkgs::Builtin
        && std::env::var_os(HEAP_VARIABLE).is_none()
        && let Some(mib) = evaluation.heap_mib.or_else(heap_of_one_test_mib)
    {
        command.env(HEAP_VARIABLE, mib.saturating_mul(1 << 20).to_string());
    }
    if let Some(index) = &evaluation.guest_index {
        command.arg("-I");
        command.arg(format!("snowglobe-guest-index={}", index.display()));
    }
    for include in &evaluation.arguments.includes {
        command.args(["-I", include]);
    }
    if evaluation.arguments.show_trace {
        command.arg("--show-trace");
    }
    Ok(command)
}

/// The command that makes a test of its parts, which are in a file.
pub(super) fn whole_command(
    nix: &Nix,
    library: &Library,
    evaluation: &Evaluation,
    parts: &Path,
) -> Result<Command, EvalError> {
    let mut command = instantiate(nix, &library.whole());
    command.args(["--argstr", "parts"]).arg(parts);
    add_backend(&mut command, evaluation);
    add_file(&mut command, &evaluation.place)?;
    Ok(command)
}

fn instantiate(nix: &Nix, entry: &Path) -> Command {
    let mut command = nix.command("nix-instantiate");
    command
        // It prints which files it evaluates, and which it copies.
        .args(["--eval", "--strict", "--json", "--read-write-mode", "-vv"])
        .arg(entry);
    command
}

fn add_backend(command: &mut Command, evaluation: &Evaluation) {
    if let Some(backend) = evaluation.backend {
        command.args(["--argstr", "backend", backend.name()]);
    }
}

fn add_place(command: &mut Command, place: &TestSource) -> Result<(), EvalError> {
    if let TestSource::Flake(flake) = place {
        command.args(["--extra-experimental-features", "flakes nix-command"]);
        flake.add_to(command);
    }
    add_file(command, place)
}

/// Where scripts are looked for.
fn add_file(command: &mut Command, place: &TestSource) -> Result<(), EvalError> {
    let file = match place {
        TestSource::File(file) => test_file(file)?,
        TestSource::Flake(flake) => flake_file(&flake.reference),
    };
    command.args(["--argstr", "file"]).arg(file);
    Ok(())
}

fn add_nixpkgs(
    command: &mut Command,
    library: &Library,
    nixpkgs: &Nixpkgs,
) -> Result<(), EvalError> {
    match nixpkgs {
        Nixpkgs::FromFile => {}
        Nixpkgs::Builtin => {
            command.args(["--argstr", "nixpkgs", "builtin", "-I"]);
            command.arg(format!("nixpkgs={}", library.builtin().display()));
        }
        Nixpkgs::Path(path) => {
            let path = std::path::absolute(path).map_err(|source| EvalError::File {
                path: path.clone(),
                source,
            })?;
            command.arg("--argstr").arg("nixpkgs").arg(&path);
            command.arg("-I").arg(format!("nixpkgs={}", path.display()));
        }
    }
    Ok(())
}

/// Has every nixpkgs that the tests import take Debian's packages, and the machines by a module that older
/// releases add to each of them. Tests of newer ones are extended by their adapter.
fn add_debian(
    command: &mut Command,
    library: &Library,
    packages: &DebianPackages,
) -> Result<(), EvalError> {
    let folder = library.debian();
    for (name, file) in [
        ("snowglobe-debian-index", &packages.index),
        ("snowglobe-debian-names", &packages.names),
    ] {
        command.arg("-I").arg(format!("{name}={}", file.display()));
    }
    if let Some(table) = &packages.table {
        command.env("SNOWGLOBE_PACKAGES_TABLE", test_file(table)?);
    }
    command.env("NIXOS_EXTRA_MODULE_PATH", folder.join("module.nix"));
    command.args(["--arg", "debianPackages", "true"]);
    Ok(())
}

/// Read by Nix's garbage collector.
pub(super) const HEAP_VARIABLE: &str = "GC_INITIAL_HEAP_SIZE";

/// The memory that is filled before garbage is looked for: at most a quarter of what there is. Five machines of NixOS
/// need 1.6 GiB, one needs a third of that: looking for garbage meanwhile finds little, and takes up to a third of the
/// time. What is not needed is not taken.
fn heap_of_one_test_mib() -> Option<u64> {
    let memory = nix::sys::sysinfo::sysinfo().ok()?.ram_total();
    Some((memory >> 22).min(2048))
}

/// The file itself, or the `default.nix` of a folder; absolute.
pub(super) fn test_file(path: &Path) -> Result<PathBuf, EvalError> {
    let file = if path.is_dir() {
        path.join("default.nix")
    } else {
        path.to_owned()
    };
    if !file.exists() {
        return Err(if path.join("flake.nix").is_file() {
            EvalError::OnlyFlake(path.to_owned())
        } else {
            EvalError::NoFile(file)
        });
    }
    // Nix would wait for the other end of a named pipe.
    if let Err(source) = open_regular(&file) {
        return Err(EvalError::File { path: file, source });
    }
    std::path::absolute(&file).map_err(|source| EvalError::File { path: file, source })
}

/// Attribute paths as the names to follow.
fn paths(written: &[String]) -> Result<Vec<Vec<String>>, EvalError> {
    let split =
        |path: &String| split_attribute(path).ok_or_else(|| EvalError::BadAttribute(path.clone()));
    written.iter().map(split).collect()
}

fn nix_lists(paths: &[Vec<String>]) -> String {
    let lists: Vec<String> = paths.iter().map(|names| nix_list(names)).collect();
    format!("[ {} ]", lists.join(" "))
}

/// `a."b.c".d` as `["a", "b.c", "d"]`. In quotation marks, a backslash stands before one of them, or another backslash.
fn split_attribute(path: &str) -> Option<Vec<String>> {
    let mut names: Vec<(String, bool)> = vec![(String::new(), false)];
    let mut in_quotes = false;
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        let (name, has_quotes) = names.last_mut()?;
        match letter {
            '"' => {
                in_quotes = !in_quotes;
                *has_quotes = true;
            }
            '\\' if in_quotes => name.push(letters.next()?),
            '.' if !in_quotes => names.push((String::new(), false)),
            _ => name.push(letter),
        }
    }
    let is_name = |(name, has_quotes): &(String, bool)| *has_quotes || !name.is_empty();
    let names = names.into_iter().filter(is_name).map(|(name, _)| name);
    (!in_quotes).then(|| names.collect())
}

fn nix_string(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace("${", "\\${")
    )
}

fn nix_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| nix_string(item)).collect();
    format!("[ {} ]", items.join(" "))
}

fn nix_arguments(arguments: &Arguments) -> String {
    let expressions = arguments
        .expressions
        .iter()
        // On a line of its own, so that a comment at its end hides nothing.
        .map(|(name, expression)| format!("{} = (\n{expression}\n);", nix_string(name)));
    let strings = arguments
        .strings
        .iter()
        .map(|(name, text)| format!("{} = {};", nix_string(name), nix_string(text)));
    format!(
        "{{ {} }}",
        expressions.chain(strings).collect::<Vec<_>>().join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_paths_may_be_quoted() {
        assert_eq!(split_attribute("a.b"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(
            split_attribute(r#"checks."x.y".z"#),
            Some(vec!["checks".into(), "x.y".into(), "z".into()])
        );
        assert_eq!(
            split_attribute(r#""q\"x"."\\"."".y"#),
            Some(vec![
                r#"q"x"#.into(),
                r"\".into(),
                String::new(),
                "y".into()
            ])
        );
        assert_eq!(split_attribute(r#"a."b"#), None);
    }

    #[test]
    fn strings_reach_nix_as_they_are() {
        assert_eq!(nix_string(r#"a"b\c${d}"#), r#""a\"b\\c\${d}""#);
    }
}
