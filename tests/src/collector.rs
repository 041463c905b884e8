//! A collector of spans that takes everything and shows it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How long a span is waited for.
const SOON: Duration = Duration::from_secs(20);

/// The spans that came.
pub struct Collector {
    spans: Receiver<Value>,
}

impl Collector {
    /// Takes requests on `listener`, for as long as the process lives.
    #[must_use]
    pub fn on(listener: TcpListener) -> Self {
        let (show, spans) = channel();
        thread::spawn(move || {
            // A request that is broken ends with its connection; the test misses its spans.
            listener.incoming().flatten().for_each(|stream| drop(serve(stream, &show)));
        });
        Self { spans }
    }

    /// Waits for the next span.
    ///
    /// # Errors
    ///
    /// If none comes in 20 seconds.
    pub fn next(&self) -> Result<Value> {
        self.spans.recv_timeout(SOON).context("no span came")
    }
}

fn serve(stream: TcpStream, show: &Sender<Value>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut length = None;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let line = line.to_ascii_lowercase();
        let field = line.strip_prefix("content-length:").map(str::trim);
        length = field.map(str::parse).transpose()?.or(length);
    }
    let mut body = vec![0; length.context("no length")?];
    stream.read_exact(&mut body)?;
    let request: Value = serde_json::from_slice(&body)?;
    let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array();
    for span in spans.context("no spans")? {
        show.send(span.clone())?;
    }
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    Ok(stream.get_mut().write_all(answer.as_bytes())?)
}
