// Readers' classes on their way to the server: shown at once, taken back when the server refuses, undone in order.

import { LoggedOut, UNREACHABLE, request } from "./net.js";
import { cellsOf } from "./celldata.js";

const REFUSED = "The server could not record this; the cells are back where they were. Try again.";

/**
 * `onChange()` is called whenever a cell's class changes, `onAnswer(answer)` with what the server says afterwards
 * (the differential), `onRefusal(sentence)` when it refuses.
 */
export class Readings {
  #gallery;
  #urls;
  #token;
  #waiting = []; // changes on their way: { ids, label }
  #done = []; // batches that can be taken back: { batch, ids, word }
  #queue = Promise.resolve();
  #on;

  constructor(gallery, { urls, token, onChange, onAnswer, onRefusal }) {
    this.#gallery = gallery;
    this.#urls = urls;
    this.#token = token;
    this.#on = { onChange, onAnswer, onRefusal };
    addEventListener("beforeunload", (event) => this.#waiting.length && event.preventDefault());
  }

  /** What undo would take back, in words; "" when there is nothing. */
  get undoable() {
    const last = this.#done.at(-1);
    return last ? `${cellsOf(last.ids.length)} ${last.word}` : "";
  }

  /** Give cells a class; "" takes the readers' class back. */
  give(cells, label) {
    const ids = cells.map((cell) => cell.id);
    const word = label ? `to ${this.#gallery.word(label)}` : "back to the model's class";
    const change = { ids, label };
    this.#waiting.push(change);
    this.#show();
    return this.#next(async () => {
      const answer = await this.#send(this.#urls.give, { cells: ids.join(","), label });
      this.#settle(change, answer);
      if (answer) this.#done.push({ batch: answer.batch, ids, word });
      return answer;
    });
  }

  /** Take the last batch back; resolves with its cells' ids, or null when there is none or the server refuses. */
  undo() {
    return this.#next(async () => {
      const last = this.#done.at(-1);
      if (!last) return null;
      const answer = await this.#send(this.#urls.undo, { batch: last.batch });
      if (!answer) return null;
      this.#done.pop();
      this.#settle(null, answer);
      return last;
    });
  }

  /** One request at a time, in the order of the reader's actions: what she does last must stand last. */
  #next(action) {
    const result = this.#queue.then(action).finally(() => this.#on.onChange());
    this.#queue = result.catch(() => null);
    return result;
  }

  async #send(url, fields) {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields)) body.append(name, value);
    try {
      const response = await request(url, { method: "POST", body, headers: { "X-CSRFToken": this.#token() } });
      const answer = await response.json().catch(() => null);
      if (response.ok && answer) return answer;
      this.#on.onRefusal(answer?.message ?? REFUSED);
    } catch (error) {
      if (!(error instanceof LoggedOut)) this.#on.onRefusal(UNREACHABLE);
    }
    return null;
  }

  /** Take what the server has on record; a refused change leaves nothing behind. */
  #settle(change, answer) {
    this.#waiting = this.#waiting.filter((other) => other !== change);
    for (const [id, label, reader] of answer?.cells ?? []) {
      const cell = this.#gallery.byId.get(id);
      if (cell) Object.assign(cell, { read: label, reader });
    }
    this.#show();
    if (answer) this.#on.onAnswer(answer);
  }

  /** What stands on the page: the record, and over it what is on its way, the newest last. */
  #show() {
    for (const cell of this.#gallery.cells) cell.pending = undefined;
    for (const { ids, label } of this.#waiting) {
      for (const id of ids) this.#gallery.byId.get(id).pending = label;
    }
    this.#on.onChange();
  }
}
