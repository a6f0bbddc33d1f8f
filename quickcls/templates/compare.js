'use strict';
for (const button of document.querySelectorAll('button[data-copy]')) button.addEventListener('click', async () => {
  const source = document.getElementById(button.dataset.copy), range = document.createRange();
  range.selectNodeContents(source); // selected too, so that a page without a clipboard needs one key only
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  let done = false;
  try { await navigator.clipboard.writeText(source.textContent); done = true; } catch { done = document.execCommand('copy'); }
  button.textContent = done ? 'copied' : 'selected';
  setTimeout(() => { button.textContent = 'copy'; }, 2000);
});

const body = document.querySelector('.scenarios tbody'), heads = [...document.querySelectorAll('.scenarios thead th')];
const value = (row, column) => row.getAttribute('data-' + column.replaceAll('_', '-'));
for (const head of heads) head.querySelector('button')?.addEventListener('click', e => {
  const {column, number} = e.currentTarget.dataset, was = head.getAttribute('aria-sort');
  const up = was === 'none' ? column !== 'accuracy' : was === 'descending'; // the most accurate first, else the least
  const order = number !== undefined ? (a, b) => value(a, column) - value(b, column) : (a, b) => value(a, column).localeCompare(value(b, column), undefined, {numeric: true});
  const rows = [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a));
  body.append(...rows);
  for (const h of heads) if (h.hasAttribute('aria-sort')) h.setAttribute('aria-sort', h === head ? (up ? 'ascending' : 'descending') : 'none');
});
