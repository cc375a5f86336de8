//! `snowglobe.toml`: what a project says of its tests beside the tests themselves.

mod rules;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::Deserialize;
use thiserror::Error;

use crate::bounded_file::read_text;
use crate::filter::TestSubject;
use crate::model::manifest::{BackendChoice, SnapshotSafety};

use rules::{OverrideFilter, Rules};
pub use rules::{TestPolicy, length};

/// The name of the file.
pub const CONFIG_FILE: &str = "snowglobe.toml";

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("the configuration {path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the configuration {path} is wrong: {reason}")]
    Wrong { path: PathBuf, reason: String },
}

/// All that the file says.
#[derive(Debug, Clone, Default)]
pub struct Config {
    defaults: Rules,
    /// The first one that fits a test and sets something counts.
    overrides: Vec<Rules>,
    /// How many tests of each group run at a time.
    pub groups: BTreeMap<String, usize>,
    /// The nixpkgs of tests if the command line names none: `builtin`, or a path.
    pub nixpkgs: Option<PathBuf>,
    /// The kind of all machines, if neither the command line nor the environment names one.
    pub backend: Option<BackendChoice>,
    /// Whether machines are changed so that their state can be saved, if the command line does not say.
    pub snapshot_safe: Option<SnapshotSafety>,
    /// The file that it was read from; None for the default.
    pub file: Option<PathBuf>,
}

/// The file as it is written. Unknown keys are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    defaults: Rules,
    overrides: Vec<Rules>,
    groups: BTreeMap<String, Group>,
}

/// Tests of which only so many run at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { max = 1 }")]
struct Group {
    max: NonZeroUsize,
}

impl ConfigFile {
    /// Whether its parts fit each other.
    fn check(&self) -> Result<(), String> {
        if self.defaults.filter.is_some() {
            return Err("`defaults` hold for all tests and have no `filter`".to_owned());
        }
        if self.overrides.iter().any(|rules| rules.filter.is_none()) {
            return Err("an override needs a `filter`, such as \"tag(slow)\"".to_owned());
        }
        if self.overrides.iter().any(|rules| rules.nixpkgs.is_some()) {
            return Err("`nixpkgs` is one of `defaults`: tests are found with it".to_owned());
        }
        if self.overrides.iter().any(|rules| rules.backend.is_some()) {
            return Err("`backend` is one of `defaults`: tests are evaluated with it".to_owned());
        }
        if self
            .overrides
            .iter()
            .any(|rules| rules.snapshot_safe.is_some())
        {
            return Err(
                "`snapshot-safe` is one of `defaults`: tests are evaluated with it".to_owned(),
            );
        }
        let all = self.overrides.iter().chain([&self.defaults]);
        let mut named = all.flat_map(|rules| &rules.groups);
        let unknown = named.find(|group| !self.groups.contains_key(*group));
        if let Some(group) = unknown {
            return Err(format!(
                "the group `{group}` has no `max`: add `[groups.{group}]`"
            ));
        }
        Ok(())
    }
}

/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 20;

impl Config {
    /// Reads the file of a folder, or of the nearest one above it that has one; the default without any.
    ///
    /// # Errors
    /// As for [`Config::read`].
    pub fn of_folder(folder: &Path) -> Result<Self, ConfigError> {
        let files = folder.ancestors().map(|folder| folder.join(CONFIG_FILE));
        match files
            .into_iter()
            .find(|file| file.symlink_metadata().is_ok())
        {
            Some(file) => Self::read(&file),
            None => Ok(Self::default()),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Returns an error if it cannot be read, or says something that is unknown.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let path = || file.to_owned();
        let text = read_text(file, MOST_BYTES).map_err(|source| ConfigError::Unreadable {
            path: path(),
            source,
        })?;
        let config = Self::of_text(&text).map_err(|reason| ConfigError::Wrong {
            path: path(),
            reason,
        })?;
        let folder = file.parent().unwrap_or(Path::new(""));
        Ok(Self {
            // Relative to the file that names it.
            nixpkgs: config.nixpkgs.map(|nixpkgs| match nixpkgs.as_os_str() {
                builtin if builtin == "builtin" => nixpkgs,
                _ => folder.join(nixpkgs),
            }),
            file: Some(path()),
            ..config
        })
    }

    fn of_text(text: &str) -> Result<Self, String> {
        let file: ConfigFile =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        file.check()?;
        let groups = file.groups.into_iter();
        Ok(Self {
            nixpkgs: file.defaults.nixpkgs.clone(),
            backend: file.defaults.backend,
            snapshot_safe: file.defaults.snapshot_safe,
            defaults: file.defaults,
            overrides: file.overrides,
            groups: groups
                .map(|(name, group)| (name, group.max.get()))
                .collect(),
            file: None,
        })
    }

    /// The tags that the file adds to those of a test.
    #[must_use]
    pub fn tags(&self, test: &TestSubject<'_>) -> Vec<String> {
        let rules = self.of_test(test);
        rules.flat_map(|rules| rules.tags.iter().cloned()).collect()
    }

    /// Returns the filters of overrides that fit none of some tests. A filter that needs more than is known of a test may
    /// fit it.
    #[must_use]
    pub fn unused_overrides(&self, tests: &[TestSubject<'_>]) -> Vec<String> {
        let filters = self.overrides.iter().filter_map(|it| it.filter.as_ref());
        let fits_none = |filter: &&OverrideFilter| {
            let mut fitting = tests.iter().map(|test| filter.expression.fits(test));
            fitting.all(|fits| fits == Some(false))
        };
        filters
            .filter(fits_none)
            .map(|filter| filter.text.clone())
            .collect()
    }

    /// Returns the rules for a test on a day.
    #[must_use]
    pub fn policy(&self, test: &TestSubject<'_>, today: Date) -> TestPolicy {
        let mut policy = TestPolicy::default();
        for rules in self.of_test(test) {
            rules.add_to(&mut policy, today);
        }
        policy
    }

    fn of_test<'a>(&'a self, test: &'a TestSubject<'_>) -> impl Iterator<Item = &'a Rules> {
        let overrides = self.overrides.iter();
        let fits = |rules: &&Rules| {
            let filter = rules.filter.as_ref();
            filter.is_some_and(|it| it.expression.fits(test) == Some(true))
        };
        overrides.filter(fits).chain([&self.defaults])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TEXT: &str = r#"
        [defaults]
        retries = 1
        slow-timeout = "1m 30s"
        [groups.kvm]
        max = 2
        [[overrides]]
        filter = "test(~postgres)"
        retries = 3
        timeout = "10m"
        groups = ["kvm"]
        tags = ["database"]
        [[overrides]]
        filter = "*"
        retries = 9
        quarantine = { reason = "loses packets", until = 2026-12-31 }
    "#;

    fn subject(name: &str) -> TestSubject<'_> {
        TestSubject {
            name,
            machines: 1,
            ..TestSubject::default()
        }
    }

    fn policy(name: &str, today: &str) -> TestPolicy {
        let config = Config::of_text(TEXT).unwrap();
        config.policy(&subject(name), today.parse().unwrap())
    }

    #[test]
    fn the_first_override_that_fits_counts() {
        let found = policy("postgresql", "2026-12-31");
        assert_eq!(found.retries, Some(3));
        assert_eq!(found.timeout, Some(Duration::from_mins(10)));
        assert_eq!(found.slow_timeout, Some(Duration::from_secs(90)));
        assert_eq!(found.groups, ["kvm"]);
        assert_eq!(found.quarantine.unwrap().reason, "loses packets");
        assert_eq!(policy("mail", "2026-12-31").retries, Some(9));
        let config = Config::of_text(TEXT).unwrap();
        assert_eq!(config.tags(&subject("postgresql")), ["database"]);
    }

    #[test]
    fn a_quarantine_ends_with_its_last_day() {
        let found = policy("mail", "2027-01-01");
        assert_eq!(found.quarantine, None);
        assert_eq!(found.expired.unwrap().until.as_deref(), Some("2026-12-31"));
        assert_eq!(policy("mail", "2026-12-31").expired, None);
    }

    #[test]
    fn what_is_unknown_or_wrong_is_shown() {
        let message = |text: &str| Config::of_text(text).unwrap_err();
        for (text, part) in [
            ("[defaults]\nretires = 1", "unknown field `retires`"),
            ("[[overrides]]\nfilter = 'tag('", "expected a text"),
            ("[[overrides]]\nretries = 1", "needs a `filter`"),
            ("[defaults]\nfilter = 'a'", "have no `filter`"),
            (
                "[defaults]\ntimeout = 'soon'",
                "`soon` is no length of time",
            ),
            ("[defaults]\ngroups = ['kvm']", "add `[groups.kvm]`"),
            ("[groups.kvm]\nmax = 0", "nonzero"),
            (
                "[[overrides]]\nfilter = 'a'\nquarantine = { reason = 'x', until = 12:30:00 }",
                "`12:30:00` is no day",
            ),
        ] {
            let message = message(text);
            assert!(message.contains(part), "{message}");
        }
    }
}
