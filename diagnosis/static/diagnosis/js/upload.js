// Uploads: a drop zone, a line for each file with its progress and outcome, two files on their way at a time.
// A refused file gets the server's sentence and the others go on; a broken connection gets a button to try again. When
// the session ends or the screen locks, what is not sent yet waits on the list, and goes on when somebody is back.

import { carriesFiles, chosenFiles, droppedFiles } from "./dropped.js";
import { locked } from "./lock.js";
import { UNREACHABLE, announce, parseFragment, refreshToken } from "./net.js";

const AT_ONCE = 2;
const MARKS = { waiting: "", sending: "", done: "○", refused: "!", broken: "!" };

const size = (bytes) =>
  bytes >= 1e6 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : bytes >= 1024 ? `${Math.round(bytes / 1024)} KiB` : `${bytes} B`;

const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/** One file of the list: its line on the page and its way to the server. */
class Upload {
  state = "waiting";

  constructor(file, onRetry) {
    this.file = file;
    this.line = document.createElement("li");
    this.mark = this.#add("span", "mark");
    const name = this.#add("span", "name");
    name.textContent = file.name;
    name.title = file.name;
    const small = document.createElement("small");
    small.textContent = size(file.size);
    name.append(small);
    this.what = this.#add("span", "what");
    this.end = this.#add("span", "end");
    this.onRetry = onRetry;
    this.set("waiting", "waiting");
  }

  #add(tag, className) {
    const element = document.createElement(tag);
    element.className = className;
    this.line.append(element);
    return element;
  }

  set(state, sentence) {
    this.state = state;
    this.line.className = state;
    this.mark.textContent = MARKS[state];
    this.mark.classList.toggle("caution", state === "refused" || state === "broken");
    this.what.textContent = sentence;
    this.end.replaceChildren();
    if (state === "broken") {
      const again = document.createElement("button");
      again.type = "button";
      again.className = "btn small";
      again.textContent = "Try again";
      again.setAttribute("aria-label", `Try again: ${this.file.name}`);
      again.addEventListener("click", () => this.onRetry(this));
      this.end.append(again);
    }
  }

  /**
   * Send the file; resolves when its outcome is on the page, with "ended" or "locked" where it waits for somebody to
   * log in again or to unlock the screen, else with "".
   */
  send(url, token) {
    const bar = document.createElement("progress");
    bar.max = this.file.size || 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `Upload of ${this.file.name}`);
    this.set("sending", "");
    this.what.append(bar);
    return new Promise((resolve) => {
      const xhr = new XMLHttpRequest();
      xhr.open("POST", url);
      xhr.responseType = "json";
      xhr.setRequestHeader("Accept", "application/json");
      xhr.setRequestHeader("X-Requested-With", "leukoscope");
      xhr.setRequestHeader("X-CSRFToken", token);
      xhr.upload.addEventListener("progress", (event) => {
        bar.value = event.loaded;
        if (event.loaded >= event.total) bar.removeAttribute("value"); // sent; the server is looking at it
      });
      const broken = () => {
        this.set("broken", UNREACHABLE);
        resolve("");
      };
      xhr.addEventListener("error", broken);
      xhr.addEventListener("abort", broken);
      xhr.addEventListener("load", () => {
        resolve(this.#finish(xhr));
      });
      const body = new FormData();
      body.append("files", this.file);
      xhr.send(body);
    });
  }

  #finish(xhr) {
    const message = xhr.response?.message;
    if (xhr.status === 401) {
      this.set("waiting", "not sent yet");
      return xhr.response?.locked ? "locked" : "ended";
    }
    if (xhr.status === 201) this.set("done", message);
    else if (message && xhr.status < 500) this.set("refused", message);
    else this.set("broken", "The server could not take this file; try again.");
    return "";
  }
}

/** The list of one form. Emits `leukoscope:uploaded` after each good file and `leukoscope:uploads-ended`. */
export class UploadList {
  #form;
  #url;
  #uploads = [];
  #sending = 0;
  #held = null; // what goes on when somebody is back; null: nobody is waited for

  constructor(form) {
    this.#form = form;
    this.#url = form.dataset.upload;
    this.list = form.querySelector(".uploads");
    this.summary = form.querySelector(".uploadsum");
    this.notice = form.querySelector(".uploadheld");
    this.notice.querySelector("button").addEventListener("click", () => this.#goOn());
    addEventListener("beforeunload", (event) => {
      if (this.#sending || (this.#url && this.#waiting.length)) event.preventDefault();
    });
    document.addEventListener("leukoscope:logged-out", (event) => {
      if (!this.#sending && !this.#waiting.length && !this.#how("broken")) return;
      event.preventDefault();
      this.hold("ended");
    });
  }

  get size() {
    return this.#uploads.length;
  }

  get #waiting() {
    return this.#uploads.filter((upload) => upload.state === "waiting");
  }

  #how(state) {
    return this.#uploads.filter((upload) => upload.state === state).length;
  }

  /** Put files on the list, and on their way when there is a case to send them to. */
  add(files) {
    const limit = Number(this.#form.dataset.maxBytes);
    for (const file of files) {
      const upload = new Upload(file, (again) => this.#again(again));
      this.#uploads.push(upload);
      this.list.append(upload.line);
      if (file.size > limit) upload.set("refused", this.#form.dataset.tooLarge);
      else if (!this.#url) upload.set("waiting", "goes on its way when the case is opened");
    }
    this.#advance();
  }

  /** The case exists now: send everything to `url`. */
  start(url) {
    this.#url = url;
    this.#advance();
  }

  /**
   * Send nothing more until somebody is back: who has unlocked the screen ("locked") or, logged in again elsewhere, has
   * said so ("ended"). Then `resume` is called, if it is given, and the list goes on. Who holds it again without one
   * leaves the one that waits.
   */
  async hold(why, resume) {
    const before = this.#held;
    this.#held = resume ?? before ?? (() => {});
    if (why === "locked") {
      if (before) return; // waited for already
      await locked();
      return this.#goOn();
    }
    this.notice.hidden = false;
    this.#summarise();
    this.#emit("uploads-held");
  }

  async #goOn() {
    const resume = this.#held ?? (() => {});
    this.notice.hidden = true;
    await refreshToken(this.#form);
    this.#held = null;
    resume();
    this.#advance();
  }

  async #again(upload) {
    await refreshToken(this.#form);
    upload.set("waiting", "waiting");
    this.#advance();
  }

  #advance() {
    while (this.#url && !this.#held && this.#sending < AT_ONCE) {
      const upload = this.#waiting[0];
      if (!upload) break;
      this.#sending += 1;
      const token = this.#form.elements.namedItem("csrfmiddlewaretoken").value;
      upload.send(this.#url, token).then((why) => {
        this.#sending -= 1;
        if (why) this.hold(why);
        if (upload.state === "done") this.#emit("uploaded");
        this.#advance();
        if (!this.#sending && !this.#waiting.length) this.#ended();
      });
    }
    this.#summarise();
  }

  #summarise() {
    const total = this.#uploads.length;
    this.summary.hidden = !total;
    const [done, refused, broken] = ["done", "refused", "broken"].map((state) => this.#how(state));
    const bar = this.summary.querySelector("progress");
    bar.max = total || 1;
    bar.value = done + refused + broken;
    bar.hidden = done + refused + broken === total;
    const parts = [this.#url ? `${done} of ${count(total, "file")} uploaded` : `${count(total, "file")} chosen`];
    if (refused) parts.push(`${refused} refused`);
    if (broken) parts.push(`${broken} interrupted`);
    if (this.#url && this.#held) parts.push(`${this.#waiting.length} not sent yet`);
    this.summary.querySelector("span").textContent = parts.join(", ");
  }

  #ended() {
    announce(this.summary.querySelector("span").textContent);
    this.#emit("uploads-ended", {
      done: this.#how("done"),
      refused: this.#how("refused"),
      broken: this.#how("broken"),
    });
  }

  #emit(name, detail = {}) {
    this.#form.dispatchEvent(new CustomEvent(`leukoscope:${name}`, { bubbles: true, detail }));
  }
}

/** Let files be dropped anywhere on the page, or chosen, and put on the list of `form`. */
export function acceptFiles(form, list) {
  const files = form.querySelector("input[name=files]");
  const folder = form.querySelector("input.folder");
  form.querySelector(".pick").addEventListener("click", () => files.click());
  form.querySelector(".pick-folder").addEventListener("click", () => folder.click());
  for (const input of [files, folder]) {
    input.addEventListener("change", () => {
      const chosen = chosenFiles(input.files);
      input.value = ""; // the list holds them; the field must not send them a second time
      list.add(chosen);
    });
  }
  let depth = 0;
  const dragging = (on) => document.body.classList.toggle("dragging", on);
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    dragging(true);
    form.dispatchEvent(new CustomEvent("leukoscope:drag", { bubbles: true }));
  });
  addEventListener("dragleave", (event) => {
    if (carriesFiles(event) && (depth = Math.max(0, depth - 1)) === 0) dragging(false);
  });
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    dragging(false);
    list.add(await droppedFiles(event));
  });
  form.dataset.ready = "";
}

/** New case: make the case from the form's fields, then send the files to it; nothing chosen is lost on the way. */
export function openCaseFirst(form, list) {
  let caseUrl = "";
  const fail = (sentence) => {
    const failure = form.querySelector(":scope > .formerror");
    failure.textContent = sentence;
    failure.hidden = !sentence;
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const submit = form.querySelector("button[type=submit]");
    submit.disabled = true;
    fail("");
    try {
      const body = new FormData(form);
      body.delete("files");
      const response = await fetch(form.action, {
        method: "POST",
        body,
        headers: { Accept: "application/json", "X-Requested-With": "leukoscope" },
      });
      // The chosen files would be lost with the page, so it stays; the next try comes with a fresh token.
      if (response.status === 401) {
        const answer = await response.json().catch(() => ({}));
        list.hold(answer.locked ? "locked" : "ended", () => form.requestSubmit());
        return;
      }
      if (response.status === 403) {
        await refreshToken(form);
        return fail("The page was out of date; open the case again.");
      }
      if (response.status === 422) {
        const fields = parseFragment(await response.text());
        form.querySelector("#casefields").replaceWith(fields);
        fields.querySelector("[aria-invalid=true]")?.focus();
        return;
      }
      if (!response.ok) throw new Error(String(response.status));
      const made = await response.json();
      caseUrl = made.case_url;
      if (!list.size) return location.assign(caseUrl);
      form.querySelector("#casefields").disabled = true;
      form.querySelector(".formfoot").hidden = true;
      const open = document.getElementById("opened");
      open.querySelector("b").textContent = made.accession_number;
      open.querySelector("a").href = caseUrl;
      open.hidden = false;
      // A reload from here on shows the case and what has arrived in it.
      history.replaceState(null, "", caseUrl);
      list.start(made.upload_url);
    } catch {
      fail(UNREACHABLE);
    } finally {
      submit.disabled = false;
    }
  });
  form.addEventListener("leukoscope:uploads-ended", ({ detail }) => {
    if (!caseUrl) return;
    if (!detail.refused && !detail.broken) location.assign(caseUrl);
    else document.querySelector("#opened a").focus();
  });
}
