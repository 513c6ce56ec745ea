const faults = [];
const check = (good, sentence) => good || faults.push(sentence);
const all = (selector) => [...document.querySelectorAll(selector)];
const text = (element) => element.textContent.trim() || element.getAttribute("aria-label") || "";

check(document.documentElement.lang, "the page does not say its language");
check(document.title.trim(), "the page has no title");
check(all("h1").length === 1, `the page has ${all("h1").length} first headings`);
check(all("main").length === 1, `the page has ${all("main").length} main parts`);
check(document.querySelector("meta[name=viewport]"), "the page does not fit small screens");
check(document.documentElement.scrollWidth <= window.innerWidth, "the page is wider than the window");

let level = 0;
for (const heading of all("h1, h2, h3, h4")) {
  const next = Number(heading.tagName[1]);
  check(next <= level + 1, `"${text(heading)}" skips a level of headings`);
  level = next;
}

const ids = all("[id]").map((one) => one.id);
check(new Set(ids).size === ids.length, "an id stands twice");

for (const field of all("input:not([type=hidden], [hidden]), select, textarea")) {
  check(field.labels.length === 1 && text(field.labels[0]), `the field ${field.name} has no label`);
}
for (const one of all("button, a[href]")) {
  check(text(one) || one.querySelector("img[alt]"), `${one.outerHTML} has no name`);
}
for (const image of all("img")) {
  check(image.hasAttribute("alt"), `the image ${image.src.slice(0, 40)} has no text in its place`);
  check(image.naturalWidth > 0, `the image ${image.src.slice(0, 40)} is not shown`);
}
for (const one of all("[aria-describedby], [aria-labelledby]")) {
  for (const name of ["aria-describedby", "aria-labelledby"]) {
    for (const id of (one.getAttribute(name) || "").split(" ").filter(Boolean)) {
      check(document.getElementById(id), `${one.outerHTML} refers to ${id}, which is not there`);
    }
  }
}
for (const one of all(".error")) {
  check(one.getAttribute("role") === "alert", "an error is not announced");
}
for (const table of all("table")) {
  check(table.querySelector("th[scope]"), "a table has no headings");
}
for (const one of all(".scroll")) {
  check(one.scrollWidth <= one.clientWidth || window.innerWidth < 1200, "a table does not fit a wide window");
}
for (const form of all("form")) {
  check(form.method === "get" || form.elements.csrf, `the form to ${form.action} has no token`);
  check(form.querySelector("button"), `the form to ${form.action} has no button`);
}
for (const link of all('a[href^="#"]')) {
  check(document.querySelector(link.getAttribute("href")), `${link.outerHTML} leads nowhere`);
}
for (const one of all("*")) {
  const own = [...one.attributes].filter((attribute) => attribute.name === "style" || attribute.name.startsWith("on"));
  check(own.length === 0, `${one.outerHTML.slice(0, 80)} has a style or a script of its own`);
}
check(all("script:not([src]), style").length === 0, "the page has a style or a script of its own");

// The contrast of text on its background, as WCAG counts it.
const channels = (color) => color.match(/[\d.]+/g).map(Number);
const luminance = ([red, green, blue]) => {
  const [r, g, b] = [red, green, blue].map((one) => {
    const share = one / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const background = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const color = channels(getComputedStyle(one).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
for (const one of all("h1, h2, h3, p, a, label, button, th, td, li, code, summary")) {
  if (!one.checkVisibility() || !one.textContent.trim()) continue;
  const [light, dark] = [luminance(channels(getComputedStyle(one).color)), luminance(background(one))].sort((a, b) => b - a);
  const contrast = (light + 0.05) / (dark + 0.05);
  check(contrast >= 4.5, `"${text(one).slice(0, 40)}" has a contrast of ${contrast.toFixed(1)}`);
}
return faults;
