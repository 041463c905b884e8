// The allowlist and the queue.
'use strict';

const allowlist = { find: '', from: 0 };
const queue = { by: 'recipient', find: '', place: '', messages: [], next: null };

function failed(id, error) {
  fill(id, error.message, () => el('p', { class: 'empty' }, `That cannot be shown: ${error.message}`));
}

async function showAllowlist() {
  const { find, from } = allowlist;
  try {
    const page = await ask(`api/allow?${new URLSearchParams({ find, from })}`);
    fill('allow-list', page, () => drawAllowlist(page));
  } catch (error) { failed('allow-list', error); }
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
  if (further && queue.next) Object.assign(wanted, queue.next);
  try {
    const page = await ask(`api/queue?${new URLSearchParams(wanted)}`);
    queue.messages = further ? queue.messages.concat(page.messages) : page.messages;
    queue.next = page.next;
    // One call looks for a tenth of a second: it may have found nothing yet.
    if (page.messages.length === 0 && page.next) { await showQueue(true); return; }
    fill('queue-list', [queue.messages, queue.next], drawQueue);
  } catch (error) { failed('queue-list', error); }
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

function recipients(message) {
  const open = message.pending > message.recipients.length ? ` and more; ${number(message.pending)} open` : '';
  return `${message.recipients.slice(0, 3).join(', ')}${message.recipients.length > 3 ? ` and ${message.recipients.length - 3} more` : open}`;
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
    Object.assign(queue, { by: value('queue-by'), find: value('queue-find'), place: value('queue-place'), next: null });
    showQueue(false);
  });
}
