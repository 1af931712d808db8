// One stream of events for all tabs of a browser: tabs say whether they are visible, and hear what the service says.
import { Stream } from "./stream.js";

const tabs = new Map();
let stream = null;

const tell = (message) => tabs.forEach((_, port) => port.postMessage(message));

function adjust() {
  if (stream) stream.wanted([...tabs.values()].some(Boolean));
}

self.onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = ({ data }) => {
    if (data.type === "hello") {
      tabs.set(port, true);
      stream ??= new Stream(data.url, tell);
      if (stream.last) port.postMessage(stream.last);
      if (stream.state) port.postMessage(stream.state);
    } else if (data.type === "visible") tabs.set(port, data.value);
    else if (data.type === "bye") tabs.delete(port);
    adjust();
  };
  port.start();
};
