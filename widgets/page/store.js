// The store: the newest of everything that came for a model.  Frames that arrive during a draw
// merge in it by themselves, and no array of a skipped frame is lost.

function makeStore() {
  return {
    structure: null,
    version: 0, // of the structure
    seq: 0,
    arrays: new Map(), // "trace attribute" -> {trace, path, value, seq}
    texts: new Map(), // path -> {path, value, seq}
    words: "",
    label: "",
    progress: null, // share of the run that is done, -1 while it compiles
    look: { theme: "", width: 0 }, // as last reported
    ended: false, // the kernel
    views: new Set(),
  };
}

/** Take a frame in; false when frames before it were lost. */
function accept(store, head, buffers) {
  const { seq, structure } = head;
  const whole = structure && (!head.to || head.to === shared.page);
  const next = !head.to && seq === store.seq + 1;
  if (whole) {
    store.structure = structure;
    store.version += 1;
    store.arrays.clear();
    store.texts.clear();
  } else if (head.to || !store.structure) {
    return true; // for another page, or before the first whole frame, which was asked for
  }
  head.arrays.forEach(([trace, path, shape], i) => {
    const value = numbers(buffers[i], shape, path);
    store.arrays.set(`${trace} ${path}`, { trace, path, value, seq });
  });
  for (const [path, value] of Object.entries(head.texts)) {
    store.texts.set(path, { path, value, seq });
  }
  const { words, label, progress } = head;
  Object.assign(store, { seq, words, label, progress });
  for (const view of store.views) view.draw();
  return Boolean(whole) || next;
}

function numbers(buffer, shape, path) {
  const { buffer: bytes, byteOffset, byteLength } = buffer;
  // A typed array must begin at a multiple of four, which a message does not promise.
  const flat = new Float32Array(bytes.slice(byteOffset, byteOffset + byteLength));
  if (["i", "j", "k"].includes(path)) return Int32Array.from(flat); // corners of a mesh
  if (shape.length === 1) return flat;
  const [rows, columns] = shape;
  return Array.from({ length: rows }, (_, r) => flat.subarray(r * columns, (r + 1) * columns));
}
