/**
 * The node's page for people: state, shards, replicas and repair, live. It loads nothing and sends nothing anywhere; its
 * only script asks this node's own JSON routes and writes text, never markup, so that nothing a stranger calls itself runs.
 */
import { createHash } from 'node:crypto'

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5c6670; --line: #d5dbe1; --card: #f6f8fa; --good: #1a7f37; --bad: #b42318; --mid: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9aa5b1; --line: #30363d; --card: #161b22; --good: #56d364; --bad: #ff7b72; --mid: #e3b341 } }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1rem; margin: 1.5rem 0 .5rem } code, td { font-variant-numeric: tabular-nums }
p { margin: .25rem 0; color: var(--dim); overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem; margin: 1rem 0 }
dl div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem }
dt { color: var(--dim); font-size: .85rem } dd { margin: 0; font-size: 1.25rem }
.good { color: var(--good) } .bad { color: var(--bad) } .mid { color: var(--mid) }
.shards { height: 1.25rem; border: 1px solid var(--line); border-radius: .25rem; position: relative; overflow: hidden }
.shards i { position: absolute; top: 0; bottom: 0; background: var(--good) }
svg { width: 100%; height: 4rem; border-bottom: 1px solid var(--line) } polyline { fill: none; stroke: var(--mid); stroke-width: 2; vector-effect: non-scaling-stroke }
table { border-collapse: collapse; width: 100%; font-size: .9rem } td, th { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid var(--line) }
td:first-child { overflow-wrap: anywhere } body.stale main { opacity: .5 }
`

const SCRIPT = `
const EVERY_MS = 2000, POINTS = 150, ROWS = 200
const waiting = []
const at = id => document.getElementById(id)
const say = (id, text, tone) => { at(id).textContent = text; at(id).className = tone ?? '' }
const ask = async path => {
  const answer = await fetch(path, { signal: AbortSignal.timeout(EVERY_MS * 2) })
  if (!answer.ok) throw new Error(path + ' answers ' + answer.status)
  return await answer.json()
}
const bytes = n => { let u = 0; while (n >= 1024 && u < 4) { n /= 1024; u++ } return n.toFixed(u ? 1 : 0) + ' ' + ['B', 'KiB', 'MiB', 'GiB', 'TiB'][u] }
const time = s => s < 120 ? s + ' s' : s < 7200 ? Math.floor(s / 60) + ' min' : Math.floor(s / 3600) + ' h'
const chart = () => {
  const top = Math.max(1, ...waiting)
  const points = waiting.map((n, i) => (i * 100 / (POINTS - 1)).toFixed(2) + ',' + (38 - 36 * n / top).toFixed(2))
  at('line').setAttribute('points', points.join(' '))
  say('top', 'at most ' + Math.max(0, ...waiting) + ' in the last ' + time(waiting.length * EVERY_MS / 1000))
}
const look = async () => {
  const [health, status, shards, replicas, peers] =
    await Promise.all(['/health', '/status', '/shards', '/replication-stats', '/peers'].map(ask))
  document.title = status.nodeId + ' — Warren'
  say('name', status.nodeId)
  say('peer', health.peerId)
  say('state', health.status, health.status === 'healthy' ? 'good' : 'bad')
  say('reached', health.reachability, health.reachability === 'unknown' ? 'mid' : 'good')
  say('why', health.reachabilityDetail.why ?? '')
  say('uptime', time(status.uptime))
  say('blobs', String(health.storedBlobs))
  say('used', bytes(status.usedBytes) + ' of ' + bytes(status.capacityBytes), status.usedBytes > 0.9 * status.capacityBytes ? 'bad' : '')
  say('members', replicas.reachableMembers + ' of ' + replicas.members, replicas.reachableMembers < replicas.members ? 'mid' : 'good')
  say('waiting', String(replicas.underReplicated), replicas.underReplicated > 0 ? 'mid' : 'good')
  say('unhealed', String(health.replication.unhealed), health.replication.unhealed > 0 ? 'bad' : 'good')
  say('scrub', health.integrity.checked + ' checked, ' + health.integrity.failed + ' set aside', health.integrity.failed > 0 ? 'bad' : 'good')
  say('factor', replicas.factor + ', acknowledged at ' + replicas.quorum)
  say('owned', shards.shardsOwned + ' of ' + shards.shardCount + ' shards' + (shards.mode !== 'auto' ? '' : shards.assigned ? ', assigned from the registry' : ', not assigned yet'))
  at('shards').replaceChildren(...shards.shards.map(({ start, end }) => {
    const bar = document.createElement('i')
    bar.style.left = start * 100 / shards.shardCount + '%'
    bar.style.width = (end - start + 1) * 100 / shards.shardCount + '%'
    return bar
  }))
  waiting.push(replicas.underReplicated)
  if (waiting.length > POINTS) waiting.shift()
  chart()
  at('peers').replaceChildren(...peers.peers.slice(0, ROWS).map(peer => {
    const row = document.createElement('tr')
    for (const text of [peer.nodeId ?? peer.peerId, peer.path, peer.addr ?? '']) {
      row.appendChild(document.createElement('td')).textContent = text
    }
    return row
  }))
}
const go = async () => {
  try {
    await look()
    document.body.classList.remove('stale')
    say('live', 'Live: last told at ' + new Date().toISOString().slice(11, 19) + ' UTC.')
  } catch (error) {
    document.body.classList.add('stale')
    say('live', 'Not live: ' + error.message + '. Trying again.', 'bad')
  }
  setTimeout(go, EVERY_MS)
}
go()
`

const tile = (id: string, name: string): string => `<div><dt>${name}</dt><dd id="${id}">…</dd></div>`

export const NODE_PAGE = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Warren node</title>
<style>${STYLE}</style>
<body><header><h1 id="name">Warren node</h1><p id="peer"></p><p id="live" role="status">Asking …</p></header>
<main>
<dl>${[
  tile('state', 'state'),
  tile('reached', 'reached by others'),
  tile('uptime', 'up for'),
  tile('blobs', 'blobs here'),
  tile('used', 'room'),
  tile('members', 'members reachable'),
  tile('factor', 'replicas wanted'),
  tile('waiting', 'blobs waiting for replicas'),
  tile('unhealed', 'damaged, not healed yet'),
  tile('scrub', 'scrub')
].join('')}</dl>
<p id="why"></p>
<h2>Shards</h2><div class="shards" id="shards" role="img" aria-labelledby="owned"></div><p id="owned"></p>
<h2>Repair: blobs waiting for replicas</h2>
<svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-labelledby="top"><polyline id="line"/></svg><p id="top"></p>
<h2>Peers</h2><table><thead><tr><th>peer<th>path<th>address</tr></thead><tbody id="peers"></tbody></table>
</main>
<noscript><p>This page asks the node by script; without one, see /health, /status and /replication-stats.</p></noscript>
<script>${SCRIPT}</script>
</body></html>
`

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** Only the page's own style and script run, and it talks to nobody but this node. */
export const NODE_PAGE_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'content-security-policy': [
    "default-src 'none'",
    `script-src ${hash(SCRIPT)}`,
    `style-src ${hash(STYLE)}`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'"
  ].join('; '),
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff'
}
