const find = (selector) => document.querySelector(selector);
const data = JSON.parse(find("#data").textContent);
const layers = data.layers;
const TILE = 60; // pixels of a place in the list
const SMALL = 56; // and of a picture there
const NINTH = 84; // of one of nine pictures of the unit
const WHOLE = 256; // of one alone, as wide as three and their gaps
const UNIT = /^\d+$/; // what is typed to find a unit; all else is a concept, also behind "near"
let at = 0; // the layer that is shown
let row = 0; // the unit, among those of the layer
let order = []; // the units in the list
let noting = 0; // the timer that writes the unit's address
let wish = 0; // the channel that was chosen last, which other layers show if they can

const element = (tag, properties = {}, children = []) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const single = (kind) => kind === "preimage" || kind === "preferred";
const range = (count) => [...Array(count).keys()];

// Shows one picture of a sheet: its cell, enlarged by a whole number so that no browser blurs it, or made to fit.
function paint(node, layer, kind, unit, column, room) {
  const number = Math.floor(unit / layer.chunk);
  const rows = Math.min(layer.chunk, layer.channels.length - number * layer.chunk);
  const columns = single(kind) ? 1 : layer.labels[0].length;
  const [high, wide] = layer.cells[kind];
  const side = Math.max(high, wide);
  const scale = side <= room ? Math.floor(room / side) : room / side;
  const [height, width] = [high * scale, wide * scale];
  node.classList.toggle("exact", scale >= 1);
  Object.assign(node.style, {
    width: `${width}px`,
    height: `${height}px`,
    backgroundImage: `url("${data.folder}/${encodeURI(layer.sheets[number][kind])}")`,
    backgroundSize: `${columns * width}px ${rows * height}px`,
    backgroundPosition: `${-column * width}px ${-(unit % layer.chunk) * height}px`,
  });
}

const words = (layer, unit) => layer.concepts[unit].map(([number]) => data.concepts[number]).join(", ");

// The list holds the nodes that can be seen, however many units there are.
function drawList() {
  const list = find("#units"), layer = layers[at], kind = find("#kind").value;
  const columns = Math.max(1, Math.floor(list.clientWidth / TILE));
  const margin = Math.floor((list.clientWidth - columns * TILE) / 2);
  find("#room").style.height = `${Math.ceil(order.length / columns) * TILE}px`;
  const first = Math.floor(list.scrollTop / TILE) * columns;
  const last = Math.ceil((list.scrollTop + list.clientHeight) / TILE) * columns;
  const options = order.slice(first, last).map((unit, place) => {
    const picture = element("div", { className: "sprite" });
    paint(picture, layer, kind, unit, 0, SMALL);
    const option = element("div", { className: "option", id: `option-${unit}`, title: title(layer, unit) }, [picture]);
    option.dataset.unit = unit;
    const [line, column] = [Math.floor((first + place) / columns), (first + place) % columns];
    Object.assign(option.style, {
      width: `${TILE}px`, height: `${TILE}px`, top: `${line * TILE}px`, left: `${margin + column * TILE}px`,
    });
    const about = { role: "option", "aria-selected": unit === row, "aria-label": title(layer, unit) };
    about["aria-posinset"] = first + place + 1;
    about["aria-setsize"] = order.length;
    Object.entries(about).forEach(([name, value]) => option.setAttribute(name, value));
    return option;
  });
  find("#room").replaceChildren(...options);
  const shown = find(`#option-${row}`);
  if (shown) list.setAttribute("aria-activedescendant", shown.id);
  else list.removeAttribute("aria-activedescendant");
}

function title(layer, unit) {
  return [`unit ${layer.channels[unit]}`, words(layer, unit)].filter(Boolean).join(": ");
}

function revealInList() {
  const list = find("#units"), place = order.indexOf(row);
  if (place < 0) return;
  const top = Math.floor(place / Math.max(1, Math.floor(list.clientWidth / TILE))) * TILE;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + TILE > list.scrollTop + list.clientHeight) list.scrollTop = top + TILE - list.clientHeight;
}

// The nodes of the unit's pictures are made once for each number of pictures, and painted anew for each unit.
function drawPictures(layer) {
  for (const holder of document.querySelectorAll(".pictures")) {
    const { kind } = holder.dataset, count = single(kind) ? 1 : layer.labels[0].length;
    if (holder.childElementCount !== count) {
      holder.replaceChildren(...range(count).map(() => element("div", { className: "sprite", role: "img" })));
    }
    [...holder.children].forEach((node, column) => {
      paint(node, layer, kind, row, column, single(kind) ? WHOLE : NINTH);
      const shown = single(kind) ? "" : ` ${column + 1}, ${data.concepts[layer.labels[row][column]]}`;
      node.setAttribute("aria-label", `${kind}${shown}`);
    });
  }
  const made = find('[data-kind="preferred"]').firstChild;
  made.replaceChildren(...(layer.box ? [element("div", { className: "box" })] : []));
  if (layer.box) {
    const [top, left, bottom, right] = layer.box.map((share) => `${100 * share}%`);
    Object.assign(made.firstChild.style, { top, left, height: `calc(${bottom} - ${top})`, width: `calc(${right} - ${left})` });
  }
}

const number = (value, digits = 3) => Number(value.toPrecision(digits)).toString();

function drawWords(layer) {
  const labels = layer.labels[row].map((label) => data.concepts[label]);
  const counts = [...new Set(labels)].map((label) => [label, labels.filter((other) => other === label).length]);
  counts.sort((a, b) => b[1] - a[1]);
  const whole = !layer.box;
  find("#name").textContent = `${layer.network} › ${layer.layer} › unit ${layer.channels[row]}`;
  document.title = `Unit ${layer.channels[row]} of ${layer.layer} (${layer.network})`;
  find("#facts").textContent = whole
    ? `Sees the whole image. Strongest answer: ${number(layer.strongest[row])}.`
    : `Sees ${layer.field[0]} × ${layer.field[1]} pixels. Strongest answer: ${number(layer.strongest[row])}.`;
  find("#shown").textContent =
    `The ${whole ? "images" : "patches"} with the strongest answers, at most one from an image. Classes: ` +
    `${counts.map(([label, count]) => `${label} (${count})`).join(", ")}.`;
  find("#kept").textContent =
    "An image found from noise, to which this unit's channel answers as to the first image above. All else is left " +
    `open, so this is what the channel alone still knows. Error ${number(100 * layer.error[row], 2)} %.`;
  find("#made").textContent =
    `What an image generator draws to excite the unit${whole ? "" : " whose field the frame shows"}. ` +
    `It reaches ${number(layer.reached[row], 2)} times the strongest answer to a real image.`;
}

function drawConcepts(layer) {
  const items = layer.concepts[row].map(([concept, area]) => {
    const name = element("button", { type: "button", title: "List the units near this concept" });
    name.append(data.concepts[concept], element("span", { textContent: area.toFixed(2) }));
    name.addEventListener("click", () => search(`near ${data.concepts[concept]}`));
    const bar = element("div");
    bar.style.width = `${Math.max(0, 200 * (area - 0.5))}%`;
    return element("li", {}, [name, element("div", { className: "bar" }, [bar])]);
  });
  find("#near").replaceChildren(...(items.length ? items : [element("li", { textContent: "None above chance." })]));
}

const address = () =>
  `#${[layers[at].network, layers[at].layer, layers[at].channels[row]].map(encodeURIComponent).join("/")}`;

// Browsers refuse more than twenty or so addresses a second, which a key that is held down asks for.
function note() {
  if (noting) return;
  const write = () => location.hash !== address() && history.replaceState(null, "", address());
  write();
  noting = setTimeout(() => {
    noting = 0;
    write();
  }, 100);
}

function draw() {
  const layer = layers[at];
  revealInList();
  drawList();
  drawPictures(layer);
  drawWords(layer);
  drawConcepts(layer);
  find("#copied").textContent = "";
  note();
}

function select(unit) {
  row = unit;
  wish = layers[at].channels[row];
  draw();
}

// The unit of the wished channel, or the one nearest to it.
function closest(layer) {
  const apart = layer.channels.map((channel) => Math.abs(channel - wish));
  return apart.indexOf(Math.min(...apart));
}

function open(layer, channel = null) {
  at = layer;
  if (channel !== null) wish = channel;
  row = closest(layers[at]);
  fillControls();
  filter();
  if (!order.includes(row) && order.length && channel === null) [row] = order;
  draw();
}

function fillControls() {
  const own = layers[at].network, choice = (value, text) => element("option", { value, textContent: text });
  const networks = [...new Set(layers.map((layer) => layer.network))];
  find("#network").replaceChildren(...networks.map((name) => choice(name, name)));
  find("#network").value = own;
  const numbers = range(layers.length).filter((n) => layers[n].network === own);
  find("#layer").replaceChildren(...numbers.map((n) => choice(n, `${layers[n].layer} (${layers[n].channels.length} units)`)));
  find("#layer").value = at;
}

// Which units the list has: all, or those near a concept, the nearest first.
function filter() {
  const layer = layers[at], text = find("#find").value.trim().toLowerCase();
  const silent = layer.count - layer.channels.length;
  order = range(layer.channels.length);
  find("#status").textContent =
    `${order.length} units` + (silent ? `; ${silent} more that no image excites are left out` : "") + ".";
  if (!text || UNIT.test(text)) return;
  const concept = text.replace(/^near\s+/, "");
  const wanted = ([n]) => data.concepts[n].toLowerCase().includes(concept);
  const area = (unit) => Math.max(0, ...layer.concepts[unit].filter(wanted).map(([, value]) => value));
  order = order.filter((unit) => area(unit) > 0).sort((a, b) => area(b) - area(a));
  find("#status").textContent = `${order.length} of ${layer.channels.length} units are near “${concept}”, the nearest first.`;
}

function search(text = find("#find").value) {
  find("#find").value = text;
  filter();
  find("#units").scrollTop = 0;
  if (UNIT.test(text.trim())) {
    const wanted = Number(text), place = layers[at].channels.indexOf(wanted), { count } = layers[at];
    if (place >= 0) return select(place);
    find("#status").textContent =
      wanted < count ? `No image excites unit ${wanted} of this layer.` : `This layer has the units 0 to ${count - 1}.`;
  } else if (order.length && text.trim()) return select(order[0]);
  drawList();
}

function move(by) {
  const place = order.indexOf(row);
  const next = place < 0 ? 0 : Math.min(order.length - 1, Math.max(0, place + by));
  if (order.length) select(order[next]);
}

function climb(by) {
  const next = layers[at + by];
  if (next && next.network === layers[at].network) open(at + by);
}

const MOVES = { ArrowLeft: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => climb(-1), ArrowDown: () => climb(1) };

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea");
  if (typing || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || !MOVES[event.key]) return;
  event.preventDefault();
  MOVES[event.key]();
});

function follow() {
  clearTimeout(noting);
  noting = 0;
  const [network, layer, channel] = location.hash.slice(1).split("/").map(decode);
  const found = layers.findIndex((each) => each.network === network && each.layer === layer);
  const known = found >= 0 && layers[found].channels.includes(Number(channel));
  if (location.hash !== address() || !order.length) {
    if (known) find("#find").value = "";
    open(Math.max(found, 0), known ? Number(channel) : null);
  }
  if (!known && layer) find("#status").textContent = "The address names no unit of this page; this is another one.";
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function copy() {
  try {
    await navigator.clipboard.writeText(location.href);
    find("#copied").textContent = "Copied.";
  } catch {
    find("#copied").textContent = location.href;
  }
}

find("#network").addEventListener("change", (event) => open(layers.findIndex((l) => l.network === event.target.value)));
find("#layer").addEventListener("change", (event) => open(Number(event.target.value)));
find("#kind").addEventListener("change", drawList);
find("#find").addEventListener("input", () => search());
find("#previous").addEventListener("click", () => move(-1));
find("#next").addEventListener("click", () => move(1));
find("#copy").addEventListener("click", copy);
find("#units").addEventListener("scroll", () => requestAnimationFrame(drawList));
find("#units").addEventListener("click", (event) => {
  const option = event.target.closest(".option");
  if (option) select(Number(option.dataset.unit));
});
find("#skip").addEventListener("click", (event) => {
  event.preventDefault();
  find("#unit").focus();
});
addEventListener("hashchange", follow);
addEventListener("resize", drawList);
follow();
