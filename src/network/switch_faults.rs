//! Tests of a switch whose links have faults, by a clock that is moved by hand.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, advance};

use super::Attachment;
use super::fault::{LinkEnds, LinkFault};
use super::headers::tests::{Toggle, tcp_frame};
use super::queue::EthernetFrame;
use super::switch::{Port, Switch};

/// Three machines on a network; the switch knows where `a`, `b` and `c` are.
struct Net {
    switch: Switch,
    ports: Vec<Port>,
    queues: Vec<Receiver<EthernetFrame>>,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Net {
    async fn open(seed: u64) -> Self {
        let switch = Switch::new(1, seed);
        let (mut ports, mut queues) = (Vec::new(), Vec::new());
        for name in NAMES {
            let (port, queue) = switch.plug_in(Attachment {
                network: 1,
                machine: Some(name.into()),
            });
            ports.push(port);
            queues.push(queue);
        }
        let mut net = Self {
            switch,
            ports,
            queues,
        };
        for place in 0..3 {
            net.ports[place].receive(&frame(0xff, place, 0)).await;
            net.drain();
        }
        net
    }

    fn begin(&self, id: u64, links: &[(&str, &str)], effects: Value, matching: Value) {
        let links = links.iter();
        let links: Vec<LinkEnds> = links
            .map(|(from, to)| ((*from).into(), (*to).into()))
            .collect();
        let fault = LinkFault {
            links,
            effects: serde_json::from_value(effects).unwrap(),
            matching: serde_json::from_value(matching).unwrap(),
        };
        self.switch.begin_fault(id, fault);
    }

    fn drain(&mut self) {
        for queue in &mut self.queues {
            while queue.try_recv().is_ok() {}
        }
    }

    /// Lets the delivery of delayed frames run.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Returns the numbers of the frames that have arrived at a machine.
    fn arrived(&mut self, place: usize) -> Vec<u8> {
        let queue = &mut self.queues[place];
        std::iter::from_fn(|| queue.try_recv().ok())
            .map(|frame| frame[14])
            .collect()
    }
}

/// Returns a frame from a machine to another one, or to all, with a number in its payload.
fn frame(to: usize, from: usize, number: u8) -> Vec<u8> {
    let mut frame = vec![2; 60];
    let group = [0xff; 6];
    match u8::try_from(to).unwrap() {
        0xff => frame[..6].copy_from_slice(&group),
        to => frame[5] = to,
    }
    frame[11] = u8::try_from(from).unwrap();
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14] = number;
    frame
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Sends many frames from `a` to `b` in a fault; returns the numbers of those that have arrived.
async fn send_many(seed: u64, effects: Value) -> (Net, Vec<u8>) {
    let mut net = Net::open(seed).await;
    net.begin(1, &[("a", "b")], effects, json!({}));
    for number in 0..250 {
        net.ports[0].receive(&frame(1, 0, number)).await;
    }
    let arrived = net.arrived(1);
    (net, arrived)
}

#[tokio::test(start_paused = true)]
async fn a_link_loses_the_same_frames_with_the_same_seed() {
    let (net, first) = send_many(7, json!({"loss": 0.3})).await;
    // Four standard deviations of a binomial distribution: 75 ± 29.
    let dropped = 250 - first.len();
    assert!((46..=104).contains(&dropped), "{dropped}");
    let counts = net.switch.fault_counts(1).unwrap();
    assert_eq!((counts.matched, counts.dropped), (250, dropped as u64));
    assert_eq!(send_many(7, json!({"loss": 0.3})).await.1, first);
    assert_ne!(send_many(8, json!({"loss": 0.3})).await.1, first);
    assert_eq!(send_many(7, json!({"loss": 1})).await.1, [0; 0]);
    assert_eq!(send_many(7, json!({"loss": 0})).await.1.len(), 250);
}

#[tokio::test(start_paused = true)]
async fn other_traffic_does_not_change_the_random_numbers_of_a_link() {
    let (_, alone) = send_many(7, json!({"loss": 0.3})).await;
    let mut net = Net::open(7).await;
    let links = [("a", "b"), ("b", "a"), ("c", "b")];
    net.begin(1, &links, json!({"loss": 0.3}), json!({}));
    for number in 0..250 {
        net.ports[2].receive(&frame(1, 2, 255)).await;
        net.ports[0].receive(&frame(1, 0, number)).await;
        net.ports[1].receive(&frame(0, 1, number)).await;
    }
    let arrived = net.arrived(1).into_iter();
    let arrived: Vec<u8> = arrived.filter(|number| *number != 255).collect();
    assert_eq!(arrived, alone);
    // The other direction has other numbers.
    assert_ne!(net.arrived(0), alone);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_one_way_and_keeps_the_order() {
    let mut net = Net::open(7).await;
    net.begin(1, &[("a", "b")], json!({"delay": 0.3}), json!({}));
    for number in 0..3 {
        net.ports[0].receive(&frame(1, 0, number)).await;
        net.ports[1].receive(&frame(0, 1, number)).await;
        net.ports[0].receive(&frame(2, 0, number)).await;
    }
    assert_eq!(net.arrived(0), [0, 1, 2]);
    assert_eq!(net.arrived(2), [0, 1, 2]);
    Net::settle().await;
    advance(seconds(0.298)).await;
    Net::settle().await;
    assert_eq!(net.arrived(1), [0; 0]);
    advance(seconds(0.003)).await;
    Net::settle().await;
    assert_eq!(net.arrived(1), [0, 1, 2]);
    assert_eq!(net.switch.end_fault(1).unwrap().delayed, 3);
}

#[tokio::test(start_paused = true)]
async fn what_waits_leaves_when_the_fault_ends() {
    let mut net = Net::open(7).await;
    let effects = json!({"delay": 60, "jitter": 30});
    net.begin(1, &[("a", "b")], effects, json!({}));
    net.begin(2, &[("c", "b")], json!({"delay": 60}), json!({}));
    for number in 0..20 {
        net.ports[0].receive(&frame(1, 0, number)).await;
    }
    net.ports[2].receive(&frame(1, 2, 99)).await;
    let _ = net.switch.end_fault(1);
    net.ports[0].receive(&frame(1, 0, 100)).await;
    let mut arrived = net.arrived(1);
    assert_eq!(
        arrived.pop(),
        Some(100),
        "no frame comes before those that have waited"
    );
    arrived.sort_unstable();
    assert_eq!(arrived, (0..20).collect::<Vec<u8>>());
    assert_eq!(net.switch.end_fault(1), None);
}

#[tokio::test(start_paused = true)]
async fn a_rate_spreads_frames_over_time_and_a_queue_has_an_end() {
    let mut net = Net::open(7).await;
    // Frames of 60 bytes, one each millisecond.
    let effects = json!({"rate": "480kbit", "queue": 10});
    net.begin(1, &[("a", "b")], effects, json!({}));
    for number in 0..25 {
        net.ports[0].receive(&frame(1, 0, number)).await;
    }
    assert_eq!(net.switch.fault_counts(1).unwrap().dropped, 15);
    let begin = Instant::now();
    let mut arrivals = Vec::new();
    while arrivals.len() < 10 {
        if net.arrived(1).is_empty() {
            advance(seconds(0.0005)).await;
            Net::settle().await;
        } else {
            arrivals.push(begin.elapsed().as_millis());
        }
    }
    let expected: Vec<u128> = (1..=10).collect();
    let differences = arrivals.iter().zip(&expected);
    assert!(
        differences.into_iter().all(|(a, b)| a.abs_diff(*b) <= 1),
        "{arrivals:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn jitter_stays_in_its_bounds_and_reorders() {
    let mut net = Net::open(7).await;
    let effects = json!({"delay": 0.1, "jitter": 0.05});
    net.begin(1, &[("a", "b")], effects, json!({}));
    for number in 0..250 {
        net.ports[0].receive(&frame(1, 0, number)).await;
    }
    Net::settle().await;
    advance(seconds(0.049)).await;
    Net::settle().await;
    assert_eq!(net.arrived(1), [0; 0]);
    advance(seconds(0.102)).await;
    Net::settle().await;
    let arrived = net.arrived(1);
    assert_eq!(arrived.len(), 250);
    assert!(!arrived.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn duplicates_and_overtaking_are_counted() {
    let (net, arrived) = send_many(7, json!({"duplicate": 0.5})).await;
    let counts = net.switch.fault_counts(1).unwrap();
    assert_eq!(arrived.len() as u64, 250 + counts.duplicated);
    assert!((90..=160).contains(&counts.duplicated), "{counts:?}");

    let (mut net, arrived) = send_many(7, json!({"delay": 1, "reorder": 0.25})).await;
    let counts = net.switch.fault_counts(1).unwrap();
    assert_eq!(arrived.len() as u64, counts.reordered);
    assert!((30..=95).contains(&counts.reordered), "{counts:?}");
    Net::settle().await;
    advance(seconds(1.001)).await;
    Net::settle().await;
    assert_eq!(arrived.len() + net.arrived(1).len(), 250);
}

#[tokio::test(start_paused = true)]
async fn one_bit_of_a_corrupted_frame_is_another_and_its_header_is_not() {
    let mut net = Net::open(7).await;
    net.begin(1, &[("a", "b")], json!({"corrupt": 1}), json!({}));
    for tagged in [false, true] {
        let mut sent = frame(1, 0, 0);
        let header = if tagged {
            sent[12..14].copy_from_slice(&[0x81, 0]);
            18
        } else {
            14
        };
        for _ in 0..100 {
            net.ports[0].receive(&sent).await;
            let received = net.queues[1].try_recv().unwrap();
            let pairs = sent.iter().zip(received.iter());
            let bits: u32 = pairs.map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!((bits, &sent[..header]), (1, &received[..header]));
        }
    }
    // One that is all header stays as it is.
    net.ports[0].receive(&frame(1, 0, 0)[..14]).await;
    assert_eq!(net.queues[1].try_recv().unwrap()[..], frame(1, 0, 0)[..14]);
}

#[tokio::test(start_paused = true)]
async fn only_frames_that_match_are_in_a_fault() {
    let mut net = Net::open(7).await;
    let matching = json!({"protocol": "tcp", "port": 5432, "syn": true});
    net.begin(1, &[("a", "b")], json!({"loss": 1}), matching);
    let addressed = |mut frame: Vec<u8>| {
        frame[..6].copy_from_slice(&[2, 2, 2, 2, 2, 1]);
        frame[6..12].copy_from_slice(&[2, 2, 2, 2, 2, 0]);
        frame
    };
    let syn = addressed(tcp_frame(1000, 5432, Toggle::On));
    net.ports[0].receive(&syn).await;
    net.ports[0]
        .receive(&addressed(tcp_frame(1000, 5432, Toggle::Off)))
        .await;
    assert_eq!(net.arrived(1).len(), 1);
    let counts = net.switch.end_fault(1).unwrap();
    assert_eq!((counts.matched, counts.dropped), (1, 1));
    net.ports[0].receive(&syn).await;
    assert_eq!(net.arrived(1).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_frame_to_all_is_lost_for_one_and_addresses_are_learnt_nevertheless() {
    let mut net = Net::open(7).await;
    net.begin(1, &[("a", "b")], json!({"loss": 1}), json!({}));
    net.ports[0].receive(&frame(0xff, 0, 1)).await;
    assert_eq!((net.arrived(1), net.arrived(2)), (vec![], vec![1]));
    // A new address of `a`, whose frame to `b` is lost.
    let mut other = frame(1, 9, 2);
    net.ports[0].receive(&other).await;
    assert_eq!(net.arrived(1), [0; 0]);
    other = frame(9, 1, 3);
    net.ports[1].receive(&other).await;
    assert_eq!((net.arrived(0), net.arrived(2)), (vec![3], vec![]));
}

#[tokio::test(start_paused = true)]
async fn faults_of_one_link_add_up() {
    let mut net = Net::open(7).await;
    for id in [1, 2] {
        net.begin(id, &[("a", "b")], json!({"delay": 0.1}), json!({}));
    }
    net.ports[0].receive(&frame(1, 0, 1)).await;
    Net::settle().await;
    advance(seconds(0.15)).await;
    Net::settle().await;
    assert_eq!(net.arrived(1), [0; 0]);
    advance(seconds(0.051)).await;
    Net::settle().await;
    assert_eq!(net.arrived(1), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_frame_is_the_one_that_came() {
    let mut net = Net::open(7).await;
    net.begin(
        1,
        &[("a", "b")],
        json!({"delay": 1, "duplicate": 1}),
        json!({}),
    );
    net.ports[0].receive(&frame(1, 0, 1)).await;
    let _ = net.switch.end_fault(1);
    let (one, two) = (
        net.queues[1].try_recv().unwrap(),
        net.queues[1].try_recv().unwrap(),
    );
    assert!(std::sync::Arc::ptr_eq(&one, &two), "nothing was copied");
}
