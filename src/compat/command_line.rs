//! The arguments of nixpkgs' drivers, and the variables that stand in for them.

use std::env;
use std::path::{Path, PathBuf};

use super::configuration::read_configuration;
use super::environment::{items, vlans};
use super::error::CompatError;
use super::manifest_file::read_manifest;
use super::nspawn_script::read_nspawn_script;
use super::time_limit::TimeLimit;
use crate::input_file::read_script;
use crate::model::manifest::{Manifest, Node};
use crate::runner::BuiltTest;
use crate::source_map::SourceMap;

/// `test_script()` of the driver of nixpkgs 20.09.
const TEST_SCRIPT_FUNCTION: &str =
    "def test_script():\n    import os\n    exec(os.environ[\"testScript\"], globals())\n\n\n";

/// The test that the arguments of a driver describe. `None` stands for an argument that a variable gives.
#[derive(Debug, Clone, Default)]
pub struct DriverArguments {
    /// The script, or start scripts as in nixpkgs 20.09.
    pub files: Vec<PathBuf>,
    pub manifest: Option<PathBuf>,
    pub config: Option<PathBuf>,
    /// The script in the place of that of the configuration.
    pub test_script: Option<PathBuf>,
    pub start_scripts: Option<Vec<PathBuf>>,
    pub machine_names: Option<Vec<String>>,
    pub container_names: Option<Vec<String>>,
    pub container_start_scripts: Option<Vec<PathBuf>>,
    pub vlans: Option<Vec<u32>>,
    pub output: Option<PathBuf>,
    /// Arguments that are accepted and change nothing.
    pub without_effect: Vec<&'static str>,
}

/// The run that the arguments of a driver ask for.
#[derive(Debug)]
pub struct DriverRun {
    pub test: BuiltTest,
    pub output: PathBuf,
    /// Whether the arguments alone ask for a prompt.
    pub prompts: bool,
}

impl DriverArguments {
    /// Reads the files that the arguments and the variables name.
    ///
    /// # Errors
    /// Returns an error if they make no test.
    pub fn resolve(&self) -> Result<DriverRun, CompatError> {
        let mut test = self.test()?;
        let log_file = env::var_os("LOGFILE").is_some_and(|file| file != "/dev/null");
        let log_file = log_file.then_some("LOGFILE (see events.jsonl and junit.xml)");
        let ignored = self.without_effect.iter().copied().chain(log_file);
        let warnings = ignored.map(|word| format!("{word} has no effect on this driver"));
        test.warnings = warnings.collect();
        Ok(DriverRun {
            test,
            output: self.output()?,
            prompts: self.prompts_as_in_20_09(),
        })
    }

    fn output(&self) -> Result<PathBuf, CompatError> {
        match (&self.output, env::var_os("out")) {
            (Some(folder), _) => Ok(folder.clone()),
            (None, Some(folder)) if self.is_of_20_09() => Ok(PathBuf::from(folder)),
            (None, _) => env::current_dir().map_err(CompatError::NoFolder),
        }
    }

    /// The driver of nixpkgs 20.09 takes the machines' start scripts as arguments.
    fn is_of_20_09(&self) -> bool {
        self.files.iter().any(|file| is_start_script(file))
    }

    /// Whether the command opens a prompt as the driver of nixpkgs 20.09 does: for start scripts, unless the variable
    /// `tests` holds a script.
    fn prompts_as_in_20_09(&self) -> bool {
        self.files.iter().all(|file| is_start_script(file))
            && self.is_of_20_09()
            && env::var_os("tests").is_none()
    }

    fn test(&self) -> Result<BuiltTest, CompatError> {
        if let Some(file) = &self.manifest {
            let manifest = read_manifest(file)?;
            let script = read_script(&manifest.test_script)?;
            return Ok(BuiltTest {
                manifest,
                script,
                warnings: Vec::new(),
            });
        }
        if let Some(file) = &self.config {
            return read_configuration(file, self.test_script.as_deref());
        }
        let (start_scripts, scripts): (Vec<PathBuf>, Vec<PathBuf>) = self
            .files
            .iter()
            .cloned()
            .partition(|file| is_start_script(file));
        let mut machines = self.machines(start_scripts)?;
        machines.extend(self.containers()?);
        let scripts: Vec<PathBuf> = scripts
            .into_iter()
            .chain(self.test_script.clone())
            .collect();
        let (path, script) = script_of(&scripts)?;
        let nodes = machines.into_iter().map(|(name, node)| {
            let name = name
                .or_else(|| node.machine_name().map(str::to_owned))
                .or_else(|| Some(node.start_script.as_ref()?.display().to_string()))
                .unwrap_or_default();
            (name, node)
        });
        let mut manifest = Manifest::of_script(&path, nodes.collect());
        manifest.vlans = match &self.vlans {
            Some(vlans) => vlans.clone(),
            None => vlans()?,
        };
        if let Ok(text) = env::var("globalTimeout") {
            let limit = TimeLimit::parse(&text);
            manifest.global_timeout_s = limit
                .ok_or_else(|| CompatError::NoNumber {
                    variable: "globalTimeout".to_owned(),
                    text,
                })?
                .0;
        }
        Ok(BuiltTest {
            manifest,
            script,
            warnings: Vec::new(),
        })
    }

    /// The machines: those of the options, of the arguments, or of the
    /// variables. A name is None if only the start script knows it.
    fn machines(
        &self,
        arguments: Vec<PathBuf>,
    ) -> Result<Vec<(Option<String>, Node)>, CompatError> {
        let scripts = match &self.start_scripts {
            Some(given) => given.clone(),
            None if !arguments.is_empty() => arguments,
            None => items("startScripts")
                .into_iter()
                .chain(items("vmStartScripts"))
                .map(PathBuf::from)
                .collect(),
        };
        let names = self.machine_names.clone();
        let names = names.unwrap_or_else(|| items("vmNames"));
        named(names, scripts.into_iter().map(Node::of_script).collect())
    }

    /// The containers, as [`DriverArguments::machines`].
    fn containers(&self) -> Result<Vec<(Option<String>, Node)>, CompatError> {
        let scripts = self.container_start_scripts.clone();
        let scripts = scripts.unwrap_or_else(|| {
            let scripts = items("containerStartScripts").into_iter();
            scripts.map(PathBuf::from).collect()
        });
        let names = self.container_names.clone();
        let names = names.unwrap_or_else(|| items("containerNames"));
        let nodes = scripts.iter().zip(1_usize..).map(|(script, number)| {
            let number = u8::try_from(number).map_err(|_| CompatError::ManyContainers {
                count: scripts.len(),
            })?;
            read_nspawn_script(script, number)
        });
        named(names, nodes.collect::<Result<_, _>>()?)
    }
}

/// Gives each node its name, if there are names.
fn named(names: Vec<String>, nodes: Vec<Node>) -> Result<Vec<(Option<String>, Node)>, CompatError> {
    if !names.is_empty() && names.len() != nodes.len() {
        return Err(CompatError::MachineNames {
            names: names.len(),
            scripts: nodes.len(),
        });
    }
    let names = names.into_iter().map(Some).chain(std::iter::repeat(None));
    Ok(names.zip(nodes).collect())
}

/// The script: a file, or what the variables of the old drivers hold.
fn script_of(files: &[PathBuf]) -> Result<(PathBuf, SourceMap), CompatError> {
    match files {
        [file] => return Ok((file.clone(), read_script(file)?)),
        [] => {}
        more => {
            let names: Vec<String> = more.iter().map(|file| file.display().to_string()).collect();
            return Err(CompatError::SeveralScripts(names.join(", ")));
        }
    }
    let own = env::var("testScript").ok();
    // The driver of nixpkgs 20.09 executes `tests`, usually "run the script".
    let tests = env::var("tests").ok();
    let tests = tests.filter(|text| !text.contains("testScript"));
    let text = match (tests, own) {
        (Some(tests), Some(_)) if tests.contains("test_script") => {
            TEST_SCRIPT_FUNCTION.to_owned() + &tests
        }
        (Some(tests), _) => tests,
        (None, Some(own)) => own,
        (None, None) => return Err(CompatError::NoScript),
    };
    // Since 21.05 the variable names the script's file.
    let file = PathBuf::from(&text);
    let is_name = file.is_absolute() || file.extension().is_some_and(|end| end == "py");
    if is_name && !text.contains('\n') {
        return Ok((file.clone(), read_script(&file)?));
    }
    Ok((PathBuf::new(), SourceMap::of_text(text)))
}

fn is_start_script(file: &Path) -> bool {
    file.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("run-") && name.ends_with("-vm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_scripts_are_known_by_their_name() {
        assert!(is_start_script(Path::new(
            "/nix/store/x-vm/bin/run-machine-vm"
        )));
        assert!(!is_start_script(Path::new("/tmp/script.py")));
    }

    #[test]
    fn machines_are_named_by_their_options_or_their_scripts() {
        let named = |names: Option<Vec<String>>| {
            let arguments = DriverArguments {
                start_scripts: Some(vec!["/x/run-a-vm".into(), "/x/run-b-vm".into()]),
                machine_names: names,
                ..DriverArguments::default()
            };
            arguments.machines(Vec::new()).map(|machines| {
                let names = machines.into_iter().map(|(name, _)| name);
                names.collect::<Vec<_>>()
            })
        };
        assert_eq!(named(None).unwrap(), [None, None]);
        let two = vec!["c".to_owned(), "d".to_owned()];
        let found = named(Some(two.clone())).unwrap();
        assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), two);
        let error = named(Some(vec!["c".to_owned()])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there are 1 names of machines for 2 start scripts"
        );
    }
}
