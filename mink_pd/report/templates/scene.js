"use strict";
// One frame on a plain canvas: points in a depth buffer, lines over them. Coordinates are metres around the middle of
// the frame, x forward, y left, z up. The camera looks at `camera.at` from `distance` away; turn 0 looks along +x.
(() => {
  const data = JSON.parse(document.getElementById("scene-data").textContent);
  const root = document.getElementById("scene");
  const canvas = root.querySelector("canvas");
  const context = canvas.getContext("2d");
  const cloud = document.createElement("canvas"); // points only, laid over the rings
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const points = new Int16Array(bytes(data.points).buffer);
  const importance = bytes(data.importance);
  const colours = bytes(data.colours);
  const ground = (data.ground ?? -1.7) - data.middle[2];
  const reach = points.reduce((most, value) => Math.max(most, Math.abs(value)), 1) * data.step; // from the middle [m]
  const greys = heightGreys();
  const EDGES = [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]];
  const FIELD = 1.15; // focal length over half the canvas's smaller side
  const NEAR = 0.5;
  const camera = { at: [0, 0, 0], turn: 0, tilt: 0, distance: 1 };
  const state = { panel: data.panels.length - 1, importance: true, selected: true };
  let buffers = null;
  let waiting = false;

  function heightGreys() {
    const result = new Uint8Array(importance.length);
    for (let i = 0; i < result.length; i++) {
      const height = points[3 * i + 2] * data.step - ground;
      result[i] = 80 + 110 * Math.min(1, Math.max(0, height / 3));
    }
    return result;
  }

  function view(name) {
    const wide = (canvas.clientHeight > canvas.clientWidth ? 1.2 : 1) * (reach / 24); // a tall canvas needs more distance
    Object.assign(camera, { at: [name === "above" ? 0 : -1, 0, ground / 2], turn: 0 });
    Object.assign(camera, name === "above" ? { tilt: 1.55, distance: 27 * wide } : { tilt: 0.5, distance: 25 * wide });
    draw();
  }

  function axes() {
    const [c, s, C, S] = [Math.cos(camera.turn), Math.sin(camera.turn), Math.cos(camera.tilt), Math.sin(camera.tilt)];
    const ahead = [C * c, C * s, -S];
    return {
      ahead, right: [s, -c, 0], up: [S * c, S * s, C],
      eye: camera.at.map((value, axis) => value - camera.distance * ahead[axis]),
    };
  }

  function project(p, a) {
    const d = [p[0] - a.eye[0], p[1] - a.eye[1], p[2] - a.eye[2]];
    const along = (axis) => d[0] * axis[0] + d[1] * axis[1] + d[2] * axis[2];
    return [along(a.right), along(a.up), along(a.ahead)];
  }

  function toPixels(q) { // pixel position of a projected point
    const scale = (FIELD * Math.min(canvas.width, canvas.height)) / 2 / q[2];
    return [canvas.width / 2 + q[0] * scale, canvas.height / 2 - q[1] * scale];
  }

  function segment(p, q, a) { // cut at the near plane, so that nothing behind the camera is drawn
    let [from, to] = [project(p, a), project(q, a)];
    if (from[2] < NEAR && to[2] < NEAR) return;
    if (from[2] < NEAR) [from, to] = [to, from];
    if (to[2] < NEAR) {
      const t = (from[2] - NEAR) / (from[2] - to[2]);
      to = to.map((value, axis) => from[axis] + t * (value - from[axis]));
    }
    context.moveTo(...toPixels(from));
    context.lineTo(...toPixels(to));
  }

  function stroke(lines, colour, width, a, dash = []) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.beginPath();
    for (const [p, q] of lines) segment(p, q, a);
    context.stroke();
    context.setLineDash([]);
  }

  function circle(centre, radius, steps, from = 0, to = 2 * Math.PI) {
    const at = (i) => {
      const angle = from + ((to - from) * i) / steps;
      return [centre[0] + radius * Math.cos(angle), centre[1] + radius * Math.sin(angle), centre[2]];
    };
    return Array.from({ length: steps }, (_, i) => [at(i), at(i + 1)]);
  }

  function size() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (buffers && canvas.width === width && canvas.height === height) return ratio;
    canvas.width = cloud.width = Math.max(1, width);
    canvas.height = cloud.height = Math.max(1, height);
    const image = context.createImageData(canvas.width, canvas.height);
    buffers = { image, pixels: new Uint32Array(image.data.buffer), depth: new Float32Array(canvas.width * canvas.height) };
    return ratio;
  }

  function drawPoints(a, ratio) {
    const { image, pixels, depth } = buffers;
    const [width, height, step] = [canvas.width, canvas.height, data.step];
    const scale = (FIELD * Math.min(width, height)) / 2;
    pixels.fill(0);
    depth.fill(Infinity);
    const [ex, ey, ez] = a.eye, [fx, fy, fz] = a.ahead, [rx, ry, rz] = a.right, [ux, uy, uz] = a.up;
    for (let i = 0, j = 0; i < importance.length; i++, j += 3) {
      const x = points[j] * step - ex, y = points[j + 1] * step - ey, z = points[j + 2] * step - ez;
      const far = x * fx + y * fy + z * fz;
      if (far < NEAR) continue;
      const weight = state.importance ? importance[i] : 0;
      const side = Math.max(1, Math.round(ratio * (1.1 + (1.8 * weight) / 255) * Math.min(2, Math.max(0.8, 30 / far))));
      const column = Math.round(width / 2 + ((x * rx + y * ry + z * rz) * scale) / far - side / 2);
      const row = Math.round(height / 2 - ((x * ux + y * uy + z * uz) * scale) / far - side / 2);
      if (column < 0 || row < 0 || column + side > width || row + side > height) continue;
      const grey = greys[i];
      const colour = state.importance
        ? 0xff000000 | (colours[3 * weight + 2] << 16) | (colours[3 * weight + 1] << 8) | colours[3 * weight]
        : 0xff000000 | ((grey + 10) << 16) | (grey << 8) | (grey - 10);
      for (let r = row; r < row + side; r++) {
        for (let c = column, k = r * width + column; c < column + side; c++, k++) {
          if (far < depth[k]) { depth[k] = far; pixels[k] = colour; }
        }
      }
    }
    cloud.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(cloud, 0, 0);
  }

  function drawBoxes(a, ratio) {
    for (const box of data.panels[state.panel].boxes) {
      const colour = `rgb(${data.outcomes[box.outcome].join(" ")})`;
      const quiet = box.outcome === "not judged";
      const lines = EDGES.map(([i, j]) => [box.corners[i], box.corners[j]]);
      const missed = box.outcome === "missed";
      if (!missed) { // an arrow on the roof shows the heading
        const middle = (rows) => [0, 1, 2].map((axis) => rows.reduce((sum, i) => sum + box.corners[i][axis], 0) / rows.length);
        lines.push([middle([4, 5, 6, 7]), middle([4, 7])]);
      }
      stroke(lines, colour, (quiet ? 1 : 2) * ratio, a, missed ? [6 * ratio, 4 * ratio] : []);
      const top = box.corners.slice(4).reduce((sum, p) => sum.map((value, axis) => value + p[axis] / 4), [0, 0, 0.5]);
      const seen = project(top, a);
      if (box.score === undefined || quiet || seen[2] < NEAR) continue;
      const [x, y] = toPixels(seen);
      context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.lineWidth = 3 * ratio;
      context.strokeStyle = "#0e1218";
      context.strokeText(box.score.toFixed(2), x, y);
      context.fillStyle = colour;
      context.fillText(box.score.toFixed(2), x, y);
    }
  }

  function drawRings(a, ratio) {
    const sensor = [-data.middle[0], -data.middle[1], ground];
    const half = data.all_around ? Math.PI : Math.PI / 2;
    for (const radius of [10, 20, 30, 40, 50, 60]) {
      if (radius > data.middle[0] + reach + 2) break;
      stroke(circle(sensor, radius, 64, -half, half), "#2b3542", ratio, a);
      const seen = project([sensor[0] + radius * Math.cos(0.62), sensor[1] - radius * Math.sin(0.62), ground], a);
      if (seen[2] < NEAR) continue;
      context.fillStyle = "#7c8896";
      context.font = `${10 * ratio}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.fillText(`${radius} m`, ...toPixels(seen));
    }
  }

  function paint() {
    waiting = false;
    const ratio = size();
    const a = axes();
    context.fillStyle = "#0e1218";
    context.fillRect(0, 0, canvas.width, canvas.height);
    drawRings(a, ratio);
    drawPoints(a, ratio);
    if (state.selected) {
      const circles = data.selected.flatMap((centre) => circle(centre, 0.3, 10));
      stroke(circles, "rgb(86 180 233)", 1.2 * ratio, a);
    }
    drawBoxes(a, ratio);
  }

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(paint);
  }

  function legend() {
    const panel = data.panels[state.panel];
    const words = Object.entries(data.outcomes).map(([name, colour]) =>
      `<span><i class="${name === "missed" ? "dashed" : ""}" style="border-color: rgb(${colour.join(" ")})"></i>${name}: ${panel.counts[name]}</span>`);
    if (state.selected && data.selected.length) words.push('<span><i class="round" style="border-color: rgb(86 180 233)"></i>selected place</span>');
    root.querySelector(".legend").innerHTML = words.join("");
    root.querySelectorAll("[data-panel]").forEach((button) =>
      button.setAttribute("aria-pressed", String(Number(button.dataset.panel) === state.panel)));
    draw();
  }

  function turn(dx, dy) {
    camera.turn -= dx * 0.006;
    camera.tilt = Math.min(1.55, Math.max(0.02, camera.tilt + dy * 0.006));
    draw();
  }

  function zoom(factor) {
    camera.distance = Math.min(200, Math.max(2, camera.distance * factor));
    draw();
  }

  function move(dx, dy) { // along the ground, by pixels of the page
    const metres = camera.distance / ((FIELD * Math.min(canvas.clientWidth, canvas.clientHeight)) / 2);
    const [c, s] = [Math.cos(camera.turn), Math.sin(camera.turn)];
    camera.at[0] += metres * (dy * c - dx * s);
    camera.at[1] += metres * (dy * s + dx * c);
    draw();
  }

  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    if (other) {
      const gap = (p) => Math.hypot(p[0] - other[1][0], p[1] - other[1][1]);
      zoom(gap(before) / Math.max(1, gap(now)));
      move(dx / 2, dy / 2);
    } else if (event.buttons & 2 || event.shiftKey) move(dx, dy);
    else turn(dx, dy);
    pointers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const actions = { ArrowLeft: () => turn(-20, 0), ArrowRight: () => turn(20, 0), ArrowUp: () => turn(0, -20),
      ArrowDown: () => turn(0, 20), "+": () => zoom(0.85), "=": () => zoom(0.85), "-": () => zoom(1.18) };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  root.querySelectorAll("[data-panel]").forEach((button) => button.addEventListener("click", () => {
    state.panel = Number(button.dataset.panel);
    legend();
  }));
  root.querySelectorAll("[data-layer]").forEach((box) => box.addEventListener("change", () => {
    state[box.dataset.layer] = box.checked;
    legend();
  }));
  root.querySelectorAll("[data-view]").forEach((button) => button.addEventListener("click", () => view(button.dataset.view)));
  new ResizeObserver(draw).observe(canvas);
  addEventListener("beforeprint", paint); // redraw at the size on paper
  legend();
  view("behind");
})();
