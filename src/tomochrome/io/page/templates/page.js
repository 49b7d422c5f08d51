"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const { rows, columns, step, positions, values, windows, colorings, tissues } = data;
  const texts = [...document.querySelectorAll("script.slice")].map((part) => part.textContent);
  const find = (selector) => document.querySelector(selector);
  const panes = find("#panes"), slider = find("#slice"), wiper = find("#wipe"), readout = find("#readout");
  const state = {
    slice: data.first, wipe: 0.5, window: 0, model: 0, only: -1, kept: -1, pointed: -1, probe: null,
    view: colorings.length > 1 ? "sides" : "wipe",
  };
  const RESTORED = 2, LIGHT = 3, DARK = 4, NO_TISSUE = 255, STRENGTH = 0.45;

  // Data: planes of bytes, compressed, as tomochrome.io.page.page_planes writes them.

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  for (const window of windows) window.levels = bytes(window.levels);
  for (const coloring of colorings) {
    const table = new Int16Array(bytes(coloring.rows).buffer);
    coloring.table = table; // tissue, a* and b* of each row
    coloring.count = table.length / 3;
    coloring.words = new Uint32Array(256 * coloring.count); // RGBA by row and grey level, on demand
  }

  const cache = new Map();
  function load(k) {
    if (!cache.has(k)) {
      const inflated = new Blob([bytes(texts[k])]).stream().pipeThrough(new DecompressionStream("deflate"));
      cache.set(k, new Response(inflated).arrayBuffer().then((buffer) => planes(new Uint8Array(buffer))));
      if (cache.size > 24) cache.delete(cache.keys().next().value);
    }
    return cache.get(k);
  }

  function planes(all) {
    const count = rows * columns, across = Math.ceil(columns / step), coarse = Math.ceil(rows / step) * across;
    let at = 0;
    const take = (n) => all.subarray(at, (at += n));
    const pairs = (n) => {
      const low = take(n), high = take(n), out = new Uint16Array(n);
      for (let i = 0; i < n; i++) out[i] = low[i] | (high[i] << 8);
      return out;
    };
    const value = pairs(count);
    for (let y = 0, i = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++, i++) {
        const left = x ? value[i - 1] : 0, above = y ? value[i - columns] : 0, coded = value[i];
        value[i] = ((left + above) >> 1) + ((coded >> 1) ^ -(coded & 1));
      }
    }
    const marks = data.marks ? take(count) : null;
    const lightness = data.lightness ? take(count) : null; // of the colors, if not that of the value
    for (let i = 1; lightness && i < count; i++) lightness[i] += lightness[i - 1];
    const colors = colorings.map(() => ({ index: pairs(coarse), confidence: take(coarse) }));
    return { value, marks, lightness, colors, across };
  }

  // Color: CIELAB at the L* of a grey level, with the chroma reduced to what sRGB can show.

  const linear = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const cube = (f) => (f > 6 / 29 ? f ** 3 : (108 / 841) * (f - 4 / 29));
  function rgb(fy, a, b) {
    const x = 0.9505 * cube(fy + a / 500), y = cube(fy), z = 1.089 * cube(fy - b / 200);
    return [
      3.240625 * x - 1.537208 * y - 0.498629 * z,
      -0.968931 * x + 1.875756 * y + 0.041518 * z,
      0.05571 * x - 0.204021 * y + 1.056996 * z,
    ];
  }
  const encode = (v) => Math.round(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
  function word(level, a, b) {
    const y = linear(level), fy = y > (6 / 29) ** 3 ? Math.cbrt(y) : (841 / 108) * y + 4 / 29;
    let low = 0, high = 1, share = 1;
    for (let i = 0; i < 12; i++) {
      const inside = rgb(fy, a * share, b * share).every((v) => v >= -1e-5 && v <= 1.0002);
      if (inside) low = share;
      else high = share;
      if (low === 1) break;
      share = (low + high) / 2;
    }
    const [r, g, blue] = rgb(fy, a * low, b * low).map((v) => encode(Math.min(1, Math.max(0, v))));
    return (255 << 24) | (blue << 16) | (g << 8) | r;
  }

  function paint(canvas, slice, model, from) {
    const context = canvas.getContext("2d", { willReadFrequently: true }), image = context.createImageData(columns, rows);
    const out = new Uint32Array(image.data.buffer), levels = windows[state.window].levels;
    const coloring = colorings[model], colors = slice.colors[model], words = coloring ? coloring.words : null;
    const table = coloring ? coloring.table : null;
    const only = state.only >= 0 && coloring && coloring.tissues ? state.only : -1;
    for (let y = 0, i = 0; y < rows; y++) {
      const line = ((y / step) | 0) * slice.across;
      for (let x = 0; x < columns; x++, i++) {
        const level = slice.lightness && x >= from ? slice.lightness[i] : levels[slice.value[i]];
        let pixel = 0xff000000 | (level * 0x010101);
        if (x >= from) {
          const index = colors.index[line + ((x / step) | 0)];
          const at = 3 * index, a = table[at + 1], b = table[at + 2];
          if ((a || b) && (only < 0 || table[at] === only)) {
            pixel = words[(index << 8) | level] ||= word(level, a, b);
          }
        }
        out[i] = pixel;
      }
    }
    if (slice.marks) hatch(image.data, slice.marks);
    context.putImageData(image, 0, 0);
  }

  function hatch(pixels, marks) {
    for (let i = 0; i < marks.length; i++) {
      if (marks[i] !== LIGHT && marks[i] !== DARK) continue;
      const tone = marks[i] === LIGHT ? 255 : 0;
      for (let c = 4 * i; c < 4 * i + 3; c++) pixels[c] += STRENGTH * (tone - pixels[c]);
    }
  }

  // Pictures: one with a wipe, or grey and every coloring.

  const hint = readout.textContent;
  let shown = []; // {frame, canvas, caption, model}, model -1 for grey
  function arrange() {
    panes.replaceChildren();
    const models = state.view === "wipe" ? [state.model] : [-1, ...colorings.keys()];
    panes.style.setProperty("--across", models.length < 4 ? models.length : Math.ceil(Math.sqrt(models.length)));
    panes.className = state.view + (models.length > 2 ? " many" : "");
    shown = models.map((model) => {
      panes.append(find("#pane").content.cloneNode(true));
      const pane = panes.lastElementChild, frame = pane.querySelector(".frame");
      listen(frame);
      return { frame, canvas: frame.querySelector("canvas"), caption: pane.querySelector("figcaption"), model };
    });
    for (const part of document.querySelectorAll(".wipe, .handle")) part.hidden = state.view !== "wipe";
    find("#models").hidden = colorings.length < 2 || state.view !== "wipe";
    draw();
  }

  const place = (k) => `Slice ${k + 1} of ${positions.length}, z ${positions[k].toFixed(1)} mm`;
  const windowName = () => (values ? `window ${windows[state.window].title} (${windows[state.window].text} HU)` : "");
  let drawing = 0;
  async function draw() {
    const ticket = ++drawing, k = state.slice;
    slider.value = k;
    slider.setAttribute("aria-valuetext", place(k));
    wiper.value = Math.round(100 * state.wipe);
    let slice;
    try {
      slice = await load(k);
    } catch (error) {
      find("#failure").hidden = false;
      find("#failure").textContent = "This browser cannot decompress the slices; use one from 2023 or later.";
      return;
    }
    if (ticket !== drawing) return;
    const wipe = state.view === "wipe", edge = Math.round(state.wipe * columns);
    for (const { frame, canvas, caption, model } of shown) {
      paint(canvas, slice, model, model < 0 ? columns : wipe ? edge : 0);
      const title = model < 0 ? "Grey" : colorings[model].title;
      caption.textContent = wipe ? `Grey | ${title}` : title;
      frame.setAttribute("aria-label", `${place(k)}: ${wipe ? `left grey, right ${title}` : title}`);
      const where = `${k + 1} / ${positions.length}`;
      frame.querySelector(".place").textContent = wipe ? `${where}  ·  ${number(positions[k])} mm` : where;
      frame.querySelector(".window").textContent = [windows[state.window].text, data.note].filter(Boolean).join("; color: ");
      frame.querySelector(".handle").style.left = `${100 * state.wipe}%`;
    }
    find("#shown").textContent = [place(k), windowName(), data.note, "not for diagnosis"].filter(Boolean).join(" · ");
    tell(slice);
    listTissues(slice);
    document.documentElement.dataset.drawn = `${k}/${state.window}/${state.view}/${state.wipe.toFixed(2)}/${state.only}`;
    for (const next of [k + 1, k - 1]) if (next >= 0 && next < positions.length) load(next);
  }

  // What is under the cursor

  const number = (v) => String(Math.round(v)).replace("-", "−");
  function tell(slice) {
    const at = state.probe;
    for (const { frame } of shown) {
      const dot = frame.querySelector(".probe");
      dot.hidden = !at;
      if (at) Object.assign(dot.style, { left: `${(100 * (at.x + 0.5)) / columns}%`, top: `${(100 * (at.y + 0.5)) / rows}%` });
    }
    const named = state.pointed >= 0 ? state.pointed : at ? -1 : state.kept;
    readout.classList.toggle("screen", !at && named < 0); // an instruction is not printed
    if (named >= 0 || !at) {
      readout.textContent = named >= 0 ? summary(slice, named) : hint;
      return;
    }
    const i = at.y * columns + at.x, mark = slice.marks ? slice.marks[i] : 0;
    const parts = [];
    if (values && mark !== 1) parts.push(`${number(values[slice.value[i]])} HU`);
    if (mark === 1) parts.push("outside the scan");
    if (mark >= RESTORED) parts.push("restored, not measured");
    const coarse = ((at.y / step) | 0) * slice.across + ((at.x / step) | 0);
    const models = state.view === "wipe" ? [state.model] : [...colorings.keys()];
    for (const model of mark === 1 ? [] : models) {
      const coloring = colorings[model], tissue = coloring.table[3 * slice.colors[model].index[coarse]];
      if (!coloring.tissues) continue;
      const sure = Math.round((100 * slice.colors[model].confidence[coarse]) / data.confidences);
      const name = tissue === NO_TISSUE ? "no tissue" : tissues[tissue].title;
      const text = tissue ? `${name}, confidence ${sure} %` : name;
      parts.push(models.length > 1 ? `${coloring.title}: ${text}` : text);
    }
    readout.textContent = parts.join(" · ");
  }

  const legendModel = () => (state.view === "wipe" ? state.model : Math.max(0, colorings.findIndex((c) => c.tissues)));

  function summary(slice, t) {
    const model = legendModel(), { table } = colorings[model], { index, confidence } = slice.colors[model];
    let count = 0, value = 0, sure = 0;
    for (let y = 0, i = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++, i++) {
        const at = ((y / step) | 0) * slice.across + ((x / step) | 0);
        if (table[3 * index[at]] !== t || (slice.marks && slice.marks[i] === 1)) continue;
        count++;
        value += values[slice.value[i]];
        sure += confidence[at];
      }
    }
    if (!count) return `${tissues[t].title}: not in this slice`;
    const percent = Math.round((100 * sure) / count / data.confidences);
    return `${tissues[t].title} in this slice: mean ${number(value / count)} HU, mean confidence ${percent} %`;
  }

  function listTissues(slice) {
    const model = legendModel();
    const coloring = colorings[model], list = find("#legend ul");
    find("#legend .none").hidden = coloring.tissues || !values;
    find("#legend h2").hidden = !coloring.tissues && !values;
    if (!coloring.tissues) return list.replaceChildren();
    const here = new Set();
    const present = new Uint8Array(coloring.count);
    for (const index of slice.colors[model].index) present[index] = 1;
    present.forEach((is, index) => is && here.add(coloring.table[3 * index]));
    if (list.dataset.model !== String(model) || !list.children.length) {
      const all = new Set(Array.from({ length: coloring.count }, (_, index) => coloring.table[3 * index]));
      list.dataset.model = model;
      list.replaceChildren(...tissues.flatMap((tissue, t) => (t && all.has(t) ? [entry(tissue, t)] : [])));
    }
    for (const item of list.children) {
      const button = item.firstElementChild, t = Number(button.value);
      button.className = here.has(t) ? "" : "absent";
      button.title = here.has(t) ? "" : "not in this slice";
      button.setAttribute("aria-pressed", state.kept === t);
    }
  }

  function entry(tissue, t) {
    const item = document.createElement("li"), button = document.createElement("button"), swatch = document.createElement("i");
    swatch.style.background = tissue.color;
    Object.assign(button, { type: "button", value: t });
    button.append(swatch, tissue.title);
    button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && set({ only: t, pointed: t }));
    button.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && set({ only: state.kept, pointed: -1 }));
    button.addEventListener("focus", () => button.matches(":focus-visible") && set({ pointed: t }));
    button.addEventListener("blur", () => set({ pointed: -1 }));
    button.addEventListener("click", () => {
      const kept = state.kept === t ? -1 : t;
      set({ kept, only: kept });
    });
    item.append(button);
    return item;
  }

  // Input

  const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
  function set(change) {
    Object.assign(state, change);
    draw();
  }
  const go = (k) => set({ slice: clamp(k, 0, positions.length - 1) });
  const wipe = (share) => set({ wipe: clamp(share, 0, 1) });
  function choose(name, value) {
    document.querySelector(`input[name="${name}"][value="${value}"]`).checked = true;
    state[name] = name === "view" ? value : Number(value);
    if (name === "window") draw();
    else arrange();
  }

  function pixel(frame, event) {
    const box = frame.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const y = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return x >= 0 && y >= 0 && x < columns && y < rows ? { x, y } : null;
  }

  function listen(frame) {
    let start = null, turned = 0;
    const share = (event) => {
      const box = frame.getBoundingClientRect();
      return (event.clientX - box.left) / box.width;
    };
    frame.addEventListener("wheel", (event) => {
      if (event.ctrlKey) return; // the browser's zoom
      event.preventDefault();
      turned += event.deltaMode ? 50 * event.deltaY : event.deltaY;
      const steps = Math.trunc(turned / 50) && Math.sign(turned);
      if (steps) {
        turned = 0;
        go(state.slice + steps);
      }
    }, { passive: false });
    frame.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary) return;
      frame.setPointerCapture(event.pointerId);
      start = { x: event.clientX, y: event.clientY, slice: state.slice, drag: "" };
      if (event.pointerType === "touch") set({ probe: pixel(frame, event), pointed: -1 });
    });
    frame.addEventListener("pointermove", (event) => {
      if (!event.isPrimary) return;
      if (event.pointerType === "mouse") set({ probe: pixel(frame, event), pointed: -1 });
      if (!start) return;
      const dx = event.clientX - start.x, dy = event.clientY - start.y;
      if (!start.drag && Math.hypot(dx, dy) > 6) {
        const mouse = event.pointerType === "mouse", sideways = Math.abs(dx) > Math.abs(dy) || mouse;
        start.drag = !sideways ? "y" : state.view === "wipe" ? "wipe" : mouse ? "none" : "x";
      }
      const pixels = clamp((1.5 * frame.clientHeight) / positions.length, 3, 16); // of a slice
      if (start.drag === "wipe") wipe(share(event));
      if (start.drag === "x") go(start.slice + Math.trunc(dx / pixels));
      if (start.drag === "y") go(start.slice + Math.trunc(dy / pixels));
    });
    for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, () => (start = null));
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, button, summary, [contenteditable]") && !/^[1-9vV]$/.test(event.key)) return;
    const move = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (move && event.shiftKey) {
      const at = state.probe || { x: columns >> 1, y: rows >> 1 }, by = Math.max(1, columns >> 7);
      set({ probe: { x: clamp(at.x + by * move[0], 0, columns - 1), y: clamp(at.y + by * move[1], 0, rows - 1) } });
    } else if (move && move[1]) go(state.slice + move[1]);
    else if (move) wipe(state.wipe + 0.02 * move[0]);
    else if (event.key === "PageUp") go(state.slice - 10);
    else if (event.key === "PageDown") go(state.slice + 10);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(positions.length - 1);
    else if (event.key === "v" || event.key === "V") choose("view", state.view === "wipe" ? "sides" : "wipe");
    else if (values && windows[Number(event.key) - 1]) choose("window", Number(event.key) - 1);
    else return;
    event.preventDefault();
  });

  slider.addEventListener("input", () => go(Number(slider.value)));
  wiper.addEventListener("input", () => wipe(Number(wiper.value) / 100));
  for (const field of document.querySelectorAll("fieldset input")) {
    field.checked = String(state[field.name]) === field.value;
    field.addEventListener("change", () => choose(field.name, field.value));
  }

  const theme = find("#theme"), dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const showTheme = () => theme.setAttribute("aria-pressed", isDark());
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  dark.addEventListener("change", showTheme);
  showTheme();
  arrange();
}
