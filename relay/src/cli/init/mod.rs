//! `sallyport init`: a first set-up that leaves a working relay, or nothing.
//!
//! It asks or takes flags ([`wish`]), looks whether it would cut anybody off ([`refusal`]), says what it would do
//! ([`plan`]), does that all or not at all ([`steps`]), and prints what clients need ([`client`]).

pub mod accounts;
pub mod certificate;
pub mod client;
pub mod draft;
pub mod folders;
mod held;
mod hidden;
pub mod host;
pub mod plan;
pub mod question;
pub mod refusal;
mod settings;
pub mod steps;
pub mod trust;
pub mod units;
pub mod unseen;
pub mod wish;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::args::InitFlags;
use super::tls::obtain::{self, Key, Terms};
use super::{print, tls};
use crate::appliance;
use crate::appliance::load::load;
use crate::appliance::privilege::Identity;
use crate::config::acme::Acme;
use crate::config::{self, Config};
use certificate::Certificate;
use client::Client;
use held::Held;
use plan::{FirstLogin, Need, Plan};
use question::{Answers, Consent, Interview};
use refusal::Before;
use steps::{Existing, Readers, Steps, rehearse};
use units::{TIMER, UNITS};

/// Sets up a first relay, or prints what clients need for the one that is there.
///
/// # Errors
///
/// If a configuration is there already, a flag is missing or wrong, something would be cut off, or anything cannot
/// be made; then nothing was changed.
pub fn init(file: &Path, flags: &InitFlags) -> anyhow::Result<ExitCode> {
    if let Some(client) = flags.clients {
        let settings = settings::of_config(&load(file)?, flags.login.as_deref())?;
        print::say(client.sample(&settings).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let before = if file.exists() { Before::SetUp } else { Before::Nothing };
    ensure!(
        flags.force || before == Before::Nothing,
        "{} is there already: --force replaces it and keeps the old one beside it; `sallyport init --clients` \
         prints what clients need",
        file.display()
    );
    ensure!(
        flags.yes || io::stdin().is_terminal(),
        "nobody can be asked, since standard input is no terminal: give --yes, and flags for what has no default"
    );
    ensure!(
        flags.dry_run || rustix::process::geteuid().is_root(),
        "a first set-up makes accounts and files of root: run it by sudo; --dry-run needs no rights"
    );
    if flags.start {
        units::startable(file)?;
    }
    let wish = wish::wish(file, flags, before)?;
    let plan =
        Plan::new(wish, before).map_err(|problems| anyhow!("{problems}\nnothing was written"))?;
    let head = if flags.dry_run { "This would be done:" } else { "This is to be done:" };
    print::say(format!("{head}\n  {}", plan.lines().join("\n  ")));
    for note in plan.notes() {
        print::say(format!("note: {note}"));
    }
    if flags.dry_run {
        print::say(format!("\nThe configuration:\n\n{}", plan.text.trim_end()));
        for units::DropIn { file, text } in &plan.drop_ins {
            print::say(format!("\n{}:\n\n{}", file.display(), text.trim_end()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !flags.yes {
        let (mut input, mut output) = (io::stdin().lock(), io::stdout());
        let answers = Answers::Asked { input: &mut input, output: &mut output };
        if Interview::new(answers).agree("Do it?", Consent::Yes)? == Consent::No {
            bail!("nothing was written");
        }
    }
    let password = carry_out(&plan)?;
    tell(&plan, password.as_ref(), flags)?;
    Ok(ExitCode::SUCCESS)
}

/// Does what the plan says, and shows the password of the first login if that was made: who has not seen it has no
/// set-up.
fn carry_out(plan: &Plan) -> anyhow::Result<Option<Zeroizing<String>>> {
    // Longer than the steps: what is undone is undone whole.
    let held = Held::hold()?;
    let (draft, mut steps) = (&plan.wish.draft, Steps::default());
    for account in &plan.accounts {
        steps.account(account.clone())?;
    }
    let unreadable = plan.unreadable();
    ensure!(unreadable.is_empty(), "{}\nnothing was written", unreadable.join("\n"));
    let relay = Identity::of(&draft.user)?;
    let ending = Timestamp::now().strftime(".%Y-%m-%dT%H-%M-%S%.3fZ").to_string();
    let config = &draft.places.config;
    held.go_on().context("nothing was written")?;
    beside(plan, &mut steps, relay, &ending)?;
    let (_, meant) = draft.config().map_err(|problems| anyhow!(problems))?;
    let sockets = &draft.places.sockets;
    for folder in [&meant.gate.state, &meant.history.path, &meant.spool.path, sockets] {
        steps.foresee(folder);
    }
    appliance::folders::prepare(&meant, relay)?;
    held.go_on().context("nothing was written")?;
    let kept = if let (Certificate::Acme, Need::Make, Some(acme)) =
        (&plan.wish.certificate, plan.certificate, &meant.tls.acme)
    {
        rehearse(&draft.places.users(), Readers::Relay(relay), Existing::Refuse)
            .and_then(|()| rehearse(config, Readers::All, Existing::Keep(&ending)))
            .context("nothing was ordered")?;
        let kept = signed(&meant, acme, relay, &ending)?;
        steps.keep_accounts();
        kept
    } else {
        "nothing was written".to_owned()
    };
    let password = login(plan, &mut steps, relay).context(kept.clone())?;
    held.go_on().context(kept.clone())?;
    if let Some(password) = &password {
        show(password).context("the password cannot be shown").context(kept.clone())?;
    }
    // The configuration comes last: with it the set-up is whole. Where it is there, the password was shown: without it
    // the next `init` makes another one.
    let whole = steps.file(config, &plan.text, Readers::All, Existing::Keep(&ending));
    let shown = password.is_some();
    let whole =
        whole.with_context(|| if shown { format!("forget the password; {kept}") } else { kept });
    whole?;
    steps.keep();
    if let Err(problem) = unseen::forget(&draft.places.users()) {
        let mark = unseen::mark(&draft.places.users());
        print::say(format!("note: {} is to be removed, and cannot be: {problem}", mark.display()));
    }
    Ok(password)
}

/// Makes what stands beside the configuration, but for the first login.
fn beside(plan: &Plan, steps: &mut Steps, relay: Identity, ending: &str) -> anyhow::Result<()> {
    let draft = &plan.wish.draft;
    let places = &draft.places;
    let above = |file: &Path| file.parent().unwrap_or(Path::new("/")).to_owned();
    steps.folder(&above(&places.config), Readers::All)?;
    if let Some(secret) = &plan.wish.secret {
        let (file, readers) = (places.secret(), Readers::Relay(relay));
        steps.folder(&above(&file), readers)?;
        let line = Zeroizing::new([secret.as_str(), "\n"].concat());
        steps.file(&file, &line, readers, Existing::Keep(ending))?;
    }
    if let (Certificate::Own(names), Need::Make) = (&plan.wish.certificate, plan.certificate) {
        let made = tls::make(names).context("the certificate could not be made")?;
        let files = tls::Files::new(&places.certificate, &places.key);
        steps.folder(&above(&files.key), Readers::All)?;
        steps.file(&files.key, &made.key, Readers::Relay(relay), Existing::Refuse)?;
        steps.file(&files.certificate, &made.chain, Readers::All, Existing::Refuse)?;
        steps.file(&files.ca, &made.ca, Readers::All, Existing::Refuse)?;
    }
    for units::DropIn { file, text } in &plan.drop_ins {
        steps.folder(&above(file), Readers::All)?;
        steps.file(file, text, Readers::All, Existing::Keep(ending))?;
    }
    Ok(())
}

/// Makes the first login and returns its password, if it is made or gets another one. It comes after whatever takes
/// its time: until the configuration is there nobody sees the password again.
fn login(
    plan: &Plan,
    steps: &mut Steps,
    relay: Identity,
) -> anyhow::Result<Option<Zeroizing<String>>> {
    let draft = &plan.wish.draft;
    let users = draft.places.users();
    match plan.login {
        FirstLogin::Add => unseen::note(steps, &users, &draft.login)?,
        FirstLogin::Renew => {}
        FirstLogin::Keep => return Ok(None),
    }
    steps.login(&users, &draft.login, Readers::Relay(relay)).map(Some)
}

fn show(password: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(
        output,
        "\npassword: {password}\n  shown now only; clients have it in SALLYPORT_PASSWORD"
    )?;
    output.flush()
}

/// Has a certificate signed and puts it in place, with its account. An authority signs few for the same names, so these
/// stay whatever comes after; all that can fail is done before. Returns which they are.
fn signed(config: &Config, acme: &Acme, relay: Identity, ending: &str) -> anyhow::Result<String> {
    obtain::writable(config, acme, Key::Same, ending)?;
    print::say("the authority is asked; this may take some minutes, and Ctrl-C counts after it");
    let mut steps = Steps::default();
    if !acme.account.exists() {
        obtain::account(&mut steps, acme, Terms::Agreed)?;
    }
    let signed = obtain::order(config, acme, Key::Same).context("nothing was written")?;
    signed.place(&mut steps, config, relay, ending)?;
    steps.keep();
    Ok(format!(
        "the account at the authority and what it signed stay, and `sallyport init` takes them: {}, {}, {}",
        acme.account.display(),
        config.tls.certificate.display(),
        config.tls.key.display()
    ))
}

/// Prints what clients need, and what comes next; starts the processes if that is wanted.
fn tell(
    plan: &Plan,
    password: Option<&Zeroizing<String>>,
    flags: &InitFlags,
) -> anyhow::Result<()> {
    let draft = &plan.wish.draft;
    let file = &draft.places.config;
    let config = load(file)?;
    let settings = settings::of_config(&config, Some(&draft.login))?;
    print::say(format!("\n{}", Client::All.sample(&settings)));
    for caution in config.cautions() {
        print::say(format!("note: {caution}"));
    }
    print::say(settings::table(&settings, &draft.places.certificate));
    match password {
        // The samples are long.
        Some(password) => {
            print::say(Zeroizing::new(["password:   ", password, ", as above"].concat()));
        }
        None => print::say(format!(
            "the login {0} keeps its password; `sallyport user passwd {0}` gives it another",
            draft.login
        )),
    }
    if !plan.drop_ins.is_empty()
        && !flags.start
        && let Err(problem) = units::reread()
    {
        print::say(format!("note: {problem:#}: run it before the units are started"));
    }
    let named = if file == Path::new(config::DEFAULT_PATH) {
        String::new()
    } else {
        format!(" --config {}", file.display())
    };
    let timer = config.tls.acme.is_some().then_some(TIMER);
    let units: Vec<&str> = UNITS.into_iter().chain(timer).collect();
    if flags.start {
        units::start(&units, plan.before)?;
        print::say(format!("started, now and at every boot: {}", units.join(", ")));
    } else if named.is_empty() {
        print::say(format!(
            "start it:   sudo systemctl enable --now {}\n      or:   sudo sallyport run",
            units.join(" ")
        ));
    } else {
        print::say(format!("start it:   sudo sallyport run{named}"));
    }
    if timer.is_some() {
        let how = format!("`sallyport{named} tls renew --by-timer`, run hourly");
        print::say(if named.is_empty() {
            format!("renewal:    {TIMER} does it; without systemd {how}")
        } else {
            format!("renewal:    {how}: {TIMER} reads {}", config::DEFAULT_PATH)
        });
    }
    print::say(format!(
        "see to it:  sudo sallyport status{named}\nno mail?    sudo sallyport doctor{named}"
    ));
    Ok(())
}
