//! One conversation with a next hop that carries no mail, to find out how far it goes: by the same machine,
//! the same trust and the same login as mail.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::connection::{Ended, Link};
use super::conversation::{Conversation, Wire};
use super::memory::Budget;
use super::route_login::{Issuers, Login};
use super::tls_client::TlsClient;
use crate::config::{NextHop, Route, RouteProof, RouteTls};
use crate::delivery::action::{Action, End};
use crate::delivery::attempt::Attempt;
use crate::delivery::terms::{Terms, Timeouts};
use crate::journal::Journal;

/// For the answer to QUIT.
const QUIT: Duration = Duration::from_secs(1);

/// How far a conversation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not even begun: something of ours cannot be read.
    Ours,
    /// Waiting for the greeting.
    Greeting,
    /// EHLO and what it offers.
    Hello,
    /// STARTTLS.
    Starttls,
    /// The TLS handshake.
    Handshake,
    /// AUTH.
    Login,
}

/// Whether the route's login is tried, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogIn {
    /// It is. One that is refused counts at the next hop, as any does.
    Try,
    /// The conversation ends before it.
    Leave,
}

/// Why mail would not be taken, or that this is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It would not.
    Surely {
        /// Where it ended.
        step: Step,
        /// What was said, or is wrong; of ours with the remedy.
        words: String,
    },
    /// There was no answer in time. That may be meant so: many greet late, and a client of SMTP waits for
    /// minutes (RFC 5321, section 4.5.3.2).
    Late {
        /// What was waited for.
        step: Step,
    },
}

/// Tells whether a route's login can be tried without spending anything: a token that an issuer gives may be
/// good only once.
#[must_use]
pub const fn may_log_in(route: &Route) -> bool {
    match &route.login {
        None => true,
        Some(login) => match login.proof {
            RouteProof::Password(_) | RouteProof::Token(_) | RouteProof::Certificate => true,
            RouteProof::Issued(_) => false,
        },
    }
}

/// Leads a new connection to `hop` up to where a message could begin, and says goodbye. Returns version and
/// cipher suite of its TLS; none in the clear. All of it may take `patience`.
///
/// # Errors
///
/// How far it came, and why not further.
pub async fn greet(
    route: &Route,
    hop: &NextHop,
    hostname: &str,
    stream: TcpStream,
    log_in: LogIn,
    patience: Duration,
) -> Result<Option<String>, Refused> {
    let step = Rc::new(Cell::new(Step::Ours));
    let led = lead(route, hop, hostname, stream, log_in, patience, &step);
    let late = |_| Err(Refused::Late { step: step.get() });
    timeout(patience, led).await.unwrap_or_else(late)
}

async fn lead(
    route: &Route,
    hop: &NextHop,
    hostname: &str,
    stream: TcpStream,
    log_in: LogIn,
    patience: Duration,
    step: &Rc<Cell<Step>>,
) -> Result<Option<String>, Refused> {
    let ours = |words: String| Refused::Surely { step: Step::Ours, words };
    let tls = match route.tls {
        RouteTls::Required | RouteTls::Implicit | RouteTls::Opportunistic => {
            let of = route.clone();
            let read = spawn_blocking(move || TlsClient::for_route(&of)).await;
            Some(
                read.map_err(|error| ours(error.to_string()))?
                    .map_err(|error| ours(error.to_string()))?,
            )
        }
        RouteTls::None => None,
    };
    // What a login has to tell goes to whoever asked, and not to a log.
    let journal = Journal::memory();
    let login = Login::of(route, &journal, &Issuers::default())
        .filter(|_| log_in == LogIn::Try && may_log_in(route));
    let credentials = match login {
        Some(login) => Some(login.credentials().await.map_err(|end| ours(words(end)))?),
        None => None,
    };
    // The whole is over before one answer may be late by itself.
    let reply = patience.saturating_mul(2);
    let timeouts = Timeouts { reply, final_dot: reply, idle: reply, quit: QUIT };
    let terms =
        Terms { hostname: hostname.to_owned(), tls: route.tls, credentials, timeouts, messages: 1 };
    step.set(Step::Greeting);
    let noted = Noted { link: Link::new(stream, hop.clone(), tls), step: Rc::clone(step) };
    match Conversation::begin(noted, terms).await {
        Ok(conversation) => {
            let said = conversation.wire.link.tls_words();
            conversation.quit().await;
            Ok(said)
        }
        Err(Ended { end, .. }) => {
            let step = match &end {
                End::LoginRefused(_) | End::Unproved(_) => Step::Login,
                End::Finished | End::Unfit(_) | End::Ours(_) => step.get(),
            };
            Err(Refused::Surely { step, words: words(end) })
        }
    }
}

fn words(end: End) -> String {
    match end {
        End::Finished => "it closed the connection".to_owned(),
        End::Unfit(words) | End::Unproved(words) | End::Ours(words) | End::LoginRefused(words) => {
            words
        }
    }
}

/// A link that notes how far it came.
struct Noted {
    link: Link,
    step: Rc<Cell<Step>>,
}

impl Wire for Noted {
    fn instant(&self) -> Instant {
        self.link.instant()
    }

    fn now(&self) -> Timestamp {
        self.link.now()
    }

    fn piece(&self) -> usize {
        self.link.piece()
    }

    fn memory(&self) -> &'static Budget {
        self.link.memory()
    }

    fn is_busy(&self) -> bool {
        self.link.is_busy()
    }

    async fn obey(&mut self, attempt: &mut Attempt, action: Action) {
        let next = match &action {
            Action::Send(octets) => asked(octets),
            Action::SendSecret(_) | Action::Derive(_) => Some(Step::Login),
            Action::Secure => Some(Step::Handshake),
            Action::Ready
            | Action::MakeRoom(_)
            | Action::ReadBody
            | Action::GoOn
            | Action::Convert(_)
            | Action::Settle(_)
            | Action::Close(_) => None,
        };
        self.step.set(next.unwrap_or(self.step.get()));
        self.link.obey(attempt, action).await;
        if next == Some(Step::Handshake) && !attempt.is_over() {
            self.step.set(Step::Greeting);
        }
    }

    async fn exchange(&mut self, attempt: &mut Attempt) {
        self.link.exchange(attempt).await;
    }

    fn close(&mut self) {
        self.link.close();
    }
}

/// Returns the step that a command begins; QUIT begins none.
fn asked(command: &[u8]) -> Option<Step> {
    let verbs = [
        (b"EHLO".as_slice(), Step::Hello),
        (b"HELO", Step::Hello),
        (b"STARTTLS", Step::Starttls),
        (b"AUTH", Step::Login),
    ];
    verbs.into_iter().find_map(|(verb, step)| command.starts_with(verb).then_some(step))
}
