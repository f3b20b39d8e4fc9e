// How our scripts talk to the server: one fetch that says it is a script, and one answer to a session that ended.

import { locked } from "./lock.js";
import { goToLogin } from "./login.js";

/** Raised when the session has ended; the browser is on its way to the log-in page, or the page says why it is not. */
export class LoggedOut extends Error {}

/** A sentence for every way a request can fail without an answer of ours. */
export const UNREACHABLE = "The server can't be reached; nothing was lost. Check the network and try again.";

/**
 * fetch() with the header that makes our views answer with a fragment instead of a page.
 * Rejects with LoggedOut when the session has ended; any other status is the caller's to read.
 */
export async function request(url, options = {}) {
  const response = await fetch(url, {
    credentials: "same-origin",
    ...options,
    headers: { "X-Requested-With": "leukoscope", ...options.headers },
  });
  if (response.status === 401) {
    const answer = await response.json().catch(() => ({}));
    if (answer.locked) {
      await locked();
      return request(url, options); // what was asked before the screen locked is asked again
    }
    goToLogin();
    throw new LoggedOut("The session has ended.");
  }
  return response;
}

/**
 * Take the form's token from the page anew: logging in again, in another tab, has made the old one worthless.
 * Quietly keeps the old one when the server can't be reached.
 */
export async function refreshToken(form) {
  try {
    const page = await (await fetch(location.href, { credentials: "same-origin" })).text();
    const fresh = new DOMParser().parseFromString(page, "text/html").querySelector("main [name=csrfmiddlewaretoken]");
    if (fresh) form.elements.namedItem("csrfmiddlewaretoken").value = fresh.value;
  } catch {
    // the request that follows meets the same trouble, and says so
  }
}

/** Parse a fragment of ours into its first element. */
export function parseFragment(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}

/** Tell screen readers one sentence, through the page's polite live region. */
export function announce(sentence) {
  const region = document.getElementById("announce");
  if (region) region.textContent = sentence;
}
