// What every page does: dialogs, and no polling while nobody looks.

import { mayLeave } from "./login.js";

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    event.preventDefault();
    document.getElementById(opener.dataset.opens)?.showModal();
  }
  const closer = event.target.closest("[data-closes]");
  if (closer) closer.closest("dialog")?.close();
  // A click on the backdrop reaches the dialog element itself.
  if (event.target instanceof HTMLDialogElement) event.target.close();
});

// A tab in the background asks nothing; when it comes back it asks at once.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.target.closest?.("[data-live]")) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !window.htmx) return;
  for (const element of document.querySelectorAll("[data-live][data-unfinished]")) window.htmx.trigger(element, "refresh");
});

// A poll that got no answer says so beside what it can't bring up to date; the next answer takes that back.
document.addEventListener("htmx:sendError", (event) => {
  const live = event.target.closest?.("[data-live]");
  if (live) live.dataset.offline = "";
});
document.addEventListener("htmx:beforeOnLoad", (event) => {
  const live = event.target.closest?.("[data-live]");
  if (live) delete live.dataset.offline;
});

// A poll that finds the session ended would leave for the log-in page, whatever is on this one.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  const { xhr } = event.detail;
  if (xhr.status === 401 && xhr.getResponseHeader("HX-Redirect") && !mayLeave()) event.preventDefault();
});
