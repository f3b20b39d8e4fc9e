// The grid of tiles: of thousands of cells only the rows in view are in the document.

import { cellsOf } from "./celldata.js";
import { paintTile } from "./tile.js";

const GAP = 8;
const CAPTION = 24;
const HEAD = 44;
const OVERSCAN = 300; // pixels beyond the view that are kept ready

/**
 * Draws groups of cells into `root` (role=grid) and tells where each lies. It knows nothing of what a selection
 * means: `isSelected(cell)` and `active` are asked when a tile is drawn.
 */
export class Grid {
  #root;
  #rows = [];
  #drawn = new Map();
  #size = 96;
  #columns = 1;
  #groups = [];
  #order = [];
  #at = new Map();
  #frame = 0;
  active = null;
  isSelected = () => false;
  mayDrag = false;

  constructor(root) {
    this.#root = root;
    this.#root.setAttribute("role", "grid");
    this.#root.setAttribute("aria-multiselectable", "true");
    this.#root.tabIndex = 0;
    const later = () => (this.#frame ||= requestAnimationFrame(() => this.draw()));
    addEventListener("scroll", later, { capture: true, passive: true });
    new ResizeObserver(() => {
      if (this.#fit() !== this.#columns) this.#layOut();
      later();
    }).observe(root);
  }

  set size(size) {
    this.#size = size;
    this.#root.style.setProperty("--tile", `${size}px`);
    this.#layOut();
  }

  get size() {
    return this.#size;
  }

  get columns() {
    return this.#columns;
  }

  /** The cells in the order they are shown. */
  get order() {
    return this.#order;
  }

  show(groups) {
    for (const element of this.#root.querySelectorAll(":scope > .early")) element.remove();
    this.#groups = groups;
    this.#order = groups.flatMap((group) => group.cells);
    this.#at = new Map(this.#order.map((cell, n) => [cell.id, n]));
    this.#layOut();
  }

  /** Place of a cell in the order; -1 for one that is not shown. */
  indexOf(cell) {
    return cell ? this.#at.get(cell.id) ?? -1 : -1;
  }

  groupOf(cell) {
    return this.#groups.find((group) => group.cells.includes(cell));
  }

  groupNamed(name) {
    return this.#groups.find((group) => group.name === name);
  }

  /** The cell a row above or below, or null. `by` counts rows of tiles, over the heads between groups. */
  beside(cell, by) {
    const rows = this.#rows.filter((row) => row.cells);
    const at = rows.findIndex((row) => row.cells.includes(cell));
    if (at < 0) return null;
    const column = rows[at].cells.indexOf(cell);
    const target = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
    return target.cells[Math.min(column, target.cells.length - 1)];
  }

  /** First or last cell of a cell's row. */
  endOfRow(cell, last) {
    const row = this.#rows.find((one) => one.cells?.includes(cell));
    return row ? row.cells.at(last ? -1 : 0) : null;
  }

  /** Bring a cell into view, under its group's head where that leads it. */
  reveal(cell) {
    const row = this.#rows.find((one) => one.cells?.includes(cell));
    if (!row) return;
    const scroller = this.#scroller();
    const edge = scroller ? scroller.getBoundingClientRect() : { top: 0, bottom: innerHeight };
    const top = this.#root.getBoundingClientRect().top + row.top;
    const covered = Number.parseFloat(getComputedStyle(this.#root).scrollPaddingBottom) || 0;
    const over = top - (row.first ? HEAD : 0) - 8 - edge.top;
    const under = top + row.height + 8 - (edge.bottom - covered);
    const by = over < 0 ? over : under > 0 ? under : 0;
    if (by) (scroller ?? document.scrollingElement).scrollTop += by;
    this.draw();
  }

  /** Cells whose tiles touch a rectangle of the root's own coordinates. */
  within({ left, right, top, bottom }) {
    const found = [];
    const step = this.#size + GAP;
    for (const row of this.#rows) {
      if (!row.cells || row.top > bottom || row.top + row.height - GAP < top) continue;
      row.cells.forEach((cell, n) => {
        if (n * step <= right && n * step + this.#size >= left) found.push(cell);
      });
    }
    return found;
  }

  /** Draw the rows in view, and drop the others. */
  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const box = this.#root.getBoundingClientRect();
    const edge = this.#scroller()?.getBoundingClientRect();
    const from = Math.max(edge?.top ?? 0, 0) - box.top - OVERSCAN;
    const to = Math.min(edge?.bottom ?? innerHeight, innerHeight) - box.top + OVERSCAN;
    const wanted = new Set(this.#rows.filter((row) => row.top + row.height >= from && row.top <= to));
    for (const [row, element] of this.#drawn) {
      if (wanted.has(row)) continue;
      element.remove();
      this.#drawn.delete(row);
    }
    for (const row of wanted) {
      if (this.#drawn.has(row)) continue;
      const element = row.cells ? this.#tiles(row) : this.#head(row);
      element.style.transform = `translateY(${row.top}px)`;
      element.setAttribute("aria-rowindex", String(row.index + 1));
      this.#drawn.set(row, element);
      // Kept in the order of the rows: what reads the document reads it from top to bottom.
      const after = [...this.#drawn].filter(([other]) => other.index > row.index).sort(([a], [b]) => a.index - b.index)[0];
      this.#root.insertBefore(element, after?.[1] ?? null);
    }
    this.#pointAtActive();
  }

  /** Bring drawn tiles up to date: with what is selected, active, read. */
  refresh() {
    for (const [row, element] of this.#drawn) {
      row.cells?.forEach((cell, n) => this.#paint(element.children[n], cell));
    }
    this.#pointAtActive();
  }

  #pointAtActive() {
    const id = this.active ? `cell-${this.active.id}` : "";
    if (id && document.getElementById(id)) this.#root.setAttribute("aria-activedescendant", id);
    else this.#root.removeAttribute("aria-activedescendant");
  }

  #scroller() {
    const scroller = this.#root.closest("[data-scrolls]");
    return scroller && getComputedStyle(scroller).overflowY !== "visible" ? scroller : null;
  }

  #fit() {
    return Math.max(1, Math.floor((this.#root.clientWidth + GAP) / (this.#size + GAP)));
  }

  #layOut() {
    this.#columns = this.#fit();
    this.#rows = [];
    let top = 0;
    const add = (row, height) => {
      this.#rows.push({ ...row, top, height, index: this.#rows.length });
      top += height;
    };
    for (const group of this.#groups) {
      add({ group }, HEAD);
      for (let n = 0; n < group.cells.length; n += this.#columns) {
        add({ cells: group.cells.slice(n, n + this.#columns), first: n === 0 }, this.#size + CAPTION + GAP);
      }
    }
    this.#root.style.height = `${top}px`;
    this.#root.setAttribute("aria-rowcount", String(this.#rows.length));
    this.#root.setAttribute("aria-colcount", String(this.#columns));
    for (const element of this.#drawn.values()) element.remove();
    this.#drawn.clear();
    this.draw();
  }

  #head({ group }) {
    const row = element("div", "grouphead", "row");
    const head = element("div", "", "rowheader");
    head.append(element("b", "", "", group.word), ` ${group.cells.length.toLocaleString("en")}`);
    const cell = element("div", "", "gridcell");
    const all = element("button", "btn small", "", `Select ${cellsOf(group.cells.length)}`);
    all.type = "button";
    all.dataset.group = group.name;
    cell.append(all);
    row.append(head, cell);
    return row;
  }

  #tiles(row) {
    const line = element("div", "tiles", "row");
    for (const cell of row.cells) {
      const tile = element("div", "tile", "gridcell");
      tile.id = `cell-${cell.id}`;
      tile.dataset.cell = cell.id;
      tile.append(element("i", "pic"), element("span", "cap"));
      line.append(tile);
      this.#paint(tile, cell);
    }
    return line;
  }

  #paint(tile, cell) {
    tile.draggable = this.mayDrag;
    tile.setAttribute("aria-selected", String(this.isSelected(cell)));
    tile.setAttribute("aria-label", cell.sentence);
    tile.classList.toggle("active", cell === this.active);
    tile.classList.toggle("blast", cell.isBlast);
    tile.classList.toggle("beside", !cell.isCounted);
    tile.classList.toggle("busy", cell.pending !== undefined);
    paintTile(tile.firstChild, cell, this.#size);
    tile.dataset.badge = [cell.isRead ? "read" : "", cell.border ? "edge" : ""].filter(Boolean).join(" · ");
    tile.lastChild.textContent = (cell.isBlast ? "▲ " : "") + cell.caption;
  }
}

function element(tag, className, role = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (role) made.setAttribute("role", role);
  if (text) made.textContent = text;
  return made;
}
