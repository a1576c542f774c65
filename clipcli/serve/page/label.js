// Images on one side, labels on the other: scores as they come, one request per image.

import { askJson, form } from "./api.js";
import { element, toast, toClipboard } from "./dom.js";
import { command, listed, named } from "./shell.js";
import { say } from "./words.js";

const AT_ONCE = 4;
const PATIENCE_MS = 350;

const $ = (id) => document.getElementById(id);
const cards = [];
let info;
let running = new AbortController();
let timer;

export function start(found) {
  info = found;
  for (const each of info.label_sets) $("set").append(new Option(`${each.name} (${each.labels.length})`, each.name));
  $("set-box").hidden = !info.label_sets.length;
  if (info.label_sets.length) $("set").prepend(new Option(say("ownLabels"), ""));
  $("set").value = info.label_sets[0]?.name ?? "";
  $("labels").addEventListener("input", () => {
    if ($("labels").value.trim()) $("set").value = "";
    later();
  });
  $("set").addEventListener("change", () => {
    if ($("set").value) $("labels").value = "";
    scoreAll();
  });
  $("question").addEventListener("change", scoreAll);
  $("label-files").addEventListener("change", ({ target }) => {
    add([...target.files]);
    target.value = "";
  });
  $("clear").addEventListener("click", clear);
  $("label-copy").addEventListener("click", () => copy());
  show();
}

export function add(files) {
  const images = files.filter((each) => each.type.startsWith("image/") || !each.type);
  if (images.length < files.length) toast(say("notImages", { count: files.length - images.length }));
  for (const file of images) {
    const url = URL.createObjectURL(file);
    const scores = element("ul", { className: "scores" });
    const about = element("div", { className: "about" }, element("div", { className: "name", textContent: file.name, title: file.name }), scores);
    const map = element("canvas", { hidden: true });
    const item = element("li", {}, element("div", { className: "picture" }, element("img", { src: url, alt: file.name }), map), about);
    $("cards").append(item);
    cards.push({ file, url, item, scores, map });
  }
  scoreAll();
}

export function relabel() {
  if ($("set").options[0]?.value === "") $("set").options[0].textContent = say("ownLabels");
  show();
  scoreAll();
}

function clear() {
  running.abort();
  for (const card of cards.splice(0)) {
    URL.revokeObjectURL(card.url);
    card.item.remove();
  }
  show();
  $("label-files").focus();
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(scoreAll, PATIENCE_MS);
}

function labels() {
  return $("labels").value.split(/[,，、]/).map((each) => each.trim()).filter(Boolean);
}

function ready() {
  return cards.length && (labels().length || $("set").value || info.classes);
}

function show(done = null) {
  const status = $("label-status");
  $("clear").hidden = !cards.length;
  $("label-copy").hidden = !ready();
  status.classList.remove("wrong");
  if (!labels().length && !$("set").value && !info.classes) status.textContent = say("noLabels");
  else if (!cards.length) status.textContent = say("noImages");
  else if (done === null || done === cards.length) status.textContent = say("scored", { all: cards.length });
  else status.textContent = say("scoring", { done, all: cards.length });
}

async function scoreAll() {
  clearTimeout(timer);
  running.abort();
  running = new AbortController();
  const { signal } = running;
  show(0);
  if (!ready()) return;
  const waiting = [...cards];
  let done = 0;
  for (const card of waiting) card.item.classList.add("waiting");
  const work = async () => {
    for (let card = waiting.shift(); card && !signal.aborted; card = waiting.shift()) {
      await score(card, signal);
      if (signal.aborted) return;
      show((done += 1));
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    running.abort();
    for (const card of cards) card.item.classList.remove("waiting");
    $("label-status").textContent = error.message;
    $("label-status").classList.add("wrong");
  }
}

async function score(card, signal) {
  const kind = $("question").value;
  const own = labels().map((label) => ["labels", `"${label.replaceAll('"', '""')}"`]);
  const set = $("set").value && !own.length ? [["label_set", $("set").value]] : [];
  const answer = await askJson(`/api/${kind}`, { body: form([...own, ...set], [card.file]), signal });
  const [row] = answer.results;
  card.item.classList.remove("waiting");
  card.map.hidden = true;
  card.scores.replaceChildren(...rows(row, card));
}

function rows(row, card) {
  if (row.status === "error") return [element("li", { className: "wrong", textContent: row.error.message })];
  const found = row.predictions ?? row.tags;
  if (!found.length) return [element("li", {}, element("span", { textContent: say("none") }))];
  return found.map(({ label, score, cosine }) => {
    const shown = score === null ? cosine.toFixed(3) : `${(100 * score).toFixed(1)}%`;
    const name = element("button", { type: "button", textContent: label, title: say("where", { label }) });
    name.disabled = info.classes !== null;
    name.setAttribute("aria-pressed", false);
    name.addEventListener("click", () => locate(card, name, label));
    const line = element("li", {}, name, element("b", { textContent: shown }));
    line.style.setProperty("--share", score ?? 0);
    return line;
  });
}

// Show where in the image a label matches; asked for again, hide it.
async function locate(card, button, label) {
  const shown = button.getAttribute("aria-pressed") === "true";
  unlocate(card);
  if (shown) return;
  button.setAttribute("aria-pressed", true);
  const { signal } = running;
  card.item.classList.add("waiting");
  try {
    const fields = [["labels", `"${label.replaceAll('"', '""')}"`]];
    const { results } = await askJson("/api/explain", { body: form(fields, [card.file]), signal });
    if (results[0].error) throw new Error(results[0].error.message);
    if (button.getAttribute("aria-pressed") === "true") draw(card.map, results[0]);
  } catch (error) {
    if (error.name === "AbortError") return;
    button.setAttribute("aria-pressed", false);
    $("label-status").textContent = error.message;
    $("label-status").classList.add("wrong");
  } finally {
    card.item.classList.remove("waiting");
  }
}

function unlocate(card) {
  card.map.hidden = true;
  for (const each of card.scores.querySelectorAll("button")) each.setAttribute("aria-pressed", false);
}

// A cell of the map is a pixel of a small canvas, which is then drawn smoothly over the image in its shape.
function draw(canvas, { width, height, maps }) {
  const { grid } = maps[0];
  const small = element("canvas", { width: grid[0].length, height: grid.length });
  const pixels = new ImageData(small.width, small.height);
  grid.flat().forEach((heat, i) => pixels.data.set([255, 70, 20, 190 * Math.min(1, Math.max(0, heat))], 4 * i));
  small.getContext("2d").putImageData(pixels, 0, 0);
  canvas.width = 480;
  canvas.height = Math.max(1, Math.round((480 * height) / width));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
}

async function copy() {
  const own = labels();
  const which = own.length ? ["--labels", listed(own)] : $("set").value ? ["--label-set", $("set").value] : [];
  const names = cards.map(({ file }) => named(file.name));
  await toClipboard(command([$("question").value, ...names, ...which, "--model", info.model]));
  toast(say("copied"));
}
