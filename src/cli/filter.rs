//! The options that choose tests of many.

use clap::Args;

use crate::filter::{Expression, Partition, Pattern, TestFilter};

#[derive(Debug, Args)]
pub struct FilterOptions {
    /// Choose tests: `test(~part)`, `attribute(=path)`, `tag(slow)`, `machines(> 2)`, `backend(vm)`, `last(failed)`, `duration(> 1m)`, with `&`, `|`, `!` and parentheses; or a pattern of names such as `postgres*`.
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<Expression>,
    /// Choose the tests that did not pass, or did not run, last time.
    #[arg(long)]
    rerun: bool,
    /// Leave out tests whose name or attribute path fits this pattern.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<Pattern>,
    /// Choose a part of the tests, for one of N machines: `hash:K/N` (a test stays in its part when others are added) or `slice:K/N`.
    #[arg(long, value_name = "hash|slice:K/N")]
    partition: Option<Partition>,
}

impl FilterOptions {
    pub fn filter(&self) -> TestFilter {
        TestFilter {
            expression: self.filter.clone(),
            exclude: self.exclude.clone(),
            not_passed: self.rerun,
            partition: self.partition,
        }
    }
}
