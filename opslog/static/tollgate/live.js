// Renews #tg-live while the page is looked at, and leaves alone what did not change: a link that has
// the focus, a table that was opened and a text that is selected stay as they are.
(() => {
  const live = document.getElementById("tg-live");
  const saying = document.getElementById("tg-live-said");
  if (!live || !saying) return;
  const usual = saying.textContent;
  const clock = () => `${new Date().toISOString().slice(11, 19)} UTC`;
  let last = clock();
  let running = false;

  // Makes `old` what `fresh` is. What has an id is found by it wherever it stands; what is marked
  // data-keep belongs to another script.
  function become(old, fresh) {
    if (old.isEqualNode(fresh) || old.dataset?.keep !== undefined) return;
    if (old.nodeName !== fresh.nodeName || (old.id ?? "") !== (fresh.id ?? "")) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
      return;
    }
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) {
      const opened = name === "open" && old.nodeName === "DETAILS";
      if (!opened && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    becomeInside(old, fresh);
  }

  function becomeInside(old, fresh) {
    const known = new Map([...old.children].filter((each) => each.id).map((each) => [each.id, each]));
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const match = next.id ? known.get(next.id) : at && !at.id && at.nodeName === next.nodeName ? at : null;
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

  function tell(problem) {
    saying.textContent = problem ? `Not renewed since ${last}: ${problem} The figures on this page are old.` : usual;
    saying.classList.toggle("tg-live-failed", Boolean(problem));
  }

  async function renew() {
    if (document.hidden || running) return;
    running = true;
    try {
      const answer = await fetch(live.dataset.url, {
        credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(20000),
      });
      if (answer.type === "opaqueredirect" || answer.status === 403) {
        tell("you are logged out.");
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("tg-live") ?? page.body;
      holdingFocus(() => becomeInside(live, fresh));
      last = clock();
      if (saying.textContent !== usual) tell("");
      live.dispatchEvent(new Event("renewed"));
    } catch {
      tell("the server does not answer.");
    } finally {
      running = false;
    }
  }

  setInterval(renew, Number(live.dataset.seconds) * 1000);
  // Nobody comes back to old figures.
  document.addEventListener("visibilitychange", renew);
})();
