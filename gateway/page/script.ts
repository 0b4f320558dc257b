/**
 * The page's script, as it goes into the page: shows each picture that the gateway pushes, asks for pictures while it
 * has no socket, and shows the paths of the host one points at.
 */
export const SCRIPT = `
const live = document.getElementById('live')
const fresh = document.getElementById('fresh')
const { pollMs, retryMinMs, retryMaxMs, silenceMs } = document.body.dataset
let last = live.innerHTML
let pointed = null

function light() {
  const svg = live.querySelector('svg')
  if (svg === null) return
  svg.classList.toggle('pointed', pointed !== null)
  for (const path of svg.querySelectorAll('path[data-a]')) {
    path.classList.toggle('lit', pointed !== null && (path.dataset.a === pointed || path.dataset.b === pointed))
  }
}

live.addEventListener('pointerover', event => {
  const host = event.target.closest('[data-host]')
  const name = host === null ? null : host.dataset.host
  if (name === pointed) return
  pointed = name
  light()
})

function show(text, how) {
  if (text !== last) {
    const scrolled = live.querySelector('.scroll')
    const left = scrolled === null ? 0 : scrolled.scrollLeft
    live.innerHTML = text
    last = text
    const after = live.querySelector('.scroll')
    if (after !== null) after.scrollLeft = left
    light()
  }
  document.body.classList.remove('stale')
  document.body.dataset.by = how
  const time = new Date().toISOString().slice(11, 19)
  fresh.textContent = how === 'socket' ? 'Live: last told at ' + time + ' UTC.' : 'Live: last asked at ' + time + ' UTC.'
}

// Whether a socket tells now; asking is for when none does.
let told = false
let asking = false
let polling = null

async function poll() {
  clearTimeout(polling)
  if (asking) return
  asking = true
  try {
    const response = await fetch('/v1/network/hosts?as=html', { signal: AbortSignal.timeout(10000) })
    if (!response.ok) throw new Error(response.status)
    const text = await response.text()
    const back = document.body.classList.contains('stale')
    if (!told) show(text, 'poll')
    if (back && retrying !== null) {
      retryMs = Number(retryMinMs)
      connect()
    }
  } catch {
    if (!told) {
      document.body.classList.add('stale')
      fresh.textContent = 'This gateway does not answer now; what you see is old.'
    }
  }
  asking = false
  if (!told) polling = setTimeout(poll, document.hidden ? pollMs * 5 : pollMs)
}

let retryMs = Number(retryMinMs)
let retrying = null

function connect() {
  clearTimeout(retrying)
  retrying = null
  const url = new URL('/v1/network/ws?as=html', location.href)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  const socket = new WebSocket(url)
  let silence = setTimeout(lost, silenceMs)
  let over = false
  socket.onmessage = event => {
    told = true
    clearTimeout(polling)
    retryMs = Number(retryMinMs)
    clearTimeout(silence)
    silence = setTimeout(lost, silenceMs)
    show(event.data, 'socket')
  }
  function lost() {
    if (over) return
    over = true
    clearTimeout(silence)
    socket.onmessage = null
    socket.close()
    if (told) {
      told = false
      poll()
    }
    retrying = setTimeout(connect, retryMs * (0.5 + Math.random() / 2))
    retryMs = Math.min(retryMs * 2, retryMaxMs)
  }
  socket.onclose = lost
}

polling = setTimeout(poll, pollMs)
connect()
document.addEventListener('securitypolicyviolation', event => {
  document.body.dataset.violation = event.violatedDirective
})
`
