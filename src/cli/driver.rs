//! `snowglobe driver`: runs what is built already, as nixpkgs' own test driver does.
//!
//! It takes the command lines and the environments of the drivers of 2020
//! (start scripts, and the script in `testScript`), of 2021 to 2025 (options,
//! each with a variable that stands in for it) and of 2026 (`--config`), and a
//! manifest that is built.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::check::read_script;
use super::error::Failed;
use super::run_options::{Plan, RunOptions, block_on, exit_code, finish, interrupts};
use super::source::read_json;
use crate::event::Level;
use crate::machine::StateRetention;
use crate::manifest::{self, Guest, Manifest, Node, ScriptSource};
use crate::report::{Above, Output};
use crate::script::RunMode;
use crate::session::{self, ReplayMode};
use crate::source_map::SourceMap;

/// `test_script()` of the driver of nixpkgs 20.09.
const OWN_SCRIPT: &str =
    "def test_script():\n    import os\n    exec(os.environ[\"testScript\"], globals())\n\n\n";

/// What nixpkgs' driver grants a test that says nothing.
const DEFAULT_TIMEOUT_S: u64 = 3600;

#[derive(Debug, Args)]
pub struct DriverCommand {
    /// The test script [default: $testScript], or the start scripts as in nixpkgs 20.09.
    #[arg(value_name = "SCRIPT")]
    files: Vec<PathBuf>,
    /// Run the test of this built manifest.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "start_scripts", "vlans", "files"])]
    manifest: Option<PathBuf>,
    /// Read the configuration file of nixpkgs' driver (26.05 or newer).
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["start_scripts", "vlans", "files"])]
    config: Option<PathBuf>,
    /// Start scripts of the machines [default: $startScripts].
    #[arg(long, value_name = "FILE", num_args = 0..)]
    start_scripts: Option<Vec<PathBuf>>,
    /// Names of the machines, in the order of their start scripts [default: $vmNames].
    #[arg(long, value_name = "NAME", num_args = 0..)]
    vm_names: Option<Vec<String>>,
    /// The same as --start-scripts [default: $vmStartScripts].
    #[arg(long, value_name = "FILE", num_args = 0.., conflicts_with = "start_scripts")]
    vm_start_scripts: Option<Vec<PathBuf>>,
    /// Names of the containers, which cannot be run yet [default: $containerNames].
    #[arg(long, value_name = "NAME", num_args = 0..)]
    container_names: Option<Vec<String>>,
    /// Accepted for compatibility; has no effect.
    #[arg(long, value_name = "FILE", num_args = 0..)]
    container_start_scripts: Option<Vec<PathBuf>>,
    /// Numbers of the virtual networks [default: $vlans or $VLANS].
    #[arg(long, value_name = "NUMBER", num_args = 0..)]
    vlans: Option<Vec<u32>>,
    /// Write consoles, events, junit.xml and saved files to this folder [default: .].
    #[arg(
        short,
        long = "output_directory",
        alias = "output-directory",
        value_name = "DIR"
    )]
    output: Option<PathBuf>,
    /// Also write junit.xml to this path, relative to the output folder.
    #[arg(long, value_name = "FILE")]
    junit_xml: Option<PathBuf>,
    /// Reuse the machines' disks of the previous run, and keep them: `vm-state-NAME` in `$XDG_RUNTIME_DIR` or the temporary folder.
    #[arg(short = 'K', long, alias = "keep-vm-state")]
    keep_machine_state: bool,
    /// Open a prompt instead of running the script.
    #[arg(short = 'I', long, overrides_with = "_no_interactive")]
    interactive: bool,
    #[arg(long = "no-interactive", hide = true)]
    _no_interactive: bool,
    /// Accepted for compatibility; has no effect.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Accepted for compatibility; has no effect.
    #[arg(long, value_name = "FILE", alias = "debug-hook")]
    debug_hook_attach: Option<String>,
    /// Accepted for compatibility; has no effect.
    #[arg(long, value_name = "NUMBER")]
    dump_vsocks: Option<String>,
    #[command(flatten)]
    run_options: RunOptions,
}

/// nixpkgs' `driverConfiguration`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Configuration {
    vms: BTreeMap<String, Member>,
    #[serde(default)]
    containers: BTreeMap<String, serde_json::Value>,
    vlans: Vec<u32>,
    global_timeout: u64,
    test_script: PathBuf,
    #[serde(default)]
    enable_ssh_backdoor: bool,
}

#[derive(Debug, Deserialize)]
struct Member {
    start_script: PathBuf,
}

/// A machine of the command line.
struct DriverMachine {
    /// None where only its start script knows.
    name: Option<String>,
    script: PathBuf,
}

/// What to run.
struct DriverTest {
    manifest: Manifest,
    source_map: SourceMap,
    /// What was asked for and changes nothing.
    without_effect: Vec<&'static str>,
}

impl DriverTest {
    fn new(manifest: Manifest, source_map: SourceMap) -> Self {
        Self {
            manifest,
            source_map,
            without_effect: Vec::new(),
        }
    }
}

impl DriverCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        self.run_options.subtests()?;
        let DriverTest {
            manifest,
            source_map,
            without_effect,
        } = self.subject()?;
        self.run_options
            .check(&manifest.name, &source_map, &manifest)?;
        session::preflight(&manifest)?;
        let folder = match (&self.output, env::var_os("out")) {
            (Some(folder), _) => folder.clone(),
            (None, Some(folder)) if self.is_of_2020() => PathBuf::from(folder),
            (None, _) => {
                env::current_dir().map_err(Failed::host("cannot find the current folder"))?
            }
        };
        let output = Output::beside(&folder, &manifest.name)?;
        let mode = if self.interactive || self.is_prompt_of_2020() {
            RunMode::Prompt(Above::default())
        } else {
            RunMode::Script
        };
        let outcome = block_on(async {
            let mut interrupts = interrupts()?;
            let output_folder = output.folder().to_owned();
            let reports = self.run_options.report(Some(output), &mode)?;
            for word in self.without_effect().into_iter().chain(without_effect) {
                let text = format!("{word} has no effect on this driver");
                reports.events.note(Level::Warning, text);
            }
            let outcome = self
                .run_options
                .run(
                    &manifest,
                    Plan {
                        source_map,
                        mode,
                        past: ReplayMode::NotApplicable,
                        states: self.states(),
                        verifies: None,
                    },
                    output_folder,
                    &reports.events,
                    &mut interrupts,
                )
                .await;
            finish(reports, outcome, &mut interrupts).await
        })?;
        if let Some(file) = &self.junit_xml {
            let (written, target) = (folder.join("junit.xml"), folder.join(file));
            // Copied onto itself, a file is emptied.
            let text = std::fs::read(&written);
            text.and_then(|text| std::fs::write(&target, text))
                .map_err(|error| {
                    Failed::Usage(format!("--junit-xml: {}: {error}", target.display()))
                })?;
        }
        Ok(ExitCode::from(exit_code(outcome.verdict)))
    }

    /// The driver of nixpkgs 20.09 takes the machines' start scripts as arguments.
    fn is_of_2020(&self) -> bool {
        self.files.iter().any(|file| is_start(file))
    }

    /// It opens a prompt unless `tests` says what to execute.
    fn is_prompt_of_2020(&self) -> bool {
        self.files.iter().all(|file| is_start(file))
            && self.is_of_2020()
            && env::var_os("tests").is_none()
    }

    fn states(&self) -> StateRetention {
        if self.keep_machine_state {
            StateRetention::Persistent
        } else {
            StateRetention::ThisRun
        }
    }

    /// What was asked for and changes nothing.
    fn without_effect(&self) -> Vec<&'static str> {
        let log_file = env::var_os("LOGFILE").is_some_and(|file| file != "/dev/null");
        [
            (self.debug_hook_attach.is_some(), "--debug-hook-attach"),
            (self.dump_vsocks.is_some(), "--dump-vsocks"),
            (log_file, "LOGFILE (see events.jsonl and junit.xml)"),
        ]
        .into_iter()
        .filter_map(|(given, word)| given.then_some(word))
        .collect()
    }

    fn subject(&self) -> Result<DriverTest, Failed> {
        if let Some(file) = &self.manifest {
            let manifest = read_manifest(file)?;
            let source_map = read_script(&manifest.test_script)?;
            return Ok(DriverTest::new(manifest, source_map));
        }
        if let Some(file) = &self.config {
            let configuration: Configuration = parse(file, read_json(file)?)?;
            return configuration.subject();
        }
        let (start_scripts, script) = self.files.iter().cloned().partition(|file| is_start(file));
        let starts = self.starts(start_scripts)?;
        let vlans = match &self.vlans {
            Some(vlans) => vlans.clone(),
            None => vlans()?,
        };
        let timeout = match env::var("globalTimeout") {
            Ok(text) => number("globalTimeout", &text)?,
            Err(_) => DEFAULT_TIMEOUT_S,
        };
        let (path, source_map) = script_of(&script)?;
        let mut manifest = manifest_of(&path, starts, vlans, timeout);
        let containers = match &self.container_names {
            Some(names) => names.clone(),
            None => words("containerNames").collect(),
        };
        manifest.containers = containers
            .into_iter()
            .map(|name| (name, serde_json::Value::Null))
            .collect();
        Ok(DriverTest::new(manifest, source_map))
    }

    /// The machines: those of the options, of the arguments, or of the variables.
    fn starts(&self, arguments: Vec<PathBuf>) -> Result<Vec<DriverMachine>, Failed> {
        let scripts = match (&self.start_scripts, &self.vm_start_scripts) {
            (Some(given), _) | (None, Some(given)) => given.clone(),
            (None, None) if !arguments.is_empty() => arguments,
            (None, None) => words("startScripts")
                .chain(words("vmStartScripts"))
                .map(PathBuf::from)
                .collect(),
        };
        let names: Vec<String> = match &self.vm_names {
            Some(names) => names.clone(),
            None => words("vmNames").collect(),
        };
        if !names.is_empty() && names.len() != scripts.len() {
            return Err(Failed::Usage(format!(
                "there are {} names of machines for {} start scripts",
                names.len(),
                scripts.len()
            )));
        }
        let names = names.into_iter().map(Some).chain(std::iter::repeat(None));
        let starts = scripts
            .into_iter()
            .zip(names)
            .map(|(script, name)| DriverMachine { name, script });
        Ok(starts.collect())
    }
}

impl Configuration {
    fn subject(self) -> Result<DriverTest, Failed> {
        let source_map = read_script(&self.test_script)?;
        let machines = self.vms.into_iter().map(|(name, machine)| DriverMachine {
            name: Some(name),
            script: machine.start_script,
        });
        let mut manifest = manifest_of(
            &self.test_script,
            machines.collect(),
            self.vlans,
            self.global_timeout,
        );
        manifest.containers = self.containers;
        let mut subject = DriverTest::new(manifest, source_map);
        if self.enable_ssh_backdoor {
            subject.without_effect.push("enable_ssh_backdoor");
        }
        Ok(subject)
    }
}

fn read_manifest(file: &Path) -> Result<Manifest, Failed> {
    let value = read_json(file)?;
    match value["version"].as_u64() {
        Some(version) if version != u64::from(manifest::VERSION) => Err(Failed::Usage(format!(
            "the manifest {} is of version {version}, and this program reads version {}: evaluate the test anew",
            file.display(),
            manifest::VERSION
        ))),
        _ => parse(file, value),
    }
}

fn parse<T: DeserializeOwned>(file: &Path, value: serde_json::Value) -> Result<T, Failed> {
    serde_json::from_value(value)
        .map_err(|error| Failed::Usage(format!("{}: {error}", file.display())))
}

/// The script: a file, or what the variables of the old drivers hold.
fn script_of(files: &[PathBuf]) -> Result<(PathBuf, SourceMap), Failed> {
    match files {
        [file] => return Ok((file.clone(), read_script(file)?)),
        [] => {}
        more => {
            let names: Vec<String> = more.iter().map(|file| file.display().to_string()).collect();
            return Err(Failed::Usage(format!(
                "there can be one script only: {} were given",
                names.join(", ")
            )));
        }
    }
    let own = env::var("testScript").ok();
    // The driver of nixpkgs 20.09 executes `tests`, usually "run the script".
    let tests = env::var("tests").ok();
    let tests = tests.filter(|text| !text.contains("testScript"));
    let text = match (tests, own) {
        (Some(tests), Some(_)) if tests.contains("test_script") => OWN_SCRIPT.to_owned() + &tests,
        (Some(tests), _) => tests,
        (None, Some(own)) => own,
        (None, None) => {
            return Err(Failed::Usage(
                "there is no script: give one, or set testScript or --config".to_owned(),
            ));
        }
    };
    // Since 2021 the variable names the script's file.
    let file = PathBuf::from(&text);
    let is_name = file.is_absolute() || file.extension().is_some_and(|end| end == "py");
    if is_name && !text.contains('\n') {
        return Ok((file.clone(), read_script(&file)?));
    }
    Ok((PathBuf::new(), SourceMap::of_text(text)))
}

fn manifest_of(
    script: &Path,
    starts: Vec<DriverMachine>,
    vlans: Vec<u32>,
    global_timeout_s: u64,
) -> Manifest {
    let nodes = starts.into_iter().map(|start| {
        let node = Node {
            start_script: start.script,
            system: format!("{}-linux", env::consts::ARCH),
            // Only its start script knows.
            vlans: Vec::new(),
            interfaces: Vec::new(),
            memory_mib: None,
            guest: Guest::Nixos,
            snapshot_safe: false,
        };
        let name = start
            .name
            .or_else(|| node.machine_name().map(str::to_owned))
            .unwrap_or_else(|| node.start_script.display().to_string());
        (name, node)
    });
    Manifest {
        version: manifest::VERSION,
        name: test_name(script),
        nodes: nodes.collect(),
        containers: BTreeMap::new(),
        vlans,
        test_script: script.to_owned(),
        test_script_source: ScriptSource {
            file: script.to_owned(),
            line: None,
        },
        global_timeout_s,
        enable_ocr: false,
        skip_lint: false,
        skip_type_check: false,
        python_packages: Vec::new(),
    }
}

/// The script is in a store path that is named after the test.
fn test_name(script: &Path) -> String {
    script
        .iter()
        .filter_map(|part| part.to_str())
        .find_map(|part| Some(part.split_once("-nixos-test-driver-")?.1.to_owned()))
        .or_else(|| Some(script.file_stem()?.to_str()?.to_owned()))
        .unwrap_or_else(|| "test".to_owned())
}

fn is_start(file: &Path) -> bool {
    file.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("run-") && name.ends_with("-vm"))
}

fn words(variable: &str) -> impl Iterator<Item = String> + use<> {
    let text = env::var(variable).unwrap_or_default();
    text.split_whitespace()
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

fn vlans() -> Result<Vec<u32>, Failed> {
    let mut vlans: Vec<u32> = Vec::new();
    // nixpkgs 20.09 names one for each network card.
    for (variable, word) in ["vlans", "VLANS"]
        .into_iter()
        .flat_map(|variable| words(variable).map(move |word| (variable, word)))
    {
        let vlan = number(variable, &word)?;
        if !vlans.contains(&vlan) {
            vlans.push(vlan);
        }
    }
    Ok(vlans)
}

fn number<T: std::str::FromStr>(variable: &str, text: &str) -> Result<T, Failed> {
    text.parse()
        .map_err(|_| Failed::Usage(format!("the variable {variable} holds no number: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_by_their_drivers() {
        let name = |path| test_name(Path::new(path));
        assert_eq!(
            name("/nix/store/x-nixos-test-driver-login/test-script"),
            "login"
        );
        assert_eq!(name("/home/x/my-test.py"), "my-test");
        assert_eq!(name(""), "test");
    }

    #[test]
    fn start_scripts_are_known_by_their_name() {
        assert!(is_start(Path::new("/nix/store/x-vm/bin/run-machine-vm")));
        assert!(!is_start(Path::new("/tmp/script.py")));
    }
}
