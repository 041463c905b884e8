// The overview, and what keeps the page live.
'use strict';

const KEPT = 180;
const VIEWS = ['overview', 'allowlist', 'queue', 'captured'];
const HEALTH = { good: ['good', 'good'], degraded: ['warn', 'degraded'], 'not-serving': ['bad', 'not serving'] };
let view = 'overview';
let timer = 0;
let beats = 0;
let round = 0;

function overview(state) {
  document.title = `${HEALTH[state.health][1]} · ${state.hostname} · Sallyport`;
  document.getElementById('host').textContent = state.hostname;
  document.getElementById('version').textContent = `Sallyport ${state.version}${state.viewer ? ` · seen by ${state.viewer}` : ''} · the page only shows; changes are made with the command sallyport`;
  // It is a live region: touched only when the word changes.
  fill('health', state.health, () => badge(...HEALTH[state.health]));
  const problems = document.getElementById('problems');
  problems.hidden = state.problems.length === 0;
  problems.className = `problems ${state.health === 'not-serving' ? 'bad' : ''}`;
  const list = problems.querySelector('ul');
  list.id = 'problem-list';
  fill('problem-list', state.problems, () => state.problems.map((problem) => el('li', {}, problem)));
  charts(state);
  refill('gate', gateKey(state), () => gate(state));
  refill('talkers', state.gate && state.gate.talkers, () => talkers(state.gate));
  refill('spool', state.relay.spool && { ...state.relay.spool, at: Math.floor(Date.now() / 60000) }, () => spool(state.relay.spool));
  refill('routes', state.routes, () => routes(state.routes));
  // A live region too.
  fill('alerts-count', [state.alerts.critical, state.alerts.warnings], () => alertCount(state.alerts));
  refill('alerts', [state.alerts, Math.floor(Date.now() / 10000)], () => alerts(state.alerts));
  refill('spikes', [state.gate && state.gate.spikes, state.gate && state.gate.bypasses, Math.floor(Date.now() / 10000)], () => spikes(state.gate));
  refill('reasons', state.gate && state.gate.counted, () => reasons(state.gate));
}

function charts({ series, relay }) {
  const rows = [
    ['refused', series.refused, 'frames a second', 'refused'],
    ['admitted', series.admitted, 'a second', ''],
    ['sessions', series.sessions, '', ''],
    ['taken', series.taken, 'a second', ''],
  ];
  for (const [id, values, unit, kind] of rows) {
    const now = id === 'sessions' ? relay.sessions : values.at(-1) ?? null;
    const most = Math.max(0, ...values.map((value) => value ?? 0));
    const said = now === null ? 'not known' : `${number(now)} ${unit}`.trim();
    fill(id, [values, now], () => [
      el('p', { class: 'number' }, now === null ? '–' : number(now), ' ', el('small', {}, unit)),
      sparkline(values, KEPT, `The last three minutes: now ${said}, at most ${number(most)}`, kind),
      el('p', { class: 'scale' }, el('span', {}, '3 min'), el('span', {}, `at most ${number(most)}`)),
    ]);
  }
}

const gateKey = ({ gate: door, relay }) => [relay.guard, relay.serving, door && [door.interfaces, door.ports, door.mode, door.observe_until, door.generation, door.second_door, door.loopback, door.entries, door.bans, door.confirm_until, door.shadow, door.serving]];

function gate({ gate: door, relay }) {
  const serving = relay.serving ? badge('good', 'clients are accepted') : badge('bad', 'clients are not accepted');
  if (!door) return facts([['Relay', serving], ['Guard', relay.guard]]);
  const mode = door.mode === 'enforce' ? badge('good', 'enforce') : badge('warn', door.mode);
  const face = (one) => el('p', {}, one.problem ? badge('warn', `${one.name}: ${one.mode}`) : badge('good', `${one.name}: ${one.mode}`));
  return facts([
    ['Relay', serving],
    ['Guard', relay.guard],
    ['First door', el('div', {}, door.interfaces.map(face))],
    ['Second door', `on ${plural(door.second_door, 'socket')}`],
    ['Mode', door.observe_until ? el('span', {}, mode, ' ends ', when(door.observe_until)) : mode],
    ['Ports', door.ports.join(', ')],
    ['Allowlist', `${plural(door.entries, 'entry').replace('entrys', 'entries')}, list ${number(door.generation)}`],
    ['Bans', number(door.bans)],
    ['This host', door.loopback ? 'admitted to itself' : 'judged like others'],
    ['Former list', door.confirm_until ? el('span', {}, 'comes back ', when(door.confirm_until), ' unless confirmed') : null],
    ['Shadow', door.shadow === null ? null : plural(door.shadow, 'entry').replace('entrys', 'entries')],
  ]);
}

function talkers(door) {
  if (!door) return el('p', { class: 'empty' }, 'The gate does not say.');
  if (door.talkers.length === 0) return el('p', { class: 'empty' }, 'Nobody was refused within the last minute.');
  const most = Math.max(...door.talkers.map((talker) => talker.frames));
  const rows = door.talkers.map((talker) => {
    const bar = el('span', { class: 'bar', 'aria-hidden': 'true' });
    bar.style.width = `${(100 * talker.frames) / most}%`;
    return [el('span', { class: 'mono' }, talker.cidr), el('span', {}, talker.reason.replaceAll('_', ' '), bar), number(talker.frames), number(talker.frames - talker.error)];
  });
  return table('Networks that were refused most within the last minute', [['Network', 'fixed'], ['Why'], ['Frames a minute', 'num'], ['At least', 'num']], rows);
}

function spool(kept) {
  if (!kept) return el('p', { class: 'empty' }, 'The disk does not say.');
  const waiting = kept.messages - kept.held - kept.captured - kept.damaged;
  const all = kept.free_bytes + kept.log_bytes;
  const meter = el('div', { class: 'meter', 'aria-hidden': 'true' }, el('span', {}));
  meter.firstChild.style.width = `${all > 0 ? (100 * kept.log_bytes) / all : 0}%`;
  const low = kept.free_bytes < kept.reserve_bytes;
  return [
    facts([
      ['To be sent', number(waiting)],
      ['Held', number(kept.held)],
      ['Captured', `${number(kept.captured)} (${bytes(kept.captured_bytes)})`],
      ['Damaged', kept.damaged > 0 ? badge('bad', number(kept.damaged)) : '0'],
      ['On disk', `${bytes(kept.log_bytes)} in ${plural(kept.segments, 'file')}`],
      ['Free', low ? badge('bad', `${bytes(kept.free_bytes)}: below the reserve`) : `${bytes(kept.free_bytes)}, of which ${bytes(kept.reserve_bytes)} stay in reserve`],
      ['Flushes', kept.commits > 0 ? `${(kept.flushes / kept.commits).toFixed(2)} for each message taken` : number(kept.flushes)],
    ]),
    meter,
  ];
}

const STANDING = { up: ['good', 'up'], degraded: ['warn', 'a host is down'], down: ['bad', 'down'], 'login-refused': ['bad', 'login refused'], suspended: ['warn', 'suspended'] };

function routes(all) {
  if (all.length === 0) return el('p', { class: 'empty' }, 'There is no route.');
  const host = (one) => el('p', {}, el('span', { class: one.health === 'up' ? '' : 'bad' }, `${one.host} ${one.health}`), one.reason ? el('span', { class: 'quiet' }, ` ${one.reason}`) : null);
  const rows = all.map((route) => [
    route.name,
    el('div', {}, badge(...(STANDING[route.standing] || ['warn', route.standing])), route.reason ? el('p', { class: 'quiet' }, route.reason) : null),
    route.hosts.length > 0 ? el('div', {}, route.hosts.map(host)) : 'captures',
    `${number(route.in_use)} of ${number(route.connections)}`,
  ]);
  return table('Routes', [['Route'], ['State'], ['Hosts'], ['Under way', 'num']], rows);
}

function alertCount({ critical, warnings }) {
  if (critical + warnings === 0) return badge('good', 'All is quiet.');
  const words = [critical > 0 ? `${number(critical)} critical` : null, warnings > 0 ? plural(warnings, 'warning') : null];
  return badge(critical > 0 ? 'bad' : 'warn', words.filter(Boolean).join(', '));
}

function alerts({ critical, warnings, shown }) {
  if (shown.length === 0) return [];
  const rows = shown.map((alert) => [
    badge(alert.severity === 'critical' ? 'bad' : 'warn', alert.severity),
    el('div', {}, el('p', {}, alert.summary), alert.unheard_since ? el('p', {}, 'Not heard of since the start ', when(alert.unheard_since), ', so it may be over.') : null, el('p', { class: 'quiet' }, el('span', { class: 'mono' }, alert.key), alert.is_told ? null : ' · nobody is told: it is silenced, or comes and goes too often')),
    alert.command ? el('code', {}, alert.command) : '–',
    when(alert.since)]);
  const more = critical + warnings - shown.length;
  return [
    table('Open alerts, the worst first', [['Severity', 'fixed'], ['What'], ['Run first'], ['Since', 'fixed']], rows),
    more > 0 ? el('p', { class: 'empty' }, `${number(more)} more: `, el('code', {}, 'sallyport alert list')) : [],
  ];
}

function spikes(door) {
  const all = door ? door.spikes : [];
  const ways = door ? door.bypasses : [];
  if (all.length + ways.length === 0) return el('p', { class: 'empty' }, door ? 'None since the gate started.' : 'The gate does not say.');
  const rows = all.map((spike) => [
    spike.until ? el('span', { class: 'quiet' }, 'over') : badge('bad', 'open'),
    rise(spike),
    when(spike.since)]).concat(ways.map((way) => [
    badge('bad', 'bypass'), `${way.path}: ${plural(way.attempts, 'attempt')}, refused by the second door`, when(way.last)]));
  return table('Spikes and bypasses', [['State', 'fixed'], ['What'], ['Since', 'fixed']], rows);
}

/** Says how a spike rose. Of sources only so many are known to be different, and in all nobody knows. */
function rise(spike) {
  const [bound, inAll] = spike.class === 'spike-sources' ? ['least', ''] : ['most', `, ${number(spike.total)} in all`];
  const within = spike.window_seconds > 1 ? `in ${number(spike.window_seconds)} s` : 'a second';
  const name = spike.subject ? `${spike.class} ${spike.subject}` : spike.class;
  return `${name}: at ${bound} ${number(spike.peak)} ${within} where ${number(spike.usual)} are usual${inAll}`;
}

function reasons(door) {
  if (!door || door.counted.length === 0) return el('p', { class: 'empty' }, 'Nothing was counted yet.');
  const rows = door.counted.flatMap((row) => Object.entries(row.counts).map(([reason, count]) => [
    row.interface || 'second door', row.port === null ? '–' : String(row.port), reason.replaceAll('_', ' '), number(count)]));
  return table('Frames by door, port and reason', [['Door'], ['Port', 'num'], ['Reason'], ['Frames', 'num']], rows);
}

/** Asks again and again while somebody looks, and says so when there is no answer. */
async function beat() {
  clearTimeout(timer);
  // Only the last one goes on: one may be under way while the page is hidden and seen again.
  round += 1;
  const own = round;
  const live = document.getElementById('live');
  if (document.hidden) return;
  let wait = 1;
  try {
    const state = await ask('api/state');
    if (own !== round) return;
    overview(state);
    live.textContent = `live · ${state.at.slice(11, 19)} UTC${still.size > 0 ? ' · what is selected stands still' : ''}`;
    live.className = 'quiet';
    beats += 1;
    if (view === 'captured' && beats % 3 === 0) await showCaptured();
  } catch (error) {
    if (own !== round) return;
    wait = Math.max(1, error.wait || 0);
    live.className = 'bad';
    // A login that was refused is not shown again and again: that would lock it out.
    if (error.status === 401) { live.textContent = error.message; return; }
    const again = wait > 1 ? `asking again in ${wait} s` : 'asking again';
    live.textContent = `${error.status ? error.message : 'the relay is not reached'}; ${again}`;
  }
  if (own === round) timer = setTimeout(beat, wait * 1000);
}

/** Shows the view that the address names. */
function turn() {
  const [name, id] = location.hash.slice(1).split('/');
  const wanted = VIEWS.includes(name) ? name : 'overview';
  const isNew = wanted !== view;
  view = wanted;
  for (const other of VIEWS) document.getElementById(other).hidden = other !== view;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (view === 'allowlist' && isNew) showAllowlist();
  if (view === 'queue' && isNew) showQueue(false);
  if (view === 'captured') {
    if (isNew || captured.messages.length === 0) showCaptured();
    openLetter(/^[0-9A-Za-z]{13}$/.test(id || '') ? id : null);
  }
  if (isNew && !id) document.getElementById('main').focus({ preventScroll: true });
}

listForms();
// Not by its address, which names the view.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  document.getElementById('main').focus();
});
window.addEventListener('hashchange', turn);
document.addEventListener('visibilitychange', beat);
turn();
beat();
