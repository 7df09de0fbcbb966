// Stops of the Tab key over parts of a figure, each with a name for who hears and a tip for who sees.

/** A stop before `place` in the box; `meant(event)` is what a key does there, if anything. */
function tabStop(box, place, meant) {
  const part = document.createElement("div");
  const tip = document.createElement("span");
  part.className = "labkit-handle";
  tip.className = "labkit-tip";
  tip.setAttribute("aria-hidden", "true");
  part.tabIndex = 0;
  part.setAttribute("role", "application"); // a reader leaves the arrows to it
  part.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's, for these keys
  part.addEventListener("keydown", (event) => obey(event, meant));
  box.insertBefore(part, place);
  box.insertBefore(tip, place);
  const focused = () => part.matches(":focus");
  return {
    part,
    tip,
    focused,
    over({ left, top, width, height }) {
      const edges = { left, top, width, height };
      for (const [name, value] of Object.entries(edges)) part.style[name] = `${value}px`;
    },
    /** `field` is whose stop it is, `says` how it stands there, `help` what its keys do. */
    tell(field, says, help) {
      // A reader repeats a name that changes: under the keys it is told by other means.
      if (!focused()) mark(part, "aria-label", `${field}: ${says}`);
      mark(part, "title", help);
      const text = `${says[0].toUpperCase()}${says.slice(1)}. ${help}`;
      if (tip.textContent !== text) tip.textContent = text;
    },
    remove() {
      part.remove();
      tip.remove();
    },
  };
}

/** Set an attribute; nothing happens in the page where it stood so already. */
function mark(part, attribute, value) {
  if (part.getAttribute(attribute) !== String(value)) part.setAttribute(attribute, value);
}

/** Do what a key means; the page does nothing then. */
function obey(event, meant) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const does = meant(event);
  if (!does) return;
  event.preventDefault();
  event.stopPropagation();
  does();
}

/** As many stops as there are things: the last ones go, `make(i)` makes what is missing. */
function fitted(stops, many, make) {
  while (stops.length > many) stops.pop().remove();
  while (stops.length < many) stops.push(make(stops.length));
}
