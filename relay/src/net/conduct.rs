//! What sessions and logins saw of clients, in one place; and bans, asked for.
//!
//! It only carries: `policy::conduct` says what misconduct deserves, whoever reads the queue asks
//! the gate.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::net::tally::Tallies;
use crate::policy::conduct::{AutoBan, Grounds, Offence, Offenders, Source, Standing};

/// Bans that wait to be asked for. The gate grants ten a second, so more would come late; a source
/// that finds no room is counted on and deserves its ban again.
const WAITING: usize = 256;

/// A ban that is deserved and permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedBan {
    /// Whom to ban.
    pub source: Source,
    /// Why.
    pub grounds: Grounds,
    /// When it was deserved.
    pub at: Instant,
}

/// The conduct of all clients. Clones share everything.
#[derive(Clone)]
pub struct Conduct {
    shared: Arc<Shared>,
}

struct Shared {
    offenders: Mutex<Offenders>,
    standing: Box<dyn Fn(IpAddr) -> Standing + Send + Sync>,
    wanted: mpsc::Sender<WantedBan>,
    tallies: Tallies,
}

impl fmt::Debug for Conduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conduct").finish_non_exhaustive()
    }
}

impl Conduct {
    /// Returns the conduct of clients of whom nothing is known yet, and the bans to be asked for:
    /// 256 wait at most. `standing` is asked at every connection, offence and login, and must not
    /// wait.
    #[must_use]
    pub fn new(
        standing: impl Fn(IpAddr) -> Standing + Send + Sync + 'static,
    ) -> (Self, mpsc::Receiver<WantedBan>) {
        let (wanted, bans) = mpsc::channel(WAITING);
        let (offenders, standing) = (Mutex::default(), Box::new(standing));
        let tallies = Tallies::default();
        (Self { shared: Arc::new(Shared { offenders, standing, wanted, tallies }) }, bans)
    }

    /// Returns the conduct of the clients of a host without a gate: they are slowed down only.
    #[must_use]
    pub fn without_gate() -> Self {
        let standing =
            |source| Standing { source: Source::of(source, None), auto_ban: AutoBan::Off };
        Self::new(standing).0
    }

    /// Returns what the gate is told of clients.
    #[must_use]
    pub fn tallies(&self) -> &Tallies {
        &self.shared.tallies
    }

    /// Notes an offence of a client.
    pub fn offended(&self, client: IpAddr, offence: Offence) {
        let standing = self.standing(client);
        let grounds = self.offenders().offended(standing.source, offence, Instant::now());
        self.weigh(standing, grounds);
    }

    /// Notes that a login, of at most 64 octets, failed from a client's address.
    pub fn failed(&self, client: IpAddr, login: &str) {
        let standing = self.standing(client);
        let grounds = self.offenders().failed(standing.source, login, Instant::now());
        self.weigh(standing, grounds);
    }

    /// Notes that a login succeeded from a client's address.
    pub fn succeeded(&self, client: IpAddr) {
        let Standing { source, .. } = self.standing(client);
        self.offenders().succeeded(source, Instant::now());
    }

    /// Returns how long a client that has just connected has to wait for the greeting.
    #[must_use]
    pub fn slow_down(&self, client: IpAddr) -> Duration {
        let Standing { source, .. } = self.standing(client);
        self.offenders().slow_down(source, Instant::now())
    }

    /// Asks for a ban if it is deserved and permitted and there is room to ask.
    fn weigh(&self, Standing { source, auto_ban }: Standing, grounds: Option<Grounds>) {
        let at = Instant::now();
        if let (Some(grounds), AutoBan::On) = (grounds, auto_ban)
            && self.shared.wanted.try_send(WantedBan { source, grounds, at }).is_ok()
        {
            self.offenders().settled(source);
        }
    }

    fn standing(&self, client: IpAddr) -> Standing {
        (self.shared.standing)(client)
    }

    fn offenders(&self) -> MutexGuard<'_, Offenders> {
        self.shared.offenders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    fn clients(auto_ban: AutoBan) -> (Conduct, mpsc::Receiver<WantedBan>) {
        Conduct::new(move |client| Standing { source: Source::of(client, None), auto_ban })
    }

    fn fail(conduct: &Conduct, client: IpAddr) {
        for number in 0..20 {
            conduct.failed(client, &(number % 5).to_string());
        }
    }

    #[test]
    fn a_ban_is_asked_for_once_and_only_where_the_configuration_permits_it() {
        let (conduct, mut bans) = clients(AutoBan::On);
        fail(&conduct, client(1));
        conduct.failed(client(1), "0");
        let source = Source::of(client(1), None);
        let wanted = bans.try_recv().expect("a ban is wanted");
        assert_eq!((wanted.source, wanted.grounds), (source, Grounds::FailedLogins));
        assert!(bans.try_recv().is_err());
        conduct.succeeded(client(2));
        fail(&conduct, client(2));
        assert!(bans.try_recv().is_err(), "a login speaks for its source");
        let (conduct, mut bans) = clients(AutoBan::Off);
        fail(&conduct, client(1));
        assert!(bans.try_recv().is_err());
    }

    #[test]
    fn a_source_that_finds_the_queue_full_deserves_its_ban_again() {
        let (conduct, mut bans) = clients(AutoBan::On);
        for number in 0..=u32::try_from(WAITING).unwrap() {
            fail(&conduct, client(number));
        }
        while bans.try_recv().is_ok() {}
        let last = client(u32::try_from(WAITING).unwrap());
        conduct.failed(last, "0");
        assert_eq!(bans.try_recv().unwrap().source, Source::of(last, None));
    }

    #[test]
    fn offences_slow_the_greeting_down_and_others_are_not_slowed() {
        let conduct = Conduct::without_gate();
        conduct.offended(client(1), Offence::ForeignProtocol);
        assert_eq!(conduct.slow_down(client(1)), Duration::from_millis(500));
        assert_eq!(conduct.slow_down(client(2)), Duration::ZERO);
    }
}
