// Signing out: the conclusion is kept in this tab until it is signed.

import { dropDraft, keepDraft } from "./drafts.js";

const form = document.querySelector("form[data-draft]");
if (form) keepDraft(form);

// The page of a signed report: what was typed for it is recorded now.
const signed = document.querySelector("[data-signed]");
if (signed) dropDraft({ dataset: { draft: signed.dataset.signed } });
