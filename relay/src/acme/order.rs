//! One order, from the names to the chain (RFC 8555, section 7.4).

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};

use super::fault::{AcmeError, named};
use super::responder::{self, Proofs};
use super::{Authority, Wanted};

/// How long the authority may take for the proofs, and again for the certificate. It is asked more and more rarely.
const POLLS: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(150));

/// Orders a certificate and returns it with its chain, PEM.
pub(super) async fn order(
    authority: &Authority,
    account: &Account,
    wanted: Wanted<'_>,
    request: &[u8],
) -> Result<String, AcmeError> {
    let address = wanted.listen;
    let listener = responder::listen(address);
    let listener = listener.map_err(|cause| AcmeError::Port { address, cause })?;
    let proofs = Proofs::default();
    tokio::select! {
        ordered = converse(authority, account, wanted, request, &proofs) => ordered,
        () = responder::serve(listener, proofs.clone()) => unreachable!("it serves until it is dropped"),
    }
}

async fn converse(
    authority: &Authority,
    account: &Account,
    wanted: Wanted<'_>,
    request: &[u8],
    proofs: &Proofs,
) -> Result<String, AcmeError> {
    let fault = |error| authority.fault(error);
    let names: Vec<_> = wanted.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await.map_err(fault)?;
    prove(authority, &mut order, proofs).await?;
    match order.poll_ready(&POLLS).await {
        Ok(OrderStatus::Invalid) => {
            return Err(refusal(authority, &mut order, AcmeError::late()).await);
        }
        Ok(
            OrderStatus::Pending
            | OrderStatus::Ready
            | OrderStatus::Processing
            | OrderStatus::Valid,
        ) => {}
        Err(error) => return Err(refusal(authority, &mut order, fault(error)).await),
    }
    order.finalize_csr(request).await.map_err(fault)?;
    order.poll_certificate(&POLLS).await.map_err(fault)
}

/// Lays the proof of every name out and says so.
async fn prove(authority: &Authority, order: &mut Order, proofs: &Proofs) -> Result<(), AcmeError> {
    let fault = |error| authority.fault(error);
    let mut all = order.authorizations();
    while let Some(one) = all.next().await {
        let mut one = one.map_err(fault)?;
        match one.status {
            // Proved by an earlier order.
            AuthorizationStatus::Valid => continue,
            // What is over already, the order's own end tells.
            AuthorizationStatus::Pending
            | AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Deactivated => {}
        }
        let name = named(&one.identifier().to_string());
        let Some(mut challenge) = one.challenge(ChallengeType::Http01) else {
            return Err(AcmeError::Refused {
                says: format!("{name}: the authority takes no proof by port 80 (http-01)"),
                remedy: "order from another directory".to_owned(),
            });
        };
        let proof = challenge.key_authorization();
        proofs.add(challenge.token.clone(), proof.as_str().to_owned());
        challenge.set_ready().await.map_err(fault)?;
    }
    Ok(())
}

/// Returns why a name could not be proved; if no name says so, `otherwise`.
async fn refusal(authority: &Authority, order: &mut Order, otherwise: AcmeError) -> AcmeError {
    let mut all = order.authorizations();
    // Where the authority does not tell any more, what it said before is all that there is.
    while let Some(Ok(one)) = all.next().await {
        let problem = one.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            let name = one.identifier().to_string();
            return AcmeError::refused(Some(&name), problem, authority.courier.later());
        }
    }
    otherwise
}
