// The view of one unit: images cut from sheets, text, and concepts. See explorer.js for the rest.
const find = (selector) => document.querySelector(selector);
const data = JSON.parse(find("#data").textContent);
const layers = data.layers;
const NINTH = 84; // pixels of one of nine images of the unit
const WHOLE = 256; // of a single image, as wide as three and their gaps

const element = (tag, properties = {}, children = []) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const single = (kind) => kind === "preimage" || kind === "preferred";
const range = (count) => [...Array(count).keys()];

// Shows one cell of a sheet, enlarged by a whole factor so that no browser blurs it, or reduced to fit.
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

// The nodes of the unit's pictures are made once for each number of pictures, and repainted for each unit.
function drawPictures(layer, row) {
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
    const [height, width] = [`calc(${bottom} - ${top})`, `calc(${right} - ${left})`];
    Object.assign(made.firstChild.style, { top, left, height, width });
  }
}

const number = (value, digits = 3) => Number(value.toPrecision(digits)).toString();

function drawWords(layer, row) {
  const labels = layer.labels[row].map((label) => data.concepts[label]);
  const counts = [...new Set(labels)].map((label) => [label, labels.filter((other) => other === label).length]);
  counts.sort((a, b) => b[1] - a[1]);
  const whole = !layer.box;
  find("#name").textContent = `${layer.network} › ${layer.layer} › unit ${layer.channels[row]}`;
  document.title = `Unit ${layer.channels[row]} of ${layer.layer} (${layer.network})`;
  find("#facts").textContent = whole
    ? `Sees the whole image. Strongest activation: ${number(layer.strongest[row])}.`
    : `Sees ${layer.field[0]} × ${layer.field[1]} pixels. Strongest activation: ${number(layer.strongest[row])}.`;
  find("#shown").textContent =
    `The ${whole ? "images" : "patches"} with the strongest activations, in descending order, at most one from an image. ` +
    `Classes: ${counts.map(([label, count]) => `${label} (${count})`).join(", ")}.` +
    (whole ? "" : " Padding is white.");
  find("#kept").textContent =
    "An image optimised from noise, on which this unit's channel has the same activations as on the first image above. " +
    `It shows what the channel alone retains. Error ${number(100 * layer.error[row], 2)} %.`;
  find("#made").textContent =
    `Output of an image generator that maximises the unit${whole ? "" : ", whose field the frame shows"}. ` +
    (layer.reached[row] > 0
      ? `It reaches ${number(layer.reached[row], 2)} times the strongest activation on a real image.`
      : "It does not activate the unit.");
}

function drawConcepts(layer, row) {
  const items = layer.concepts[row].map(([concept, area]) => {
    const name = element("button", { type: "button", title: "List the units near this concept" });
    name.append(data.concepts[concept], element("span", { textContent: area.toFixed(2) }));
    name.addEventListener("click", () => search(`near ${data.concepts[concept]}`));
    const bar = element("div");
    bar.style.width = `${Math.max(0, 200 * (area - 0.5))}%`;
    return element("li", {}, [name, element("div", { className: "bar" }, [bar])]);
  });
  find("#near").replaceChildren(...(items.length ? items : [element("li", { textContent: "None above chance level." })]));
}
