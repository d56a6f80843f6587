// Small helpers to build pages: elements, icons, fields. Text is always set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** h("button.primary", {title, onclick, style: {…}}, children…): an element; children are nodes or strings, null is left out. */
export function h(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key === "style") Object.assign(element.style, value);
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// 16 x 16, drawn with strokes of 1.5 in the text's colour
const ICONS = {
  select: "M4 2.5v10.2l2.7-2.5 1.9 4 1.9-.9-1.9-3.9h3.7z",
  spline: "M2.5 12.5C5 3 10.500 13 13.500 3.500M2.500 12.500m-1.300 0a1.300 1.300 0 1 0 2.600 0a1.300 1.300 0 1 0-2.600 0M13.500 3.500m-1.300 0a1.300 1.300 0 1 0 2.600 0a1.300 1.300 0 1 0-2.600 0",
  freehand: "M2 11c1.500-5 3-7 4.500-6s-1.500 6 .500 6.500S9.500 5 11 5.500s0 4.500 3 4.500",
  point: "M8 8m-2.200 0a2.200 2.200 0 1 0 4.400 0a2.200 2.200 0 1 0-4.400 0M8 1.500v2M8 12.500v2M1.500 8h2M12.500 8h2",
  circle: "M8 8m-5.500 0a5.500 5.500 0 1 0 11 0a5.500 5.500 0 1 0-11 0M8 8h5.500",
  grid: "M2.500 3.500h11v9h-11zM2.500 8h11M6.200 3.500v9M9.900 3.500v9",
  hand: "M5 9V4.200a1 1 0 0 1 2 0V8V2.900a1 1 0 0 1 2 0V8V3.700a1 1 0 0 1 2 0V9V6a1 1 0 0 1 2 0v4.500c0 2.200-1.500 4-4 4c-3 0-3.500-1.500-6-5.300c-.6-1 .6-1.900 1.400-1z",
  undo: "M6 3.500L2.500 6.500L6 9.500M3 6.500h6.500a3.500 3.500 0 0 1 0 7H6",
  redo: "M10 3.500l3.500 3L10 9.500M13 6.500H6.500a3.500 3.500 0 0 0 0 7H10",
  fit: "M2.500 6v-3.500h3.500M10 2.500h3.500V6M13.500 10v3.500H10M6 13.500H2.500V10",
  play: "M4.500 2.800l8.500 5.200l-8.500 5.200z",
  pause: "M5 3v10M11 3v10",
  eye: "M1.500 8s2.400-4.300 6.500-4.300S14.500 8 14.500 8s-2.400 4.300-6.500 4.300S1.500 8 1.500 8zM8 8m-1.700 0a1.700 1.700 0 1 0 3.400 0a1.700 1.700 0 1 0-3.400 0",
  "eye-off": "M2.500 2.500l11 11M6 4a6 6 0 0 1 2-.3c4.100 0 6.500 4.300 6.500 4.300a12 12 0 0 1-2 2.400M3.700 5.500A11 11 0 0 0 1.500 8s2.400 4.300 6.500 4.300a6 6 0 0 0 1.700-.2",
  lock: "M3.500 7.500h9v6h-9zM5.500 7.500V5a2.500 2.500 0 0 1 5 0v2.500",
  unlock: "M3.500 7.500h9v6h-9zM5.500 7.500V5a2.500 2.500 0 0 1 4.800-1",
  plus: "M8 3v10M3 8h10",
  more: "M3.500 8h.1M8 8h.1M12.500 8h.1",
  help: "M5.800 6a2.200 2.200 0 1 1 3.300 2c-.8.500-1.100 1-1.100 1.800M8 12.300v.1",
  expand: "M9.500 2.500h4v4M6.500 13.500h-4v-4M13.500 2.500l-4.700 4.700M2.500 13.500l4.700-4.700",
  pan: "M8 2v12M2 8h12M6 4l2-2l2 2M6 12l2 2l2-2M4 6L2 8l2 2M12 6l2 2l-2 2",
  zoom: "M7 7m-4.200 0a4.200 4.200 0 1 0 8.400 0a4.200 4.200 0 1 0-8.400 0M10.200 10.200l3.600 3.600M5.200 7h3.600M7 5.200v3.600",
  rotate: "M13 8a5 5 0 1 1-1.600-3.700M13 2v3h-3",
  trash: "M3 4.500h10M6 4.500V3h4v1.500M4.200 4.500l.6 9h6.400l.6-9",
  chevron: "M4.500 6.500L8 10l3.500-3.500",
  done: "M3 8.500l3.300 3.500L13 4.500",
  close: "M4 4l8 8M12 4l-8 8",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("tse-icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** SVG elements with attributes. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/**
 * A button that never takes the keyboard away from the editor: keys then go on meaning what they mean there, and the
 * graph's own undo does not hear them.
 */
export function button(name, label, onclick, ...children) {
  const element = h("button.tse-button", { type: "button", title: label, ariaLabel: label, tabIndex: -1, onclick }, name ? icon(name) : null, ...children);
  element.addEventListener("mousedown", (event) => event.preventDefault()); // keeps the focus where it is
  return element;
}

/** Puts another icon and label onto a button. */
export function relabel(element, name, label) {
  if (element.dataset.icon === name && element.title === label) return;
  element.dataset.icon = name;
  element.title = element.ariaLabel = label;
  element.querySelector(".tse-icon")?.replaceWith(icon(name));
}

/** A number as short as it can be said to a hundredth. */
export const shown = (value) => String(Math.round(value * 100) / 100);

/**
 * A labelled number. @param {{get: () => number, set: (value: number) => void, step?: number, min?: number, max?: number,
 *   unit?: string, title?: string}} options
 */
export function numberField(label, { get, set, step = 1, min, max, unit = "", title }) {
  const input = h("input", { type: "number", step: step === 1 ? "any" : step, min, max, title, ariaLabel: label });
  input.addEventListener("change", () => {
    const value = input.valueAsNumber;
    if (Number.isFinite(value)) set(Math.min(Math.max(value, min ?? -Infinity), max ?? Infinity));
    input.value = shown(get());
  });
  const element = h("label.tse-field", { title }, h("span", {}, label), input, unit ? h("em", {}, unit) : null);
  const update = () => document.activeElement !== input && (input.value = shown(get()));
  update();
  return { element, update };
}

/** A labelled slider; its whole drag is one step of the editor. */
export function sliderField(editor, label, { get, set, min, max, step, title }) {
  const input = h("input", { type: "range", min, max, step, title, ariaLabel: label });
  const value = h("em", {});
  input.addEventListener("pointerdown", () => editor.begin());
  input.addEventListener("input", () => set(input.valueAsNumber));
  input.addEventListener("change", () => editor.end());
  const update = () => {
    input.value = get();
    value.textContent = shown(get());
  };
  update();
  return { element: h("label.tse-field", { title }, h("span", {}, label), input, value), update };
}

/** A labelled check box. */
export function checkField(label, { get, set, title }) {
  const input = h("input", { type: "checkbox", title, onchange: () => set(input.checked) });
  const update = () => (input.checked = get());
  update();
  return { element: h("label.tse-field", { title }, h("span", {}, label), input), update };
}

/** A labelled choice that opens a menu. @param {{get: () => string, set: Function, choices: Record<string, string>, menu: Function}} options */
export function choiceField(label, { get, set, choices, menu, title }) {
  const text = h("span", {});
  const element = button(null, title ?? label, () => {
    const items = Object.entries(choices).map(([value, name]) => ({ label: name, checked: value === get(), run: () => set(value) }));
    const { left, bottom } = element.getBoundingClientRect();
    menu({ clientX: left, clientY: bottom + 2 }, items);
  }, text, icon("chevron"));
  element.classList.add("tse-choice");
  const update = () => (text.textContent = choices[get()] ?? get());
  update();
  return { element: h("div.tse-field", { title }, h("span", {}, label), element), update };
}
