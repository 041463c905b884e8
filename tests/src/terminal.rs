//! A terminal that a program runs in: a pair of pseudoterminal ends, and the cells that it would show.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use relay::demo::next_hop::wait_for;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long the screen is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program in a terminal. It is ended with this.
pub struct Terminal {
    keys: File,
    octets: Receiver<Vec<u8>>,
    cells: vt100::Parser,
    child: Child,
}

impl Terminal {
    /// Starts a program in a terminal of so many columns and rows, by `spawn`.
    ///
    /// # Errors
    ///
    /// If the system has no terminal left, or the program does not start.
    pub fn run(
        (columns, rows): (u16, u16),
        mut command: Command,
        spawn: impl FnOnce(&mut Command) -> Result<Child>,
    ) -> Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size)?;
        let name = ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = File::from(rustix::fs::open(name, flags, Mode::empty())?);
        command.stdin(Stdio::from(theirs.try_clone()?));
        command.stdout(Stdio::from(theirs.try_clone()?)).stderr(Stdio::from(theirs));
        command.env("TERM", "xterm-256color");
        let child = spawn(&mut command)?;
        // The program's end of the terminal stays with it alone: its death ends the reading.
        drop(command);
        let keys = File::from(ours);
        let mut screen = keys.try_clone()?;
        let (tell, octets) = channel();
        std::thread::spawn(move || {
            let mut octets = vec![0; 64 << 10];
            while let Ok(count @ 1..) = screen.read(&mut octets) {
                if tell.send(octets[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { keys, octets, cells: vt100::Parser::new(rows, columns, 0), child })
    }

    /// Types something.
    ///
    /// # Errors
    ///
    /// If the program is gone.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    /// Waits until the screen is as wanted and returns its text.
    ///
    /// # Errors
    ///
    /// If it is not so within half a minute, or the program ended; with what stands there.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let due = Instant::now() + PATIENCE;
        loop {
            let text = self.cells.screen().contents();
            if wanted(&text) {
                return Ok(text);
            }
            match self.octets.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(octets) => self.cells.process(&octets),
                Err(problem) => bail!("waited for {what} ({problem}); the screen:\n{text}"),
            }
        }
    }

    /// Returns the number of the program's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program ends; returns its code, and whether it left the terminal as it was: the plain screen, the
    /// cursor, and lines that are echoed.
    ///
    /// # Errors
    ///
    /// If it does not end, or was killed.
    pub fn left(mut self) -> Result<(i32, bool)> {
        while let Ok(octets) = self.octets.recv_timeout(PATIENCE) {
            self.cells.process(&octets);
        }
        let code = self.child.wait()?.code().context("the program was killed")?;
        let cooked = LocalModes::ICANON | LocalModes::ECHO;
        let is_cooked = tcgetattr(&self.keys)?.local_modes.contains(cooked);
        let screen = self.cells.screen();
        Ok((code, is_cooked && !screen.alternate_screen() && !screen.hide_cursor()))
    }

    /// Tells whether the program has the terminal for itself: another screen, and no cursor.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        let screen = self.cells.screen();
        screen.alternate_screen() && screen.hide_cursor()
    }

    /// Takes the terminal away, as a line that breaks does, and waits until the program ends; returns its code. Nobody
    /// sends it a signal: this terminal controls no session.
    ///
    /// # Errors
    ///
    /// If it does not end within 20 seconds, or was killed.
    pub fn hang_up(mut self) -> Result<i32> {
        // Who reads the screen lets go of it at the next octets.
        self.octets = channel().1;
        self.keys = File::open("/dev/null")?;
        let status = wait_for("the program's end", || self.child.try_wait().ok()?)?;
        status.code().context("the program was killed")
    }

    /// Waits until the program ends and returns its code.
    ///
    /// # Errors
    ///
    /// If it does not end, or was killed.
    pub fn end(mut self) -> Result<(i32, String)> {
        while let Ok(octets) = self.octets.recv_timeout(PATIENCE) {
            self.cells.process(&octets);
        }
        let code = self.child.wait()?.code().context("the program was killed")?;
        Ok((code, self.cells.screen().contents()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
