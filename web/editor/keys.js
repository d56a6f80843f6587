// What the keys do, in one table that is also the cheat sheet. Knows the editor and its host's few wishes, no canvas.

import { reorderTrack } from "./document.js";
import { TOOLS, toolById } from "./tools/index.js";

const step = (dx, dy) => ({ editor }, event) => editor.move(dx * (event.shiftKey ? 10 : 1), dy * (event.shiftKey ? 10 : 1));
const frame = (by) => ({ editor }, event) => editor.setFrame(Math.round(editor.frame) + by * (event.shiftKey ? 10 : 1));

/** Keys: as KeyboardEvent.key, lower case, with "mod+" for Ctrl or Cmd. Shift stands only where it matters. `ui`: {editor, …} */
export const KEYS = [
  { title: "Drawing" },
  ...TOOLS.map(({ key, label, id }) => ({ keys: [key], show: key.toUpperCase(), help: label, run: ({ editor }) => editor.setTool(id) })),
  { keys: ["enter"], show: "Enter", help: "End the track that is being drawn", run: ({ editor }) => editor.finish() },
  { keys: ["escape"], show: "Esc", help: "Take back the drag, end the track, select nothing, close", run: (ui) => ui.escape() },

  { title: "Changing" },
  { keys: ["arrowleft"], show: "← ↑ → ↓", help: "Move by a pixel (Shift: 10)", run: step(-1, 0) },
  { keys: ["arrowright"], run: step(1, 0) },
  { keys: ["arrowup"], run: step(0, -1) },
  { keys: ["arrowdown"], run: step(0, 1) },
  { keys: ["delete", "backspace"], show: "Del", help: "Delete points or tracks", run: ({ editor }) => editor.remove() },
  { keys: ["mod+d"], show: "Ctrl D", help: "Duplicate", run: ({ editor }) => editor.duplicate() },
  { keys: ["mod+a"], show: "Ctrl A", help: "Select all", run: ({ editor }) => editor.selectAll() },
  { keys: ["pagedown", "pageup"], show: "Page ↑ ↓", help: "Next or previous track (Alt: move it in the list)", run: ({ editor }, event) => turn(editor, event) },
  { keys: ["r"], show: "R", help: "Rename", run: (ui) => ui.rename() },
  { keys: ["e"], show: "E", help: "Hide or show in the editor and its output", run: ({ editor }) => editor.toggle("hidden") },
  { keys: ["l"], show: "L", help: "Lock or unlock", run: ({ editor }) => editor.toggle("locked") },
  { show: "Ctrl C X V", help: "Copy, cut and paste tracks as JSON; paste a picture" },
  { keys: ["mod+z"], show: "Ctrl Z", help: "Undo", run: ({ editor }, event) => (event.shiftKey ? editor.redo() : editor.undo()) },
  { keys: ["mod+y"], show: "Ctrl Shift Z", help: "Redo", run: ({ editor }) => editor.redo() },

  { title: "Time" },
  { show: "Space", help: "Play or pause" },
  { keys: ["["], show: "[ ]", help: "Previous or next frame (Shift: 10)", run: frame(-1) },
  { keys: ["]"], run: frame(1) },
  { keys: ["{"], run: frame(-1) },
  { keys: ["}"], run: frame(1) },
  { keys: ["home"], show: "Home End", help: "First or last frame", run: ({ editor }) => editor.setFrame(0) },
  { keys: ["end"], run: ({ editor }) => editor.setFrame(editor.document.frames - 1) },
  { keys: ["k"], show: "K", help: "Visible or not from this frame on", run: ({ editor }) => editor.toggleVisible() },

  { title: "View" },
  { keys: ["+", "="], show: "+ −", help: "Zoom (also the wheel)", run: (ui) => ui.stage.zoom(1.25) },
  { keys: ["-", "_"], run: (ui) => ui.stage.zoom(0.8) },
  { keys: ["0"], show: "0", help: "Fit", run: (ui) => ui.stage.setViewport(null) },
  { keys: ["1"], show: "1", help: "100 %", run: (ui) => ui.stage.zoom(1 / ui.stage.view.scale) },
  { show: "Space-drag", help: "Move the view (also the middle button)" },
  { keys: ["o"], show: "O", help: "Open or close the large editor", run: (ui) => ui.toggleOverlay() },
  { keys: ["?"], show: "?", help: "This list", run: (ui) => ui.help() },

  { title: "With the pointer" },
  { show: "Shift", help: "Drag along axes and diagonals; add to the selection" },
  { show: "Ctrl", help: "Snap to a grid of 8 pixels" },
  { show: "Alt", help: "Drag a copy; handles apart; scale from the middle" },
  { show: "Click again", help: "Takes what lies under it" },
];

const table = new Map(KEYS.flatMap(({ keys = [], run }) => keys.map((key) => [key, run])));

/** Does what a key means. @returns whether it meant anything */
export function pressKey(ui, event) {
  const mod = event.ctrlKey || event.metaKey ? "mod+" : "";
  const run = table.get(mod + event.key.toLowerCase());
  if (!run || (event.altKey && !event.key.startsWith("Page"))) return false;
  run(ui, event);
  return true;
}

/** The next or previous track; with Alt it changes places instead. */
function turn(editor, { key, altKey }) {
  const by = key === "PageDown" ? 1 : -1;
  const { tracks } = editor.document;
  if (!tracks.length) return;
  const at = tracks.findIndex((track) => editor.selection.has(track.id));
  if (altKey && at >= 0) {
    editor.edit(reorderTrack(editor.document, tracks[at].id, Math.min(Math.max(at + by, 0), tracks.length - 1)), "reorder");
  } else editor.selectTracks([tracks[at < 0 ? 0 : (at + by + tracks.length) % tracks.length].id]);
}

/** What the tool in the hand does, for the status line. */
export const helpOf = (tool) => toolById(tool).help;
