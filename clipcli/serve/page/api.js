// Requests to the server: the key where one is asked for, waiting where it is busy.

import { say } from "./words.js";

const BUSY_TRIES = 20;

let key = sessionStorage.getItem("key") ?? "";
let asking = null;

export async function ask(path, { body, signal } = {}) {
  for (let tries = 0; ; tries += 1) {
    const used = key;
    const response = await reach(path, body, signal, used);
    if (response.ok) return response;
    if (response.status === 401) {
      if (used === key) await askForKey();
    } else if (response.status === 429 && tries < BUSY_TRIES) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get("retry-after") ?? 1)));
    } else {
      const { error } = await response.json().catch(() => ({ error: { message: `HTTP ${response.status}` } }));
      throw new Error(error.message);
    }
  }
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

export function form(fields, images = []) {
  const data = new FormData();
  for (const [name, value] of fields) data.append(name, value);
  for (const image of images) data.append("image", image, image.name);
  return data;
}

async function reach(path, body, signal, used) {
  const json = body !== undefined && !(body instanceof FormData);
  const headers = { ...(json && { "content-type": "application/json" }), ...(used && { authorization: `Bearer ${used}` }) };
  const sent = json ? JSON.stringify(body) : body;
  try {
    return await fetch(path, { method: body === undefined ? "GET" : "POST", body: sent, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(say("unreachable"));
  }
}

function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    const field = document.getElementById("key");
    dialog.addEventListener("close", () => {
      key = field.value.trim();
      sessionStorage.setItem("key", key);
      asking = null;
      resolve();
    }, { once: true });
    field.value = "";
    document.getElementById("key-wrong").hidden = !key;
    dialog.showModal();
  });
  return asking;
}
