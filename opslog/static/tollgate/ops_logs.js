// The event history: follows what is new, and looks through what has no index. Without it every
// link of the page still works. What is inserted was escaped by the server's template.
(() => {
  const table = document.getElementById("log-rows");
  const filters = document.getElementById("log-filters");
  // Empty filters stay out of the address.
  filters?.addEventListener("submit", () => {
    for (const field of filters.elements) if (field.name && !field.value) field.disabled = true;
  });
  addEventListener("pageshow", () => {
    for (const field of filters?.elements ?? []) field.disabled = false;
  });
  if (!table) return;
  const body = table.tBodies[0];

  async function read(address, query) {
    const answer = await fetch(`${address}?${query}`, { credentials: "same-origin" });
    if (answer.redirected || !answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(`<table>${await answer.text()}</table>`, "text/html");
    return page.querySelector("tbody");
  }
  const isShown = (row) => body.querySelector(`[data-event="${CSS.escape(row.dataset.event)}"]`);
  const counted = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

  // Live: the newest rows come again and again, those of the last minute included, because an
  // event is seen when its transaction commits. Each is shown once, in its place.
  const tail = document.getElementById("log-tail");
  if (tail) {
    const MOST = 500; // rows kept while following
    const [button, status] = [tail.querySelector("button"), tail.querySelector("[role=status]")];
    let timer = 0, following = false, fresh = 0, after = tail.dataset.after;
    const place = (key) => { const [at, id] = key.split("/"); return [at, Number(id)]; };
    const isLater = (a, b) => {
      const [[at, id], [when, number]] = [place(a), place(b)];
      return at === when ? id > number : at > when;
    };
    async function look() {
      try {
        const query = tail.dataset.query + (after ? `&after=${encodeURIComponent(after)}` : "");
        const came = await read(tail.dataset.address, query);
        let added = 0;
        for (const row of [...came.rows].reverse()) {
          if (isShown(row)) continue;
          const next = [...body.rows].find((each) => isLater(row.dataset.key, each.dataset.key));
          row.classList.add("tg-log-new");
          body.insertBefore(document.importNode(row, true), next ?? null);
          if (!after || isLater(row.dataset.key, after)) after = row.dataset.key;
          added += 1;
        }
        while (body.rows.length > MOST) body.lastElementChild.remove();
        fresh += added;
        if (added) {
          document.getElementById("log-none").hidden = true;
          const left = came.dataset.more ? "; there were more: some may be left out, reload to see all" : "";
          status.textContent = `${counted(fresh, "new event")} since you began to follow${left}`;
        }
      } catch (error) {
        stop(error.message === "0" || error.message.startsWith("3")
          ? "You are logged out: log in again." : "Stopped: the server does not answer.");
        return;
      }
      if (following) timer = setTimeout(look, Number(tail.dataset.seconds) * 1000);
    }
    function stop(text) {
      following = false;
      clearTimeout(timer);
      button.textContent = "Follow live";
      button.setAttribute("aria-pressed", "false");
      status.textContent = text;
    }
    function go() {
      following = true;
      button.textContent = "Pause";
      button.setAttribute("aria-pressed", "true");
      status.textContent = "Following; new events appear at the top.";
      look();
    }
    button.addEventListener("click", () => (following ? stop("Paused.") : go()));
    document.addEventListener("visibilitychange", () => {
      if (!following) return;
      clearTimeout(timer);
      if (!document.hidden) look();
    });
    tail.hidden = false;
  }

  // Keep looking: one short request after the other, until a page is full, the log ends, or enough.
  const more = document.getElementById("log-more");
  const keep = more?.querySelector("button");
  if (keep) {
    const [link, status] = [more.querySelector("a[rel=next]"), more.querySelector("[role=status]")];
    let looking = false, looked = Number(more.dataset.looked), query = body.dataset.more;
    keep.hidden = false;
    keep.addEventListener("click", async () => {
      looking = !looking;
      keep.textContent = looking ? "Stop looking" : "Keep looking until found";
      let found = 0;
      while (looking && query) {
        try {
          const came = await read(more.dataset.address, query);
          looked += Number(came.dataset.looked);
          for (const row of came.rows) body.append(document.importNode(row, true));
          found += came.rows.length;
          query = came.dataset.more;
          if (link && query) link.href = `${location.pathname}?${query}`;
          status.textContent = `${counted(found, "event")} found, ${counted(looked, "event")} looked at`
            + (query ? `, back to ${came.dataset.backTo}` : "; that is all there are");
          if (found >= 50) break;
        } catch {
          status.textContent = "Stopped: the server does not answer.";
          break;
        }
      }
      looking = false;
      keep.textContent = "Keep looking until found";
      document.getElementById("log-none").hidden = Boolean(query) || body.rows.length > 0;
      if (!query) { keep.hidden = true; if (link) link.hidden = true; }
    });
  }
})();
