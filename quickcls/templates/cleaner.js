'use strict'
const $ = s => document.querySelector(s), setup = JSON.parse($('#setup').textContent), {texts, lang, word, folder} = setup
const t = (key, fields = {}) => texts['cleaner.' + key].replace(/\{(\w+)\}/g, (_, k) => fields[k])
const number = new Intl.NumberFormat(lang), share = new Intl.NumberFormat(lang, {style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1})
const whole = new Intl.NumberFormat(lang, {style: 'percent', maximumFractionDigits: 0})
const some = (key, n) => t(n === 1 ? key + '_1' : key + '_n', {n: number.format(n)})
const made = (tag, className = '', textContent = '') => Object.assign(document.createElement(tag), {className, textContent})
for (const e of document.querySelectorAll('[data-t]')) e.textContent = texts[e.dataset.t]

const scroll = $('.qc-scroll'), grid = $('.qc-grid'), tiles = new Map()
let state = null, images = [], choices = new Map(), at = 0, from = 0, cols = 1, wide = 0, high = 0

// asking

let turn = Promise.resolve() // one request after the other: choices keep their order
function ask(name, data = {}) {
  return turn = turn.catch(() => {}).then(async () => {
    let r
    try { r = await fetch('do/' + name, {method: 'POST', headers: {'X-Quickcls': word, 'Content-Type': 'application/json'}, body: JSON.stringify(data)}) }
    catch { throw new Error(t('connection_lost')) }
    if (!r.ok) throw new Error(await r.text())
    const said = await r.json()
    if (said.error) throw new Error(said.error)
    return said
  })
}
const fault = e => say([made('p', 'qc-fault', e.message)])
function say(parts) { $('.qc-said').replaceChildren(...parts); layout() }

// what there is

function take(told) {
  if (told.images) {
    state = told
    state.images = told.images.map(([key, sha, label, split, predicted, probability, loss, set, keep, findings, kept]) =>
      ({key, sha, label, split, predicted, probability, loss, set, keep, findings, kept}))
    state.sets = new Map()
    for (const i of state.images) if (i.set >= 0) state.sets.set(i.set, [...(state.sets.get(i.set) || []), i])
    choices = new Map(Object.entries(told.choices))
    filters()
  }
  else for (const [k, c] of Object.entries(told.choices)) c ? choices.set(k, c) : choices.delete(k)
  Object.assign(state, {counts: told.counts, moved: told.moved})
  counts()
}
function counts() {
  const of = c => c.keep + c.relabel + c.quarantine, n = of(state.counts.train) + of(state.counts.test)
  $('.qc-counts').textContent = `${some('images', state.images.length)} · ${some('choices', n)}`
  $('.qc-apply').disabled = !n
  $('.qc-back').disabled = !state.moved
}
function options(select, pairs) {
  const before = select.value
  select.replaceChildren(...pairs.map(([value, text]) => Object.assign(document.createElement('option'), {value, textContent: text})))
  select.value = pairs.some(([v]) => v === before) ? before : pairs[0][0]
}
function filters() {
  const n = f => number.format(state.images.filter(f).length)
  const open = i => !i.kept
  options($('.qc-class'), [['', t('all_classes')], ...state.classes.map((c, j) => [String(j), `${c} (${n(i => i.label === j)})`])])
  const splits = ['train', 'valid', 'test'].filter(s => state.images.some(i => i.split === s))
  options($('.qc-split'), [['', t('all_splits')], ...splits.map(s => [s, `${t(s)} (${n(i => i.split === s)})`])])
  $('.qc-split').parentNode.hidden = splits.length < 2
  const shows = [['', t('all')], ['undecided', t('undecided')], ['chosen', t('chosen')]]
  if (state.sets.size) shows.push(['copies', `${t('copies')} (${n(i => open(i) && i.set >= 0)})`])
  for (const k of state.kinds) shows.push(['kind:' + k, `${t('kind_' + k)} (${n(i => open(i) && has(i, k))})`])
  if (state.images.some(i => i.kept)) shows.push(['kept', `${t('kept_before')} (${n(i => i.kept)})`])
  options($('.qc-show'), shows)
}
const has = (i, kind) => i.findings.some(f => state.findings[f][0] === kind)
function wanted(i, label, split, show) {
  if (label !== '' && i.label !== +label || split && i.split !== split) return false
  if (show === 'kept' || i.kept) return show === 'kept' && i.kept
  if (show === 'undecided') return !choices.has(i.key)
  if (show === 'chosen') return choices.has(i.key)
  if (show === 'copies') return i.set >= 0
  return show.startsWith('kind:') ? has(i, show.slice(5)) : true
}
function choose_images() { // the list stays as it is until a filter changes: nothing jumps under the hand
  const how = ['.qc-class', '.qc-split', '.qc-show'].map(s => $(s).value)
  const key = images[at]?.key, found = new Set(state.images.filter(i => wanted(i, ...how)))
  const sets = new Set([...found].map(i => i.set).filter(s => s >= 0))
  images = state.images.filter(i => found.has(i) || sets.has(i.set) && !i.kept) // copies are shown together
  for (const e of tiles.values()) e.remove()
  tiles.clear()
  at = from = Math.max(0, images.findIndex(i => i.key === key))
  $('.qc-none').hidden = images.length > 0
  grid.hidden = !images.length
  if (at === 0) scroll.scrollTop = 0
  layout()
  go(at)
}

// the grid: only what is on the screen is drawn

function layout() {
  const gap = 10, room = grid.clientWidth || scroll.clientWidth - 32, least = innerWidth < 560 ? 104 : 168
  cols = Math.max(1, Math.floor((room + gap)/(least + gap)))
  wide = Math.floor((room - gap*(cols - 1))/cols)
  high = Math.round(wide*.86) + 48
  grid.style.height = Math.ceil(images.length/cols)*(high + gap) + 'px'
  draw()
}
let frame = 0
function draw() { frame ||= requestAnimationFrame(() => { frame = 0; drawn() }) }
function drawn() {
  const step = high + 10, top = scroll.scrollTop - 12, first = Math.max(0, Math.floor(top/step) - 1)*cols
  const last = Math.min(images.length, (Math.floor((top + scroll.clientHeight)/step) + 2)*cols)
  for (const [n, e] of tiles) if (n < first || n >= last) { e.remove(); tiles.delete(n) }
  for (let n = first; n < last; n++) {
    let e = tiles.get(n)
    if (!e) { tiles.set(n, e = tile(n)); grid.append(e) }
    e.style.transform = `translate(${n%cols*(wide + 10)}px, ${Math.floor(n/cols)*step}px)`
    e.style.width = wide + 'px'; e.style.height = high + 'px'
    update(n, e)
  }
}
function tile(n) {
  const e = made('div', 'qc-tile'), picture = made('div', 'qc-picture'), img = made('img'), text = made('div', 'qc-text'), i = images[n]
  e.id = 'qc-' + n; e.setAttribute('role', 'option')
  e.setAttribute('aria-posinset', n + 1); e.setAttribute('aria-setsize', images.length)
  img.alt = ''; img.draggable = false
  img.onerror = () => picture.replaceChildren(made('span', 'qc-unread', t('unreadable')))
  setTimeout(() => { if (e.isConnected) img.src = 'thumb/' + i.sha }, 60) // not for those that only pass by
  picture.append(img)
  text.append(made('div', 'qc-label', state.classes[i.label]), made('div', 'qc-other', briefly(i)))
  e.append(picture, text)
  if (i.set >= 0) {
    e.dataset.set = i.set
    e.append(made('span', 'qc-copy', i.keep ? t('copy_to_keep') : t('copy_of')))
  }
  e.append(made('span', 'qc-badge'))
  e.onclick = event => { go(n, event.shiftKey); grid.focus({preventScroll: true}) }
  e.ondblclick = large
  return e
}
function looks(i) {
  if (i.loss === null) return t('not_tested')
  return t(i.predicted === i.label ? 'agrees' : 'looks_like', {name: state.classes[i.predicted], percent: whole.format(i.probability)})
}
const briefly = i => i.loss === null || i.predicted === i.label ? looks(i) : t('briefly', {name: state.classes[i.predicted], percent: whole.format(i.probability)})
function said_of(i) {
  const c = choices.get(i.key)
  if (!c) return i.kept ? t('was_kept') : ''
  return c[0] === 'relabel' ? t('is_relabel', {name: c[1]}) : c[0] === 'keep' ? t('is_keep') : t('is_quarantine')
}
function update(n, e) {
  const i = images[n], c = choices.get(i.key), badge = e.querySelector('.qc-badge'), [a, b] = [Math.min(at, from), Math.max(at, from)]
  badge.textContent = said_of(i)
  badge.hidden = !badge.textContent
  e.dataset.what = c ? c[0] : ''
  e.setAttribute('aria-selected', n >= a && n <= b)
  e.classList.toggle('qc-at', n === at)
  e.setAttribute('aria-label', [state.classes[i.label], i.key, looks(i), e.querySelector('.qc-copy')?.textContent, badge.textContent].filter(Boolean).join(', '))
}

// where the hand is

function go(n, extend = false) {
  if (!images.length) { about(); return }
  at = Math.max(0, Math.min(images.length - 1, n))
  if (!extend) from = at
  const top = Math.floor(at/cols)*(high + 10)
  if (top < scroll.scrollTop) scroll.scrollTop = top
  if (top + high + 24 > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + high + 24 - scroll.clientHeight
  drawn()
  grid.setAttribute('aria-activedescendant', 'qc-' + at)
  about()
  if ($('.qc-large').open) enlarge()
}
function about() {
  const i = images[at], n = Math.abs(at - from) + 1
  for (const s of ['keep', 'to', 'away', 'undo']) $('.qc-' + s).disabled = !i
  $('.qc-copies').hidden = !i || i.set < 0
  const why = i ? i.findings.map(f => state.findings[f][1]) : []
  $('.qc-about').textContent = !i ? '' : n > 1 ? some('selected', n) : [i.key, looks(i), ...why].join(' · ')
  $('.qc-keys').textContent = t('keys', {classes: state.classes.slice(0, 9).map((c, j) => `${j + 1} ${c}`).join(', ')})
}
const selected = () => images.slice(Math.min(at, from), Math.max(at, from) + 1)
function choose(what, to = null) {
  const keys = selected().map(i => i.key)
  if (!keys.length) return
  go(Math.max(at, from) + 1) // on to the next one
  ask('choose', {keys, what, to, generation: state.generation}).then(take).then(draw).catch(fault)
}
function copies() {
  const i = images[at]
  if (!i || i.set < 0) return
  let next = at
  while (next < images.length && images[next].set === i.set) next++
  go(next)
  ask('keep_one', {key: i.key, generation: state.generation}).then(take).then(draw).catch(fault)
}
function undo() {
  ask('undo').then(told => {
    take(told)
    const n = images.findIndex(i => i.key in told.choices)
    if (n >= 0) go(n)
    draw()
  }).catch(fault)
}

// dialogs

function move() {
  if (!images.length) return
  $('.qc-name').value = ''
  fill()
  $('.qc-move').showModal()
  $('.qc-name').focus()
}
function fill() {
  const typed = $('.qc-name').value.trim().toLocaleLowerCase(), begins = c => c.toLocaleLowerCase().startsWith(typed)
  const found = state.classes.filter(c => c.toLocaleLowerCase().includes(typed)).sort((a, b) => begins(b) - begins(a))
  $('.qc-classes').replaceChildren(...found.map(c => {
    const b = made('button', '', c), digit = state.classes.indexOf(c) + 1
    if (digit < 10) b.append(made('kbd', '', digit))
    b.type = 'button'
    b.onclick = () => { $('.qc-move').close(); choose('relabel', c) }
    return b
  }))
}
$('.qc-name').oninput = fill
$('.qc-name').onkeydown = e => { if (e.key === 'Enter') { e.preventDefault(); $('.qc-classes button')?.click() } }
function large() { if (images.length) { enlarge(); $('.qc-large').showModal() } }
function enlarge() {
  const i = images[at], img = $('.qc-large img')
  if (!img.src.endsWith(i.sha)) img.src = 'image/' + i.sha
  $('.qc-large p').textContent = [state.classes[i.label], i.key, looks(i), said_of(i), ...i.findings.map(f => state.findings[f][1])].filter(Boolean).join(' · ')
}
for (const b of document.querySelectorAll('.qc-close')) b.onclick = () => b.closest('dialog').close()
for (const d of document.querySelectorAll('dialog')) d.addEventListener('close', () => grid.focus({preventScroll: true}))

function ask_first(title, lines, answers) {
  $('#qc-ask-title').textContent = title
  $('.qc-asked').replaceChildren(...lines.map(l => made('p', '', l)))
  $('.qc-yes').replaceChildren(...answers.map(([text, f]) => {
    const b = made('button', 'qc-main', text)
    b.type = 'button'
    b.onclick = () => { $('.qc-ask').close(); f() }
    return b
  }))
  $('.qc-ask').showModal()
  $('.qc-yes button').focus()
}
function moved(told, text) {
  take(told)
  images = [] // the order is new: begin with the worst
  choose_images()
  say([made('p', '', text), ...told.left.map(([path, why]) => made('p', 'qc-fault', t('left', {path, why})))])
}
function apply() {
  const lines = [], answers = []
  for (const split of ['train', 'test']) {
    const c = state.counts[split], n = c.keep + c.relabel + c.quarantine
    if (!n) continue
    const parts = [['to_relabel', c.relabel], ['to_quarantine', c.quarantine], ['to_keep', c.keep]].filter(p => p[1]).map(p => t(p[0], {n: number.format(p[1])}))
    const tests = state.images.some(i => i.split === 'test')
    lines.push(`${tests ? t(split === 'test' ? 'test' : 'train') + ': ' : ''}${parts.join(', ')}`)
    answers.push([tests ? t(split === 'test' ? 'apply_test' : 'apply_train') : t('apply'), () => {
      busy($('.qc-apply'), ask('apply', {split, generation: state.generation}).then(told => moved(told, t('applied', {moved: number.format(told.moved_now), kept: number.format(told.kept)}))))
    }])
  }
  ask_first(t('apply_ask'), [...lines, t('nothing_deleted')], answers)
}
function back() {
  ask_first(t('back_ask'), [t('back_what', {n: number.format(state.moved)})], [[t('back'), () =>
    busy($('.qc-back'), ask('take_back').then(told => moved(told, t('came_back', {n: number.format(told.moved_now)}))))]])
}
function busy(button, work) {
  const text = button.textContent
  button.disabled = true
  button.textContent = t('working')
  return work.catch(fault).finally(() => { button.disabled = false; button.textContent = text; counts() })
}
function retrain() {
  const line = (name, m) => {
    const p = made('p')
    const changed = m.better + m.worse ? t('changed', {better: number.format(m.better), worse: number.format(m.worse)}) + (m.chance ? ' ' + t('chance') : '') : t('unchanged')
    p.append(`${name} `, made('strong', '', `${share.format(m.before)} → ${share.format(m.after)}`), ` ${some('same_images', m.n)} ${changed}`)
    return p
  }
  busy($('.qc-retrain'), ask('retrain').then(r => say([line(t('accuracy'), r.train), ...(r.test ? [line(t('accuracy_test'), r.test)] : [])])))
}

// keys

function key(e) {
  const open = document.querySelector('dialog[open]'), tag = e.target.tagName
  if (e.ctrlKey || e.metaKey || e.altKey || open && !open.matches('.qc-large') || ['SELECT', 'INPUT'].includes(tag)) return
  if (tag === 'BUTTON' && ['Enter', ' '].includes(e.key)) return
  const page = Math.max(1, Math.floor(scroll.clientHeight/(high + 10)))*cols
  const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -cols, ArrowDown: cols, PageUp: -page, PageDown: page, Home: -images.length, End: images.length}
  const does = {k: () => choose('keep'), x: () => choose('quarantine'), u: undo, c: copies, m: () => { $('.qc-large').close(); move() }, Enter: large}
  const letter = e.key.length === 1 ? e.key.toLowerCase() : e.key
  if (e.key in steps) go(at + steps[e.key], e.shiftKey)
  else if (/^[1-9]$/.test(e.key)) { if (state.classes[e.key - 1] !== undefined) choose('relabel', state.classes[e.key - 1]) }
  else if (does[letter] && !(letter === 'Enter' && open)) does[letter]()
  else return
  e.preventDefault()
}
document.addEventListener('keydown', e => { if (state) key(e) })
$('.qc-keep').onclick = () => choose('keep'); $('.qc-away').onclick = () => choose('quarantine'); $('.qc-to').onclick = move
$('.qc-copies').onclick = copies; $('.qc-undo').onclick = undo
$('.qc-retrain').onclick = retrain; $('.qc-apply').onclick = apply; $('.qc-back').onclick = back
for (const s of ['.qc-class', '.qc-split', '.qc-show']) $(s).onchange = choose_images
scroll.addEventListener('scroll', draw, {passive: true})
addEventListener('resize', layout)

document.title = t('title', {folder})
$('.qc-title').textContent = t('title', {folder})
grid.setAttribute('aria-label', t('grid'))
ask('load').then(told => { take(told); choose_images(); grid.focus({preventScroll: true}) }).catch(fault)
