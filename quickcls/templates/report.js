'use strict';
// Names come from users: they are set as text, never as HTML.
const read = id => JSON.parse(document.getElementById(id).textContent);
const data = read('cells'), thumbs = read('thumbs');
const percent = v => (100*v).toFixed(1) + '%';

function element(name, kind, text) {
  const e = document.createElement(name);
  if (kind) e.className = kind;
  if (text !== undefined) e.textContent = text;
  return e;
}

function fill(image) { image.src = thumbs[image.dataset.thumb]; }

function figure([name, actual, predicted, pActual, pPredicted, key]) {
  const f = element('figure'), caption = element('figcaption');
  if (thumbs[key]) {
    const image = element('img', 'thumb');
    image.dataset.thumb = key; image.alt = name; fill(image); f.append(image);
  } else f.append(element('div', 'thumb', 'image not found'));
  caption.append(element('bdi', '', name), element('br'), `${data.classes[predicted]} ${percent(pPredicted)}`);
  if (actual !== predicted) caption.append(element('br'), `${data.classes[actual]} ${percent(pActual)}`);
  f.append(caption);
  return f;
}

const panel = document.getElementById('panel'), title = document.getElementById('panel-title');
const images = document.getElementById('panel-images'), names = document.getElementById('panel-names');
let opened = null;

function close() {
  panel.hidden = true;
  if (opened) { opened.setAttribute('aria-expanded', 'false'); opened.focus({preventScroll: true}); opened = null; }
}

function open(button) {
  if (opened === button) return close();
  if (opened) opened.setAttribute('aria-expanded', 'false');
  opened = button;
  button.setAttribute('aria-expanded', 'true');
  title.textContent = button.getAttribute('aria-label');
  const rows = data.cells[button.dataset.cell] || [], shown = rows.filter(r => r[5] in thumbs), listed = rows.filter(r => !(r[5] in thumbs));
  images.replaceChildren(...shown.map(figure));
  const more = button.dataset.n - rows.length;
  const parts = [];
  if (listed.length) parts.push((shown.length ? 'Not shown: ' : '') + listed.map(r => `${r[0]} (${data.classes[r[2]]} ${percent(r[4])})`).join(', '));
  if (more > 0) parts.push(`${more} more are listed in predictions.csv.`);
  names.textContent = parts.join(' … ');
  panel.hidden = false;
  panel.focus({preventScroll: true});
  panel.scrollIntoView({block: 'nearest'});
}

for (const image of document.querySelectorAll('img[data-thumb]')) fill(image);
const cells = [...document.querySelectorAll('button[data-cell]')];
for (const b of cells) { b.dataset.count = b.textContent; b.addEventListener('click', () => open(b)); }
document.getElementById('panel-close').addEventListener('click', close);
document.addEventListener('keydown', e => { if (e.key === 'Escape' && opened) close(); });

const switches = [...document.querySelectorAll('button[data-show]')];
for (const s of switches) s.addEventListener('click', () => {
  for (const other of switches) other.setAttribute('aria-pressed', String(other === s));
  for (const b of cells) b.textContent = b.dataset[s.dataset.show];
});

// Sections fold; a link to one, and printing, open it.
const parts = [...document.querySelectorAll('details.part')], menu = document.querySelector('.menu');

function reveal(hash) {
  const part = parts.find(p => '#' + p.id === hash);
  if (!part) return;
  part.open = true;
  part.scrollIntoView();
}

for (const a of document.querySelectorAll('a[href^="#"]')) a.addEventListener('click', () => { if (menu) menu.open = false; reveal(a.hash); });
addEventListener('hashchange', () => reveal(location.hash));
reveal(location.hash);

let folded = [];
addEventListener('beforeprint', () => { folded = parts.filter(p => !p.open); for (const p of folded) p.open = true; });
addEventListener('afterprint', () => { for (const p of folded) p.open = false; });

const alls = [...document.querySelectorAll('[data-all]')];
function nameAll() { for (const b of alls) b.textContent = parts.every(p => p.open) ? 'Fold all sections' : 'Open all sections'; }
for (const b of alls) {
  b.hidden = false;
  b.addEventListener('click', () => { const open = !parts.every(p => p.open); for (const p of parts) p.open = open; });
}
for (const p of parts) p.addEventListener('toggle', nameAll);
nameAll();

// What is wider than the page scrolls: a shadow at the edge shows where more is, and the keyboard reaches it.
function edges(box) {
  const frame = element('div', 'edge'), hint = element('p', 'hint', 'Scroll sideways to see all of it.');
  box.before(frame);
  frame.append(box);
  frame.after(hint);
  const update = () => {
    const room = box.scrollWidth - box.clientWidth, wide = room > 2;
    frame.classList.toggle('before', wide && box.scrollLeft > 2);
    frame.classList.toggle('after', wide && box.scrollLeft < room - 2);
    hint.hidden = !wide;
    if (wide || box.scrollHeight > box.clientHeight + 2) box.tabIndex = 0; else box.removeAttribute('tabindex');
  };
  box.addEventListener('scroll', update, {passive: true});
  new ResizeObserver(update).observe(box);
  update();
}
for (const box of document.querySelectorAll('.matrix, .wide, figure.chart')) edges(box);

// Inside another page: report the height, so that there is only one scroll bar.
if (parent !== window) {
  document.documentElement.classList.add('framed');
  new ResizeObserver(() => parent.postMessage({reportHeight: document.documentElement.offsetHeight}, '*')).observe(document.documentElement);
}
