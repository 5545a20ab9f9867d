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
viewer.addEventListener("click", () => viewer.close());
