// Where the picture comes from: addresses, files pasted or dropped, videos whose frame follows the scrubber. Gives pictures
// {image, width, height, frames?, seek?, close?} for Editor.setPicture. It knows no graph (comfy.js does).

const VIDEO = /\.(mp4|webm|mov|mkv|m4v|avi)$/i;

export const isVideoName = (name) => VIDEO.test(name);
export const isVideo = (file) => file.type.startsWith("video/") || isVideoName(file.name);
export const isPicture = (file) => file.type.startsWith("image/") || isVideo(file);

/** One image. Rejects where it cannot be loaded. */
export async function loadImage(url) {
  const image = new Image();
  image.decoding = "async";
  image.src = url;
  try {
    await image.decode();
  } catch {
    throw new Error("The background picture could not be loaded.");
  }
  return { image, width: image.naturalWidth, height: image.naturalHeight };
}

/** Several images, evenly spread over the clip. The size is the first one's. */
export async function loadFrames(urls) {
  const found = await Promise.all(urls.map(loadImage));
  return found.length === 1 ? found[0] : { ...found[0], frames: found.map(({ image }) => image) };
}

/** A video; `seek(share)` shows another place of it and calls `changed` when it is there. */
export function loadVideo(url, changed) {
  return new Promise((resolve, reject) => {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, preload: "auto", playsInline: true });
    let wanted = null;
    const go = () => {
      if (wanted === null || video.seeking) return;
      const time = wanted;
      wanted = null;
      if (Math.abs(video.currentTime - time) > 1e-3) video.currentTime = time;
    };
    video.addEventListener("seeked", () => {
      changed();
      go();
    });
    video.addEventListener("error", () => reject(new Error("The browser cannot play this video. MP4 (H.264) and WebM are safe.")), { once: true });
    video.addEventListener("loadeddata", () => resolve({
      image: video, width: video.videoWidth, height: video.videoHeight, duration: video.duration,
      seek(share) {
        wanted = Math.min(share * video.duration, Math.max(video.duration - 1e-3, 0));
        go();
      },
      close() {
        video.removeAttribute("src");
        video.load();
      },
    }), { once: true });
    video.src = url;
  });
}

/** A file that was pasted or dropped. */
export async function loadFile(file, changed) {
  const url = URL.createObjectURL(file);
  try {
    const picture = isVideo(file) ? await loadVideo(url, changed) : await loadImage(url);
    const close = picture.close;
    return { ...picture, close: () => {
      close?.();
      URL.revokeObjectURL(url);
    } };
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  }
}

/** Shows what `load` gives, unless something else was asked for meanwhile; says what goes wrong. */
export class Background {
  constructor(editor) {
    this.editor = editor;
    this.turn = 0;
    editor.on((change) => change === "frame" && this.#seek());
  }

  /** Lets go of the picture. */
  clear() {
    this.turn++;
    this.editor.picture?.close?.();
    this.editor.picture = null;
  }

  #seek() {
    const { picture, frame, document } = this.editor;
    picture?.seek?.(frame / Math.max(document.frames - 1, 1));
  }

  /** @param {(changed: () => void) => Promise<object|null>} load null: no picture */
  async show(load) {
    const turn = ++this.turn;
    try {
      const picture = await load(() => this.editor.tell("picture"));
      if (turn !== this.turn) return picture?.close?.();
      this.editor.picture?.close?.();
      this.editor.setPicture(picture);
      this.#seek();
    } catch (error) {
      if (turn === this.turn) this.editor.say(error.message, "error");
    }
  }

  file(file) {
    return this.show((changed) => loadFile(file, changed));
  }
}
