//! The faults of a test as spans of time.

use std::collections::BTreeMap;

use super::Span;
use crate::model::event::Event;
use crate::report::lines::fault_line;

/// Lines of a text at most: `chaos()` may make faults without end.
const MOST_LINES: usize = 1000;

/// A fault that the script has asked for.
#[derive(Debug, Clone)]
pub(in crate::report) struct FaultSpan {
    pub span: Span,
    pub machines: Vec<String>,
}

/// The faults of one attempt at a test.
#[derive(Debug, Default)]
pub(in crate::report) struct FaultSpans {
    ended: Vec<FaultSpan>,
    /// Faults that have not ended, by their numbers.
    active: BTreeMap<u64, FaultSpan>,
    /// The begin and the end of each fault, and the seed, as lines.
    lines: Vec<String>,
}

impl FaultSpans {
    /// Takes the next event, and returns its line; one that is about no fault has neither an effect nor a line.
    pub fn take(&mut self, event: &Event, time_s: f64) -> Option<String> {
        let line = fault_line(event)?;
        if self.lines.len() < MOST_LINES {
            self.lines.push(line.clone());
        }
        if let Event::FaultStarted { id, text, machines } = event {
            let fault = FaultSpan {
                span: Span {
                    name: format!("fault {id}: {text}"),
                    begin_s: time_s,
                    end_s: time_s,
                    failed: false,
                },
                machines: machines.clone(),
            };
            self.active.insert(*id, fault);
        }
        if let Event::FaultFinished { id, counts, .. } = event
            && let Some(mut fault) = self.active.remove(id)
        {
            let counts = counts.describe();
            if !counts.is_empty() {
                fault.span.name = format!("{} ({counts})", fault.span.name);
            }
            fault.span.end_s = time_s;
            self.ended.push(fault);
        }
        Some(line)
    }

    /// Returns the spans of the faults of a machine. Faults that have not ended last until `end_s`.
    pub fn of(&self, machine: &str, end_s: f64) -> Vec<Span> {
        let active = self.active.values().cloned().map(|mut fault| {
            fault.span.end_s = end_s;
            fault
        });
        let all = self.ended.iter().cloned().chain(active);
        all.filter(|fault| fault.machines.iter().any(|name| name == machine))
            .map(|fault| fault.span)
            .collect()
    }

    /// Returns the begin and the end of each fault, and the seed, as a text; `None` if there is no fault.
    pub fn text(&self) -> Option<String> {
        let has_fault = !(self.ended.is_empty() && self.active.is_empty());
        has_fault.then(|| self.lines.join("\n"))
    }

    /// Returns the machines of all faults.
    pub fn machines(&self) -> impl Iterator<Item = &String> {
        let all = self.ended.iter().chain(self.active.values());
        all.flat_map(|fault| &fault.machines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fault_counts::FaultCounts;

    #[test]
    fn a_fault_lasts_until_it_is_healed_or_the_test_ends() {
        let mut faults = FaultSpans::default();
        for id in [1, 2] {
            let text = "a → b: loss 30 %".to_owned();
            let machines = vec!["a".to_owned(), "b".to_owned()];
            faults.take(&Event::FaultStarted { id, text, machines }, 1.0);
        }
        let counts = FaultCounts {
            matched: 3,
            dropped: 1,
            ..FaultCounts::default()
        };
        let duration_s = 1.0;
        let healed = Event::FaultFinished {
            id: 2,
            duration_s,
            counts,
        };
        faults.take(&healed, 2.0);
        let spans = faults.of("b", 9.0);
        let spans: Vec<(&str, f64)> = spans.iter().map(|span| (&*span.name, span.end_s)).collect();
        let ended = "fault 2: a → b: loss 30 % (3 matched, 1 dropped)";
        assert_eq!(spans, [(ended, 2.0), ("fault 1: a → b: loss 30 %", 9.0)]);
        assert!(faults.of("c", 9.0).is_empty());
    }
}
