// How long a reader has looked at something, counted only while the page is in front of her.

/** Clocks by name: one runs at a time, and goes on from where it was when it is started again. */
export class Clocks {
  #spent = new Map();
  #running = "";
  #since = 0;

  constructor() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#stop() : this.#go()));
  }

  /** Let the clock of this name run, and none other; "" stops them all. */
  start(name) {
    if (name === this.#running) return;
    this.#stop();
    this.#running = name;
    if (!document.hidden) this.#go();
  }

  /** Seconds on the clock that runs. */
  get seconds() {
    const now = this.#since ? performance.now() - this.#since : 0;
    return ((this.#spent.get(this.#running) ?? 0) + now) / 1000;
  }

  #go() {
    if (this.#running) this.#since = performance.now();
  }

  #stop() {
    if (this.#since) {
      this.#spent.set(this.#running, (this.#spent.get(this.#running) ?? 0) + performance.now() - this.#since);
    }
    this.#since = 0;
  }
}
