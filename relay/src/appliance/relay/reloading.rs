//! What of the relay follows the configuration while it runs.

use std::sync::Arc;
use std::time::Instant;

use super::Relay;
use crate::appliance::load::{self, Reloaded};
use crate::appliance::opening::caution;
use crate::appliance::sandbox::Grounds;
use crate::event::Event;
use crate::net::sessions::Caps;
use crate::net::tls::ServerTls;

impl Relay {
    /// Reads the configuration again, and says so in the journal. Sessions that run keep theirs. If the
    /// file is no good everything stays, and if something that it names is not, that alone.
    pub(super) fn reload(&mut self) -> Result<Option<String>, String> {
        let Reloaded { config, left_out } = match load::reload(&self.file, &self.config) {
            Ok(reloaded) => reloaded,
            Err(error) => {
                let problem = format!("the old configuration stays in use: {error:#}");
                self.journal.write(Event::Trouble { room: "relay", problem: problem.clone() });
                return Err(problem);
            }
        };
        if let Some(problem) = left_out.clone() {
            self.journal.write(Event::Trouble { room: "relay", problem });
        }
        let wanted = Grounds::of_relay(&config, &self.file);
        let mut problems: Vec<_> = self.held.lacks(&wanted).into_iter().collect();
        problems.extend(self.alerts.lacks(&config));
        match ServerTls::load(&config, self.journal.clone()) {
            Ok(tls) => drop(self.tls.send_replace(Arc::new(tls))),
            Err(error) => problems.push(format!("the old certificate stays in use: {error}")),
        }
        if let Err(error) = self.logins.trust(config.oauth.as_ref()) {
            problems.push(format!("the tokens trusted before stay so: {error}"));
        }
        problems.extend(self.web.as_mut().and_then(|web| web.renew(&config).err()));
        problems.extend(self.page.as_mut().and_then(|page| page.renew(&config).err()));
        for problem in problems.iter().cloned() {
            self.journal.write(Event::Trouble { room: "relay", problem });
        }
        self.unused.send_replace(problems.clone());
        self.config = Arc::new(config);
        caution(&self.config, &self.journal);
        self.watched.configure(&self.config);
        self.rates = Arc::new(self.rates.renewed(&self.config, Instant::now()));
        self.sessions.limit(Caps::of(&self.config.limits));
        let routes = self.routes.borrow().renewed(&self.config);
        problems.extend(routes.keys().unsigned());
        self.delivering.renew(&self.spool, &self.config, &routes, &self.journal);
        self.routes.send_replace(routes);
        self.alerts.configure(self.config.clone());
        self.stop_accepting();
        let detail = "the configuration was read again".to_owned();
        self.journal.write(Event::Started { process: "relay", detail });
        load::answer("relay", left_out, &problems)
    }
}
