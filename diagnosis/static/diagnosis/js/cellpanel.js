// The side panel of the active cell: its tile large, and what is known of it.

import { LoggedOut, announce, parseFragment, request } from "./net.js";
import { paintTile } from "./tile.js";

const BAR_UM = 5;
const PAUSE = 90; // milliseconds: who runs through cells with an arrow key asks for the last one alone

export class CellPanel {
  #root;
  #facts;
  #over;
  #url;
  #cell = null;
  #timer = 0;
  #loading = null;
  #wanted = false;

  constructor(root, url) {
    this.#root = root;
    this.#facts = root.querySelector("#facts");
    this.#over = root.querySelector(".over");
    this.#url = url;
    root.querySelector("#close-panel").addEventListener("click", () => this.hide());
    root.addEventListener("click", (event) => {
      if (event.target.closest("[data-does=saliency]")) this.toggleSaliency();
    });
  }

  get cell() {
    return this.#cell;
  }

  show(cell) {
    this.#cell = cell;
    this.#root.classList.remove("none");
    const size = this.#root.querySelector(".big").clientWidth;
    paintTile(this.#root.querySelector(".pic"), cell, size);
    this.#drawBar(size, cell.place.tileUm);
    this.#over.hidden = true;
    this.#facts.setAttribute("aria-busy", "true");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.reload(), PAUSE);
  }

  hide() {
    this.#cell = null;
    this.#loading?.abort();
    clearTimeout(this.#timer);
    this.#root.classList.add("none");
    this.#facts.replaceChildren();
  }

  /** Fetch what is known of the cell anew. */
  async reload() {
    if (!this.#cell) return;
    this.#loading?.abort();
    const mine = (this.#loading = new AbortController());
    try {
      const response = await request(this.#url.replace("/0", `/${this.#cell.id}`), { signal: mine.signal });
      if (!response.ok) throw new Error(String(response.status));
      const html = await response.text();
      if (mine.signal.aborted) return;
      this.#facts.replaceChildren(parseFragment(html));
      this.#facts.removeAttribute("aria-busy");
      for (const tile of this.#facts.querySelectorAll("[data-sprite]")) paintSimilar(tile);
      this.#drawSaliency();
    } catch (error) {
      if (error.name === "AbortError" || error instanceof LoggedOut) return;
      this.#facts.textContent = "What is known of this cell could not be loaded. Select it again.";
    } finally {
      if (mine === this.#loading) this.#facts.removeAttribute("aria-busy");
    }
  }

  /** Show or hide the regions that influenced the score; of every cell looked at from now on. */
  toggleSaliency() {
    if (!this.#cell || (!this.#busy && !this.#facts.querySelector("[data-does=saliency]"))) return false;
    this.#wanted = !this.#wanted;
    this.#drawSaliency();
    announce(this.#wanted ? "Regions that influenced the score" : "Regions hidden");
  }

  /** Go to the cell's field. */
  openField() {
    if (!this.#cell) return false;
    location.assign(`${this.#cell.place.url}&cell=${this.#cell.id}`);
  }

  /** Whether what is shown is still that of the cell before. */
  get #busy() {
    return this.#facts.hasAttribute("aria-busy");
  }

  #drawSaliency() {
    if (this.#busy) return; // it is drawn when the cell's own has come
    const button = this.#facts.querySelector("[data-does=saliency]");
    const url = this.#facts.firstElementChild?.dataset.saliency;
    const on = this.#wanted && Boolean(url);
    this.#over.hidden = !on;
    if (on && this.#over.getAttribute("src") !== url) this.#over.src = url;
    button?.setAttribute("aria-pressed", String(on));
    const phrase = this.#facts.querySelector(".phrase");
    if (phrase) phrase.hidden = !on;
  }

  #drawBar(size, tileUm) {
    const bar = this.#root.querySelector(".big .scalebar");
    bar.hidden = !tileUm;
    bar.querySelector("i").style.width = `${(BAR_UM * size) / tileUm}px`;
  }
}

/** A tile of another case: its place in its own sprite comes with it. */
function paintSimilar(tile) {
  const { sprite, columns, number, position } = tile.dataset;
  const cell = { number: Number(number), place: { sprite, columns: Number(columns), position } };
  paintTile(tile, cell, tile.clientWidth || 64);
}
