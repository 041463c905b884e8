//! The client against a server under TLS, over a real socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

const WITHIN: Duration = Duration::from_secs(20);

/// Serves under TLS with a certificate of its own until the test ends; returns its address and the certificate.
fn serve() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream.unwrap()));
            let mut line = String::new();
            // Who does not trust us hangs up in the handshake.
            while stream.read_line(&mut line).is_ok_and(|octets| octets > 2) {
                line.clear();
            }
            if line == "\r\n" {
                let answer = b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n";
                stream.get_mut().write_all(answer).unwrap();
            }
        }
    });
    (address, made.cert.pem())
}

#[test]
fn the_authorities_of_a_file_are_trusted_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let (address, pem) = serve();
    let (own, other) = (folder.path().join("own.pem"), folder.path().join("other.pem"));
    std::fs::write(&own, pem).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&other, made.cert.pem()).unwrap();
    let get = |ca_file: Option<&Path>| {
        let agent = agent(ca_file, Wire::Tls, WITHIN).unwrap();
        agent.get(&address).call().map(|answer| answer.status().as_u16())
    };
    assert_eq!(get(Some(&own)).unwrap(), 204);
    for ca_file in [Some(&*other), None] {
        let problem = get(ca_file).unwrap_err().to_string();
        assert!(problem.contains("certificate"), "{problem}");
    }
}

#[test]
fn a_file_without_authorities_is_named_and_nothing_goes_out_without_tls_that_must_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    for (text, problem) in [(None, "No such file"), (Some("x"), "it holds no certificate")] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let said = agent(Some(&path), Wire::Tls, WITHIN).unwrap_err();
        assert!(
            said.starts_with(&format!("ca-file {} cannot be read: ", path.display())),
            "{said}"
        );
        assert!(said.contains(problem), "{said}");
    }
    let agent = agent(None, Wire::Tls, WITHIN).unwrap();
    agent.get("http://127.0.0.1:9/").call().unwrap_err();
}
