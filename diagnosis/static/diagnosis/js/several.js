// Several images of the film strip, read at once: picking them, the bar that reads them, and undo.

import { LoggedOut, UNREACHABLE, announce, request } from "./net.js";

/**
 * Wires the boxes of the strip to the bar `form`. `onChange` is called once readings were added or taken back.
 */
export class Several {
  #strip;
  #form;
  #onChange;
  #last = null;
  #batch = "";

  constructor(strip, form, onChange) {
    this.#strip = strip;
    this.#form = form;
    this.#onChange = onChange;
    strip.addEventListener("click", (event) => {
      const box = event.target.closest("input.pick");
      if (!box) return;
      if (event.shiftKey && this.#last) this.#range(this.#last, box);
      this.#last = box;
    });
    strip.addEventListener("change", () => this.#draw());
    form.addEventListener("click", (event) => this.#use(event.target.closest("[data-does]")?.dataset.does));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(event.submitter);
    });
    this.#draw();
  }

  /** How many are picked. */
  get count() {
    return this.#picked().length;
  }

  get canUndo() {
    return Boolean(this.#batch);
  }

  /** Pick an image, or leave it out again. */
  toggle(id) {
    const box = this.#strip.querySelector(`input.pick[value="${CSS.escape(id)}"]`);
    if (!box) return;
    box.checked = !box.checked;
    this.#last = box;
    this.#draw();
    announce(`${this.count} selected`);
  }

  clear() {
    for (const box of this.#boxes()) box.checked = false;
    this.#draw();
  }

  /** Take the last action back. */
  async undo() {
    const body = new FormData(this.#form);
    body.set("batch", this.#batch);
    await this.#post(this.#form.dataset.undo, body);
  }

  focus() {
    this.#form.querySelector("button").focus();
  }

  #boxes() {
    return [...this.#strip.querySelectorAll("input.pick")];
  }

  #picked() {
    return this.#boxes().filter((box) => box.checked);
  }

  #range(from, to) {
    const boxes = this.#boxes();
    const [begin, end] = [boxes.indexOf(from), boxes.indexOf(to)].sort((a, b) => a - b);
    if (begin >= 0) for (const box of boxes.slice(begin, end + 1)) box.checked = to.checked;
  }

  #use(what) {
    if (what === "all") for (const box of this.#boxes()) box.checked = true;
    if (what === "none") return this.#close();
    if (what === "undo") this.undo();
    this.#draw();
  }

  #close() {
    this.#batch = "";
    this.#say("", []);
    this.clear();
  }

  #draw() {
    const number = this.count;
    this.#strip.classList.toggle("picking", number > 0);
    this.#form.hidden = !number && !this.#form.querySelector(".said").textContent;
    this.#form.querySelector(".picked").textContent = number ? `${number} selected` : "";
    for (const part of this.#form.querySelectorAll(".acts")) part.hidden = !number;
    this.#form.querySelector("[data-does=undo]").hidden = !this.#batch;
  }

  async #send(button) {
    const body = new FormData(this.#form);
    body.set("verdict", button.dataset.verdict);
    for (const box of this.#picked()) {
      // What the strip shows is what she agrees with: the analysis whose mark stands there.
      const revision = this.#strip.querySelector(`#mark-${CSS.escape(box.value)}`)?.dataset.revision ?? "none";
      body.append("image", `${box.value}:${revision.split(":")[0]}`);
    }
    const told = await this.#post(this.#form.action, body);
    if (!told?.done) return;
    for (const box of this.#picked()) box.checked = told.refused.some((one) => one.image === box.value);
    if (!told.refused.length) this.#form.elements.namedItem("comment").value = "";
    this.#draw();
  }

  /** Send, and tell how it ended; what was picked and typed stays where anything was refused. */
  async #post(url, body) {
    const buttons = this.#form.querySelectorAll("button");
    buttons.forEach((button) => (button.disabled = true));
    try {
      const response = await request(url, { method: "POST", body });
      const told = await response.json().catch(() => null);
      if (!told) throw new Error(String(response.status));
      if (told.done) this.#batch = told.batch;
      this.#say(told.message, told.refused ?? []);
      if (told.done?.length) this.#onChange();
      return told;
    } catch (error) {
      if (!(error instanceof LoggedOut)) this.#say(UNREACHABLE, []);
      return null;
    } finally {
      buttons.forEach((button) => (button.disabled = false));
    }
  }

  #say(sentence, refused) {
    this.#form.querySelector(".said").textContent = sentence;
    const list = this.#form.querySelector(".refusals");
    list.replaceChildren(
      ...refused.map((one) => {
        const item = document.createElement("li");
        item.textContent = `Image ${one.number}: ${one.message}`;
        return item;
      }),
    );
    this.#draw();
    if (sentence) announce([sentence, ...refused.map((one) => `Image ${one.number}: ${one.message}`)].join(" "));
  }
}
