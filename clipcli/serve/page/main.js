// Which view is shown, and what is dropped and pasted where.

import { askJson } from "./api.js";
import { dropped } from "./drop.js";
import * as label from "./label.js";
import * as search from "./search.js";
import { speak } from "./words.js";

const $ = (id) => document.getElementById(id);
const views = { label, search };

function current() {
  return location.hash === "#search" && !$("to-search").hidden ? "search" : "label";
}

function show() {
  for (const name of Object.keys(views)) {
    $(name).hidden = name !== current();
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === current()) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function take(files) {
  if (files.length) views[current()].add([...files]);
}

$("language").value = speak();
$("language").addEventListener("change", ({ target }) => {
  speak(target.value);
  label.relabel();
  search.retell();
});
addEventListener("hashchange", show);
addEventListener("paste", ({ clipboardData }) => take(clipboardData.files));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? document.body.classList.remove("dragging"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  dropped(event.dataTransfer).then(take);
});

try {
  const info = await askJson("/api/info");
  $("model").textContent = $("model").title = info.model;
  label.start(info);
  search.start(info);
  show();
} catch (error) {
  $("main").append(Object.assign(document.createElement("p"), { className: "wrong", textContent: error.message }));
}
