// A recording in the place of the kernel: it answers the live view of a page that has none.
// A slider says which frame is meant; what differs between it and the one that is shown goes to
// the view as a message of the kernel would, so that everything is drawn as it is in the lab.

const PACE = 100; // ms from frame to frame while it plays, at least
const PATIENCE = 5_000; // ms to wait for a draw before playing goes on
const NEAR = "800px"; // from the edge of the window: a figure farther away is not drawn yet
const SCRIPT = document.currentScript;

const CONTROLS = `
.labkit-recorded { position: relative; margin: 1em 0; }
.labkit-recorded .labkit-reel { display: flex; align-items: center; gap: 0.75em; padding: 0 8px; }
.labkit-recorded .labkit-reel[hidden] { display: none; }
.labkit-recorded .labkit-reel button {
  flex: none; width: 5em; font: inherit; padding: 2px 0; border: 1px solid currentcolor;
  border-radius: 4px; background: transparent; color: inherit; cursor: pointer;
}
.labkit-recorded .labkit-reel input { flex: 1; min-width: 4em; }
.labkit-recorded .labkit-reel output {
  flex: none; min-width: 7em; font-variant-numeric: tabular-nums;
}
.labkit-recorded .labkit-waiting { position: absolute; visibility: hidden; left: 0; right: 0; }
`;

/** plotly.js, which the page holds or has beside this script. */
function libraryHere() {
  if (globalThis.Plotly) return Promise.resolve(globalThis.Plotly);
  return new Promise((resolve, reject) => {
    const tag = document.createElement("script");
    tag.onload = () => resolve(globalThis.Plotly);
    tag.onerror = () => reject(new Error("plotly.js is not beside this page"));
    tag.src = new URL("plotly.min.js", SCRIPT.src);
    document.head.append(tag);
  });
}

// ---- the recording: what a frame shows, and what changes from one to another ----

/** All that a frame shows: its structure, and by name where its arrays and texts stand. */
function picture(recording, look, at) {
  const { frames } = recording.looks[look];
  let base = at;
  while (frames[base].structure === undefined) base -= 1;
  const since = frames.slice(base, at + 1);
  const gather = (kind) => Object.assign({}, ...since.map((frame) => frame[kind]));
  const { structure } = frames[base];
  return { key: `${look} ${base}`, structure, arrays: gather("arrays"), texts: gather("texts") };
}

/** The message that leads from one picture to another; from none, all of it. */
function change(recording, from, to) {
  const whole = from?.key !== to.key;
  const fresh = (kind) =>
    Object.entries(to[kind]).filter(([name, at]) => whole || String(from[kind][name]) !== String(at));
  const arrays = fresh("arrays").map(([name, [place, ...shape]]) => {
    const [trace, path] = name.split(" ");
    const count = shape.reduce((a, b) => a * b, 1);
    return { entry: [Number(trace), path, shape], bytes: bytes(recording, place).subarray(0, 4 * count) };
  });
  const texts = fresh("texts").map(([path, place]) => [path, recording.texts[place]]);
  const head = { arrays: arrays.map(({ entry }) => entry), texts: Object.fromEntries(texts) };
  if (whole) head.structure = recording.structures[to.structure];
  return { head, buffers: arrays.map(({ bytes }) => bytes) };
}

function bytes(recording, place) {
  const known = recording.buffers[place];
  if (typeof known !== "string") return known;
  return (recording.buffers[place] = Uint8Array.from(atob(known), (c) => c.charCodeAt(0)));
}

// ---- a figure in the page ----

function replay(el) {
  const recording = JSON.parse(el.querySelector("script[type='application/json']").textContent);
  const last = recording.labels.length - 1;
  const still = el.querySelector(".labkit-still");
  const place = document.createElement("div");
  const reel = document.createElement("div");
  place.className = "labkit-waiting";
  reel.className = "labkit-reel";
  reel.hidden = last === 0;
  reel.innerHTML =
    '<button type="button">Play</button><input type="range" min="0"><output></output>';
  const [button, slider, label] = reel.children;
  slider.setAttribute("aria-label", "frame of the recording");
  const style = Object.assign(document.createElement("style"), { textContent: CONTROLS });
  el.prepend(style, reel);
  still.before(place);
  Object.assign(slider, { max: last, value: recording.start });

  let look = -1; // which theme and width
  let shown = null; // the picture that the view has
  let seq = 0;
  let hear = () => {}; // the view's ear
  let drawn = () => {}; // whoever waits for a draw

  const fit = (theme) => {
    const width = (of) => recording.looks[of].width;
    const fits = [...recording.looks.keys()].filter((i) => recording.looks[i].theme === theme);
    return fits.reduce((a, b) => (width(b) <= place.clientWidth && width(b) > width(a) ? b : a));
  };
  const show = () => {
    const at = Number(slider.value);
    label.textContent = recording.labels[at];
    slider.setAttribute("aria-valuetext", recording.labels[at]);
    if (look < 0) return;
    const next = picture(recording, look, at);
    const { head, buffers } = change(recording, shown, next);
    shown = next;
    seq += 1;
    hear({ kind: "frame", seq, words: recording.words[at], label: recording.label, ...head }, buffers);
  };
  const answer = ({ kind, theme }) => {
    if (kind === "look" && fit(theme) !== look) {
      look = fit(theme);
      show();
    } else if (kind === "drawn") {
      still.remove();
      place.classList.remove("labkit-waiting");
      drawn();
    }
  };
  const model = {
    get: () => undefined,
    set() {},
    on: (_, listen) => (hear = listen),
    off() {},
    send: (content) => queueMicrotask(() => answer(content)), // or its errors would be lost
  };

  let playing = false;
  const stand = (now) => {
    playing = now;
    button.textContent = playing ? "Pause" : "Play";
  };
  const play = async () => {
    stand(true);
    let at = Number(slider.value) === last ? -1 : Number(slider.value);
    while (playing && at < last) {
      at += 1;
      slider.value = at;
      const seen = new Promise((resolve) => (drawn = resolve));
      show();
      await Promise.all([Promise.race([seen, pause(PATIENCE)]), pause(PACE)]);
    }
    stand(false);
  };
  button.onclick = () => (playing ? stand(false) : play());
  slider.oninput = () => {
    stand(false);
    show();
  };
  show();

  const { signal } = new AbortController();
  const view = liveView();
  view.initialize({ model, signal });
  view.render({ model, el: place, signal });
}

function whenNear(el, start) {
  const watch = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      start();
    },
    { rootMargin: NEAR },
  );
  watch.observe(el);
}

function replayAll() {
  for (const el of document.querySelectorAll(".labkit-recorded")) {
    whenNear(el, async () => {
      // Where plotly.js does not come, the still picture stays.
      shared.library ??= libraryHere();
      await shared.library;
      replay(el);
    });
  }
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", replayAll);
else replayAll();
