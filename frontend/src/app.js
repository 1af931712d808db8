// What every page has: htmx, live counts, dialogs, copying, and figures loaded where a page has one.
import htmx from "htmx.org";
import { Stream } from "./stream.js";
import "htmx-ext-sse";

window.htmx = htmx;
const root = document.documentElement.dataset.root;
const page = (path) => root + path;

// The extension for server-sent events gets the browser's one stream in place of a connection of its own.
class SharedSource extends EventTarget {
  constructor() {
    super();
    listeners.add(this);
    this.readyState = 1;
  }
  close() {
    listeners.delete(this);
    this.readyState = 2;
  }
}
const listeners = new Set();
htmx.createEventSource = () => new SharedSource();

let shape = document.querySelector("[data-shape]")?.dataset.shape ?? ""; // as the page was written
let online = true;

function hear(message) {
  if (message.type === "state") {
    online = message.online;
    document.body.classList.toggle("offline", !online);
    return;
  }
  const counts = JSON.parse(message.data);
  counts.jobs.forEach(show);
  announce("counted");
  const now = counts.shape;
  if (shape && now !== shape) announce("changed");
  shape = now;
}

function announce(name) {
  listeners.forEach((source) => source.dispatchEvent(new MessageEvent(name, { data: "" })));
}

function show(job) {
  for (const place of document.querySelectorAll(`[data-job="${CSS.escape(job.id)}"]`)) {
    for (const field of place.querySelectorAll("[data-field]")) {
      const text = job.shown[field.dataset.field];
      if (text !== undefined && field.textContent !== text) field.textContent = text;
    }
    const bar = place.querySelector("progress");
    if (bar) {
      bar.value = job.fraction;
      bar.textContent = job.shown.percent;
    }
  }
}

function follow() {
  const url = new URL(page("/ui/events"), location.href).href;
  const visible = () => document.visibilityState === "visible";
  if (window.SharedWorker) {
    const worker = new SharedWorker(document.documentElement.dataset.worker, { name: "opclock-events" });
    worker.port.onmessage = ({ data }) => hear(data);
    worker.port.start();
    const say = (type, value) => worker.port.postMessage({ type, value, url });
    say("hello");
    say("visible", visible());
    document.addEventListener("visibilitychange", () => say("visible", visible()));
    addEventListener("pagehide", () => say("bye"));
    addEventListener("pageshow", (event) => event.persisted && (say("hello"), say("visible", visible())));
    return;
  }
  const stream = new Stream(url, hear);
  stream.wanted(visible());
  document.addEventListener("visibilitychange", () => stream.wanted(visible()));
}

// Dialogs: a button names the one it opens; the rest is the browser's.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens)?.showModal();
  const closer = event.target.closest("[data-closes]");
  if (closer) closer.closest("dialog")?.close();
  const copier = event.target.closest("[data-copies]");
  if (copier) copy(copier);
});

async function copy(button) {
  const text = document.getElementById(button.dataset.copies).textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(document.getElementById(button.dataset.copies));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    button.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

// Times are written in UTC by the service and shown in the reader's zone, with the other in the title.
function localise(within) {
  for (const time of within.querySelectorAll("time[datetime]:not([title])")) {
    const at = new Date(time.dateTime);
    time.title = at.toLocaleString();
  }
}

// A page in the background is never painted, so that a timer serves as well.
function painted() {
  return new Promise((resolve) => {
    requestAnimationFrame(() => setTimeout(resolve));
    setTimeout(resolve, 300);
  });
}

async function figures(within) {
  const wanted = [...within.querySelectorAll("[data-figure]")].filter((place) => !place.dataset.drawn);
  if (!wanted.length) return;
  await painted(); // half a megabyte of script must not hold up the words
  if (!window.opclockCharts) {
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = document.documentElement.dataset.charts;
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });
  }
  for (const place of wanted) {
    place.dataset.drawn = "yes";
    window.opclockCharts.draw(place);
  }
}

htmx.onLoad((element) => {
  localise(element);
  figures(element);
});
document.addEventListener("DOMContentLoaded", () => {
  if (document.querySelector("[data-live]")) follow();
});
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) location.assign(page("/ui/login"));
  else {
    const note = document.getElementById("note");
    note.textContent = event.detail.xhr.responseText.startsWith("<") ? "That did not work." : readable(event.detail.xhr);
    note.hidden = false;
  }
});

function readable(xhr) {
  try {
    const { message, hint } = JSON.parse(xhr.responseText).error;
    return `${message}. ${hint}`;
  } catch {
    return `The service answered ${xhr.status}.`;
  }
}
