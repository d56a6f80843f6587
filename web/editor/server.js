// What both servers answer, ComfyUI's and the one of the page on its own: track files that only Python can read.

/** The content of a .pth, .npz, .npy … file as this pack's JSON text. @param {(path: string, body: ArrayBuffer) => Promise<Response>} post */
export async function readTracks(post, file) {
  const answer = await post(`/trajectory/tracks?${new URLSearchParams({ name: file.name })}`, await file.arrayBuffer());
  const text = await answer.text();
  if (answer.ok) return text;
  let reason = `the server answers ${answer.status}`;
  try {
    reason = JSON.parse(text).error ?? reason;
  } catch {
    // no JSON: the status has to do
  }
  throw new Error(`${file.name}: ${reason}`);
}
