//! The one binary: reads what was typed and calls the verb.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Parser as _;
use relay::appliance;
use relay::appliance::load::load;
use relay::cli::args::{Arguments, ConfigVerb, TlsVerb, Verb};
use relay::cli::reach::reach;
use relay::cli::status::Check;
use relay::cli::tls::again::Caller;
use relay::cli::tls::obtain::{self, Key, Terms};
use relay::cli::{
    alert, config, doctor, explain, gate, init, manual, operate, print, queue, route, spool,
    status, tls, trace, user,
};
use relay::doctor::Asked;
use relay::journal::Journal;

/// How long the end waits for whoever reads why it comes.
const LAST_WORD: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match call(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            say_last(format!("sallyport: {}", print::causes(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Says why the program ends. A process that ends to be started anew must not wait for a reader who hangs: nobody
/// would start it.
fn say_last(words: String) {
    let (said, heard) = mpsc::channel();
    let say = move || {
        eprintln!("{words}");
        let _ = said.send(());
    };
    if thread::Builder::new().spawn(say).is_ok() {
        let _ = heard.recv_timeout(LAST_WORD);
    }
}

/// Runs a process of the appliance to its end, and to the end of what it says.
fn serve(
    journal: &Journal,
    run: impl FnOnce(&Journal) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    journal.hold();
    journal.hear_panics();
    let _settled = Settled(journal);
    run(journal)
}

/// Writes what a journal still has, also if a panic ends the process.
struct Settled<'a>(&'a Journal);

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// Tells whether a verb has keys or passwords in its memory. The processes of the appliance see to themselves.
const fn holds_secrets(verb: &Verb) -> bool {
    matches!(verb, Verb::Init(_) | Verb::User(_) | Verb::Tls(_))
}

fn call(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { config: file, verb } = arguments;
    let load = || load(&file);
    let reach = || reach(&file);
    // A file that cannot be read is told by whoever needs it.
    let journal = || Journal::of(&load().map(|config| config.log).unwrap_or_default());
    if holds_secrets(&verb) {
        appliance::privilege::no_core_dumps()?;
    }
    match verb {
        Verb::Run => {
            let config = load()?;
            serve(&journal(), |journal| appliance::run::run(&config, &file, journal))?;
        }
        Verb::Gate => serve(&journal(), |journal| appliance::gate::run(&file, journal))?,
        Verb::Relay => serve(&journal(), |journal| appliance::relay::run(&file, journal))?,
        Verb::Programs => appliance::programs::run(file)?,
        Verb::Config(ConfigVerb::Check { file: named }) => {
            config::check(named.as_deref(), &file)?;
        }
        Verb::Config(ConfigVerb::Show { output }) => config::show(&file, output.form())?,
        Verb::Allow(verb) => {
            let gate = reach()?.reach.gate;
            gate::asked(&gate, gate::allow(&gate.socket, verb))?;
        }
        Verb::Ban(verb) => {
            let gate = reach()?.reach.gate;
            gate::asked(&gate, gate::ban(&gate.socket, verb))?;
        }
        Verb::Mode(verb) => {
            let gate = reach()?.reach.gate;
            gate::asked(&gate, operate::mode(&gate.socket, &verb))?;
        }
        Verb::Detach => operate::detach(&reach()?.reach.gate)?,
        Verb::Reload => operate::reload(&load()?)?,
        Verb::Audit { since, limit, output } => {
            let gate = reach()?.reach.gate;
            let shown = operate::audit(&gate.socket, since, limit, output.form());
            gate::asked(&gate, shown)?;
        }
        Verb::Explain { source, port, asked, output } => {
            explain::explain(&reach()?, source, port, &asked, output.form())?;
        }
        Verb::Status { check, output } => {
            let check = if check { Check::Yes } else { Check::No };
            return Ok(status::status(&reach()?.reach, check, output.form()));
        }
        Verb::Doctor { from, to, output } => {
            return doctor::doctor(&file, Asked { from, to }, output.form());
        }
        #[cfg(feature = "tui")]
        Verb::Top => return relay::cli::top::top(reach()?.reach),
        Verb::User(verb) => user::user(&load()?, verb)?,
        Verb::Queue(verb) => queue::queue(&reach()?.reach.relay.socket, verb)?,
        Verb::Alert(verb) => return alert::alert(&file, verb),
        Verb::Route(verb) => route::route(&reach()?.reach.relay.socket, verb)?,
        Verb::Spool(verb) => return spool::spool(&file, &verb),
        Verb::Trace { id, output } => trace::trace(&reach()?.reach, id, output.form())?,
        Verb::Init(flags) => return init::init(&file, &flags),
        Verb::Tls(TlsVerb::Init { names, into }) => tls::for_config(&load()?, names, into)?,
        Verb::Tls(TlsVerb::Obtain { agree_terms, new_key }) => {
            let terms = if agree_terms { Terms::Agreed } else { Terms::Unsaid };
            obtain::obtain(&load()?, terms, Key::of(new_key))?;
        }
        Verb::Tls(TlsVerb::Renew { new_key, by_timer }) => {
            obtain::renew(&load()?, Key::of(new_key), Caller::of(by_timer))?;
        }
        Verb::Completions { shell } => manual::completions(shell),
        Verb::Man { folder } => manual::manual(&folder)?,
        Verb::Demo => return relay::demo::run(),
        #[cfg(feature = "xdp")]
        Verb::Selftest { output } => return relay::selftest::run(output.form()),
    }
    Ok(ExitCode::SUCCESS)
}
