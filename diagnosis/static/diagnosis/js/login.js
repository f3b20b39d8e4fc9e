// The way to the log-in page and back, for a session that ended.

/**
 * Ask who holds what would be lost with this page, such as chosen files, whether it may be left for the log-in page.
 * Whoever calls preventDefault() on `leukoscope:logged-out` keeps it, and tells the reader what to do.
 */
export function mayLeave() {
  return document.dispatchEvent(new CustomEvent("leukoscope:logged-out", { cancelable: true }));
}

/** Send the reader to the log-in page, unless something would be lost, and bring her back to where she is now. */
export function goToLogin() {
  if (!mayLeave()) return;
  const login = document.documentElement.dataset.login;
  const here = location.pathname + location.search;
  location.assign(`${login}?next=${encodeURIComponent(here)}`);
}
