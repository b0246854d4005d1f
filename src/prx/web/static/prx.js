// Keeps the page as it is on the server: follows the events, fetches the page again, and replaces the parts that have changed.
"use strict";
const $ = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const served = new Map(all("[data-live]").map((part) => [part.id, part.innerHTML]));
let skew = Date.now() / 1000 - Number(document.body.dataset.now);
let due = 0, busy = false, good = Date.now(), stream = null;

const say = (text) => { $("#said").textContent = text; };

function replace(part, fresh) {
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const box = part.hasAttribute("data-log") ? part.parentElement : null;
  const atEnd = box && box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const marked = all("input:checked", part).map((input) => input.id);
  part.innerHTML = fresh.innerHTML;
  for (const id of marked) { const input = document.getElementById(id); if (input) input.checked = true; }
  if (fresh.dataset.say && fresh.dataset.say !== part.dataset.say) { say(fresh.dataset.say); part.dataset.say = fresh.dataset.say; }
  if (atEnd) box.scrollTop = box.scrollHeight;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function take(page) {
  const parts = all("[data-live]", page), ids = parts.map((part) => part.id).join();
  if (ids !== all("[data-live]").map((part) => part.id).join() || all("button", page).length !== all("button").length) {
    const focused = document.activeElement?.id;
    $("main").innerHTML = $("main", page).innerHTML;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }
  for (const fresh of parts) {
    const part = document.getElementById(fresh.id);
    if (part && served.get(fresh.id) !== fresh.innerHTML) replace(part, fresh);
    served.set(fresh.id, fresh.innerHTML);
  }
}

function lost(why) {
  const line = $("#lost");
  if (why && line.hidden) line.textContent = why + " What you see is from " + new Date(good).toLocaleTimeString() + ". It goes on by itself.";
  line.hidden = !why;
}

async function refresh() {
  due = 0;
  if (!$("[data-live]")) return;
  if (busy || document.hidden) return soon(1000);
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname === "/login") return location.reload();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    skew = Date.now() / 1000 - Number(page.body.dataset.now);
    take(page);
    good = Date.now();
    lost("");
  } catch {
    lost("The dashboard does not answer.");
  } finally { busy = false; }
}
function soon(wait = 400) { if (!due) due = setTimeout(refresh, wait); }

function follow(after) {
  stream = new EventSource("/api/v1/events?after=" + encodeURIComponent(after));
  stream.onopen = () => soon(0);
  stream.onmessage = () => soon();
  stream.onerror = () => {
    if (Date.now() - good > 3000) lost("The connection to the dashboard is lost.");
    if (stream.readyState === EventSource.CLOSED) { stream.close(); setTimeout(() => follow(after), 5000); }
  };
}

function tick() {
  const now = Date.now() / 1000 - skew;
  for (const item of all("[data-until]")) {
    const left = Math.max(0, Math.round(Number(item.dataset.until) - now));
    item.textContent = left ? "in " + (left < 120 ? left + " s" : Math.floor(left / 60) + " min " + (left % 60) + " s") : "now";
  }
}

function sure(question) {
  const dialog = $("#confirm");
  $("#ask").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

function show(path) {
  const link = document.createElement("a");
  link.href = path;
  link.textContent = "Show it";
  $("#said").append(" ", link);
}

async function act(button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  if (button.dataset.ask && !(await sure(button.dataset.ask))) return button.focus();
  button.focus();
  button.setAttribute("aria-disabled", "true");
  say("…");
  try {
    const answer = await fetch(button.dataset.post, { method: "POST", headers: { "X-PRX-Action": "1" } });
    const told = await answer.json();
    say(answer.ok ? button.dataset.done : "That did not work: " + told.error + (told.hint ? " (" + told.hint + ")" : ""));
    if (answer.ok && told.page) show(told.page);
    if (answer.ok && button.dataset.into) found(document.getElementById(button.dataset.into), told.checks || []);
  } catch {
    say("That did not work: the dashboard does not answer.");
  }
  button.removeAttribute("aria-disabled");
  soon(0);
}

function found(list, checks) {
  list.replaceChildren(...checks.map((check) => {
    const line = document.createElement("li");
    line.textContent = check.verdict + ": " + check.check + ": " + check.words + (check.remedy ? " → " + check.remedy : "");
    return line;
  }));
  list.hidden = false;
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    say("Copied " + button.dataset.copy);
  } catch {
    getSelection().selectAllChildren(button.parentElement.querySelector("a"));
    say("Selected: copy it with the keyboard");
  }
}

function point(target) {
  if (target.matches?.(".bar rect")) target.closest(".uptime").querySelector(".says").textContent = target.getAttribute("aria-label");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.copy) copy(button);
  else if (button?.dataset.post) act(button);
});
document.addEventListener("pointerover", (event) => point(event.target));
document.addEventListener("focusin", (event) => point(event.target));
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || !event.target.matches?.(".bar rect")) return;
  const items = all("rect", event.target.parentElement), next = items[items.indexOf(event.target) + step];
  if (!next) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
function filter() {
  const form = $("#filter");
  history.replaceState(null, "", "?" + new URLSearchParams(new FormData(form)));
  soon(150);
}
document.addEventListener("input", (event) => { if (event.target.form?.id === "filter") filter(); });
document.addEventListener("submit", (event) => { if (event.target.id === "filter") { event.preventDefault(); filter(); } });
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(0); });

for (const list of all("[data-log]")) list.parentElement.scrollTop = list.parentElement.scrollHeight;
setInterval(tick, 1000);
setInterval(soon, 15000);
setInterval(() => { if ($("[data-poll]")) soon(); }, 2000);
follow(document.body.dataset.event);
