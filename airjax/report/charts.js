// Draws every figure of the page with vega-embed, and again where the reader's colours change.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const figures = [...document.querySelectorAll(".chart")].map(place => [place, JSON.parse(place.textContent)]);
  const draw = () => Promise.all(figures.map(([place, spec]) => vegaEmbed(place, spec, {
    actions: false,
    config: themes[dark.matches ? "dark" : "light"],
    renderer: "svg",
    tooltip: { theme: dark.matches ? "dark" : "light" },
  })));
  const drawn = () => draw().then(() => { document.documentElement.dataset.drawn = figures.length; });
  dark.addEventListener("change", drawn);
  drawn();
})();
