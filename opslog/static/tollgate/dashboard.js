// Draws the charts of the first page from the numbers that stand in it.
(() => {
  const live = document.getElementById("tg-live");
  if (!live) return;
  // The last one is that of all others together.
  const COLOURS = ["#0e7490", "#c2410c", "#4d7c0f", "#7e22ce", "#be185d", "#64748b"];
  const DARK = ["#22d3ee", "#fb923c", "#a3e635", "#c084fc", "#f472b6", "#94a3b8"];
  const OTHERS = "others";
  const painted = new Map(); // chart → name → number of its colour
  const charts = new Map();
  const isDark = () => document.documentElement.classList.contains("dark");

  function said(value, unit) {
    if (value === null) return "–";
    if (unit === "usd") return "$" + value.toFixed(value !== 0 && value < 0.1 ? 4 : 2);
    if (unit === "ms") return value.toLocaleString("en", { maximumFractionDigits: 1 }) + " ms";
    return value.toLocaleString("en");
  }

  // A colour belongs to a name, not to a rank: the first free one from where the name itself points,
  // and it stays the name's while the page is open.
  function colouring(id, names) {
    const before = painted.get(id) ?? new Map();
    const now = new Map(names.filter((name) => before.has(name)).map((name) => [name, before.get(name)]));
    const free = COLOURS.length - 1;
    for (const name of [...names].sort()) {
      if (name === OTHERS) now.set(name, free);
      if (now.has(name)) continue;
      const taken = new Set(now.values());
      let at = [...name].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 65521, 7) % free;
      for (let tried = 0; taken.has(at) && tried < free; tried += 1) at = (at + 1) % free;
      now.set(name, at);
    }
    painted.set(id, now);
    return now;
  }

  function options(unit, ink, line) {
    return {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: {
        legend: { labels: { color: ink, boxWidth: 12, font: { size: 11 } }, position: "bottom" },
        tooltip: { callbacks: { label: (at) => `${at.dataset.label}: ${said(at.raw, unit)}` } },
      },
      scales: {
        x: { stacked: unit !== "ms", ticks: { color: ink, maxRotation: 0, autoSkipPadding: 12 }, grid: { display: false } },
        y: { stacked: unit !== "ms", beginAtZero: true, ticks: { color: ink, callback: (v) => said(v, unit) }, grid: { color: line } },
      },
    };
  }

  function draw() {
    const held = document.getElementById("tg-figures");
    if (!held || !window.Chart) return;
    const figures = JSON.parse(held.textContent);
    const style = getComputedStyle(live);
    const ink = style.color;
    const line = isDark() ? "#ffffff1f" : "#0000001a";
    for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
      const { chart: id, unit } = canvas.dataset;
      const { labels, series } = figures[id];
      const colours = isDark() ? DARK : COLOURS;
      const number = colouring(id, series.map((each) => each.name));
      const datasets = series.map((each) => ({
        label: each.name,
        data: each.values,
        backgroundColor: colours[number.get(each.name)],
        borderColor: colours[number.get(each.name)],
        borderWidth: unit === "ms" ? 2 : 0,
        pointRadius: 1.5,
        spanGaps: true,
      }));
      const shown = charts.get(id);
      if (shown) {
        shown.data = { labels, datasets };
        shown.options = options(unit, ink, line);
        shown.update("none");
      } else {
        charts.set(id, new Chart(canvas, { type: unit === "ms" ? "line" : "bar", data: { labels, datasets }, options: options(unit, ink, line) }));
      }
      canvas.parentElement.hidden = !labels.length || !series.length;
      canvas.setAttribute("aria-label", summary(labels, series, unit));
      tabulate(id, labels, series, unit);
    }
  }

  function summary(labels, series, unit) {
    if (!labels.length || !series.length) return "nothing yet";
    return series.map((each) => `${each.name}: ${said(each.values[each.values.length - 1] ?? null, unit)} at ${labels[labels.length - 1]}`).join("; ");
  }

  function tabulate(id, labels, series, unit) {
    const place = document.querySelector(`[data-table="${id}"]`);
    const empty = !series.length || !labels.length;
    place.classList.toggle("tg-empty", empty);
    if (empty) {
      place.closest("details").open = true;
      place.textContent = place.dataset.empty;
      return;
    }
    const table = document.createElement("table");
    table.className = "tg-table tg-small";
    const head = table.createTHead().insertRow();
    for (const name of ["UTC", ...series.map((each) => each.name)]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      head.append(cell);
    }
    const body = table.createTBody();
    for (let at = labels.length - 1; at >= 0; at -= 1) {
      const row = body.insertRow();
      row.insertCell().textContent = labels[at];
      for (const each of series) row.insertCell().textContent = said(each.values[at], unit);
    }
    place.replaceChildren(table);
  }

  draw();
  live.addEventListener("renewed", draw);
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
})();
