// The hand on a live figure: points are dragged, cells painted, nodes joined.  What it does goes
// to the kernel, whose answer is the next frame.  A pointer leads it here, keys in keys.js.

const REACH = 15; // px around a point that take hold of it: a fingertip's worth

function hands(box, ring, line, el, shown, store, signal, send) {
  let held = null; // what is under way: gesture, edit, and what that gesture knows
  let place = null; // where the pointer, or what the keys move, was last seen
  let queued = false;

  const axes = (edit) => {
    const full = shown()._fullLayout;
    const axis = (name) => full?.[`${name[0]}axis${name.slice(1)}`];
    const [x, y] = [axis(edit.xaxis), axis(edit.yaxis)];
    return x?._length && y?._length ? { x, y } : null;
  };

  const within = (event) => {
    const corner = box.getBoundingClientRect();
    return { left: event.clientX - corner.left, top: event.clientY - corner.top };
  };

  const dot = (edit, on, index) => {
    const trace = shown()._fullData[edit.trace];
    return {
      left: on.x._offset + on.x.d2p(trace.x[index]),
      top: on.y._offset + on.y.d2p(trace.y[index]),
    };
  };

  /** Whether this can be taken hold of: not when it was hidden by its legend. */
  const here = (edit) => axes(edit) && shown()._fullData?.[edit.trace]?.visible === true;
  const edits = () => (store.structure?.edits ?? []).filter(here);

  /** Put the ring round a place, as large as what it goes round. */
  const circle = ({ left, top, width = 22, height = 22, square = false }) => {
    const edge = 2;
    Object.assign(ring.style, {
      display: "block",
      left: `${left - width / 2 - edge}px`,
      top: `${top - height / 2 - edge}px`,
      width: `${width}px`,
      height: `${height}px`,
      borderRadius: square ? "2px" : "50%",
    });
  };

  /** The point or node nearest to a place, if any is within reach. */
  const nearest = (at, among) => {
    let best = null;
    let reach = REACH;
    for (const edit of among) {
      const on = axes(edit);
      for (let index = 0; index < shown()._fullData[edit.trace].x.length; index++) {
        const { left, top } = dot(edit, on, index);
        const distance = Math.hypot(left - at.left, top - at.top);
        if (!(distance <= reach)) continue; // also what is at NaN: not seen yet
        [best, reach] = [{ edit, index, left: left - at.left, top: top - at.top }, distance];
      }
    }
    return best;
  };

  /** The cell of a raster at a place, row by row, with what it holds. */
  const cell = (edit, at) => {
    const on = axes(edit);
    const { x, y, z } = shown()._fullData[edit.trace];
    const [left, top] = [at.left - on.x._offset, at.top - on.y._offset];
    if (left < 0 || top < 0 || left > on.x._length || top > on.y._length) return null;
    const [column, row] = [closest(x, on.x.p2d(left)), closest(y, on.y.p2d(top))];
    if (column === null || row === null) return null;
    return { row, column, columns: x.length, value: z[row][column] };
  };

  const find = (at) => {
    const all = edits();
    const point = nearest(at, all.filter((edit) => edit.gesture !== "paint"));
    if (point) return point;
    for (const edit of all.filter((each) => each.gesture === "paint")) {
      const first = cell(edit, at);
      if (!first) continue;
      const cells = [first.row * first.columns + first.column];
      return { edit, last: first, value: first.value >= 0.5 ? 0 : 1, cells };
    }
    return null;
  };

  const tell = (at, to) => send({ gesture: held.edit.gesture, field: held.edit.field, at, to });

  const gestures = {
    drag: {
      move() {
        const on = axes(held.edit);
        if (!on) return;
        const inside = (axis, at) => Math.min(Math.max(at - axis._offset, 0), axis._length);
        const left = inside(on.x, place.left + held.left);
        const top = inside(on.y, place.top + held.top);
        // The ring answers at once; the point itself follows when the kernel has spoken.
        circle({ left: left + on.x._offset, top: top + on.y._offset });
        tell([held.index], [legible(on.x, left), legible(on.y, top)]);
      },
      drop() {
        if (held.moved) this.move();
      },
    },
    paint: {
      // A quick stroke skips cells: go to the new one by the straight way.
      note() {
        const next = cell(held.edit, place);
        if (!next) return;
        const { row, column } = held.last;
        const steps = Math.max(Math.abs(next.row - row), Math.abs(next.column - column), 1);
        for (let i = 1; i <= steps; i++) {
          const r = Math.round(row + ((next.row - row) * i) / steps);
          const c = Math.round(column + ((next.column - column) * i) / steps);
          held.cells.push(r * next.columns + c);
        }
        held.last = next;
      },
      move() {
        if (!held.cells.length) return;
        tell([...new Set(held.cells)], [held.value]);
        held.cells = [];
      },
      drop() {
        this.move(); // a click paints one cell
      },
    },
    join: {
      move() {
        const on = axes(held.edit);
        if (!on) return;
        const from = dot(held.edit, on, held.index);
        const [across, down] = [place.left - from.left, place.top - from.top];
        line.style.display = "block";
        line.style.left = `${from.left}px`;
        line.style.top = `${from.top}px`;
        line.style.width = `${Math.hypot(across, down)}px`;
        line.style.transform = `rotate(${Math.atan2(down, across)}rad)`;
      },
      drop() {
        const end = axes(held.edit) ? nearest(place, [held.edit]) : null;
        if (!end || end.index === held.index) return;
        const nodes = shown()._fullData[held.edit.trace].x.length;
        const there = held.index * nodes + end.index;
        const back = end.index * nodes + held.index;
        tell(held.edit.directed ? [there] : [there, back], []);
      },
    },
  };

  // ---- what a pointer and the keys both do: hold, go, and finish or release ----

  const hold = (found, at) => {
    held = found;
    place = at;
  };
  const go = (at) => {
    place = at;
    gestures[held.edit.gesture].note?.();
    held.moved = true;
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      if (held) gestures[held.edit.gesture].move();
    });
  };
  const release = () => {
    held = null;
    el.classList.remove("labkit-held");
    ring.style.display = line.style.display = "none";
  };
  const finish = () => {
    try {
      gestures[held.edit.gesture].drop();
    } finally {
      release();
    }
  };

  const stop = (event) => {
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  const take = (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    if (held && held.pointer === undefined) release(); // by the keys
    const found = held ? null : find(within(event)); // a second finger takes nothing
    if (!found) return;
    hold({ ...found, pointer: event.pointerId }, within(event));
    stop(event);
    box.setPointerCapture(event.pointerId);
    el.classList.toggle("labkit-held", held.edit.gesture !== "paint");
  };
  const move = (event) => {
    if (held && event.pointerId !== held.pointer) return;
    if (held && event.buttons === 0) return drop(event); // let go where nobody saw it
    if (held) return go(within(event));
    const near = event.buttons === 0 ? find(within(event))?.edit.gesture : null;
    el.classList.toggle("labkit-near", Boolean(near) && near !== "paint");
  };
  const leave = (event) => {
    if (!held || event.pointerId === held.pointer) release();
  };
  const drop = (event) => {
    if (held && event.pointerId === held.pointer) finish();
  };
  // While something is held plotly must see neither the mouse nor the finger: it would zoom.
  const shield = (event) => held && stop(event);
  const options = { capture: true, passive: false, signal };
  box.addEventListener("pointerdown", take, options);
  box.addEventListener("pointermove", move, options);
  box.addEventListener("pointerup", drop, options);
  box.addEventListener("pointercancel", leave, options);
  box.addEventListener("mousedown", shield, options);
  box.addEventListener("touchstart", shield, options);

  return { axes, here, dot, cell, circle, hold, go, release, finish, held: () => held };
}

/** The place of the value nearest to `at`; null half a cell beyond the ends. */
function closest(values, at) {
  let best = 0;
  for (let i = 1; i < values.length; i++) {
    if (Math.abs(values[i] - at) < Math.abs(values[best] - at)) best = i;
  }
  const cell = values.length > 1 ? Math.abs(values[1] - values[0]) : 1;
  return Math.abs(values[best] - at) <= 0.5001 * cell ? best : null;
}

/** The value at a pixel of an axis, without digits that no pixel could tell apart. */
function legible(axis, at) {
  const value = axis.p2d(at);
  const unit = 10 ** Math.floor(Math.log10(Math.abs(axis.p2d(at + 1) - value)) - 1);
  return Number((Math.round(value / unit) * unit).toPrecision(12)); // not 0.30000000000000004
}
