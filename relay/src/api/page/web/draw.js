// What everything on the page is drawn with. Text is only ever set as text, never as markup.
'use strict';

const SVG = 'http://www.w3.org/2000/svg';

/** Makes an element; `given` are attributes, `false` and `null` leave one out. */
function el(name, given, ...children) {
  const made = ['svg', 'path', 'line'].includes(name)
    ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(given || {})) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** Fills a place anew if what it shows has changed. What stands there again keeps the focus, and how far it was
 *  scrolled. */
const shown = new Map();
function fill(id, key, draw) {
  const text = JSON.stringify(key);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  const place = document.getElementById(id);
  const focused = place.contains(document.activeElement) ? document.activeElement.id : '';
  const scrolled = [...place.querySelectorAll('.scroll')].map((region) => [region.id, region.scrollLeft]);
  place.replaceChildren(...[draw()].flat(Infinity));
  for (const [region, left] of scrolled) document.getElementById(region)?.scrollTo({ left, behavior: 'instant' });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** As `fill`, for what changes by itself: a place stands still while somebody selects its text, to copy it. */
const still = new Set();
function refill(id, key, draw) {
  const selection = document.getSelection();
  const isSelected = !selection.isCollapsed && selection.rangeCount > 0
    && document.getElementById(id).contains(selection.getRangeAt(0).commonAncestorContainer);
  if (isSelected) { still.add(id); return; }
  still.delete(id);
  fill(id, key, draw);
}

const whole = new Intl.NumberFormat('en-GB');
const number = (count) => whole.format(count);
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? '' : 's'}`;

function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A stretch of time in the largest unit that fits. */
function span(seconds) {
  const steps = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const [length, unit] = steps.find(([length]) => seconds >= length * (length === 1 ? 0 : 2)) || steps[3];
  return `${Math.max(0, Math.floor(seconds / length))} ${unit}`;
}

/** A moment as a person says it, with the moment itself to be looked at. */
function when(text, now) {
  if (!text) return '–';
  const apart = ((now || Date.now()) - Date.parse(text)) / 1000;
  const words = apart >= 0 ? `${span(apart)} ago` : `in ${span(-apart)}`;
  return el('time', { datetime: text, title: text.replace('T', ' ').replace(/\.\d+Z$/, 'Z') }, words);
}

/** A word with a mark of its own shape: colour alone tells nothing. */
const badge = (kind, words) => el('span', { class: `badge ${kind}` }, words);

/** Names and values. */
function facts(pairs) {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return el('dl', { class: 'facts' }, rows.map(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
}

/** A table; a column is its heading and the class of its cells. Its caption is its own on the page. */
function table(caption, columns, rows) {
  const id = `table-${caption.toLowerCase().replaceAll(/[^a-z]+/g, '-')}`;
  const cell = (name, value, kind) => el(name, { class: kind || null, scope: name === 'th' ? 'col' : null }, value);
  return el('div', { id, class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    el('table', {},
      el('caption', { class: 'hidden' }, caption),
      el('thead', {}, el('tr', {}, columns.map(([heading, kind]) => cell('th', heading, kind)))),
      el('tbody', {}, rows.map((row) => el('tr', {}, row.map((value, at) => cell('td', value, columns[at][1])))))));
}

/** A line of numbers of which the last is now; `null` is a gap. */
function sparkline(values, length, label, kind) {
  const most = Math.max(1, ...values.map((value) => value ?? 0));
  const x = (at) => length - values.length + at;
  const y = (value) => 39 - (value / most) * 37;
  let line = '';
  let area = '';
  let open = null;
  values.forEach((value, at) => {
    if (value === null) {
      if (open !== null) area += `L${x(at - 1)} 39Z`;
      open = null;
      return;
    }
    const point = `${x(at)} ${y(value).toFixed(2)}`;
    line += `${open === null ? 'M' : 'L'}${point}`;
    area += open === null ? `M${x(at)} 39L${point}` : `L${point}`;
    open = at;
  });
  if (open !== null) area += `L${x(values.length - 1)} 39Z`;
  return el('svg', { class: `spark ${kind}`, viewBox: `0 0 ${length - 1} 40`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    el('line', { class: 'base', x1: 0, x2: length - 1, y1: 39.5, y2: 39.5 }),
    area ? el('path', { class: 'area', d: area }) : null,
    line ? el('path', { class: 'line', d: line }) : null);
}

/** Asks the relay; an error is its own sentence. */
async function ask(path) {
  const answer = await fetch(path, { headers: { accept: 'application/json' } });
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const error = new Error(said.error || `the relay answered ${answer.status}`);
  error.status = answer.status;
  error.wait = Number(answer.headers.get('retry-after')) || 0;
  throw error;
}
