// The list of units and navigation: keys, addresses, search. explorer_unit.js shows the selected unit.
const TILE = 60; // pixels of a tile in the list
const SMALL = 56; // of the image in it
const UNIT = /^\d+$/; // a search for a unit; all else is a concept, also after "near"
let at = 0; // the layer that is shown
let row = 0; // the unit, among those of the layer
let order = []; // the units in the list
let addressTimer = 0; // writes the unit's address
let target = 0; // the channel that was selected last, which other layers show if they have it

const words = (layer, unit) => layer.concepts[unit].map(([number]) => data.concepts[number]).join(", ");

// The list holds the nodes that can be seen, however many units there are.
function drawList() {
  const list = find("#units"), layer = layers[at], kind = find("#kind").value;
  const columns = Math.max(1, Math.floor(list.clientWidth / TILE));
  const margin = Math.floor((list.clientWidth - columns * TILE) / 2);
  find("#room").style.height = `${Math.ceil(order.length / columns) * TILE}px`;
  const first = Math.floor(list.scrollTop / TILE) * columns;
  const last = Math.ceil((list.scrollTop + list.clientHeight) / TILE) * columns;
  const options = order.slice(first, last).map((unit, position) => {
    const picture = element("div", { className: "sprite" });
    paint(picture, layer, kind, unit, 0, SMALL);
    const option = element("div", { className: "option", id: `option-${unit}`, title: title(layer, unit) }, [picture]);
    option.dataset.unit = unit;
    const [line, column] = [Math.floor((first + position) / columns), (first + position) % columns];
    Object.assign(option.style, {
      width: `${TILE}px`, height: `${TILE}px`, top: `${line * TILE}px`, left: `${margin + column * TILE}px`,
    });
    const about = { role: "option", "aria-selected": unit === row, "aria-label": title(layer, unit) };
    about["aria-posinset"] = first + position + 1;
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
  const list = find("#units"), position = order.indexOf(row);
  if (position < 0) return;
  const top = Math.floor(position / Math.max(1, Math.floor(list.clientWidth / TILE))) * TILE;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + TILE > list.scrollTop + list.clientHeight) list.scrollTop = top + TILE - list.clientHeight;
}

const address = () =>
  `#${[layers[at].network, layers[at].layer, layers[at].channels[row]].map(encodeURIComponent).join("/")}`;

// Key repeat would write more addresses than browsers accept, about twenty a second.
function writeAddress() {
  if (addressTimer) return;
  const write = () => {
    if (location.hash !== address()) history.replaceState(null, "", address());
    return location.hash;
  };
  const written = write();
  addressTimer = setTimeout(() => {
    addressTimer = 0;
    if (location.hash === written) write(); // else another was typed, and `follow` is about to be called
  }, 100);
}

function draw() {
  const layer = layers[at];
  revealInList();
  drawList();
  drawPictures(layer, row);
  drawWords(layer, row);
  drawConcepts(layer, row);
  find("#copied").textContent = "";
  writeAddress();
}

function select(unit) {
  row = unit;
  target = layers[at].channels[row];
  draw();
}

// The unit of the target channel, or of the nearest channel.
function closest(layer) {
  const distances = layer.channels.map((channel) => Math.abs(channel - target));
  return distances.indexOf(Math.min(...distances));
}

function open(layer, channel = null) {
  at = layer;
  if (channel !== null) target = channel;
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
  const text = (n) => `${layers[n].layer} (${layers[n].channels.length} units)`;
  find("#layer").replaceChildren(...numbers.map((n) => choice(n, text(n))));
  find("#layer").value = at;
}

// The listed units: all, or those near a concept, the nearest first.
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
  find("#status").textContent =
    `${order.length} of ${layer.channels.length} units are near “${concept}”, the nearest first.`;
}

function search(text = find("#find").value) {
  find("#find").value = text;
  filter();
  find("#units").scrollTop = 0;
  if (UNIT.test(text.trim())) {
    const wanted = Number(text), position = layers[at].channels.indexOf(wanted), { count } = layers[at];
    if (position >= 0) return select(position);
    find("#status").textContent =
      wanted < count ? `No image excites unit ${wanted} of this layer.` : `This layer has the units 0 to ${count - 1}.`;
  } else if (order.length && text.trim()) return select(order[0]);
  drawList();
}

function move(by) {
  const position = order.indexOf(row);
  const next = position < 0 ? 0 : Math.min(order.length - 1, Math.max(0, position + by));
  if (order.length) select(order[next]);
}

function climb(by) {
  const next = layers[at + by];
  if (next && next.network === layers[at].network) open(at + by);
}

const MOVES = {
  ArrowLeft: () => move(-1),
  ArrowRight: () => move(1),
  ArrowUp: () => climb(-1),
  ArrowDown: () => climb(1),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea");
  if (typing || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || !MOVES[event.key]) return;
  event.preventDefault();
  MOVES[event.key]();
});

function follow() {
  clearTimeout(addressTimer);
  addressTimer = 0;
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
addEventListener("resize", () => {
  revealInList();
  drawList();
});
follow();
