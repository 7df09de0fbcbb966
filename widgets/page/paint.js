// Drawing with plotly: all of a figure, or what changed since the last draw.

const SPACE = ["surface", "mesh3d", "scatter3d"];

/**
 * Bring a figure from `drawn` (null: nothing stands yet) to `now`; a promise of the drawing.
 * `wishes` are changes of the layout beside, which a figure made anew forgets.
 */
function paint(plotly, figure, store, drawn, now, wishes) {
  if (!drawn || now.version !== drawn.version) return build(plotly, figure, store, drawn, now);
  return mend(plotly, figure, store, drawn, now, wishes);
}

function build(plotly, figure, store, drawn, { width }) {
  const { data, layout, config } = structuredClone(store.structure); // plotly writes in it
  for (const { trace, path, value } of store.arrays.values()) put(data[trace], path, value);
  for (const { path, value } of store.texts.values()) {
    put(path.startsWith("data[") ? { data } : layout, path, value);
  }
  const options = { ...config, responsive: false }; // the width is ours to watch
  const make = drawn ? plotly.react : plotly.newPlot; // react keeps zoom and camera
  return make(figure, data, { ...layout, width }, options);
}

function mend(plotly, figure, store, drawn, { width }, wishes) {
  const styles = new Map(); // trace -> {path: value}
  const places = width === drawn.width ? { ...wishes } : { ...wishes, width };
  const change = (trace, path, value) => styles.set(trace, { ...styles.get(trace), [path]: value });
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
}

const solid = (store) => store.structure.data.some((trace) => SPACE.includes(trace.type));

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
