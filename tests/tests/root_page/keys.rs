//! What people do with keys, selections and searches while the page changes under their hands.

use anyhow::{Result, ensure};
use tests::browser::Browser;

/// What is drawn anew has another element in its place.
const IS_DRAWN_ANEW: &str = "!document.contains(window.old)";

/// Remembers the table of refused networks as it stands now.
const REMEMBER: &str = "window.old = document.querySelector('#talkers .scroll');";

/// In the overview: who went to a table by keys and moved it sideways is there after it has changed.
pub fn focus_and_scroll_outlive_what_is_drawn_anew(
    browser: &Browser,
    change: impl Fn() -> Result<()>,
) -> Result<()> {
    let move_it = "window.old.focus(); window.old.scrollLeft = 25; return window.old.scrollLeft;";
    let moved = browser.run(&format!("{REMEMBER} {move_it}"))?;
    ensure!(moved == 25, "the table is wider than the screen: {moved}");
    change()?;
    browser.wait(IS_DRAWN_ANEW)?;
    let kept = browser.run(
        "const now = document.querySelector('#talkers .scroll'); \
         return [document.activeElement === now, now.scrollLeft];",
    )?;
    ensure!(kept == serde_json::json!([true, 25]), "focus and place: {kept}");
    Ok(())
}

/// In the overview: what is selected can be copied, the page says that it stands still, and goes on after.
pub fn a_selection_stands_still_until_it_is_given_up(
    browser: &Browser,
    change: impl Fn() -> Result<()>,
) -> Result<()> {
    browser.run(&format!(
        "{REMEMBER} window.other = document.querySelector('#reasons .scroll'); \
         getSelection().selectAllChildren(window.old.querySelector('td .mono'));"
    ))?;
    change()?;
    browser.wait("!document.contains(window.other)")?;
    browser.wait("document.querySelector('#live').innerText.includes('stands still')")?;
    let text = browser.run("return [document.contains(window.old), String(getSelection())];")?;
    ensure!(text[0] == true, "it was drawn anew: {text}");
    ensure!(text[1].as_str().is_some_and(|text| text.starts_with("192.0.2.99")), "{text}");
    browser.run("getSelection().removeAllRanges();")?;
    browser.wait(IS_DRAWN_ANEW)?;
    browser.wait("!document.querySelector('#live').innerText.includes('stands still')")
}

/// In the queue; \u{e007} is Enter.
pub fn the_skip_link_stays_in_the_view(browser: &Browser) -> Result<()> {
    browser.run("document.querySelector('.skip').focus();")?;
    browser.press('\u{e007}')?;
    browser.wait("document.activeElement.id === 'main'")?;
    let state = browser.run("return [document.querySelector('#queue').hidden, location.hash];")?;
    ensure!(state == serde_json::json!([false, "#queue"]), "{state}");
    Ok(())
}

/// Lets answers of the queue wait in `held` when they are about something `slow`, and says when one was read. What
/// follows in the page on the answer comes before what a timer does.
const SLOW: &str = "
window.real = window.fetch; window.held = []; window.wasRead = false;
window.fetch = async (path, given) => {
  const answer = await window.real(path, given);
  if (!String(path).includes('find=slow')) return answer;
  await new Promise((go) => window.held.push(go));
  const said = JSON.stringify({ messages: [], next: null });
  return { ok: true, json: async () => { setTimeout(() => { window.wasRead = true; }); return JSON.parse(said); } };
};";

/// In the queue, where a message to a customer is.
pub fn the_answer_to_an_old_search_is_dropped(browser: &Browser) -> Result<()> {
    const EMPTY: &str = "document.querySelector('#queue-find').value = '';";
    browser.type_into("#queue-find", "nobody\u{e007}")?;
    browser.wait("document.querySelector('#queue-list').innerText.includes('No message')")?;
    browser.run(&format!("{EMPTY} {SLOW}"))?;
    browser.type_into("#queue-find", "slow\u{e007}")?;
    browser.wait("window.held.length === 1")?;
    browser.run(EMPTY)?;
    browser.type_into("#queue-find", "customer\u{e007}")?;
    browser.wait("document.querySelector('#queue-list').innerText.includes('1 message')")?;
    browser.run("window.held[0]();")?;
    browser.wait("window.wasRead")?;
    let list = browser.run("return document.querySelector('#queue-list').innerText;")?;
    ensure!(list.as_str().is_some_and(|list| list.contains("1 message")), "{list}");
    browser.run("window.fetch = window.real;").map(drop)
}

/// Answers each question about the queue with nothing yet, and counts them.
const ENDLESS: &str = "
window.real = window.fetch; window.asked = 0; window.beats = 0;
window.fetch = async (path, given) => {
  if (String(path).includes('api/state')) window.beats += 1;
  if (!String(path).includes('api/queue')) return window.real(path, given);
  window.asked += 1;
  await new Promise((go) => setTimeout(go, 20));
  return { ok: true, json: async () => ({ messages: [], next: { after: 'x' } }) };
};";

/// From the queue; the beats of the page are the clock.
pub fn a_search_ends_when_its_view_is_left(browser: &Browser) -> Result<()> {
    browser.run(ENDLESS)?;
    browser.type_into("#queue-find", "\u{e007}")?;
    browser.wait("window.asked > 5")?;
    browser.wait("document.querySelector('#queue-list').innerText.includes('still looking')")?;
    browser.click("nav a[href='#overview']")?;
    browser.run("window.beats = 0;")?;
    browser.wait("window.beats >= 1")?;
    let then = browser.run("return window.asked;")?;
    browser.run("window.beats = 0;")?;
    browser.wait("window.beats >= 2")?;
    let now = browser.run("return window.asked;")?;
    ensure!(then == now, "it goes on asking: {then}, then {now}");
    browser.run("window.fetch = window.real;").map(drop)
}

/// Anywhere.
pub fn who_has_to_wait_asks_again_afterwards(browser: &Browser) -> Result<()> {
    browser.run(
        "window.real = window.fetch; window.fetch = async () => { window.fetch = window.real; \
         return new Response('{\"error\": \"not now\"}', { status: 429, headers: { 'retry-after': '2' } }); };",
    )?;
    browser.wait("document.querySelector('#live').innerText === 'not now; asking again in 2 s'")?;
    browser.wait("document.querySelector('#live').innerText.startsWith('live')")
}
