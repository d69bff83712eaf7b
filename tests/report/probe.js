// Opens pages = [[name, text, width], ...] in frames, and writes what is wrong with each into the document.
const catcher = `<script>
  window.faults = [];
  addEventListener("error", e => faults.push(e.message ?? "an image"));
  addEventListener("unhandledrejection", e => faults.push(String(e.reason)));
  addEventListener("securitypolicyviolation", e => faults.push("loads " + e.blockedURI));
  for (const kind of ["error", "warn"]) console[kind] = (...said) => faults.push(said.join(" "));
<\/script>`;

function luminance([r, g, b]) {
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

const channels = color => (color.match(/[\d.]+/g) ?? []).map(Number);

function groundOf(element, view) {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, a = 1] = channels(view.getComputedStyle(at).backgroundColor);
    if (a > 0.5) return [r, g, b];
  }
  return [255, 255, 255];
}

function contrastOf(element, view) {
  const style = view.getComputedStyle(element);
  const ink = channels(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
  const [a, b] = [luminance(ink), luminance(groundOf(element, view))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}

function inspect(frame, width) {
  const view = frame.contentWindow, page = frame.contentDocument, root = page.documentElement;
  const holders = [...page.querySelectorAll("body *")].filter(one =>
    !["SCRIPT", "STYLE", "NOSCRIPT"].includes(one.tagName)
    && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())
    && one.getClientRects().length);
  // Letters on the colours of a matrix are tested by numbers.
  const plain = holders.filter(one => !one.closest(".mark-text"));
  const contrast = plain.map(one => [Math.round(10 * contrastOf(one, view)) / 10, one.textContent.slice(0, 40)]);
  const boxed = [...page.querySelectorAll(".chart")].flatMap(chart => {
    const box = chart.getBoundingClientRect();
    return [...chart.querySelectorAll("svg text")].map(one => [one.getBoundingClientRect(), box, one.textContent]);
  });
  return {
    faults: view.faults,
    overflow: Math.max(0, root.scrollWidth - width),
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
    charts: page.querySelectorAll(".chart").length,
    drawn: page.querySelectorAll(".chart svg").length,
    texts: holders.length,
    contrast: contrast.filter(([ratio]) => ratio < 4.5).sort((a, b) => a[0] - b[0]),
    // Letters of a figure that are cut off at its sides.
    outside: boxed.filter(([one, box]) => one.left < box.left - 1 || one.right > box.right + 1
      || one.top < box.top - 1 || one.bottom > box.bottom + 1).map(([, , text]) => text),
  };
}

// What is shown while a pointer is over the last dot of the page's figures.
async function hover(frame) {
  const page = frame.contentDocument, marks = page.querySelectorAll(".chart svg .mark-symbol.role-mark path");
  const mark = [...marks].at(-1);
  if (!mark) return null;
  const box = mark.getBoundingClientRect();
  const at = { bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
  for (const kind of ["pointermove", "mousemove"]) mark.dispatchEvent(new frame.contentWindow.PointerEvent(kind, at));
  await new Promise(done => setTimeout(done, 100));
  return page.querySelector("#vg-tooltip-element.visible")?.textContent ?? null;
}

async function settled(frame) {
  for (let turn = 0; turn < 200; turn++) {
    const page = frame.contentDocument;
    if (!page.querySelector(".chart") || page.documentElement.dataset.drawn) return;
    await new Promise(done => setTimeout(done, 50));
  }
}

(async () => {
  const found = {};
  for (const [name, text, width] of pages) {
    const frame = document.createElement("iframe");
    frame.style = `width: ${width}px; height: 900px; border: 0`;
    const loaded = new Promise(done => { frame.onload = done; });
    const [, head, rest] = text.match(/^([^]*?<(?:head|html)[^>]*>)([^]*)$/);
    frame.srcdoc = head + catcher + rest;
    document.body.append(frame);
    await loaded;
    await settled(frame);
    found[name] = { ...inspect(frame, width), hover: await hover(frame) };
    frame.remove();
  }
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.replaceChildren(out);
})();
