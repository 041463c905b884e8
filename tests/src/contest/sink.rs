//! A next hop that takes everything at once and keeps nothing.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Result;

use super::SINK;

/// Postfix's `smtp-sink`: a next hop that takes everything at once and keeps nothing.
pub struct Sink(Child);

/// Where Debian puts it.
const SMTP_SINK: &str = "/usr/sbin/smtp-sink";

impl Sink {
    /// Starts it, if it is here.
    ///
    /// # Errors
    ///
    /// If its port is taken.
    pub fn start() -> Result<Option<Self>> {
        if !Path::new(SMTP_SINK).exists() {
            return Ok(None);
        }
        let mut command = Command::new(SMTP_SINK);
        command.args(["-u", "nobody", &SINK.to_string(), "256"]);
        let sink = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Some(Self(sink)))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It is gone either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
