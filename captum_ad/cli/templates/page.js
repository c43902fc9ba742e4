"use strict";
const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
const ready = new Map(); // photograph index -> decoded pixels
let photo, map, shown = 0;

function pixelsOf(uri, width, height) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      canvas.width = width; canvas.height = height;
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      pen.drawImage(image, 0, 0);
      resolve(pen.getImageData(0, 0, width, height).data);
    };
    image.onerror = reject;
    image.src = uri;
  });
}

async function decoded(index) {
  if (ready.has(index)) return ready.get(index);
  const given = PHOTOGRAPHS[index];
  const load = (uri) => pixelsOf(uri, given.width, given.height);
  const maps = await Promise.all(given.maps.map(async (one) => {
    const bytes = await load(one.steps), steps = new Uint16Array(bytes.length / 4);
    for (let i = 0; i < steps.length; i++) steps[i] = bytes[4 * i] + 256 * bytes[4 * i + 1];
    return { ...one, heat: await load(one.heat), steps };
  }));
  const found = { ...given, pixels: await load(given.pixels), maps };
  ready.set(index, found);
  return found;
}

function paint(canvas, color) { // color: (position, bytes) writes one pixel
  canvas.width = photo.width; canvas.height = photo.height;
  const pen = canvas.getContext("2d"), image = pen.createImageData(photo.width, photo.height);
  for (let i = 0; i < photo.width * photo.height; i++) { color(i, image.data); image.data[4 * i + 3] = 255; }
  pen.putImageData(image, 0, 0);
}

function paintHeat(canvas, one, opacity) {
  const warm = [178, 24, 43], cold = [33, 102, 172];
  paint(canvas, (i, bytes) => {
    const value = (one.heat[4 * i] - 128) / 127, alpha = opacity * Math.sqrt(Math.min(1, Math.abs(value)));
    const ink = value > 0 ? warm : cold, rgb = photo.pixels.subarray(4 * i, 4 * i + 3);
    const gray = 64 + (rgb[0] + rgb[1] + rgb[2]) / 4; // light and without colors, which the ink's would mix with
    for (let c = 0; c < 3; c++) bytes[4 * i + c] = (1 - alpha) * (opacity > 0 ? gray : rgb[c]) + alpha * ink[c];
  });
}

function drawMaps() {
  const methods = [...new Set(photo.maps.map((one) => one.method))];
  const maskings = [...new Set(photo.maps.map((one) => one.masking))];
  const table = document.createElement("table"), head = table.insertRow();
  table.style.setProperty("--side", `${Math.max(6.4, Math.min(18, 48 / maskings.length))}rem`);
  for (const words of ["", ...maskings]) head.append(Object.assign(document.createElement("th"), { textContent: words }));
  for (const method of methods) {
    const row = table.insertRow();
    row.append(Object.assign(document.createElement("th"), { textContent: method }));
    for (const masking of maskings) {
      const one = photo.maps.find((other) => other.method === method && other.masking === masking);
      const button = document.createElement("button");
      button.type = "button";
      button.title = `${method}, ${masking}`;
      one.canvas = document.createElement("canvas");
      one.button = button;
      button.append(one.canvas, `±${one.scale}`);
      button.onclick = () => choose(one);
      row.insertCell().append(button);
    }
  }
  at("maps").replaceChildren(table);
  drawHeats();
}

function drawHeats() {
  for (const one of photo.maps) paintHeat(one.canvas, one, at("opacity").value / 100);
}

function choose(one) {
  map = one;
  for (const other of photo.maps) other.button.setAttribute("aria-pressed", other === one);
  at("chosen").textContent = `${one.method}, ${one.masking}`;
  at("words").textContent = one.words;
  at("size").max = one.sizes.length - 1;
  at("sufficient").disabled = !one.measures.found;
  show(one.measures.found && !one.measures.empty ? sufficient(one) : one.sizes.length - 1);
}

const sufficient = (one) => one.kept.findIndex((kept, k) => kept && Math.abs(one.sizes[k] - one.measures.size) < 1e-4);

function show(step) {
  shown = step;
  at("size").value = step;
  at("size").setAttribute("aria-valuetext", percent(map.sizes[step]));
  const kept = map.kept[step] ? "the answer is kept" : "the answer is lost";
  at("caption").textContent =
    `${percent(map.sizes[step])} of the photograph: confidence ${map.confidences[step].toFixed(2)}, ${kept}.` +
    (map.measures.empty ? " The network gives this answer to an image of which nothing is there, so no part explains it."
      : !map.measures.found ? " No part along this ranking suffices."
      : step === sufficient(map) ? " That is the smallest part that suffices." : ` ${percent(map.measures.size)} suffice.`);
  paint(at("alone"), (i, bytes) => {
    for (let c = 0; c < 3; c++) bytes[4 * i + c] = map.steps[i] < step ? photo.pixels[4 * i + c] : 232;
  });
  drawCurve();
  drawPlanted();
}

function drawCurve() {
  const top = Math.max(1, ...map.confidences), bottom = Math.min(0, ...map.confidences);
  const x = (size) => 34 + 256 * size, y = (confidence) => 168 - 150 * (confidence - bottom) / (top - bottom);
  const line = map.sizes.map((size, k) => `${x(size).toFixed(1)},${y(map.confidences[k]).toFixed(1)}`).join(" ");
  const text = (px, py, words, anchor) => `<text x="${px}" y="${py}" text-anchor="${anchor}" fill="#555">${words}</text>`;
  const needed = y(GAMMA * photo.confidence);
  at("curve").innerHTML =
    `<path d="M34 18V168H290" fill="none" stroke="#999"/>` +
    (photo.graded ? `<line x1="34" x2="290" y1="${needed}" y2="${needed}" stroke="#999" stroke-dasharray="4 3"/>` : "") +
    `<polyline points="${line}" fill="none" stroke="#2166ac" stroke-width="2"/>` +
    `<circle cx="${x(map.sizes[shown])}" cy="${y(map.confidences[shown])}" r="5" fill="${map.kept[shown] ? "#1b6e1b" : "#a01818"}"/>` +
    text(30, 172, +bottom.toPrecision(2), "end") + text(30, 22, +top.toPrecision(2), "end") + text(290, 182, "100 %", "end") + text(34, 182, "0", "middle") +
    text(162, 196, "size", "middle") + text(38, 12, photo.graded ? "confidence; dashed: what is asked for" : "value", "start");
}

function drawPlanted() {
  const whole = map.measures.found && shown === sufficient(map);
  const holds = map.keptOn.filter(Boolean).length;
  at("planted-caption").textContent = whole
    ? `The plain network still gives the answer on ${holds} of ${photo.backgrounds.length} solid colors (ρ ${map.measures.rho.toFixed(2)}).`
    : map.measures.found ? "ρ was measured for the smallest part that suffices; at other sizes this is how it looks."
    : "This is how it looks; no part suffices, so that there is no ρ.";
  const part = document.createElement("canvas");
  part.width = photo.width; part.height = photo.height;
  const pen = part.getContext("2d"), image = pen.createImageData(photo.width, photo.height);
  for (let i = 0; i < map.steps.length; i++) {
    if (map.steps[i] >= shown) continue;
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = photo.pixels[4 * i + c];
    image.data[4 * i + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
  at("planted").replaceChildren(...photo.backgrounds.map((color, k) => {
    const cell = document.createElement("div"), canvas = document.createElement("canvas");
    canvas.width = Math.min(160, photo.width); canvas.height = Math.round(canvas.width * photo.height / photo.width);
    const brush = canvas.getContext("2d");
    brush.fillStyle = color;
    brush.fillRect(0, 0, canvas.width, canvas.height);
    brush.drawImage(part, 0, 0, canvas.width, canvas.height);
    cell.append(canvas);
    if (whole) cell.append(Object.assign(document.createElement("span"), {
      className: map.keptOn[k] ? "yes" : "no", textContent: map.keptOn[k] ? "✓ kept" : "✗ lost",
    }));
    return cell;
  }));
}

async function open(index) {
  photo = await decoded(index);
  if (PHOTOGRAPHS.length > 1) at("title").textContent = photo.title;
  drawMaps();
  choose(photo.maps[0]);
  document.body.dataset.ready = index;
}

at("opacity").oninput = drawHeats;
at("size").oninput = () => show(Number(at("size").value));
at("sufficient").onclick = () => show(sufficient(map));
if (at("photograph")) at("photograph").onchange = (event) => open(Number(event.target.value));
open(0);
