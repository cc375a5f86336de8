//! The effects of a fault on the frames of a link, with the semantics of Linux' `netem`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::quantity::{BitRate, Fraction};

/// Frames that may wait for a link with a delay or a rate, as in `netem`.
const DEFAULT_QUEUE_FRAMES: u32 = 1000;

/// The longest delay, in seconds: a day.
const LONGEST_DELAY_S: f64 = 86_400.0;

/// The effects of a fault. They apply in this order: loss, duplication, corruption, delay with jitter or reordering,
/// rate. A frame draws from the random numbers of its link once for each effect that is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkEffects {
    /// Seconds that a frame waits.
    pub delay: f64,
    /// Seconds by which a delay is longer or shorter at most, evenly distributed. Frames can overtake each other by it.
    pub jitter: f64,
    /// The part of the frames that is dropped.
    pub loss: Option<Fraction>,
    /// The part of the frames that arrives twice.
    pub duplicate: Option<Fraction>,
    /// The part of the frames that is not delayed, and overtakes those that are.
    pub reorder: Option<Fraction>,
    /// The part of the frames in which one bit behind the Ethernet header is inverted.
    pub corrupt: Option<Fraction>,
    /// Frames leave at this rate, counted from their Ethernet header to the end of their payload.
    pub rate: Option<BitRate>,
    /// Frames that wait at most; further ones are dropped. `None` for 1000.
    pub queue: Option<u32>,
}

impl LinkEffects {
    /// Returns the effects of a link that carries nothing.
    #[must_use]
    pub fn lose_all() -> Self {
        Self {
            loss: Some(Fraction::WHOLE),
            ..Self::default()
        }
    }

    /// Checks the parts that depend on each other.
    ///
    /// # Errors
    /// Returns the reason why the effects make no fault.
    pub fn check(&self) -> Result<(), String> {
        for (name, seconds) in [("delay", self.delay), ("jitter", self.jitter)] {
            if !(0.0..=LONGEST_DELAY_S).contains(&seconds) {
                return Err(format!(
                    "{name}={seconds} is no number of seconds from 0 to {LONGEST_DELAY_S}"
                ));
            }
        }
        if self.jitter > 0.0 && self.delay == 0.0 {
            return Err(
                "jitter needs a delay: frames cannot arrive before they are sent".to_owned(),
            );
        }
        if self.reorder.is_some() && self.delay == 0.0 {
            return Err(
                "reorder needs a delay, which frames that are sent at once overtake".to_owned(),
            );
        }
        if self.queue == Some(0) {
            return Err(
                "queue=0 lets no frame wait: for a link that carries nothing write loss=1"
                    .to_owned(),
            );
        }
        if self.queue.is_some() && self.delay == 0.0 && self.rate.is_none() {
            return Err("queue needs a delay or a rate, for which frames wait".to_owned());
        }
        if *self == Self::default() {
            return Err(
                "a fault needs an effect: delay, loss, duplicate, corrupt or rate".to_owned(),
            );
        }
        Ok(())
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_secs_f64(self.delay)
    }

    pub(super) fn queue_frames(&self) -> usize {
        self.queue.unwrap_or(DEFAULT_QUEUE_FRAMES) as usize
    }
}

/// For people: `delay 0.3 s ± 0.05 s, loss 10 %`.
impl fmt::Display for LinkEffects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.delay > 0.0 {
            let jitter = if self.jitter > 0.0 {
                format!(" ± {} s", self.jitter)
            } else {
                String::new()
            };
            parts.push(format!("delay {} s{jitter}", self.delay));
        }
        for (name, fraction) in [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ] {
            parts.extend(fraction.map(|fraction| format!("{name} {fraction}")));
        }
        parts.extend(self.rate.as_ref().map(|rate| format!("rate {rate}")));
        parts.extend(self.queue.map(|frames| format!("queue {frames}")));
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn effects_that_make_no_fault_are_refused() {
        let check = |effects| {
            let effects: LinkEffects = serde_json::from_value(effects).unwrap();
            effects.check()
        };
        assert_eq!(
            check(json!({"delay": 0.3, "reorder": 0.2, "queue": 9})),
            Ok(())
        );
        assert_eq!(check(json!({"rate": "1mbit", "queue": 9})), Ok(()));
        for wrong in [
            json!({}),
            json!({"delay": -1}),
            json!({"delay": 1e9}),
            json!({"jitter": 0.1}),
            json!({"reorder": 0.1}),
            json!({"queue": 9, "loss": 0.1}),
            json!({"queue": 0, "delay": 0.1}),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
        let wrong = serde_json::from_value::<LinkEffects>(json!({"loss": 10}));
        assert!(
            wrong
                .unwrap_err()
                .to_string()
                .contains("for 10 % write 0.1")
        );
    }

    #[test]
    fn people_read_what_is_set() {
        let effects = json!({"delay": 0.3, "jitter": 0.05, "loss": 0.1, "rate": "1mbit"});
        let effects: LinkEffects = serde_json::from_value(effects).unwrap();
        assert_eq!(
            effects.to_string(),
            "delay 0.3 s ± 0.05 s, loss 10 %, rate 1mbit"
        );
    }
}
