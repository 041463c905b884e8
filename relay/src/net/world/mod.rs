//! The whole relay in a world from one seed: clients, clock, disk, next hops and an operator, and all
//! that can go wrong with them.
//!
//! ```text
//! clock       virtual: it jumps to what is due next
//! wire        connections that are cut anywhere
//! letter      what is sent             client    who sends it
//! life        the relay until the power fails
//! inbound     the loop around Session  connection  the loop around Attempt
//! lane        hosts and connections   outbound  claims and settlements
//! hop         who takes it             operator  who meddles
//! ledger      what everybody was told, and whether it was true
//! report      reports as a sender reads them
//! ```
//!
//! Real: `Session`, the spool on its simulated disk with its writer, `Attempt`, `Trip`, `Settlement`,
//! the reports, policy and queue. Not real: sockets, TLS, logins, and the loops that `net` puts
//! around the machines, which stand here once more, shorter.

mod client;
mod clock;
mod connection;
mod hop;
mod inbound;
mod lane;
mod ledger;
mod letter;
mod life;
mod operator;
mod outbound;
mod report;
mod wire;

use std::cell::{Cell, RefCell, RefMut};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio::time::sleep;

use crate::config::Config;
use crate::spool::simulated::{Dice, Simulated, Weather};
use crate::spool::{Place, Spool};
use ledger::Ledger;
use life::Life;
use wire::Wire;

const CONFIG: &str = "hostname = \"relay.example.net\"\npostmaster = \"ops@two.example\"\n\
    [gate]\nrequired = false\ninterfaces = [\"lo\"]\n\
    [[listener]]\naddress = \"[::1]:2525\"\ngate = false\n\
    [[policy]]\nlogin = \"app\"\nsenders = [\"*\"]\n\
    recipients = [\"@one.example\", \"@two.example\", \"@kept.example\"]\n\
    [[policy]]\nlogin = \"web\"\nsenders = [\"*\"]\n\
    recipients = [\"@one.example\", \"@two.example\", \"@kept.example\"]\n\
    [retry]\nafter = [\"1m\", \"5m\", \"15m\"]\nexpire = \"4h\"\ndelay-report = \"1h\"\n\
    [[route]]\nname = \"one\"\ndomains = [\"one.example\"]\nconnections = 1\n\
    hosts = [\"127.0.0.1:2501\", \"127.0.0.1:2502\"]\ntls = \"none\"\n\
    [[route]]\nname = \"kept\"\ndomains = [\"kept.example\"]\ncapture = true\n\
    [[route]]\nname = \"rest\"\ndefault = true\nconnections = 2\n\
    hosts = [\"127.0.0.1:2503\"]\ntls = \"none\"\n";

/// In this time all is delivered once everything works: twice the time until mail expires, and more.
const PEACE: Duration = Duration::from_secs(24 * 3600);

/// Everything around the relay.
struct World {
    config: Arc<Config>,
    dice: RefCell<Dice>,
    ledger: RefCell<Ledger>,
    fair: Cell<bool>,
    door: RefCell<Option<(UnboundedSender<DuplexStream>, Weak<Life>)>>,
    tasks: RefCell<JoinSet<()>>,
}

impl World {
    fn roll(&self, sides: u64) -> u64 {
        self.dice.borrow_mut().roll(sides)
    }

    /// Returns a number below `count`.
    fn below(&self, count: usize) -> usize {
        self.roll(count as u64) as usize
    }

    fn one_in(&self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    /// Returns a wait of at most so many milliseconds.
    fn pause(&self, most_ms: u64) -> Duration {
        Duration::from_millis(self.roll(most_ms))
    }

    fn ledger(&self) -> RefMut<'_, Ledger> {
        self.ledger.borrow_mut()
    }

    /// Tells whether nothing goes wrong any more.
    fn is_fair(&self) -> bool {
        self.fair.get()
    }

    /// Opens the relay's door, or closes it.
    fn open(&self, door: Option<(UnboundedSender<DuplexStream>, Weak<Life>)>) {
        self.door.replace(door);
    }

    /// Connects a client to the relay, if it runs.
    fn reach(&self) -> Option<DuplexStream> {
        let (near, far) = duplex(64 << 10);
        let door = self.door.borrow();
        door.as_ref()?.0.send(far).ok()?;
        Some(near)
    }

    /// Connects the relay to a next hop.
    async fn connect(self: &Rc<Self>, port: u16) -> Option<DuplexStream> {
        if !self.is_fair() && self.one_in(10) {
            // Refused, or never answered.
            sleep(self.pause(60_000)).await;
            return None;
        }
        let (near, far) = duplex(1 + self.below(8 << 10));
        let cut = (!self.is_fair() && self.one_in(4)).then(|| self.below(400));
        let hop = hop::serve(Rc::clone(self), Wire::new(far, cut));
        self.ledger().tell(|| format!("a connection to {port}"));
        self.spawn(hop);
        Some(near)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().spawn_local(task);
    }

    /// Looks how a task ended: nothing here may panic.
    fn ended(done: Result<(), JoinError>) {
        if let Err(problem) = done
            && problem.is_panic()
        {
            std::panic::resume_unwind(problem.into_panic());
        }
    }

    /// Returns the relay as it runs now.
    fn life(&self) -> Option<Rc<Life>> {
        self.door.borrow().as_ref()?.1.upgrade()
    }
}

/// Lets trouble come and go for as long as one life lasts.
async fn trouble(world: &World, disk: &Simulated) {
    if world.one_in(2) {
        disk.fail_power_in(world.roll(200));
    }
    for _ in 0..=world.below(3) {
        let weather = match world.roll(8) {
            0 => Weather::Failing(6),
            1 => Weather::Failing(40),
            2 => Weather::Full(world.below(20_000)),
            _ => Weather::Fair,
        };
        disk.set_weather(weather);
        world.ledger().weather(weather);
        sleep(world.pause(5_400_000)).await;
    }
}

/// Waits until nobody wants anything any more, and looks at what was kept.
async fn peace(world: &World) {
    let life = world.life().expect("the relay runs");
    let mut left = PEACE;
    loop {
        let wait = Duration::from_secs(600);
        sleep(wait).await;
        let places = life.spool.places();
        if world.ledger().clients == 0 && places.iter().all(|(_, place)| *place == Place::Captured)
        {
            for (id, _) in places {
                let details = life.spool.show(id).await.unwrap();
                world.ledger().kept(&details, id);
            }
            return;
        }
        left = left.saturating_sub(wait);
        if left.is_zero() {
            return world.ledger().fault(format!("the world stands still: {places:?}"));
        }
    }
}

/// Runs the world from `seed`; returns what happened in it.
async fn run(seed: u64) -> Ledger {
    clock::begin();
    let world = Rc::new(World {
        config: Arc::new(Config::parse(CONFIG).unwrap()),
        dice: RefCell::new(Dice(seed)),
        ledger: RefCell::default(),
        fair: Cell::new(false),
        door: RefCell::default(),
        tasks: RefCell::default(),
    });
    let clients = 1 + world.below(4);
    world.ledger().clients = clients;
    for number in 0..clients {
        let own = Rc::clone(&world);
        world.spawn(async move {
            client::live(Rc::clone(&own), number).await;
            own.ledger().clients -= 1;
        });
    }
    let mut disk = Simulated::new(seed);
    for _ in 0..world.below(4) {
        Life::run(&world, &disk, trouble(&world, &disk)).await;
        disk = disk.restart();
        sleep(world.pause(1_800_000)).await;
    }
    world.fair.set(true);
    Life::run(&world, &disk, async { peace(&world).await }).await;
    let (spool, _) = Spool::unmanned(&disk.restart(), clock::now, |_| {}).unwrap();
    world.ledger().found(&spool.places());
    let mut tasks = world.tasks.take();
    while let Some(done) = tasks.try_join_next() {
        World::ended(done);
    }
    tasks.shutdown().await;
    let mut ledger = world.ledger.take();
    ledger.judge();
    ledger
}

fn run_one(seed: u64) -> Ledger {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, run(seed))
}

/// Returns the seeds to run: fixed ones, or `WORLD_SEED` and as many as `WORLD_RUNS` says.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (first, count): (Option<u64>, Option<u64>) = (number("WORLD_SEED"), number("WORLD_RUNS"));
    let count = count.unwrap_or(if first.is_some() { 1 } else { 300 });
    let first = first.unwrap_or(1);
    first..first + count
}

#[test]
fn what_was_accepted_arrives_or_is_told_whatever_goes_wrong() {
    let seeds = seeds();
    println!("world: {seeds:?}");
    let mut sum = ledger::Sum::default();
    for seed in seeds {
        let ran = std::panic::catch_unwind(|| run_one(seed));
        let ledger = ran.unwrap_or_else(|_| panic!("WORLD_SEED={seed} panics"));
        assert!(ledger.faults.is_empty(), "WORLD_SEED={seed} fails:\n{}", ledger.story());
        sum.add(&ledger);
    }
    println!("{sum:?}");
    sum.check();
}

#[test]
fn a_seed_makes_the_same_world_again() {
    for seed in [3, 4, 5] {
        assert_eq!(run_one(seed).story(), run_one(seed).story(), "seed {seed}");
    }
}
