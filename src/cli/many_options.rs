//! The options for runs of several tests: how many at a time, how often, and when it is enough.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::error::{Failed, show_warning};
use crate::config::{Config, length};
use crate::history::History;
use crate::runner::{
    AttemptRule, EvalLimits, JobCount, Project, RepeatAfterFailure, Repetition, Resources,
};

#[derive(Debug, Args)]
pub struct ManyOptions {
    /// Run so many tests at a time, or as many as processors and memory allow.
    #[arg(short, long, value_name = "auto|N", default_value = "auto", value_parser = job_count)]
    jobs: JobCount,
    /// Grant the tests that run at a time this much memory, such as `4G` [default: what is free].
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    memory: Option<u64>,
    /// Give a test that does not pass up to N more attempts; one that passes then is flaky, and has passed.
    #[arg(long, value_name = "N", conflicts_with_all = ["repeat", "until_failure", "stress", "as_derivation"])]
    retries: Option<u32>,
    /// Run each test N times.
    #[arg(long, value_name = "N", conflicts_with = "as_derivation")]
    repeat: Option<NonZeroU32>,
    /// Run each test once for each of these seeds, such as `1..20`: see `--seed`. With --from, side by side.
    #[arg(long, value_name = "FIRST..LAST", value_parser = seeds, conflicts_with_all = ["repeat", "until_failure", "stress", "retries", "as_derivation", "seed"])]
    seeds: Option<Seeds>,
    /// Run each test again until it fails.
    #[arg(long, conflicts_with = "as_derivation")]
    until_failure: bool,
    /// Run each test again for this long, such as `10m`.
    #[arg(long, value_name = "TIME", value_parser = length, conflicts_with = "as_derivation")]
    stress: Option<Duration>,
    #[command(flatten)]
    config: ConfigOption,
    /// Leave out the other tests once N have not passed.
    #[arg(long, value_name = "N", conflicts_with = "fail_fast")]
    max_fail: Option<NonZeroUsize>,
    /// Leave out the other tests once one has not passed.
    #[arg(long)]
    fail_fast: bool,
    /// Run the other tests, whatever becomes of one. This is the default.
    #[arg(long, conflicts_with_all = ["fail_fast", "max_fail"])]
    no_fail_fast: bool,
}

/// Which configuration holds.
#[derive(Debug, Args)]
pub struct ConfigOption {
    /// Read this configuration [default: the nearest snowglobe.toml, from the current folder upwards].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigOption {
    /// Reads it.
    ///
    /// # Errors
    /// Returns an error if it cannot be read, or is wrong.
    pub fn read(&self) -> Result<Config, Failed> {
        if let Some(file) = &self.config {
            return Ok(Config::read(file)?);
        }
        let folder = std::env::current_dir().map_err(Failed::host("there is no current folder"))?;
        Ok(Config::of_folder(&folder)?)
    }
}

/// How tests are evaluated.
#[derive(Debug, Args)]
pub struct EvalOptions {
    /// Evaluate with so many Nix processes at a time, or as many as processors and memory allow.
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = job_count)]
    eval_jobs: JobCount,
    /// Grant the processes that evaluate this much memory, such as `8G` [default: a half of what is free].
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    eval_memory: Option<u64>,
}

impl EvalOptions {
    pub fn limits(&self) -> EvalLimits {
        EvalLimits {
            jobs: self.eval_jobs,
            memory_mib: self.eval_memory,
        }
    }
}

impl ManyOptions {
    pub fn resources(&self, config: &Config) -> Resources {
        Resources {
            jobs: self.jobs,
            memory_mib: self.memory,
            groups: config.groups.clone(),
        }
    }

    pub fn config(&self) -> Result<Config, Failed> {
        self.config.read()
    }

    pub fn attempts(&self) -> Option<AttemptRule> {
        let count = self.repeat.or(self.seeds.map(|seeds| seeds.count));
        let is_repeated = count.is_some() || self.until_failure || self.stress.is_some();
        let repetition = is_repeated.then_some(AttemptRule::Repeat(Repetition {
            count,
            time: self.stress,
            after_failure: if self.until_failure {
                RepeatAfterFailure::Stop
            } else {
                RepeatAfterFailure::GoOn
            },
        }));
        repetition.or(self.retries.map(AttemptRule::Retry))
    }

    /// Returns the seed of the first attempt, if each has another one.
    pub fn first_seed(&self) -> Option<u64> {
        self.seeds.map(|seeds| seeds.first)
    }

    pub fn max_fail(&self) -> Option<NonZeroUsize> {
        if self.fail_fast {
            Some(NonZeroUsize::MIN)
        } else {
            self.max_fail
        }
    }
}

/// Reads the configuration and the history of a project.
pub fn project(config: Config) -> Project {
    Project {
        config,
        history: known_history(),
    }
}

/// The history of tests; without it, everything else works.
pub fn known_history() -> History {
    History::read().unwrap_or_else(|error| {
        show_warning(&format!("the history of tests cannot be read: {error}"));
        History::default()
    })
}

fn job_count(text: &str) -> Result<JobCount, String> {
    if text == "auto" {
        return Ok(JobCount::Auto);
    }
    let count = text.parse().map(JobCount::Exactly);
    count.map_err(|_| "it is `auto` or a number above 0".to_owned())
}

/// Seeds one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seeds {
    first: u64,
    count: NonZeroU32,
}

fn seeds(text: &str) -> Result<Seeds, String> {
    let read = || {
        let (first, last) = text.split_once("..")?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let count = last.checked_sub(first)?.checked_add(1)?;
        let count = NonZeroU32::new(u32::try_from(count).ok()?)?;
        Some(Seeds { first, count })
    };
    read().ok_or_else(|| "it is two numbers with `..` between them, such as `1..20`".to_owned())
}

/// A size in MiB, from a number with `M` or `G`.
fn mebibytes(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.char_indices().last() {
        Some((end, 'M' | 'm')) => (&text[..end], 1),
        Some((end, 'G' | 'g')) => (&text[..end], 1024),
        _ => ("", 1),
    };
    let size = number.parse::<u64>().ok();
    size.and_then(|size| size.checked_mul(factor))
        .filter(|size| *size > 0)
        .ok_or_else(|| "it is a number with `M` or `G`, such as `4G`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn sizes_are_read_as_they_are_written(size in 1..u64::MAX / 1024, text: String) {
            assert_eq!(mebibytes(&format!("{size}M")), Ok(size));
            assert_eq!(mebibytes(&format!("{size}g")), Ok(size * 1024));
            let _ = (mebibytes(&text), job_count(&text), seeds(&text));
        }

        #[test]
        fn seeds_are_a_range(first in 0..u64::MAX - 100, more in 0..99_u32) {
            let found = seeds(&format!("{first}..{}", first + u64::from(more))).unwrap();
            assert_eq!((found.first, found.count.get()), (first, more + 1));
            assert!(seeds(&format!("{}..{first}", first + 1)).is_err());
        }

        #[test]
        fn a_size_that_does_not_fit_is_an_error(size in u64::MAX / 1024 + 1..) {
            assert!(mebibytes(&format!("{size}G")).is_err());
        }
    }
}
