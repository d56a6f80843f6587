// The picture and its pointers: two canvas layers, a viewport, and the way from pointer events to the tool in the hand. One
// editor may have several stages (in the node, in the overlay). It knows no panels and no ComfyUI.

import { drawBack, drawFront } from "./view.js";
import { boxOf, hitsAt } from "./selection.js";
import { toolById } from "./tools/index.js";
import { hand } from "./tools/hand.js";
import { insertAt } from "./tools/select.js";
import { fit, panned, toDocument, zoomAt } from "./viewport.js";

/**
 * @typedef {{id: string, label: string, key: string, help: string, start: (context: Context) => Gesture|null,
 *   hover?: (context: Context) => object|null, double?: (context: Context) => void}} Tool
 * @typedef {{editor: object, at: {x: number, y: number}, hits: object[], event: PointerEvent, reach: number, scale: number,
 *   double?: boolean, pan: () => Gesture}} Context  at: document pixels; reach: how far a handle is felt, document pixels;
 *   double: the second press at one place, which may still become a drag
 * @typedef {{move: Function, end?: Function, every?: Function, cursor?: string}} Gesture
 */

const REACH = { mouse: 8, pen: 10, touch: 18 }; // screen pixels from the middle of a handle
const DOUBLE = { time: 350, distance: 5 };
const LARGEST = 4096; // device pixels of a layer's side

export class Stage {
  /** @param {{compact?: boolean, onMenu?: Function, onPointer?: Function, onView?: Function}} [options] */
  constructor(editor, options = {}) {
    this.editor = editor;
    this.options = options;
    this.element = document.createElement("div");
    this.element.className = "tse-stage";
    this.back = this.element.appendChild(document.createElement("canvas"));
    this.front = this.element.appendChild(document.createElement("canvas"));
    this.viewport = null; // null: fitted
    this.pointers = new Map();
    this.gesture = null;
    this.space = false;
    this.paused = false;
    this.stale = { back: true, front: true };
    this.scheduled = 0;
    this.stops = [editor.on((change) => this.#changed(change))];
    this.#listen();
    this.resizes = new ResizeObserver(() => this.#resized());
    this.resizes.observe(this.element);
    this.refresh();
  }

  destroy() {
    this.stops.forEach((stop) => stop());
    this.resizes.disconnect();
    clearInterval(this.watch);
    cancelAnimationFrame(this.scheduled);
    this.element.remove();
  }

  // Drawing

  get view() {
    return this.viewport ?? fit(this.editor.document.canvas, this.width, this.height, this.options.compact ? 8 : 32);
  }

  get width() {
    return this.element.clientWidth;
  }

  get height() {
    return this.element.clientHeight;
  }

  /** How many times larger the element stands on the screen than it was laid out: the graph's zoom. */
  get magnification() {
    return this.element.getBoundingClientRect().width / (this.element.offsetWidth || 1) || 1;
  }

  #ratio() {
    const wanted = (window.devicePixelRatio || 1) * this.magnification;
    return Math.min(wanted, LARGEST / Math.max(this.width, this.height, 1));
  }

  setPaused(paused) {
    this.paused = paused;
    if (!paused) this.refresh();
  }

  setViewport(viewport) {
    this.viewport = viewport;
    this.refresh();
    this.options.onView?.(this.view);
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    this.setViewport(zoomAt(this.view, factor, x, y));
  }

  refresh() {
    this.#stale("back");
  }

  /** The graph's zoom and the window's pixel ratio change without an event that reaches here: looked at while it is seen. */
  #resized() {
    clearInterval(this.watch);
    if (this.width) this.watch = setInterval(() => !this.paused && this.#ratio() !== this.drawnRatio && this.refresh(), 500);
    this.refresh();
  }

  #stale(layer) {
    this.stale.front = true;
    if (layer === "back") this.stale.back = true;
    if (!this.scheduled && !this.paused) this.scheduled = requestAnimationFrame(() => this.draw());
  }

  #changed(change) {
    if (change === "document" || change === "selection") this.#stale(this.#atRest() ? "front" : "back");
    else if (change === "picture" || change === "tool") this.#stale("back");
    else if (change === "frame") this.#stale(this.editor.picture?.frames ? "back" : "front");
    else if (change === "hover") this.#stale("front");
    if (change === "tool" || change === "hover") this.#cursor();
  }

  /** Whether nothing that the back layer shows has changed since it was drawn: only selected tracks were edited. */
  #atRest() {
    const { document, selection } = this.editor;
    const seen = this.drawn;
    if (!seen || seen.canvas !== document.canvas || seen.frames !== document.frames || seen.camera !== document.camera) return false;
    const rest = document.tracks.filter((track) => !track.hidden && !selection.has(track.id));
    return rest.length === seen.rest.length && rest.every((track, i) => track === seen.rest[i]);
  }

  /** Draws what is stale, now. */
  draw() {
    this.scheduled = 0;
    const { editor, width, height } = this;
    if (this.paused || !width || !height) return;
    const ratio = this.#ratio();
    const scene = {
      document: editor.document, viewport: this.view, width, height, ratio, frame: editor.frame, picture: editor.image,
      selection: editor.selection, hover: editor.hover, marquee: editor.marquee, box: editor.tool === "select",
      touch: this.touch, compact: this.options.compact,
    };
    if (this.#sized(this.back, width, height, ratio)) this.stale.back = true;
    this.#sized(this.front, width, height, ratio);
    this.drawnRatio = ratio;
    if (this.stale.back) {
      drawBack(this.back.getContext("2d"), scene);
      const { canvas, frames, camera } = scene.document;
      const rest = scene.document.tracks.filter((track) => !track.hidden && !editor.selection.has(track.id));
      this.drawn = { canvas, frames, camera, rest };
    }
    drawFront(this.front.getContext("2d"), scene);
    this.stale = { back: false, front: false };
  }

  #sized(canvas, width, height, ratio) {
    const [w, h] = [Math.max(Math.round(width * ratio), 1), Math.max(Math.round(height * ratio), 1)];
    if (canvas.width === w && canvas.height === h) return false;
    canvas.width = w;
    canvas.height = h;
    return true;
  }

  // Pointers

  #listen() {
    const on = (name, handler, options) => this.element.addEventListener(name, handler, options);
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#up(event, true));
    on("lostpointercapture", (event) => this.pointers.has(event.pointerId) && this.#up(event, true));
    on("pointerleave", () => this.#leave());
    on("wheel", (event) => this.#wheel(event), { passive: false });
    on("contextmenu", (event) => this.#menu(event));
    on("dblclick", (event) => event.preventDefault());
  }

  /** Where a pointer is, in the element's own CSS pixels, whatever the graph's zoom. */
  place(event) {
    const rect = this.element.getBoundingClientRect();
    const factor = this.magnification;
    return { x: (event.clientX - rect.left) / factor, y: (event.clientY - rect.top) / factor };
  }

  at(event) {
    const { x, y } = this.place(event);
    return toDocument(this.view, x, y);
  }

  #context(event) {
    const { editor, view } = this;
    const at = this.at(event);
    const reach = (REACH[event.pointerType] ?? REACH.mouse) / view.scale / Math.min(this.magnification, 1);
    const box = editor.tool === "select" && boxOf(editor.document, editor.selection) !== null;
    const hits = editor.error ? [] : hitsAt(editor.document, { selection: editor.selection, box, scale: view.scale, reach }, at.x, at.y);
    return { editor, at, hits, event, reach, scale: view.scale, pan: () => this.#pan(event) };
  }

  #down(event) {
    this.touch = event.pointerType === "touch";
    const place = this.place(event);
    this.pointers.set(event.pointerId, place);
    this.#capture(event.pointerId);
    if (this.pointers.size === 2) return this.#pinch();
    if (this.gesture || event.button === 2) return;
    const { editor } = this;
    if (editor.playing && !this.space && event.button === 0) editor.setPlaying(false);
    const context = this.#context(event);
    const hold = event.button === 1 || this.space;
    this.double = context.double = !hold && this.#isDouble(event, place);
    const tool = hold ? hand : toolById(editor.tool);
    if (editor.error && tool !== hand) return;
    editor.begin();
    editor.setHover(null);
    this.gesture = tool.start(context);
    if (!this.gesture) return editor.end();
    this.began = place;
    this.#cursor(this.gesture.cursor);
  }

  #capture(id) {
    try {
      this.element.setPointerCapture(id);
    } catch {
      // the pointer is gone already (a synthetic one, a pen lifted): its events still bubble here
    }
  }

  #isDouble(event, place) {
    const before = this.lastDown;
    this.lastDown = { time: event.timeStamp, ...place };
    const double = before && event.timeStamp - before.time < DOUBLE.time &&
      Math.hypot(place.x - before.x, place.y - before.y) < DOUBLE.distance;
    if (double) this.lastDown = null;
    return double;
  }

  #move(event) {
    const place = this.place(event);
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, place);
    if (this.pinch) return this.#pinched();
    const at = this.at(event);
    this.options.onPointer?.(at);
    if (!this.gesture) return this.pointers.size ? undefined : this.#hover(event);
    // A hand that only clicks trembles: nothing moves before three pixels.
    if (!this.moving && Math.hypot(place.x - this.began.x, place.y - this.began.y) < 3) return;
    this.moving = true;
    if (this.gesture.every) this.#every(event);
    this.gesture.move(at, event);
  }

  /** All places since the last event: pens and mice report more often than the screen is drawn. */
  #every(event) {
    const all = event.getCoalescedEvents?.() ?? [];
    for (const each of all.length ? all : [event]) this.gesture.every(this.at(each), each);
  }

  #hover(event) {
    const tool = this.space ? hand : toolById(this.editor.tool);
    this.editor.setHover(tool.hover?.(this.#context(event)) ?? null);
  }

  #up(event, cancelled = false) {
    this.pointers.delete(event.pointerId);
    if (this.pinch) {
      if (!this.pointers.size) this.pinch = null;
      return;
    }
    const gesture = this.gesture;
    if (!gesture || this.pointers.size) return;
    const moved = this.moving;
    this.gesture = null;
    this.moving = false;
    if (cancelled && event.type === "pointercancel") {
      this.editor.marquee = null;
      this.editor.cancel();
    } else {
      gesture.end?.(this.at(event), event);
      this.editor.end();
      if (this.double && !moved) toolById(this.editor.tool).double?.(this.#context(event));
    }
    this.#cursor();
  }

  /** Takes the running gesture back. @returns whether there was one */
  cancel() {
    if (!this.gesture) return false;
    this.gesture = null;
    this.moving = false;
    this.editor.marquee = null;
    this.editor.cancel();
    this.refresh();
    return true;
  }

  #leave() {
    this.options.onPointer?.(null);
    if (!this.gesture) this.editor.setHover(null);
  }

  #pan(event) {
    const from = this.place(event);
    const view = this.view;
    return {
      cursor: "grabbing",
      move: (at, now) => {
        const { x, y } = this.place(now);
        this.setViewport(panned(view, x - from.x, y - from.y));
      },
    };
  }

  /** A second finger: what the first began is taken back, and both move and zoom the view. */
  #pinch() {
    this.cancel();
    this.pinch = { view: this.view, from: this.#fingers() };
  }

  #fingers() {
    const [a, b] = [...this.pointers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, span: Math.hypot(a.x - b.x, a.y - b.y) || 1 };
  }

  #pinched() {
    if (this.pointers.size < 2) return;
    const { view, from } = this.pinch;
    const now = this.#fingers();
    this.setViewport(zoomAt(panned(view, now.x - from.x, now.y - from.y), now.span / from.span, now.x, now.y));
  }

  #wheel(event) {
    if (event.tseGraph) return;
    event.preventDefault();
    const { x, y } = this.place(event);
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoom(Math.exp((-event.deltaY * lines) / 400), x, y);
  }

  #menu(event) {
    event.preventDefault();
    event.stopPropagation();
    this.cancel(); // of a finger that was held
    this.options.onMenu?.(event);
  }

  /** What lies at a place of the window, as tools see it. */
  look({ clientX, clientY }) {
    return this.#context({ clientX, clientY, pointerType: "mouse" });
  }

  /** Inserts a point on the curve that was hit. */
  insert(hit) {
    insertAt(this.editor, hit);
  }

  setSpace(space) {
    this.space = space;
    this.#cursor();
  }

  #cursor(cursor) {
    this.element.style.cursor = cursor ?? (this.space ? "grab" : this.editor.hover?.cursor ?? "");
  }
}
