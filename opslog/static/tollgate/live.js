// Renews #tg-live while somebody looks at the page, and leaves alone what did not change: what is
// drawn, opened, typed, selected or has the focus stays as it is.
(() => {
  const live = document.getElementById("tg-live");
  const status = document.getElementById("tg-live-status");
  if (!live || !status) return;
  const usual = status.textContent;
  const clock = () => `${new Date().toISOString().slice(11, 19)} UTC`;
  let last = clock();
  let running = false;

  // Makes `old` what `fresh` is. An element with an id is matched by it, wherever it stands.
  function become(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeName !== fresh.nodeName || (old.id ?? "") !== (fresh.id ?? "")) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
      return;
    }
    // Width, height and style of a canvas are its drawing's: to set one erases it.
    const foreign = (name) => (old.nodeName === "CANVAS" ? !/^(data|aria)-/.test(name) : name === "open" && old.nodeName === "DETAILS");
    for (const { name, value } of fresh.attributes) if (!foreign(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (!foreign(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
    becomeInside(old, fresh);
  }

  // In a list of `data-still` nothing comes, goes or moves while somebody acts on one of its rows.
  const isHeld = (list) => list.dataset?.still !== undefined && list.querySelector("details[open]");

  function becomeInside(old, fresh) {
    const known = new Map([...old.children].filter((each) => each.id).map((each) => [each.id, each]));
    if (isHeld(old)) {
      for (const next of [...fresh.children]) if (known.has(next.id)) become(known.get(next.id), next);
      return;
    }
    const wanted = new Set([...fresh.children].map((each) => each.id));
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const match = next.id ? known.get(next.id) : at && !at.id && at.nodeName === next.nodeName ? at : null;
      // What is gone makes room: an element that is moved loses what is drawn, selected and focused.
      while (match && at !== match && at && !(at.id && wanted.has(at.id))) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      if (!match) {
        old.insertBefore(next, at);
        continue;
      }
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      become(match, next);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  // The focus stays on the link that had it, though its row has moved; with a row that is gone it
  // goes to the figures as a whole, so that the keyboard does not begin at the top again.
  function holdingFocus(change) {
    const held = live.contains(document.activeElement) ? document.activeElement : null;
    const address = held?.getAttribute("href");
    const card = held?.closest("section[id]")?.id;
    change();
    if (!held || (document.activeElement === held && held.getAttribute("href") === address)) return;
    const place = (card && document.getElementById(card)) || live;
    const again = address ? place.querySelector(`[href="${CSS.escape(address)}"]`) : live.contains(held) ? held : null;
    (again ?? live).focus({ preventScroll: true });
  }

  function report(problem) {
    status.textContent = problem ? `Not updated since ${last}: ${problem} The figures on this page are old.` : usual;
    status.classList.toggle("tg-live-failed", Boolean(problem));
  }

  async function renew() {
    if (document.hidden || running) return;
    running = true;
    try {
      const answer = await fetch(live.dataset.url, {
        credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(20000),
      });
      if (answer.type === "opaqueredirect" || answer.status === 403) {
        report("you are logged out.");
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("tg-live") ?? page.body;
      holdingFocus(() => becomeInside(live, fresh));
      last = clock();
      if (status.textContent !== usual) report("");
      live.dispatchEvent(new Event("renewed", { bubbles: true }));
    } catch {
      report("the server does not answer.");
    } finally {
      running = false;
    }
  }

  // An act that was opened beside a row closes by Escape, or by a click elsewhere.
  function closeActs(but) {
    for (const each of live.querySelectorAll("details.tg-act[open]")) if (!each.contains(but)) each.open = false;
  }
  document.addEventListener("click", (event) => closeActs(event.target));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    live.querySelector("details.tg-act[open] summary")?.focus();
    closeActs(null);
  });

  setInterval(renew, Number(live.dataset.seconds) * 1000);
  // Nobody comes back to old figures.
  document.addEventListener("visibilitychange", renew);
})();
