//! Waiting for several things at once: all of them, or any.

use std::time::Duration;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use super::units::unit_attempt;
use super::waits::{PollOutcome, PollTrigger, file_attempt, port_attempt};

use super::{AwaitedPort, GuestShell};
use crate::agent::{ATTEMPTS, GuestProgram, quote};
use crate::machine::{MachineError, Overdue};

/// How often the console is looked at while the guest is polled, too.
const CONSOLE_PAUSE: Duration = Duration::from_millis(50);

/// How much longer than the limit the last round in the guest may take.
const ROUND_GRACE: Duration = Duration::from_secs(3);

/// How many of several things are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    All,
    Any,
}

/// Something to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A unit of systemd is active.
    Unit(String),
    /// Something listens on a TCP port of the guest.
    Port(u16),
    /// A file is there.
    File(String),
    /// A GET request, made in the guest, is answered by a status below 400.
    Http(String),
    /// A line of the console matches.
    Log(String),
}

impl Condition {
    fn explain(&self) -> String {
        match self {
            Self::Unit(unit) => format!("unit {unit}"),
            Self::Port(port) => format!("TCP port {port}"),
            Self::File(file) => format!("file {file}"),
            Self::Http(url) => url.clone(),
            Self::Log(regex) => format!("console text {regex:?}"),
        }
    }

    /// Continues a sentence with what is missing.
    fn lack(&self) -> String {
        match self {
            Self::Http(url) => format!("; {url} gives no status below 400"),
            other => format!("; {} is missing", other.explain()),
        }
    }

    /// The port that it waits for, with others.
    fn port(&self) -> Option<AwaitedPort> {
        let (address, port) = match self {
            Self::Port(port) => ("localhost", *port),
            Self::Http(url) => {
                let address = http_address(url)?;
                (address.host, address.port)
            }
            Self::Unit(_) | Self::File(_) | Self::Log(_) => return None,
        };
        Some(AwaitedPort {
            address: address.to_owned(),
            port,
        })
    }

    /// Returns the program that succeeds when the condition holds; `None` for the console, which the guest cannot see.
    fn attempt(&self) -> Option<GuestProgram> {
        match self {
            Self::Unit(unit) => Some(unit_attempt(unit, None)),
            Self::Port(port) => Some(port_attempt("localhost", *port)),
            Self::File(file) => Some(file_attempt(&quote(file))),
            Self::Http(url) => Some(http_attempt(url)),
            Self::Log(_) => None,
        }
    }
}

impl GuestShell {
    /// Waits until all of the conditions hold at once, or any does.
    ///
    /// # Errors
    /// Returns an error if they do not within `limit`, if a unit that is needed has failed, and as for
    /// [`GuestShell::execute`].
    pub async fn wait_for_conditions(
        &self,
        conditions: &[Condition],
        wanted: Quantity,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let patterns = self.patterns(conditions)?;
        let polled: Vec<&Condition> = conditions
            .iter()
            .filter(|condition| condition.attempt().is_some())
            .collect();
        let names: Vec<String> = conditions.iter().map(Condition::explain).collect();
        let what = names.join(match wanted {
            Quantity::All => " and ",
            Quantity::Any => " or ",
        });
        self.life
            .step(format!("waiting for {what}"), async {
                let guest = Box::pin(self.poll_until(&polled, wanted, &what, limit));
                let console = Box::pin(self.until_shown(&patterns, wanted));
                let waiting = async {
                    match wanted {
                        Quantity::All => {
                            console.await?;
                            guest.await
                        }
                        Quantity::Any if polled.is_empty() => console.await,
                        Quantity::Any if patterns.is_empty() => guest.await,
                        Quantity::Any => tokio::select! {
                            result = guest => result,
                            result = console => result,
                        },
                    }
                };
                // The guest's own rounds end at the limit, and know more.
                tokio::time::timeout(limit + ROUND_GRACE, waiting)
                    .await
                    .unwrap_or_else(|_| Err(self.life.overdue(&what, limit).error()))
            })
            .await
    }

    fn patterns(&self, conditions: &[Condition]) -> Result<Vec<Regex>, MachineError> {
        conditions
            .iter()
            .filter_map(|condition| match condition {
                Condition::Log(regex) => Some(Regex::new(regex).map_err(|error| {
                    self.life
                        .unable(format!("cannot look for {regex:?}: {error}"))
                })),
                _ => None,
            })
            .collect()
    }

    /// Waits until the console has shown what matches all of these, or any.
    async fn until_shown(&self, patterns: &[Regex], wanted: Quantity) -> Result<(), MachineError> {
        let holds = |text: &str| match wanted {
            Quantity::All => patterns.iter().all(|regex| regex.is_match(text)),
            Quantity::Any => patterns.iter().any(|regex| regex.is_match(text)),
        };
        let mut length = None;
        loop {
            let (text, end) = self.life.console().since(0);
            if length != Some(end) && holds(&text) {
                return Ok(());
            }
            length = Some(end);
            self.connect().await?;
            let running = self.life.running()?;
            let growing = async {
                self.life.console().longer_than(end).await;
                // Text comes in bursts.
                tokio::time::sleep(CONSOLE_PAUSE).await;
                Ok(())
            };
            self.life.guard(&running, growing).await?;
        }
    }

    /// Asks the guest until what is wanted holds.
    async fn poll_until(
        &self,
        conditions: &[&Condition],
        wanted: Quantity,
        what: &str,
        limit: Duration,
    ) -> Result<(), MachineError> {
        if conditions.is_empty() {
            return Ok(());
        }
        let attempt = combined(conditions, wanted);
        match self.poll(attempt, PollTrigger::Interval, limit).await? {
            PollOutcome::Reached(_) => Ok(()),
            PollOutcome::Hopeless(status, outcome) => match pending(conditions, &outcome.output) {
                Some(Condition::Unit(unit)) => Err(self.hopeless(unit, None, status).await),
                _ => Err(self.life.overdue(what, limit).error()),
            },
            PollOutcome::Overdue(outcome) => {
                let missing = match conditions {
                    // An attempt that was under way until the end leaves no output.
                    [only] => Some(*only),
                    _ => pending(conditions, &outcome.output).filter(|_| wanted == Quantity::All),
                };
                Err(Overdue {
                    hint: missing.map(Condition::lack).unwrap_or_default(),
                    port: missing.and_then(Condition::port),
                    ..self.life.overdue(what, limit)
                }
                .error())
            }
        }
    }
}

/// The condition whose number an attempt left as its output.
fn pending<'a>(conditions: &[&'a Condition], output: &[u8]) -> Option<&'a Condition> {
    let number: usize = std::str::from_utf8(output).ok()?.trim().parse().ok()?;
    conditions.get(number).copied()
}

/// One attempt of several. Its output is the number of the condition that was
/// polled last.
fn combined(conditions: &[&Condition], wanted: Quantity) -> GuestProgram {
    let attempts = conditions
        .iter()
        .enumerate()
        .filter_map(|(number, condition)| {
            // Outputs are base64.
            let numbered = |line| format!("{{ output=$(echo {number} | base64); {line}; }}");
            Some(condition.attempt()?.map_line(numbered))
        });
    match wanted {
        Quantity::All => GuestProgram::join(attempts, " && "),
        // One that is hopeless leaves the others.
        Quantity::Any => {
            GuestProgram::join(attempts, " || ").map_line(|line| format!("{line} || false"))
        }
    }
}

/// Needs no program in the guest unless the request is encrypted.
fn http_attempt(url: &str) -> GuestProgram {
    let Some(address) = http_address(url) else {
        return GuestProgram::from(format!(
            "curl --silent --fail --insecure --max-time 10 --output /dev/null -- {}",
            quote(url)
        ));
    };
    let HttpAddress {
        authority,
        host,
        port,
        path,
    } = address;
    ATTEMPTS.call("http_answers", [host, &port.to_string(), authority, &path])
}

/// The parts of an address whose requests are not encrypted.
struct HttpAddress<'a> {
    authority: &'a str,
    host: &'a str,
    port: u16,
    path: String,
}

fn http_address(url: &str) -> Option<HttpAddress<'_>> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(80)),
        None => (authority, 80),
    };
    Some(HttpAddress {
        authority,
        host,
        port,
        path: format!("/{path}"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;

    fn bash(script: &str) -> Option<i32> {
        Command::new("bash")
            .args(["-c", script])
            .status()
            .unwrap()
            .code()
    }

    /// A server that answers one request so.
    fn server(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            assert!(request.starts_with(b"GET /a HTTP/1.0\r\nHost: "));
            stream
                .write_all(format!("HTTP/1.0 {status}\r\n\r\n").as_bytes())
                .unwrap();
        });
        format!("http://{address}/a")
    }

    #[test]
    fn http_is_asked_by_bash_itself() {
        assert_eq!(
            bash(&http_attempt(&server("204 No Content")).text()),
            Some(0)
        );
        assert_eq!(bash(&http_attempt(&server("503 Not Yet")).text()), Some(1));
        assert_ne!(bash(&http_attempt("http://localhost:1/").text()), Some(0));
    }

    #[test]
    fn attempts_are_joined_and_tell_where_they_stopped() {
        let there = Condition::File("/".to_owned());
        let missing = Condition::File("/does/not/exist".to_owned());
        let run = |conditions: &[&Condition], wanted| {
            let script = format!(
                "{}; s=$?; echo \"$output\" | base64 -d; exit $s",
                combined(conditions, wanted).text()
            );
            let output = Command::new("bash").args(["-c", &script]).output().unwrap();
            (
                output.status.code(),
                pending(conditions, &output.stdout).cloned(),
            )
        };
        assert_eq!(
            run(&[&there, &missing], Quantity::All),
            (Some(1), Some(missing.clone()))
        );
        assert_eq!(
            run(&[&missing, &there], Quantity::Any),
            (Some(0), Some(there.clone()))
        );
        assert_eq!(run(&[&missing], Quantity::Any).0, Some(1));
    }
}
