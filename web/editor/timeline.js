// Time: play button, scrubber, and a lane per track whose ends are dragged. Shows the editor's document and frame; knows no
// canvas. A compact one has no lanes.

import { setTiming } from "./document.js";
import { button, h, relabel } from "./dom.js";

const EDGE = 9; // screen pixels from a bar's end in which it is that end that is dragged

export class Timeline {
  /** @param {{compact?: boolean, focus: () => void}} options */
  constructor(editor, options) {
    this.editor = editor;
    this.options = options;
    this.rows = new Map();
    this.play = button("play", "Play (Space)", () => editor.setPlaying(!editor.playing));
    this.ruler = h("div.tse-ruler", { role: "slider", ariaLabel: "Frame", tabIndex: -1 });
    this.head = h("div.tse-head");
    this.ticks = h("div.tse-ticks");
    this.ruler.append(this.ticks, this.head);
    this.readout = h("output.tse-readout");
    this.lanes = h("div.tse-lanes");
    this.element = h("div.tse-timeline", {},
      h("div.tse-transport", {}, this.play, this.ruler, this.readout), options.compact ? null : this.lanes);
    this.pointer = null;
    this.#scrub();
    this.stops = [editor.on((change) => this.#changed(change))];
    this.render();
  }

  destroy() {
    this.stops.forEach((stop) => stop());
    cancelAnimationFrame(this.scheduled);
    cancelAnimationFrame(this.ticking);
  }

  #changed(change) {
    if (change === "playing") this.#run();
    if (change === "frame" || change === "playing") return this.#frame();
    if (!["document", "selection"].includes(change) || this.scheduled) return;
    this.scheduled = requestAnimationFrame(() => this.render());
  }

  /** Only one timeline (the visible one) drives playback. */
  #run() {
    relabel(this.play, this.editor.playing ? "pause" : "play", this.editor.playing ? "Pause (Space)" : "Play (Space)");
    cancelAnimationFrame(this.ticking);
    if (!this.editor.playing || this.paused) return;
    let before = performance.now();
    const tick = (now) => {
      const { editor } = this;
      if (!editor.playing || this.paused) return;
      const { frames, fps } = editor.document;
      const next = editor.frame + ((now - before) / 1000) * fps;
      before = now;
      editor.setFrame(next >= frames - 0.5 ? 0 : next);
      this.ticking = requestAnimationFrame(tick);
    };
    this.ticking = requestAnimationFrame(tick);
  }

  setPaused(paused) {
    this.paused = paused;
    this.#run();
  }

  /** The place under the pointer, to be shown with the frame. @param {{x: number, y: number}|null} at */
  setPointer(at) {
    this.pointer = at;
    this.#frame();
  }

  #frame() {
    const { frame, document } = this.editor;
    const share = frame / Math.max(document.frames - 1, 1);
    this.element.style.setProperty("--tse-share", share);
    this.ruler.ariaValueNow = Math.round(frame);
    const place = this.pointer && !this.options.compact ? ` · (${this.pointer.x.toFixed(1)}, ${this.pointer.y.toFixed(1)})` : "";
    this.readout.textContent = `${Math.round(frame)} / ${document.frames - 1} · ${(frame / document.fps).toFixed(2)} s${place}`;
  }

  render() {
    this.scheduled = 0;
    const { document, selection } = this.editor;
    const key = `${document.frames} ${document.fps}`;
    if (key !== this.key) {
      this.key = key;
      this.rows.clear();
      const seconds = [];
      const step = Math.max(1, Math.ceil(document.frames / document.fps / 24));
      for (let second = 0; second * document.fps < document.frames; second += step) {
        seconds.push(h("i", { style: { left: percent(second * document.fps, document.frames) } }, second ? `${second}s` : ""));
      }
      this.ticks.replaceChildren(...seconds);
      this.ruler.ariaValueMax = document.frames - 1;
    }
    this.#frame();
    if (this.options.compact) return;
    const rows = new Map();
    for (const track of document.tracks) {
      let row = this.rows.get(track.id);
      if (row?.track !== track) row = this.#row(track, row);
      row.element.classList.toggle("tse-on", selection.has(track.id));
      rows.set(track.id, row);
    }
    this.rows = rows;
    const wanted = [...rows.values()].map(({ element }) => element);
    if (wanted.length !== this.lanes.children.length || wanted.some((element, i) => element !== this.lanes.children[i])) {
      this.lanes.replaceChildren(...wanted);
    }
  }

  // Lanes

  #row(track, before) {
    const row = before ?? this.#newRow(track.id);
    row.track = track;
    const { frames } = this.editor.document;
    const { start, end, before: early, after: late } = track.timing;
    row.name.textContent = track.name;
    row.element.classList.toggle("tse-hidden", track.hidden);
    const { style } = row.bar;
    style.left = percent(start, frames);
    style.width = `calc(${percent(Math.max(end - start, 0), frames)} + 4px)`;
    style.background = track.color;
    row.lane.classList.toggle("tse-cut-before", early === "hidden");
    row.lane.classList.toggle("tse-cut-after", late === "hidden");
    const gaps = gapsOf(track.visibility, frames).map(([a, b]) =>
      h("b.tse-gap", { title: `Not visible in frames ${a}–${b}`, style: { left: percent(a - 0.5, frames), width: percent(b - a + 1, frames) } }));
    row.gaps.replaceChildren(...gaps);
    return row;
  }

  #newRow(id) {
    const { editor } = this;
    const name = h("span.tse-name");
    const bar = h("div.tse-bar");
    const gaps = h("div");
    const lane = h("div.tse-lane", { title: "Drag an end: when it starts and ends; drag the middle: later, earlier. Hatched: not visible" }, bar, gaps);
    const element = h("div.tse-lane-row", {}, name, lane);
    const row = { element, name, bar, gaps, lane };
    name.addEventListener("click", () => this.#pick(id));
    lane.addEventListener("pointermove", (event) => {
      if (!event.buttons) lane.style.cursor = { start: "w-resize", end: "e-resize", both: "grab" }[this.#part(row, event)];
    });
    lane.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.#pick(id);
      if (row.track.locked) return;
      const part = this.#part(row, event);
      const { document } = editor;
      const { start, end } = row.track.timing;
      const perPixel = (document.frames - 1) / lane.getBoundingClientRect().width;
      const from = event.clientX;
      dragging(lane, event, {
        begin: () => editor.begin(),
        move: (now) => {
          const shift = (now.clientX - from) * perPixel;
          const whole = (frame) => (now.altKey ? frame : Math.round(frame));
          const values = {};
          if (part !== "end") values.start = whole(start + shift);
          if (part !== "start") values.end = part === "both" ? values.start + end - start : whole(end + shift);
          if (part === "start") values.start = Math.min(values.start, end);
          if (part === "end") values.end = Math.max(values.end, start);
          editor.edit(setTiming(document, [id], values), "timing");
        },
        end: () => editor.end(),
      });
    });
    return row;
  }

  #pick(id) {
    if (!this.editor.selection.has(id)) this.editor.selectTracks([id]);
    this.options.focus();
  }

  #part({ bar }, { clientX }) {
    const { left, right } = bar.getBoundingClientRect();
    const edge = Math.min(EDGE, (right - left) / 3);
    if (Math.abs(clientX - left) <= edge || clientX < left) return "start";
    return Math.abs(clientX - right) <= edge || clientX > right ? "end" : "both";
  }

  #scrub() {
    const to = (event) => {
      const { left, width } = this.ruler.getBoundingClientRect();
      const { frames } = this.editor.document;
      this.editor.setFrame(Math.round(((event.clientX - left) / width) * (frames - 1)));
    };
    this.ruler.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.options.focus();
      this.editor.setPlaying(false);
      dragging(this.ruler, event, { begin: () => to(event), move: to, end: () => {} });
    });
  }
}

/** Captures the pointer and follows it until it is let go. */
function dragging(element, event, { begin, move, end }) {
  element.setPointerCapture(event.pointerId);
  begin();
  element.addEventListener("pointermove", move);
  element.addEventListener("lostpointercapture", () => {
    element.removeEventListener("pointermove", move);
    end();
  }, { once: true });
}

const percent = (frame, frames) => `${(frame / Math.max(frames - 1, 1)) * 100}%`;

function gapsOf(visibility, frames) {
  if (!visibility) return [];
  const gaps = [];
  let next = 0;
  for (const [first, last] of [...visibility].sort(([a], [b]) => a - b)) {
    if (first > next) gaps.push([next, first - 1]);
    next = Math.max(next, last + 1);
  }
  if (next < frames) gaps.push([next, frames - 1]);
  return gaps;
}
