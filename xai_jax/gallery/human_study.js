const find = (selector) => document.querySelector(selector);
const study = JSON.parse(find("#study").textContent);
const storageKey = `human-study-${study.id}`;
const form = find("#task");
const range = (count) => [...Array(count).keys()];

// Pseudo-random numbers in [0, 1), the same in every browser: Mulberry32 (Tommy Ettinger, public domain).
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), seed | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled(items, random) {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [items[last], items[other]] = [items[other], items[last]];
  }
  return items;
}

// One model, its tasks in random order, and the pictures of each: all determined by the seed.
function plan(seed) {
  const random = generator(seed);
  const models = Math.max(...study.tasks.map((task) => task.model)) + 1;
  const model = Math.floor(random() * models);
  const tasks = range(study.tasks.length).filter((task) => study.tasks[task].model === model);
  return shuffled(tasks, random).map((task) => ({
    task,
    images: shuffled(range(study.tasks[task].images.length), random).slice(0, study.shown),
  }));
}

function begin() {
  const [seed, ...parts] = crypto.getRandomValues(new Uint32Array(3));
  const worker = parts.map((part) => part.toString(16).padStart(8, "0")).join("");
  return { study: study.id, worker, seed, started: false, draft: {}, answers: [] };
}

// Storage may be switched off, full or corrupt: the study then works without it, and the page says so.
function load() {
  try {
    const saved = JSON.parse(localStorage.getItem(storageKey));
    return saved?.study === study.id ? saved : null;
  } catch {
    return null;
  }
}

function save() {
  try {
    localStorage.setItem(storageKey, JSON.stringify(state));
  } catch {
    find("#forgetful").hidden = false;
  }
}

function picture(number, alt) {
  return Object.assign(new Image(), { src: study.pictures[number], alt });
}

function pair(task, image, position) {
  const figure = document.createElement("figure");
  figure.append(picture(task.images[image], `Picture ${position + 1} of ${study.shown}`));
  figure.append(picture(task.maps[image], `Map of picture ${position + 1}`));
  return figure;
}

function showTask() {
  const done = state.answers.length;
  const { task, images } = steps[done];
  form.querySelector("h1").textContent = `Task ${done + 1} of ${steps.length}`;
  Object.assign(find("progress"), { value: done, max: steps.length });
  find("#label").textContent = study.tasks[task].label;
  find("#pairs").replaceChildren(...images.map((image, position) => pair(study.tasks[task], image, position)));
  form.reset();
  for (const [name, value] of Object.entries(state.draft)) form.elements[name].value = value;
}

function showEnd() {
  const { study, worker, seed, answers } = state;
  const text = JSON.stringify({ study, worker, seed, answers }, null, 1);
  find("#text").value = text;
  find("#save").href = `data:application/json,${encodeURIComponent(text)}`;
  find("#save").download = `answers-${worker}.json`;
}

function show() {
  const screen = !state.started ? "welcome" : state.answers.length < steps.length ? "task" : "end";
  if (screen === "task") showTask();
  if (screen === "end") showEnd();
  for (const name of ["welcome", "task", "end"]) find(`#${name}`).hidden = name !== screen;
  const heading = find(`#${screen} h1`);
  document.title = `${heading.textContent} · What does the program rely on?`;
  return heading;
}

// The focus goes to the new heading, so that a screen reader reads it.
function advance(change) {
  Object.assign(state, change);
  save();
  const heading = show();
  scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

function ratings() {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, Number(value)]));
}

let state = load() ?? begin();
let steps = plan(state.seed);
show();
save();

find("#start").addEventListener("click", () => advance({ started: true }));
form.addEventListener("change", () => {
  state.draft = ratings();
  save();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const answer = { ...steps[state.answers.length], ...ratings() };
  advance({ draft: {}, answers: [...state.answers, answer] });
});
find("#again").addEventListener("click", () => {
  if (!confirm("Are your answers saved? Starting again forgets them.")) return;
  state = begin();
  steps = plan(state.seed);
  advance({});
});
