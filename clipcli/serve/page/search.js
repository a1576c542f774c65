// The library: by text, by image, by both; and from each hit on to what is like it.

import { ask, askJson } from "./api.js";
import { element, toast, toClipboard } from "./dom.js";
import { command, named, weighted } from "./shell.js";
import { say } from "./words.js";

const PAGE = 48;

const $ = (id) => document.getElementById(id);
let info;
let example = null; // {name, data} of an upload, or {name, id, path} of an image of the library
let running = new AbortController();
let urls = [];
let shown = 0;

export function start(found) {
  info = found;
  if (!info.library) return;
  $("to-search").hidden = false;
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    find();
  });
  $("search-files").addEventListener("change", ({ target }) => {
    add([...target.files]);
    target.value = "";
  });
  $("example-remove").addEventListener("click", () => {
    choose(null);
    $("query").focus();
    if ($("query").value.trim()) find();
  });
  $("weight").addEventListener("input", showWeight);
  $("weight").addEventListener("change", () => find());
  $("query").addEventListener("input", showWeight);
  $("more").addEventListener("click", () => load(true));
  $("search-copy").addEventListener("click", copy);
  welcome();
  addEventListener("popstate", ({ state }) => state?.query && restore(state.query));
}

export async function add([file]) {
  if (!file || !info.library) return;
  const data = await read(file);
  choose({ name: file.name, data }, data);
  find();
}

export function retell() {
  showWeight();
  if (shown) load();
  else if (info.library) welcome();
}

function welcome() {
  $("search-status").textContent = say("library", { name: info.library.name, all: info.library.images });
}

function choose(wanted, picture = null) {
  example = wanted;
  $("example").hidden = !wanted;
  $("example-name").textContent = wanted?.name ?? "";
  if (picture) $("example-image").src = picture;
  showWeight();
}

function showWeight() {
  const text = Number($("weight").value);
  $("weight-box").hidden = !(example && $("query").value.trim());
  $("weight-text").textContent = say("weight", { text, image: 100 - text });
}

function terms() {
  const text = $("query").value.trim();
  const share = text && example ? Number($("weight").value) / 50 : 1;
  const found = text ? [{ kind: "text", value: text, weight: share }] : [];
  if (example) {
    const weight = text ? 2 - share : 1;
    found.push(example.data ? { kind: "image", value: example.data, weight } : { kind: "id", value: example.id, weight });
  }
  return found.map((term) => ({ ...term, weight: Math.round(term.weight * 100) / 100 }));
}

function find() {
  if (!terms().length) return;
  const { data, ...kept } = example ?? {};
  const query = { text: $("query").value, weight: $("weight").value, example: example && !data ? kept : null };
  history.pushState({ query }, "", "#search");
  load();
}

function restore(query) {
  $("query").value = query.text;
  $("weight").value = query.weight;
  choose(query.example);
  if (query.example) picture(query.example.id, "thumb").then((url) => ($("example-image").src = url));
  if (terms().length) load();
}

async function load(further = false) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const status = $("search-status");
  status.classList.remove("wrong");
  status.textContent = say("searching");
  try {
    const skip = further ? shown : 0;
    const answer = await askJson("/api/search", { body: { terms: terms(), top: PAGE, skip }, signal });
    if (!further) forget();
    shown = skip + answer.results.length;
    const items = answer.results.map((hit) => item(hit, signal));
    $("hits").append(...items);
    if (further) items[0]?.querySelector("button").focus();
    status.textContent = shown ? say("hits", { count: shown, all: answer.summary.searched }) : say("noHits");
    $("more").hidden = answer.results.length < PAGE;
    $("search-copy").hidden = false;
  } catch (error) {
    if (error.name === "AbortError") return;
    status.textContent = error.message;
    status.classList.add("wrong");
  }
}

function forget() {
  for (const url of urls) URL.revokeObjectURL(url);
  urls = [];
  shown = 0;
  $("hits").replaceChildren();
}

function item(hit, signal) {
  const name = hit.path.split("/").pop();
  const image = element("img", { alt: name, width: 320, height: 320 });
  const open = element("button", { className: "image", type: "button", title: say("similarTo", { name }) }, image);
  open.setAttribute("aria-label", say("similarTo", { name }));
  const similar = () => {
    choose({ name, id: hit.id, path: hit.path }, image.src);
    $("query").value = "";
    showWeight();
    find();
    $("search-title").focus(); // what had the focus goes away with the hits
    scrollTo({ top: 0 });
  };
  open.addEventListener("click", similar);
  const view = element("button", { className: "plain", type: "button", textContent: say("view") });
  view.setAttribute("aria-label", `${say("view")}: ${name}`);
  view.addEventListener("click", () => enlarge(hit, similar));
  const figures = say("figures", { cosine: hit.cosine.toFixed(3), z: hit.z.toFixed(1) });
  const title = element("span", { className: "name", textContent: name, title: hit.path }, element("span", { className: "figures", textContent: figures }));
  picture(hit.id, "thumb", signal).then((url) => (image.src = url), () => open.classList.add("wrong"));
  return element("li", {}, open, element("div", { className: "about" }, title, view));
}

async function picture(id, size, signal) {
  const blob = await (await ask(`/api/${size}/${id}`, { signal })).blob();
  const url = URL.createObjectURL(blob);
  urls.push(url);
  return url;
}

async function enlarge(hit, similar) {
  const dialog = $("view");
  $("view-image").removeAttribute("src");
  $("view-image").alt = $("view-name").textContent = hit.path;
  dialog.returnValue = "";
  dialog.addEventListener("close", () => dialog.returnValue === "similar" && similar(), { once: true });
  dialog.showModal();
  try {
    $("view-image").src = await picture(hit.id, "image");
  } catch (error) {
    $("view-name").textContent = error.message;
  }
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

async function copy() {
  const words = ["search"];
  for (const { kind, value, weight } of terms()) {
    if (kind === "text") words.push("--text", weighted(value, weight));
    else words.push("--like", weighted(example.path ?? named(example.name), weight));
  }
  await toClipboard(command([...words, "--top", String(shown || PAGE), "--library", info.library.place]));
  toast(say("copied"));
}
