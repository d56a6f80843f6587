// The editor as a page of its own (python -m comfyui_trajectory editor IMAGE_OR_VIDEO). The server beside it answers
//   GET /info        {"name", "kind": "image"|"video", "width", "height", "frames", "fps", "saves_to"}; 404 without a server
//   GET /background  the image or video
//   GET /tracks      the document as text; empty or 204: a new one
//   POST /tracks     takes the document as text; an answer other than 2xx: {"error": text}
//   POST /trajectory/tracks?name=   a track file, as server.js asks for it
// Everything is saved as it changes.

import { Background, loadImage, loadVideo } from "./background.js";
import { h } from "./dom.js";
import { Editor } from "./editor.js";
import { readTracks } from "./server.js";
import { Overlay } from "./widget.js";

const SAVE_AFTER = 300; // milliseconds without another change

async function get(path) {
  try {
    const answer = await fetch(path);
    return answer.ok && answer.status !== 204 ? answer : null;
  } catch {
    return null;
  }
}

/** Sends the last text, one request at a time. */
function saver(editor, state) {
  let timer = 0;
  let next = null;
  let busy = false;
  const send = async () => {
    if (busy || next === null) return;
    busy = true;
    const text = next;
    next = null;
    try {
      const answer = await fetch("./tracks", { method: "POST", body: text, headers: { "Content-Type": "application/json" } });
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `The server answers ${answer.status}.`);
      state.textContent = "Saved";
    } catch (error) {
      state.textContent = "Not saved";
      editor.say(`Not saved: ${error.message}`, "error");
    }
    busy = false;
    if (next !== null) send();
  };
  window.addEventListener("beforeunload", () => next !== null && navigator.sendBeacon("./tracks", next));
  return (text) => {
    next = text;
    state.textContent = "…";
    clearTimeout(timer);
    timer = setTimeout(send, SAVE_AFTER);
  };
}

export async function start() {
  const info = await (await get("./info"))?.json().catch(() => null);
  const state = h("span.tse-info", { title: info?.saves_to ?? "" });
  const editor = new Editor({ size: info ? { width: info.width, height: info.height, frames: info.frames, fps: info.fps } : {} });
  if (info) editor.host.save = saver(editor, state);
  const background = new Background(editor);
  const overlay = new Overlay(editor, {
    title: info?.name ?? "Spline editor", background, buttons: [state],
    readTracks: info && ((file) => readTracks((path, body) => fetch(`.${path}`, { method: "POST", body }), file)),
  });
  if (info?.name) document.title = `${info.name} – Spline editor`;
  const text = await (await get("./tracks"))?.text();
  if (text) {
    editor.size = {}; // it keeps the size and length that it was given
    editor.load(text);
    const { canvas, frames, fps } = editor.document;
    if (!editor.error) editor.size = { ...canvas, frames, fps };
  }
  if (info) await background.show((changed) => (info.kind === "video" ? loadVideo("./background", changed) : loadImage("./background")));
  return { editor, overlay, background };
}

// ComfyUI imports every .js file of the pack: there, this one does nothing.
if (document.body.classList.contains("tse-page")) window.splineEditor = start();
