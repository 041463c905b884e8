//! Plain submission beside the spool's durable commit, in one run: messages a second and flushes a
//! message, at 1 and at 50 sessions, each under TLS with a login, 4 KiB a message.
//!
//! `cargo run --release -p tests --example submission [FOLDER]`; FOLDER should be on the disk that
//! is to be measured (default: the current one). Nothing is delivered.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use relay::cli::tls;
use relay::config::Config;
use relay::demo::client::Client;
use relay::journal::Journal;
use relay::mail::envelope::{Body, Envelope, Terms};
use relay::net::conduct::Conduct;
use relay::net::inbound::{self, Door};
use relay::net::login::Logins;
use relay::net::sessions::{Caps, Sessions};
use relay::net::tls::ServerTls;
use relay::policy::rate::Rates;
use relay::smtp::address::ReversePath;
use relay::spool::Spool;
use relay::users::{self, Password};

/// Sessions or producers at a time, and messages of each.
const LOADS: [(usize, usize); 2] = [(1, 1000), (50, 200)];
/// The name in the certificate.
const NAME: &str = "relay.example.net";

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let at = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    println!("{:<22} {:>8} {:>10} {:>16}", "what", "at once", "messages/s", "flushes/message");
    for (at_once, each) in LOADS {
        let folder = tempfile::tempdir_in(&at)?;
        let bench = runtime.block_on(async { Bench::open(folder.path()) })?;
        runtime.block_on(bench.commits(at_once, each))?;
        bench.submissions(&runtime, at_once, each)?;
    }
    Ok(())
}

struct Bench {
    config: Arc<Config>,
    spool: Arc<Spool>,
    password: String,
    ca: Vec<u8>,
}

impl Bench {
    fn open(folder: &Path) -> Result<Self> {
        let at = folder.canonicalize()?;
        let at = at.display();
        let text = format!(
            "hostname = \"{NAME}\"\npostmaster = \"ops@example.net\"\n[gate]\nrequired = false\n\
             [relay]\nusers = \"{at}/users.toml\"\n[[listener]]\naddress = \"127.0.0.1:2525\"\n\
             [tls]\ncertificate = \"{at}/chain.pem\"\nkey = \"{at}/key.pem\"\n\
             [[policy]]\nlogin = \"app\"\nsenders = [\"*\"]\n\
             [[route]]\nname = \"r\"\ndefault = true\nhosts = [\"hop.example.net:25\"]\n\
             [spool]\npath = \"{at}/spool\"\n"
        );
        let config = Config::parse(&text)
            .map_err(|problems| anyhow::anyhow!("the bench's configuration: {problems:?}"))?;
        let made = tls::make(&[NAME.to_owned()])?;
        std::fs::write(folder.join("chain.pem"), &made.chain)?;
        std::fs::write(folder.join("key.pem"), &made.key)?;
        let password = users::add(&config.relay.users, "app", Password::Made)?;
        Ok(Self {
            spool: Arc::new(Spool::open(&config.spool, |event| println!("{event:?}"))?),
            config: Arc::new(config),
            password: password.context("no password was made")?.to_string(),
            ca: made.ca.into_bytes(),
        })
    }

    /// Drafts and commits without SMTP.
    async fn commits(&self, at_once: usize, each: usize) -> Result<()> {
        let envelope = Envelope {
            sender: ReversePath::Mailbox("billing@example.net".parse()?),
            recipients: vec!["customer@example.com".parse()?],
            body: Body::SevenBit,
            login: Some("app".to_owned()),
            tag: None,
            source: Some([127, 0, 0, 1].into()),
            received_at: "2026-11-23T12:00:00Z".parse()?,
            terms: Terms::default(),
        };
        let before = self.spool.status()?;
        let begin = Instant::now();
        let mut producers = tokio::task::JoinSet::new();
        for _ in 0..at_once {
            let (spool, envelope) = (self.spool.clone(), envelope.clone());
            producers.spawn(async move {
                for _ in 0..each {
                    let mut draft = spool.draft(envelope.clone())?;
                    draft.append(&message()).await;
                    draft.commit().await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = producers.join_next().await {
            ended??;
        }
        self.report("spool, durable commit", at_once, begin, &before)
    }

    /// The same messages by SMTP.
    fn submissions(
        &self,
        runtime: &tokio::runtime::Runtime,
        at_once: usize,
        each: usize,
    ) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = listener.local_addr()?;
        let door = runtime.block_on(async { self.door() })?;
        let sessions = door.sessions.clone();
        runtime.spawn(inbound::serve(listener, self.config.listeners[0].clone(), door));
        let mut clients = Vec::new();
        for _ in 0..at_once {
            clients.push(self.client(server)?);
        }
        let before = self.spool.status()?;
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = clients
                .into_iter()
                .map(|mut client| {
                    scope.spawn(move || {
                        (0..each).try_for_each(|_| {
                            client
                                .send("billing@example.net", "customer@example.com", &message())
                                .map(drop)
                        })
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?
            })
        })?;
        self.report("submission over TLS", at_once, begin, &before)?;
        sessions.leave();
        Ok(())
    }

    fn door(&self) -> Result<Arc<Door>> {
        let (journal, conduct) = (Journal::memory(), Conduct::without_gate());
        Ok(Arc::new(Door {
            rates: Arc::new(Rates::new(&self.config, Instant::now())),
            tls: Some(Arc::new(ServerTls::load(&self.config, journal.clone())?)),
            spool: self.spool.clone(),
            logins: Logins::start(&self.config.relay.users, journal.clone(), conduct.clone())?,
            conduct,
            journal,
            sessions: Sessions::new(Caps { in_all: 1000, from_source: 1000, from_network: 1000 }),
            tag_of: Box::new(|_| None),
            admits: None,
            config: self.config.clone(),
        }))
    }

    fn client(&self, server: SocketAddr) -> Result<relay::demo::client::Secured> {
        let mut client = Client::greet(TcpStream::connect(server)?)?.secure(NAME, &self.ca)?;
        client.login("app", &self.password)?;
        Ok(client)
    }

    fn report(
        &self,
        what: &str,
        at_once: usize,
        begin: Instant,
        before: &relay::spool::Status,
    ) -> Result<()> {
        let took = begin.elapsed().as_secs_f64();
        let after = self.spool.status()?;
        let commits = f64::from(u32::try_from(after.commits - before.commits)?);
        let flushes = f64::from(u32::try_from(after.flushes - before.flushes)?);
        let (rate, share) = (commits / took, flushes / commits);
        println!("{what:<22} {at_once:>8} {rate:>10.0} {share:>16.3}");
        Ok(())
    }
}

/// A message of 4 KiB.
fn message() -> Vec<u8> {
    let mut text = b"From: billing@example.net\r\nTo: customer@example.com\r\nSubject: x\r\n\
        Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <m@example.net>\r\n\r\n"
        .to_vec();
    while text.len() < 4096 {
        text.extend_from_slice(b"a line of a message that is four kibibytes long in all\r\n");
    }
    text
}
