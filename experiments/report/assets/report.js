// Draws the charts, and sorts and filters the table of trials. All data is in the page or in scripts next to it.
"use strict";

const DARK = window.matchMedia("(prefers-color-scheme: dark)").matches;
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.location.reload());
const NARROW = window.innerWidth < 720;
const PALETTE = DARK
  ? { ink: "#e4e9f0", muted: "#94a3b5", grid: "#2c3542", paper: "#171d26", kept: "#3ecf94", baseline: "#7aa5ff", discarded: "#7d8a9b", reverted: "#f2b35e", failed: "#ff8f85", band: "#3ecf9422" }
  : { ink: "#1c2733", muted: "#64748b", grid: "#e5e9ef", paper: "#ffffff", kept: "#0f8a5f", baseline: "#2563eb", discarded: "#9aa5b4", reverted: "#d97706", failed: "#c2413b", band: "#0f8a5f22" };
["baseline", "reverted", "kept", "failed", "discarded"].forEach((name, i) => (PALETTE[`series${i}`] = PALETTE[name]));
PALETTE.series5 = DARK ? "#b794f6" : "#7c3aed";
PALETTE.series6 = DARK ? "#4fd1e8" : "#0891b2";
PALETTE.series7 = DARK ? "#f687b3" : "#be185d";

// Replace names of the palette in every entry that is a color.
function paint(object) {
  for (const [key, value] of Object.entries(object)) {
    if (typeof value === "string" && value[0] === "$" && /color$/.test(key)) object[key] = PALETTE[value.slice(1)];
    else if (value && typeof value === "object" && typeof value[0] !== "number" && typeof value[0] !== "string") paint(value);
  }
}

const hover = document.getElementById("hover");
const texts = hover ? JSON.parse(hover.dataset.texts) : {};
const page = (number) => `trials/${String(number).padStart(4, "0")}.html`;

// Break a long title of an axis: a phone has room for about thirty letters.
const wrapped = (text) => (text || "").replace(/(.{22,30}?) /g, "$1<br>");

// Turn a figure on its side: its x axis runs down the page.
function turn({ data, layout }) {
  for (const trace of data) [trace.x, trace.y] = [trace.y, trace.x];
  for (const note of layout.annotations) Object.assign(note, { bgcolor: "$paper", x: note.y, y: note.x, yshift: -12, xanchor: note.y ? "right" : "left" });
  [layout.xaxis, layout.yaxis] = [layout.yaxis, { ...layout.xaxis, side: "left", range: [...layout.xaxis.range].reverse() }];
  layout.xaxis.range = [-0.04, 1.04];
  Object.assign(layout, { height: 90 + 56 * layout.yaxis.tickvals.length, margin: { l: 110, t: 8 } });
}

function draw(element, figure) {
  if (NARROW && figure.layout.meta === "parallel") turn(figure);
  const { data, layout } = figure;
  const small = { color: PALETTE.muted, size: 12 };
  layout.margin = { l: 56, r: 12, t: 12, b: 44, ...layout.margin };
  if (NARROW) Object.assign(layout.margin, { l: Math.min(layout.margin.l, 120), r: layout.margin.r === 12 ? 4 : layout.margin.r });
  layout.legend = { orientation: "h", x: 0, y: -0.22, ...(NARROW && { entrywidth: 0.46, entrywidthmode: "fraction", font: { size: 12 } }), ...layout.legend };
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 13, color: PALETTE.ink } });
  layout.hoverlabel = { bgcolor: PALETTE.paper, bordercolor: PALETTE.grid, font: { color: PALETTE.ink }, align: "left" };
  for (const name of new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis/.test(key))])) {
    const axis = (layout[name] = { zeroline: false, ticks: "outside", automargin: true, ...layout[name] });
    Object.assign(axis, { gridcolor: PALETTE.grid, linecolor: PALETTE.grid, tickcolor: PALETTE.grid });
    if (axis.title) axis.title = { text: NARROW ? wrapped(axis.title.text) : axis.title.text, font: small, standoff: name[0] === "x" ? 8 : 12 };
  }
  for (const trace of data) if (trace.type === "scatter" && trace.customdata) trace.text = trace.customdata.map((number) => texts[number]);
  paint(figure);
  Plotly.react(element, data, layout, { responsive: true, displayModeBar: false, scrollZoom: false });
}

for (const element of document.querySelectorAll(".chart[data-figure]")) {
  try {
    draw(element, JSON.parse(element.dataset.figure));
  } catch (error) { // one chart less, not a page without a table
    element.textContent = `This chart could not be drawn: ${error.message}`;
    continue;
  }
  element.on("plotly_click", (event) => {
    const number = event.points[0].customdata;
    if (Number.isInteger(number) && texts[number]) window.location.href = page(number);
  });
  const views = JSON.parse(element.dataset.figure).views || [];
  const buttons = views.map(({ label, y }) => {
    const button = document.createElement("button");
    button.textContent = label;
    button.addEventListener("click", () => {
      Plotly.restyle(element, { y });
      for (const each of buttons) each.setAttribute("aria-pressed", each === button);
    });
    return button;
  });
  if (buttons.length) {
    buttons[0].setAttribute("aria-pressed", true);
    const group = document.createElement("p");
    group.className = "views";
    group.append(...buttons);
    element.before(group);
  }
}

// A trial's differences from the incumbent by seed, each with the noise of one pair, and their mean with its error.
const seeds = document.getElementById("seeds");
if (seeds) {
  const { names, differences, sd, mean, error } = JSON.parse(seeds.dataset.seeds);
  const bar = (value, color, thickness) => ({ type: "constant", value, color, thickness });
  const dots = { type: "scatter", mode: "markers" };
  const data = [
    { ...dots, x: differences, y: names, error_x: bar(sd, "$discarded", 1.5), marker: { color: "$baseline", size: 9 }, hovertemplate: "%{y}: %{x:+.4f} bpb<extra></extra>" },
    { ...dots, x: [mean], y: ["mean"], error_x: bar(error, "$ink", 2), marker: { color: "$ink", size: 12, symbol: "diamond" }, hovertemplate: "mean %{x:+.4f} bpb<extra></extra>" },
  ];
  const zero = { type: "line", x0: 0, x1: 0, y0: 0, y1: 1, yref: "paper", line: { color: "$ink", width: 1 } };
  const xaxis = { title: { text: "bpb against the incumbent on the same seed; left is better" } };
  draw(seeds, { data, layout: { height: 130 + 32 * names.length, showlegend: false, margin: { l: 130 }, xaxis, yaxis: { autorange: "reversed" }, shapes: [zero] } });
}

// Loss curves laid over one another. A page opened from disk may not read files, but it may run scripts: each trial's
// curves are one that calls addCurves, loaded when its number is typed.
const overlay = document.getElementById("overlay");
if (overlay) {
  const element = document.getElementById("overlay-chart");
  const difference = document.getElementById("overlay-difference");
  const curves = new Map(); // number of a trial -> [{seed, steps, losses}]
  const name = (number) => String(number).padStart(4, "0");
  const spread = ({ seed, steps, losses }) => ({ seed, losses, steps: Array.isArray(steps) ? steps : losses.map((_, i) => steps.first + i * steps.every) });
  window.addCurves = (number, found) => curves.set(number, found.map(spread));
  const load = (number) =>
    new Promise((done) => {
      if (curves.has(number)) return done();
      const script = document.createElement("script");
      script.src = `${overlay.dataset.folder}${name(number)}.curves.js`;
      script.onload = done;
      script.onerror = () => done(curves.set(number, []));
      document.head.append(script);
    });

  const show = async () => {
    const numbers = [...new Set((overlay.value.match(/\d+/g) || []).map(Number))].slice(0, 8);
    const typed = overlay.value;
    await Promise.all(numbers.map(load));
    if (overlay.value !== typed) return; // another number was typed meanwhile
    const found = numbers.filter((number) => curves.get(number).length);
    const seeds = found.map((number) => curves.get(number).map((curve) => curve.seed));
    const common = seeds.length ? seeds[0].find((seed) => seeds.every((each) => each.includes(seed))) : undefined;
    const chosen = found.map((number) => curves.get(number).find((curve) => curve.seed === common) || curves.get(number)[0]);
    const last = difference.checked && chosen.length > 1 ? chosen.at(-1) : null;
    const reference = last && new Map(last.steps.map((step, i) => [step, last.losses[i]]));
    const data = chosen.map(({ steps, losses }, i) => {
      const shown = steps.map((step, j) => j).filter((j) => !reference || (losses[j] !== null && (reference.get(steps[j]) ?? null) !== null));
      const y = shown.map((j) => (reference ? losses[j] - reference.get(steps[j]) : losses[j]));
      return { type: "scatter", mode: "lines", x: shown.map((j) => steps[j]), y, name: name(found[i]), line: { color: `$series${i}`, width: i ? 1.5 : 2 } };
    });
    const y = reference ? `loss minus that of ${name(found.at(-1))}` : "training loss";
    const layout = { height: 360, showlegend: true, legend: { traceorder: "reversed" }, xaxis: { title: { text: "step" }, tickformat: "d" }, yaxis: { title: { text: y } } };
    draw(element, { data: data.reverse(), layout });
    const missing = numbers.filter((number) => !curves.get(number).length);
    document.getElementById("overlay-problem").textContent = [
      missing.length ? `no loss curve of ${missing.map(name).join(", ")}` : "",
      found.length > 1 ? (common === undefined ? "no seed in common" : `seed ${common}`) : "",
    ].filter(Boolean).join("; ");
  };
  overlay.addEventListener("input", show);
  difference.addEventListener("change", show);
  show();
}

// On a phone a table of class `cards` shows each row as a card, with the column's name before each value.
for (const cards of document.querySelectorAll("table.cards")) {
  const names = [...cards.tHead.rows[0].cells].map((head) => head.textContent.trim());
  for (const row of cards.tBodies[0].rows) [...row.cells].forEach((cell, i) => (cell.dataset.label = names[i]));
}

const table = document.getElementById("trials");
if (table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const number = head.dataset.sort === "number";
      rows.sort((left, right) => {
        const [a, b] = [value(left, column), value(right, column)];
        if (a === "" || b === "") return (a === "") - (b === ""); // empty values sort last in both directions
        const order = number ? Number(a) - Number(b) : a.localeCompare(b);
        return ascending ? order : -order;
      });
      body.append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });

  const search = document.getElementById("search");
  const verdict = document.getElementById("verdict");
  const kind = document.getElementById("class");
  const filter = () => {
    let shown = 0;
    for (const row of rows) {
      const matches =
        row.textContent.toLowerCase().includes(search.value.toLowerCase()) &&
        (!verdict.value || row.dataset.verdict === verdict.value) &&
        (!kind.value || row.dataset.class === kind.value);
      row.hidden = !matches;
      shown += matches;
    }
    document.getElementById("count").textContent = `${shown} of ${rows.length}`;
  };
  for (const name of ["input", "change"]) for (const control of [search, verdict, kind]) control.addEventListener(name, filter);
  filter();
}

// A page that `experiments serve` serves looks every few seconds whether it has changed. What was typed outlives that.
if (["127.0.0.1", "localhost"].includes(window.location.hostname)) {
  const fields = [...document.querySelectorAll("input, select")];
  const key = window.location.pathname;
  const stored = JSON.parse(sessionStorage.getItem(key) || "{}");
  for (const field of fields) {
    if (!(field.id in stored)) continue;
    if (field.type === "checkbox") field.checked = stored[field.id];
    else field.value = stored[field.id];
    field.dispatchEvent(new Event("input"));
    field.dispatchEvent(new Event("change"));
  }
  let seen = null;
  setInterval(async () => {
    const answer = await fetch(window.location.href, { method: "HEAD", cache: "no-store" }).catch(() => null);
    const changed = answer && answer.ok ? answer.headers.get("Last-Modified") : seen;
    if (seen && changed !== seen) {
      const values = fields.map((field) => [field.id, field.type === "checkbox" ? field.checked : field.value]);
      sessionStorage.setItem(key, JSON.stringify(Object.fromEntries(values)));
      window.location.reload();
    }
    seen = changed;
    window.polled = (window.polled || 0) + 1;
  }, 3000);
}
