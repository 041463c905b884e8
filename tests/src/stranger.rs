//! A stranger who tries to connect a thousand times a second, and listens for any answer.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use relay::demo::stage::{GUARDED, RELAY, STRANGER, Stage};
use relay::hosts::Host;
use relay::selftest::craft::{Ends, PLAIN, V4};
use relay::selftest::wire::{Heard, Wire, hardware};

/// A SYN each.
const PACE: Duration = Duration::from_millis(1);
/// The sender's ports, below those that the system gives to others.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// The stranger, on a thread of his own.
pub struct Stranger {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Tried>,
}

/// What the stranger did and heard.
#[derive(Debug, Default)]
pub struct Tried {
    /// SYNs.
    pub sent: usize,
    /// How long there was a wire to send on.
    pub on_the_wire: Duration,
    /// What answered them.
    pub heard: Vec<Heard>,
}

impl Stranger {
    /// Lets him begin.
    ///
    /// # Errors
    ///
    /// If the hosts of the stage cannot be entered.
    pub fn start(stage: &Stage) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let (relay, world) = (stage.relay.again()?, stage.world.again()?);
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut tried = Tried::default();
            while !told.load(Ordering::Acquire) {
                // There is no wire while it is laid anew.
                if let Ok((wire, ends)) = find(&relay, &world) {
                    probe(&wire, ends, &told, &mut tried);
                }
            }
            tried
        });
        Ok(Self { ends, thread })
    }

    /// Ends him, and returns what he did and heard.
    ///
    /// # Errors
    ///
    /// If he panicked.
    pub fn stop(self) -> Result<Tried> {
        self.ends.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the stranger panicked"))
    }
}

impl Tried {
    /// Checks that he tried without a pause, and that nothing answered.
    ///
    /// # Errors
    ///
    /// What answered, or that he tried too seldom for that to say anything.
    pub fn met_silence(&self) -> Result<()> {
        let Self { sent, on_the_wire, heard } = self;
        println!("{sent} SYNs in {on_the_wire:?} on the wire, {} answers", heard.len());
        ensure!(heard.is_empty(), "the stranger heard {heard:?}");
        let wanted = on_the_wire.as_millis() as usize * 9 / 10;
        ensure!(*sent > wanted, "only {sent} SYNs in {on_the_wire:?}: the run is void");
        Ok(())
    }
}

/// Finds both ends of the wire.
fn find(relay: &Host, world: &Host) -> Result<(Wire, Ends)> {
    let hardware = [world.within(|| hardware("wire0"))??, relay.within(|| hardware("guard0"))??];
    let wire = world.within(|| Wire::open("wire0"))??;
    let (IpAddr::V4(source), IpAddr::V4(target)) = (STRANGER, RELAY) else { bail!("not IPv4") };
    let none = Ipv6Addr::UNSPECIFIED;
    let (source, target) = ((source, none), (target, none));
    let port = GUARDED.port();
    Ok((wire, Ends { hardware, source, target, source_port: PORTS.start, port }))
}

/// Sends a SYN each millisecond and listens, as long as there is a wire.
fn probe(wire: &Wire, ends: Ends, told: &AtomicBool, tried: &mut Tried) {
    let begin = Instant::now();
    let mut next = begin;
    for source_port in PORTS.cycle() {
        let ends = Ends { source_port, ..ends };
        if told.load(Ordering::Acquire)
            || wire.send(&V4.frame(&ends, &PLAIN.over_v4(&ends))).is_err()
        {
            break;
        }
        tried.sent += 1;
        next += PACE;
        while Instant::now() < next {
            match wire.hear(next) {
                Ok(Some((port, heard))) if PORTS.contains(&port) => tried.heard.push(heard),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    tried.on_the_wire += begin.elapsed();
}
