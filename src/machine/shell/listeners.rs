//! Listeners on the ports of a guest, for the report of a wait for a port.

use std::time::Duration;

use super::GuestShell;
use crate::agent::{ATTEMPTS, Expect, GuestProgram, LISTENERS, quote};

/// How long the guest may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// How long a connection may take before it counts as dropped, and the status of `timeout` then.
const CONNECTION_LIMIT_S: u32 = 3;
const DROPPED: i32 = 124;

/// How many ports are looked at: a guest may make as many lines as it likes.
const MOST_PORTS: usize = 1000;

/// How many ports a report names.
const MOST_NAMED: usize = 5;

/// A TCP port on which something listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    port: u16,
    /// Whether it listens for the guest itself alone.
    is_local: bool,
    program: String,
    unit: String,
}

/// A port that a machine waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedPort {
    pub address: String,
    pub port: u16,
}

impl AwaitedPort {
    /// Whether it is one of the machine that waits.
    #[must_use]
    pub fn is_own(&self) -> bool {
        let own = ["localhost", "127.0.0.1", "::1", "0.0.0.0"];
        own.contains(&self.address.as_str())
    }
}

impl GuestShell {
    /// Returns what listens on TCP ports of the guest; `None` if it does not answer.
    pub async fn listeners(&self) -> Option<Vec<Listener>> {
        if !self.is_connected() {
            return None;
        }
        let program = GuestProgram::from("listeners".to_owned()).with(LISTENERS);
        let asked = self.execute_program(&program, Expect::Output, Some(ANSWER_LIMIT));
        let output = asked.await.ok()?.output;
        let text = String::from_utf8_lossy(&output);
        let lines = text.lines().take(MOST_PORTS);
        Some(lines.filter_map(Listener::read).collect())
    }

    /// Whether connections from here get no answer at all, as a firewall has it that drops them.
    pub async fn is_dropped(&self, awaited: &AwaitedPort) -> bool {
        let port = awaited.port.to_string();
        let attempt = ATTEMPTS.call("port_open", [awaited.address.as_str(), &port]);
        let line = format!(
            "timeout {CONNECTION_LIMIT_S} bash -c {}",
            quote(&attempt.text())
        );
        let asked = self.execute(&line, Expect::OutputAndStatus, Some(ANSWER_LIMIT));
        asked
            .await
            .is_ok_and(|outcome| outcome.status == Some(DROPPED))
    }
}

impl Listener {
    /// Reads a line of `listeners` (see agent/listeners.sh).
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Self {
            port: words.next()?.parse().ok()?,
            is_local: words.next()? == "local",
            program: words.next()?.to_owned(),
            unit: words.next().unwrap_or_default().to_owned(),
        })
    }

    fn owner(&self) -> String {
        match (self.program.as_str(), self.unit.as_str()) {
            ("-", _) => "a program of its own".to_owned(),
            (program, "") => program.to_owned(),
            (program, unit) => format!("{program} of {unit}"),
        }
    }
}

/// Returns the end of the message on a port that did not open, by what listens on the machine that has it. `other` is the
/// name of that machine if another one waits, and whether connections from there are dropped.
#[must_use]
pub fn port_hint(port: u16, listeners: &[Listener], other: Option<(&str, bool)>) -> String {
    let at = other
        .map(|(name, _)| format!(" of {name}"))
        .unwrap_or_default();
    let on_port = listeners.iter().filter(|it| it.port == port);
    let mut on_port: Vec<&Listener> = on_port.collect();
    on_port.sort_by_key(|it| it.is_local);
    match (on_port.first(), other) {
        (Some(listener), Some((name, _))) if listener.is_local => format!(
            "; {} listens on it, for {name} itself alone (127.0.0.1)",
            listener.owner()
        ),
        (Some(listener), Some((name, true))) => format!(
            "; {} listens on it, and connections get no answer: does the firewall of {name} drop them (`networking.firewall.allowedTCPPorts`)?",
            listener.owner()
        ),
        (Some(listener), _) => format!("; {} listens on it now", listener.owner()),
        (None, _) => format!("; nothing listens on port {port}{at}{}", named(listeners)),
    }
}

fn named(listeners: &[Listener]) -> String {
    let mut named: Vec<String> = Vec::new();
    for listener in listeners {
        let text = format!("{}, by {}", listener.port, listener.owner());
        if !named.contains(&text) {
            named.push(text);
        }
    }
    let rest = named.len().saturating_sub(MOST_NAMED);
    named.truncate(MOST_NAMED);
    match (named.is_empty(), rest) {
        (true, _) => ", or on any other".to_owned(),
        (false, 0) => format!("; open: {}", named.join("; ")),
        (false, rest) => format!("; open: {}; and {rest} more", named.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_closed_says_what_is_open() {
        let read =
            |text: &str| -> Vec<Listener> { text.lines().filter_map(Listener::read).collect() };
        let open = read(
            "22 all sshd sshd.service\n22 all sshd sshd.service\n8081 local python3 web.service\nx\n",
        );
        assert_eq!(
            port_hint(8080, &open, None),
            "; nothing listens on port 8080; open: 22, by sshd of sshd.service; 8081, by python3 of web.service"
        );
        assert_eq!(
            port_hint(8081, &open, Some(("server", false))),
            "; python3 of web.service listens on it, for server itself alone (127.0.0.1)"
        );
        assert_eq!(
            port_hint(22, &open, Some(("server", true))),
            "; sshd of sshd.service listens on it, and connections get no answer: does the firewall of server drop them (`networking.firewall.allowedTCPPorts`)?"
        );
        assert_eq!(
            port_hint(1, &[], Some(("server", false))),
            "; nothing listens on port 1 of server, or on any other"
        );
    }
}
