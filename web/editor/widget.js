// The two sizes of one editor: `Compact`, the element inside a node, and `Overlay`, over the whole window. They arrange what
// the other files draw. Knows no ComfyUI.

import { button, h, relabel } from "./dom.js";
import { KEYS, helpOf } from "./keys.js";
import { Panel } from "./panel.js";
import { Surface } from "./surface.js";
import { Timeline } from "./timeline.js";
import { TOOLS } from "./tools/index.js";

/** Adds the style sheet to the page, once. */
export function addStyles() {
  const url = new URL("./editor.css", import.meta.url).href;
  if (![...document.styleSheets].some(({ href }) => href === url) && !document.querySelector(`link[href="${url}"]`)) {
    document.head.append(h("link", { rel: "stylesheet", href: url }));
  }
}

/** The tool bar; shows the tool in the hand. */
function toolBar(editor, focus) {
  const buttons = TOOLS.map((tool) => button(tool.id, `${tool.label} (${tool.key.toUpperCase()}) — ${tool.help}`, () => {
    editor.setTool(tool.id);
    focus();
  }));
  const element = h("div.tse-tools", { role: "toolbar", ariaLabel: "Tools" }, ...buttons);
  const update = () => TOOLS.forEach(({ id }, i) => {
    buttons[i].classList.toggle("tse-on", id === editor.tool);
    buttons[i].ariaPressed = String(id === editor.tool);
  });
  update();
  return { element, stop: editor.on((change) => change === "tool" && update()) };
}

/** Undo and redo; show whether there is anything to take back. */
function historyButtons(editor) {
  const undo = button("undo", "Undo", () => editor.undo());
  const redo = button("redo", "Redo", () => editor.redo());
  const update = () => {
    const { history } = editor;
    undo.disabled = !history.canUndo;
    redo.disabled = !history.canRedo;
    relabel(undo, "undo", `Undo ${history.undoLabel} (Ctrl Z)`);
    relabel(redo, "redo", `Redo ${history.redoLabel} (Ctrl Shift Z)`);
  };
  update();
  return { element: h("span.tse-group", {}, undo, redo), stop: editor.on((change) => change === "document" && update()) };
}

export class Compact {
  /** @param {object} services of Surface, and {overlayTitle?: string} */
  constructor(editor, services) {
    Object.assign(this, { editor, services });
    this.overlay = null;
    this.surface = new Surface(editor, {
      compact: true,
      escape: () => this.surface.keyboard.blur(),
      toggleOverlay: () => this.open(),
      help: () => this.open().help(),
      rename: () => this.open().rename(),
    }, services);
    this.timeline = new Timeline(editor, { compact: true, focus: () => this.surface.focus() });
    const focus = () => this.surface.focus();
    const tools = toolBar(editor, focus);
    const history = historyButtons(editor);
    this.element = this.surface.root;
    this.element.classList.add("tse-compact", "widget-expands"); // the latter: earlier Nodes 2.0 give it the node's free height
    this.element.append(
      h("div.tse-bar-top", {}, tools.element, h("span.tse-space"), history.element,
        button("expand", "Open the large editor (O)", () => this.open(), h("span", {}, "Open editor"))),
      this.surface.stage.element, this.timeline.element);
  }

  /** The large editor; the one that is open if there is one. */
  open() {
    if (this.overlay) return this.overlay;
    this.surface.stage.setPaused(true);
    this.timeline.setPaused(true);
    this.overlay = new Overlay(this.editor, this.services, () => {
      this.overlay = null;
      this.surface.stage.setPaused(false);
      this.timeline.setPaused(false);
      if (this.element.isConnected) this.surface.focus();
    });
    return this.overlay;
  }

  /** Its node is gone, perhaps for good: nothing goes on without it. */
  rest() {
    this.overlay?.close();
    this.editor.setPlaying(false);
    this.surface.keyboard.blur();
  }
}

export class Overlay {
  /** @param {() => void} [closed] called once it is gone; without it, it cannot be closed (the page is the editor) */
  constructor(editor, services, closed) {
    Object.assign(this, { editor, services, closed });
    const focus = () => this.surface.focus();
    this.surface = new Surface(editor, {
      escape: () => this.close(),
      toggleOverlay: () => this.close(),
      help: () => this.help(),
      rename: () => this.rename(),
      onPointer: (at) => this.timeline?.setPointer(at),
      onView: () => this.#zoomed(),
    }, services);
    const { surface } = this;
    const menu = (at, items) => surface.menu(at, items);
    this.timeline = new Timeline(editor, { focus });
    this.panel = new Panel(editor, { focus, menu, contextMenu: (event) => surface.contextMenu(event) });
    const tools = toolBar(editor, focus);
    const history = historyButtons(editor);
    this.info = h("span.tse-info");
    this.percent = button(null, "100 % (1)", () => surface.stage.zoom(1 / surface.stage.view.scale), h("span", {}));
    this.status = h("div.tse-status");
    const bar = h("header.tse-bar-top", {},
      h("b.tse-heading", {}, services.title ?? "Spline editor"), this.info, h("span.tse-space"), history.element,
      button("more", "Open and save tracks", (event) => surface.fileMenu(event)),
      this.percent,
      button("fit", "Fit (0)", () => surface.stage.setViewport(null)),
      button("help", "All keys (?)", () => this.help()),
      ...(services.buttons ?? []),
      closed ? button("done", "Close (Esc); everything is saved as it changes", () => this.close(), h("span", {}, "Done")) : null);
    surface.root.classList.add("tse-overlay");
    surface.root.append(bar, tools.element, h("div.tse-middle", {}, surface.stage.element, this.status), this.panel.element, this.timeline.element);
    if (closed) {
      surface.root.setAttribute("role", "dialog");
      surface.root.ariaModal = "true";
      surface.root.ariaLabel = "Spline editor";
    }
    this.stops = [tools.stop, history.stop, editor.on((change) => this.#changed(change))];
    // The keyboard stays here while this is open, also when what held it goes away.
    surface.root.addEventListener("focusout", (event) => {
      if (!surface.root.contains(event.relatedTarget)) setTimeout(() => this.#open && document.hasFocus() && !surface.focused && focus());
    });
    document.body.append(surface.root);
    this.#changed("tool");
    this.#changed("document");
    surface.stage.refresh();
    focus();
  }

  get #open() {
    return this.surface.root.isConnected;
  }

  #changed(change) {
    if (change === "document" || change === "picture") {
      const { canvas: { width, height }, frames, fps } = this.editor.document;
      this.info.textContent = `${width} × ${height} · ${frames} frames · ${Math.round(fps * 100) / 100} fps`;
      this.#zoomed();
    }
    if (change === "tool") this.status.textContent = helpOf(this.editor.tool);
  }

  #zoomed() {
    this.percent.firstChild.textContent = `${Math.round(this.surface.stage.view.scale * 100)} %`;
  }

  rename() {
    this.panel.rename();
  }

  /** Shows or hides the list of keys. */
  help() {
    if (this.sheet?.isConnected) return this.sheet.remove();
    const sections = [];
    for (const { title, show, help } of KEYS) {
      if (title) sections.push(h("section", {}, h("h4", {}, title)));
      else if (help) sections.at(-1).append(h("p", {}, h("kbd", {}, show), h("span", {}, help)));
    }
    this.sheet = h("div.tse-sheet", {}, button("close", "Close this list (?)", () => this.sheet.remove()), ...sections);
    this.surface.stage.element.append(this.sheet);
    this.sheet.addEventListener("pointerdown", (event) => event.stopPropagation());
  }

  close() {
    if (!this.closed || !this.#open) return;
    this.editor.setPlaying(false);
    this.editor.finish();
    this.stops.forEach((stop) => stop());
    this.timeline.destroy();
    this.panel.destroy();
    this.surface.destroy();
    this.closed();
  }
}
