// The allowlist and the queue.
'use strict';

// Each search has a number: the answer to an old one is dropped.
const allowlist = { find: '', from: 0, search: 0 };
const queue = { by: 'recipient', find: '', place: '', messages: [], next: null, search: 0 };

function failed(id, error) {
  fill(id, error.message, () => el('p', { class: 'empty' }, `That cannot be shown: ${error.message}`));
}

async function showAllowlist() {
  const { find, from } = allowlist;
  allowlist.search += 1;
  const own = allowlist.search;
  try {
    const page = await ask(`api/allow?${new URLSearchParams({ find, from })}`);
    if (own === allowlist.search) fill('allow-list', page, () => drawAllowlist(page));
  } catch (error) { if (own === allowlist.search) failed('allow-list', error); }
}

function drawAllowlist(page) {
  if (page.found === 0) {
    return el('p', { class: 'empty' }, allowlist.find
      ? 'No entry is like that. An address shows the entries that hold it; if there are none, it is a stranger.'
      : 'The list is empty: nobody is admitted.');
  }
  const rows = page.entries.map((entry) => [
    el('span', { class: 'mono' }, entry.cidr),
    entry.tag ? el('span', { class: 'tag' }, entry.tag) : '–',
    entry.note || '–',
    addedBy(entry, page.users),
    entry.until ? when(entry.until) : 'stays',
    [entry.connect_rate, entry.source_rate && `${entry.source_rate} a source`].filter(Boolean).join(', ') || '–',
    number(entry.connections),
    number(entry.over_rate),
    when(entry.last_seen),
  ]);
  const last = page.from + page.entries.length;
  const turn = (to) => () => { allowlist.from = Math.max(0, to); showAllowlist(); };
  return [
    table('Entries of the allowlist', [['Network', 'fixed'], ['Tag'], ['Note'], ['Added by'], ['Ends', 'fixed'], ['Rate'],
      ['Admitted', 'num'], ['Over rate', 'num'], ['Last seen', 'fixed']], rows),
    el('div', { class: 'pager' },
      el('button', { type: 'button', id: 'allow-back', disabled: page.from === 0, onclick: turn(page.from - 100) }, 'Back'),
      el('button', { type: 'button', id: 'allow-on', disabled: last >= page.found, onclick: turn(last) }, 'On'),
      el('span', { class: 'quiet' }, `${number(page.from + 1)} to ${number(last)} of ${number(page.found)}`)),
  ];
}

function addedBy(entry, users) {
  if (entry.declared_in_line !== null) return `configuration, line ${entry.declared_in_line}`;
  const name = users[entry.added_by_uid] ?? `uid ${entry.added_by_uid}`;
  return el('span', {}, `${name}, `, when(entry.added_at));
}

async function showQueue(further) {
  const wanted = { by: queue.by, find: queue.find };
  if (queue.place) wanted.place = queue.place;
  if (!further) Object.assign(queue, { messages: [], next: null });
  queue.search += 1;
  const own = queue.search;
  const isOver = () => own !== queue.search || view !== 'queue';
  try {
    // One call looks for a tenth of a second: it may have found nothing yet.
    for (let found = 0; found === 0;) {
      const page = await ask(`api/queue?${new URLSearchParams({ ...wanted, ...queue.next })}`);
      if (isOver()) return;
      queue.messages = queue.messages.concat(page.messages);
      queue.next = page.next;
      found = page.next ? page.messages.length : 1;
      if (found > 0) fill('queue-list', [queue.messages, queue.next], drawQueue);
      else if (queue.messages.length === 0) fill('queue-list', 'looking', () => el('p', { class: 'empty' }, 'Nothing yet; still looking.'));
    }
  } catch (error) { if (!isOver()) failed('queue-list', error); }
}

const PLACES = { waiting: 'waiting', claimed: 'on its way', held: 'held', captured: 'captured', damaged: 'damaged' };

function drawQueue() {
  if (queue.messages.length === 0) return el('p', { class: 'empty' }, 'No message is like that.');
  const rows = queue.messages.map((message) => [
    el('span', { class: 'mono' }, message.id),
    message.place === 'damaged' ? badge('bad', 'damaged') : PLACES[message.place] || message.place,
    when(message.accepted_at),
    message.due_at ? when(message.due_at) : '–',
    number(message.attempts),
    bytes(message.size_bytes),
    message.sender === null ? 'cannot be read' : message.sender || '<>',
    recipients(message),
  ]);
  return [
    table('Messages, the oldest first', [['Id', 'fixed'], ['Where'], ['Taken', 'fixed'], ['Due', 'fixed'], ['Tries', 'num'],
      ['Size', 'num'], ['From'], ['To']], rows),
    el('div', { class: 'pager' },
      queue.next ? el('button', { type: 'button', id: 'queue-more', onclick: () => showQueue(true) }, 'More') : null,
      el('span', { class: 'quiet' }, `${plural(queue.messages.length, 'message')}${queue.next ? ', and there may be more' : ''}`)),
  ];
}

// Those who wait; where nobody does, or nobody knows who, the first of all.
function recipients(message) {
  const waits = message.waiting.length > 0;
  const shown = (waits ? message.waiting : message.recipients).slice(0, 3);
  const more = (waits ? message.pending : message.recipients.length) - shown.length;
  return `${shown.join(', ')}${more > 0 ? ` and ${number(more)} more` : ''}`;
}

function listForms() {
  const value = (id) => document.getElementById(id).value;
  document.getElementById('allow-form').addEventListener('submit', (event) => {
    event.preventDefault();
    Object.assign(allowlist, { find: value('allow-find'), from: 0 });
    showAllowlist();
  });
  document.getElementById('queue-form').addEventListener('submit', (event) => {
    event.preventDefault();
    Object.assign(queue, { by: value('queue-by'), find: value('queue-find'), place: value('queue-place') });
    showQueue(false);
  });
}
