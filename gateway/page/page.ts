/**
 * The page for a person: a picture of the network and a table that says the same without colour. It loads nothing but
 * itself and asks this gateway for news. Pure.
 */
import { PAGE_POLL_MS, PAGE_RETRY_MAX_MS, PAGE_RETRY_MIN_MS, PAGE_SILENCE_MS } from '../constants.ts'
import { shortPeerId } from '../network/hosts.ts'
import type { HostView, NetworkView } from '../network/hosts.types.ts'
import { inline, pageHeaders } from './headers.ts'
import { Html, html } from './html.ts'
import { leftOutWords, pictureOf } from './picture.ts'
import { SCRIPT } from './script.ts'
import { STYLE } from './style.ts'
import { pathCounts, placeWords, sizeWords, stateWords, storedWords } from './words.ts'

/** Only the page's own style and script run, and it talks to nobody but this gateway. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = pageHeaders([
  `style-src ${inline(STYLE)}`,
  `script-src ${inline(SCRIPT)}`,
  "connect-src 'self'"
])

/** The whole page. */
export function page(view: NetworkView): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Warren: ${view.gateway}</title>
<style>${new Html(STYLE)}</style>
<noscript><meta http-equiv="refresh" content="5"></noscript>
</head>
<body data-poll-ms="${PAGE_POLL_MS}" data-retry-min-ms="${PAGE_RETRY_MIN_MS}" data-retry-max-ms="${PAGE_RETRY_MAX_MS}" data-silence-ms="${PAGE_SILENCE_MS}">
<header>
<h1>Warren</h1>
<p>The network as <strong>${view.gateway}</strong> finds it. <span id="fresh" role="status">Refreshed live.</span></p>
</header>
<main id="live">${live(view)}</main>
<footer>The same as data: <a href="/v1/network/hosts">/v1/network/hosts</a> · <a href="/health">/health</a> · <a href="/metrics">/metrics</a> · <a href="/docs">/docs</a></footer>
<script>${new Html(SCRIPT)}</script>
</body>
</html>
`.text
}

/** What is drawn anew at each change. */
export function liveFragment(view: NetworkView): string {
  return live(view).text
}

/** One picture is drawn once, however many look at it. */
const drawn = new WeakMap<NetworkView, Html>()

function live(view: NetworkView): Html {
  const known = drawn.get(view)
  if (known !== undefined) return known
  const fresh = draw(view)
  drawn.set(view, fresh)
  return fresh
}

function draw(view: NetworkView): Html {
  const direct = view.paths.filter(path => path.path === 'direct').length
  const up = view.hosts.filter(host => host.state === 'up').length
  const blobs = view.hosts.reduce((sum, host) => sum + (host.storedBlobs ?? 0), 0)
  const bytes = view.hosts.reduce((sum, host) => sum + (host.storedBytes ?? 0), 0)
  const down = view.hosts.filter(host => host.state === 'down')
  return html`<ul class="facts">
${fact(`${up} of ${view.hosts.length}`, 'hosts up', down.length > 0 ? 'bad' : 'good')}
${fact(String(view.nats.length), view.nats.length === 1 ? 'NAT' : 'NATs', '')}
${fact(String(direct), direct === 1 ? 'direct path' : 'direct paths', 'direct')}
${fact(String(view.paths.length - direct), view.paths.length - direct === 1 ? 'relayed path' : 'relayed paths', 'relayed')}
${fact(String(blobs), `stored copies of blobs, ${sizeWords(bytes)}`, '')}
</ul>
${down.length > 0 && html`<p class="alarm">Down: ${down.map(host => host.name).join(', ')}</p>`}
<figure>${pictureOf(view)}
<figcaption><span class="key direct">solid: direct</span> <span class="key relayed">dashed: through a relay</span>
<span>A relayed path bends through its relay. Point at a host to see only its paths. ${leftOutWords(view)}</span></figcaption>
</figure>
${table(view)}
${view.omitted.hosts + view.omitted.paths > 0 && html`<p>Left out: ${view.omitted.hosts} hosts and ${view.omitted.paths} paths.</p>`}`
}

function fact(value: string, what: string, mood: string): Html {
  return html`<li class="${mood}"><b>${value}</b> ${what}</li>`
}

function table(view: NetworkView): Html {
  const counts = pathCounts(view)
  return html`<div class="scroll"><table>
<thead><tr><th>Host</th><th>Role</th><th>Where</th><th>State</th><th>Stored</th><th>From ${view.gateway}</th><th>Its paths</th><th>Peer id</th></tr></thead>
<tbody>
${view.hosts.map(host => row(host, counts.get(host.name)))}
</tbody></table></div>`
}

function row(host: HostView, paths: { direct: number; relayed: number } | undefined): Html {
  const stored = storedWords(host)
  const name =
    host.control === null
      ? html`${host.name}`
      : html`<a href="${host.control}/health" rel="noreferrer">${host.name}</a>`
  return html`<tr class="${host.state}"><th scope="row">${name}</th><td>${host.role}</td><td class="where">${placeWords(host)}</td>
<td class="state">${stateWords(host)}</td><td>${stored ?? '–'}${stored !== null && host.storedBytes !== null && html`, ${sizeWords(host.storedBytes)}`}</td>
<td>${host.self ? 'itself' : (host.path ?? '–')}</td><td>${paths === undefined ? '–' : `${paths.direct} direct, ${paths.relayed} relayed`}</td>
<td><code title="${host.peerId ?? ''}">${host.peerId === null ? '–' : shortPeerId(host.peerId)}</code></td></tr>
`
}
