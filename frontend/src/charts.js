// Heat maps and scatter plots on canvas. Their data comes from the service as columns; what is hovered is told in words beside.
import { HeatmapChart, LineChart, ScatterChart } from "echarts/charts";
import { GridComponent, VisualMapComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

echarts.use([HeatmapChart, LineChart, ScatterChart, GridComponent, VisualMapComponent, CanvasRenderer]);

const dark = matchMedia("(prefers-color-scheme: dark)");
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const scheme = (name) => style(`--${name}`).split(/\s+/);
const SERIOUS_PAUSE_MS = 120;

function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e5)) return value.toExponential(2);
  return value.toPrecision(size >= 100 ? 4 : 3);
}

const base = () => ({
  animation: false,
  textStyle: { fontFamily: "system-ui, sans-serif", color: style("--muted") },
});

const axis = (name, more = {}) => ({
  name,
  nameLocation: "middle",
  axisLine: { lineStyle: { color: style("--line-strong") } },
  axisTick: { show: false },
  axisLabel: { color: style("--muted"), fontSize: 11, hideOverlap: true },
  splitLine: { lineStyle: { color: style("--line") } },
  nameTextStyle: { color: style("--muted"), fontSize: 12 },
  ...more,
});

// data: { rows, columns, cells: [[column, row, value | null, state, key, count]], kind: "value" | "ratio" }
function heat(data, place) {
  const ratio = data.kind === "ratio";
  const shown = data.cells.filter((cell) => cell[2] !== null && cell[3] !== "failed" && (ratio ? cell[2] > 0 : true));
  const scaled = (value) => (ratio ? Math.log2(value) : Math.log10(Math.max(value, data.least)));
  const points = shown.map((cell) => [cell[0], cell[1], scaled(cell[2])]);
  const others = data.cells.filter((cell) => !shown.includes(cell)).map((cell) => [cell[0], cell[1]]);
  const marked = shown.filter((cell) => cell[3] === "significant").map((cell) => [cell[0], cell[1]]);
  const bounds = points.reduce(([low, high], [, , v]) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  // Of ratios nine in ten decide the colours, so that one outlier does not pale all others; what is beyond has the last colour.
  const sizes = points.map(([, , v]) => Math.abs(v)).sort((a, b) => a - b);
  const most = Math.max(sizes[Math.floor(0.9 * (sizes.length - 1))] ?? 0, 0.05);
  if (ratio) for (const point of points) point[2] = Math.min(Math.max(point[2], -most), most);
  const beyond = ratio && sizes[sizes.length - 1] > most ? " and beyond" : "";
  const [low, high] = !points.length ? [0, 1] : ratio ? [-most, most] : bounds[0] === bounds[1] ? [bounds[0] - 1, bounds[1]] : bounds;
  const narrow = place.clientWidth < 560;
  const longest = Math.max(...data.rows.map((row) => row.length), 6);
  const left = narrow ? Math.min(10 + 5.9 * longest, 130) : Math.min(18 + 7.3 * longest, 280);
  const column = Math.max(place.clientWidth - left - 12, 1) / Math.max(data.columns.length, 1); // pixels; a label takes 13 of them
  const unscaled = (value) => (ratio ? `×${(2 ** value).toFixed(2)}` : `${number(10 ** value)} ms`);
  return {
    ...base(),
    grid: { left, right: 12, top: 10, bottom: 116, containLabel: false },
    xAxis: axis(data.columnTitle, {
      type: "category",
      data: data.columns,
      nameGap: 58,
      splitLine: { show: false },
      axisLabel: { color: style("--muted"), fontSize: 11, rotate: 90, interval: Math.ceil(13 / column) - 1 },
    }),
    yAxis: axis("", {
      type: "category",
      data: data.rows,
      inverse: true,
      splitLine: { show: false },
      axisLabel: { color: style("--ink"), fontSize: narrow ? 10 : 12, interval: 0, margin: narrow ? 5 : 8, width: left - 8, overflow: "truncate" },
    }),
    visualMap: {
      min: low,
      max: high,
      calculable: false,
      orient: "horizontal",
      left: narrow ? 8 : left,
      bottom: 2,
      itemWidth: 12,
      itemHeight: narrow ? 130 : 220,
      text: [unscaled(high) + beyond, unscaled(low)],
      textStyle: { color: style("--muted"), fontSize: 11 },
      inRange: { color: scheme(ratio ? "diverging" : "sequential") },
      seriesIndex: 0,
    },
    series: [
      {
        type: "heatmap",
        data: points,
        progressive: 4000,
        itemStyle: { borderColor: style("--panel"), borderWidth: data.columns.length > 80 ? 0 : 1 },
        emphasis: { itemStyle: { borderColor: style("--ink"), borderWidth: 2 } },
      },
      { type: "scatter", symbol: CROSS, symbolSize: 9, data: others, itemStyle: { color: style("--bad") } },
      { type: "scatter", symbol: "circle", symbolSize: 5, silent: true, data: marked, itemStyle: { color: style("--ink") } },
    ],
  };
}
const CROSS = "path://M1,0 L5,4 L9,0 L10,1 L6,5 L10,9 L9,10 L5,6 L1,10 L0,9 L4,5 L0,1 Z";

// data: { x, y: [..], low, high, diagonal: bool, xTitle, yTitle, labels, keys }
function scatter(data, place) {
  const points = data.x.map((x, index) => [x, data.y[index]]).filter(([x, y]) => x !== null && y !== null);
  const bounds = (values) => values.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
  const across = bounds(points.map(([x]) => x));
  const up = bounds(points.map(([, y]) => y));
  const both = [Math.min(across[0], up[0]), Math.max(across[1], up[1])];
  const padded = ([l, h]) => [l - 0.05 * (h - l || 1), h + 0.05 * (h - l || 1)];
  const [xs, ys] = data.diagonal ? [padded(both), padded(both)] : [padded(across), padded(bounds([...up, 0]))];
  const line = data.diagonal ? [[xs[0], xs[0]], [xs[1], xs[1]]] : [[xs[0], 0], [xs[1], 0]];
  const format = { formatter: (value) => number(value) };
  const label = { color: style("--muted"), fontSize: 11, hideOverlap: true, showMinLabel: false, showMaxLabel: false };
  return {
    ...base(),
    grid: { left: 66, right: 16, top: 14, bottom: 50 },
    xAxis: axis(data.xTitle, { type: "value", min: xs[0], max: xs[1], nameGap: 30, axisLabel: { ...label, ...format } }),
    yAxis: axis(data.yTitle, { type: "value", min: ys[0], max: ys[1], nameGap: 50, axisLabel: { ...label, ...format } }),
    series: [
      { type: "line", data: line, silent: true, symbol: "none", lineStyle: { color: style("--muted"), type: "dashed", width: 1 } },
      {
        type: "scatter",
        data: data.x.map((x, index) => [x, data.y[index]]),
        symbolSize: place.clientWidth < 560 ? 9 : 10,
        itemStyle: { color: style("--accent"), opacity: 0.8, borderColor: style("--panel"), borderWidth: 1 },
        emphasis: { itemStyle: { color: style("--ink"), opacity: 1 } },
        large: data.x.length > 5000,
      },
    ],
  };
}

class Figure {
  constructor(place) {
    this.place = place;
    this.canvas = place.querySelector(".canvas");
    this.told = document.getElementById(place.dataset.details);
    this.selected = -1;
    this.load();
    place.addEventListener("change", () => this.load());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.chart && (this.chart.resize(), this.render())).observe(this.canvas);
    dark.addEventListener("change", () => this.render());
  }

  async load() {
    const address = new URL(this.place.dataset.src, location.href);
    for (const choice of this.place.querySelectorAll("select")) address.searchParams.set(choice.name, choice.value);
    const started = performance.now();
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (!answer.ok) {
      this.say(`The figure could not be loaded: status ${answer.status}. Reload the page to try again.`);
      return;
    }
    this.data = await answer.json();
    this.render();
    this.place.dataset.ready = String(Math.round(performance.now() - started));
  }

  render() {
    if (!this.data) return;
    const heatmap = this.place.dataset.figure === "heat";
    const count = heatmap ? this.data.cells.length : this.data.x.length;
    if (!count) {
      this.say("There is nothing to draw.");
      return;
    }
    if (heatmap) {
      this.canvas.style.height = `${126 + 30 * this.data.rows.length}px`;
    }
    if (!this.chart) {
      this.chart = echarts.init(this.canvas, null, { renderer: "canvas" });
      const pointed = (event) => event.seriesType !== "line" && this.point(this.indexOf(event));
      this.chart.on("mouseover", pointed);
      this.chart.on("click", pointed);
    }
    this.chart.resize();
    this.chart.setOption(heatmap ? heat(this.data, this.canvas) : scatter(this.data, this.canvas), true);
  }

  indexOf(event) {
    if (this.place.dataset.figure !== "heat") return event.dataIndex;
    const [column, row] = event.value;
    return this.data.cells.findIndex((cell) => cell[0] === column && cell[1] === row);
  }

  // What is under the pointer or was reached by keys: in words at once, in full once the pointer rests.
  point(index) {
    if (index < 0 || index === this.selected) return;
    this.selected = index;
    const { data } = this;
    const key = data.cells ? data.cells[index][4] : data.keys[index];
    this.say(data.cells ? this.cell(data.cells[index]) : `${data.labels[index]}: ${number(data.y[index])}`);
    clearTimeout(this.timer);
    if (!key || !this.place.dataset.entry) return;
    this.timer = setTimeout(
      () => window.htmx.ajax("GET", this.place.dataset.entry.replace("KEY", encodeURIComponent(key)), { target: this.told, swap: "innerHTML" }),
      SERIOUS_PAUSE_MS,
    );
  }

  cell([column, row, value, state, , count]) {
    const name = `${this.data.rows[row]}, ${this.data.columns[column]}`;
    if (value === null) return `${name}: ${state}`;
    const text = this.data.kind === "ratio" ? `${number(value)} times as long` : `${number(value)} ms`;
    const of = count > 1 ? `, median of ${count} entries` : "";
    return `${name}: ${text}${of}${state && state !== "ok" ? ` (${state})` : ""}`;
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (!move || !this.data) return;
    event.preventDefault();
    const { cells, x } = this.data;
    let next = 0;
    if (!cells) next = Math.min(Math.max(this.selected + move[0] - move[1], 0), x.length - 1);
    else if (this.selected >= 0) {
      const [column, row] = cells[this.selected];
      const ahead = (cell) => [(cell[0] - column) * move[0] + (cell[1] - row) * move[1], Math.abs((cell[0] - column) * move[1]) + Math.abs((cell[1] - row) * move[0])];
      let best = Infinity;
      next = this.selected;
      cells.forEach((cell, index) => {
        const [forward, aside] = ahead(cell);
        if (forward > 0 && forward + 100 * aside < best) [best, next] = [forward + 100 * aside, index];
      });
    }
    this.point(next);
    this.emphasise(next);
  }

  emphasise(index) {
    const heatmap = Boolean(this.data.cells);
    this.chart.dispatchAction({ type: "downplay" });
    if (!heatmap) this.chart.dispatchAction({ type: "highlight", seriesIndex: 1, dataIndex: index });
    else {
      const [column, row] = this.data.cells[index];
      const { data } = this.chart.getOption().series[0];
      const at = data.findIndex((point) => point[0] === column && point[1] === row);
      if (at >= 0) this.chart.dispatchAction({ type: "highlight", seriesIndex: 0, dataIndex: at });
    }
  }

  say(text) {
    if (this.told) this.told.textContent = text;
  }
}

window.opclockCharts = { draw: (place) => (place.figure = new Figure(place)) };
