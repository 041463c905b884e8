//! `sallyport run`: a small parent of gate and relay, for containers, demos and small hosts.
//!
//! It speaks to nobody. It starts both, starts each again when it dies, and ends both when it is
//! told to end. A gate that dies leaves its filter in the kernel, so strangers stay outside.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::folders;
use super::privilege::{self, Identity};
use crate::config::Config;
use crate::event::Event;
use crate::hosts::process::{self, Signal};
use crate::journal::Journal;

/// The wait before a child that died is started again: doubled each time, up to the second.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A child that served this long was sound: the next restart waits the shortest time again.
const SOUND: Duration = Duration::from_secs(30);

/// How long children may take to end in order.
const GRACE: Duration = Duration::from_secs(30);

/// Runs gate and relay until SIGTERM or SIGINT.
///
/// # Errors
///
/// If a child cannot start at all: it ends with an error of its own before it was ever up for a
/// while. Its message is on standard error by then.
pub fn run(config: &Config, file: &Path, journal: &Journal) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("`sallyport run` must be started as root: it gives the relay a user of its own");
    }
    let relay = Identity::of(&config.relay.user)?;
    folders::prepare(config, relay)?;
    privilege::no_core_dumps()?;
    let program = std::env::current_exe().context("the path of this program")?;
    let mut roles = vec![Role::Relay(relay)];
    if !config.gate.interfaces.is_empty() {
        roles.push(Role::Gate);
    }
    let charge = |role| Charge { role, program: program.clone(), file: file.into() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Nothing for good: a gate that it starts has its rights of being root and being executed, and would have these
        // three alone under no new privileges, or by a smaller bounding set.
        privilege::keep_only(privilege::PARENT_OF_BOTH)?;
        // A log that nobody reads must not keep it from starting a child again.
        journal.unhurried()?;
        let (orders, listen) = watch::channel(Order::Serve);
        let mut charges = JoinSet::new();
        for role in roles {
            charges.spawn(charge(role).keep(listen.clone(), journal.clone()));
        }
        drop(listen);
        conduct(charges, &orders).await
    })
}

/// What the children are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Serve,
    Reload,
    Stop,
}

/// Hands signals on until both children ended.
async fn conduct(
    mut charges: JoinSet<anyhow::Result<()>>,
    orders: &watch::Sender<Order>,
) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut hup = signal(SignalKind::hangup())?;
    let mut result = Ok(());
    loop {
        tokio::select! {
            _ = term.recv() => drop(orders.send(Order::Stop)),
            _ = int.recv() => drop(orders.send(Order::Stop)),
            _ = hup.recv() => reload(orders),
            ended = charges.join_next() => match ended {
                None => return result,
                Some(ended) => {
                    // One child cannot serve without the other: the first error ends both.
                    if let Err(error) = ended.context("a task of the parent failed").flatten() {
                        result = result.and(Err(error));
                        let _ = orders.send(Order::Stop);
                    }
                }
            },
        }
    }
}

/// Orders a reload, unless the order to stop was given: nobody may have seen that one yet.
fn reload(orders: &watch::Sender<Order>) {
    orders.send_if_modified(|order| {
        let serves = *order != Order::Stop;
        if serves {
            *order = Order::Reload;
        }
        serves
    });
}

/// Which child.
#[derive(Clone, Copy, Debug)]
enum Role {
    Gate,
    Relay(Identity),
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Relay(_) => "relay",
        }
    }
}

/// A child and what is needed to start it again.
struct Charge {
    role: Role,
    program: PathBuf,
    file: PathBuf,
}

impl Charge {
    /// Keeps the child alive until it is ordered to stop, or says why it cannot be.
    async fn keep(
        self,
        mut orders: watch::Receiver<Order>,
        journal: Journal,
    ) -> anyhow::Result<()> {
        let name = self.role.name();
        let (mut wait, mut was_sound) = (RESTART.0, false);
        loop {
            let since = Instant::now();
            let Some(status) = attend(self.spawn()?, &mut orders).await? else { return Ok(()) };
            let sound = since.elapsed() >= SOUND;
            was_sound |= sound;
            // Killed by a signal is an accident. Ending with an error of its own is a word about
            // configuration or host, which another try would only repeat.
            if status.signal().is_none() && !status.success() && !was_sound {
                bail!("{name} could not start ({status}); its reason stands above");
            }
            let problem = format!("{name} ended ({status}) and is started again");
            journal.write(Event::Trouble { room: "run", problem });
            if sound {
                wait = RESTART.0;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = orders.wait_for(|order| *order == Order::Stop) => return Ok(()),
            }
            wait = (wait * 2).min(RESTART.1);
        }
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.file).arg(self.role.name());
        command.env(privilege::PARENT, std::process::id().to_string());
        match self.role {
            Role::Gate => {}
            // The standard library drops the supplementary groups with the user.
            Role::Relay(identity) => {
                command.uid(identity.uid).gid(identity.gid);
            }
        }
        command.spawn().with_context(|| format!("{} cannot be started", self.role.name()))
    }
}

/// Waits for the end of `child` and tells it orders meanwhile. None if it ended by order.
async fn attend(
    mut child: Child,
    orders: &mut watch::Receiver<Order>,
) -> anyhow::Result<Option<ExitStatus>> {
    loop {
        tokio::select! {
            status = child.wait() => return Ok(Some(status?)),
            changed = orders.changed() => {
                let order = changed.map_or(Order::Stop, |()| *orders.borrow_and_update());
                match order {
                    Order::Serve => {}
                    Order::Reload => send(&child, Signal::HUP),
                    Order::Stop => {
                        send(&child, Signal::TERM);
                        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                            child.kill().await?;
                        }
                        return Ok(None);
                    }
                }
            }
        }
    }
}

fn send(child: &Child, signal: Signal) {
    if let Some(id) = child.id() {
        // A child that is gone already needs no signal.
        let _ = process::signal(id, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_does_not_take_the_order_to_stop_back() {
        let (orders, listen) = watch::channel(Order::Serve);
        reload(&orders);
        assert_eq!(*listen.borrow(), Order::Reload);
        orders.send(Order::Stop).unwrap();
        reload(&orders);
        assert_eq!(*listen.borrow(), Order::Stop);
    }
}
