// The live figure in the page.  The kernel pushes frames: the structure of a plotly figure once,
// then only the arrays and texts that changed.  The store keeps the newest of everything, and each
// view of it draws what it has not drawn yet, one draw at a time.

const AGAIN = 2_000; // ms between attempts
const SLOW = 500; // ms between draws in 3-D, which may take as long themselves without a GPU
const NARROW = 320; // px, below which the figure is scrolled rather than squeezed
const ENDED = "The kernel has ended, and what ran in it. Run the cell again.";

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
  const news = make("labkit-news", { "aria-live": "polite" });
  const [status, hold] = [make("labkit-told"), make("labkit-told")];
  news.append(status, hold);
  box.style.position = "relative";
  box.append(figure, ring, line);
  el.classList.add("labkit-live");
  el.setAttribute("role", "group"); // not "img", which would hide the buttons of the figure
  el.replaceChildren(style, note, bar, box, words, spoken, news);
  el.__frames = 0;
  note.textContent = "Drawing the figure …";
  figure.style.minHeight = `${store.structure?.layout.height ?? 0}px`; // or the page would jump

  let plotly = null;
  let drawn = { seq: 0, version: 0, width: 0 };
  let whole = false; // whether the figure stands, so that changes to it are enough
  let busy = false;
  let speech = 0;
  let wishes = {}; // changes of the layout that keys asked for
  const tell = (text) => {
    note.textContent = store.ended ? ENDED : text;
    note.hidden = !note.textContent;
  };

  const speak = () => {
    words.textContent = store.words;
    el.setAttribute("aria-label", store.label);
    clearTimeout(speech);
    speech = setTimeout(() => {
      if (!running(el)) spoken.textContent = store.words; // or when the status changes
    }, REST);
  };

  let attended = false;
  const arrive = () => {
    const explorer = attended ? null : el.closest(".labkit-explorer");
    if (!explorer) return;
    attended = true;
    attend(explorer, el, signal, (text) => (status.textContent = text), speak);
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
    const news = Object.keys(now).some((key) => now[key] !== drawn[key]);
    return news || Object.keys(wishes).length ? now : null;
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
      const granted = wishes;
      try {
        await paint(plotly, figure, store, whole ? drawn : null, now, granted);
        await frame();
        if (solid(store)) settle(figure);
        if (!whole) figure.on("plotly_afterplot", attendKeys); // zoomed, or by its legend
        attendKeys();
        tell("");
        figure.style.minHeight = "";
        whole = true;
      } catch (error) {
        tell(`The figure could not be drawn: ${error.message ?? error}`);
        renew(); // plotly cannot draw again where it has failed
      }
      drawn = now;
      if (wishes === granted) wishes = {};
      if (signal.aborted || !whole) continue; // nothing was drawn: nothing to acknowledge
      el.__frames += 1;
      el.dataset.seq = now.seq;
      say(model, { kind: "drawn", seq: now.seq });
      if (solid(store)) await pause(SLOW);
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
    arrive();
    draw();
    clearTimeout(settled);
    settled = setTimeout(() => {
      if (el.clientWidth) report(model, store, el.clientWidth);
    }, 250);
  });
  sizes.observe(el);
  const edited = (edit) => say(model, { kind: "edit", ...edit }) || end(store);
  const hand = hands(box, ring, line, el, () => figure, store, signal, edited);
  const announce = (text) => (hold.textContent = text);
  const keyboard = keys(box, hand, () => figure, store, signal, announce);
  const wish = (changes) => {
    wishes = { ...wishes, ...changes };
    draw();
  };
  const sight = reach(box, () => figure, wish, (path) => wishes[path], signal);
  const attendKeys = () => {
    keyboard.follow();
    sight.follow();
  };
  const over = () => {
    el.classList.add("labkit-ended");
    progress();
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

/** What anywidget asks of a module; the last line of the module exports it. */
function liveView() {
  const store = makeStore();
  return {
    initialize: ({ model, signal }) => follow(model, store, signal),
    render: ({ model, el, signal }) => show(model, el, store, signal),
  };
}
