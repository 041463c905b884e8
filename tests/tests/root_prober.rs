//! A stranger tries a thousand times a second while everything about the gate is disturbed, and is not
//! answered once.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use relay::demo::stage::{CLIENT, GUARDED, STRANGER, Stage};
use relay::demo::steps::{gate, pid_of};
use relay::hosts::dial::{Answer, dial};
use relay::hosts::process::{self, Signal};
use relay::selftest::wire::Heard;
use tests::need;
use tests::stranger::{Stranger, Tried};
use tests::world::World;

/// How often the listed client connects, and how long he waits for it.
const EVERY: Duration = Duration::from_secs(1);
/// How long a disturbance may keep the listed client away.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long is probed without a successor in sight.
const ALONE: Duration = Duration::from_millis(1_500);

/// A stranger who tries and a client who connects, on threads of their own.
struct Prober {
    ends: Arc<AtomicBool>,
    stranger: Stranger,
    listed: JoinHandle<Result<()>>,
    /// When a connection attempt of the listed client began that was answered.
    connected: mpsc::Receiver<Instant>,
}

impl Prober {
    fn start(stage: &Stage) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let stranger = Stranger::start(stage)?;
        let (tell, connected) = mpsc::channel();
        let (told, world) = (Arc::clone(&ends), stage.world.again()?);
        let listed = std::thread::spawn(move || {
            while !told.load(Ordering::Acquire) {
                let begin = Instant::now();
                let answer = world.within(|| dial(CLIENT, GUARDED, EVERY))?;
                if matches!(answer, Ok(Answer::Connected)) {
                    // Nobody listens any more when the test ends.
                    let _ = tell.send(begin);
                }
                std::thread::sleep(EVERY.saturating_sub(begin.elapsed()));
            }
            Ok(())
        });
        Ok(Self { ends, stranger, listed, connected })
    }

    /// Waits until the listed client connected by an attempt that began after this.
    fn connects_again(&self, after: &str) -> Result<()> {
        let (from, deadline) = (Instant::now(), Instant::now() + PATIENCE);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.connected.recv_timeout(left) {
                Ok(begin) if begin >= from => return Ok(()),
                Ok(_) => {}
                Err(_) => bail!("{after}: the listed client did not connect, the run is void"),
            }
        }
    }

    fn stop(self) -> Result<Tried> {
        self.ends.store(true, Ordering::Release);
        self.listed.join().map_err(|_| anyhow::anyhow!("a prober panicked"))??;
        self.stranger.stop()
    }
}

#[test]
fn a_stranger_is_not_answered_once_whatever_is_killed_exchanged_or_laid_anew() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::serving()?;
    let prober = Prober::start(&world.stage)?;
    prober.connects_again("at the beginning")?;
    let stage = &mut world.stage;

    let relay = pid_of(&stage.listing(&["status"])?["relay"])?;
    process::signal(relay, Signal::KILL)?;
    prober.connects_again("the relay was killed")?;
    stage.serving()?;

    process::signal(pid_of(&gate(stage)?)?, Signal::KILL)?;
    prober.connects_again("the gate was killed")?;
    stage.serving()?;

    swap_lists(stage, world.folder.path())?;
    prober.connects_again("lists were swapped")?;

    stage.stop()?;
    stage.start()?;
    prober.connects_again("the product was exchanged")?;

    stage.lay_again()?;
    prober.connects_again("the wire was laid anew")?;
    stage.serving()?;

    // The parent is held, so that nothing but the second door stands on the new wire.
    let pid = pid_of(&gate(stage)?)?;
    stage.signal_parent(Signal::STOP)?;
    process::signal(pid, Signal::KILL)?;
    stage.lay_again()?;
    let alone = prober.connects_again("the wire was laid anew without a gate");
    std::thread::sleep(ALONE);
    stage.signal_parent(Signal::CONT)?;
    alone?;
    stage.serving()?;
    prober.connects_again("at the end")?;

    prober.stop()?.met_silence()?;

    // The same prober hears answers where there are any.
    world.stage.command(&["allow", "add", &STRANGER.to_string()])?;
    let prober = Prober::start(&world.stage)?;
    prober.connects_again("with the stranger listed")?;
    // A second goes by between two connections.
    prober.connects_again("with the stranger listed, once more")?;
    let Tried { heard, .. } = prober.stop()?;
    ensure!(heard.contains(&Heard::SynAck), "a prober that hears nothing shows nothing: {heard:?}");
    Ok(())
}

/// Replaces the run-time list many times, by lists of a thousand networks and of two.
fn swap_lists(stage: &Stage, folder: &std::path::Path) -> Result<()> {
    let long = (0..1_000).fold(String::new(), |mut text, number: u32| {
        let network = Ipv4Addr::from(0x0a00_0000 + (number << 8));
        let _ = writeln!(text, "{network}/24");
        text
    });
    for (name, text) in [("long", long.as_str()), ("short", "10.0.0.0/8\n203.0.113.7\n")] {
        std::fs::write(folder.join(name), text)?;
    }
    for _ in 0..10 {
        for name in ["long", "short"] {
            let file = folder.join(name).display().to_string();
            stage.command(&["allow", "apply", &file]).context(name)?;
        }
    }
    Ok(())
}
