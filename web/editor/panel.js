// The list of tracks and camera moves, and the properties of what is selected (properties.js). Shows the editor's document
// and asks the editor for changes; knows no canvas and no ComfyUI.

import { addCamera, removeCamera, renameTrack, reorderCamera, reorderTrack, setTracks } from "./document.js";
import { button, h, relabel } from "./dom.js";
import { Properties } from "./properties.js";

const MOVES = {
  pan: { label: "Pan", make: ({ width }) => ({ kind: "pan", x: Math.round(width / 8), y: 0 }) },
  zoom: { label: "Zoom", make: () => ({ kind: "zoom", factor: 1.2 }) },
  rotate: { label: "Rotate", make: () => ({ kind: "rotate", degrees: 10 }) },
};

export class Panel {
  /** @param {{menu: (at: object, items: object[]) => void, focus: () => void}} options */
  constructor(editor, options) {
    this.editor = editor;
    this.options = options;
    this.move = null; // id of the selected camera move
    this.rows = new Map();
    this.list = h("div.tse-list", { role: "listbox", ariaLabel: "Tracks", ariaMultiSelectable: "true" });
    this.cameras = h("div.tse-list", { role: "listbox", ariaLabel: "Camera moves" });
    this.properties = new Properties(editor, options, this);
    this.add = button("plus", "Add a camera move", (event) => this.#addMenu(event));
    this.element = h("aside.tse-panel", {},
      h("h3", {}, "Tracks"), this.list,
      h("h3", {}, "Camera", this.add), this.cameras,
      h("h3", {}, "Properties"), this.properties.element);
    this.stops = [editor.on((change) => this.#changed(change))];
    this.render();
  }

  destroy() {
    this.stops.forEach((stop) => stop());
    cancelAnimationFrame(this.scheduled);
  }

  #changed(change) {
    if (change === "selection" && this.editor.selection.size) this.move = null;
    if (!["document", "selection", "tool"].includes(change) || this.scheduled) return;
    this.scheduled = requestAnimationFrame(() => this.render());
  }

  render() {
    this.scheduled = 0;
    const { document } = this.editor;
    if (!document.camera.some((move) => move.id === this.move)) this.move = null;
    this.#renderTracks();
    this.cameras.replaceChildren(...document.camera.map((move) => this.#cameraRow(move)));
    if (!document.camera.length) this.cameras.append(h("p.tse-hint", {}, "Pan, zoom or turn all tracks, or the selected ones."));
    this.properties.render(this.move);
  }

  #renderTracks() {
    const { document, selection } = this.editor;
    if (!document.tracks.length) {
      this.rows.clear();
      this.list.replaceChildren(h("p.tse-hint", {}, "Click into the picture to draw a track. ? shows all keys."));
      return;
    }
    const rows = new Map();
    for (const track of document.tracks) {
      let row = this.rows.get(track.id);
      if (row?.track !== track) row = this.#row(track, row);
      row.element.classList.toggle("tse-on", selection.has(track.id));
      row.element.ariaSelected = String(selection.has(track.id));
      rows.set(track.id, row);
    }
    this.rows = rows;
    const wanted = [...rows.values()].map(({ element }) => element);
    const same = wanted.length === this.list.children.length && wanted.every((element, i) => element === this.list.children[i]);
    if (!same) this.list.replaceChildren(...wanted);
    const first = rows.get([...selection.keys()][0])?.element;
    if (first && first !== this.shown && this.list.isConnected) first.scrollIntoView({ block: "nearest" });
    this.shown = first;
  }

  /** A row is kept while its track's name and marks stay, whatever its points do. */
  #row(track, before) {
    const { editor } = this;
    if (before) {
      before.track = track;
      before.update(track);
      return before;
    }
    const set = (values, label) => editor.attempt(() => setTracks(editor.document, [track.id], values), label);
    const eye = button("eye", "", () => set({ hidden: !row.track.hidden }, "hide"));
    const lock = button("unlock", "", () => set({ locked: !row.track.locked }, "lock"));
    const color = h("input", { type: "color", title: "Colour", ariaLabel: "Colour", tabIndex: -1, onchange: () => set({ color: color.value }, "colour") });
    const name = h("span.tse-name", {});
    const element = h("div.tse-row", { role: "option", draggable: true }, color, name, eye, lock);
    const row = { element, track, rename: () => this.#rename(track.id, name), update: (now) => {
      if (!name.querySelector("input")) name.textContent = now.name;
      name.title = `${now.name} (${now.kind})`;
      color.value = now.color;
      relabel(eye, now.hidden ? "eye-off" : "eye", now.hidden ? "Show" : "Hide: not drawn and not given out");
      relabel(lock, now.locked ? "lock" : "unlock", now.locked ? "Unlock" : "Lock");
      element.classList.toggle("tse-hidden", now.hidden);
      eye.classList.toggle("tse-quiet", !now.hidden);
      lock.classList.toggle("tse-quiet", !now.locked);
    } };
    element.addEventListener("click", (event) => !event.target.closest("button, input") && this.#pick(track.id, event));
    element.addEventListener("dblclick", (event) => !event.target.closest("button, input") && row.rename());
    element.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (!editor.selection.has(track.id)) editor.selectTracks([track.id]);
      this.options.contextMenu(event);
    });
    this.#sortable(element, track.id);
    row.update(track);
    return row;
  }

  #pick(id, event) {
    const { editor } = this;
    const ids = [...editor.selection.keys()];
    if (event.shiftKey && ids.length) {
      const order = editor.document.tracks.map((track) => track.id);
      const [a, b] = [order.indexOf(ids[0]), order.indexOf(id)].sort((x, y) => x - y);
      editor.selectTracks(order.slice(a, b + 1));
    } else if (event.ctrlKey || event.metaKey) {
      editor.selectTracks(ids.includes(id) ? ids.filter((other) => other !== id) : [...ids, id]);
    } else editor.selectTracks([id]);
    this.options.focus();
  }

  /** Rename the first selected track (key R). */
  rename() {
    this.rows.get(this.editor.chosenIds[0])?.rename();
  }

  #rename(id, place) {
    const track = this.editor.document.tracks.find((other) => other.id === id);
    const input = h("input", { value: track.name, maxLength: 200, ariaLabel: "Name" });
    let open = true;
    const done = (keep) => {
      if (!open) return; // taking a field away blurs it
      open = false;
      const name = input.value.trim();
      input.replaceWith(keep && name ? name : track.name);
      if (keep && name && name !== track.name) this.editor.attempt(() => renameTrack(this.editor.document, id, name), "rename");
      this.options.focus();
    };
    input.addEventListener("blur", () => done(true), { once: true });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") done(true);
      if (event.key === "Escape") done(false);
      event.stopPropagation();
    });
    place.replaceChildren(input);
    input.select();
    input.focus();
  }

  /** Dragging a row to another place of the list. */
  #sortable(element, id) {
    element.addEventListener("dragstart", (event) => {
      event.dataTransfer.setData("text/x-tse-track", id);
      this.dragged = id;
    });
    element.addEventListener("dragover", (event) => {
      if (!this.dragged) return;
      event.preventDefault();
      event.stopPropagation();
      element.classList.toggle("tse-below", this.#below(event, element));
      element.classList.toggle("tse-above", !this.#below(event, element));
    });
    const clear = () => element.classList.remove("tse-below", "tse-above");
    element.addEventListener("dragleave", clear);
    element.addEventListener("dragend", () => (this.dragged = null));
    element.addEventListener("drop", (event) => {
      clear();
      if (!this.dragged || this.dragged === id) return;
      event.preventDefault();
      event.stopPropagation();
      const rest = this.editor.document.tracks.filter((track) => track.id !== this.dragged);
      const index = rest.findIndex((track) => track.id === id) + (this.#below(event, element) ? 1 : 0);
      this.editor.edit(reorderTrack(this.editor.document, this.dragged, index), "reorder");
      this.dragged = null;
    });
  }

  #below(event, element) {
    const { top, height } = element.getBoundingClientRect();
    return event.clientY > top + height / 2;
  }

  // Camera

  #addMenu({ clientX, clientY }) {
    const { editor } = this;
    const ids = editor.chosenIds;
    const items = Object.values(MOVES).map(({ label, make }) => ({
      label: `${label}, ${ids.length ? "selected tracks" : "all tracks"}`,
      run: () => {
        const made = editor.attempt(() => addCamera(editor.document, { ...make(editor.document.canvas), tracks: ids.length ? ids : null }), "camera");
        if (made) this.#pickMove(editor.document.camera.at(-1).id);
      },
    }));
    this.options.menu({ clientX, clientY }, items);
  }

  #pickMove(id) {
    this.editor.select(new Map());
    this.move = id;
    this.render();
    this.options.focus();
  }

  #cameraRow(move) {
    const { editor } = this;
    const what = { pan: `${round(move.x)}, ${round(move.y)} px`, zoom: `× ${round(move.factor)}`, rotate: `${round(move.degrees)}°` }[move.kind];
    const whom = move.tracks ? `${move.tracks.length} track${move.tracks.length === 1 ? "" : "s"}` : "all";
    const index = editor.document.camera.indexOf(move);
    const earlier = button("chevron", "Act earlier", () => editor.edit(reorderCamera(editor.document, move.id, index - 1), "reorder"));
    earlier.classList.add("tse-up", "tse-quiet");
    earlier.disabled = index === 0;
    const gone = button("trash", "Delete this camera move", () => editor.edit(removeCamera(editor.document, move.id), "delete"));
    gone.classList.add("tse-quiet");
    const row = h("div.tse-row", { role: "option" }, h("span.tse-name", {}, `${MOVES[move.kind].label} ${what}`), h("em", {}, whom), earlier, gone);
    row.classList.toggle("tse-on", move.id === this.move);
    row.addEventListener("click", (event) => !event.target.closest("button") && this.#pickMove(move.id));
    return row;
  }
}

const round = (value) => Math.round(value * 100) / 100;
