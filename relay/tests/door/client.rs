//! A client that says what it is told to and checks what it hears.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use rustls::client::WantsClientCert;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long an answer may take; none comes near it.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn base64(octets: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(octets)
}

pub trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

/// The beginning of a client's configuration: it trusts this certificate alone.
pub fn trusting(
    certificate: &CertificateDer<'static>,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
}

pub struct Client {
    stream: Box<dyn Both>,
    heard: Vec<u8>,
}

impl Client {
    pub async fn connect(from: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    pub fn over(stream: impl Both + 'static) -> Self {
        Self { stream: Box::new(stream), heard: Vec::new() }
    }

    pub fn into_stream(self) -> Box<dyn Both> {
        self.stream
    }

    pub async fn secure(self, certificate: &CertificateDer<'static>) -> Self {
        self.secure_as(certificate, &[]).await.expect("a handshake")
    }

    /// Makes a handshake that offers these protocol names.
    pub async fn secure_as(
        self,
        certificate: &CertificateDer<'static>,
        names: &[&[u8]],
    ) -> std::io::Result<Self> {
        let mut config = trusting(certificate).with_no_client_auth();
        config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        self.secure_by(config).await
    }

    /// Makes a handshake by this configuration.
    pub async fn secure_by(self, config: ClientConfig) -> std::io::Result<Self> {
        assert!(self.heard.is_empty(), "nothing may come before the handshake");
        let name = ServerName::try_from("relay.example.net").unwrap();
        let connect = TlsConnector::from(Arc::new(config)).connect(name, self.stream);
        let stream = timeout(PATIENCE, connect).await.expect("a handshake in time")?;
        Ok(Self { stream: Box::new(stream), heard: Vec::new() })
    }

    pub async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a line and waits for the last line of the answer.
    pub async fn ask(&mut self, line: &str, expected: &str) {
        self.send(format!("{line}\r\n").as_bytes()).await;
        self.expect(expected).await;
    }

    /// Waits for one whole reply and checks its last line.
    pub async fn expect(&mut self, expected: &str) {
        loop {
            while let Some(end) = self.heard.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.heard.drain(..end + 2).collect();
                let line = String::from_utf8(line).unwrap();
                if line.as_bytes().get(3) != Some(&b'-') {
                    assert!(line.starts_with(expected), "{expected:?} was due, heard {line:?}");
                    return;
                }
            }
            assert!(self.hear().await > 0, "closed, and {expected:?} was due");
        }
    }

    pub async fn expect_close(&mut self) {
        let octets = self.hear().await;
        assert_eq!(octets, 0, "heard {:?}", String::from_utf8_lossy(&self.heard));
    }

    /// Returns everything up to the end of the connection, however it ends.
    pub async fn read_to_close(&mut self) -> String {
        while self.hear().await > 0 {}
        String::from_utf8_lossy(&self.heard).into_owned()
    }

    /// Ends what it says: under TLS with a `close_notify`, then with a FIN.
    pub async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Waits for the end of the connection, which under TLS must be announced.
    pub async fn expect_announced_close(&mut self) {
        let mut buffer = [0; 4096];
        let end = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("an end");
        assert_eq!(end.expect("a close_notify"), 0, "nothing more is said");
    }

    async fn hear(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let octets = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("an answer");
        let octets = octets.unwrap_or(0);
        self.heard.extend_from_slice(&buffer[..octets]);
        octets
    }
}
