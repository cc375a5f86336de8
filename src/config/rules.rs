//! Rules of `snowglobe.toml` for tests.

use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::filter::{Expression, length_of_time};
use crate::model::failed_units::FailedUnitPolicy;
use crate::model::manifest::{BackendChoice, SnapshotSafety};
use crate::model::outcome::Quarantine;

/// Settings of the tests that an expression fits, or of all tests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Rules {
    #[serde(deserialize_with = "expression")]
    pub filter: Option<OverrideFilter>,
    retries: Option<u32>,
    #[serde(deserialize_with = "optional_length")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "optional_length")]
    slow_timeout: Option<Duration>,
    failed_units: Option<FailedUnitPolicy>,
    pub nixpkgs: Option<PathBuf>,
    pub backend: Option<BackendChoice>,
    pub snapshot_safe: Option<SnapshotSafety>,
    pub tags: Vec<String>,
    pub groups: Vec<String>,
    quarantine: Option<QuarantineRule>,
}

/// Why a test may fail, and how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { reason = \"…\", until = 2026-12-31 }"
)]
struct QuarantineRule {
    reason: String,
    #[serde(default, deserialize_with = "optional_day")]
    until: Option<Date>,
}

/// The rules for one test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestPolicy {
    /// How many more attempts a test has that does not pass.
    pub retries: Option<u32>,
    /// After which the test has failed.
    pub timeout: Option<Duration>,
    /// After which the test is shown as slow.
    pub slow_timeout: Option<Duration>,
    /// The consequence of units that fail while the script waits.
    pub failed_units: Option<FailedUnitPolicy>,
    pub groups: Vec<String>,
    pub quarantine: Option<Quarantine>,
    /// A quarantine whose last day has passed.
    pub expired: Option<Quarantine>,
}

impl TestPolicy {
    /// Returns a warning about the rules; `None` if there is none.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let expired = self.expired.as_ref()?;
        let until = expired.until.as_deref().unwrap_or_default();
        Some(format!(
            "its quarantine has ended on {until} ({}): the test counts again",
            expired.reason
        ))
    }
}

impl Rules {
    /// Sets what is not set yet.
    pub fn add_to(&self, policy: &mut TestPolicy, today: Date) {
        policy.retries = policy.retries.or(self.retries);
        policy.timeout = policy.timeout.or(self.timeout);
        policy.slow_timeout = policy.slow_timeout.or(self.slow_timeout);
        policy.failed_units = policy.failed_units.or(self.failed_units);
        policy.groups.extend(self.groups.iter().cloned());
        let Some(rule) = &self.quarantine else {
            return;
        };
        if policy.quarantine.is_some() || policy.expired.is_some() {
            return;
        }
        let quarantine = Some(Quarantine {
            reason: rule.reason.clone(),
            until: rule.until.map(|day| day.to_string()),
        });
        if rule.until.is_some_and(|day| day < today) {
            policy.expired = quarantine;
        } else {
            policy.quarantine = quarantine;
        }
    }
}

/// Reads a length of time, such as `10m`, `1h 30m` or `90s`.
///
/// # Errors
/// Returns an error if it is none, or not above 0.
pub fn length(text: &str) -> Result<Duration, String> {
    length_of_time(text)
        .ok_or_else(|| format!("`{text}` is no length of time, such as `90s` or `10m`"))
}

/// A day, without a time.
fn optional_day<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Date>, D::Error> {
    let value = toml::value::Datetime::deserialize(source)?;
    let day = value.date.filter(|_| value.time.is_none());
    let day = day.and_then(|_| value.to_string().parse().ok());
    day.map(Some)
        .ok_or_else(|| D::Error::custom(format!("`{value}` is no day, such as `2026-12-31`")))
}

fn optional_length<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(source)?;
    length(&text).map(Some).map_err(D::Error::custom)
}

/// An expression, and as it is written.
#[derive(Debug, Clone)]
pub(super) struct OverrideFilter {
    pub text: String,
    pub expression: Expression,
}

fn expression<'de, D>(source: D) -> Result<Option<OverrideFilter>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(source)?;
    let expression = text.parse().map_err(D::Error::custom)?;
    Ok(Some(OverrideFilter { text, expression }))
}
