// The fields of what is selected: tracks, a point, a camera move, or the canvas where nothing is. Fields stay while the kind
// of selection does, so that typing and dragging in them is not interrupted. Knows no canvas.

import { INTERPOLATIONS, setCamera, setInterpolation, setPoint, setTiming } from "./document.js";
import { checkField, choiceField, h, numberField, sliderField } from "./dom.js";
import { SpeedCurve } from "./speed.js";

const INTERPOLATION_NAMES = {
  cardinal: "Smooth (cardinal)", monotone: "Smooth, no overshoot", bezier: "Bézier handles", linear: "Straight lines", step: "Jumps",
};
const HOLD = { hold: "holds its place", hidden: "is not visible" };

export class Properties {
  constructor(editor, options, panel) {
    this.editor = editor;
    this.options = options;
    this.panel = panel;
    this.element = h("div.tse-properties");
    this.fields = [];
    this.key = null;
  }

  /** @param {string|null} move id of the selected camera move */
  render(move) {
    const { editor } = this;
    this.move = move;
    const key = JSON.stringify(move ? ["camera", move, this.camera.kind] : this.tracks.length ? [...this.tracks.map(({ id, kind, interpolation }) => [id, kind, interpolation]),
      this.point?.index, this.track.seconds, Boolean(this.track.grid?.mask)] : ["canvas", editor.document.camera.length > 0]);
    if (key !== this.key) {
      this.key = key;
      this.fields = [];
      if (move) this.#cameraFields();
      else if (this.tracks.length) this.#trackFields();
      else this.#canvasFields();
      this.element.replaceChildren(...this.fields.map(({ element }) => element));
    } else for (const field of this.fields) field.update?.();
  }

  get tracks() {
    return this.editor.chosen;
  }

  /** The first selected track, for which fields show their values. */
  get track() {
    return this.tracks[0];
  }

  get camera() {
    return this.editor.document.camera.find(({ id }) => id === this.move);
  }

  /** The one selected point. */
  get point() {
    const { editor } = this;
    if (this.tracks.length !== 1) return null;
    const [index, ...others] = editor.selection.get(this.track.id);
    return index === undefined || others.length || !this.track.points[index] ? null : { index, ...this.track.points[index] };
  }

  #set(values, label) {
    this.editor.change(values, label);
  }

  #timing(values) {
    this.editor.attempt(() => setTiming(this.editor.document, this.editor.chosenIds, values), "timing");
  }

  #trackFields() {
    const { editor } = this;
    const { menu } = this.options;
    const { kind, interpolation } = this.track;
    const add = (...fields) => this.fields.push(...fields);
    const many = this.tracks.length;
    add({ element: h("p.tse-title", {}, many > 1 ? `${many} tracks` : "", h("b", {}, many > 1 ? "" : this.track.name)) });
    if (this.point) {
      const put = (values) => {
        const { index, x, y } = this.point;
        editor.edit(setPoint(editor.document, this.track.id, index, { x, y, ...values }), "move");
      };
      add(pairField(`Point ${this.point.index + 1}`, numberField("x", { get: () => this.point?.x ?? 0, set: (x) => put({ x }) }),
        numberField("y", { get: () => this.point?.y ?? 0, set: (y) => put({ y }) })));
    }
    if (kind !== "point") {
      add(choiceField("Curve", {
        get: () => this.track.interpolation, menu, choices: Object.fromEntries(INTERPOLATIONS.map((name) => [name, INTERPOLATION_NAMES[name]])),
        set: (name) => editor.edit(setInterpolation(editor.document, editor.chosenIds, name), "curve"),
        title: "How the points are joined",
      }));
      if (interpolation === "cardinal") {
        add(sliderField(editor, "Tension", { get: () => this.track.tension, set: (tension) => this.#set({ tension }), min: -1, max: 1, step: 0.01, title: "0: round; 1: straight" }));
      }
      if (kind !== "freehand") add(checkField("Closed", { get: () => this.track.closed, set: (closed) => this.#set({ closed }), title: "Returns to the first point" }));
    }
    if (kind === "circle") this.#circleFields(add);
    if (kind === "grid") this.#gridFields(add);
    if (kind !== "point" || this.track.points.length > 1) this.#timingFields(add, () => this.track.timing, (values) => this.#timing(values));
    if (kind === "freehand" && this.track.seconds > 0) {
      const run = () => this.#timing({ end: this.track.timing.start + this.track.seconds * editor.document.fps });
      add({ element: h("p.tse-hint", {}, `Drawn in ${this.track.seconds.toFixed(1)} s. `, h("a", { onclick: run, role: "button" }, "As fast as that")) });
    }
    add(choiceField("Before", { get: () => this.track.timing.before, set: (before) => this.#timing({ before }), choices: HOLD, menu, title: "Before its start" }));
    add(choiceField("After", { get: () => this.track.timing.after, set: (after) => this.#timing({ after }), choices: HOLD, menu, title: "After its end" }));
    const gaps = h("p.tse-hint", {});
    add({ element: gaps, update: () => (gaps.textContent = visibilityText(this.track)) });
    gaps.textContent = visibilityText(this.track);
  }

  #timingFields(add, get, set) {
    const { editor } = this;
    add(pairField("Frames", numberField("start", { get: () => get()?.start ?? 0, set: (start) => set({ start }), title: "Frame at which the motion starts" }),
      numberField("end", { get: () => get()?.end ?? 0, set: (end) => set({ end }), title: "Frame at which it ends; may lie after the clip" })));
    add(new SpeedCurve(editor, { get: () => get()?.curve ?? "linear", set: (curve) => set({ curve }), menu: this.options.menu }));
  }

  #circleFields(add) {
    const set = (end) => (value) => this.#set({ radius: this.track.radius.map((other, i) => (i === end ? value : other)) }, "radius");
    add(pairField("Radius", numberField("start", { get: () => this.track?.radius?.[0] ?? 0, set: set(0), min: 0 }),
      numberField("end", { get: () => this.track?.radius?.[1] ?? 0, set: set(1), min: 0 })));
    add(numberField("Points round it", { get: () => this.track?.spokes ?? 8, set: (value) => this.#set({ spokes: Math.round(value) }), min: 1, max: 256 }));
  }

  #gridFields(add) {
    const field = (label, name, least, unit) => numberField(label, {
      get: () => this.track?.grid?.[name] ?? 0, min: least ?? undefined, unit,
      set: (value) => this.#set({ grid: { ...this.track.grid, [name]: least ? Math.round(value) : value } }, "grid"),
    });
    add(pairField("Points", field("columns", "columns", 1), field("rows", "rows", 1)));
    add(pairField("Size", field("width", "width", 0), field("height", "height", 0)));
    add(field("Turned", "angle", null, "°"));
    if (!this.track.grid.mask) return;
    const run = () => this.#set({ grid: { ...this.track.grid, mask: null } }, "grid");
    add({ element: h("p.tse-hint", {}, "Only the points inside the drawn shape. ", h("a", { onclick: run, role: "button" }, "All of them")) });
  }

  #cameraFields() {
    const { editor } = this;
    const add = (...fields) => this.fields.push(...fields);
    const set = (values) => editor.attempt(() => setCamera(editor.document, this.move, values), "camera");
    const value = (name) => ({ get: () => this.camera?.[name] ?? 0, set: (now) => set({ [name]: now }) });
    const { kind } = this.camera;
    if (kind === "pan") add(pairField("Moves", numberField("x", { ...value("x"), unit: "px" }), numberField("y", { ...value("y"), unit: "px" })));
    if (kind === "zoom") add(numberField("Enlarges", { ...value("factor"), min: 0.01, step: 0.01, unit: "×" }));
    if (kind === "rotate") add(numberField("Turns", { ...value("degrees"), unit: "°" }));
    if (kind !== "pan") {
      const { width, height } = editor.document.canvas;
      const center = (index) => ({
        get: () => this.camera?.center?.[index] ?? [width, height][index] / 2,
        set: (now) => set({ center: [0, 1].map((i) => (i === index ? now : this.camera.center?.[i] ?? [width, height][i] / 2)) }),
      });
      add(pairField("Round", numberField("x", center(0)), numberField("y", center(1))));
    }
    this.#timingFields(add, () => this.camera?.timing, (timing) => set({ timing }));
    const whom = { all: "all tracks", chosen: this.camera.tracks ? `${this.camera.tracks.length} chosen` : "none" };
    add(choiceField("Acts on", { get: () => (this.camera?.tracks ? "chosen" : "all"), set: (who) => who === "all" && set({ tracks: null }), choices: whom, menu: this.options.menu }));
    const count = () => editor.document.frames - 1 || 1;
    const each = () => ({ pan: `${round(this.camera.x / count())}, ${round(this.camera.y / count())} px`, zoom: `× ${round(this.camera.factor ** (1 / count()))}`,
      rotate: `${round(this.camera.degrees / count())}°` })[kind];
    const hint = h("p.tse-hint", {});
    const update = () => (hint.textContent = this.camera ? `Over the whole clip that is ${each()} a frame.` : "");
    update();
    add({ element: hint, update });
  }

  #canvasFields() {
    const { editor } = this;
    const size = (name) => ({ get: () => editor.document.canvas[name], min: 1, set: (value) => editor.resize({ ...editor.document.canvas, [name]: Math.round(value) }) });
    this.fields.push(pairField("Canvas", numberField("width", size("width")), numberField("height", size("height"))));
    this.fields.push(numberField("Frames", { get: () => editor.document.frames, min: 1, max: 2000, set: (frames) => editor.resize({ frames: Math.round(frames) }) }));
    this.fields.push(numberField("Frames a second", { get: () => editor.document.fps, min: 0.01, max: 1000, set: (fps) => editor.resize({ fps }) }));
    this.fields.push({ element: h("p.tse-hint", {}, "Tracks scale with the canvas and the number of frames.") });
  }
}

/** Two number fields side by side under one label. */
function pairField(label, ...fields) {
  return {
    element: h("div.tse-field.tse-pair", {}, h("span", {}, label), ...fields.map(({ element }) => element)),
    update: () => fields.forEach((field) => field.update()),
  };
}

function visibilityText(track) {
  if (!track) return "";
  if (!track.visibility) return "Visible in all frames. K hides or shows it from the frame on.";
  if (!track.visibility.length) return "Never visible. K shows it from the frame on.";
  return `Visible in frames ${track.visibility.map(([a, b]) => `${a}–${b}`).join(", ")}.`;
}

const round = (value) => Math.round(value * 1000) / 1000;
