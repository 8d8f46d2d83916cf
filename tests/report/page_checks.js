// What the tests ask of a rendered page. Contrast as in https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio

var parse = (text) => {
  const numbers = text.match(/[\d.]+/g).map(Number);
  return { color: numbers.slice(0, 3), opacity: numbers.length > 3 ? numbers[3] : 1 };
};

var luminance = (color) => {
  const [red, green, blue] = color
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};

var ratio = (one, other) => {
  const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
};

// The colour behind an element: that of the nearest ancestor that has one.
var behind = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const { color, opacity } = parse(getComputedStyle(each).backgroundColor);
    if (opacity === 1) return color;
    if (opacity > 0) throw new Error("half transparent: " + each.outerHTML.slice(0, 80));
  }
  throw new Error("nothing is behind " + element.outerHTML.slice(0, 80));
};

var blend = (color, over, share) => color.map((value, at) => value * (1 - share) + over[at] * share);

var shown = (element) => element.getClientRects().length > 0;

// Every shown text with its contrast to what is behind it; in a drawing, to the shapes below it and their hatching.
var contrasts = () => {
  const found = [];
  const add = (text, drawn, ground) =>
    found.push({ text: text.trim().slice(0, 40), ratio: ratio(parse(drawn).color, ground), drawn, ground });
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || ["title", "desc"].includes(parent.tagName) || !shown(parent)) continue;
    const style = getComputedStyle(parent);
    if (parent.tagName !== "text") {
      add(node.data, style.color, behind(parent));
      continue;
    }
    const cell = parent.parentNode.querySelector(":scope > rect.cell");
    const allowed = parent.parentNode.querySelector(":scope > rect.allowed");
    if (!cell) add(node.data, style.fill, behind(parent.closest("section")));
    if (allowed) add(node.data, style.fill, parse(getComputedStyle(allowed).fill).color);
    if (!cell) continue;
    const ground = parse(getComputedStyle(cell).fill).color;
    add(node.data, style.fill, ground);
    const over = { float: ".hatch", structure: ".dot" }[cell.classList[1]];
    if (over) {
      const line = getComputedStyle(document.querySelector(over));
      const color = parse(over === ".hatch" ? line.stroke : line.fill).color;
      add(node.data, style.fill, blend(ground, color, Number(line.opacity)));
    }
  }
  for (const cell of document.querySelectorAll(".stack td, .stack tbody th")) {
    const style = getComputedStyle(cell, "::before");
    if (style.content !== "none" && shown(cell)) add(cell.dataset.label, style.color, behind(cell));
  }
  return found;
};

// What is drawn to be told apart without words, with its contrast to the card.
var shapes = () => {
  const card = parse(getComputedStyle(document.querySelector("section")).backgroundColor).color;
  const drawn = document.querySelectorAll(".gauge .fill, .gauge .mark-limit, .bar, .mark, .front");
  return [...drawn].map((shape) => {
    const style = getComputedStyle(shape);
    const line = style.fill === "none" || shape.classList.contains("partial") || shape.tagName === "line";
    return { name: shape.getAttribute("class"), ratio: ratio(parse(line ? style.stroke : style.fill).color, card) };
  });
};

// What is beyond the edges of the page, save for what scrolls in a table of its own.
var outside = () => {
  const wide = document.documentElement.clientWidth;
  const found = document.documentElement.scrollWidth > wide ? ["page: " + document.documentElement.scrollWidth] : [];
  for (const one of document.querySelectorAll("body *")) {
    const box = one.getBoundingClientRect();
    if (box.width && !one.closest(".scroll table, pre.command > *") && (box.right > wide + 1 || box.left < -1))
      found.push(`${one.tagName} ${one.getAttribute("class")}: ${box.left} to ${box.right}`);
  }
  return found;
};

// Tables wider than their place.
var scrolling = () =>
  [...document.querySelectorAll(".scroll")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1)
    .map((one) => `${one.getAttribute("aria-label")}: ${one.scrollWidth} in ${one.clientWidth}`);

// Labels of plots that are cut, leave their rectangle or are too small to read.
var labels = () => {
  const found = [];
  for (const text of document.querySelectorAll("svg.plot text")) {
    if (!shown(text)) continue;
    const box = text.getBBox();
    const view = text.ownerSVGElement.viewBox.baseVal;
    if (box.x < -1 || box.y < -1 || box.x + box.width > view.width + 1 || box.y + box.height > view.height + 1)
      found.push("outside the picture: " + text.textContent);
    const cell = text.parentNode.querySelector(":scope > rect.cell");
    const own = cell && cell.getBBox();
    if (own && (box.x + box.width > own.x + own.width + 0.5 || box.y + box.height > own.y + own.height + 0.5))
      found.push("outside its rectangle: " + text.textContent);
    const size = parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a;
    if (size < 10) found.push(`too small, ${size}: ${text.textContent}`);
  }
  return found;
};

var forms = () => [...document.querySelectorAll("svg.plot")].filter(shown).map((one) => one.classList[1]);

var unfold = () => document.querySelectorAll("details").forEach((one) => (one.open = true));

var folded = () =>
  [...document.querySelectorAll("details td")].filter((one) => one.getBoundingClientRect().height === 0).length;

var nameless = () => [
  ...[...document.querySelectorAll("table")].filter((one) => !one.caption.textContent.trim()).map(() => "table"),
  ...[...document.querySelectorAll("svg[role=img]")]
    .filter((one) => !one.querySelector(":scope > title") && !one.ariaLabel)
    .map((one) => one.getAttribute("class")),
];
