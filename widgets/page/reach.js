// What a pointer does to the view of a figure, under the keyboard: a stop over each panel moves,
// turns and zooms it, and the entries of each legend hide and show its curves.

const SHIFT = 0.1; // of the length of an axis
const TURN = Math.PI / 36; // of a camera
const STEEPEST = 1.5; // radians above the ground: from right above it, left and right mean nothing
const NEARER = { "+": 1.25, "=": 1.25, "-": 0.8 };
const FLAT = "Arrows move what is seen, + and - zoom, 0 shows all again.";
const SOLID = "Arrows turn it, + and - come closer and go back, 0 turns all back.";
const ENTRY = "g.traces";
// Plotly's own button, which knows how all of it stood.
const RESET = "[data-val=reset], [data-attr=resetLastSave], [data-title='Reset views']";

/** `wish(changes)` is how a layout is changed, `wished(path)` what of that is not yet drawn. */
function reach(box, shown, wish, wished, signal) {
  const stops = []; // the i-th is that of the i-th panel
  const full = () => shown()._fullLayout ?? {};

  const panels = () => {
    const flat = Object.values(full()._plots ?? {}).map(({ xaxis, yaxis }) => ({
      axes: [xaxis, yaxis],
      place: { left: xaxis._offset, top: yaxis._offset, width: xaxis._length, height: yaxis._length },
    }));
    const solid = (full()._subplots?.gl3d ?? []).map((scene) => {
      const { l, t, w, h } = full()._size;
      const { x, y } = full()[scene].domain;
      const [width, height] = [w * (x[1] - x[0]), h * (y[1] - y[0])];
      return { scene, place: { left: l + w * x[0], top: t + h * (1 - y[1]), width, height } };
    });
    const row = ({ place }) => Math.round(place.top / 50);
    const order = (one, other) => row(one) - row(other) || one.place.left - other.place.left;
    return [...flat, ...solid].sort(order);
  };

  /** What is seen over what, as the axes say. */
  const named = ({ axes, scene }) => {
    const upright = scene ? full()[scene].zaxis : axes[1];
    const text = (axis) => axis?.title?.text?.replaceAll(/<[^>]*>/g, " ").trim();
    return [text(upright), !scene && text(axes[0])].filter(Boolean).join(" over ") || "a picture";
  };

  const follow = () => {
    const all = panels();
    fitted(stops, all.length, make);
    all.forEach(({ scene, place }, i) => {
      stops[i].over(place);
      stops[i].tell(`panel ${i + 1} of ${all.length}`, named(all[i]), scene ? SOLID : FLAT);
    });
    for (const legend of legends()) {
      const entries = [...legend.querySelectorAll(ENTRY)];
      const first = entries.find((entry) => entry.tabIndex === 0) ?? entries[0];
      for (const entry of entries) list(entry, entry === first);
    }
  };

  const make = (i) => tabStop(box, shown(), (event) => meant(event, panels()[i]));

  const meant = ({ key }, { axes, scene }) => {
    if (key === "0") return () => shown().querySelector(RESET)?.click();
    if (!(key in ARROWS) && !(key in NEARER)) return null;
    return () => wish(scene ? turned(scene, key) : Object.assign({}, ...moved(axes, key)));
  };

  /** The ranges of both axes after a key. */
  const moved = (axes, key) =>
    axes.map(({ _name, range }, i) => {
      const path = `${_name}.range`;
      const [low, high] = wished(path) ?? range.map(Number); // the exponents, of a logarithmic one
      const [right, down] = ARROWS[key] ?? [0, 0];
      const middle = (low + high) / 2 + SHIFT * (high - low) * (i ? -down : right);
      const half = (high - low) / 2 / (NEARER[key] ?? 1);
      return { [path]: [middle - half, middle + half] };
    });

  /** The camera of a scene after a key: it stays turned to the same point. */
  const turned = (scene, key) => {
    const path = `${scene}.camera`;
    const camera = wished(path) ?? full()[scene]._scene.getCamera();
    const { x, y, z } = camera.eye;
    const [right, down] = ARROWS[key] ?? [0, 0];
    const away = Math.hypot(x, y, z) / (NEARER[key] ?? 1);
    const round = Math.atan2(y, x) + right * TURN;
    const high = Math.asin(z / Math.hypot(x, y, z)) - down * TURN;
    const up = Math.min(Math.max(high, -STEEPEST), STEEPEST);
    const flat = away * Math.cos(up);
    const eye = { x: flat * Math.cos(round), y: flat * Math.sin(round), z: away * Math.sin(up) };
    return { [path]: { ...camera, eye } };
  };

  // ---- legends: one stop each, arrows lead from entry to entry ----

  const legends = () => shown().querySelectorAll(".infolayer > g[class^=legend]");

  const list = (entry, stop) => {
    const seen = entry.__data__?.[0]?.trace?.visible !== "legendonly";
    const about = { role: "switch", "aria-checked": seen, tabindex: stop ? 0 : -1 };
    about["aria-label"] = `curve ${entry.querySelector("text")?.textContent ?? ""}`;
    about["data-lm-suppress-shortcuts"] = true; // JupyterLab's, for these keys
    for (const [name, value] of Object.entries(about)) mark(entry, name, value);
  };

  const chosen = ({ key }, entry) => {
    const entries = [...entry.closest("g[class^=legend]").querySelectorAll(ENTRY)];
    const [right, down] = ARROWS[key] ?? [0, 0];
    const next = entries[entries.indexOf(entry) + right + down];
    if (key in ARROWS) {
      return () => {
        if (!next) return;
        for (const each of entries) list(each, each === next);
        next.focus();
      };
    }
    if (key !== " " && key !== "Enter") return null;
    return () => {
      const target = entry.querySelector("[class$=toggle]");
      for (const type of ["mousedown", "mouseup"]) {
        target?.dispatchEvent(new MouseEvent(type, { bubbles: true }));
      }
    };
  };

  const hear = (event) => {
    const entry = event.target.closest?.(ENTRY);
    if (entry) obey(event, (event) => chosen(event, entry));
  };
  box.addEventListener("keydown", hear, { signal });
  return { follow };
}
