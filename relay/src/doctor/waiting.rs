//! Whether logins of the client who is asked for have to wait: the relay answers 454 then, whatever they show.

use std::time::Duration;

use super::{Case, Cause, Finding, Looked};
use crate::control::client::ask_soon;
use crate::control::wire::RelayRequest;
use crate::net::login::Waiting;

/// How long the relay may take to say who waits.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn look(case: &Case) -> Looked {
    let Some(source) = case.asked.from.map(|from| from.to_canonical()) else {
        return Looked::default();
    };
    if case.relay.says().is_none() {
        return Looked::left_out(
            "the client's logins: only the relay's process knows which have to wait",
        );
    }
    let question = RelayRequest::LoginsWaiting { source };
    match ask_soon::<_, Vec<Waiting>>(PATIENCE, &case.config.relay.socket, "relay", &question) {
        Ok(waiting) => {
            waiting.iter().map(|one| told(&source.to_string(), one)).collect::<Vec<_>>().into()
        }
        Err(error) => Looked::left_out(format!("the client's logins: which have to wait: {error}")),
    }
}

fn told(client: &str, Waiting { login, until }: &Waiting) -> Finding {
    Finding::new(
        Cause::LoginWaits,
        format!(
            "login {login} failed too often from {client}: until {until:.0} it gets 454, whatever it shows"
        ),
        "put the right password into the client; it waits longer after each further failure, and no longer after a success",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_waits_is_named_with_its_end() {
        let until = jiff::Timestamp::UNIX_EPOCH;
        let found = told("192.0.2.7", &Waiting { login: "app".into(), until });
        assert_eq!(
            found.says,
            "login app failed too often from 192.0.2.7: until 1970-01-01T00:00:00Z it gets 454, whatever it shows"
        );
    }
}
