// The editor as a widget of a ComfyUI node: its value, the node's size inputs, the picture that is connected, files that go
// to the server. The only file of the editor that knows ComfyUI.

import { Background, isVideoName, loadFrames, loadImage, loadVideo } from "./background.js";
import { Editor } from "./editor.js";
import { readTracks } from "./server.js";
import { Compact, addStyles } from "./widget.js";

const HEIGHT = 320; // pixels, the least that the widget asks for
const LOOK = 700; // milliseconds between looks at what is connected: no event of the graph tells all of it
const SIZES = ["width", "height", "frames", "fps"];
const FILES = ["image", "video", "file"]; // widgets of nodes that load a file, LoadImage first
const REROUTES = 20; // that a link is followed through
const BACKGROUND = "trajectory.background"; // nodes/host.py: show_background, sent before the node has ended, or failed

/** @param {{app: object, api: object, type: string}} comfy @returns the DOM widget, whose value is the document's text */
export function mountEditor(node, name, comfy) {
  addStyles();
  const mount = new Mount(node, comfy);
  const widget = node.addDOMWidget(name, comfy.type, mount.compact.element, {
    getValue: () => mount.editor.text,
    setValue: (text) => mount.load(text),
    getMinHeight: () => HEIGHT,
    hideOnZoom: false,
    socketless: true,
    serialize: true,
  });
  // Newer frontends draw the widgets of a chosen node in their side panel too, and note its width in those that they do not
  // know (WidgetLegacy.vue). The classic canvas would then show the editor as narrow as the panel, from the first click on.
  Object.defineProperty(widget, "width", { get: () => undefined, set: () => {}, configurable: true });
  mount.begin(widget);
  return widget;
}

class Mount {
  constructor(node, { app, api }) {
    // used: size and length that the last run had; ran: its pictures {urls, width, height}
    Object.assign(this, { node, app, api, widget: null, shown: "", used: null, ran: null, loading: false });
    this.onBackground = ({ detail }) => this.#isMe(detail?.node) && this.#sent(detail);
    this.editor = new Editor({ size: {}, save: () => this.#saved(), resize: (values) => this.#resize(values) });
    this.pictures = new Background(this.editor);
    this.compact = new Compact(this.editor, {
      title: "Spline editor",
      background: { file: (file) => this.#keepFile(file) },
      readTracks: (file) => readTracks((path, body) => api.fetchApi(path, { method: "POST", body }), file),
      forwardWheel: (event) => this.#forwardWheel(event),
    });
  }

  begin(widget) {
    this.widget = widget;
    chain(this.node, "onExecuted", (output) => this.#executed(output));
    chain(this.node, "onConfigure", () => this.look());
    chain(this.node, "onAdded", () => this.wake());
    chain(this.node, "onRemoved", () => this.rest());
    this.editor.on((change) => change === "document" && this.look());
  }

  /** The node is in a graph (copies that the clipboard makes never are). */
  wake() {
    clearInterval(this.timer);
    this.timer = setInterval(() => this.look(), LOOK);
    this.api.addEventListener(BACKGROUND, this.onBackground);
    queueMicrotask(() => this.look());
  }

  rest() {
    clearInterval(this.timer);
    this.api.removeEventListener(BACKGROUND, this.onBackground);
    this.compact.rest();
    this.pictures.clear();
    this.shown = "";
  }

  /** The value that the graph sets: on loading, pasting, and its own undo. */
  load(text) {
    this.loading = true; // what follows from it is no step of the graph's history
    this.editor.size = this.#size();
    this.editor.load(text);
    this.loading = false;
  }

  /** A step of the editor is complete: the widget's value is new. The graph's undo gets it as a step too. */
  #saved() {
    const { widget, node, app } = this;
    widget?.callback?.(this.editor.text, app.canvas, node);
    node.graph?.setDirtyCanvas?.(true, false);
    if (this.loading) return;
    const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
    if (tracker?.captureCanvasState) tracker.captureCanvasState();
    else tracker?.checkState?.();
  }

  /** Called now and then: the size that the node asks for, and the picture that is connected, may be others now. */
  look() {
    if (!this.node.graph) return;
    const size = this.#size();
    if (SIZES.some((name) => size[name] !== this.editor.size[name])) this.editor.conform(size);
    this.#background();
  }

  // Size and length

  /** What the node's inputs say, linked ones where the number can be seen before the graph has run. */
  #size() {
    return Object.fromEntries(SIZES.map((name) => [name, this.#number(name)]));
  }

  #number(name) {
    const source = this.#source(name);
    if (source) {
      const value = source.widgets?.find((widget) => typeof widget.value === "number")?.value;
      return value ?? this.used?.[name] ?? 0;
    }
    return Number(this.#sizeWidget(name)?.value) || 0;
  }

  #sizeWidget(name) {
    return this.node.widgets?.find((widget) => widget.name === name);
  }

  /** The user wants another size in the editor: the node's own inputs are set, where they are not linked. */
  #resize(values) {
    for (const name of SIZES) {
      const value = values[name];
      if (value === undefined || value === this.editor.document[name]) continue;
      const widget = this.#sizeWidget(name);
      if (!widget || this.#source(name)) {
        this.editor.say(`${name} comes from a connected node.`, "error");
        continue;
      }
      widget.value = value;
      widget.callback?.(value, this.app.canvas, this.node);
    }
    this.look();
    this.#saved();
    return true;
  }

  // The picture

  /** The node that an input is linked to, behind reroutes; null where there is none (or outside of this subgraph). */
  #source(name) {
    let node = this.node;
    if (!node.graph) return null; // a copy that the clipboard makes
    let slot = node.inputs?.findIndex((input) => input.name === name) ?? -1;
    for (let i = 0; i < REROUTES && slot >= 0; i++) {
      node = node.getInputNode?.(slot) ?? null;
      if (!node) return null;
      if (node.type !== "Reroute") return node;
      slot = 0;
    }
    return null;
  }

  /** Shows another picture if there is one: of a file loaded upstream, else of the last run, else one dropped here. */
  #background() {
    const source = this.#source("image");
    const upstream = source ? this.#fileOf(source) : null;
    const dropped = this.editor.document.background?.filename ? this.#view(this.editor.document.background) : null;
    const urls = upstream ?? (source ? this.ran?.urls : null) ?? (dropped && [dropped]) ?? [];
    const key = urls.join(" ");
    if (key === this.shown) return;
    this.shown = key;
    this.pictures.show(async (changed) => {
      if (!urls.length) return null;
      const picture = await (isVideoName(decodeURIComponent(urls[0])) ? loadVideo(urls[0], changed) : loadFrames(urls));
      return urls === this.ran?.urls ? { ...picture, width: this.ran.width, height: this.ran.height } : picture;
    });
  }

  /** [address] of the file that a node loads, as its widgets say; null for other nodes. */
  #fileOf(node) {
    if (node.comfyClass === "TrajectoryExampleImage") {
      const name = node.widgets?.find((widget) => widget.name === "name")?.value;
      return name ? [new URL(`../examples/${encodeURIComponent(name)}`, import.meta.url).href] : null;
    }
    const widget = FILES.map((name) => node.widgets?.find((other) => other.name === name)).find((found) => typeof found?.value === "string" && /\.\w+/.test(found.value));
    if (!widget) return null;
    const [, path, type = "input"] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(widget.value);
    const parts = path.replaceAll("\\", "/").split("/");
    return [this.#view({ filename: parts.at(-1), subfolder: parts.slice(0, -1).join("/"), type })];
  }

  #view({ filename, subfolder = "", type = "input" }) {
    return this.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
  }

  /** The node has run. What it was given was sent before. */
  #executed(output) {
    this.used = output?.trajectory_canvas?.[0] ?? null;
    if (output?.trajectory_background?.length) this.#sent({ images: output.trajectory_background, ...this.used });
    else this.ran = null;
    this.look();
  }

  /** Pictures that the server keeps: of the size that the node was given, though they may be smaller. */
  #sent({ images, width, height }) {
    this.ran = { urls: images.map((file) => this.#view(file)), width, height };
    this.look();
  }

  /** Whether the server's name of a node, "7" or "3:7" inside of a subgraph, is this node's. */
  #isMe(name) {
    let graph = this.node.graph?.rootGraph ?? this.node.graph;
    const [last, ...before] = String(name).split(":").reverse();
    for (const id of before.reverse()) graph = graph?.getNodeById(Number(id))?.subgraph;
    return graph?.getNodeById(Number(last)) === this.node;
  }

  /** A picture or video that was pasted or dropped goes to the input folder, so that it is there after a reload. */
  async #keepFile(file) {
    const body = new FormData();
    body.append("image", file, file.name || "pasted.png");
    body.append("subfolder", "trajectory");
    try {
      const answer = await this.api.fetchApi("/upload/image", { method: "POST", body });
      if (!answer.ok) throw new Error(`The server did not take ${file.name}: ${answer.status} ${answer.statusText}`);
      const { name, subfolder, type } = await answer.json();
      const { editor } = this;
      editor.edit({ ...editor.document, background: { source: "file", filename: name, subfolder, type } }, "background");
      if (this.#source("image")) editor.say("The connected picture is shown; disconnect it to see the dropped one.");
    } catch (error) {
      this.editor.say(error.message, "error");
    }
  }

  /** The graph zooms under a node that has not been clicked. HTML nodes pass the wheel on by themselves. */
  #forwardWheel(event) {
    if (this.compact.element.closest(".lg-node")) return;
    event.preventDefault();
    this.app.canvas?.processMouseWheel?.(event);
  }
}

/** Adds to a callback of this one node; what was there runs first. */
function chain(node, name, run) {
  const before = node[name];
  node[name] = function (...given) {
    const result = before?.apply(this, given);
    run(...given);
    return result;
  };
}
