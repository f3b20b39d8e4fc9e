// The screen that locks: when nobody has worked for as long as the laboratory allows, the page is covered until the
// password is given. It is covered, and never left: what was typed is still there.
import { goToLogin } from "./login.js";

const root = document.documentElement;
const ENDED = "Your session has ended: log in again in a new tab, then go on here. Nothing is lost.";
const NO_PASSWORD =
  "A password does not unlock this account: log in again in a new tab, then go on here. Nothing is lost.";
let deadline = Infinity;
let timer = 0;
let unlocking = null;

function wait(seconds) {
  deadline = Date.now() + seconds * 1000;
  clearTimeout(timer);
  timer = setTimeout(look, seconds * 1000 + 500);
}

const askIdle = () =>
  fetch(root.dataset.idle, { credentials: "same-origin", headers: { "X-Requested-With": "leukoscope" } });

/** Ask the server, whose clock decides: another tab may have worked. */
async function look() {
  try {
    const response = await askIdle();
    if (response.status === 401) return void locked(true); // even where the page stays, nobody may be before it
    if (!response.ok) return wait(30);
    const state = await response.json();
    if (state.seconds > 0) wait(state.seconds);
    else locked();
  } catch {
    wait(30); // the server can't be reached: nothing can be done here either
  }
}

function cover() {
  const dialog = document.createElement("dialog");
  dialog.className = "lock";
  dialog.setAttribute("aria-labelledby", "lock-title");
  dialog.innerHTML = `
    <form class="stack">
      <h2 id="lock-title">The screen is locked</h2>
      <p class="sub">Nobody has worked here for a while. Give your password to go on; nothing you typed is lost.</p>
      <div class="field"><label for="lock-password">Password of <b></b></label>
      <input type="password" id="lock-password" autocomplete="current-password" required autofocus></div>
      <p class="formerror" role="alert" hidden></p>
      <div class="row"><button class="btn primary">Unlock</button><a class="btn">Another way</a></div>
    </form>`;
  dialog.querySelector("b").textContent = root.dataset.user;
  const here = encodeURIComponent(location.pathname + location.search);
  dialog.querySelector("a").href = `${root.dataset.unlock}?next=${here}`;
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.addEventListener("click", (event) => event.stopPropagation()); // page.js closes dialogs by their backdrop
  return dialog;
}

/** Where no password helps on this page: its reader is sent to log in, or told how to where the page must stay. */
function elsewhere(dialog, sentence) {
  dialog.querySelector(".sub")?.remove();
  dialog.querySelector(".field")?.remove();
  dialog.querySelector("button").textContent = "Go on";
  const link = dialog.querySelector("a");
  link.textContent = "Log in again in a new tab";
  link.href = root.dataset.login;
  link.target = "_blank";
  link.rel = "noopener";
  goToLogin();
  return sentence;
}

/** Unlock with the password, or see whether she is back who was sent elsewhere; returns why not, if not. */
async function tryToGoOn(dialog) {
  const asked = await askIdle(); // logging in again, in another tab, has made the old token worthless
  if (asked.status === 401) return elsewhere(dialog, ENDED);
  const { username, token, seconds } = await asked.json();
  if (username !== root.dataset.username) {
    return `Another account is logged in now: this page goes on with that of ${root.dataset.user} alone.`;
  }
  const field = dialog.querySelector("input");
  if (!field) return seconds > 0 ? "" : NO_PASSWORD;
  const body = new URLSearchParams({ password: field.value, csrfmiddlewaretoken: token });
  const response = await fetch(root.dataset.unlock, {
    method: "POST",
    credentials: "same-origin",
    headers: { "X-Requested-With": "leukoscope" },
    body,
  });
  if (response.redirected || response.status === 403) return elsewhere(dialog, NO_PASSWORD);
  if (response.ok) return "";
  if (response.status === 429) return "Too many tries: wait a minute, then try again.";
  const answer = await response.json().catch(() => ({}));
  return answer.message || "That could not be checked; try again.";
}

/**
 * Cover the page; resolves when it is unlocked. However often it is asked for, there is one cover. With `ended` the
 * session is over, and no password unlocks the page.
 */
export function locked(ended = false) {
  unlocking ??= new Promise((resolve) => {
    const dialog = cover();
    document.body.append(dialog);
    document.body.classList.add("covered");
    dialog.showModal();
    const problem = dialog.querySelector("[role=alert]");
    const tell = (sentence) => {
      problem.textContent = sentence;
      problem.hidden = !sentence;
    };
    if (ended) tell(elsewhere(dialog, ENDED));
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const sentence = await tryToGoOn(dialog).catch(() => "The server can't be reached; try again.");
      tell(sentence);
      const field = dialog.querySelector("input");
      if (field) field.value = "";
      if (sentence) return (field ?? dialog.querySelector("button")).focus();
      dialog.close();
      dialog.remove();
      document.body.classList.remove("covered");
      unlocking = null;
      look();
      resolve();
    });
  });
  return unlocking;
}

if (root.dataset.idle) {
  wait(Number(root.dataset.idleMinutes) * 60);
  // A laptop that slept has missed its timer.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && Date.now() > deadline) look();
  });
  document.addEventListener("leukoscope:locked", () => locked());
}
