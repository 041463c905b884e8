//! One life of the relay: from the moment it finds its disk until the power fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::lane::Lane;
use super::{World, clock, inbound, operator, outbound};
use crate::policy::rate::Rates;
use crate::spool::simulated::Simulated;
use crate::spool::{Spool, Way};

/// What all parts of a running relay share.
pub(super) struct Life {
    pub(super) world: Rc<World>,
    pub(super) spool: Arc<Spool>,
    pub(super) disk: Simulated,
    pub(super) lanes: BTreeMap<String, Rc<Lane>>,
    pub(super) ways: BTreeMap<Way, Rc<Lane>>,
    pub(super) rates: Arc<Rates>,
    tasks: RefCell<JoinSet<()>>,
    /// Somebody found that there is no power.
    dark: Notify,
}

impl Life {
    /// Lets the relay run on `disk` until the disk has no power any more or `end` is there. Then every
    /// session and attempt vanishes.
    pub(super) async fn run(world: &Rc<World>, disk: &Simulated, end: impl Future<Output = ()>) {
        let (spool, hand) = Spool::unmanned(disk, clock::now, |_| {}).unwrap();
        let (door, mut clients) = mpsc::unbounded_channel();
        let lanes: BTreeMap<_, _> =
            world.config.routes.iter().map(|r| (r.name.clone(), Lane::new(r.clone()))).collect();
        let life = Rc::new(Self {
            world: Rc::clone(world),
            spool: Arc::new(spool),
            disk: disk.clone(),
            ways: lanes.iter().map(|(name, lane)| (Way::of(name), Rc::clone(lane))).collect(),
            lanes,
            rates: Arc::new(Rates::new(&world.config, clock::instant())),
            tasks: RefCell::default(),
            dark: Notify::new(),
        });
        world.open(Some((door, Rc::downgrade(&life))));
        let pauses = Rc::clone(world);
        let accept = async {
            while let Some(stream) = clients.recv().await {
                life.spawn(inbound::Connection::new(Rc::clone(&life), stream).run());
            }
        };
        tokio::select! {
            biased;
            () = hand.work(move || pauses.pause(20)) => {}
            () = life.dark.notified() => {}
            () = end => {}
            () = accept => {}
            () = outbound::dispatch(&life) => {}
            () = operator::work(&life) => {}
        }
        world.open(None);
        let mut tasks = life.tasks.take();
        tasks.shutdown().await;
        world.ledger().power_lost();
    }

    /// Starts something that ends with this life.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        while let Some(done) = tasks.try_join_next() {
            World::ended(done);
        }
        tasks.spawn_local(task);
    }

    /// Returns at once while the power is on, and never without it.
    pub(super) async fn powered(&self) {
        if !self.disk.has_power() {
            self.dark.notify_one();
            pending::<()>().await;
        }
    }

    /// Waits for at most so many milliseconds.
    pub(super) async fn later(&self, most_ms: u64) {
        sleep(self.world.pause(most_ms)).await;
    }
}
