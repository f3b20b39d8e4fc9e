// The stage: the viewer with its tools. Remembers how this reader likes the overlay.

import { announce, request } from "./net.js";
import { Viewer } from "./viewer.js";

const TASTE = "leukoscope.overlay";

function taste() {
  try {
    return JSON.parse(localStorage.getItem(TASTE)) ?? {};
  } catch {
    return {};
  }
}

/** Wires the tools in `root` to a Viewer, and shows what the tools can do for the image at hand. */
export class Stage {
  #root;
  #viewer;
  #plain;
  #subject = null;
  #liked = true;
  #asked = new Set();
  #boxed = false;
  #boxes = { key: "", cells: null };

  constructor(root) {
    this.#root = root;
    this.overlayButton = root.querySelector("[data-tool=overlay]");
    this.processedButton = root.querySelector("[data-tool=processed]");
    this.cellsButton = root.querySelector("[data-tool=cells]");
    this.methodButtons = [...root.querySelectorAll("[data-method]")];
    this.slider = root.querySelector("[data-tool=opacity]");
    this.word = root.querySelector(".word");
    const zoom = root.querySelector(".zoom");
    // The page shows the picture before any script has come, and until the viewer has drawn it.
    this.#plain = root.querySelector(".plain");
    this.#viewer = new Viewer(root.querySelector(".canvas"), {
      onZoom: (percent) => (zoom.textContent = percent === null ? "" : `${percent} %`),
      onError: () => {
        this.#plain?.remove();
        this.#say("The picture could not be loaded.", "Check the network, then select the image again.");
      },
      onDrawn: () => this.#plain?.remove(),
    });
    const liked = taste();
    const known = this.methodButtons.some((button) => button.dataset.method === liked.method);
    this.#liked = liked.visible ?? true;
    this.#boxed = liked.cells ?? false;
    this.#viewer.method = this.method = known ? liked.method : this.methodButtons[0].dataset.method;
    this.slider.value = liked.opacity ?? this.slider.value;
    this.#viewer.opacity = this.slider.value / 100;

    root.addEventListener("click", (event) => {
      const tool = event.target.closest("button");
      if (tool?.dataset.method) this.#choose(tool.dataset.method);
      else if (tool) this.#use(tool.dataset.tool);
    });
    this.slider.addEventListener("input", () => {
      this.#viewer.opacity = this.slider.value / 100;
      if (Number(this.slider.value)) this.#wish(true);
      this.#draw();
    });
    this.slider.addEventListener("change", () => this.#remember());
    this.#draw();
  }

  /**
   * Show an image; `processed`, `overlays` and `revision` may come later, with its panel. `cells` is the address of
   * its cells' boxes. The overlay of an outcome that is
   * no result (`reserved`) is shown only to a reader who asks for it, image by image.
   */
  show({ id, file, name, cells = "", revision = "", processed = "", overlays = {}, reserved = false }) {
    const same = this.#subject?.id === id;
    this.#subject = { id, file, processed, overlays, reserved, cells, revision };
    if (!same) this.#viewer.boxes = [];
    if (this.#plain?.dataset.file !== file) this.#plain?.remove();
    this.#viewer.overlayVisible = reserved ? this.#asked.has(id) : this.#liked;
    this.word.hidden = true;
    this.#root.querySelector(".name").textContent = name;
    this.#viewer.show(this.#subject);
    this.#draw();
    this.#loadBoxes();
  }

  toggleCells() {
    if (!this.#subject?.cells) return;
    this.#boxed = !this.#boxed;
    announce(this.#boxed ? "Cells shown" : "Cells hidden");
    this.#remember();
    this.#draw();
    this.#loadBoxes();
  }

  /** Show one cell of the image in its field. */
  lookAt(cell) {
    this.#boxed = true;
    this.#viewer.wanted = cell;
    this.#draw();
    this.#loadBoxes(cell);
  }

  /** Fetch the boxes once they are wanted, and anew when an analysis has ended since. */
  async #loadBoxes(wanted = null) {
    const { cells, id, revision } = this.#subject ?? {};
    if (!this.#boxed || !cells) return void (this.#viewer.boxes = []);
    const key = `${id} ${revision}`;
    if (this.#boxes.key !== key) {
      this.#boxes = { key, cells: request(cells).then((answer) => (answer.ok ? answer.json() : null)) };
    }
    const told = await this.#boxes.cells.catch(() => null);
    if (this.#boxes.key !== key) return; // the reader has gone on
    if (!told) this.#boxes = { key: "", cells: null };
    this.#viewer.boxes = this.#boxed ? told?.cells ?? [] : [];
    if (wanted && told && !told.cells.some((one) => one.id === wanted)) {
      announce("This cell belongs to an earlier analysis of the image.");
    }
  }

  toggleOverlay() {
    if (this.overlayButton.disabled) return;
    this.#wish(!this.#viewer.overlayVisible);
    announce(this.#viewer.overlayVisible ? "Overlay shown" : "Overlay hidden");
    this.#remember();
    this.#draw();
  }

  toggleProcessed() {
    if (this.processedButton.disabled) return;
    this.#viewer.mode = this.#viewer.mode === "processed" ? "image" : "processed";
    announce(this.#viewer.mode === "processed" ? "The image as the network saw it" : "The image as uploaded");
    this.#draw();
  }

  nextMethod() {
    const free = this.methodButtons.filter((button) => !button.disabled);
    const at = free.findIndex((button) => button.dataset.method === this.method);
    if (free.length) this.#choose(free[(at + 1) % free.length].dataset.method);
  }

  zoom(factor) {
    this.#viewer.zoom(factor);
  }

  fit() {
    this.#viewer.fit();
  }

  /** Show or hide the overlay: of this image alone where it is no result, else from now on. */
  #wish(visible) {
    this.#viewer.overlayVisible = visible;
    if (!this.#subject?.reserved) this.#liked = visible;
    else if (visible) this.#asked.add(this.#subject.id);
    else this.#asked.delete(this.#subject.id);
  }

  #use(tool) {
    if (tool === "overlay") this.toggleOverlay();
    if (tool === "processed") this.toggleProcessed();
    if (tool === "cells") this.toggleCells();
    if (tool === "in") this.zoom(1.5);
    if (tool === "out") this.zoom(1 / 1.5);
    if (tool === "fit") this.fit();
    if (tool === "actual") this.#viewer.actualSize();
  }

  #choose(method) {
    this.method = method;
    this.#viewer.method = method;
    this.#wish(true);
    announce(`${this.methodButtons.find((button) => button.dataset.method === method).textContent} overlay`);
    this.#remember();
    this.#draw();
  }

  /** Bring every tool in line with what the viewer shows and what the image has. */
  #draw() {
    const overlays = this.#subject?.overlays ?? {};
    const any = Object.keys(overlays).length > 0;
    const on = any && this.#viewer.overlayVisible;
    this.overlayButton.disabled = this.slider.disabled = !any;
    this.overlayButton.setAttribute("aria-pressed", String(on));
    this.processedButton.disabled = !this.#subject?.processed;
    this.processedButton.setAttribute("aria-pressed", String(this.#viewer.mode === "processed"));
    this.cellsButton.disabled = !this.#subject?.cells;
    this.cellsButton.setAttribute("aria-pressed", String(this.#boxed));
    for (const button of this.methodButtons) {
      button.disabled = !(button.dataset.method in overlays);
      button.setAttribute("aria-pressed", String(on && button.dataset.method === this.method));
    }
    for (const tool of this.#root.querySelectorAll("[data-tool=in], [data-tool=out], [data-tool=fit], [data-tool=actual]")) {
      tool.disabled = !this.#subject;
    }
    this.#root.querySelector("output").textContent = `${this.slider.value} %`;
    const phrase = this.#root.querySelector(".phrase");
    phrase.hidden = !on;
    phrase.textContent = this.#subject?.reserved ? phrase.dataset.reserved : phrase.dataset.result;
  }

  #say(title, sentence) {
    this.word.querySelector("strong").textContent = title;
    this.word.querySelector("p").textContent = sentence;
    this.word.hidden = false;
  }

  #remember() {
    try {
      const liked = { visible: this.#liked, cells: this.#boxed, method: this.method, opacity: this.slider.value };
      localStorage.setItem(TASTE, JSON.stringify(liked));
    } catch {
      // without storage the taste lasts until the page is left
    }
  }
}
