// One editor: its document with history, selection, frame, tool and picture, and the actions on them. It tells listeners
// what changed and hands the text to its host. It knows no page: widget.js and stage.js show it.

import {
  History, addTrack, appendPoint, copyTracks, deletePoints, duplicateTracks, emptyDocument, importTracks, movePoints, parse,
  removeTracks, resizeCanvas, serialise, setFps, setFrames, setTracks, setVisible, trackById,
} from "./document.js";
import { chosenPoints, ofTracks, pruned } from "./selection.js";
import { visibleAt } from "./spline.js";

/** @typedef {"document"|"selection"|"frame"|"tool"|"picture"|"playing"|"message"|"hover"} Change */

export class Editor {
  /**
   * @param {{save?: (text: string) => void, size?: object, resize?: (values: object) => void}} host
   *   save: takes the document's text whenever a step is complete; size: {width, height, frames, fps} that the document has
   *   to have (0 or missing: free); resize: asked when the user wants other ones.
   */
  constructor(host = {}) {
    this.host = host;
    this.size = host.size ?? {};
    this.text = "";
    this.error = null; // why the text that the host gave could not be read; it is kept until reset() or a new one
    this.history = new History(conformed(emptyDocument(), this.size));
    this.selection = new Map();
    this.frame = 0;
    this.tool = "spline";
    this.drawing = null; // id of the track that clicks of the spline tool go on with
    this.picture = null; // {image, width, height, frames?: image[]}
    this.playing = false;
    this.message = null; // {text, kind: "error"|"info"}
    this.hover = null;
    this.marquee = null;
    this.listeners = new Set();
    this.gesture = 0;
    this.unsaved = false;
  }

  get document() {
    return this.history.current;
  }

  /** @param {(change: Change) => void} listener @returns a function that stops listening */
  on(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tell(change) {
    for (const listener of [...this.listeners]) listener(change);
  }

  // Text in and out

  /** Takes the host's text; the same one again changes nothing, so that a host may echo what it was given. */
  load(text) {
    text = typeof text === "string" ? text : "";
    if (text === this.text) return;
    const { document, error } = parse(text, known(this.size));
    this.text = text;
    this.error = error;
    this.unsaved = false;
    this.history.reset(conformed(document, this.#limits()));
    this.drawing = null;
    this.#settled();
  }

  /** A new document in place of one that could not be read; undo does not bring the broken text back. */
  reset() {
    this.error = null;
    this.history.reset(conformed(emptyDocument(), this.#limits()));
    this.unsaved = true;
    this.#settled();
    this.save();
  }

  save() {
    if (this.error || !this.unsaved) return;
    this.unsaved = false;
    const text = serialise(this.document);
    if (text === this.text) return;
    this.text = text;
    this.host.save?.(text);
  }

  #settled() {
    this.selection = pruned(this.selection, this.document);
    if (this.drawing && !this.selection.has(this.drawing)) this.drawing = null;
    if (this.frame > this.document.frames - 1) this.frame = this.document.frames - 1;
    this.tell("document");
  }

  // Steps

  /** A new document as a step; within a gesture all edits are one step, and the text is handed over at its end. */
  edit(document, label = "") {
    if (this.error || document === this.document) return;
    this.history.push(document, { label, group: this.gesture ? `gesture ${this.gesture}` : null });
    this.unsaved = true;
    this.#settled();
    if (!this.gesture) this.save();
  }

  /** Runs an edit and shows what it refuses. @param {() => object} make gives the new document */
  attempt(make, label) {
    if (this.error) return false;
    try {
      this.edit(make(), label);
      return true;
    } catch (error) {
      this.say(error.message, "error");
      return false;
    }
  }

  begin() {
    this.gesture = ++Editor.gestures;
  }

  end() {
    this.gesture = 0;
    this.history.endGroup();
    this.save();
  }

  cancel() {
    if (!this.gesture) return;
    this.history.cancelGroup();
    this.gesture = 0;
    this.#settled();
    this.save();
  }

  undo() {
    this.#travel(this.history.undo());
  }

  redo() {
    this.#travel(this.history.redo());
  }

  #travel(document) {
    if (this.error) return;
    this.history.replace(conformed(document, this.#limits()));
    this.unsaved = true;
    this.#settled();
    this.save();
  }

  /** The host's size and length; what is drawn is scaled to them. No step: undo is for what was drawn. */
  conform(size) {
    this.size = size;
    const document = conformed(this.document, this.#limits());
    if (document === this.document) return;
    const drawn = document.tracks.length + document.camera.length > 0;
    this.history.replace(document);
    this.#settled();
    this.unsaved = !this.error && (drawn || this.text !== "");
    if (!this.gesture) this.save();
  }

  #limits() {
    const { width, height } = this.size;
    if (width > 0 && height > 0) return this.size;
    const picture = this.picture ?? {};
    return { ...this.size, width: picture.width, height: picture.height };
  }

  /** The user wants another canvas, number of frames or rate. */
  resize(values) {
    if (!this.host.resize?.(values)) this.conform({ ...this.size, ...values });
  }

  // What is shown

  setPicture(picture) {
    this.picture = picture;
    this.tell("picture");
    this.conform(this.size);
  }

  /** The image at the frame: of a video, or the picture. */
  get image() {
    const frames = this.picture?.frames;
    if (!frames?.length) return this.picture?.image ?? null;
    const at = Math.round((this.frame / Math.max(this.document.frames - 1, 1)) * (frames.length - 1));
    return frames[Math.min(Math.max(at, 0), frames.length - 1)];
  }

  setFrame(frame) {
    frame = Math.min(Math.max(frame, 0), this.document.frames - 1);
    if (frame === this.frame) return;
    this.frame = frame;
    this.tell("frame");
  }

  setPlaying(playing) {
    if (playing === this.playing) return;
    this.playing = playing;
    if (!playing) this.frame = Math.round(this.frame);
    this.tell("playing");
    this.tell("frame");
  }

  setTool(tool) {
    this.finish();
    if (tool === this.tool) return;
    this.tool = tool;
    this.hover = null;
    this.tell("tool");
  }

  setHover(hover) {
    if (hover === this.hover) return;
    this.hover = hover;
    this.tell("hover");
  }

  say(text, kind = "info") {
    this.message = text ? { text, kind } : null;
    this.tell("message");
  }

  // Selection

  select(selection) {
    this.selection = selection;
    if (this.drawing && !selection.has(this.drawing)) this.drawing = null;
    this.tell("selection");
  }

  selectTracks(ids) {
    this.select(ofTracks(ids));
  }

  selectAll() {
    this.selectTracks(this.document.tracks.filter((track) => !track.hidden && !track.locked).map((track) => track.id));
  }

  /** The selected tracks that may be changed. */
  get chosen() {
    return this.document.tracks.filter((track) => this.selection.has(track.id) && !track.locked);
  }

  get chosenIds() {
    return this.chosen.map((track) => track.id);
  }

  // Actions on the selection

  /** The track that is being drawn is complete. */
  finish() {
    if (!this.drawing) return;
    this.drawing = null;
    this.tell("selection");
  }

  /** Chosen points, or whole tracks. */
  remove() {
    const points = {};
    const tracks = [];
    for (const track of this.chosen) {
      const chosen = this.selection.get(track.id);
      if (chosen.size) points[track.id] = [...chosen];
      else tracks.push(track.id);
    }
    let document = this.document;
    if (Object.keys(points).length) document = deletePoints(document, points);
    if (tracks.length) document = removeTracks(document, tracks);
    const kept = [...this.selection.keys()].filter((id) => !tracks.includes(id));
    this.edit(document, "delete");
    this.selectTracks(kept.filter((id) => trackById(this.document, id)));
  }

  move(dx, dy) {
    this.edit(movePoints(this.document, chosenPoints(this.document, this.selection), dx, dy), "move");
  }

  duplicate(dx = 16, dy = 16) {
    const before = new Set(this.document.tracks.map((track) => track.id));
    this.attempt(() => duplicateTracks(this.document, this.chosenIds, dx, dy), "duplicate");
    const added = this.document.tracks.filter((track) => !before.has(track.id));
    if (added.length) this.selectTracks(added.map((track) => track.id));
  }

  /** The selection as text for the clipboard; empty where nothing is selected. */
  copy() {
    const ids = [...this.selection.keys()];
    return ids.length ? copyTracks(this.document, ids) : "";
  }

  /** Tracks out of a text in any known format. @returns whether there were any */
  paste(text, name) {
    const before = this.document.tracks.length;
    if (!this.attempt(() => importTracks(this.document, text, { name }), "paste")) return false;
    this.selectTracks(this.document.tracks.slice(before).map((track) => track.id));
    return true;
  }

  change(values, label = "change") {
    this.attempt(() => setTracks(this.document, this.chosenIds, values), label);
  }

  /** Hides or locks the selected tracks, or the reverse where all are. @param {"hidden"|"locked"} name */
  toggle(name) {
    const tracks = this.document.tracks.filter((track) => this.selection.has(track.id));
    const value = !tracks.every((track) => track[name]);
    this.attempt(() => setTracks(this.document, tracks.map((track) => track.id), { [name]: value }), name);
  }

  /** From the frame to the next change of visibility (or the end), the selected tracks show if they did not, and the reverse. */
  toggleVisible() {
    const frame = Math.round(this.frame);
    const { frames } = this.document;
    let document = this.document;
    for (const track of this.chosen) {
      const shown = visibleAt({ ...track, timing: undefined }, frames, frame);
      let last = frame;
      while (last + 1 < frames && visibleAt({ ...track, timing: undefined }, frames, last + 1) === shown) last++;
      document = setVisible(document, track.id, frame, last, !shown);
    }
    this.edit(document, "visibility");
  }

  /** Clicks of the spline tool go on with this track. */
  goOn(id) {
    this.setTool("spline");
    this.drawing = id;
    this.selectTracks([id]);
  }

  addPoint({ x, y }) {
    this.attempt(() => addTrack(this.document, { kind: "point", points: [{ x, y }] }), "static point");
    this.selectTracks([this.document.tracks.at(-1).id]);
  }

  /** The selected tracks run the other way. */
  reverse() {
    const ids = new Set(this.chosenIds);
    const tracks = this.document.tracks.map((track) => (ids.has(track.id) ? { ...track, points: reversed(track.points) } : track));
    this.edit({ ...this.document, tracks }, "reverse");
  }

  /** Adds a point to the track that is being drawn. */
  append(x, y) {
    this.edit(appendPoint(this.document, this.drawing, { x, y }), "add point");
    this.select(new Map([[this.drawing, new Set()]]));
  }
}

Editor.gestures = 0;

/** Points in the other order, their handles and recorded times turned too. */
function reversed(points) {
  const last = points.at(-1).t;
  return points.toReversed().map(({ in: before, out: after, t, ...rest }) => ({
    ...rest, ...(after && { in: after }), ...(before && { out: before }), ...(t !== undefined && { t: last - t }),
  }));
}

/** What a host says of the size, without its zeros. */
const known = (size) => Object.fromEntries(Object.entries(size).filter(([, value]) => value > 0));

/** A document of the given size, length and rate, what is drawn scaled with it; 0 and missing ones are left as they are. */
function conformed(document, { width, height, frames, fps }) {
  if (width > 0 && height > 0) document = resizeCanvas(document, width, height);
  if (frames > 0) document = setFrames(document, frames);
  return fps > 0 && fps !== document.fps ? setFps(document, fps) : document;
}
