//! One server of rsasl, and what it is told and shows.
//!
//! A configuration is made for each exchange: it holds that session's facts, and keys are at hand
//! before the step that needs them, since rsasl asks in the middle of it and cannot wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::oauthbearer::properties::OAuthBearerValidate;
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::xoauth2::properties::XOAuth2Validate;
use rsasl::prelude::{
    Mechname, Registry, SASLConfig, SASLServer, Session, SessionError, State, Validation,
};
use rsasl::property::{AuthId, AuthzId, ChannelBindings, OAuthBearerToken, Password};
use rsasl::validate::{Validate, ValidationError};
use zeroize::Zeroizing;

use super::ExchangeFault;
use super::mechanism::Mechanism;
use crate::policy::credential::StoredKeys;

/// What rsasl may ask for.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The keys of the login that the client names (SCRAM).
    pub(super) keys: Option<StoredKeys>,
    /// The value that both ends of the connection share (`-PLUS`).
    pub(super) exporter: Option<[u8; 32]>,
}

/// What the client has shown, as rsasl read it.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) login: Option<String>,
    pub(super) acts_as: Option<String>,
    pub(super) password: Option<Zeroizing<Vec<u8>>>,
    pub(super) token: Option<Zeroizing<String>>,
}

impl Validation for Shown {
    type Value = Self;
}

/// A mechanism at work.
pub(super) struct Server {
    sasl: Session<Shown>,
}

impl SessionCallback for Told {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        if let Some(StoredKeys { iterations, salt, keys }) = &self.keys
            && request.is::<ScramStoredPassword<'static>>()
        {
            let stored =
                ScramStoredPassword::new(iterations.get(), salt, &keys.stored, &keys.server);
            request.satisfy::<ScramStoredPassword<'static>>(&stored)?;
        }
        if let Some(exporter) = &self.exporter
            && request.is::<ChannelBindings>()
        {
            request.satisfy::<ChannelBindings>(exporter)?;
        }
        // Whether a token is right is found out afterwards, where keys and a clock are at hand.
        if request.is::<OAuthBearerValidate>() {
            request.satisfy::<OAuthBearerValidate>(&Ok(()))?;
        }
        if request.is::<XOAuth2Validate>() {
            request.satisfy::<XOAuth2Validate>(&Ok(()))?;
        }
        Ok(())
    }

    fn validate(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        validate.with::<Shown, _>(|| {
            Ok(Shown {
                login: context.get_ref::<AuthId>().map(str::to_owned),
                acts_as: context
                    .get_ref::<AuthzId>()
                    .filter(|id| !id.is_empty())
                    .map(str::to_owned),
                password: context.get_ref::<Password>().map(|it| Zeroizing::new(it.to_vec())),
                token: context
                    .get_ref::<OAuthBearerToken>()
                    .map(|it| Zeroizing::new(it.to_owned())),
            })
        })?;
        Ok(())
    }
}

impl Server {
    pub(super) fn start(mechanism: Mechanism, told: Told) -> Result<Self, ExchangeFault> {
        let config: Arc<SASLConfig> = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(mechanism.registered()))
            .with_callback(told)
            .map_err(|_| ExchangeFault::Unknown)?;
        let name = Mechname::parse(mechanism.name().as_bytes());
        let name = name.map_err(|_| ExchangeFault::Unknown)?;
        let sasl = SASLServer::<Shown>::new(config).start_suggested(name);
        Ok(Self { sasl: sasl.map_err(|_| ExchangeFault::Unknown)? })
    }

    /// Makes one step. A panic in rsasl's parsers must end the exchange, not the process; after an
    /// error there is no further step, since that one would panic.
    ///
    /// # Errors
    ///
    /// The response does not follow the mechanism's grammar.
    pub(super) fn step(
        mut self,
        response: Option<&[u8]>,
    ) -> Result<(Next, Vec<u8>), ExchangeFault> {
        let mut answer = Vec::new();
        let state = catch_unwind(AssertUnwindSafe(|| self.sasl.step(response, &mut answer)))
            .map_err(|_| ExchangeFault::Malformed)?
            .map_err(|_| ExchangeFault::Malformed)?;
        let next = match state {
            State::Running => Next::Running(self),
            // `Finished` says that the exchange is over, not that anybody is who he says he is.
            State::Finished(_) => Next::Finished(self.sasl.validation()),
        };
        Ok((next, answer))
    }
}

/// What follows a step.
pub(super) enum Next {
    /// Another response is needed.
    Running(Server),
    /// It is over. Without what was shown, rsasl was not convinced.
    Finished(Option<Shown>),
}
