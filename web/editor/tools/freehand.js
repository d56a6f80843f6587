// Drawing in real time: the hand's own speed becomes the motion's. The stroke is thinned when it ends.

import { addTrack, simplifyStroke } from "../document.js";

/** @type {import("../stage.js").Tool} */
export const freehand = {
  id: "freehand",
  label: "Free hand",
  key: "f",
  help: "Draw: the speed of the hand is the speed of the motion, stretched over the clip",

  start({ editor, at, event, scale }) {
    const samples = [{ ...at, time: event.timeStamp }];
    return {
      cursor: "crosshair",
      every(at, { timeStamp }) {
        samples.push({ ...at, time: timeStamp });
      },
      move() {
        editor.marquee = { points: samples };
        editor.tell("hover");
      },
      end() {
        editor.marquee = null;
        if (samples.length < 3) return editor.tell("hover");
        const points = simplifyStroke(samples, Math.min(Math.max(0.75 / scale, 0.25), 3));
        const seconds = (samples.at(-1).time - samples[0].time) / 1000;
        const index = editor.document.tracks.length;
        const made = editor.attempt(() => addTrack(editor.document, { kind: "freehand", points, seconds }), "stroke");
        if (made) editor.selectTracks([editor.document.tracks[index].id]);
      },
    };
  },

  hover: () => ({ cursor: "crosshair" }),
};
