// A stream of server-sent events that is open only while somebody looks, and goes on where it was.
const PATIENCE_MS = 5000;
const LONGEST_WAIT_MS = 60000;

export class Stream {
  constructor(url, tell) {
    Object.assign(this, { url, tell, source: null, last: null, state: null, id: "", waits: 1000, timer: null, want: false });
  }

  wanted(want) {
    this.want = want;
    clearTimeout(this.idle);
    if (want) this.open();
    else this.idle = setTimeout(() => this.close(), PATIENCE_MS);
  }

  open() {
    if (this.source || !this.want) return;
    clearTimeout(this.timer);
    const address = new URL(this.url);
    if (this.id) address.searchParams.set("last", this.id);
    const source = (this.source = new EventSource(address));
    source.onopen = () => {
      this.waits = 1000;
      this.say({ type: "state", online: true });
    };
    source.addEventListener("counts", (event) => {
      this.id = event.lastEventId;
      this.last = { type: "counts", data: event.data };
      this.tell(this.last);
    });
    source.onerror = () => {
      this.say({ type: "state", online: false });
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      this.close();
      this.timer = setTimeout(() => this.open(), this.waits);
      this.waits = Math.min(this.waits * 2, LONGEST_WAIT_MS);
    };
  }

  say(state) {
    this.state = state;
    this.tell(state);
  }

  close() {
    this.source?.close();
    this.source = null;
  }
}
