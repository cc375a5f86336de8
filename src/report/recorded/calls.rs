//! The calls of an attempt. Of very many, the first, the last and the failed ones are kept.

use std::collections::VecDeque;

use serde_json::Value;

/// A call of the script.
#[derive(Debug, Clone)]
pub(in crate::report) struct CallSpan {
    /// From 0, among all of the attempt.
    pub number: usize,
    pub machine: String,
    pub method: String,
    pub arguments: String,
    /// The line of the script, from 1.
    pub line: Option<u32>,
    pub begin_s: f64,
    pub duration_s: f64,
    pub result: String,
    pub failed: bool,
}

const FIRST_CALLS: usize = 1000;
const LAST_CALLS: usize = 1000;
/// Between the first and the last ones.
const FAILED_CALLS: usize = 200;

/// The calls that are shown, in the order of their ends.
#[derive(Debug, Default)]
pub(in crate::report) struct CallList {
    first: Vec<CallSpan>,
    failed: Vec<CallSpan>,
    last: VecDeque<CallSpan>,
    count: usize,
}

impl CallList {
    pub fn add(&mut self, mut call: CallSpan) {
        call.number = self.count;
        self.count += 1;
        if self.first.len() < FIRST_CALLS {
            self.first.push(call);
            return;
        }
        if self.last.len() == LAST_CALLS
            && let Some(old) = self.last.pop_front()
            && old.failed
            && self.failed.len() < FAILED_CALLS
        {
            self.failed.push(old);
        }
        self.last.push_back(call);
    }

    pub fn iter(&self) -> impl Iterator<Item = &CallSpan> {
        self.first.iter().chain(&self.failed).chain(&self.last)
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The arguments of a call as a reader wants them: what is empty left out.
pub(in crate::report) fn described(arguments: &Value) -> String {
    let Value::Object(all) = arguments else {
        return String::new();
    };
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(inner) => inner.values().all(|value| match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        }),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let given: Vec<(&String, &Value)> = all.iter().filter(|(_, value)| !is_empty(value)).collect();
    let texts: Vec<String> = given
        .iter()
        .map(|(name, value)| match value {
            // What a command is, is clear from the method.
            Value::Array(list) if *name == "commands" => {
                let commands = list.iter().map(|command| match command {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                commands.collect::<Vec<_>>().join("; ")
            }
            Value::String(text) if *name == "command" => text.clone(),
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_calls_are_kept_of_many() {
        let mut calls = CallList::default();
        for number in 0..5000 {
            calls.add(CallSpan {
                number: 0,
                machine: "m".to_owned(),
                method: "succeed".to_owned(),
                arguments: String::new(),
                line: None,
                begin_s: 0.0,
                duration_s: 0.0,
                result: String::new(),
                failed: number == 2500,
            });
        }
        let numbers: Vec<usize> = calls.iter().map(|call| call.number).collect();
        assert_eq!((calls.count(), numbers.len()), (5000, 2001));
        assert_eq!(numbers[999..1002], [999, 2500, 4000]);
    }
}
