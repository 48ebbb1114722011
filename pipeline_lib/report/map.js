"use strict";
// The map: one canvas on which every image is a dot or its thumbnail, moving between representations.
(() => {
  const byId = (id) => document.getElementById(id);
  if (!byId("map-data")) return;
  const data = JSON.parse(byId("map-data").textContent);
  const stage = byId("map-stage"), canvas = byId("map-canvas"), sheet = byId("map-sheet");
  const tip = byId("map-tip"), status = byId("map-status"), pen = canvas.getContext("2d");
  const legend = [...document.querySelectorAll("#map-legend button")];
  const count = data.ids.length, GRID = 4095, MARGIN = 26, REACH = 22, MOST_NAMES = 30, MOST_ZOOM = 12;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  let now = { x: new Float32Array(count), y: new Float32Array(count) };
  let goal = null, start = null, began = 0, moving = 0;
  let view = { zoom: 1, x: 0, y: 0 }, width = 0, height = 0, colours = {};
  let picked = -1, pinned = -1, hovered = -1; // an image; a class held by a click; a class under the pointer

  const chosen = (name) => document.querySelector(`input[name="map-${name}"]:checked`).value;
  const groups = () => (chosen("colour") === "predicted" ? data.predicted : data.truth);
  const isWrong = (i) => data.exact && data.truth[i] >= 0 && data.predicted[i] >= 0 && data.truth[i] !== data.predicted[i];
  const lit = () => (hovered >= 0 ? hovered : pinned);
  const toScreen = (x, y) => [width / 2 + (x + view.x) * view.zoom, height / 2 + (y + view.y) * view.zoom];

  // Positions in px around the centre, as large as the canvas lets them be.
  function fitted() {
    const wanted = data.layouts.filter((one) => one.representation === chosen("representation"));
    const layout = wanted.find((one) => one.method === chosen("method")) || wanted[0];
    byId("map-note").textContent = layout.note;
    const x = layout.x.map((v) => v / GRID - 0.5), y = layout.y.map((v) => 0.5 - v / GRID);
    const scale = Math.min((width / 2 - MARGIN) / Math.max(...x.map(Math.abs), 1e-6),
      (height / 2 - MARGIN) / Math.max(...y.map(Math.abs), 1e-6));
    return { x: Float32Array.from(x, (v) => v * scale), y: Float32Array.from(y, (v) => v * scale) };
  }

  function move(animated) {
    goal = fitted();
    start = { x: now.x.slice(), y: now.y.slice() };
    began = performance.now() - (animated && !calm.matches ? 0 : 1e9);
    cancelAnimationFrame(moving);
    step(performance.now());
  }

  function step(time) {
    const t = Math.min(1, Math.max(0, (time - began) / 900));
    const eased = t < 0.5 ? 4 * t ** 3 : 1 - (2 - 2 * t) ** 3 / 2;
    for (const axis of ["x", "y"])
      for (let i = 0; i < count; i++) now[axis][i] = start[axis][i] + (goal[axis][i] - start[axis][i]) * eased;
    draw();
    if (t < 1) moving = requestAnimationFrame(step);
  }

  function draw() {
    pen.clearRect(0, 0, width, height);
    const group = groups(), only = lit(), errors = chosen("colour") === "errors", images = chosen("draw") === "images";
    const size = Math.max(10, Math.min(data.side, 17)) * Math.sqrt(view.zoom);
    const first = [], last = [];
    for (let i = 0; i < count; i++) ((only >= 0 ? group[i] === only : isWrong(i)) ? last : first).push(i);
    for (const i of [...first, ...last]) {
      const [x, y] = toScreen(now.x[i], now.y[i]);
      if (x < -size || y < -size || x > width + size || y > height + size) continue;
      pen.globalAlpha = (only >= 0 && group[i] !== only) || (errors && !isWrong(i)) ? (images ? 0.16 : 0.22) : 0.9;
      const colour = errors ? (isWrong(i) ? colours.wrong : colours.faint) : (data.colours[group[i]] || colours.faint);
      if (images) {
        thumbnail(pen, i, x - size / 2, y - size / 2, size);
        pen.strokeStyle = colour;
        pen.lineWidth = 1.5;
        pen.strokeRect(x - size / 2, y - size / 2, size, size);
      } else if (errors && isWrong(i)) {
        pen.strokeStyle = colour;
        pen.lineWidth = 2;
        pen.beginPath();
        for (const s of [1, -1]) { pen.moveTo(x - 4, y - 4 * s); pen.lineTo(x + 4, y + 4 * s); }
        pen.stroke();
      } else {
        pen.beginPath();
        pen.arc(x, y, 3.1 * Math.sqrt(Math.sqrt(view.zoom)), 0, 7);
        pen.fillStyle = pen.strokeStyle = colour;
        if (group[i] >= 0 || errors) pen.fill(); else { pen.lineWidth = 1; pen.stroke(); }
      }
    }
    pen.globalAlpha = 1;
    names(group, only);
    if (picked >= 0) ring();
  }

  function thumbnail(target, i, x, y, size) {
    const left = (i % data.columns) * data.side, top = Math.floor(i / data.columns) * data.side;
    if (sheet.complete) target.drawImage(sheet, left, top, data.side, data.side, x, y, size, size);
  }

  // Each class is written where its middle is, so that no colour has to be looked up.
  function names(group, only) {
    pen.font = "600 15px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    pen.lineWidth = 4;
    data.classes.forEach((name, index) => {
      if (only >= 0 ? only !== index : !data.exact || data.classes.length > MOST_NAMES) return;
      const members = [];
      for (let i = 0; i < count; i++) if (group[i] === index) members.push(i);
      if (!members.length) return;
      const quantile = (axis, q) => members.map((i) => now[axis][i]).sort((a, b) => a - b)[Math.floor(members.length * q)];
      const spread = (quantile("y", 0.9) - quantile("y", 0.1)) * view.zoom;
      const [x, middle] = toScreen(quantile("x", 0.5), quantile("y", 0.5));
      const y = spread < 40 ? middle - spread / 2 - 14 : middle; // beside a small cloud rather than over it
      const text = name.length > 22 ? name.slice(0, 21) + "…" : name;
      pen.strokeStyle = colours.paper;
      pen.strokeText(text, x, y);
      pen.fillStyle = colours.ink;
      pen.fillText(text, x, y);
    });
  }

  function ring() {
    const [x, y] = toScreen(now.x[picked], now.y[picked]);
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, 9, 0, 7);
    pen.stroke();
    const right = x > width / 2;
    tip.style.left = right ? "" : `${x + 16}px`;
    tip.style.right = right ? `${width - x + 16}px` : "";
    tip.style.top = `${Math.min(Math.max(y - 60, 0), Math.max(height - tip.offsetHeight, 0))}px`;
  }

  function describe(i) {
    const lines = [data.truth[i] >= 0 ? `${data.label} ${data.classes[data.truth[i]]}` : data.label ? `no ${data.label} given` : "not labelled"];
    if (data.predicted[i] >= 0) {
      const verdict = data.truth[i] < 0 || !data.exact ? "" : isWrong(i) ? " ✗" : " ✓";
      lines.push(`${data.model}: ${data.classes[data.predicted[i]]}${verdict}`);
    }
    return [...lines, data.ids[i], data.paths[i]];
  }

  function pick(i, aloud) {
    if (picked === i) return;
    picked = i;
    tip.hidden = i < 0;
    if (i >= 0) {
      const picture = byId("map-picture").getContext("2d");
      picture.clearRect(0, 0, 96, 96);
      thumbnail(picture, i, 0, 0, 96);
      byId("map-lines").replaceChildren(...describe(i).map((text) => {
        const line = document.createElement("div");
        line.textContent = text;
        return line;
      }));
      if (aloud) status.textContent = describe(i).join(", ");
    }
    draw();
  }

  function nearest(x, y, reach, allowed = () => true) {
    let best = -1, distance = reach;
    for (let i = 0; i < count; i++) {
      const [a, b] = toScreen(now.x[i], now.y[i]), d = Math.hypot(a - x, b - y);
      if (d < distance && (lit() < 0 || groups()[i] === lit()) && allowed(a - x, b - y, i)) [best, distance] = [i, d];
    }
    return best;
  }

  function zoom(factor) {
    const level = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
    const centre = picked >= 0 ? [-now.x[picked], -now.y[picked]] : [view.x, view.y];
    view = level === 1 ? { zoom: 1, x: 0, y: 0 } : { zoom: level, x: centre[0], y: centre[1] };
    canvas.classList.toggle("zoomed", level > 1);
    draw();
  }

  function key(event) {
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const way = ways[event.key], factor = { "+": 1.6, "=": 1.6, "-": 1 / 1.6, 0: 1 / MOST_ZOOM }[event.key];
    if (way) {
      const from = picked >= 0 ? toScreen(now.x[picked], now.y[picked]) : [width / 2, height / 2];
      const ahead = (dx, dy, i) => i !== picked && dx * way[0] + dy * way[1] > 0.5 * Math.hypot(dx, dy);
      const found = nearest(...from, Infinity, picked >= 0 ? ahead : undefined);
      if (found >= 0) pick(found, true);
    } else if (event.key === "Escape") pick(-1);
    else if (factor) zoom(factor);
    else return;
    event.preventDefault();
  }

  let drag = null;
  const local = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.x, event.clientY - box.y]; };
  canvas.addEventListener("pointerdown", (event) => {
    drag = view.zoom > 1 ? local(event) : null;
    pick(nearest(...local(event), REACH));
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = local(event);
    if (!drag) return pick(nearest(x, y, REACH));
    view.x += (x - drag[0]) / view.zoom;
    view.y += (y - drag[1]) / view.zoom;
    drag = [x, y];
    draw();
  });
  addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") pick(-1); });
  canvas.addEventListener("blur", () => pick(-1));
  canvas.addEventListener("keydown", key);
  canvas.addEventListener("dblclick", () => zoom(2));
  byId("map-closer").addEventListener("click", () => zoom(1.6));
  byId("map-farther").addEventListener("click", () => zoom(1 / 1.6));

  legend.forEach((button, index) => {
    button.addEventListener("click", () => {
      pinned = pinned === index ? -1 : index;
      legend.forEach((other, at) => other.setAttribute("aria-pressed", String(at === pinned)));
      draw();
    });
    button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") { hovered = index; draw(); } });
    button.addEventListener("pointerleave", () => { hovered = -1; draw(); });
  });
  byId("map-controls").addEventListener("change", (event) => {
    const moved = ["map-representation", "map-method"].includes(event.target.name);
    pick(-1);
    if (moved) move(true); else draw();
  });

  function resize() {
    width = stage.clientWidth;
    height = stage.clientHeight;
    const density = devicePixelRatio || 1;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    pen.setTransform(density, 0, 0, density, 0, 0);
    const style = getComputedStyle(stage);
    for (const name of ["ink", "paper", "faint", "wrong"]) colours[name] = style.getPropertyValue(`--${name}`).trim();
    move(false);
  }
  new ResizeObserver(resize).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", resize);
  sheet.addEventListener("load", draw);
  byId("map-controls").hidden = byId("map-zoom").hidden = false;
  resize();
})();
