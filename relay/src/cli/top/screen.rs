//! The live view on the cells of a terminal. Colours say again what words say, for terminals without any.

mod fitting;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Sparkline, Wrap};

use super::model::{Flow, Model, Over};
use super::series::Series;
use crate::cli::print;
use crate::cli::queue::at;
use crate::cli::status::Whole;
use crate::cli::status::screen::{interfaces, spike_line, unheard};
use crate::control::health::Health;
use crate::control::wire::{GateStatus, Talker};
use crate::event::alert::Severity;
use crate::net::routes::{RouteState, Standing};
use fitting::{Row, fitted};

/// The least that the view is made for.
const LEAST: (u16, u16) = (60, 16);

/// Lines for the rows of rates: heads and bars.
const RATES: u16 = 5;

/// Draws the view.
pub fn draw(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let (wide, high) = LEAST;
        let words = format!("the terminal is too small: {wide} by {high} at least (q ends)");
        frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), area);
        return;
    }
    let [head, doors, rates, lists, mail, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(RATES),
        Constraint::Min(3),
        Constraint::Percentage(35),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(headline(model), head);
    frame.render_widget(Paragraph::new(door_lines(model)), doors);
    draw_rates(model, frame, rates);
    let halves = [Constraint::Percentage(60), Constraint::Percentage(40)];
    let [sources, alerts] = Layout::horizontal(halves).areas(lists);
    draw_sources(model, frame, sources);
    draw_list(frame, alerts, "open alerts", fitted(alert_rows(model), inside(alerts)));
    draw_list(frame, mail, "mail", fitted(mail_rows(model), inside(mail)));
    frame.render_widget(key_line(model), keys);
    draw_over(model, frame, area);
}

fn headline(model: &Model) -> Line<'static> {
    let mut spans = vec!["sallyport ".bold(), Span::from(model.hostname.clone()), "  ".into()];
    match &model.sample {
        None => spans.push("asking …".into()),
        Some(sample) => {
            spans.push(health(sample.whole.judgement.health));
            spans.push(format!("  {}", at(sample.at)).dim());
        }
    }
    if model.flow == Flow::Paused {
        spans.push("  paused".reversed());
    }
    if let Some(age) = model.age_seconds {
        spans.extend(["  ".into(), format!("{age} s old").reversed()]);
    }
    Line::from(spans)
}

fn health(health: Health) -> Span<'static> {
    let colour = match health {
        Health::Good => Color::Green,
        Health::Degraded => Color::Yellow,
        Health::NotServing => Color::Red,
    };
    Span::styled(health.word(), Style::new().fg(colour).add_modifier(Modifier::BOLD))
}

fn door_lines(model: &Model) -> Vec<Line<'static>> {
    let Some(sample) = &model.sample else { return Vec::new() };
    let Some(gate) = &sample.whole.gate else {
        return vec!["gate    does not answer".red().into()];
    };
    let mut first = vec![Span::from(format!("doors   {}; second door on ", interfaces(gate)))];
    first.push(Span::from(print::count(gate.second_door, "socket")));
    first.push("; mode ".into());
    let mode = Span::from(gate.mode.clone());
    first.push(if gate.mode == "enforce" { mode } else { mode.red().bold() });
    let second = format!(
        "list    {}, {}; generation {}",
        if gate.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", gate.entries) },
        print::count(gate.bans, "ban"),
        gate.generation
    );
    vec![Line::from(first), Line::from(second)]
}

fn draw_rates(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let halves = [Constraint::Percentage(50), Constraint::Percentage(50)];
    let [left, right] = Layout::horizontal(halves).spacing(2).areas(area);
    draw_rate(frame, left, "passed", &model.passed, Color::Green);
    draw_rate(frame, right, "refused", &model.refused, Color::Red);
}

fn draw_rate(frame: &mut Frame<'_>, area: Rect, name: &str, series: &Series, colour: Color) {
    let [head, bars] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    let words = format!("{name:<8}{} a second, at most {}", series.now(), series.peak());
    frame.render_widget(Line::from(words).bold(), head);
    let rates = series.last(bars.width.into());
    // The newest stands at the right edge from the start on.
    let mut data = vec![0; usize::from(bars.width).saturating_sub(rates.len())];
    data.extend(rates);
    let bars_of = Sparkline::default().data(data).max(series.peak().max(1));
    frame.render_widget(bars_of.style(Style::new().fg(colour)), bars);
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, title: &str, list: Vec<Line<'static>>) {
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(list).block(block), area);
}

/// Returns the columns and lines within the frame of a list.
const fn inside(area: Rect) -> (usize, usize) {
    (area.width.saturating_sub(2) as usize, area.height.saturating_sub(2) as usize)
}

fn draw_sources(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let rows = usize::from(area.height.saturating_sub(2));
    // The selected row is always in sight.
    let first = (model.selected + 1).saturating_sub(rows);
    let shown = model.talkers().iter().enumerate().skip(first).take(rows);
    let mut lines: Vec<_> =
        shown.map(|(place, talker)| source_line(talker, place == model.selected)).collect();
    if lines.is_empty() {
        lines.push("nobody".dim().into());
    }
    draw_list(frame, area, "refused most, last minute", lines);
}

fn source_line(talker: &Talker, is_selected: bool) -> Line<'static> {
    let Talker { cidr, frames, error, reason } = talker;
    let mark = if is_selected { ">" } else { " " };
    let network = cidr.to_string();
    // A line has no room for the words of `status`.
    let least = frames.saturating_sub(*error);
    let line = Line::from(format!("{mark} {network:<18} {frames} (≥{least}) {reason}"));
    if is_selected { line.reversed() } else { line }
}

/// What people were told, the worst first and of those the latest; then what the health names besides, and what the gate
/// alone knows while the relay is dead.
fn alert_rows(model: &Model) -> Vec<Row> {
    let Some(sample) = &model.sample else { return Vec::new() };
    let told = sample.whole.worst_first().into_iter().map(|alert| {
        let colour = match alert.severity {
            Severity::Critical => Color::Red,
            Severity::Warning => Color::Yellow,
        };
        // Before the summary, of which not all may have room.
        let unheard = unheard(alert).map_or_else(String::new, |words| format!(", {words}"));
        Row::prose(format!("{}{unheard}: {}", alert.key(), print::shown(&alert.summary)), colour)
    });
    let mut rows: Vec<_> = told.collect();
    if rows.is_empty()
        && let Some(gate) = &sample.whole.gate
    {
        rows.extend(spike_rows(gate));
    }
    let problems = &sample.whole.judgement.problems;
    rows.extend(problems.iter().map(|problem| Row::prose(print::shown(problem), Color::Reset)));
    if rows.is_empty() {
        rows.push(Row::line("none".dim()));
    }
    rows
}

fn spike_rows(gate: &GateStatus) -> impl Iterator<Item = Row> {
    let open = gate.spikes.iter().filter(|spike| spike.until.is_none());
    open.map(|spike| Row::prose(print::shown(&spike_line(spike)), Color::Red))
}

fn mail_rows(model: &Model) -> Vec<Row> {
    let Some(sample) = &model.sample else { return Vec::new() };
    let Whole { relay, routes, .. } = &sample.whole;
    let Some(relay) = relay else { return vec![Row::line("the relay does not answer".red())] };
    let serves = if relay.serving { "serving" } else { "not serving" };
    let mut rows = vec![Row::line(format!(
        "relay   {serves}, {}; {}",
        relay.guard,
        print::count(relay.sessions, "session")
    ))];
    rows.extend(relay.spool.as_ref().map(|spool| {
        Row::line(format!(
            "spool   {}: {} held, {} captured, {} damaged; {} MiB, {} free",
            print::count(spool.messages, "message"),
            spool.held,
            spool.captured,
            spool.damaged,
            spool.log_bytes >> 20,
            room(spool.free_bytes)
        ))
    }));
    let mut routes: Vec<_> = routes.iter().collect();
    routes.sort_by_key(|route| route.standing.urgency());
    rows.extend(routes.into_iter().map(|route| Row::line(route_line(route))));
    rows
}

/// Returns octets as people want to know them: of a few GiB, how much is left.
fn room(bytes: u64) -> String {
    match bytes >> 30 {
        0..10 => format!("{} MiB", bytes >> 20),
        gib => format!("{gib} GiB"),
    }
}

fn route_line(route: &RouteState) -> Line<'static> {
    let colour = match route.standing {
        Standing::Up => Color::Green,
        Standing::Degraded | Standing::Suspended => Color::Yellow,
        Standing::Down | Standing::LoginRefused => Color::Red,
    };
    let carried: u64 = route.hosts.iter().map(|host| host.carried).sum();
    let why =
        route.reason.as_ref().map_or_else(String::new, |why| format!("; {}", print::shown(why)));
    Line::from(vec![
        Span::from(format!("route   {} ", route.name)),
        Span::styled(route.standing.words(), Style::new().fg(colour)),
        Span::from(format!(
            "; {} of {} connections, {carried} carried{why}",
            route.in_use, route.connections
        )),
    ])
}

fn key_line(model: &Model) -> Line<'static> {
    let pause = match model.flow {
        Flow::Live => "p pause",
        Flow::Paused => "p go on",
    };
    Line::from(format!("↑↓ select  b ban  a allow  e explain  {pause}  ? help  q quit")).dim()
}

fn draw_over(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let (title, text) = match &model.over {
        Over::Nothing => return,
        Over::Help => ("keys", HELP.to_owned()),
        Over::Question(change) => {
            ("do this?", format!("{}\n\ny does it, any other key does not", change.command()))
        }
        Over::Answer(words) => {
            let words: Vec<_> = words.lines().map(print::shown).collect();
            ("answer", format!("{}\n\nany key goes on", words.join("\n")))
        }
    };
    let inner_width = area.width.saturating_sub(8).clamp(1, 90);
    let height: u16 = text
        .lines()
        .map(|line| (line.chars().count() as u16 / inner_width).saturating_add(1))
        .fold(2, u16::saturating_add);
    let (wide, high) = (inner_width + 4, height.min(area.height));
    let place = Rect {
        x: area.x + (area.width - wide) / 2,
        y: area.y + (area.height - high) / 2,
        width: wide,
        height: high,
    };
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Clear, place);
    frame.render_widget(
        Paragraph::new(Text::from(text)).block(block).wrap(Wrap { trim: false }),
        place,
    );
}

/// What the keys do.
const HELP: &str = "\
↑ ↓ (k j)   select a network that was refused
b           ban it for an hour; asks first
a           admit it for eight hours; asks first
e, enter    explain: what the gate does with it, and why
p           pause the view; rates are still kept
?           this box; any key closes it, q too
q, Ctrl-C   quit

Changes need root or the group that the configuration names.";

#[cfg(test)]
mod tests;
