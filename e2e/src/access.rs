//! Pages for those who do not see them or use no mouse: what a screen reader is told of them, and whether the keyboard alone does.

use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::wait_for;

/// The keys of the WebDriver standard.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const UP: &str = "\u{e013}";

/// Roles of what somebody operates or looks at, each of which has to have a name (WCAG 2.2, 4.1.2).
const NAMED: [&str; 16] = [
    "button",
    "checkbox",
    "combobox",
    "DisclosureTriangle",
    "img",
    "image",
    "link",
    "listbox",
    "log",
    "navigation",
    "option",
    "progressbar",
    "radio",
    "searchbox",
    "spinbutton",
    "textbox",
];
/// What is focused: how a test finds it again, and what is wrong with it for somebody who sees it.
const FOCUSED: &str = "
    const at = document.activeElement;
    if (!at || at === document.body) return { is: '', wrong: 'nothing is focused' };
    const box = (at.closest('.card') || at).getBoundingClientRect();
    const style = getComputedStyle(at.closest('.card') || at);
    const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    const wrong = [];
    if (!inside) wrong.push('it is not on the screen');
    if (box.width < 2 || box.height < 2) wrong.push('it cannot be seen');
    if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2) wrong.push('nothing shows that it is focused');
    return { is: at.id || at.value || at.getAttribute('href') || at.textContent.trim(), value: at.value ?? '', wrong: wrong.join(', ') };";
/// Words that no German text has.
const ENGLISH: &str = "
    const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode.data.trim();
        if (/\\b(the|and|with|were|not|your|this|which|are|from|have|you|its|cannot)\\b/i.test(text)
            && !texts.currentNode.parentElement.closest('code, pre, script, style, textarea, noscript, [lang]:not(html)')) found.push(text);
    }
    return found;";

/// The accessibility tree of a page: a line for each control without a name.
pub fn nameless(browser: &Browser) -> Vec<String> {
    let tree = browser.devtools("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().unwrap_or_else(|| panic!("no accessibility tree: {tree}"));
    let of_role =
        |node: &&Value| node["ignored"] != true && node["role"]["value"].as_str().is_some_and(|role| NAMED.contains(&role));
    let controls: Vec<&Value> = nodes.iter().filter(of_role).collect();
    assert!(controls.len() > 5, "a page has a menu at least: {tree}");
    let is_nameless = |node: &&&Value| node["name"]["value"].as_str().is_none_or(|name| name.trim().is_empty());
    controls.iter().filter(is_nameless).map(|node| format!("a {} without a name", node["role"]["value"])).collect()
}

/// Texts of a German page that are not marked as English and yet are.
pub fn english(browser: &Browser) -> Vec<String> {
    let found = browser.script(ENGLISH);
    let texts = found.as_array().unwrap_or_else(|| panic!("no texts: {found}"));
    texts.iter().map(|text| format!("English on a German page: {text}")).collect()
}

/// Presses Tab until what is focused is `wanted` (an id, a value or an address); each that is passed must show that it is focused.
pub fn tab_to(browser: &Browser, wanted: &str) {
    let mut passed = Vec::new();
    for _ in 0..120 {
        browser.press(TAB);
        let focused = browser.script(FOCUSED);
        let is = focused["is"].as_str().unwrap_or_default().to_owned();
        assert_eq!(focused["wrong"], "", "“{is}”, after {passed:?}");
        if is == wanted || focused["value"] == wanted {
            return;
        }
        passed.push(is);
    }
    panic!("Tab does not lead to “{wanted}”: {passed:?}");
}

/// Waits until what is focused has this id or value; it is where somebody goes on after a part of the page was replaced.
pub fn focus_is(browser: &Browser, wanted: &str) {
    wait_for(&format!("the focus to be on “{wanted}”"), Duration::from_secs(30), || {
        let focused = browser.script(FOCUSED);
        (focused["is"] == wanted || focused["value"] == wanted).then_some(())
    });
}
