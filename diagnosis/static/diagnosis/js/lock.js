// The screen that locks: when nobody has worked for as long as the laboratory allows, the page is covered until the
// password is given. It is covered, and never left: what was typed is still there.
import { goToLogin } from "./login.js";

const root = document.documentElement;
const SESSION_ENDED = "Your session has ended: log in again in a new tab, then unlock here. Nothing is lost.";
let deadline = Infinity;
let timer = 0;
let token = "";
let unlocking = null;

function wait(seconds) {
  deadline = Date.now() + seconds * 1000;
  clearTimeout(timer);
  timer = setTimeout(look, seconds * 1000 + 500);
}

/** Ask the server, whose clock decides: another tab may have worked. */
async function look() {
  try {
    const response = await fetch(root.dataset.idle, {
      credentials: "same-origin",
      headers: { "X-Requested-With": "leukoscope" },
    });
    if (response.status === 401) return goToLogin();
    if (!response.ok) return wait(30);
    const state = await response.json();
    token = state.token;
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

async function tryPassword(password) {
  const body = new URLSearchParams({ password, csrfmiddlewaretoken: token });
  const response = await fetch(root.dataset.unlock, {
    method: "POST",
    credentials: "same-origin",
    headers: { "X-Requested-With": "leukoscope" },
    body,
  });
  if (response.redirected || response.status === 401) {
    goToLogin(); // the session has ended, or has no password
    token = "";
    return SESSION_ENDED; // read where the page must stay, and stays covered
  }
  if (response.ok) return "";
  if (response.status === 429) return "Too many tries: wait a minute, then try again.";
  const answer = await response.json().catch(() => ({}));
  return answer.message || "That could not be checked; try again.";
}

/** Cover the page; resolves when it is unlocked. However often it is asked for, there is one cover. */
export function locked() {
  unlocking ??= new Promise((resolve) => {
    const dialog = cover();
    document.body.append(dialog);
    document.body.classList.add("covered");
    dialog.showModal();
    const problem = dialog.querySelector("[role=alert]");
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const field = dialog.querySelector("input");
      if (!token) await fresh();
      const sentence = await tryPassword(field.value).catch(() => "The server can't be reached; try again.");
      problem.textContent = sentence;
      problem.hidden = !sentence;
      field.value = "";
      if (sentence) return field.focus();
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

async function fresh() {
  const response = await fetch(root.dataset.idle, {
    credentials: "same-origin",
    headers: { "X-Requested-With": "leukoscope" },
  });
  if (response.ok) token = (await response.json()).token;
}

if (root.dataset.idle) {
  wait(Number(root.dataset.idleMinutes) * 60);
  // A laptop that slept has missed its timer.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && Date.now() > deadline) look();
  });
  document.addEventListener("leukoscope:locked", () => locked());
}
