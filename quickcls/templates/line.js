const $ = s => element.querySelector(s), root = $('.qk'), video = $('video'), image = $('.qk-view img')
const {texts, lang, classes, watch: folder, log, every, decided, command} = JSON.parse(JSON.stringify(props.setup))
const t = (key, fields = {}) => texts['line.' + key].replace(/\{(\w+)\}/g, (_, k) => fields[k])
const share = new Intl.NumberFormat(lang, {style: 'percent', maximumFractionDigits: 1}), clock = new Intl.DateTimeFormat(lang, {timeStyle: 'medium'})
const can_film = folder || Boolean(navigator.mediaDevices?.getUserMedia)
let given = null, busy = false, stream = null, sound = memory.get('quickcls-sound') === 'on', tones = null

const signs = {
  good: ['<circle class="qk-body" cx="50" cy="50" r="48"/>', '<path class="qk-sign" d="M27 52 44 69 74 34"/>'],
  bad: ['<path class="qk-body" d="M30 2h40l28 28v40l-28 28h-40l-28-28v-40z"/>', '<path class="qk-sign" d="M32 32 68 68M68 32 32 68"/>'],
  look_at_it: ['<path class="qk-body" d="M50 6 97 90H3z" stroke="currentColor" stroke-width="6" stroke-linejoin="round"/>', '<path class="qk-sign" d="M50 38v24M50 77v.5"/>'],
  none_of_these: ['<rect class="qk-body" x="4" y="4" width="92" height="92" rx="8"/>', '<path class="qk-sign" d="M35 38c0-22 32-20 30 0-1 11-15 11-15 23M50 77v.5"/>'],
  class: ['<path class="qk-body" d="M50 1 99 50 50 99 1 50z"/>', ''],
  unreadable: ['<path class="qk-body" d="M18 4h44l22 22v70H18z"/>', '<path class="qk-sign" d="M34 42 68 76M68 42 34 76"/>'],
  wait: ['<circle class="qk-body" cx="50" cy="50" r="47"/>', '']}
const drawn = look => `<svg viewBox="0 0 100 100">${signs[look].join('')}</svg>`

// what is said

const alerts = new Map()
function alert(name, text) {
  if (text) alerts.set(name, text); else if (!alerts.delete(name)) return
  $('.qk-alerts').replaceChildren(...[...alerts.values()].map(s => Object.assign(document.createElement('p'), {textContent: s})))
}
function fit() { // the largest letters with which the word has room
  const word = $('.qk-word'), side = $('.qk-answer'), waiting = root.dataset.look === 'wait'
  for (let size = waiting ? 46 : Math.min(190, innerWidth/5); size > 22; size -= 4) {
    word.style.fontSize = size + 'px'
    if (side.scrollHeight <= side.clientHeight && word.offsetHeight < side.clientHeight*.36 && word.offsetHeight < 3.3*size && !broken(word)) break
  }
}
const measure = document.createElement('canvas').getContext('2d')
function broken(word) { // is there a word wider than its line?
  const style = getComputedStyle(word), room = $('.qk-answer').clientWidth - 2*parseFloat(getComputedStyle($('.qk-answer')).paddingLeft)
  measure.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`
  return word.textContent.split(/[\s-]/).some(w => measure.measureText(w).width > room)
}
function say(look, word, hint = '', count = '', person = '') {
  root.dataset.look = look
  for (const [name, text] of Object.entries({word, hint, count, person})) $('.qk-' + name).textContent = text
  $('.qk-shape').innerHTML = drawn(look)
  fit()
}
function wait() {
  given = null
  say('wait', folder ? t('wait_folder', {folder}) : every ? t('wait_every') : $('.qk-file').hidden ? t('wait_camera') : t('wait_photo'))
  buttons()
}
function buttons() {
  for (const b of $('.qk-classes').children) {
    b.disabled = !given
    b.setAttribute('aria-pressed', Boolean(given) && given.correction === b.dataset.name)
  }
}
function show(answer, src) {
  given = answer
  if (!can_film) alert('camera') // it was read
  alert('connection'); alert('busy'); alert('log', answer.logged ? '' : t('log_failed'))
  const own = texts['line.' + answer.decision + '_hint'] && !classes.some(c => c.name === answer.decision)
  const [name, p] = answer.top.find(([c]) => c === answer.decision) || answer.top[0] || []
  const likely = name === undefined || answer.decision === 'none_of_these' ? '' : t('most_likely', {name, percent: share.format(p)})
  const hint = own && likely ? `${t(answer.decision + '_hint')} (${likely})` : own ? t(answer.decision + '_hint') : likely
  const when = t('count', {n: answer.n, time: clock.format(new Date(answer.time))})
  say(answer.look, own ? t(answer.decision) : answer.decision, hint, when + (folder ? `, ${answer.name}` : ''))
  if (src) Object.assign(image, {src, hidden: false, alt: t('image_alt')})
  else image.hidden = true
  if (answer.correction) corrected(answer.correction)
  buttons()
  if (sound) tone(answer.look)
}
function corrected(label) {
  given.correction = label
  $('.qk-person').textContent = label === given.decision ? t('confirmed', {name: label}) : t('person', {name: label})
  fit(); buttons()
}
function failed(error) {
  console.warn(error)
  wait(); image.hidden = true
  alert('connection', t({413: 'too_large', 429: 'busy'}[error.status] || 'connection_lost'))
  if (![413, 429].includes(error.status)) recover(() => folder || alert('connection'))
}

// images

async function send(file) {
  if (busy) return
  busy = true
  const late = setTimeout(() => root.toggleAttribute('data-busy', true), 400), src = URL.createObjectURL(file)
  try {
    const answer = await server.line_answer({file: (await upload([file]))[0], name: file.name})
    if (answer?.ticket) { if (image.src.startsWith('blob:')) URL.revokeObjectURL(image.src); show(answer, src) }
    else { wait(); image.hidden = true; alert('busy', t('busy')) }
  } catch (e) { failed(e) }
  clearTimeout(late)
  root.toggleAttribute('data-busy', false)
  busy = false
}
async function take() {
  if (busy || !stream || !video.videoWidth) return
  const scale = Math.min(1, 1600/Math.max(video.videoWidth, video.videoHeight)), canvas = document.createElement('canvas')
  canvas.width = Math.round(video.videoWidth*scale); canvas.height = Math.round(video.videoHeight*scale)
  canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height)
  const blob = await new Promise(done => canvas.toBlob(done, 'image/jpeg', .93))
  await send(new File([blob], `camera-${new Date().toISOString().replace(/[:.]/g, '-')}.jpg`, {type: 'image/jpeg'}))
}
async function camera(asked = memory.get('quickcls-camera')) {
  stream?.getTracks().forEach(track => { track.onended = null; track.stop() })
  stream = null
  try {
    const which = asked ? {deviceId: {exact: asked}} : {facingMode: 'environment'}
    stream = await navigator.mediaDevices.getUserMedia({video: {...which, width: {ideal: 1600}}})
    const [track] = stream.getVideoTracks()
    track.onended = () => { stream = null; video.hidden = true; wait(); alert('camera', t('camera_lost')); setTimeout(() => camera(), 3000) }
    video.srcObject = stream
    video.hidden = false
    await video.play()
    alert('camera')
    await choices(track.getSettings().deviceId)
  } catch (e) {
    if (asked && (e.name === 'OverconstrainedError' || e.name === 'NotFoundError')) return camera('') // the chosen one is not connected
    const denied = e.name === 'NotAllowedError' || e.name === 'SecurityError'
    alert('camera', t(denied ? 'camera_denied' : 'camera_missing'))
    if (!denied) setTimeout(() => camera(), 3000)
  }
}
async function choices(now) { // a list of cameras, where there are several
  const there = (await navigator.mediaDevices.enumerateDevices()).filter(d => d.kind === 'videoinput'), list = $('.qk-camera')
  list.replaceChildren(...there.map((d, i) => new Option(d.label || t('camera_n', {n: i + 1}), d.deviceId, false, d.deviceId === now)))
  list.hidden = there.length < 2
}
async function follow() {
  while (element.isConnected) {
    try {
      const {latest, gone} = await server.line_latest({ticket: given?.ticket})
      alert('connection'); alert('folder', gone ? t('folder_gone', {folder}) : '')
      if (latest) show(latest, latest.image)
    } catch (e) { failed(e); await sleep(2000) }
    await sleep(400)
  }
}
async function again() {
  while (element.isConnected) {
    const began = Date.now()
    await take()
    await sleep(Math.max(50, every*1000 - (Date.now() - began)))
  }
}

// what a person does

async function correct(label) {
  if (!given || !label) return
  const about = given
  try {
    const noted = await server.line_correct({ticket: about.ticket, label})
    alert('correct', noted ? '' : t('not_corrected'))
    if (!noted) return
    alert('log', noted.logged ? '' : t('log_failed'))
    if (given === about) corrected(noted.label)
  } catch (e) { failed(e) }
}
function tone(look) {
  const notes = {bad: [[330, 0], [330, .28]], look_at_it: [[660, 0]], none_of_these: [[660, 0]], unreadable: [[220, 0]]}[look] || []
  tones ||= new AudioContext()
  tones.resume()
  for (const [pitch, at] of notes) {
    const from = tones.currentTime + at, voice = tones.createOscillator(), volume = tones.createGain()
    voice.frequency.value = pitch
    voice.type = look === 'bad' ? 'square' : 'sine'
    volume.gain.setValueAtTime(.25, from)
    volume.gain.exponentialRampToValueAtTime(.001, from + .22)
    voice.connect(volume).connect(tones.destination)
    voice.start(from); voice.stop(from + .24)
  }
}
function switchSound(on) {
  sound = on
  memory.set('quickcls-sound', on ? 'on' : 'off')
  $('.qk-sound').setAttribute('aria-pressed', on)
}
function pressed(e) {
  if (!element.isConnected) return removeEventListener('keydown', pressed)
  if (e.ctrlKey || e.metaKey || e.altKey || e.repeat || e.target.closest('select, input')) return
  if (e.key === ' ' && !e.target.closest('button')) { e.preventDefault(); if (!folder && !every) take() }
  else if (/^[1-9]$/.test(e.key)) correct(classes[e.key - 1]?.name)
  else if (e.key.toLowerCase() === 's') switchSound(!sound)
  else if (e.key.toLowerCase() === 'f') document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()
}
function awake() { if (document.visibilityState === 'visible') navigator.wakeLock?.request('screen').catch(() => {}) }

// begin

document.documentElement.lang = lang
for (const e of element.querySelectorAll('[data-t]')) e.textContent = texts[e.dataset.t]
$('.qk-camera').setAttribute('aria-label', t('camera'))
video.setAttribute('aria-label', t('video_alt'))
$('.qk-classes').append(...classes.map((c, i) => {
  const b = Object.assign(document.createElement('button'), {type: 'button', innerHTML: c.look === 'class' ? '' : drawn(c.look)})
  b.dataset.look = c.look; b.dataset.name = c.name
  b.append(Object.assign(document.createElement('span'), {textContent: c.name}))
  if (i < 9) b.append(Object.assign(document.createElement('kbd'), {textContent: i + 1, ariaHidden: 'true'}))
  b.setAttribute('aria-label', t('correct_label', {name: c.name}))
  b.addEventListener('click', e => { correct(c.name); if (e.detail) b.blur() })
  return b
}))
switchSound(sound)
$('.qk-sound').addEventListener('click', e => { switchSound(!sound); if (e.detail) e.currentTarget.blur() })
$('.qk-take').addEventListener('click', e => { take(); if (e.detail) e.currentTarget.blur() })
$('.qk-camera').addEventListener('change', e => { memory.set('quickcls-camera', e.target.value); camera(e.target.value); e.target.blur() })
$('.qk-file input').addEventListener('change', e => { if (e.target.files[0]) send(e.target.files[0]); e.target.value = '' })
addEventListener('keydown', pressed)
addEventListener('resize', fit)
document.addEventListener('visibilitychange', awake)
awake()
const notes = [every && t('every', {seconds: every.toLocaleString(lang)}), folder && t('folder', {folder}), log ? t('log', {file: log}) : t('no_log'),
  can_film && matchMedia('(hover: hover)').matches && t(folder || every ? 'keys_folder' : 'keys_camera')].filter(Boolean).map(s => s.replace(/\.?$/, '.'))
$('.qk-note').textContent = [...notes, ...(decided ? [] : [t('no_decision', {command}) + '.'])].join(' ')
if (folder) follow()
else if (!can_film) { $('.qk-file').hidden = false; alert('camera', t('insecure')) }
else { $('.qk-take').hidden = Boolean(every); camera(); if (every) again() }
wait()
