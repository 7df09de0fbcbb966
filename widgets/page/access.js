// What ipywidgets leaves out for those who do not see or do not point: the names and values of
// the sliders beside a figure, and the news of the status, which is told once it stands still.

const REST = 700; // ms without a change after which a screen reader is told

/** Look after the controls round `el`; `told(text)` hears the status, `changed()` that it did. */
function attend(explorer, el, signal, told, changed) {
  let known = null; // the status as last seen
  let timer = 0;

  const listen = () => {
    const text = explorer.querySelector(".labkit-status")?.textContent.trim() ?? known;
    if (text === known) return;
    const first = known === null; // a notebook that opens shall not say "ready" for each widget
    known = text;
    changed();
    clearTimeout(timer);
    if (!first) timer = setTimeout(() => told(text), REST);
  };

  const look = () => {
    // Not at the figure, which changes all the time.
    observer.observe(explorer, { childList: true });
    for (const part of explorer.children) {
      if (!part.contains(el)) observer.observe(part, CHANGES);
    }
    for (const box of explorer.querySelectorAll(".widget-inline-hbox")) name(box);
    listen();
  };
  const observer = new MutationObserver(look);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    clearTimeout(timer);
  });
  look();
}

const CHANGES = {
  subtree: true,
  childList: true,
  characterData: true,
  attributeFilter: ["aria-valuetext", "disabled"],
};

/** Give the parts of one control its name, and a slider the value that its readout shows. */
function name(box) {
  const label = box.querySelector(".widget-label");
  if (!label) return;
  if (label.title === "null") label.removeAttribute("title"); // what no tooltip becomes
  const called = label.textContent || label.title; // boxes after the first of a row: a tooltip only
  if (!called) return;
  for (const part of box.querySelectorAll("input, select")) mark(part, "aria-label", called);
  const readout = box.querySelector(".widget-readout");
  for (const handle of box.querySelectorAll("[role=slider]")) {
    mark(handle, "aria-label", called);
    const still = handle.closest(".noUi-target")?.hasAttribute("disabled");
    mark(handle, "aria-disabled", String(Boolean(still)));
    if (readout?.offsetParent) mark(handle, "aria-valuetext", readout.textContent);
  }
  if (readout?.isContentEditable) {
    mark(readout, "role", "textbox");
    mark(readout, "aria-label", `${called}, value`);
  }
}

/** Whether a run is on its way, as the status says. */
const running = (el) =>
  Boolean(el.closest(".labkit-explorer")?.querySelector(".labkit-status [aria-busy=true]"));
