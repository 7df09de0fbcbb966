// The same hand under the keyboard.  Over each subplot that can be changed lies a stop of the Tab
// key: its keys choose a point, a cell or a node, and lead the hand that a pointer leads.

const STILL = 700; // ms after an answer and the last key, when a point is let go and its place said
const STEP = 0.02; // of the length of an axis, for a point
const FINE = 0.1; // of that, with Shift
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ANOTHER = " Page Up and Page Down choose another.";
const HELP = {
  drag: "Arrows move it, finely with Shift.",
  paint: "Arrows choose, Space paints or erases, Shift and arrows paint on.",
  join: "Arrows choose, Enter joins or parts from here to there, Escape lets go.",
};

function keys(box, hand, shown, store, signal, announce) {
  const handles = []; // the i-th is that of the structure's i-th edit
  let still = 0;
  let rest = null; // what is done when the kernel has answered and no other key comes

  const trace = (edit) => shown()._fullData[edit.trace];
  const count = (edit) => {
    const { x, y } = trace(edit);
    return edit.gesture === "paint" ? x.length * y.length : x.length;
  };

  /** Where the chosen point, cell or node is, in pixels of the box. */
  const spot = (edit, index) => {
    if (edit.gesture !== "paint") return hand.dot(edit, hand.axes(edit), index);
    const { x, y } = hand.axes(edit);
    const { x: columns, y: rows } = trace(edit);
    const [column, row] = [index % columns.length, Math.floor(index / columns.length)];
    const size = (axis, at) => (at.length > 1 ? Math.abs(axis.d2p(at[1]) - axis.d2p(at[0])) : 22);
    return {
      left: x._offset + x.d2p(columns[column]),
      top: y._offset + y.d2p(rows[row]),
      width: size(x, columns),
      height: size(y, rows),
      square: true,
    };
  };

  const describe = (edit, index) => {
    const { x, y, z, text } = trace(edit);
    if (edit.gesture === "paint") {
      const [column, row] = [index % x.length, Math.floor(index / x.length)];
      const state = z[row][column] >= 0.5 ? "painted" : "empty";
      return `row ${row + 1} of ${y.length}, column ${column + 1} of ${x.length}, ${state}`;
    }
    const which = `${index + 1} of ${x.length}`;
    if (edit.gesture === "drag") return `point ${which} at (${short(x[index])}, ${short(y[index])})`;
    const from = held(edit)?.index;
    const begun = from === undefined || from === index ? "" : `from node ${from + 1} to `;
    const name = Array.isArray(text) && text[index] ? `, ${text[index]}` : "";
    return `${begun}node ${which}${name}`;
  };

  /** What the keys hold of this edit, if anything. */
  const held = (edit) => {
    const now = hand.held();
    return now && now.pointer === undefined && now.edit.trace === edit.trace ? now : null;
  };

  // ---- what is seen: after each draw, and after each key ----

  const follow = () => {
    if (rest) still = setTimeout(rest, STILL);
    rest = null;
    lay();
  };

  const lay = () => {
    const edits = store.structure?.edits ?? [];
    fitted(handles, edits.length, make);
    handles.forEach((handle, i) => {
      const edit = edits[i];
      const on = hand.here(edit) && hand.axes(edit);
      handle.part.hidden = !on || !count(edit);
      if (handle.part.hidden) return;
      handle.index = Math.min(handle.index, count(edit) - 1);
      const { x, y } = on;
      handle.over({ left: x._offset, top: y._offset, width: x._length, height: y._length });
      const help = HELP[edit.gesture] + (edit.gesture === "drag" && count(edit) > 1 ? ANOTHER : "");
      handle.tell(edit.field, describe(edit, handle.index), help);
      if (!handle.focused() || (hand.held() && edit.gesture === "drag")) return;
      hand.circle(spot(edit, handle.index));
    });
  };

  const say = (handle, edit) => {
    announce(describe(edit, handle.index));
    lay();
  };

  // ---- what a key does ----

  /** Let go of what the keys hold. */
  const free = () => {
    clearTimeout(still);
    rest = null;
    if (hand.held()?.pointer === undefined) hand.release();
  };

  const choose = (handle, edit, index) => {
    if (edit.gesture === "drag") free();
    handle.index = Math.min(Math.max(index, 0), count(edit) - 1);
    if (held(edit)) hand.go(spot(edit, handle.index)); // a join under way
    say(handle, edit);
  };

  /** The next cell to the right, left, up or down, whichever way the axes run. */
  const beside = (edit, index, [right, down]) => {
    const { x, y } = hand.axes(edit);
    const { x: columns, y: rows } = trace(edit);
    const toward = (axis, at, pixels) =>
      at.length > 1 ? pixels * Math.sign(axis.d2p(at[1]) - axis.d2p(at[0])) : 0;
    const within = (at, many) => Math.min(Math.max(at, 0), many - 1);
    const column = within((index % columns.length) + toward(x, columns, right), columns.length);
    const row = Math.floor(index / columns.length) + toward(y, rows, down);
    return within(row, rows.length) * columns.length + column;
  };

  const brush = (handle, edit, value) => {
    const here = spot(edit, handle.index);
    const last = hand.cell(edit, here);
    if (!last) return false; // zoomed away
    hand.hold({ edit, last, value: value(last), cells: [handle.index] }, here);
    handle.value = value(last);
    return true;
  };

  const arrow = {
    drag(handle, edit, way, fine) {
      const { x, y } = hand.axes(edit);
      const step = STEP * (fine ? FINE : 1);
      const at = spot(edit, handle.index);
      if (!Number.isFinite(at.left + at.top)) return; // not seen yet
      // What it is led to, and not where it is: the kernel may not have answered the last key.
      if (!held(edit)) hand.hold({ edit, index: handle.index, left: 0, top: 0, at }, at);
      const now = held(edit);
      const inside = (axis, at) =>
        Math.min(Math.max(at, axis._offset), axis._offset + axis._length);
      now.at = {
        left: inside(x, now.at.left + way[0] * step * x._length),
        top: inside(y, now.at.top + way[1] * step * y._length),
      };
      hand.go(now.at);
      clearTimeout(still);
      rest = () => {
        free();
        if (hand.here(edit)) say(handle, edit);
      };
    },
    paint(handle, edit, way, paints) {
      const next = beside(edit, handle.index, way);
      if (paints && brush(handle, edit, () => handle.value ?? 1)) {
        hand.go(spot(edit, next));
        hand.finish();
      }
      choose(handle, edit, next);
    },
    join(handle, edit, way) {
      choose(handle, edit, handle.index + way[0] + way[1]);
    },
  };

  const act = {
    drag: say,
    paint(handle, edit) {
      if (!brush(handle, edit, (cell) => (cell.value >= 0.5 ? 0 : 1))) return;
      hand.finish();
      announce(handle.value ? "painted" : "erased");
      lay();
    },
    join(handle, edit) {
      const at = spot(edit, handle.index);
      const from = held(edit)?.index;
      if (from === undefined) hand.hold({ edit, index: handle.index }, at);
      else {
        hand.go(at);
        hand.finish();
      }
      const both = `nodes ${from + 1} and ${handle.index + 1}: joined, or parted if they were joined`;
      const done = from === handle.index ? "let go" : both;
      announce(from === undefined ? `from node ${handle.index + 1}` : done);
      lay();
    },
  };

  /** What this key does, if anything. */
  const meant = (event, i) => {
    const [handle, edit] = [handles[i], store.structure.edits[i]];
    // A pointer may be at work.
    if (!edit || !hand.here(edit) || hand.held()?.pointer !== undefined) return null;
    const last = count(edit) - 1;
    const places = { PageUp: handle.index - 1, PageDown: handle.index + 1, Home: 0, End: last };
    const { key, shiftKey } = event;
    if (key in ARROWS) return () => arrow[edit.gesture](handle, edit, ARROWS[key], shiftKey);
    if (key in places) return () => choose(handle, edit, places[key]);
    if (key === " " || key === "Enter") return () => act[edit.gesture](handle, edit);
    if (key === "Escape" && held(edit)) return () => (free(), say(handle, edit));
    return null;
  };

  const make = (i) => {
    const place = handles.at(-1)?.tip.nextSibling ?? box.firstChild;
    const handle = { ...tabStop(box, place, (event) => meant(event, i)), index: 0 };
    handle.part.addEventListener("focus", lay);
    handle.part.addEventListener("blur", () => {
      free();
      lay();
    });
    return handle;
  };

  signal.addEventListener("abort", () => clearTimeout(still));
  return { follow };
}

/** A number as it is said. */
function short(value) {
  return String(Number(Number(value).toPrecision(3)));
}
