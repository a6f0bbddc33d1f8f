const $ = s => element.querySelector(s), video = $('video'), image = $('.qm-eye img'), list = $('.qm-classes'), keep = $('.qm-keep')
const {texts, lang, title} = JSON.parse(JSON.stringify(props.setup))
const t = (key, fields = {}) => texts['builder.' + key].replace(/\{(\w+)\}/g, (_, k) => fields[k])
const share = new Intl.NumberFormat(lang, {style: 'percent', maximumFractionDigits: 1})
const make = (tag, parts = {}, ...inside) => { const e = Object.assign(document.createElement(tag), parts); e.append(...inside); return e }
const counted = (key, n) => texts[`builder.${key}_${n}`] ? t(`${key}_${n}`, {n}) : t(key + '_n', {n})
let visitor = memory.get('quickcls-visitor'), state = {classes: []}, stream = null, facing = 'environment', testing = false, recording = null, waiting = [], sending = false
const small = new Map() // SHA-256 of an image → its thumbnail

// the server

async function ask(what) { // everything goes through here; null where there was no answer
  try {
    let said = await server.builder_do({...what, visitor})
    if (said?.gone) { await open(); said = {...state, errors: [t('expired')]} }
    if (said?.errors && what.do !== 'save' && (what.do !== 'test' || what.file)) errors(said.errors)
    if (said?.classes) draw(said)
    return said
  } catch (e) {
    console.warn(e)
    lost()
    return null
  }
}
function lost() {
  errors([t('connection_lost')])
  recover(() => errors([]))
}
async function open() {
  const said = await server.builder_do({do: 'open', visitor})
  if (said.full) return errors([t('full')])
  visitor = said.visitor
  memory.set('quickcls-visitor', visitor)
  draw(said)
  errors(said.expired ? [t('expired')] : [])
}
async function add(name, files) {
  const wrong = []
  for (let i = 0; i < files.length; i += 10) {
    const some = [...files].slice(i, i + 10)
    let sent
    try { sent = await upload(some) } catch (e) { // one that is too large costs no other
      console.warn(e)
      if (e.status === 413 && some.length > 1) { for (const f of some) wrong.push(...await add(name, [f])); continue }
      if (e.status === 413) wrong.push(t('too_large', {file: some[0].name, most: 30}))
      else if (e.status === 429) wrong.push(t('busy'))
      else { lost(); return [...wrong, t('connection_lost')] }
      continue
    }
    const said = await ask({do: 'add', name, files: sent})
    wrong.push(...said?.errors || [])
  }
  errors(wrong)
  return wrong
}
function errors(all) { // they stay in sight until the next thing is done, or until they are closed
  const box = $('.qm-errors')
  box.replaceChildren(...all.slice(0, 5).map(s => make('p', {textContent: s})))
  if (all.length) box.append(make('button', {type: 'button', textContent: t('close'), onclick: () => errors([])}))
}

// the classes

function draw(now) {
  state = now
  const cards = new Map([...list.querySelectorAll('.qm-class')].map(c => [c.dataset.name, c]))
  const all = now.classes.map((c, i) => filled(cards.get(c.name) || card(), c, i))
  for (const c of cards.values()) if (!all.includes(c)) c.remove()
  all.forEach((c, i) => { if (list.children[i] !== c) list.insertBefore(c, list.children[i] || null) })
  const more = list.querySelector('.qm-more') || list.appendChild(make('button', {type: 'button', className: 'qm-more', textContent: t('add_class'), onclick: () => ask({do: 'add_class'})}))
  list.append(more)
  more.hidden = now.most
  const hint = $('.qm-hint')
  if (hint.textContent !== now.hint) { hint.textContent = now.hint; hint.classList.remove('qm-wrong') }
  thumbnails()
  if (testing) test()
  else if (!stream) bars(null)
}
function card() {
  const c = make('article', {className: 'qm-class', innerHTML: `<div class="qm-title"><label><span></span><input type="text" maxlength="60" autocomplete="off" spellcheck="false"></label><p class="qm-count"></p></div>
    <div class="qm-acts"><button type="button" class="qm-hold"></button><label class="qm-button qm-photo"><span></span><input type="file" accept="image/*" capture="environment"></label>
    <label class="qm-button qm-files"><span></span><input type="file" accept="image/*" multiple></label><button type="button" class="qm-drop"></button></div>
    <div class="qm-ask" role="alertdialog" hidden><p></p><div><button type="button" class="qm-danger"></button><button type="button" class="qm-keepit"></button></div></div>
    <div class="qm-strip" role="group"></div><p class="qm-tip"></p>
    <div class="qm-chosen" hidden><span role="status"></span></div>`})
  const $c = s => c.querySelector(s), name = () => c.dataset.name, field = $c('.qm-title input')
  field.onchange = async () => {
    const old = name(), to = field.value.trim().replace(/\s+/g, ' ')
    c.dataset.name = to || old // the card stays the same one
    const said = await ask({do: 'rename', name: old, to: field.value})
    if (!said || said.errors?.length) { c.dataset.name = old; field.value = old; draw(state) }
  }
  field.onkeydown = e => { if (e.key === 'Enter') field.blur() }
  $c('.qm-files span').textContent = t('upload'); $c('.qm-photo span').textContent = t('photo')
  for (const input of c.querySelectorAll('input[type=file]')) input.onchange = async () => { const files = [...input.files]; input.value = ''; await add(name(), files) }
  const ask_box = $c('.qm-ask')
  const close = () => { ask_box.hidden = true; $c('.qm-drop').focus() }
  Object.assign($c('.qm-drop'), {textContent: t('delete_class'), onclick: () => {
    ask_box.querySelector('p').textContent = t('delete_class_ask', {name: name(), n: c.querySelectorAll('.qm-strip button').length})
    ask_box.hidden = false
    $c('.qm-keepit').focus()
  }})
  Object.assign($c('.qm-danger'), {textContent: t('yes_delete'), onclick: async () => { ask_box.hidden = true; await ask({do: 'delete_class', name: name()}); list.querySelector('.qm-more, .qm-title input')?.focus() }})
  Object.assign($c('.qm-keepit'), {textContent: t('no_keep'), onclick: close})
  ask_box.onkeydown = e => { if (e.key === 'Escape') close() }
  hold($c('.qm-hold'), name)
  return c
}
function filled(c, {name, images}, i) {
  const $c = s => c.querySelector(s), strip = $c('.qm-strip'), field = $c('.qm-title input')
  c.dataset.name = name
  $c('.qm-title span').textContent = t('name', {n: i + 1})
  if (document.activeElement !== field) field.value = name
  $c('.qm-count').textContent = counted('images', images.length)
  $c('.qm-files input').setAttribute('aria-label', t('upload_label', {name}))
  $c('.qm-photo input').setAttribute('aria-label', t('photo_label', {name}))
  $c('.qm-drop').setAttribute('aria-label', t('delete_class_label', {name}))
  $c('.qm-drop').hidden = state.classes.length <= 2
  $c('.qm-ask').setAttribute('aria-label', t('delete_class_label', {name}))
  strip.setAttribute('aria-label', name)
  const there = new Map([...strip.children].map(b => [b.dataset.image, b]))
  const wanted = new Set(images)
  for (const [h, b] of there) if (!wanted.has(h)) b.remove()
  images.forEach((h, n) => { // the last one first
    const b = there.get(h) || make('button', {type: 'button', onclick: e => { e.currentTarget.setAttribute('aria-pressed', e.currentTarget.getAttribute('aria-pressed') !== 'true'); chosen(c) }})
    if (!there.has(h)) { b.dataset.image = h; b.setAttribute('aria-pressed', 'false'); strip.prepend(b) }
    b.setAttribute('aria-label', t('image_label', {n: n + 1, name}))
  })
  $c('.qm-tip').textContent = images.length ? t('select_hint') : ''
  holds(c); chosen(c)
  return c
}
function chosen(c) { // what can be done with the selected images
  const some = [...c.querySelectorAll('.qm-strip [aria-pressed=true]')], box = c.querySelector('.qm-chosen'), all = c.querySelectorAll('.qm-strip button')
  box.hidden = !some.length
  c.querySelector('.qm-tip').hidden = Boolean(some.length)
  const images = some.map(b => b.dataset.image), act = (textContent, onclick, className = '') => make('button', {type: 'button', textContent, onclick, className})
  const done = async what => { await ask({...what, images}); (c.isConnected ? c.querySelector('.qm-strip button') || c.querySelector('.qm-title input') : null)?.focus() }
  const to = state.classes.map(k => k.name).filter(k => k !== c.dataset.name).map(name => act(t('move_to', {name}), () => done({do: 'move', to: name})))
  box.replaceChildren(make('span', {textContent: counted('selected', some.length), role: 'status'}), act(t('delete_images'), () => done({do: 'remove'}), 'qm-danger'), ...to,
    ...some.length < all.length ? [act(t('select_all'), () => { all.forEach(b => b.setAttribute('aria-pressed', 'true')); chosen(c); box.querySelector('button').focus() })] : [],
    act(t('unselect'), () => { some.forEach(b => b.setAttribute('aria-pressed', 'false')); chosen(c); some[0].focus() }))
}
let fetching = false
async function thumbnails() {
  if (fetching) return
  fetching = true
  for (;;) {
    for (const b of list.querySelectorAll('.qm-strip button:not(:has(img))')) if (small.get(b.dataset.image)) b.append(make('img', {src: small.get(b.dataset.image), alt: ''}))
    const missing = state.classes.flatMap(c => c.images).filter(h => !small.has(h)).slice(-60)
    if (!missing.length) break
    const said = await ask({do: 'thumbnails', images: missing})
    if (!said?.thumbnails) break
    for (const h of missing) small.set(h, said.thumbnails[h] || '')
  }
  fetching = false
}

// the camera

const photo = (side, quality) => new Promise(done => {
  const scale = Math.min(1, side/Math.max(video.videoWidth, video.videoHeight)), canvas = make('canvas', {width: Math.round(video.videoWidth*scale), height: Math.round(video.videoHeight*scale)})
  canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height)
  canvas.toBlob(b => done(new File([b], `camera-${Date.now()}.jpg`, {type: 'image/jpeg'})), 'image/jpeg', quality)
})
const can_film = Boolean(navigator.mediaDevices?.getUserMedia)
async function camera(on) {
  stream?.getTracks().forEach(track => { track.onended = null; track.stop() })
  stream = null
  if (on) try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: facing, width: {ideal: 1280}}})
    stream.getVideoTracks()[0].onended = () => camera(false)
    video.srcObject = stream
    if (testing) await untest()
    video.hidden = false
    await video.play()
    const eyes = (await navigator.mediaDevices.enumerateDevices()).filter(d => d.kind === 'videoinput').length
    $('.qm-flip').hidden = eyes < 2
    errors([])
    look()
  } catch (e) { console.warn(e); stream = null; errors([t(e.name === 'NotAllowedError' || e.name === 'SecurityError' ? 'camera_denied' : 'camera_missing')]) }
  video.hidden = !stream
  if (!stream) { $('.qm-flip').hidden = true; stop(); if (!testing) bars(null) }
  $('.qm-camera').textContent = t(stream ? 'camera_off' : 'camera_on')
  $('.qm-camera').classList.toggle('qm-first', !stream)
  list.querySelectorAll('.qm-class').forEach(holds)
}
function holds(c) { // the button that records says what it needs
  const b = c.querySelector('.qm-hold')
  b.hidden = !can_film
  c.querySelector('.qm-photo').hidden = can_film
  if (recording?.button === b) return
  b.textContent = t(stream ? 'hold' : 'hold_off')
  b.setAttribute('aria-label', `${b.textContent}: ${c.dataset.name}`)
  b.classList.toggle('qm-first', Boolean(stream))
}
function hold(b, name) { // pressed with a finger, the mouse, the space bar or Enter
  const start = e => { if (!stream) return camera(true); e.preventDefault(); b.focus(); record(b, name()) }
  b.onpointerdown = e => { if (e.button) return; try { b.setPointerCapture(e.pointerId) } catch {} ; start(e) }
  b.onpointerup = b.onpointercancel = b.onlostpointercapture = b.onblur = () => stop(b)
  b.onkeydown = e => { if (e.key !== ' ' && e.key !== 'Enter') return; e.preventDefault(); if (!e.repeat) start(e) }
  b.onkeyup = e => { if (e.key === ' ' || e.key === 'Enter') { e.preventDefault(); stop(b) } }
  b.oncontextmenu = e => e.preventDefault()
}
async function record(button, name) {
  const mine = recording = {button, name, n: 0}
  button.classList.add('qm-live')
  while (recording === mine && stream) {
    if (waiting.length < 40) { waiting.push({name, file: await photo(640, .92)}); mine.n++; send() }
    if (recording === mine) button.textContent = t('recording', {n: mine.n})
    await sleep(180)
  }
}
function stop(button) {
  if (!recording || (button && recording.button !== button)) return
  const b = recording.button
  recording = null
  b.classList.remove('qm-live')
  const c = b.closest('.qm-class')
  if (c) holds(c)
}
async function send() { // what was recorded, a few at a time
  if (sending) return
  sending = true
  while (waiting.length) {
    const {name} = waiting[0]
    let n = 1
    while (n < Math.min(6, waiting.length) && waiting[n].name === name) n++
    const files = waiting.splice(0, n).map(w => w.file)
    const wrong = await add(name, files)
    if (wrong.length) { waiting = []; stop() }
  }
  sending = false
}

// the answer

function bars(top, about) {
  const none = state.classes.filter(c => c.images.length).length < 2
  $('.qm-about').textContent = about || t(none && (stream || testing) ? 'answer_soon' : 'answer_none')
  $('.qm-bars').replaceChildren(...(top || []).map(([name, p]) => {
    const b = make('b'); b.style.width = `${p*100}%`
    return make('div', {className: 'qm-bar'}, make('bdi', {textContent: name}), make('span', {textContent: share.format(p)}), make('i', {ariaHidden: 'true'}, b))
  }))
}
let looking = false
async function look() { // what the camera sees, as long as it is on
  if (looking) return
  looking = true
  while (stream && element.isConnected) {
    await sleep(200)
    const enough = state.classes.filter(c => c.images.length).length > 1
    if (!enough || testing || document.hidden || waiting.length > 8 || !video.videoWidth) { if (!testing && !enough) bars(null); continue }
    try {
      const [file] = await upload([await photo(480, .9)]), said = await server.builder_do({do: 'answer', visitor, file})
      if (said?.top && stream && !testing) bars(said.top, t('answer_camera'))
    } catch (e) { console.warn(e); await sleep(1500) }
  }
  looking = false
}
async function test(file) {
  let sent
  if (file) try { [sent] = await upload([file]) } catch (e) { console.warn(e); return errors([t(e.status === 413 ? 'too_large' : 'connection_lost', {file: file.name, most: 30})]) }
  const said = await ask({do: 'test', file: sent, heat: $('.qm-heat').checked})
  if (!said) return
  testing = Boolean(said.image)
  Object.assign(image, {hidden: !testing, src: said.image || '', alt: testing ? t($('.qm-heat').checked && said.top ? 'heat_alt' : 'test_alt') : ''})
  video.hidden = testing || !stream
  $('.qm-untest').hidden = $('.qm-check').hidden = !testing
  bars(said.top, testing && said.top ? t('answer_test') : '')
}
async function untest() {
  testing = false
  image.hidden = $('.qm-untest').hidden = $('.qm-check').hidden = true
  video.hidden = !stream
  bars(null)
  await ask({do: 'test', file: 'none'})
}
function need() { // what is missing, once more and marked
  const hint = $('.qm-hint')
  hint.classList.add('qm-wrong')
  hint.textContent = ''
  setTimeout(() => { hint.textContent = state.hint }, 60)
  hint.scrollIntoView({block: 'nearest'})
}
async function save(e) {
  e.preventDefault()
  if (keep.dataset.busy) return
  const box = $('.qm-saved'), field = keep.querySelector('input')
  const say = (text, wrong) => { box.textContent = text; box.classList.toggle('qm-wrong', Boolean(wrong)) }
  if (!state.ready) { say(''); return need() }
  if (!field.value.trim()) { field.focus(); return say(t('missing_name'), true) }
  keep.dataset.busy = 1
  say(t('saving'))
  const said = await ask({do: 'save', as: field.value})
  delete keep.dataset.busy
  if (!said?.saved) return say(said?.errors?.[0] || t('connection_lost'), true)
  say(`${said.saved} ${said.accuracy == null ? '' : t('saved_accuracy', {percent: share.format(said.accuracy), n: said.n})} ${t('saved_use')} `)
  box.append(make('code', {textContent: said.command}))
}

// begin

document.documentElement.lang = lang
for (const e of element.querySelectorAll('[data-t]')) e.textContent = texts[e.dataset.t]
$('.qm-head').textContent = title
for (const e of element.querySelectorAll('.qm-test input')) e.onchange = () => { const [f] = e.files; e.value = ''; if (f) test(f) }
$('.qm-untest').onclick = async () => { await untest(); $('.qm-camera').focus() }
$('.qm-heat').onchange = () => test()
$('.qm-camera').hidden = !can_film
$('.qm-camera').onclick = () => camera(!stream)
$('.qm-flip').onclick = () => { facing = facing === 'user' ? 'environment' : 'user'; camera(true) }
keep.onsubmit = save
if (!can_film) { $('.qm-phone').hidden = false; $('.qm-tools').append(make('p', {className: 'qm-tip', textContent: t('insecure')})) }
bars(null)
open().catch(e => { console.warn(e); lost() })
document.addEventListener('visibilitychange', () => { if (element.isConnected && !document.hidden && visitor && !recording && !document.activeElement.closest?.('.qm-title')) ask({do: 'state'}) })
const alive = setInterval(() => { if (!element.isConnected) clearInterval(alive); else if (!document.hidden && visitor) server.builder_do({do: 'thumbnails', images: [], visitor}).catch(() => {}) }, 60000)
