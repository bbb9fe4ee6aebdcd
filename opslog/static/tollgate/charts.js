// Draws every chart with Chart.js: `data-chart` names the numbers of a chart, `data-spark` has those
// of a sparkline. Draws again when the page renews itself or turns dark.
(() => {
  const LIGHT = ["#0e7490", "#c2410c", "#4d7c0f", "#7e22ce", "#be185d", "#64748b"];
  const DARK = ["#22d3ee", "#fb923c", "#a3e635", "#c084fc", "#f472b6", "#94a3b8"];
  const OTHERS = "others"; // has the last color
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const drawn = new Map(); // canvas → what it was drawn from
  const painted = new Map(); // chart → name → number of its color
  let theme;

  function readTheme() {
    const dark = document.documentElement.classList.contains("dark");
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    return {
      dark,
      colors: dark ? DARK : LIGHT,
      line: dark ? "#ffffff1f" : "#0000001a",
      ...Object.fromEntries(["text", "muted", "accent", "full-fill", "near-fill", "info", "bad"].map((name) => [name, color(`--tg-${name}`)])),
    };
  }

  function written(value, unit, short) {
    if (unit === "usd") return "$" + value.toLocaleString("en", short ? { maximumFractionDigits: 4 } : { minimumFractionDigits: 2, maximumFractionDigits: value && value < 0.1 ? 4 : 2 });
    return value.toLocaleString("en", { maximumFractionDigits: 1 });
  }

  function tick(label, days) {
    const day = `${MONTHS[Number(label.slice(5, 7)) - 1]} ${Number(label.slice(8, 10))}`;
    return days || label.endsWith("00:00") ? day : label.slice(11);
  }

  // A color belongs to a name, not to a rank: the first free one from where the name itself points,
  // and it stays the name's while the page is open.
  function numbers(id, names) {
    const before = painted.get(id) ?? new Map();
    const now = new Map(names.filter((name) => before.has(name)).map((name) => [name, before.get(name)]));
    const free = LIGHT.length - 1;
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

  // Changes, as upright lines over the whole height.
  const upright = {
    id: "upright",
    afterDatasetsDraw({ ctx, chartArea: { left, top, bottom, width }, options }) {
      for (const { x, style } of options.tgMarks ?? []) {
        ctx.save();
        ctx.strokeStyle = theme[style === "start" ? "bad" : "near-fill"];
        ctx.lineWidth = 1.5;
        if (style !== "start") ctx.setLineDash([3, 3]);
        ctx.beginPath();
        ctx.moveTo(left + x * width, top);
        ctx.lineTo(left + x * width, bottom);
        ctx.stroke();
        ctx.restore();
      }
    },
  };

  function dataset(each, color, numbersOf) {
    const bars = each.drawn === "bar";
    return {
      label: each.name,
      data: each.values,
      type: bars ? "bar" : "line",
      order: bars ? 1 : 0,
      stack: bars ? "bars" : each.name,
      backgroundColor: bars && numbersOf.series.filter((one) => one.drawn === "bar").length === 1
        ? each.values.map((_, at) => (numbersOf.over[at] ? theme["full-fill"] : color) + (numbersOf.guessed[at] ? "66" : ""))
        : color,
      borderColor: color,
      borderWidth: bars ? 0 : 2,
      borderDash: each.drawn === "step" ? [5, 4] : [],
      stepped: each.drawn === "step" ? "middle" : false,
      pointRadius: 0,
      pointHitRadius: 8,
      borderRadius: bars ? 2 : 0,
      maxBarThickness: 44,
    };
  }

  function limit(line, length) {
    const color = theme[line.style === "asked" ? "near-fill" : "muted"];
    return {
      label: line.label, data: Array(length).fill(line.value), type: "line", order: 0, stack: line.label,
      borderColor: color, backgroundColor: color, borderWidth: 1.5, borderDash: line.style === "asked" ? [6, 4] : [], pointRadius: 0, pointHitRadius: 0,
    };
  }

  // A legend beside a chart leaves room for it.
  function legends(chart) {
    const all = Chart.defaults.plugins.legend.labels.generateLabels(chart);
    return all.map((each) => ({ ...each, text: each.text.length > 18 ? `${each.text.slice(0, 17)}…` : each.text }));
  }

  function configuration(id, data, width) {
    const { unit, labels, days, series, lines, marks } = data;
    const plain = series.every((each) => !each.name);
    const numbered = plain ? null : numbers(id, series.map((each) => each.name));
    const color = (each) => (each.drawn === "step" ? theme.text : series.filter((one) => one.drawn === "bar").length === 1 && each.drawn === "bar" ? accent() : theme.colors[numbered.get(each.name)]);
    const within = (at) => marks.filter((mark) => Math.floor(mark.x * labels.length) === at).map((mark) => mark.text);
    const ticks = { color: theme.muted, font: { size: 12 } };
    return {
      type: "bar",
      data: { labels, datasets: [...series.map((each) => dataset(each, color(each), data)), ...lines.map((line) => limit(line, labels.length))] },
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false },
        tgMarks: marks,
        plugins: {
          legend: { display: !plain, position: width > 420 ? "right" : "bottom", align: "start", labels: { color: theme.text, boxWidth: 12, boxHeight: 12, font: { size: 12 }, generateLabels: legends } },
          tooltip: {
            itemSort: (a, b) => b.raw - a.raw,
            callbacks: {
              title: ([at]) => `${at.label} UTC${data.guessed[at.dataIndex] ? " (forecast)" : ""}`,
              label: (at) => `${at.dataset.label || "total"}: ${written(at.raw, unit)}`,
              footer: ([at]) => within(at.dataIndex),
            },
          },
        },
        scales: {
          x: { stacked: true, grid: { display: false }, border: { color: theme.line }, ticks: { ...ticks, maxRotation: 0, autoSkipPadding: 16, callback: (_, at) => tick(labels[at], days) } },
          y: { stacked: series.some((each) => each.drawn === "bar"), beginAtZero: true, border: { display: false }, grid: { color: theme.line }, ticks: { ...ticks, maxTicksLimit: 5, callback: (value) => written(value, unit, true) } },
        },
      },
      plugins: [upright],
    };
  }

  const accent = () => theme.colors[0];

  function sparkline(values) {
    return {
      type: "bar",
      data: { labels: values.map(() => ""), datasets: [{ data: values, backgroundColor: accent(), categoryPercentage: 1, barPercentage: 0.85, minBarLength: 1 }] },
      options: { animation: false, responsive: false, events: [], plugins: { legend: { display: false }, tooltip: { enabled: false } }, scales: { x: { display: false }, y: { display: false, beginAtZero: true } } },
    };
  }

  function draw() {
    theme = readTheme();
    for (const canvas of [...drawn.keys()]) {
      const shown = Chart.getChart(canvas);
      // (Chart.js erases a chart whose canvas was moved within the page.)
      if (canvas.isConnected && (shown.attached || !shown.options.responsive)) continue;
      shown?.destroy();
      drawn.delete(canvas);
    }
    for (const canvas of document.querySelectorAll("canvas[data-chart], canvas[data-spark]")) {
      const id = canvas.dataset.chart;
      const text = id ? document.getElementById(id).textContent : canvas.dataset.spark;
      const key = `${theme.dark} ${text}`;
      if (drawn.get(canvas) === key) continue;
      const { type, data, options, plugins } = id ? configuration(id, JSON.parse(text), canvas.parentElement.clientWidth) : sparkline(JSON.parse(text));
      const shown = Chart.getChart(canvas);
      if (shown) {
        Object.assign(shown, { data, options });
        shown.update("none");
      } else {
        new Chart(canvas, { type, data, options, plugins });
      }
      drawn.set(canvas, key);
    }
    document.dispatchEvent(new Event("drawn"));
  }

  draw();
  document.addEventListener("renewed", () => setTimeout(draw)); // once Chart.js has seen what moved
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
})();
