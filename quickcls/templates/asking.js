// An image from a camera, the clipboard or a drop anywhere on the page goes to the box; after an answer the box folds away.
const find = s => document.querySelector(s)
const photo = () => find('#photo input[type=file]'), several = () => find('#files input[type=file]')
const camera = element.querySelector('.qc-camera'), video = camera.querySelector('video'), status = element.querySelector('[role=status]')
const touch = matchMedia('(pointer: coarse)').matches, taken = element.querySelector('input[capture]')
let heat = 0, stream = null
document.documentElement.style.scrollPaddingBottom = '6rem' // nothing that is scrolled to lies under the buttons of a phone

function put(input, files) {
  const all = new DataTransfer()
  for (const f of files) all.items.add(f)
  input.files = all.files
  input.dispatchEvent(new Event('change', {bubbles: true}))
}
function give(files) {
  status.textContent = ''
  if (files.length > 1 && find('#many')) return giveSeveral([...files])
  if (photo()) put(photo(), [files[0]])
}
async function giveSeveral(files) {
  if (!several()) find('#many button').click()
  for (let i = 0; i < 40 && !several(); i++) await new Promise(done => setTimeout(done, 50))
  if (several()) put(several(), files)
}
function say(what) { status.textContent = status.dataset[what] }

async function open() {
  if (touch || !navigator.mediaDevices) return taken.click()
  try { stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment', width: {ideal: 1920}}}) }
  catch { return say('take') }
  video.srcObject = stream
  camera.hidden = false
  await video.play()
  camera.querySelector('button').focus()
}
function close() {
  for (const track of stream?.getTracks() ?? []) track.stop()
  camera.hidden = true
  video.srcObject = stream = null
}
function shoot() {
  if (!video.videoWidth) return
  const canvas = document.createElement('canvas')
  canvas.width = video.videoWidth
  canvas.height = video.videoHeight
  canvas.getContext('2d').drawImage(video, 0, 0)
  canvas.toBlob(blob => { close(); give([new File([blob], 'photo.png', {type: 'image/png'})]) }, 'image/png')
}
async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find(t => t.startsWith('image/'))
      if (type) return give([new File([await item.getType(type)], 'pasted.' + type.slice(6), {type})])
    }
  } catch {}
  say('paste')
}
function ask() { // the box again, in place of the answer
  document.body.removeAttribute('data-answered')
  scrollTo(0, 0)
  find('#photo button')?.focus({preventScroll: true})
}
function good() { [...document.querySelectorAll('[role=tab]')].find(t => t.getAttribute('aria-selected') !== 'true')?.click(); scrollTo(0, 0) }

const does = {take: open, paste, shoot, close, next: ask, good}
document.addEventListener('click', e => does[e.target.closest?.('[data-do]')?.dataset.do]?.())
taken.addEventListener('change', () => { if (taken.files.length) give(taken.files); taken.value = '' })
if (!navigator.clipboard?.read) element.querySelector('[data-do=paste]').hidden = true

const carries = e => e.dataTransfer?.types.includes('Files') && !e.target.closest?.('#photo, #files')
document.addEventListener('dragover', e => { if (carries(e)) e.preventDefault() })
document.addEventListener('drop', e => { if (carries(e)) { e.preventDefault(); give(e.dataTransfer.files) } })
document.addEventListener('paste', e => { if (e.clipboardData.files.length) { e.preventDefault(); give(e.clipboardData.files) } })

document.addEventListener('input', e => { if (e.target.matches('.qc-blend')) heat = e.target.value })
document.addEventListener('answered', ({detail}) => {
  for (const s of detail.querySelectorAll('.qc-blend')) {
    s.value = heat // the slider stays where it was
    s.dispatchEvent(new Event('input', {bubbles: true}))
  }
  if (!detail.closest('#answer, #agree')) return
  const folded = document.body.hasAttribute('data-answered'), answered = !!detail.querySelector('.qc-answer')
  document.body.toggleAttribute('data-answered', answered)
  if (!answered || folded) return
  scrollTo(0, 0)
  find('#next button').focus({preventScroll: true})
})
