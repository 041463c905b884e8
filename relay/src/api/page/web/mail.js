// Captured mail. A message is somebody else's text: what the server made harmless is shown in a frame
// without rights, everything else as plain text.
'use strict';

const captured = { messages: [], hasMore: false, open: null, letter: null, tab: null };
const SOURCE_SHOWN = 256 * 1024;

async function showCaptured() {
  try {
    const page = await ask('api/captured');
    const known = new Set(page.messages.map((message) => message.id));
    const oldest = page.messages.at(-1)?.id ?? '';
    const older = captured.messages.filter((message) => page.has_more && message.id < oldest && !known.has(message.id));
    const all = page.messages.concat(older);
    captured.hasMore = older.length > 0 ? captured.hasMore : page.has_more;
    captured.messages = all;
    drawCaptured();
  } catch (error) { failed('captured-list', error); }
}

async function showOlder() {
  try {
    const page = await ask(`api/captured?before=${captured.messages.at(-1).id}`);
    // Whoever asks twice at once is answered twice.
    const known = new Set(captured.messages.map((message) => message.id));
    captured.messages = captured.messages.concat(page.messages.filter((message) => !known.has(message.id)));
    captured.hasMore = page.has_more;
    drawCaptured();
  } catch (error) { failed('captured-list', error); }
}

function drawCaptured() {
  // The minute is part of the key, so that "2 min ago" stays true.
  fill('captured-list', [captured.messages, captured.open, captured.hasMore, Math.floor(Date.now() / 30000)], () => {
    if (captured.messages.length === 0) {
      return el('p', { class: 'empty' }, 'Nothing is captured. A policy or a route with ', el('code', {}, 'capture = true'), ' keeps mail here instead of sending it.');
    }
    const line = (message) => el('li', {},
      el('a', { href: `#captured/${message.id}`, id: `mail-${message.id}`, 'aria-current': message.id === captured.open ? 'true' : null },
        el('strong', {}, message.subject || '(no subject)'),
        el('span', { class: 'row' }, el('span', {}, `to ${message.recipients[0] || '–'}${message.recipients.length > 1 ? ` and ${message.recipients.length - 1} more` : ''}`), el('span', {}, when(message.accepted_at)))));
    return [
      el('ul', { 'aria-label': 'Captured messages, the newest first' }, captured.messages.map(line)),
      captured.hasMore ? el('div', { class: 'pager' }, el('button', { type: 'button', id: 'captured-older', onclick: showOlder }, 'Older')) : null,
    ].filter(Boolean);
  });
}

async function openLetter(id) {
  if (captured.open === id) return;
  captured.open = id;
  drawCaptured();
  const place = document.getElementById('letter');
  if (!id) {
    place.removeAttribute('aria-busy');
    place.replaceChildren(el('p', { class: 'quiet' }, 'Choose a message.'));
    return;
  }
  place.setAttribute('aria-busy', 'true');
  try {
    const said = await ask(`api/captured/${id}`);
    if (captured.open !== id) return;
    drawLetter(place, id, said);
  } catch (error) {
    if (captured.open !== id) return;
    place.replaceChildren(el('p', { class: 'empty' }, `That cannot be shown: ${error.message}`));
  }
  place.removeAttribute('aria-busy');
  place.focus({ preventScroll: window.innerWidth > 860 });
}

function drawLetter(place, id, { summary, envelope, letter }) {
  const recipients = envelope.recipients.slice(0, 20).join(', ') + (envelope.recipients.length > 20 ? ` and ${envelope.recipients.length - 20} more` : '');
  const told = letter || {};
  const tabs = [];
  if (told.has_html) tabs.push(['html', 'HTML', () => htmlPanel(id)]);
  if (told.text !== undefined && told.text !== null) tabs.push(['text', 'Text', () => textPanel(told)]);
  if (letter) tabs.push(['fields', 'Header', () => fieldsPanel(told)]);
  if (letter && told.links.length > 0) tabs.push(['links', `Links (${told.links.length})`, () => linksPanel(told)]);
  if (letter && told.parts.length > 0) tabs.push(['parts', `Attachments (${told.parts.length})`, () => partsPanel(id, told)]);
  tabs.push(['source', 'Source', () => sourcePanel(id)]);
  place.replaceChildren(
    el('h3', {}, told.subject || '(no subject)'),
    facts([
      ['From', told.from], ['To', told.to], ['Cc', told.cc], ['Date', told.date],
      ['Envelope', `${summary.sender ? `<${summary.sender}>` : '<>'} to ${recipients}`],
      ['Came', el('span', {}, when(summary.accepted_at), ` from ${envelope.source || 'this relay'}`, envelope.login ? `, login ${envelope.login}` : '', envelope.tag ? `, tag ${envelope.tag}` : '')],
      ['Message', `${summary.id}, ${bytes(summary.size_bytes)}`],
      ['', letter ? null : 'It is too large, or has too many parts, to be taken apart here.'],
    ]),
    ...tablist(tabs));
}

/** Tabs as WAI-ARIA describes them: one stop, arrows between them. */
function tablist(tabs) {
  const panel = el('div', { class: 'panel', role: 'tabpanel', id: 'panel', tabindex: '0', 'aria-labelledby': '' });
  const buttons = tabs.map(([name, words]) => el('button', { type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': 'panel' }, words));
  const choose = (at, focus) => {
    buttons.forEach((button, index) => {
      button.setAttribute('aria-selected', String(index === at));
      button.tabIndex = index === at ? 0 : -1;
    });
    panel.setAttribute('aria-labelledby', buttons[at].id);
    panel.replaceChildren(...tabs[at][2]());
    captured.tab = tabs[at][0];
    if (focus) buttons[at].focus();
  };
  buttons.forEach((button, at) => {
    button.addEventListener('click', () => choose(at, false));
    button.addEventListener('keydown', (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose((to + buttons.length) % buttons.length, true);
    });
  });
  choose(Math.max(0, tabs.findIndex(([name]) => name === captured.tab)), false);
  return [el('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Ways to see the message' }, buttons), panel];
}

function htmlPanel(id) {
  return [
    el('p', { class: 'note' }, 'Shown without scripts, forms and anything from elsewhere; its links lead nowhere.'),
    el('iframe', { src: `api/captured/${id}/html`, sandbox: '', referrerpolicy: 'no-referrer', title: 'The HTML of the message' }),
  ];
}

function textPanel(letter) {
  const notes = [letter.text_of_html && 'Made of the HTML: the message has no text of its own.', letter.text_is_cut && 'Only the beginning: the source has all of it.'];
  return [
    ...notes.filter(Boolean).map((note) => el('p', { class: 'note' }, note)),
    el('pre', { tabindex: '0', 'aria-label': 'Text' }, letter.text),
  ];
}

function fieldsPanel(letter) {
  return [table('Header fields', [['Field', 'fixed'], ['Value']], letter.fields.map(([name, value]) => [name, el('span', { class: 'mono' }, value)]))];
}

function linksPanel(letter) {
  return [
    el('p', { class: 'note' }, 'Where the links of the HTML lead. They are not followed from here: copy one if you trust it.'),
    el('ul', { class: 'links mono' }, letter.links.map((link) => el('li', {}, link))),
  ];
}

function partsPanel(id, letter) {
  const rows = letter.parts.map((part) => [
    el('a', { href: `api/captured/${id}/part/${part.number}`, download: part.name }, part.name), part.kind || '–', bytes(part.size_bytes)]);
  return [
    el('p', { class: 'note' }, 'They are saved, never opened here. Their names and types are their sender’s word.'),
    table('Attachments', [['Name'], ['Type'], ['Size', 'num']], rows),
  ];
}

function sourcePanel(id) {
  const path = `api/captured/${id}/source`;
  const text = el('pre', { class: 'mono', tabindex: '0', 'aria-label': 'Source' }, '…');
  const note = el('p', { class: 'note' }, el('a', { href: path, download: `${id}.eml` }, 'Save it'), ' as it was taken, octet by octet.');
  start(path).then(([source, isCut]) => {
    text.textContent = source;
    if (isCut) note.append(' Below is only its beginning.');
  }, (error) => { text.textContent = error.message; });
  return [note, text];
}

/** Reads the start of a source and leaves the rest where it is. */
async function start(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`the relay answered ${answer.status}`);
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let source = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return [source + decoder.decode(), false];
    source += decoder.decode(value, { stream: true });
    if (source.length > SOURCE_SHOWN) {
      reader.cancel();
      return [source.slice(0, SOURCE_SHOWN), true];
    }
  }
}
