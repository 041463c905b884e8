//! An issuer of tokens with a script: HTTPS on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The largest request that is read, octets.
const REQUEST_MAX: usize = 64 << 10;

/// An issuer of tokens with a script.
pub struct Issuer {
    pub address: SocketAddr,
    /// The certificate of its authority, PEM.
    pub authority: String,
    asked: mpsc::UnboundedReceiver<(String, String)>,
    _serving: JoinSet<()>,
}

/// Returns an HTTP answer.
pub fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// Returns the answer that grants a token for an hour.
pub fn granting(token: &str, refresh: Option<&str>) -> String {
    let mut body = serde_json::json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 3600,
    });
    if let Some(refresh) = refresh {
        body["refresh_token"] = refresh.into();
    }
    answer("200 OK", &body.to_string())
}

impl Issuer {
    /// Starts one that gives these answers in order, and closes the connection when there are none.
    pub async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the issuer works");
        let address = listener.local_addr().expect("the issuer works");
        let (config, authority) = certificates();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (tell, asked) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut answers = answers.into_iter();
            while let Ok((stream, _)) = listener.accept().await {
                // One at a time: the answers are in order.
                if let Some(request) = serve(&acceptor, stream, &mut answers).await {
                    let _ = tell.send(request);
                }
            }
        });
        Self { address, authority, asked, _serving: serving }
    }

    /// Returns what has been asked so far: the Authorization field, and the form.
    pub fn asked(&mut self) -> Vec<(String, String)> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }
}

/// Reads one request and answers it. What was asked is known before the answer leaves.
async fn serve(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    answers: &mut impl Iterator<Item = String>,
) -> Option<(String, String)> {
    let mut stream = acceptor.accept(stream).await.ok()?;
    let mut text = Vec::new();
    let request = loop {
        if let Some(request) = whole(&String::from_utf8_lossy(&text)) {
            break request;
        }
        if text.len() > REQUEST_MAX || stream.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    };
    if let Some(answer) = answers.next() {
        // Who has read enough closes early.
        let _ = stream.write_all(answer.as_bytes()).await;
    }
    let _ = stream.shutdown().await;
    Some(request)
}

/// Returns the Authorization field and the form of a request, if it has come whole.
fn whole(request: &str) -> Option<(String, String)> {
    let (head, body) = request.split_once("\r\n\r\n")?;
    assert!(head.starts_with("POST /token HTTP/1.1\r\n"), "{head}");
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length: usize = field("content-length")?.parse().ok()?;
    (body.len() == length).then(|| (field("authorization").unwrap_or_default(), body.to_owned()))
}

fn certificates() -> (ServerConfig, String) {
    let mut issuer = CertificateParams::new(Vec::new()).expect("the issuer works");
    issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(issuer, KeyPair::generate().expect("the issuer works"))
            .expect("the issuer works");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("the issuer works");
    let key = KeyPair::generate().expect("the issuer works");
    let shown = leaf.signed_by(&key, &authority).expect("the issuer works");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("the issuer works");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the issuer works")
        .with_no_client_auth()
        .with_single_cert(vec![shown.der().clone()], key)
        .expect("the issuer works");
    (config, authority.pem())
}
