//! The login of a route: its secret, read when it is needed, or a token that is got from an issuer
//! and kept fresh.

mod issued;
mod issuer;
mod secret;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::config::{Route, RouteLogin, RouteProof, TokenIssuer};
use crate::delivery::action::End;
use crate::delivery::health::Fingerprint;
use crate::delivery::login::{Credentials, Proof, Secret};
use crate::event::Event;
use crate::journal::Journal;
use issued::{Current, Issued, Rotated, keep};
use issuer::{Denied, Grant, Means};
use secret::first_line;

pub(super) use issued::Issuers;

/// How long before its end a token is renewed, at most: a tenth of its life if that is less.
const MARGIN_MAX: Duration = Duration::from_secs(300);
/// How long an issuer that failed is left alone.
const PAUSE: Duration = Duration::from_secs(10);
/// How long nobody is told again that a next hop did not prove itself.
const UNPROVED: Duration = Duration::from_secs(3600);

/// The login of one route.
pub(super) struct Login {
    meant: RouteLogin,
    route: String,
    journal: Journal,
    /// When somebody was last told that a next hop did not prove itself.
    told: std::sync::Mutex<Option<Instant>>,
    /// Held while a token is got, so that it is got once for all connections of all routes that have
    /// this issuer.
    issued: Arc<Mutex<Issued>>,
}

impl Login {
    /// Returns the login of `route`; none if it has none. What its issuer gave before, to whomever of
    /// `issuers`, is known to it.
    pub(super) fn of(route: &Route, journal: &Journal, issuers: &Issuers) -> Option<Arc<Self>> {
        let meant = route.login.clone()?;
        let issued = match &meant.proof {
            RouteProof::Issued(issuer) => issuers.of(issuer),
            RouteProof::Password(_) | RouteProof::Token(_) | RouteProof::Certificate => {
                Arc::default()
            }
        };
        let (route, journal) = (route.name.clone(), journal.clone());
        Some(Arc::new(Self { meant, route, journal, told: std::sync::Mutex::default(), issued }))
    }

    /// Returns what the login needs now.
    ///
    /// # Errors
    ///
    /// [`End::Ours`] if a secret cannot be read or the issuer cannot be reached;
    /// [`End::LoginRefused`] if the issuer refuses: then somebody has to act.
    pub(super) async fn credentials(self: &Arc<Self>) -> Result<Credentials, End> {
        let proof = match &self.meant.proof {
            RouteProof::Password(path) => Proof::Password(read("password-file", path).await?),
            RouteProof::Token(path) => Proof::Token(read("token-file", path).await?),
            RouteProof::Certificate => Proof::Certificate,
            RouteProof::Issued(issuer) => Proof::Token(self.token(issuer, None).await?),
        };
        Ok(Credentials { user: self.meant.user.clone(), proof, mechanisms: self.meant.mechanisms })
    }

    /// Returns other credentials in place of those that a next hop refused: what stands in the file
    /// by now, or a new token. None if there are no others.
    pub(super) async fn others(
        self: &Arc<Self>,
        refused: &Credentials,
    ) -> Result<Option<Credentials>, End> {
        let others = match (&self.meant.proof, &refused.proof) {
            (RouteProof::Issued(issuer), Proof::Token(token)) => {
                let proof = Proof::Token(self.token(issuer, Some(token)).await?);
                Credentials { proof, ..refused.clone() }
            }
            (
                RouteProof::Password(_)
                | RouteProof::Token(_)
                | RouteProof::Certificate
                | RouteProof::Issued(_),
                _,
            ) => self.credentials().await?,
        };
        Ok((others != *refused).then_some(others))
    }

    /// Returns the fingerprint of the secrets as they are now; none if they cannot be read.
    pub(super) async fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.meant.proof {
            RouteProof::Password(path) => Some(hash(&[&read("password-file", path).await.ok()?])),
            RouteProof::Token(path) => Some(hash(&[&read("token-file", path).await.ok()?])),
            // The certificate is not looked at: who renews it waits for the next try.
            RouteProof::Certificate => None,
            RouteProof::Issued(issuer) => Some(read_secrets(issuer).await.ok()?.fingerprint()),
        }
    }

    /// Returns the fingerprint of what somebody wrote into a file of a password or a token; none of secrets at an issuer,
    /// since the relay itself writes the next of them there.
    pub(super) async fn written(&self) -> Option<Fingerprint> {
        match &self.meant.proof {
            RouteProof::Password(_) | RouteProof::Token(_) => self.fingerprint().await,
            RouteProof::Certificate | RouteProof::Issued(_) => None,
        }
    }

    /// Says, at most once an hour, that `next_hop` took our login and did not prove itself.
    pub(super) fn tell_unproved(&self, next_hop: &str, words: &str) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| now.saturating_duration_since(at) >= UNPROVED) {
            *told = Some(now);
            let (route, next_hop) = (self.route.clone(), next_hop.to_owned());
            self.journal.write(Event::NextHopUnproved {
                route,
                next_hop,
                reason: words.to_owned(),
            });
        }
    }

    /// Returns a token that is good for a while and is not `refused`.
    async fn token(
        self: &Arc<Self>,
        issuer: &TokenIssuer,
        refused: Option<&Secret>,
    ) -> Result<Secret, End> {
        let mut issued = Arc::clone(&self.issued).lock_owned().await;
        let now = Instant::now();
        let secrets = read_secrets(issuer).await.map_err(End::Ours)?;
        let by = secrets.fingerprint();
        if let Some(current) = &issued.token
            && now < current.renew_at
            && current.by == by
            && refused != Some(&current.token)
        {
            return Ok(current.token.clone());
        }
        if let Some((until, with, denied)) = &issued.failed
            && now < *until
            && *with == by
        {
            return Err(end(denied.clone()));
        }
        let refresh = match (&issued.rotated, &secrets.refresh) {
            (Some(rotated), Some(file)) if rotated.former == *file => Some(rotated.token.clone()),
            (_, file) => file.clone(),
        };
        let (login, of) = (Arc::clone(self), issuer.clone());
        let means = Means { secret: secrets.secret, refresh };
        // It comes to its end also if nobody waits for it any more: the refresh token that it spends
        // may be good only once, and the answer holds the next one.
        let asking = spawn_blocking(move || match issuer::get(&of, &means) {
            Ok(grant) => Ok(login.take(&mut issued, &of, secrets.refresh, by, grant)),
            Err(denied) => {
                issued.failed = Some((Instant::now() + PAUSE, by, denied.clone()));
                Err(denied)
            }
        });
        let got = asking.await.unwrap_or_else(|error| Err(Denied::Away(error.to_string())));
        got.map_err(end)
    }

    /// Remembers what an issuer gave; returns the token. It blocks on the disk.
    fn take(
        &self,
        issued: &mut Issued,
        issuer: &TokenIssuer,
        former: Option<Secret>,
        by: Fingerprint,
        grant: Grant,
    ) -> Secret {
        let margin = (grant.lives / 10).min(MARGIN_MAX);
        let renew_at = Instant::now() + grant.lives.saturating_sub(margin);
        let mut by = by;
        if let (Some(refresh), Some(path), Some(former)) =
            (grant.refresh, &issuer.refresh_token_file, former)
        {
            match keep(path, &refresh) {
                Ok(()) => {
                    issued.rotated = None;
                    by = secrets(issuer).map_or(by, |secrets| secrets.fingerprint());
                }
                Err(problem) => {
                    self.tell(path, &problem);
                    issued.rotated = Some(Rotated { former, token: refresh });
                }
            }
        }
        issued.failed = None;
        issued.token = Some(Current { token: grant.token.clone(), renew_at, by });
        grant.token
    }

    /// Says that a new refresh token lives only in memory.
    fn tell(&self, path: &Path, problem: &std::io::Error) {
        let problem = format!(
            "the issuer of route {} gave a new refresh token, which cannot be kept in {}: {problem}; \
             it is lost when the relay stops: let the relay's user write to that folder",
            self.route,
            path.display()
        );
        self.journal.write(Event::Trouble { room: "net", problem });
    }
}

/// The secrets of ours at an issuer.
struct Secrets {
    secret: Option<Secret>,
    refresh: Option<Secret>,
}

impl Secrets {
    fn fingerprint(&self) -> Fingerprint {
        let part = |part: &Option<Secret>| part.clone().unwrap_or_default();
        hash(&[&part(&self.secret), &part(&self.refresh)])
    }
}

fn secrets(issuer: &TokenIssuer) -> Result<Secrets, String> {
    let (secret, refresh) = (&issuer.client_secret_file, &issuer.refresh_token_file);
    let read =
        |key, path: &Option<PathBuf>| path.as_ref().map(|path| first_line(key, path)).transpose();
    Ok(Secrets {
        secret: read("client-secret-file", secret)?,
        refresh: read("refresh-token-file", refresh)?,
    })
}

async fn read_secrets(issuer: &TokenIssuer) -> Result<Secrets, String> {
    let issuer = issuer.clone();
    let read = spawn_blocking(move || secrets(&issuer));
    read.await.map_err(|error| error.to_string())?
}

async fn read(key: &'static str, path: &Path) -> Result<Secret, End> {
    let path = path.to_owned();
    let read = spawn_blocking(move || first_line(key, &path)).await;
    read.map_err(|error| End::Ours(error.to_string()))?.map_err(End::Ours)
}

/// Returns the fingerprint of secrets; none of them has a NUL in it.
fn hash(secrets: &[&[u8]]) -> Fingerprint {
    let mut context = digest::Context::new(&digest::SHA256);
    for secret in secrets {
        context.update(secret);
        context.update(&[0]);
    }
    let hash = context.finish();
    hash.as_ref().try_into().expect("invariant: SHA-256 has 32 octets")
}

fn end(denied: Denied) -> End {
    match denied {
        Denied::Away(words) => End::Ours(words),
        Denied::Refused(words) => End::LoginRefused(words),
    }
}
