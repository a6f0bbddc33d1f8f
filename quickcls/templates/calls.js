// what the pages with a script of their own share; it stands before line.js and builder.js
const base = (window.gradio_config?.root || location.origin + location.pathname).replace(/\/$/, ''), sleep = ms => new Promise(done => setTimeout(done, ms))
const memory = {get: k => { try { return localStorage.getItem(k) } catch { return null } }, set: (k, v) => { try { localStorage.setItem(k, v) } catch {} }}

async function upload(files) { // their descriptions on the server; an error has the `status` of the answer
  const form = new FormData()
  for (const f of files) form.append('files', f)
  const answer = await fetch(`${base}/gradio_api/upload`, {method: 'POST', body: form, credentials: 'include'})
  if (!answer.ok) throw Object.assign(Error(await answer.text()), {status: answer.status})
  return (await answer.json()).map((path, i) => ({path, orig_name: files[i].name}))
}
let asking = false
async function recover(back) { // ask until the program answers again; one that was started anew gets a new page, or asks for its password
  if (asking) return
  asking = true
  for (; element.isConnected; await sleep(3000)) {
    try {
      const answer = await fetch(`${base}/config`, {credentials: 'include'})
      const now = answer.ok ? (await answer.json()).app_id : null
      if (answer.status === 401 || (now && window.gradio_config?.app_id && now !== window.gradio_config.app_id)) return location.reload()
      if (answer.ok) { asking = false; return back() }
    } catch (e) { console.warn(e) }
  }
}

