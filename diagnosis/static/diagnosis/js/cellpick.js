// Choosing cells: which one is active, which are selected, by mouse, frame and keyboard.

import { announce } from "./net.js";
import { cellsOf } from "./celldata.js";

const EDGE = 36; // pixels from the edge of the view within which a drawn frame scrolls it

/** The selection of a Grid. `onMove(cell)` hears of the active cell, `onSelect()` of what is selected. */
export class Pick {
  #grid;
  #root;
  #selected = new Set();
  #anchor = null;
  #on;

  constructor(grid, root, { onMove, onSelect }) {
    this.#grid = grid;
    this.#root = root;
    this.#on = { onMove, onSelect };
    grid.isSelected = (cell) => this.#selected.has(cell);
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("pointerdown", (event) => this.#frame(event));
  }

  get active() {
    return this.#grid.active;
  }

  /** The selected cells in the order they are shown; those that a filter hides are not among them. */
  get cells() {
    return this.#grid.order.filter((cell) => this.#selected.has(cell));
  }

  /** Make a cell the active one, and the only one selected unless `keep`. */
  go(cell, { keep = false, extend = false } = {}) {
    if (!cell) return;
    this.#grid.active = cell;
    if (extend) this.#extend(cell);
    else if (!keep) this.#only([cell]);
    this.#grid.reveal(cell);
    this.#tell();
    this.#on.onMove(cell);
  }

  step(by, options) {
    const order = this.#grid.order;
    const at = this.#grid.indexOf(this.active);
    if (at < 0) return this.go(order[0]);
    const next = order[at + by];
    if (!next) return announce(by > 0 ? "This is the last cell." : "This is the first cell.");
    this.go(next, options);
  }

  select(cells) {
    this.#only(cells);
    if (cells.length && !cells.includes(this.active)) {
      this.#grid.active = cells[0];
      this.#on.onMove(cells[0]);
    }
    this.#tell();
    announce(`${cellsOf(cells.length)} selected`);
  }

  /** Select the group that the active cell is in. */
  selectGroup() {
    const group = this.#grid.groupOf(this.active);
    if (!group) return false;
    this.select(group.cells);
  }

  clear() {
    this.#selected.clear();
    this.#tell();
  }

  /** After a change of what is shown: forget what is shown no longer. */
  settle() {
    for (const cell of this.#selected) if (this.#grid.indexOf(cell) < 0) this.#selected.delete(cell);
    if (this.#grid.indexOf(this.active) < 0) this.#grid.active = null;
    this.#tell();
  }

  #only(cells) {
    this.#selected = new Set(cells);
    this.#anchor = cells[0] ?? null;
  }

  #extend(cell) {
    const from = this.#grid.indexOf(this.#anchor);
    const to = this.#grid.indexOf(cell);
    if (from < 0) return this.#only([cell]);
    this.#selected = new Set(this.#grid.order.slice(Math.min(from, to), Math.max(from, to) + 1));
  }

  #toggle(cell) {
    if (!this.#selected.delete(cell)) this.#selected.add(cell);
    this.#anchor = cell;
  }

  #tell() {
    this.#grid.refresh();
    this.#on.onSelect();
  }

  #cellOf(event) {
    const tile = event.target.closest?.(".tile");
    return tile ? this.#grid.order.find((cell) => String(cell.id) === tile.dataset.cell) : null;
  }

  #click(event) {
    const group = event.target.closest("button[data-group]");
    if (group) return this.select(this.#grid.groupNamed(group.dataset.group)?.cells ?? []);
    const cell = this.#cellOf(event);
    if (!cell) return;
    if (event.ctrlKey || event.metaKey) {
      this.#toggle(cell);
      return this.go(cell, { keep: true });
    }
    this.go(cell, { extend: event.shiftKey });
  }

  #key(event) {
    if (event.target !== this.#root || event.altKey) return; // a button in a head has keys of its own
    const { active } = this;
    const modified = event.ctrlKey || event.metaKey;
    const order = this.#grid.order;
    const page = Math.max(1, Math.floor(this.#root.parentElement.clientHeight / (this.#grid.size + 32)) - 1);
    const to = {
      ArrowRight: () => order[this.#grid.indexOf(active) + 1],
      ArrowLeft: () => order[this.#grid.indexOf(active) - 1],
      ArrowDown: () => this.#grid.beside(active, 1) ?? order[0],
      ArrowUp: () => this.#grid.beside(active, -1) ?? order[0],
      PageDown: () => this.#grid.beside(active, page) ?? order[0],
      PageUp: () => this.#grid.beside(active, -page) ?? order[0],
      Home: () => (modified ? order[0] : this.#grid.endOfRow(active, false)),
      End: () => (modified ? order.at(-1) : this.#grid.endOfRow(active, true)),
    }[event.key];
    if (to) {
      event.preventDefault();
      return this.go(to(), { extend: event.shiftKey, keep: modified && event.key.startsWith("Arrow") });
    }
    if (event.key === " " && active) {
      event.preventDefault();
      this.#toggle(active);
      this.#tell();
      announce(this.#selected.has(active) ? "selected" : "not selected");
    }
    if (event.key === "Escape") this.clear();
    if (modified && event.key.toLowerCase() === "a") {
      event.preventDefault();
      this.selectGroup();
    }
  }

  /** Draw a frame from an empty place: what it touches is selected, beside what was with Shift or Ctrl. */
  #frame(event) {
    if (event.button || event.pointerType === "touch" || event.target.closest(".tile, button")) return;
    const kept = event.shiftKey || event.ctrlKey || event.metaKey ? new Set(this.#selected) : new Set();
    const scroller = this.#root.closest("[data-scrolls]");
    const origin = this.#root.getBoundingClientRect();
    const start = { x: event.clientX - origin.left, y: event.clientY - origin.top };
    const band = document.createElement("div");
    band.className = "band";
    let last = event;
    let timer = 0;
    const draw = () => {
      const now = this.#root.getBoundingClientRect();
      const [x, y] = [last.clientX - now.left, last.clientY - now.top];
      const box = { left: Math.min(x, start.x), right: Math.max(x, start.x), top: Math.min(y, start.y), bottom: Math.max(y, start.y) };
      if (!band.isConnected && box.right - box.left + box.bottom - box.top < 6) return;
      this.#root.append(band);
      Object.assign(band.style, {
        left: `${box.left}px`, top: `${box.top}px`, width: `${box.right - box.left}px`, height: `${box.bottom - box.top}px`,
      });
      this.#selected = new Set([...kept, ...this.#grid.within(box)]);
      this.#tell();
    };
    const creep = () => {
      const edge = scroller.getBoundingClientRect();
      const by = last.clientY < edge.top + EDGE ? -12 : last.clientY > edge.bottom - EDGE ? 12 : 0;
      if (!by || !band.isConnected) return;
      scroller.scrollTop += by;
      draw();
    };
    const move = (moved) => {
      last = moved;
      draw();
    };
    const end = () => {
      removeEventListener("pointermove", move);
      clearInterval(timer);
      if (!band.isConnected) return this.clear();
      band.remove();
      this.select(this.cells);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end, { once: true });
    addEventListener("pointercancel", end, { once: true });
    timer = setInterval(creep, 16);
    event.preventDefault();
    this.#root.focus({ preventScroll: true });
  }
}
