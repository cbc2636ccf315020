// Drawing that goes on when its page is closed: begun, found again, followed, stopped.

import { get, post, stream } from "./api.js";

/**
 * The drawing of a page. `on.begun(asked)` is told what was asked for, `on.part(part, asked)` each part,
 * `on.change(running)` when it begins and when it ends.
 */
export class Working {
  constructor(run, page, on) {
    Object.assign(this, { run, page, on, own: null });
  }

  /** Begins a work, and ends the one before it; true where it was followed to its end. */
  begin(path, asked) {
    this.stop();
    return this.watch(path, { body: { ...asked, page: this.page } });
  }

  /** The last work of the page, under way or done, whichever tab began it; null where there is none. */
  async last() {
    return (await get("work/last", { run: this.run, page: this.page })).work;
  }

  /** Follows a work from its first part. */
  follow(work) {
    return this.watch("work/follow", { params: { id: work.id } });
  }

  async watch(path, how) {
    const own = (this.own = { id: "", ended: false, leaving: new AbortController() });
    let asked;
    this.on.change(true);
    try {
      await stream(path, how, (part) => {
        if (part.work) {
          own.id = part.work.id;
          asked = part.work.asked;
          if (own.ended) this.end(own);
          else this.on.begun(asked);
        } else if (own === this.own) this.on.part(part, asked);
      }, own.leaving.signal);
      return own === this.own;
    } finally {
      if (own === this.own) {
        this.own = null;
        this.on.change(false);
      }
    }
  }

  end(own) {
    post("work/stop", { id: own.id }).catch(() => {}); // it may be over by now
  }

  /** Ends the work. */
  stop() {
    const { own } = this;
    if (!own) return;
    own.ended = true;
    if (own.id) this.end(own);
    this.own = null;
    this.on.change(false);
  }

  /** Leaves the work to itself: it goes on. */
  leave() {
    this.own?.leaving.abort();
    this.own = null;
  }
}
