const viewer = document.querySelector("dialog");
for (const button of document.querySelectorAll("button.picture")) {
  button.title = "Enlarge";
  button.addEventListener("click", () => {
    viewer.querySelector("img")?.remove();
    viewer.append(button.querySelector("img").cloneNode());
    viewer.showModal();
    viewer.scrollTo(0, 0);
  });
}
viewer?.addEventListener("click", () => viewer.close());

// Without JavaScript the form stays hidden, and everything is shown. `claims.html?verdict=refuted` sets a field.
const form = document.querySelector("form.filter");
if (form) {
  const items = [...document.querySelectorAll("[data-verdicts]")];
  const texts = items.map((item) => `${item.textContent} ${item.dataset.text ?? ""}`.toLowerCase());
  const { text, paper, verdict } = form.elements;
  const fits = (item, number) =>
    (text.value.toLowerCase().match(/\S+/g) ?? []).every((word) => texts[number].includes(word)) &&
    (!paper.value || item.dataset.paper === paper.value) &&
    (!verdict.value || item.dataset.verdicts.split(" ").includes(verdict.value));
  const filter = () => {
    items.forEach((item, number) => (item.hidden = !fits(item, number)));
    const shown = items.filter((item) => !item.hidden).length;
    form.querySelector("output").textContent = `${shown} of ${items.length} shown`;
  };
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (form.elements[name]) form.elements[name].value = value;
  }
  for (const kind of ["input", "change"]) form.addEventListener(kind, filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  form.hidden = false;
  filter();
}
