//! `sallyport top`: the live view on a terminal.
//!
//! ```text
//! sample  what both processes say at a time, asked once a second     series  numbers over the last minutes
//! model   what is shown and what keys do: pure                        screen  the model on a terminal's cells
//! ```
//!
//! Three threads: one asks the processes, so that one which hangs does not stop the keys; one waits for signals, and
//! for the end of the terminal; this one waits for keys and draws.

mod ending;
mod model;
mod sample;
mod screen;
mod series;

use std::io::IsTerminal as _;
use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::ending::Ending;
use self::model::{Act, Key, Model, Told};
use self::sample::Sample;
use crate::config::Reach;

/// How long this thread waits for a key before it looks whether there is something new to draw.
const LOOK: Duration = Duration::from_millis(50);

/// The time between two samples.
const EVERY: Duration = Duration::from_secs(1);

/// What waits between the threads at most. Who asks faster than the processes answer is told so.
const WAITING: usize = 4;

/// Shows the live view until the user ends it, or SIGHUP, SIGINT, SIGQUIT or SIGTERM does: then the exit code is 128 and
/// the signal's number, and that of SIGHUP where the terminal goes away without a signal. The terminal is as before in
/// any case, also after a panic.
///
/// # Errors
///
/// If standard output or input is no terminal, or the terminal fails.
pub fn top(reach: Reach) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        std::io::stdout().is_terminal() && std::io::stdin().is_terminal(),
        "the live view needs a terminal; programs read `sallyport status --json`"
    );
    let ending = Ending::begin()?;
    let mut model = Model::new(reach.hostname.clone());
    let (ask, acts) = sync_channel(WAITING);
    let (tell, told) = sync_channel(WAITING);
    std::thread::Builder::new().name("sampler".into()).spawn(move || {
        attend(&reach, &acts, &tell);
    })?;
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &mut model, &ending, &ask, &told);
    // Left to itself it would write about a terminal that is gone to that terminal, and panic since that fails as well.
    let mut terminal = ManuallyDrop::new(terminal);
    let restored = terminal.show_cursor().and(ratatui::try_restore());
    let ended = shown.and_then(|code| Ok(restored.map(|()| code)?));
    ending.or(ended).map(ExitCode::from)
}

/// Draws what changes and does what keys say, until the end; returns the exit code.
///
/// # Errors
///
/// If the terminal fails.
fn show(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    ending: &Ending,
    ask: &SyncSender<Act>,
    told: &Receiver<Told>,
) -> anyhow::Result<u8> {
    loop {
        terminal.draw(|frame| screen::draw(model, frame))?;
        let mut is_stale = false;
        while !is_stale {
            if let Some(code) = ending.came() {
                return Ok(code);
            }
            if event::poll(LOOK)? {
                is_stale = true;
                let pressed = event::read()?;
                let Some(key) = key(&pressed) else { continue };
                match model.press(key) {
                    Some(Act::Quit) => return Ok(0),
                    Some(act) if ask.try_send(act).is_err() => {
                        model.take(Told::Done("busy; press again in a moment".to_owned()));
                    }
                    None | Some(_) => {}
                }
            }
            while let Ok(news) = told.try_recv() {
                model.take(news);
                is_stale = true;
            }
            is_stale |= model.tick(Timestamp::now());
        }
    }
}

/// Reads a key that means something here; a resized window is drawn anew anyway.
fn key(event: &Event) -> Option<Key> {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return None;
    };
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Char('q')),
        KeyCode::Char(letter) => Some(Key::Char(*letter)),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Escape),
        _ => None,
    }
}

/// Asks the processes once a second, and in between what keys want.
fn attend(reach: &Reach, acts: &Receiver<Act>, tell: &SyncSender<Told>) {
    loop {
        if tell.send(Told::Sample(Box::new(Sample::ask(reach)))).is_err() {
            return;
        }
        let due = std::time::Instant::now() + EVERY;
        // Whoever acts sees what came of it at once.
        let left = || due.saturating_duration_since(std::time::Instant::now());
        while let Ok(act) = acts.recv_timeout(left()) {
            if tell.send(Told::Done(sample::act(reach, &act))).is_err() {
                return;
            }
        }
    }
}
