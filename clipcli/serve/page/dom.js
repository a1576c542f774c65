// Small pieces that both views are made of.

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Where a page is served without encryption to another machine, browsers withhold their clipboard.
export async function toClipboard(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const before = document.activeElement;
  const place = element("textarea", { className: "hidden", value: text });
  document.body.append(place);
  place.select();
  document.execCommand("copy");
  place.remove();
  before.focus();
}

let fading;

export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => place.classList.remove("shown"), 2500);
}
