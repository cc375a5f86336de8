//! The apt that is asked: the machine's own, or one for another suite of Debian, by a configuration that the
//! system's apt does not know.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::data_files::lock;
use super::tool::{Error, output};
use crate::folders::{self, UserFolder, create_private};

/// The name of the machine's own suite on the command line.
pub(super) const OWN: &str = "own";

/// Debian's keys on a Debian machine.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Debian's name of the architecture that packages have if nothing else is asked for.
const OWN_ARCHITECTURE: &str = "amd64";

/// Asks apt.
#[derive(Debug)]
pub(super) struct Apt {
    /// None for the machine's own.
    configuration: Option<PathBuf>,
    architecture: String,
}

impl Apt {
    /// The apt for a suite; None is the machine's own. Brings its lists up to date.
    pub fn of_suite(suite: Option<&str>, progress: &dyn Fn(&str)) -> Result<Self, Error> {
        let Some(suite) = suite else {
            return Ok(Self {
                configuration: None,
                architecture: OWN_ARCHITECTURE.to_owned(),
            });
        };
        Self::beside_own(OWN_ARCHITECTURE, &mirror()?.address, suite, progress)
    }

    /// The apt for packages of another architecture, as Debian names it. The machine's own apt has none of them, so
    /// that its own suite comes from its mirror, too.
    pub fn of_architecture(
        architecture: &str,
        suite: Option<&str>,
        progress: &dyn Fn(&str),
    ) -> Result<Self, Error> {
        let Mirror {
            address,
            suite: own,
        } = mirror()?;
        Self::beside_own(architecture, &address, suite.unwrap_or(&own), progress)
    }

    fn beside_own(
        architecture: &str,
        mirror: &str,
        suite: &str,
        progress: &dyn Fn(&str),
    ) -> Result<Self, Error> {
        if !is_suite(suite) {
            return Err(Error::BadSuite(suite.to_owned()));
        }
        progress(&format!(
            "reading the lists of Debian {suite} for {architecture}"
        ));
        let cache = folders::own(UserFolder::Cache).ok_or(Error::NoHome)?;
        let folder = cache.join("apt").join(suite).join(architecture);
        let file_error = |source| Error::file(&folder, source);
        if folder.to_string_lossy().contains(['"', '\n']) {
            // apt's configuration has no way to write these.
            return Err(file_error(std::io::ErrorKind::InvalidFilename.into()));
        }
        for name in ["state/lists/partial", "cache/archives/partial"] {
            create_private(&folder.join(name)).map_err(file_error)?;
        }
        // apt refuses to read lists that another process reads.
        let _lock = lock(&folder.join("lock"))?;
        let sources = folder.join("sources.list");
        let configuration = folder.join("apt.conf");
        fs::write(&sources, source_line(mirror, suite)).map_err(file_error)?;
        fs::write(&configuration, configuration_text(&folder, architecture)).map_err(file_error)?;
        let apt = Self {
            configuration: Some(configuration),
            architecture: architecture.to_owned(),
        };
        output(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    /// Debian's name of the architecture of the packages.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        if let Some(configuration) = &self.configuration {
            command.env("APT_CONFIG", configuration);
        }
        command
    }
}

/// The suite that is meant: the given one, or else that of the last fetch. None is the
/// machine's own.
pub(super) fn meant_suite(given: Option<&str>, last: Option<String>) -> Option<String> {
    let name = given.map(str::to_owned).or(last);
    name.filter(|name| name != OWN)
}

/// Whether a text may be the name of a suite.
#[must_use]
pub fn is_suite(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    !text.is_empty() && !text.starts_with(['-', '.']) && text.chars().all(is_part)
}

/// Where the machine itself gets Debian from, and which suite.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    address: String,
    suite: String,
}

fn mirror() -> Result<Mirror, Error> {
    let targets = output(Command::new("apt-get").env("LC_ALL", "C").args([
        "indextargets",
        "--format",
        "$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    mirror_of(&targets).ok_or(Error::NoMirror)
}

/// The place of a suite of Debian itself, and not of its updates.
fn mirror_of(targets: &str) -> Option<Mirror> {
    let fields = targets
        .lines()
        .map(|line| line.split('|').collect::<Vec<_>>());
    let mut mirrors = fields.filter_map(|fields| match fields.as_slice() {
        [address, suite, "Debian", "main"] if !suite.contains('-') => Some(Mirror {
            address: (*address).to_owned(),
            suite: (*suite).to_owned(),
        }),
        _ => None,
    });
    mirrors.next()
}

fn source_line(mirror: &str, suite: &str) -> String {
    let signed_by = if Path::new(KEYRING).exists() {
        format!("[signed-by={KEYRING}] ")
    } else {
        String::new()
    };
    format!("deb {signed_by}{mirror} {suite} main\n")
}

fn configuration_text(folder: &Path, architecture: &str) -> String {
    let folder = folder.display();
    format!(
        "Dir::State \"{folder}/state\";\nDir::State::lists \"{folder}/state/lists\";\n\
         Dir::Cache \"{folder}/cache\";\nDir::Etc::SourceList \"{folder}/sources.list\";\n\
         Dir::Etc::SourceParts \"-\";\nDir::Etc::Preferences \"-\";\n\
         Dir::Etc::PreferencesParts \"-\";\nAcquire::Languages \"none\";\n\
         APT::Sandbox::User \"root\";\nAPT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_debian_itself() {
        let targets = "http://x/security/|bookworm-security|Debian|main\n\
            http://x/other/|stable|Other|main\nhttp://x/debian/|bookworm|Debian|main\n";
        let expected = Mirror {
            address: "http://x/debian/".to_owned(),
            suite: "bookworm".to_owned(),
        };
        assert_eq!(mirror_of(targets), Some(expected));
        assert_eq!(mirror_of("http://x/other/|stable|Other|main\n"), None);
    }

    #[test]
    fn names_of_suites_are_words() {
        for name in ["", "a b", "-t", "../x", "x;y"] {
            assert!(matches!(
                Apt::of_suite(Some(name), &|_| ()),
                Err(Error::BadSuite(_))
            ));
        }
    }
}
