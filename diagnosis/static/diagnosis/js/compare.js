// One image beside reviewed ones: two viewers, and the other one changed without leaving the page.

import { bindKeys } from "./keys.js";
import { Viewer } from "./viewer.js";

const sides = [...document.querySelectorAll("#pair .stage")].map((stage) => {
  const view = stage.querySelector(".view");
  const zoom = stage.querySelector(".zoom");
  view.querySelector(".plain")?.remove();
  const viewer = new Viewer(view.querySelector(".canvas"), {
    onZoom: (percent) => (zoom.textContent = percent === null ? "" : `${percent} %`),
    onError: () => (zoom.textContent = "The picture could not be loaded."),
  });
  view.querySelector("[role=img]")?.setAttribute("aria-label", `Viewer, ${view.dataset.name}`);
  const show = (id, file) => file && viewer.show({ id, file, processed: "", overlays: {} });
  show(stage.id || "at-hand", view.dataset.file);
  return { viewer, show };
});

const choices = [...document.querySelectorAll(".onecompared")];

function choose(one) {
  for (const other of choices) other.removeAttribute("aria-current");
  one.setAttribute("aria-current", "true");
  document.getElementById("beside").textContent = one.dataset.caption;
  sides[1].show(one.dataset.image, one.dataset.file);
  history.replaceState(null, "", one.href);
  one.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function step(by) {
  if (!choices.length) return false;
  const at = choices.findIndex((one) => one.matches("[aria-current]"));
  choose(choices[(at + by + choices.length) % choices.length]);
}

document.addEventListener("click", (event) => {
  const one = event.target.closest(".onecompared");
  if (!one || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  choose(one);
});

const both = (act) => sides.forEach(({ viewer }) => act(viewer));
bindKeys({
  j: () => step(1), ArrowRight: () => step(1),
  k: () => step(-1), ArrowLeft: () => step(-1),
  "+": () => both((viewer) => viewer.zoom(1.5)), "=": () => both((viewer) => viewer.zoom(1.5)),
  "-": () => both((viewer) => viewer.zoom(1 / 1.5)),
  z: () => both((viewer) => viewer.fit()), 0: () => both((viewer) => viewer.fit()),
  r: () => document.getElementById("back").click(),
  "?": () => document.getElementById("keys").showModal(),
});
