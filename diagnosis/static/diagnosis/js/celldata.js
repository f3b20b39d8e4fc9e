// The cells of a case as the gallery knows them: rows from the server, what stands for each, order, filter, groups.

const UNCLASSIFIED = "";

/** Words for what the finder of cells took for something else than a leukocyte. */
const KIND_WORDS = { smudge: "smudge", platelet: "platelet", precipitate: "stain", clump: "clump" };

/** One thing found in a smear image. `read` is the reader's class on record, `pending` one on its way there. */
class Cell {
  constructor(values, fields, gallery) {
    fields.forEach((name, n) => (this[name] = values[n]));
    this.gallery = gallery;
    this.place = gallery.images[this.image];
    this.pending = undefined;
  }

  /** The reader's class, also one that is still on its way; "" where there is none. */
  get reading() {
    return this.pending ?? this.read;
  }

  /** The class that stands: the reader's, else the model's; "" where there is none. */
  get standing() {
    return this.reading || this.label;
  }

  get isRead() {
    return this.reading !== "";
  }

  get isBlast() {
    return this.gallery.classes.get(this.standing)?.malignant ?? false;
  }

  /** Whether it is one of the leukocytes of the differential. */
  get isCounted() {
    return !this.border && (this.gallery.classes.get(this.standing)?.counts ?? false);
  }

  /** Whether it is a whole leukocyte that neither model nor reader has given a class. */
  get isUnclassified() {
    return !this.border && !this.standing && this.kind === "leukocyte";
  }

  /** What a tile says: the short class, or why it has none. */
  get caption() {
    const known = this.gallery.classes.get(this.standing);
    if (known) return known.short;
    return this.standing || KIND_WORDS[this.kind] || (this.inside === false ? "outside" : "no class");
  }

  /** What a screen reader says of a tile. */
  get sentence() {
    const parts = [this.gallery.word(this.standing) || KIND_WORDS[this.kind] || "no class"];
    if (this.isRead) parts.push(`read by ${this.pending === undefined ? this.reader : "you"}`);
    if (this.blast !== null) parts.push(`blast probability ${percent(this.blast)}`);
    parts.push(`image ${this.place.position}`);
    if (this.border) parts.push("cut by the edge, not counted");
    else if (!this.isCounted) parts.push("not counted");
    if (this.pending !== undefined) parts.push("being recorded");
    return parts.join(", ");
  }
}

/** A probability as `97 %`. */
export function percent(value) {
  return `${Math.round(100 * value)} %`;
}

/** A number with its noun: `1 cell`, `12 cells`. */
export function cellsOf(number) {
  return `${number.toLocaleString("en")} ${number === 1 ? "cell" : "cells"}`;
}

export class Gallery {
  constructor({ classes, images, fields, cells }) {
    this.classes = new Map(classes.map((one) => [one.name, one]));
    this.images = images;
    this.cells = cells.map((values) => new Cell(values, fields, this));
    this.byId = new Map(this.cells.map((cell) => [cell.id, cell]));
  }

  word(name) {
    return this.classes.get(name)?.word ?? name;
  }

  /**
   * The groups to show, each with `name`, `word` and `cells`; empty ones left out.
   * `filter` has image ("" or its id), label ("" any, "none" without a class), counted, read; `order` is
   * "suspects" or "class".
   */
  groups(filter, order) {
    const shown = this.cells.filter((cell) => passes(cell, filter)).sort(bySuspicion);
    return (order === "class" ? this.#byClass(shown) : bySuspects(shown)).filter((group) => group.cells.length);
  }

  #byClass(shown) {
    const groups = new Map();
    const ranked = [...this.classes.values()].sort((a, b) => b.malignant - a.malignant || b.counts - a.counts);
    for (const { name, word } of ranked) groups.set(name, { name, word: capital(word), cells: [] });
    groups.set(UNCLASSIFIED, { name: UNCLASSIFIED, word: "Without a class", cells: [] });
    const border = { name: "border", word: "Cut by the edge, not counted", cells: [] };
    for (const cell of shown) (cell.border ? border : groups.get(cell.standing) ?? groups.get(UNCLASSIFIED)).cells.push(cell);
    return [...groups.values(), border];
  }
}

function passes(cell, { image, label, counted, read }) {
  if (image && cell.place.id !== image) return false;
  if (label && (label === "none" ? cell.standing !== "" : cell.standing !== label)) return false;
  return (!counted || cell.isCounted) && (!read || cell.isRead);
}

function bySuspicion(a, b) {
  return (b.blast ?? -1) - (a.blast ?? -1) || a.image - b.image || a.number - b.number;
}

function bySuspects(shown) {
  return [
    { name: "counted", word: "Leukocytes counted, suspects first", cells: shown.filter((cell) => cell.isCounted) },
    { name: "unclassified", word: "Leukocytes without a class", cells: shown.filter((cell) => cell.isUnclassified) },
    {
      name: "beside",
      word: "Found, not counted",
      cells: shown.filter((cell) => !cell.isCounted && !cell.isUnclassified),
    },
  ];
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
