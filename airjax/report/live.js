// Asks every few seconds whether the folder has changed, and loads the page again only if it has.
(() => {
  const every = Number(document.documentElement.dataset.every);
  const seen = document.documentElement.dataset.stamp;
  const foldable = () => [...document.querySelectorAll("details")];
  const ask = async () => {
    try {
      const now = await (await fetch("/stamp", { cache: "no-store" })).text();
      if (now !== seen) {
        sessionStorage.setItem("place", scrollY);
        sessionStorage.setItem("opened", JSON.stringify(foldable().map((part) => part.open)));
        location.reload();
        return;
      }
    } catch { /* the server is gone, or restarts: the page stays as it is */ }
    setTimeout(ask, every);
  };
  const opened = JSON.parse(sessionStorage.getItem("opened") ?? "[]");
  foldable().forEach((part, place) => { part.open ||= opened[place] ?? false; });
  scrollTo(0, Number(sessionStorage.getItem("place") ?? 0));
  setTimeout(ask, every);
})();
