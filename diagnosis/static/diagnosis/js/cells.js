// The gallery of a case's cells: what is shown, what is selected, and the classes a reader gives.

import { Gallery, cellsOf } from "./celldata.js";
import { Grid } from "./cellgrid.js";
import { CellPanel } from "./cellpanel.js";
import { Pick } from "./cellpick.js";
import { Readings } from "./cellreadings.js";
import { bindKeys } from "./keys.js";
import { announce, parseFragment } from "./net.js";

const BAR_UM = 10;
const DRAGGED = "application/x-leukoscope-cells";

const root = document.getElementById("gallery");
const form = document.getElementById("filters");
const gridRoot = document.getElementById("grid");
const undoButton = document.getElementById("undo");
const mayRead = "give" in root.dataset;
const address = new URLSearchParams(location.search);

const grid = new Grid(gridRoot);
const panel = new CellPanel(document.getElementById("panel"), root.dataset.cell);
const pick = new Pick(grid, gridRoot, { onMove: moved, onSelect: sayStatus });
let gallery = null;
let readings = null;
let order = address.get("order") === "class" ? "class" : "suspects";

// --- what is shown --------------------------------------------------------------------------------------------

function filter() {
  const { image, label, counted, read } = form.elements;
  return { image: image.value, label: label.value, counted: counted.checked, read: read.checked };
}

/** Show the cells that the filters let through, and say so in the address. */
function show() {
  if (!gallery) return;
  grid.show(gallery.groups(filter(), order));
  pick.settle();
  document.getElementById("nothing").hidden = grid.order.length > 0;
  for (const button of form.querySelectorAll("[data-order]")) {
    button.setAttribute("aria-pressed", String(button.dataset.order === order));
  }
}

function keepAddress() {
  const { image, label, counted, read } = filter();
  const wanted = { image, label, counted: counted && "1", read: read && "1", order: order === "class" && order };
  wanted.cell = pick.active?.id;
  const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}

function moved(cell) {
  panel.show(cell);
  keepAddress();
}

function sayStatus() {
  const chosen = pick.cells.length;
  const parts = [cellsOf(grid.order.length)];
  if (chosen > 1) parts.push(`${cellsOf(chosen)} selected`);
  document.querySelector("#status > span").textContent = parts.join(" · ");
  root.classList.toggle("chosen", chosen > 0);
}

function resize() {
  grid.size = Number(form.elements.size.value);
  const um = gallery?.images.find((image) => image.tileUm)?.tileUm;
  form.querySelector(".scalebar").hidden = !um;
  if (um) form.querySelector(".scalebar i").style.width = `${(BAR_UM * grid.size) / um}px`;
}

function zoom(by) {
  form.elements.size.value = Number(form.elements.size.value) + by;
  form.elements.size.dispatchEvent(new Event("input", { bubbles: true }));
}

/** The page must know the size before any script runs: a cookie tells it of the first tiles. */
function remember(size) {
  document.cookie = `${root.dataset.sizeCookie}=${size}; path=/cases; max-age=31536000; samesite=lax`;
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  if (event.target.name === "size") {
    resize();
    remember(form.elements.size.value);
    if (pick.active) grid.reveal(pick.active);
    return;
  }
  show();
  keepAddress();
});
form.addEventListener("click", (event) => {
  const button = event.target.closest("[data-order]");
  if (!button) return;
  order = button.dataset.order;
  show();
  keepAddress();
});
document.getElementById("clear-filters").addEventListener("click", () => {
  for (const name of ["image", "label"]) form.elements[name].value = "";
  for (const name of ["counted", "read"]) form.elements[name].checked = false;
  show();
  keepAddress();
  gridRoot.focus();
});

// --- giving classes -------------------------------------------------------------------------------------------

function complain(sentence) {
  const place = document.getElementById("problem");
  place.textContent = sentence;
  place.hidden = !sentence;
}

/** Give the selected cells a class, else the active one; a single one hands on to the next. */
async function give(label) {
  if (!mayRead || !readings) return false;
  const cells = pick.cells.length ? pick.cells : [pick.active].filter(Boolean);
  if (!cells.length) return announce("Choose a cell first.");
  const single = cells.length === 1 && cells[0] === pick.active;
  const next = single ? grid.order[grid.indexOf(cells[0]) + 1] : null;
  complain("");
  const recorded = readings.give(cells, label);
  if (next && grid.indexOf(next) >= 0) pick.go(next);
  const word = label ? gallery.word(label) : "back to the model's class";
  if (await recorded) announce(`${cellsOf(cells.length)}: ${word}`);
}

async function undo() {
  if (!readings?.undoable) return announce("There is nothing to undo.");
  complain("");
  const undone = await readings.undo();
  if (!undone) return;
  const cells = undone.ids.map((id) => gallery.byId.get(id)).filter((cell) => grid.indexOf(cell) >= 0);
  if (cells.length) {
    grid.active = cells[0];
    pick.select(cells);
    pick.go(cells[0], { keep: true });
  }
  announce(`Undone: ${cellsOf(undone.ids.length)} ${undone.word}`);
}

function changed() {
  show();
  if (!undoButton) return;
  const what = readings?.undoable;
  undoButton.disabled = !what;
  undoButton.textContent = what ? `Undo: ${what}` : "Undo";
}

/** Put the server's count in the place of the old one; what had the focus keeps it. */
function recount({ differential }) {
  const before = document.getElementById("differential");
  const focused = before.contains(document.activeElement) ? document.activeElement.dataset.label : null;
  const open = before.querySelector("details").open;
  before.replaceWith(parseFragment(differential));
  document.querySelector("#differential details").open = open;
  if (focused) document.querySelector(`#differential button[data-label="${focused}"]`)?.focus();
  panel.reload();
}

undoButton?.addEventListener("click", undo);
document.querySelector(".count").addEventListener("click", (event) => {
  const button = event.target.closest("button.give");
  if (button) give(button.dataset.label);
});
// Where there is no keyboard: the class is chosen in the panel.
document.getElementById("give-class")?.addEventListener("change", (event) => {
  if (event.target.value) give(event.target.value);
  event.target.value = "";
});
document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (key !== "z" || event.shiftKey || event.altKey || !(event.ctrlKey || event.metaKey)) return;
  if (event.target.matches("input[type=text], textarea") || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  if (mayRead) undo();
});

// --- dragging tiles onto a class ------------------------------------------------------------------------------

gridRoot.addEventListener("dragstart", (event) => {
  const tile = event.target.closest(".tile");
  const cell = gallery.byId.get(Number(tile?.dataset.cell));
  if (!cell) return;
  if (!grid.isSelected(cell)) pick.go(cell);
  const label = document.createElement("div");
  label.className = "dragged";
  label.textContent = cellsOf(pick.cells.length);
  document.body.append(label);
  event.dataTransfer.setDragImage(label, -8, -8);
  setTimeout(() => label.remove());
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData(DRAGGED, "cells");
  root.classList.add("dragging");
});
gridRoot.addEventListener("dragend", () => root.classList.remove("dragging"));

const rowUnder = (event) =>
  event.dataTransfer.types.includes(DRAGGED) ? event.target.closest("#differential tr[data-label]") : null;
const mark = (row) => {
  for (const other of root.querySelectorAll("tr.over")) other.classList.remove("over");
  row?.classList.add("over");
};
root.addEventListener("dragover", (event) => {
  const row = rowUnder(event);
  mark(row);
  if (!row) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "move";
});
root.addEventListener("drop", (event) => {
  const row = rowUnder(event);
  mark(null);
  if (!row) return;
  event.preventDefault();
  give(row.dataset.label);
});

// --- keys and the beginning -----------------------------------------------------------------------------------

function bind() {
  const classes = [...gallery.classes.values()].map(({ name, key }) => [key, () => void give(name)]);
  bindKeys({
    ...(mayRead ? Object.fromEntries(classes) : {}),
    ...(mayRead ? { [root.dataset.takeBack]: () => void give("") } : {}),
    j: () => pick.step(1), k: () => pick.step(-1),
    a: () => pick.selectGroup(),
    h: () => panel.toggleSaliency(),
    f: () => panel.openField(),
    "+": () => zoom(16), "=": () => zoom(16), "-": () => zoom(-16),
    "?": () => document.getElementById("keys").showModal(),
  });
}

function start() {
  // On a telephone the tiles come first; the table opens by a touch.
  if (matchMedia("(max-width: 900px)").matches) document.querySelector("#differential details").open = false;
  const narrow = matchMedia("(max-width: 720px)").matches; // three tiles across a telephone
  form.elements.size.value = root.dataset.size || (narrow ? 112 : 96);
  form.elements.image.value = address.get("image") ?? "";
  form.elements.label.value = address.get("label") ?? "";
  if (form.elements.image.selectedIndex < 0) form.elements.image.value = "";
  if (form.elements.label.selectedIndex < 0) form.elements.label.value = "";
  form.elements.counted.checked = address.has("counted");
  form.elements.read.checked = address.has("read");
  gallery = new Gallery(JSON.parse(document.getElementById("cells").textContent));
  for (const drawn of gridRoot.querySelectorAll("[data-first]")) {
    gallery.byId.get(Number(drawn.dataset.first)).picture = drawn.src;
  }
  grid.mayDrag = mayRead;
  if (mayRead) {
    readings = new Readings(gallery, {
      urls: { give: root.dataset.give, undo: root.dataset.undo },
      token: () => form.elements.csrfmiddlewaretoken.value,
      onChange: changed,
      onAnswer: recount,
      onRefusal: complain,
    });
  }
  bind();
  resize();
  show();
  const wanted = gallery.byId.get(Number(address.get("cell")));
  if (grid.indexOf(wanted) >= 0) pick.go(wanted);
  root.dataset.ready = "";
}

start();
gridRoot.addEventListener("focus", () => {
  if (gallery && !pick.active && grid.order.length) pick.go(grid.order[0]);
});
