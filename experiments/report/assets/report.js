// Draws the charts, and sorts and filters the table of trials. All data is in the page.
"use strict";

for (const element of document.querySelectorAll(".chart")) {
  const figure = JSON.parse(element.dataset.figure);
  const narrow = window.innerWidth < 720;
  if (narrow) {
    figure.layout.margin = { ...figure.layout.margin, l: Math.min(figure.layout.margin.l, 120), r: 4 };
    figure.layout.legend = { ...figure.layout.legend, entrywidth: 0.46, entrywidthmode: "fraction", font: { size: 12 } };
  }
  if (window.matchMedia("(prefers-color-scheme: dark)").matches) {
    figure.layout.font = { ...figure.layout.font, color: "#e4e9f0" };
    for (const name of Object.keys(figure.layout).filter((key) => /^[xy]axis/.test(key))) {
      const axis = figure.layout[name];
      Object.assign(axis, { gridcolor: "#2c3542", linecolor: "#2c3542", tickcolor: "#2c3542" });
      if (axis.title) axis.title.font = { ...axis.title.font, color: "#94a3b5" };
    }
    figure.layout.hoverlabel = { ...figure.layout.hoverlabel, bgcolor: "#171d26", bordercolor: "#2c3542", font: { color: "#e4e9f0" } };
    const ink = (line) => line && line.color === "#1c2733" && (line.color = "#e4e9f0");
    (figure.layout.shapes || []).forEach((shape) => ink(shape.line));
    figure.data.forEach((trace) => ink(trace.error_x));
  }
  Plotly.newPlot(element, figure.data, figure.layout, { responsive: true, displayModeBar: false, scrollZoom: false });
  element.on("plotly_click", (event) => {
    const href = event.points[0].customdata;
    if (href) window.location.href = href;
  });
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
