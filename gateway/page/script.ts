/** The page's script, as it goes into the page: polls the picture and shows the paths of the host one points at. */
export const SCRIPT = `
const live = document.getElementById('live')
const fresh = document.getElementById('fresh')
const pollMs = Number(document.body.dataset.pollMs)
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

async function refresh() {
  try {
    const response = await fetch('/v1/network/hosts?as=html', { signal: AbortSignal.timeout(10000) })
    if (!response.ok) throw new Error(response.status)
    const text = await response.text()
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
    fresh.textContent = 'Live: last asked at ' + new Date().toISOString().slice(11, 19) + ' UTC.'
  } catch {
    document.body.classList.add('stale')
    fresh.textContent = 'This gateway does not answer now; what you see is old.'
  }
  setTimeout(refresh, document.hidden ? pollMs * 5 : pollMs)
}

setTimeout(refresh, pollMs)
document.addEventListener('securitypolicyviolation', event => {
  document.body.dataset.violation = event.violatedDirective
})
`
