//! Reads Nix's log in the format `internal-json`: one JSON object a line, after the word `@nix`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::model::event::Event;

/// Activity and result numbers of Nix's `logging.hh`.
const ACTIVITY_BUILDS: u64 = 104;
const ACTIVITY_BUILD: u64 = 105;
const RESULT_LOG_LINE: u64 = 101;
const RESULT_PROGRESS: u64 = 105;

/// How many of a build's last lines are kept for the case that it fails.
const KEPT_LINES: usize = 60;

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum LogMessage {
    Start {
        id: u64,
        #[serde(rename = "type", default)]
        kind: u64,
        #[serde(default)]
        fields: Vec<Value>,
    },
    Stop {
        id: u64,
    },
    Result {
        id: u64,
        #[serde(rename = "type", default)]
        kind: u64,
        #[serde(default)]
        fields: Vec<Value>,
    },
    Msg {
        #[serde(default)]
        level: u64,
        msg: String,
    },
}

/// One derivation that is being built, or has failed.
#[derive(Debug, Default)]
struct Build {
    derivation: String,
    lines: Vec<String>,
}

/// The state of a build as its log shows it.
#[derive(Debug, Default)]
pub struct Log {
    running: HashMap<u64, Build>,
    finished: Vec<Build>,
    totals: Option<u64>,
    errors: Vec<String>,
}

impl Log {
    /// Takes one line; returns what of it others should know.
    pub fn line(&mut self, line: &str) -> Option<Event> {
        let Some(json) = line.strip_prefix("@nix ") else {
            self.errors.push(line.to_owned());
            return None;
        };
        match serde_json::from_str(json).ok()? {
            LogMessage::Start { id, kind, fields } => self.start(id, kind, &fields),
            LogMessage::Stop { id } => self.stop(id),
            LogMessage::Result { id, kind, fields } => self.result(id, kind, &fields),
            LogMessage::Msg { level: 0, msg } => {
                self.errors.push(without_colours(&msg));
                None
            }
            LogMessage::Msg { .. } => None,
        }
    }

    /// Returns the error: the whole log of each failed build, or else Nix's own messages.
    #[must_use]
    pub fn failure(&self) -> String {
        self.failure_of(|_| true)
    }

    /// Returns the error of builds that something `needs`, by their derivations.
    #[must_use]
    pub fn failure_of(&self, needs: impl Fn(&str) -> bool) -> String {
        let concerns = |message: &&String| derivations_in(message).all(&needs);
        let errors: Vec<&str> = self
            .errors
            .iter()
            .filter(concerns)
            .map(String::as_str)
            .collect();
        let errors = errors.join("\n");
        let logs: Vec<String> = self
            .finished
            .iter()
            .chain(self.running.values())
            .filter(|build| needs(&build.derivation))
            .filter(|build| errors.contains(&build.derivation) && !build.lines.is_empty())
            .map(|build| {
                format!(
                    "the log of {} ends:\n{}",
                    build.derivation,
                    build.lines.join("\n")
                )
            })
            .collect();
        let first: Vec<&str> = errors
            .lines()
            // Nix repeats the last lines of the log, which stand above in full.
            .take_while(|line| {
                logs.is_empty()
                    || !line.contains("last 10 log lines") && !line.trim_start().starts_with("> ")
            })
            .filter(|line| !line.contains("'nixbld'"))
            // What could not be built because of it is no news.
            .filter(|line| logs.is_empty() || !line.contains("dependencies of derivation"))
            .map(|line| line.trim_start_matches("error: "))
            .collect();
        logs.into_iter()
            .chain([first.join("\n")])
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn start(&mut self, id: u64, kind: u64, fields: &[Value]) -> Option<Event> {
        if kind == ACTIVITY_BUILDS {
            self.totals = Some(id);
        }
        if kind != ACTIVITY_BUILD {
            return None;
        }
        let derivation = fields.first()?.as_str()?.to_owned();
        self.running.insert(
            id,
            Build {
                derivation: derivation.clone(),
                lines: Vec::new(),
            },
        );
        Some(Event::BuildStarted { derivation })
    }

    fn stop(&mut self, id: u64) -> Option<Event> {
        let build = self.running.remove(&id)?;
        let derivation = build.derivation.clone();
        self.finished.push(build);
        Some(Event::BuildFinished { derivation })
    }

    fn result(&mut self, id: u64, kind: u64, fields: &[Value]) -> Option<Event> {
        match kind {
            RESULT_LOG_LINE => {
                let build = self.running.get_mut(&id)?;
                let line = without_colours(fields.first()?.as_str()?);
                if build.lines.len() == KEPT_LINES {
                    build.lines.remove(0);
                }
                build.lines.push(line.clone());
                Some(Event::BuildLog {
                    derivation: build.derivation.clone(),
                    line,
                })
            }
            RESULT_PROGRESS if self.totals == Some(id) => Some(Event::BuildProgress {
                done: fields.first()?.as_u64()?,
                expected: fields.get(1)?.as_u64()?,
            }),
            _ => None,
        }
    }
}

/// The derivations that a message names.
fn derivations_in(message: &str) -> impl Iterator<Item = &str> {
    let words = message.split(|c: char| c.is_whitespace() || "'\"`,;:".contains(c));
    words.filter(|word| Path::new(word).extension() == Some(OsStr::new("drv")))
}

fn without_colours(text: &str) -> String {
    console::strip_ansi_codes(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_followed_from_start_to_failure() {
        let mut log = Log::default();
        let started = log.line(
            r#"@nix {"action":"start","fields":["/nix/store/x-a.drv","",1,1],"id":7,"level":3,"parent":0,"text":"building","type":105}"#,
        );
        assert!(
            matches!(started, Some(Event::BuildStarted { derivation }) if derivation == "/nix/store/x-a.drv")
        );
        log.line(r#"@nix {"action":"result","fields":["it broke"],"id":7,"type":101}"#);
        log.line(r#"@nix {"action":"stop","id":7}"#);
        log.line(
            r#"@nix {"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m builder for '/nix/store/x-a.drv' failed with exit code 1;\n       last 10 log lines:\n       > it broke"}"#,
        );
        assert_eq!(
            log.failure(),
            "the log of /nix/store/x-a.drv ends:\nit broke\nbuilder for '/nix/store/x-a.drv' failed with exit code 1;"
        );
        assert_eq!(
            log.failure_of(|derivation| derivation.ends_with("b.drv")),
            ""
        );
    }

    #[test]
    fn totals_are_those_of_all_builds() {
        let mut log = Log::default();
        log.line(r#"@nix {"action":"start","id":1,"level":0,"type":104}"#);
        let progress = log.line(r#"@nix {"action":"result","fields":[2,5,1,0],"id":1,"type":105}"#);
        assert!(matches!(
            progress,
            Some(Event::BuildProgress {
                done: 2,
                expected: 5
            })
        ));
    }
}
