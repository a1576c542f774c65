// What the page says, in each language that it speaks.

const WORDS = {
  en: {
    skip: "Skip to the content", views: "Views", language: "Language",
    label: "Label", search: "Search",
    labelTitle: "What is in these images?", searchTitle: "Find images",
    labels: "Labels, with commas", labelsHint: "cat, dog, a red car", labelSet: "Label set", ownLabels: "Your own labels",
    question: "Question", one: "Which label fits best?", several: "Which labels apply?",
    drop: "Drop images here", orPaste: "or paste them", choose: "Choose images",
    copy: "Copy command", copied: "Command copied", clear: "Remove all", remove: "Remove",
    text: "What to look for", queryHint: "a dog on a beach", addImage: "Add an image", find: "Search",
    more: "Show more", similar: "Find similar", close: "Close", view: "View",
    weight: "Text {text}%, image {image}%",
    keyTitle: "This server asks for a key", key: "Key", continue: "Continue",
    noLabels: "Type labels to see scores.", noImages: "Add images to see scores.",
    scoring: "{done} of {all} images", scored: "{all} images",
    none: "none of the labels", where: "Show where {label} is", library: "{all} images in {name}", searching: "Searching…", hits: "{count} images of {all}", noHits: "No image fits.",
    unreachable: "The server cannot be reached.", figures: "cosine {cosine}, z {z}",
    similarTo: "Similar to {name}", notImages: "Left out, as they are not images: {count}",
    keyWrong: "That key is not the right one.",
  },
  zh: {
    skip: "跳到内容", views: "页面", language: "语言",
    label: "标注", search: "搜索",
    labelTitle: "这些图片里有什么？", searchTitle: "查找图片",
    labels: "标签，用逗号分隔", labelsHint: "猫，狗，红色汽车", labelSet: "标签集", ownLabels: "自定义标签",
    question: "问题", one: "哪个标签最合适？", several: "哪些标签适用？",
    drop: "把图片拖到这里", orPaste: "或者粘贴", choose: "选择图片",
    copy: "复制命令", copied: "命令已复制", clear: "全部移除", remove: "移除",
    text: "要找什么", queryHint: "海滩上的狗", addImage: "添加图片", find: "搜索",
    more: "显示更多", similar: "查找相似图片", close: "关闭", view: "查看",
    weight: "文字 {text}%，图片 {image}%",
    keyTitle: "此服务器需要密钥", key: "密钥", continue: "继续",
    noLabels: "输入标签即可看到分数。", noImages: "添加图片即可看到分数。",
    scoring: "{all} 张图片中的 {done} 张", scored: "{all} 张图片",
    none: "不属于任何标签", where: "显示“{label}”在哪里", library: "{name}：{all} 张图片", searching: "正在搜索…", hits: "{all} 张图片中的 {count} 张", noHits: "没有合适的图片。",
    unreachable: "无法连接服务器。", figures: "余弦 {cosine}，z {z}",
    similarTo: "与 {name} 相似", notImages: "已忽略 {count} 个非图片文件",
    keyWrong: "密钥不正确。",
  },
};

let language = chosen();

function chosen() {
  const saved = localStorage.getItem("language");
  if (saved in WORDS) return saved;
  return navigator.languages.some((each) => each.startsWith("zh")) && !navigator.language.startsWith("en") ? "zh" : "en";
}

export function say(name, values = {}) {
  return WORDS[language][name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

export function speak(wanted = language) {
  language = wanted;
  localStorage.setItem("language", wanted);
  document.documentElement.lang = wanted;
  for (const each of document.querySelectorAll("[data-t]")) each.textContent = say(each.dataset.t);
  for (const each of document.querySelectorAll("[data-t-hint]")) each.placeholder = say(each.dataset.tHint);
  for (const each of document.querySelectorAll("[data-t-label]")) each.setAttribute("aria-label", say(each.dataset.tLabel));
  return wanted;
}
