// What both sizes of the editor share: a root that keeps its events to itself, an element that holds the keyboard, a stage,
// keys, clipboard, drop, the context menu, messages. widget.js arranges it. Knows no ComfyUI.

import { EXPORTS, exportTracks } from "./document.js";
import { isPicture } from "./background.js";
import { button, h } from "./dom.js";
import { pressKey } from "./keys.js";
import { menuKey, showMenu } from "./menu.js";
import { Stage } from "./stage.js";

const KEPT = [
  "pointerdown", "pointermove", "pointerup", "mousedown", "mousemove", "mouseup", "click", "dblclick", "auxclick", "contextmenu",
  "touchstart", "touchmove", "touchend", "keydown", "keyup", "keypress", "copy", "cut", "paste", "dragstart", "dragover", "dragleave", "drop",
];
const TEXT_INPUT = "input:not([type=range]):not([type=checkbox]):not([type=color]):not(.tse-keyboard)";

export class Surface {
  /**
   * @param {{compact?: boolean, escape?: () => void, toggleOverlay?: () => void, help?: () => void, rename?: () => void,
   *   onPointer?: Function, onView?: Function}} wishes
   * @param {{background: object, files?: object}} services
   */
  constructor(editor, wishes, services) {
    Object.assign(this, { editor, wishes, services });
    this.stage = new Stage(editor, { compact: wishes.compact, onMenu: (event) => this.contextMenu(event), onPointer: wishes.onPointer, onView: wishes.onView });
    // A text area, because everything around (browser, graph, screen keyboards) leaves the keys of one alone.
    this.keyboard = h("textarea.tse-keyboard", { readOnly: true, ariaLabel: "Spline editor: ? lists the keys", inputMode: "none", spellcheck: false });
    this.note = h("div.tse-note", { role: "status" });
    this.note.addEventListener("pointerdown", (event) => event.stopPropagation()); // else the stage takes its clicks
    this.stage.element.append(this.note);
    this.root = h("div.tse", { tabIndex: -1, title: "" }, this.keyboard);
    this.root.dataset.captureWheel = "true"; // of the newer frontend: the wheel is ours while we hold the keyboard
    this.#keep();
    this.#keys();
    this.#clipboard();
    this.stops = [editor.on((change) => ["message", "document"].includes(change) && this.#notice())];
    this.#notice();
  }

  destroy() {
    this.stops.forEach((stop) => stop());
    this.#blurred();
    clearTimeout(this.fading);
    this.stage.destroy();
    this.root.remove();
  }

  get focused() {
    return this.root.contains(document.activeElement);
  }

  focus() {
    this.keyboard.focus({ preventScroll: true });
  }

  // Events

  #keep() {
    const { root } = this;
    for (const name of KEPT) root.addEventListener(name, (event) => event.stopPropagation());
    root.addEventListener("pointerdown", (event) => !event.target.closest("input") && this.focus());
    root.addEventListener("mousedown", (event) => !event.target.closest("input, [draggable]") && event.preventDefault());
    root.addEventListener("change", (event) => event.target.matches("[type=checkbox], [type=color]") && this.focus());
    root.addEventListener("contextmenu", (event) => !event.target.closest("input") && event.preventDefault());
    root.addEventListener("wheel", (event) => {
      if (this.wishes.compact && !this.focused) return this.services.forwardWheel?.(event);
      event.stopPropagation();
    }, { passive: false });
    // Where the node has not been clicked, the wheel is the graph's.
    this.stage.element.addEventListener("wheel", (event) => {
      if (this.wishes.compact && !this.focused) event.tseGraph = true;
    }, { capture: true, passive: false });
    this.outside = (event) => !root.contains(event.target) && !event.target.closest?.(".tse-menu") && this.keyboard.blur();
    this.keyboard.addEventListener("focus", () => {
      root.classList.add("tse-focused");
      window.addEventListener("pointerdown", this.outside, true);
    });
    this.keyboard.addEventListener("blur", () => this.#blurred());
  }

  #blurred() {
    this.root.classList.remove("tse-focused");
    window.removeEventListener("pointerdown", this.outside, true);
    this.stage.setSpace(false);
  }

  #keys() {
    this.root.addEventListener("keydown", (event) => {
      if (event.isComposing || event.target.matches(TEXT_INPUT)) {
        if (event.key === "Escape") event.target.value = ""; // which is no number: the field goes back to what was
        if (event.key === "Escape" || event.key === "Enter") this.focus();
        return;
      }
      if (event.key === "Tab" || (event.target.type === "range" && event.key.startsWith("Arrow"))) return;
      if (menuKey(event)) return event.preventDefault();
      if (event.key === " ") {
        if (!event.repeat) this.#space();
        return event.preventDefault();
      }
      if (pressKey(this, event)) event.preventDefault();
    });
    this.root.addEventListener("keyup", (event) => event.key === " " && this.#spaceUp());
    this.root.addEventListener("pointerdown", () => (this.spaceUsed = true));
  }

  /** Space: a tap plays, held it moves the view. */
  #space() {
    this.spaceUsed = false;
    this.stage.setSpace(true);
  }

  #spaceUp() {
    if (!this.stage.space) return;
    this.stage.setSpace(false);
    if (!this.spaceUsed) this.editor.setPlaying(!this.editor.playing);
  }

  // What keys ask for (keys.js)

  escape() {
    const { editor } = this;
    if (this.stage.cancel()) return;
    if (editor.drawing) editor.finish();
    else if (editor.selection.size) editor.select(new Map());
    else this.wishes.escape?.();
  }

  toggleOverlay() {
    this.wishes.toggleOverlay?.();
  }

  help() {
    this.wishes.help?.();
  }

  rename() {
    this.wishes.rename?.();
  }

  // Clipboard and files

  #clipboard() {
    const { editor, root } = this;
    const ours = (event) => !event.target.matches?.(TEXT_INPUT);
    const copy = (event) => {
      const text = editor.copy();
      if (!ours(event) || !text) return false;
      event.clipboardData.setData("text/plain", text);
      event.preventDefault();
      return true;
    };
    root.addEventListener("copy", copy);
    root.addEventListener("cut", (event) => copy(event) && editor.selectTracks(editor.chosenIds) === undefined && editor.remove());
    root.addEventListener("paste", (event) => {
      if (!ours(event)) return;
      event.preventDefault();
      const files = [...event.clipboardData.files];
      if (files.length) return this.take(files);
      const text = event.clipboardData.getData("text/plain");
      if (text) editor.paste(text);
    });
    root.addEventListener("dragover", (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
    root.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.take([...event.dataTransfer.files]);
    });
  }

  /** Files pasted, dropped or picked: pictures become the background, everything else tracks. */
  async take(files) {
    for (const file of files) {
      if (isPicture(file)) await this.services.background.file(file);
      else await this.#import(file);
    }
  }

  async #import(file) {
    try {
      const text = /\.(json|txt|csv)$/i.test(file.name) ? await file.text() : await this.services.readTracks?.(file);
      if (text === undefined) throw new Error(`${file.name}: only .json and .txt can be read here.`);
      if (this.editor.paste(text, file.name.replace(/\.[^.]*$/, ""))) this.editor.say(`${file.name} was added.`);
    } catch (error) {
      this.editor.say(error.message, "error");
    }
  }

  pickFiles() {
    const input = h("input", { type: "file", multiple: true });
    input.addEventListener("change", () => this.take([...input.files]));
    input.click();
  }

  download(format) {
    try {
      for (const { name, text } of exportTracks(this.editor.document, format)) {
        const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
        h("a", { href: url, download: name }).click();
        setTimeout(() => URL.revokeObjectURL(url), 10_000);
      }
    } catch (error) {
      this.editor.say(error.message, "error");
    }
  }

  // Menus and messages

  menu(at, items) {
    this.focus();
    showMenu(at, items, { parent: document.body });
  }

  fileMenu({ clientX, clientY }) {
    const exports = Object.entries(EXPORTS).map(([format, label]) => ({ label: `Save as ${label}`, run: () => this.download(format) }));
    this.menu({ clientX, clientY }, [{ label: "Open tracks or a picture…", run: () => this.pickFiles() }, null, ...exports]);
  }

  contextMenu(event) {
    const { editor, stage } = this;
    const { clientX, clientY } = event;
    const { hits: [hit], at } = stage.look(event);
    if (hit?.track && !editor.selection.has(hit.track)) {
      editor.select(new Map([[hit.track, new Set(hit.kind === "point" ? [hit.point] : [])]]));
    }
    const none = !editor.chosen.length;
    const one = editor.chosen.length === 1 ? editor.chosen[0] : null;
    this.menu({ clientX, clientY }, [
      hit?.kind === "curve" ? { label: "Insert a point here", run: () => stage.insert(hit) } : null,
      one && !["freehand", "point"].includes(one.kind) ? { label: "Go on drawing this track", run: () => editor.goOn(one.id) } : null,
      { label: "Static point here", run: () => editor.addPoint(at) },
      null,
      { label: "Duplicate", keys: "Ctrl D", disabled: none, run: () => editor.duplicate() },
      { label: "Delete", keys: "Del", disabled: none, run: () => editor.remove() },
      { label: "Reverse direction", disabled: none, run: () => editor.reverse() },
      null,
      { label: "Visible from this frame on, or not", keys: "K", disabled: none, run: () => editor.toggleVisible() },
      { label: "Hide or show", keys: "E", disabled: !editor.selection.size, run: () => editor.toggle("hidden") },
      { label: "Lock or unlock", keys: "L", disabled: !editor.selection.size, run: () => editor.toggle("locked") },
      null,
      { label: "Select all", keys: "Ctrl A", run: () => editor.selectAll() },
      { label: "Undo", keys: "Ctrl Z", disabled: !editor.history.canUndo, run: () => editor.undo() },
      { label: "Redo", keys: "Ctrl Shift Z", disabled: !editor.history.canRedo, run: () => editor.redo() },
    ].filter((item, i, all) => item || (i > 0 && all[i - 1])));
  }

  /** What went wrong, or what a broken document needs. */
  #notice() {
    const { error, message } = this.editor;
    clearTimeout(this.fading);
    this.note.className = `tse-note${error || message?.kind === "error" ? " tse-error" : ""}`;
    if (error) {
      this.note.replaceChildren(h("p", {}, error), h("p", {}, "It is kept as it is until you start anew."),
        button(null, "Start with an empty drawing", () => this.editor.reset(), "Start anew"));
    } else if (message) {
      this.note.replaceChildren(h("p", {}, message.text));
      this.fading = setTimeout(() => this.editor.say(""), message.kind === "error" ? 8000 : 3000);
    } else this.note.replaceChildren();
  }
}
