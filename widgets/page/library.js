// plotly.js, once a page: the kernel's first view brings it, and a page that lost it asks.

const WAIT = 30_000; // ms to wait for plotly.js before another view may ask for it

// Each model loads this module anew, so what a page shares hangs on its global object.
const shared = (globalThis.__labkitLiveView ??= {
  page: Math.random().toString(36).slice(2), // tells the kernel which page is speaking
  library: null, // the one promise of plotly.js
  bytes: null, // plotly.js as it came from the kernel, until it is run
  came: new EventTarget(), // "bytes" when they come
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

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
