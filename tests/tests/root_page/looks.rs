//! What must be true of every view for people who hear it, who use no mouse, and whose eyes are not the best.

/// Looks at the view in sight and returns what is wrong with it, a sentence each (WCAG 2.2, level AA, as far as a
/// program can tell).
pub const LOOKS: &str = r#"
const wrong = [];
const seen = (node) => node.checkVisibility({ visibilityProperty: true });
const say = (what, node) => wrong.push(`${what}: ${node.outerHTML.slice(0, 160)}`);
const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);

for (const [selector, count] of [['main', 1], ['header', 1], ['nav', 1], ['footer', 1], ['h1', 1], ['html[lang]', 1], ['a.skip', 1]]) {
  if (document.querySelectorAll(selector).length !== count) wrong.push(`${selector} is not there ${count} time`);
}
let level = 0;
for (const heading of all('h1, h2, h3, h4, h5, h6')) {
  const own = Number(heading.tagName[1]);
  if (own > level + 1) say('a level of headings is left out', heading);
  if (!heading.textContent.trim()) say('an empty heading', heading);
  level = own;
}
const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`two have the id ${id}`);
for (const node of document.querySelectorAll('[aria-labelledby], [aria-controls]')) {
  for (const name of ['aria-labelledby', 'aria-controls']) {
    for (const id of (node.getAttribute(name) || '').split(' ').filter(Boolean)) {
      if (!document.getElementById(id)) say(`${name} leads to nothing`, node);
    }
  }
}
const name = (node) => node.getAttribute('aria-label') || node.textContent.trim()
  || (node.labels && [...node.labels].map((label) => label.textContent).join('').trim())
  || (node.getAttribute('aria-labelledby') && document.getElementById(node.getAttribute('aria-labelledby')).textContent);
for (const node of all('a, button, input, select, [role=img], [role=region], [role=tab], [role=tabpanel], section, article, form')) {
  if (['INPUT', 'SELECT'].includes(node.tagName) ? !(node.labels.length && node.labels[0].textContent.trim()) : !name(node)) say('it has no name', node);
}
for (const node of all('img')) if (!node.hasAttribute('alt')) say('a picture without words', node);
for (const node of all('iframe')) if (!node.title) say('a frame without a title', node);
for (const node of all('table')) {
  if (!node.caption) say('a table without a caption', node);
  if ([...node.querySelectorAll('th')].some((th) => th.scope !== 'col')) say('a heading of a table without its scope', node);
}
for (const node of all('*')) {
  const style = getComputedStyle(node);
  const scrolls = /auto|scroll/.test(style.overflowX + style.overflowY)
    && (node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight + 1);
  const stops = node.tabIndex >= 0 || node.querySelector('a, button, input, [tabindex="0"]');
  if (scrolls && !stops && node.tagName !== 'IFRAME') say('it scrolls and no key gets there', node);
}
if (document.documentElement.scrollWidth > innerWidth) {
  wrong.push(`the page is ${document.documentElement.scrollWidth} wide on a screen of ${innerWidth}`);
  for (const node of all('*')) if (node.getBoundingClientRect().right > innerWidth + 1 && !node.closest('.scroll')) say('it is too wide', node);
}
for (const node of all('nav a, button, input, select')) {
  const box = node.getBoundingClientRect();
  if (box.height < 24 || box.width < 24) say('too small to be met', node);
}

const colour = (text) => {
  const parts = text.match(/[\d.]+/g).map(Number);
  return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
};
const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
  .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
  .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
const ground = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const { rgb, alpha } = colour(getComputedStyle(at).backgroundColor);
    if (alpha === 1) return rgb;
  }
  return [255, 255, 255];
};
const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let looked = 0;
while (words.nextNode()) {
  const node = words.currentNode.parentElement;
  if (!words.currentNode.data.trim() || !seen(node) || node.closest('.hidden, .skip, script, style, button:disabled')) continue;
  const [a, b] = [light(colour(getComputedStyle(node).color).rgb), light(ground(node))].sort((a, b) => b - a);
  const contrast = (a + 0.05) / (b + 0.05);
  looked += 1;
  if (contrast < 4.5) say(`a contrast of ${contrast.toFixed(2)}`, node);
}
if (looked < 10) wrong.push(`only ${looked} words were looked at`);
return wrong;
"#;
