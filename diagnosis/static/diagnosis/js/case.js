// The case page: which image is selected, its reading panel, its place in the address, and the keys.

import { Clocks } from "./clock.js";
import { dropDraft, dropLabel, keepDraft } from "./drafts.js";
import { bindKeys } from "./keys.js";
import { LoggedOut, UNREACHABLE, announce, parseFragment, request } from "./net.js";
import { Several } from "./several.js";
import { Stage } from "./stage.js";
import { UploadList, acceptFiles } from "./upload.js";

const strip = document.getElementById("strip");
const panel = () => document.getElementById("panel");
const live = () => document.getElementById("live");
const frames = () => [...strip.querySelectorAll("a.frame")];
const frameOf = (id) => strip.querySelector(`a.frame[data-image="${CSS.escape(id)}"]`);
const refreshLive = () => window.htmx.trigger(live(), "refresh");

// The browser's sign for a broken picture says less than the words below it.
const mark = (picture, isLost) => picture.matches("img") && picture.classList.toggle("lost", isLost);
strip.addEventListener("error", (event) => mark(event.target, true), true);
strip.addEventListener("load", (event) => mark(event.target, false), true);
for (const picture of strip.querySelectorAll("img")) mark(picture, picture.complete && !picture.naturalWidth);

const stage = new Stage(document.getElementById("stage"));
const caseTitle = document.title;
let selected = panel().dataset.image;
const clocks = new Clocks();
let loading = null;

// --- selecting an image ---------------------------------------------------------------------------------------

/** Show the frame as selected: in the strip, in the viewer and in the title. */
function showFrame(frame) {
  for (const other of frames()) {
    if (other === frame) other.setAttribute("aria-current", "true");
    else other.removeAttribute("aria-current");
  }
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  frame.scrollIntoView({ block: "nearest", inline: "nearest", behavior: still ? "auto" : "smooth" });
  document.title = `${frame.dataset.number} · ${caseTitle}`;
}

async function select(frame, { push = true } = {}) {
  if (!frame) return;
  selected = frame.dataset.image;
  showFrame(frame);
  if (push) history.pushState(null, "", frame.href);
  stage.show({ id: selected, file: frame.dataset.file, name: frame.dataset.name, cells: frame.dataset.cells });
  await loadPanel();
}

function step(by) {
  const all = frames();
  const at = all.findIndex((frame) => frame.dataset.image === selected);
  const next = all[at + by];
  if (!next) return announce(by > 0 ? "This is the last image." : "This is the first image.");
  select(next);
}

/** Fetch the panel of the selected image; a later selection overtakes an earlier one. */
async function loadPanel() {
  loading?.abort();
  const mine = (loading = new AbortController());
  const busy = setTimeout(() => panel().setAttribute("aria-busy", "true"), 150);
  try {
    const response = await request(frameOf(selected).href, { signal: mine.signal });
    if (!response.ok) throw new Error(String(response.status));
    const html = await response.text();
    if (!mine.signal.aborted) replacePanel(html);
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof LoggedOut)) complain(UNREACHABLE);
  } finally {
    clearTimeout(busy);
    if (mine === loading) panel().removeAttribute("aria-busy");
  }
}

function replacePanel(html) {
  const before = panel();
  const focused = before.contains(document.activeElement);
  const scrolled = before.dataset.image === selected ? before.scrollTop : 0;
  before.replaceWith(parseFragment(html));
  const now = panel();
  now.scrollTop = scrolled;
  if (focused) now.focus({ preventScroll: true });
  readPanel();
  prefetchNext();
}

/** What a panel brings: its drafts are restored, and the viewer learns of the overlays. */
function readPanel() {
  const now = panel();
  for (const form of now.querySelectorAll("form[data-draft]")) keepDraft(form);
  const { image: id, file, name, processed, overlays, revision, cells = "" } = now.dataset;
  const clock = now.querySelector("form[data-clock]")?.dataset.clock;
  clocks.start(clock ? `${clock} ${id} ${revision}` : "");
  const reserved = "reserved" in now.dataset;
  if (id) stage.show({ id, file, name, cells, revision, processed, overlays: JSON.parse(overlays || "{}"), reserved });
}

/** The next picture is most likely the next one asked for. */
function prefetchNext() {
  const all = frames();
  const next = all[all.findIndex((frame) => frame.dataset.image === selected) + 1];
  if (next) new Image().src = next.dataset.file;
}

/** Say what went wrong, in the form it went wrong in. */
function complain(sentence, form = null) {
  const place = (form ?? panel().querySelector("form.decide"))?.querySelector(".formerror") ?? document.getElementById("problem");
  place.textContent = sentence;
  place.hidden = false;
  announce(sentence);
}

strip.addEventListener("click", (event) => {
  const frame = event.target.closest("a.frame");
  if (!frame || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  select(frame);
});

addEventListener("popstate", () => {
  const wanted = new URLSearchParams(location.search).get("image");
  const frame = wanted ? frameOf(wanted) : frames()[0];
  if (frame && frame.dataset.image !== selected) select(frame, { push: false });
});

// --- what the live fragment brings ----------------------------------------------------------------------------

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id !== "live") return;
  if (!selected && frames().length) {
    document.body.classList.remove("without-images");
    select(frames()[0], { push: false });
    return;
  }
  const revision = frameOf(selected)?.querySelector("[data-revision]")?.dataset.revision;
  if (revision && revision !== panel().dataset.revision) loadPanel();
  const said = live().dataset.said;
  if (said) announce(said);
});

// --- reading: her own class, agree, overrule, cannot tell, take back, try again ----------------------------------------------------------------------

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("#panel form")) return;
  event.preventDefault();
  const buttons = form.querySelectorAll("button");
  const seconds = form.elements.namedItem("seconds");
  if (seconds) seconds.value = clocks.seconds.toFixed(1);
  const body = new FormData(form, event.submitter);
  buttons.forEach((button) => (button.disabled = true));
  try {
    const response = await request(form.action, { method: "POST", body });
    if (response.status !== 200 && response.status !== 422) {
      const said = await response.json().catch(() => null);
      return complain(said?.message ?? "The server could not record this; what you typed is kept. Try again.", form);
    }
    if (response.ok && form.dataset.draft) (form.matches(".blindly") ? dropLabel : dropDraft)(form);
    if (form.elements.namedItem("image")?.value !== selected) return; // the reader has gone on already
    replacePanel(await response.text());
    if (response.ok) announce(panel().dataset.said ?? "");
    refreshLive();
  } catch (error) {
    if (!(error instanceof LoggedOut)) complain(UNREACHABLE, form);
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
});

// O, an arrow, Enter: overruled without a mouse.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("#panel .choices input[name=label]")) return;
  event.preventDefault();
  event.target.closest("fieldset").querySelector("button").click();
});

/** Press a button or link of the panel, if it is there. */
function press(selector) {
  const button = panel().querySelector(`${selector}:not(:disabled)`);
  if (!button) return false;
  button.click();
}

const decide = (verdict) => press(`.decide button[value=${verdict}]`);

/** Choose the class of this number; Enter then gives it. */
function choose(number) {
  const radio = panel().querySelectorAll(".choices input[name=label]")[number - 1];
  if (!radio) return false;
  radio.closest("details")?.setAttribute("open", "");
  radio.checked = true;
  radio.dispatchEvent(new Event("input", { bubbles: true }));
  radio.focus();
}

function overrule() {
  const choices = panel().querySelector("#overrule") ?? panel().querySelector("#own-class");
  if (!choices) return false;
  choices.closest("details")?.setAttribute("open", "");
  (choices.querySelector("input:checked") ?? choices.querySelector("input")).focus();
  (choices.querySelector("fieldset") ?? choices).scrollIntoView({ block: "nearest" });
}

// --- several images at once -----------------------------------------------------------------------------------

const bar = document.getElementById("several");
const several = bar && new Several(strip, bar, () => {
  refreshLive();
  if (selected) loadPanel();
});

/** Undo what was done last: several readings, or the reader's own of this image. */
function undo() {
  if (several?.canUndo) return void several.undo();
  return press(".takeback button");
}

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
  if (event.target.matches?.("textarea, input:not([type=radio], [type=checkbox], [type=range])")) return;
  if (document.querySelector("dialog[open]") || undo() === false) return;
  event.preventDefault();
});

// --- uploads --------------------------------------------------------------------------------------------------

const tray = document.getElementById("add-images");
if (tray) {
  const form = tray.querySelector("form[data-upload]");
  const list = new UploadList(form);
  const opener = document.querySelector("[aria-controls=add-images]");
  const show = (open) => {
    tray.classList.toggle("open", open);
    opener?.setAttribute("aria-expanded", String(open));
  };
  acceptFiles(form, list);
  opener?.addEventListener("click", (event) => {
    event.preventDefault();
    show(!tray.classList.contains("open"));
    if (tray.classList.contains("open")) tray.querySelector(".pick").focus();
  });
  tray.querySelector("[data-hides]")?.addEventListener("click", () => {
    show(false);
    opener?.focus();
  });
  tray.addEventListener("leukoscope:drag", () => show(true));
  tray.addEventListener("leukoscope:uploaded", refreshLive);
  tray.addEventListener("leukoscope:uploads-held", () => show(true));
  tray.addEventListener("leukoscope:uploads-ended", ({ detail }) => {
    if (!detail.refused && !detail.broken) show(false);
  });
}

// --- keys -----------------------------------------------------------------------------------------------------

const next = () => step(1);
const previous = () => step(-1);
bindKeys({
  j: next, ArrowRight: next, ArrowDown: next,
  k: previous, ArrowLeft: previous, ArrowUp: previous,
  h: () => stage.toggleOverlay(),
  c: () => stage.toggleCells(),
  m: () => stage.nextMethod(),
  p: () => stage.toggleProcessed(),
  z: () => stage.fit(), 0: () => stage.fit(),
  "+": () => stage.zoom(1.5), "=": () => stage.zoom(1.5), "-": () => stage.zoom(1 / 1.5),
  a: () => decide("agree"),
  o: overrule,
  u: () => decide("unsure"),
  ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((number) => [number, () => choose(number)])),
  r: () => press("#compare"),
  x: () => several && selected && several.toggle(selected),
  b: () => (several?.count ? several.focus() : false),
  Escape: () => (several?.count ? several.clear() : false),
  "?": () => document.getElementById("keys").showModal(),
});

readPanel();
prefetchNext();
const wantedCell = Number(new URLSearchParams(location.search).get("cell"));
if (wantedCell && selected) stage.lookAt(wantedCell);
if (selected) frameOf(selected)?.scrollIntoView({ block: "nearest", inline: "nearest" });
