// Comments being typed, kept in this tab until they are recorded: an ended session or a failed request loses none.

const PREFIX = "leukoscope.draft.";

const keyOf = (form) => PREFIX + form.dataset.draft;
const fieldOf = (form) => form.dataset.draftField ?? "comment";

function store(action) {
  try {
    return action(sessionStorage);
  } catch {
    return null; // storage is full or forbidden: typing goes on, unkept
  }
}

/**
 * Put back what was typed into `form` (marked data-draft="<id>") and keep what is typed from now on. Its text is in the
 * field data-draft-field, else in "comment"; with data-draft-over it stands above what the server put there.
 */
export function keepDraft(form) {
  const kept = store((s) => JSON.parse(s.getItem(keyOf(form)) ?? "null"));
  if (kept) {
    const comment = form.elements.namedItem(fieldOf(form));
    if (comment && (!comment.value || (kept.comment && "draftOver" in form.dataset))) {
      comment.value = kept.comment ?? "";
      if (comment.value) form.closest("details")?.setAttribute("open", "");
    }
    const radios = [...form.querySelectorAll("input[name=label]")];
    if (radios.some((radio) => radio.value === kept.label)) {
      for (const radio of radios) radio.checked = radio.value === kept.label;
      form.querySelector("details")?.setAttribute("open", "");
    }
  }
  form.addEventListener("input", () => {
    const data = new FormData(form);
    const draft = { comment: data.get(fieldOf(form)) ?? "", label: data.get("label") ?? "" };
    store((s) => (draft.comment || draft.label ? s.setItem(keyOf(form), JSON.stringify(draft)) : s.removeItem(keyOf(form))));
  });
}

/** Forget the class that was chosen in `form`, for it was recorded, and keep the comment for the review after it. */
export function dropLabel(form) {
  const comment = form.elements.namedItem("comment")?.value ?? "";
  if (!comment) return dropDraft(form);
  store((s) => s.setItem(keyOf(form), JSON.stringify({ comment, label: "" })));
}

/** Forget the draft of `form`: it was recorded. */
export function dropDraft(form) {
  store((s) => s.removeItem(keyOf(form)));
}
