// The worklist: keys that go from case to case, take and give them; what htmx brings is said, and focus stays.

import { bindKeys } from "./keys.js";
import { UNREACHABLE, announce } from "./net.js";

const list = () => document.getElementById("cases");
const links = () => [...list().querySelectorAll("th[scope=row] a")];
const give = document.getElementById("give");
let current = null; // the id of the row that keys act on

/** The row that holds the focus, else the one that held it last. */
function row() {
  const focused = document.activeElement?.closest?.("#cases tr[id]");
  const found = focused ?? (current && document.getElementById(current));
  current = found?.id ?? null;
  return found;
}

function step(by) {
  const all = links();
  const at = all.findIndex((link) => link.closest("tr") === row());
  const next = at < 0 ? all[by > 0 ? 0 : all.length - 1] : all[at + by];
  if (!next) return announce(by > 0 ? "This is the last case of the page." : "This is the first case of the page.");
  next.focus();
  current = next.closest("tr").id;
  next.scrollIntoView({ block: "nearest" });
}

/** Press the button of the current row whose id begins with `kind`; false where there is none. */
function press(kind) {
  const button = row()?.querySelector(`button[id^="${kind}-"]`);
  if (!button) return false;
  button.click();
}

document.addEventListener("focusin", () => row());

// --- giving a case to a colleague -----------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-gives]");
  if (!button || !give) return;
  const source = button.closest("form");
  const form = give.querySelector("form");
  form.action = source.action;
  give.querySelector("[data-case]").textContent = button.dataset.gives;
  for (const name of ["expected", "query", "next"]) form.elements.namedItem(name).value = source.elements.namedItem(name).value;
  give.showModal();
});

give?.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  const values = Object.fromEntries(new FormData(form));
  give.close();
  window.htmx.ajax("POST", form.action, { target: "#cases", swap: "outerHTML", values });
});

// --- what the server answers ----------------------------------------------------------------------------------

function complain(sentence) {
  const place = document.getElementById("problem");
  place.textContent = sentence;
  place.hidden = !sentence;
  if (sentence) announce(sentence);
}

const isDeed = (event) => event.detail.requestConfig?.verb === "post";

document.addEventListener("htmx:beforeRequest", (event) => isDeed(event) && complain(""));
document.addEventListener("htmx:sendError", (event) => isDeed(event) && complain(UNREACHABLE));
document.addEventListener("htmx:responseError", (event) => {
  if (!isDeed(event) || event.detail.xhr.status === 401) return;
  let said = null;
  try {
    said = JSON.parse(event.detail.xhr.responseText).message;
  } catch {
    // no answer of ours
  }
  complain(said ?? "The server could not do this. Reload the page and try again.");
});

// htmx gives the focus back by id; where the very element is gone, its row keeps it.
let focused = null;
document.addEventListener("htmx:beforeSwap", () => {
  focused = list().contains(document.activeElement) ? document.activeElement.closest("tr")?.id : null;
});
document.addEventListener("htmx:afterSettle", () => {
  const said = list().dataset.said;
  if (said) announce(said);
  list().dataset.said = "";
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.querySelector("a").focus({ preventScroll: true });
});

bindKeys({
  j: () => step(1), ArrowDown: () => step(1),
  k: () => step(-1), ArrowUp: () => step(-1),
  t: () => press("take"),
  g: () => press("give"),
  "?": () => document.getElementById("keys").showModal(),
});
