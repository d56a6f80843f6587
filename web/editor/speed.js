// The speed curve: presets, and two handles to drag. Time runs to the right, the share of the way upwards.

import { SPEEDS } from "./document.js";
import { choiceField, h, svg } from "./dom.js";
import { PRESETS, ease } from "./spline.js";

const [WIDTH, HEIGHT, PAD] = [200, 110, 10];
const NAMES = { linear: "Even", "ease-in": "Slow start", "ease-out": "Slow end", "ease-in-out": "Slow start and end", own: "Own curve" };
const STRAIGHT = [[0.25, 0.25], [0.75, 0.75]];

export class SpeedCurve {
  /** @param {{get: () => object, set: (curve: object) => void, menu: Function}} options curve: a preset or two handles */
  constructor(editor, { get, set, menu }) {
    Object.assign(this, { editor, get, set });
    this.choice = choiceField("Speed", {
      get: () => (typeof get() === "string" ? get() : "own"), menu, title: "How the way is shared over the time",
      choices: Object.fromEntries([...SPEEDS, "own"].map((name) => [name, NAMES[name]])),
      set: (name) => set(name === "own" ? this.handles : name),
    });
    this.line = svg("path", { class: "tse-line" });
    this.stems = [0, 1].map(() => svg("line", { class: "tse-stem" }));
    this.knobs = [0, 1].map((index) => this.#knob(index));
    this.plot = svg("svg", { class: "tse-speed", viewBox: `0 0 ${WIDTH} ${HEIGHT}` },
      svg("rect", { x: PAD, y: PAD, width: WIDTH - 2 * PAD, height: HEIGHT - 2 * PAD, class: "tse-frame" }),
      ...this.stems, this.line, ...this.knobs);
    this.element = h("div", {}, this.choice.element, this.plot);
    this.update();
  }

  get handles() {
    const curve = this.get();
    return typeof curve === "string" ? (PRESETS[curve] ?? STRAIGHT) : curve;
  }

  update() {
    this.choice.update();
    const curve = this.get();
    const points = Array.from({ length: 41 }, (_, i) => place(i / 40, ease(curve, i / 40)));
    this.line.setAttribute("d", `M${points.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`);
    this.handles.forEach(([x, y], i) => {
      const at = place(x, y);
      const from = place(i, i);
      this.knobs[i].setAttribute("cx", at.x);
      this.knobs[i].setAttribute("cy", at.y);
      for (const [name, value] of Object.entries({ x1: from.x, y1: from.y, x2: at.x, y2: at.y })) this.stems[i].setAttribute(name, value);
    });
  }

  #knob(index) {
    const knob = svg("circle", { r: 6, class: "tse-knob" });
    knob.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      knob.setPointerCapture(event.pointerId);
      this.editor.begin();
      const move = (now) => {
        const { left, top, width, height } = this.plot.getBoundingClientRect();
        const x = (((now.clientX - left) / width) * WIDTH - PAD) / (WIDTH - 2 * PAD);
        const y = 1 - (((now.clientY - top) / height) * HEIGHT - PAD) / (HEIGHT - 2 * PAD);
        const to = [Math.min(Math.max(x, 0), 1), Math.min(Math.max(y, -1), 2)];
        this.set(this.handles.map((handle, i) => (i === index ? to : handle)));
      };
      const stop = () => {
        knob.removeEventListener("pointermove", move);
        this.editor.end();
      };
      knob.addEventListener("pointermove", move);
      knob.addEventListener("lostpointercapture", stop, { once: true });
    });
    return knob;
  }
}

const place = (u, s) => ({ x: PAD + u * (WIDTH - 2 * PAD), y: HEIGHT - PAD - s * (HEIGHT - 2 * PAD) });
