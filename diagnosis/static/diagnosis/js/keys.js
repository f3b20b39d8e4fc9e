// Keyboard shortcuts: one listener, silent while somebody types, and switched off for those who don't want them.

const SWITCH = "leukoscope.shortcuts";

/** Whether single-key shortcuts are on (they can be switched off in the list of keys: WCAG 2.1.4). */
export function shortcutsOn() {
  try {
    return localStorage.getItem(SWITCH) !== "off";
  } catch {
    return true;
  }
}

function typing(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.matches("textarea, select")) return true;
  return target.matches("input:not([type=range], [type=radio], [type=checkbox], [type=button], [type=submit])");
}

/** Keys that a focused control uses for itself. */
function controlNeeds(target, key) {
  if (!(target instanceof HTMLElement)) return false;
  return key.startsWith("Arrow") && target.matches("input[type=range], input[type=radio]");
}

/**
 * Bind keys to functions. `bindings` maps `event.key` (letters in lower case) to a function; a function that
 * returns false leaves the key to the browser.
 */
export function bindKeys(bindings) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.repeat && !event.key.startsWith("Arrow") && !"jk".includes(event.key)) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (typing(event.target) || document.querySelector("dialog[open]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (controlNeeds(event.target, key)) return;
    const action = bindings[key];
    if (!action || (!shortcutsOn() && event.key !== "?")) return;
    if (action() !== false) event.preventDefault();
  });
  const box = document.getElementById("shortcuts-switch");
  if (!box) return;
  box.checked = shortcutsOn();
  box.addEventListener("change", () => {
    try {
      localStorage.setItem(SWITCH, box.checked ? "on" : "off");
    } catch {
      // Without storage the choice lasts until the page is left; the listener below still honours the box.
    }
  });
}
