// A model: what the kernel tells it, and what the page reports.

const OVER = ["restarting", "autorestarting", "terminating", "dead"]; // a kernel, in JupyterLab

/** Say something to the kernel; false after it has ended, when nobody is left to hear it. */
function say(model, content) {
  try {
    model.send({ ...content, page: shared.page });
    return true;
  } catch {
    return false; // the models of the old kernel stay on the page until their cells run again
  }
}

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

/** Put a text on the clipboard, where the browser lets this page: it stands in a box as well. */
function copy(text) {
  if (document.hasFocus()) navigator.clipboard?.writeText(text).catch(() => {});
}

/** The picture stays, but must not look as if it were alive. */
function end(store) {
  Object.assign(store, { ended: true, progress: null });
  for (const view of store.views) view.end();
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
