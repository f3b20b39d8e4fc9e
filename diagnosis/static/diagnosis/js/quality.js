// Charts of the quality page, by uPlot: a line a series with its interval as bars, the range of held-out images, a limit.
// What they show stands in the table below each, so they are hidden from screen readers.

const plots = [...document.querySelectorAll("[data-chart]")];
const HEIGHT = 200;
const NARROWEST = 120;
// English pages write days as 3 Nov.
const LANGUAGE = document.documentElement.lang === "en" ? "en-GB" : document.documentElement.lang;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const seconds = (day) => new Date(`${day}T00:00:00`).getTime() / 1000;

/** How the series are told apart: by dashes too, never by colour alone. */
const strokes = () => [
  { stroke: colour("accent"), width: 2, dash: [] },
  { stroke: colour("ink-2"), width: 2, dash: [6, 4] },
];

/** Draws what lies behind the lines: held-out images as a band, and the intervals. */
function behind(data) {
  return (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    if (data.expected) {
      const [low, high] = data.expected.map((value) => u.valToPos(value, "y", true));
      ctx.fillStyle = colour("surface-2");
      ctx.fillRect(bbox.left, high, bbox.width, Math.max(2, low - high));
      ctx.strokeStyle = colour("edge");
      ctx.lineWidth = devicePixelRatio;
      for (const y of [low, high]) line(ctx, bbox.left, y, bbox.left + bbox.width, y);
    }
    if (data.limit !== null) {
      const y = u.valToPos(data.limit, "y", true);
      ctx.strokeStyle = colour("caution");
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
      line(ctx, bbox.left, y, bbox.left + bbox.width, y);
      ctx.setLineDash([]);
    }
    data.series.forEach((one, place) => bars(u, one, place - (data.series.length - 1) / 2));
    ctx.restore();
  };
}

function line(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

/** The interval of each point, those of two series side by side. */
function bars(u, one, aside) {
  const { ctx } = u;
  ctx.strokeStyle = colour("ink-3");
  ctx.lineWidth = devicePixelRatio;
  one.low.forEach((low, place) => {
    if (low === null) return;
    const x = u.valToPos(u.data[0][place], "x", true) + 4 * aside * devicePixelRatio;
    const [bottom, top] = [low, one.high[place]].map((value) => u.valToPos(value, "y", true));
    const cap = 3 * devicePixelRatio;
    line(ctx, x, bottom, x, top);
    for (const y of [bottom, top]) line(ctx, x - cap, y, x + cap, y);
  });
}

/** The range of the axis: all that is drawn, with a little air. */
function range(data) {
  const values = data.series.flatMap((one) => [...one.values, ...one.low, ...one.high]);
  const all = [...values, ...(data.expected ?? []), data.limit].filter((value) => value !== null);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const air = 0.08 * (most - least) || 1;
  const top = most + air;
  return [data.fromZero ? 0 : Math.max(0, least - air), data.top === null ? top : Math.min(top, data.top * 1.02)];
}

function draw(UPlot, holder) {
  const data = JSON.parse(holder.dataset.chart);
  const axis = {
    stroke: colour("ink-2"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: colour("line"), width: 1 },
    ticks: { stroke: colour("line"), width: 1 },
  };
  const styles = strokes();
  const day = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short" });
  const days = data.days.map(seconds);
  const air = (days.at(-1) - days[0]) / days.length / 2; // so that no interval is cut at an edge
  const options = {
    width: Math.max(NARROWEST, holder.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: true, range: () => [days[0] - air, days.at(-1) + air] }, y: { range: () => range(data) } },
    axes: [
      { ...axis, space: 70, values: (_, ticks) => ticks.map((tick) => day.format(tick * 1000)) },
      { ...axis, size: 48 },
    ],
    series: [
      {},
      ...data.series.map((one, place) => ({
        ...styles[place % styles.length],
        label: one.name,
        points: { show: true, size: 6, fill: styles[place % styles.length].stroke },
      })),
    ],
    hooks: { drawAxes: [behind(data)] },
  };
  holder.plot?.destroy();
  holder.plot = new UPlot(options, [days, ...data.series.map((one) => one.values)], holder);
}

if (plots.length) {
  const { default: UPlot } = await import(document.getElementById("charts").dataset.uplot);
  const widths = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const width = Math.max(NARROWEST, contentRect.width);
      if (target.plot && target.plot.width !== width) target.plot.setSize({ width, height: HEIGHT });
    }
  });
  for (const holder of plots) {
    draw(UPlot, holder);
    widths.observe(holder);
  }
  // Colours are drawn into the picture, so another scheme needs another picture.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const holder of plots) draw(UPlot, holder);
  });
}
