// Draws every figure of the page with vega-embed, and again where its width or the reader's colours change.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const figures = [...document.querySelectorAll(".chart")].map(place => [place, JSON.parse(place.textContent)]);

  // As many columns of a legend as fit: Vega lays it out before it knows how wide the figure is.
  const configFor = (place, spec) => {
    const theme = themes[dark.matches ? "dark" : "light"];
    const columns = Math.max(1, Math.floor((place.clientWidth - 50) / spec.usermeta.entry));
    const labelLimit = Math.min(theme.legend.labelLimit, place.clientWidth - 80); // beside the vertical axis
    return { ...theme, legend: { ...theme.legend, columns, labelLimit } };
  };
  const draw = async () => {
    await Promise.all(figures.map(([place, spec]) => vegaEmbed(place, spec, {
      actions: false,
      config: configFor(place, spec),
      renderer: "svg",
      tooltip: { theme: dark.matches ? "dark" : "light" },
    })));
    document.documentElement.dataset.drawn = figures.length;
  };

  let width = innerWidth, waiting;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // a phone that hides its address bar
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(draw, 200);
  });
  dark.addEventListener("change", draw);
  draw();
})();
