//! The outbound side alone: a spool whose mail goes to one scripted next hop.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relay::config::Config;
use relay::event::Event;
use relay::journal::Journal;
use relay::mail::envelope::{Body, Envelope, Terms};
use relay::mail::message::MessageId;
use relay::net::outbound;
use relay::net::routes::Routes;
use relay::smtp::address::ReversePath;
use relay::spool::{Details, Spool};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::peer::Peer;

/// A spool with an outbound side that delivers to one peer.
pub struct Relay {
    folder: TempDir,
    config: Config,
    spool: Arc<Spool>,
    journal: Journal,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Relay {
    /// Starts one; `adjust` may change the configuration.
    ///
    /// # Panics
    ///
    /// If that does not work, as with everything here.
    pub fn start(peer: &Peer, adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("the test relay works");
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("authorities.pem"), &peer.authority).expect("the test relay works");
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
             [tls]\ncertificate = '/tls/certificate.pem'\nkey = '/tls/key.pem'\n\
             [[route]]\nname = 'smarthost'\ndefault = true\nhosts = ['localhost:{}']\n\
             connections = 1\nca-file = '{}'\n[spool]\npath = '{}'\n",
            peer.address.port(),
            path("authorities.pem"),
            path("spool"),
        );
        let mut config = Config::parse(&text).expect("the test relay works");
        // Shorter than a configuration may say, so that nobody waits.
        config.retry.after = vec![Duration::from_millis(1)];
        config.spool.reserve_bytes = 0;
        adjust(&mut config);
        Self::over(folder, config)
    }

    /// Starts one over a configuration whose files lie in `folder`, which it keeps.
    ///
    /// # Panics
    ///
    /// As [`Relay::start`].
    pub fn over(folder: TempDir, config: Config) -> Self {
        let journal = Journal::memory();
        let spool = Arc::new(Spool::open(&config.spool, |_| {}).expect("the test relay works"));
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(config.clone());
        let routes = Routes::new(&config, &journal, &Arc::default());
        let run = outbound::run(Arc::clone(&spool), shared, routes, journal.clone(), stopped);
        Self { folder, config, spool, journal, stop, running: tokio::spawn(run) }
    }

    /// Returns the folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns its spool.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Waits until something came of a message after `since`, and it stays in the spool; returns when
    /// that was.
    ///
    /// # Panics
    ///
    /// If that takes 30 s.
    pub async fn settled(&self, id: MessageId, since: Timestamp) -> Timestamp {
        let came = |details: Details| Some(details.progress[0].last.as_ref()?.at);
        let looking = async {
            loop {
                let at = self.spool.show(id).await.ok().and_then(came);
                match at.filter(|at| *at > since) {
                    Some(at) => return at,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looking).await.expect("settled in time")
    }

    /// Ends the relay and begins another over the same spool.
    pub async fn restarted(self) -> Self {
        let Self { folder, config, spool, stop, running, .. } = self;
        stop.send(true).expect("the test relay works");
        running.await.expect("the test relay works");
        drop(spool);
        Self::over(folder, config)
    }

    /// Puts a message from s@example.net to a@example.com into the spool; `adjust` may change its
    /// envelope.
    pub async fn submit(&self, message: &[u8], adjust: impl FnOnce(&mut Envelope)) -> MessageId {
        let mut envelope = Envelope {
            sender: ReversePath::Mailbox("s@example.net".parse().expect("the test relay works")),
            recipients: vec!["a@example.com".parse().expect("the test relay works")],
            body: Body::SevenBit,
            login: Some("billing".into()),
            tag: None,
            source: None,
            received_at: Timestamp::now(),
            terms: Terms::default(),
            came: None,
            trace: None,
        };
        adjust(&mut envelope);
        let mut draft = self.spool.draft(envelope).expect("the test relay works");
        draft.append(message).await;
        draft.commit().await.expect("the test relay works")
    }

    /// Stops in order; returns what was said, and how many messages are left.
    pub async fn stop(self) -> (Vec<Event>, usize) {
        self.stop.send(true).expect("the test relay works");
        self.running.await.expect("the test relay works");
        (self.journal.take(), self.spool.status().expect("the test relay works").messages)
    }
}
