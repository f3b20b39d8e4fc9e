// Signing out: the conclusion is kept in this tab until it is signed, and what stands in the way follows by itself.

import { dropDraft, keepDraft } from "./drafts.js";
import { announce } from "./net.js";

const form = document.querySelector("form[data-draft]");
if (form) keepDraft(form);

// What was typed for a signed report, or to open its amendment, is recorded now.
const signed = document.querySelector("[data-signed]");
if (signed) dropDraft({ dataset: { draft: signed.dataset.signed } });

// htmx gives the focus back by id; where the very element is gone, because its image is finished or read, the heading of
// the list gets it.
const way = () => document.getElementById("way");
let held = false;
document.addEventListener("htmx:beforeSwap", () => (held = document.activeElement !== document.body));
document.addEventListener("htmx:afterSettle", () => {
  const said = way()?.dataset.said;
  if (said) {
    announce(said);
    way().dataset.said = "";
  }
  if (held && document.activeElement === document.body) document.getElementById("way-title").focus({ preventScroll: true });
});
