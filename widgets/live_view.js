// The live figure in the page.  The kernel pushes frames: the structure of a plotly figure once,
// then only the arrays and texts that changed.  A store keeps the newest of everything for each
// model, and each view of it draws what it has not drawn yet, one draw at a time.  So frames
// that arrive during a draw merge by themselves, and no array of a skipped frame is lost.

const WAIT = 30_000; // ms to wait for plotly.js before another view may ask for it
const AGAIN = 2_000; // ms between attempts
const SLOW = 500; // ms between draws in 3-D, which may take as long themselves without a GPU
const REST = 700; // ms without a frame after which a screen reader is told the words
const NARROW = 320; // px, below which the figure is scrolled rather than squeezed
const SPACE = ["surface", "mesh3d", "scatter3d"];
const OVER = ["restarting", "autorestarting", "terminating", "dead"]; // a kernel, in JupyterLab
const ENDED = "The kernel has ended, and what ran in it. Run the cell again.";

const STYLE = `
.labkit-live { position: relative; overflow-x: auto; }
.labkit-live .labkit-figure { position: relative; touch-action: manipulation; }
.labkit-live .labkit-note { padding: 1em; white-space: pre-wrap; }
.labkit-live .labkit-words { min-height: 1.5em; padding: 2px 8px; line-height: 1.5; }
.labkit-live .labkit-note, .labkit-live .labkit-words {
  color: var(--jp-ui-font-color1, currentcolor);
  font-family: var(--jp-ui-font-family, sans-serif);
  font-size: 14px;
}
.labkit-live .labkit-spoken {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
}
.labkit-live .labkit-progress { height: 3px; overflow: hidden; }
.labkit-live .labkit-progress div {
  height: 100%; width: 0; background: var(--jp-brand-color1, #0072b2);
}
.labkit-live .labkit-progress.labkit-busy div {
  width: 30%; animation: labkit-busy 1.2s ease-in-out infinite alternate;
}
@keyframes labkit-busy { to { margin-left: 70%; } }
@media (prefers-reduced-motion: reduce) {
  .labkit-live .labkit-progress.labkit-busy div { animation: none; width: 100%; opacity: 0.5; }
}
.labkit-live .labkit-ring {
  position: absolute; width: 22px; height: 22px; margin: -13px 0 0 -13px; border-radius: 50%;
  border: 2px solid var(--jp-brand-color1, #0072b2); pointer-events: none; display: none;
}
.labkit-live .labkit-line {
  position: absolute; height: 0; border-top: 2px dashed var(--jp-brand-color1, #0072b2);
  transform-origin: 0 0; pointer-events: none; display: none;
}
.labkit-live.labkit-ended > .labkit-progress { display: none; }
.labkit-live.labkit-ended > .labkit-box, .labkit-live.labkit-ended > .labkit-words,
.labkit-explorer:has(.labkit-ended) > :not(.labkit-ended) { opacity: 0.4; pointer-events: none; }
.labkit-live.labkit-near .draglayer * { cursor: grab !important; }
.labkit-live.labkit-held, .labkit-live.labkit-held * { cursor: grabbing !important; }
`;

// Each model loads this module anew, so what a page shares hangs on its global object.
const shared = (globalThis.__labkitLiveView ??= {
  page: Math.random().toString(36).slice(2), // tells the kernel which page is speaking
  library: null, // the one promise of plotly.js
  bytes: null, // plotly.js as it came from the kernel, until it is run
  came: new EventTarget(), // "bytes" when they come
});

/** Say something to the kernel; false after it has ended, when nobody is left to hear it. */
function say(model, content) {
  try {
    model.send({ ...content, page: shared.page });
    return true;
  } catch {
    return false; // the models of the old kernel stay on the page until their cells run again
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

// ---- plotly.js: once a page ----

function library(model, signal) {
  shared.library ??= load(model, signal).catch((error) => {
    shared.library = null; // or no view of this page could ever try again
    throw error;
  });
  return shared.library;
}

async function load(model, signal) {
  if (!shared.bytes) {
    say(model, { kind: "library" });
    await bytesCome(signal);
  }
  // Running it blocks the page for up to two seconds, and anywidget gives up on models that are
  // not ready within two: let those that are on their way arrive first.
  await pause(50);
  const url = URL.createObjectURL(new Blob([shared.bytes], { type: "text/javascript" }));
  shared.bytes = null;
  const theirs = globalThis.Plotly; // another tool's, perhaps of another version: put it back
  try {
    await new Promise((resolve, reject) => {
      const tag = document.createElement("script");
      tag.onload = resolve;
      tag.onerror = () => reject(new Error("the browser could not run plotly.js"));
      tag.src = url;
      document.head.append(tag);
      tag.remove();
    });
  } finally {
    URL.revokeObjectURL(url);
  }
  const ours = globalThis.Plotly;
  if (theirs) globalThis.Plotly = theirs;
  return ours;
}

function bytesCome(signal) {
  return new Promise((resolve, reject) => {
    const give = (why) => () => reject(new Error(why));
    const timer = setTimeout(give("no answer from the kernel (is a cell still running?)"), WAIT);
    signal.addEventListener("abort", give("closed"), { once: true });
    shared.came.addEventListener("bytes", resolve, { once: true });
    for (const [end, name] of [[signal, "abort"], [shared.came, "bytes"]]) {
      end.addEventListener(name, () => clearTimeout(timer), { once: true });
    }
  });
}

// ---- the store: the newest of everything that came for a model ----

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

// ---- a model: what it is told, what it reports ----

function follow(model, store, signal) {
  if (signal.aborted) return; // closed before it came
  const hello = (seq) => say(model, { kind: "hello", seq });
  const bring = (bytes) => {
    shared.bytes = bytes;
    shared.came.dispatchEvent(new Event("bytes"));
  };
  const listen = (head, buffers) => {
    if (head.kind === "copy") copy(head.text);
    if (head.kind === "progress") {
      store.progress = head.share;
      for (const view of store.views) view.progress();
    }
    if (head.kind === "library" && head.to === shared.page && !shared.bytes) bring(buffers[0]);
    if (head.kind === "frame" && !accept(store, head, buffers)) hello(0);
  };
  const boot = model.get("boot");
  if (boot?.byteLength && !shared.library) bring(boot);
  const { head, buffers } = model.get("first") ?? {};
  if (head) accept(store, head, buffers);
  model.on("msg:custom", listen);

  // Blank them, so that no saved notebook holds them; the kernel blanks its own at the hello.
  model.set("boot", new DataView(new ArrayBuffer(0)));
  model.set("first", {});
  hello(store.seq);

  const system = matchMedia("(prefers-color-scheme: dark)");
  const themes = new MutationObserver(() => report(model, store));
  themes.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  system.addEventListener("change", () => report(model, store), { signal });
  const fate = (_, status) => OVER.includes(status) && end(store);
  const kernel = model.widget_manager?.kernel; // as JupyterLab has it
  kernel?.statusChanged?.connect?.(fate);
  signal.addEventListener("abort", () => {
    themes.disconnect();
    kernel?.statusChanged?.disconnect?.(fate);
    model.off("msg:custom", listen);
  });
  report(model, store);
}

/** The picture stays, but must not look as if it were alive. */
function end(store) {
  store.ended = true;
  for (const view of store.views) view.end();
}

/** Put a text on the clipboard, where the browser lets this page: it stands in a box as well. */
function copy(text) {
  if (document.hasFocus()) navigator.clipboard?.writeText(text).catch(() => {});
}

/** Tell the kernel how the page looks, when that is news. */
function report(model, store, width = store.look.width) {
  const light = document.body.dataset.jpThemeLight; // JupyterLab's own, where there is one
  const dark = light ? light === "false" : matchMedia("(prefers-color-scheme: dark)").matches;
  const look = { theme: dark ? "dark" : "light", width };
  if (look.theme === store.look.theme && look.width === store.look.width) return;
  store.look = look;
  say(model, { kind: "look", ...look });
}

// ---- a view: one figure in the page ----

function show(model, el, store, signal) {
  if (signal.aborted) return;
  const make = (name, attributes = {}) => {
    const part = document.createElement("div");
    part.className = name;
    for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
    return part;
  };
  const style = Object.assign(document.createElement("style"), { textContent: STYLE });
  const bar = make("labkit-progress", { role: "progressbar", "aria-label": "progress of the run" });
  bar.append(make(""));
  const box = make("labkit-box"); // the figure's corner: ring and line are placed from it
  let figure = make("labkit-figure");
  const ring = make("labkit-ring");
  const line = make("labkit-line");
  const note = make("labkit-note", { role: "status" });
  // What is seen changes with each frame; a screen reader would drown in that, so it hears
  // only what stands still.
  const words = make("labkit-words", { "aria-hidden": "true" });
  const spoken = make("labkit-spoken", { "aria-live": "polite" });
  box.style.position = "relative";
  box.append(figure, ring, line);
  el.classList.add("labkit-live");
  el.setAttribute("role", "group"); // not "img", which would hide the buttons of the figure
  el.replaceChildren(style, note, bar, box, words, spoken);
  el.__frames = 0;
  note.textContent = "Drawing the figure …";
  figure.style.minHeight = `${store.structure?.layout.height ?? 0}px`; // or the page would jump

  let plotly = null;
  let drawn = { seq: 0, version: 0, width: 0 };
  let whole = false; // whether the figure stands, so that changes to it are enough
  let busy = false;
  let speech = 0;
  const tell = (text) => {
    note.textContent = store.ended ? ENDED : text;
    note.hidden = !note.textContent;
  };

  const speak = () => {
    words.textContent = store.words;
    el.setAttribute("aria-label", store.label);
    clearTimeout(speech);
    speech = setTimeout(() => (spoken.textContent = store.words), REST);
  };

  const progress = () => {
    const share = store.progress;
    const busy = share === -1;
    bar.style.visibility = share === null ? "hidden" : "";
    bar.classList.toggle("labkit-busy", busy);
    bar.firstChild.style.width = busy ? "" : `${100 * (share ?? 0)}%`;
    if (busy || share === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.round(100 * share));
  };

  const hidden = () => !el.isConnected || !el.clientWidth;

  /** What is to be drawn, if anything: a view that nobody can see waits. */
  const due = () => {
    if (signal.aborted || hidden() || !store.structure) return null;
    const now = { seq: store.seq, version: store.version, width: Math.max(NARROW, el.clientWidth) };
    return Object.keys(now).some((key) => now[key] !== drawn[key]) ? now : null;
  };

  const solid = () => store.structure.data.some((trace) => SPACE.includes(trace.type));

  const paint = (now) => {
    const width = now.width;
    if (!whole || now.version !== drawn.version) {
      const { data, layout, config } = structuredClone(store.structure); // plotly writes in it
      for (const { trace, path, value } of store.arrays.values()) put(data[trace], path, value);
      for (const { path, value } of store.texts.values()) {
        put(path.startsWith("data[") ? { data } : layout, path, value);
      }
      const options = { ...config, responsive: false }; // the width is ours to watch
      const make = whole ? plotly.react : plotly.newPlot; // react keeps zoom and camera
      return make(figure, data, { ...layout, width }, options);
    }
    const styles = new Map(); // trace -> {path: value}
    const places = width === drawn.width ? {} : { width };
    const change = (trace, path, value) =>
      styles.set(trace, { ...styles.get(trace), [path]: value });
    for (const { trace, path, value, seq } of store.arrays.values()) {
      if (seq > drawn.seq) change(trace, path, value);
    }
    for (const { path, value, seq } of store.texts.values()) {
      if (seq <= drawn.seq) continue;
      const inside = /^data\[(\d+)\]\.(.+)$/.exec(path);
      if (inside) change(Number(inside[1]), inside[2], value);
      else places[path] = value;
    }
    const traces = [...styles.keys()];
    const patch = {}; // plotly takes a list over the traces for each path, with holes
    for (const path of new Set([...styles.values()].flatMap(Object.keys))) {
      patch[path] = traces.map((trace) => styles.get(trace)[path]);
    }
    if (!traces.length && !Object.keys(places).length) return null;
    if (!traces.length) return plotly.relayout(figure, places);
    return plotly.update(figure, patch, places, traces);
  };

  const renew = () => {
    const fresh = make("labkit-figure");
    figure.replaceWith(fresh);
    figure = fresh;
    whole = false; // the next frame draws all of it
  };

  const draw = async () => {
    speak();
    progress();
    if (busy || !plotly) return;
    busy = true;
    for (let now = due(); now; now = due()) {
      try {
        await paint(now);
        await frame();
        if (solid()) settle(figure);
        tell("");
        figure.style.minHeight = "";
        whole = true;
      } catch (error) {
        tell(`The figure could not be drawn: ${error.message ?? error}`);
        renew(); // plotly cannot draw again where it has failed
      }
      drawn = now;
      if (signal.aborted || !whole) continue; // nothing was drawn: nothing to acknowledge
      el.__frames += 1;
      el.dataset.seq = now.seq;
      say(model, { kind: "drawn", seq: now.seq });
      if (solid()) await pause(SLOW);
    }
    busy = false;
    if (signal.aborted) plotly.purge(figure);
    else if (hidden()) await lookAgain();
  };

  // What is hidden for a moment only, as while the theme changes, is not seen to change its size.
  let looking = false;
  const lookAgain = async () => {
    if (looking) return;
    looking = true;
    await frame();
    await frame();
    looking = false;
    if (!signal.aborted && !hidden()) draw();
  };

  const start = async () => {
    while (!signal.aborted && !plotly) {
      try {
        plotly = await library(model, signal);
      } catch (error) {
        tell(`The figure is not here yet: ${error.message}`);
        await pause(AGAIN);
      }
    }
    if (!signal.aborted) draw();
  };

  // A notebook may take the cell out of the page and put it back: its size tells.
  let settled = 0;
  const sizes = new ResizeObserver(() => {
    draw();
    clearTimeout(settled);
    settled = setTimeout(() => {
      if (el.clientWidth) report(model, store, el.clientWidth);
    }, 250);
  });
  sizes.observe(el);
  const edited = (edit) => say(model, { kind: "edit", ...edit }) || end(store);
  hands(box, ring, line, el, () => figure, store, signal, edited);
  const over = () => {
    el.classList.add("labkit-ended");
    tell("");
  };
  const view = { draw, progress, end: over };
  progress();
  store.views.add(view);
  if (store.ended) over();
  signal.addEventListener("abort", () => {
    store.views.delete(view);
    sizes.disconnect();
    clearTimeout(settled);
    clearTimeout(speech);
    if (plotly && !busy) plotly.purge(figure); // a draw under way purges when it ends
  });
  start();
}

function put(tree, path, value) {
  const way = path.match(/[^.[\]]+/g);
  const last = way.pop();
  for (const name of way) tree = tree[name] ??= {};
  tree[last] = value;
}

/** Let a software renderer finish: it draws in 3-D only when someone looks at a pixel. */
function settle(figure) {
  for (const canvas of figure.querySelectorAll(".gl-container canvas")) {
    const gl = canvas.getContext("webgl") ?? canvas.getContext("webgl2");
    gl?.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  }
}

export default () => {
  const store = makeStore();
  return {
    initialize: ({ model, signal }) => follow(model, store, signal),
    render: ({ model, el, signal }) => show(model, el, store, signal),
  };
};
