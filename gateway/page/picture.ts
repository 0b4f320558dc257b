/** The picture of the network as SVG. Pure. */
import type { HostView, NetworkView, PathView } from '../network/hosts.types.ts'
import { type Html, html } from './html.ts'
import { layoutOf, type PlacedHost, type PlacedNat, type Point } from './layout.ts'
import { kindWords, stateWords, storedWords } from './words.ts'

/** With more paths than this, only those of the answering gateway are drawn: the rest would be a felt. */
const PATHS_DRAWN_MAX = 60
const NAME_MAX_CHARS = 18

export function pictureOf(view: NetworkView): Html {
  const layout = layoutOf(view)
  const places = new Map(layout.hosts.map(placed => [placed.host.name, placed]))
  const drawn = pathsDrawn(view)
  return html`<svg class="picture" viewBox="0 0 ${layout.width} ${Math.round(layout.height)}" role="img"
    aria-label="Hosts, NATs and open paths; the table below says the same in words">
<rect class="internet" x="${layout.internet.x}" y="${layout.internet.y}" width="${layout.internet.width}" height="${layout.internet.height}" rx="26"/>
<text class="place" x="${layout.width / 2}" y="${layout.internet.y + 28}" text-anchor="middle">the internet</text>
${layout.nats.map(natBox)}
<g class="all">${(['direct', 'relayed'] as const).map(kind => together(drawn, kind, places))}</g>
<g class="paths">${drawn.map(path => pathLine(path, places))}</g>
${layout.hosts.map(chip)}
</svg>`
}

/** What the picture leaves out, in words; null when nothing. */
export function leftOutWords(view: NetworkView): string | null {
  const drawn = pathsDrawn(view).length
  const all = view.paths.length + view.omitted.paths
  return drawn === all ? null : `Only the ${drawn} paths of ${view.gateway} are drawn, of ${all}.`
}

function pathsDrawn(view: NetworkView): readonly PathView[] {
  if (view.paths.length <= PATHS_DRAWN_MAX) return view.paths
  return view.paths.filter(path => path.a === view.gateway || path.b === view.gateway)
}

function natBox({ x, y, width, height, name, kind, side, line }: PlacedNat): Html {
  return html`<g>
<line class="access" x1="${line.x1}" x2="${line.x2}" y1="${line.y}" y2="${line.y}"/>
<rect class="nat" x="${x}" y="${y}" width="${width}" height="${height}" rx="14"/>
<rect class="door" x="${side === 'left' ? x + width - 5 : x - 5}" y="${line.y - 15}" width="10" height="30" rx="3"/>
<text class="place" x="${x + 16}" y="${y + 27}">${short(name, 20)}</text>
<text class="kind" x="${x + width - 16}" y="${y + 27}" text-anchor="end">${kindWords(kind)}</text>
</g>`
}

function chip({ host, x, y, width, height }: PlacedHost): Html {
  const stored = storedWords(host)
  return html`<g class="host ${host.state}${host.self ? ' self' : ''}" data-host="${host.name}">
<title>${hostWords(host)}</title>
<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="9"/>
<circle cx="${x + 16}" cy="${y + 16}" r="5"/>
<text class="name" x="${x + 28}" y="${y + 20}">${short(host.name, NAME_MAX_CHARS)}</text>
<text class="note" x="${x + 28}" y="${y + 37}">${host.role}${host.state === 'up' ? (stored === null ? '' : ` · ${stored}`) : ` · ${host.state}`}</text>
</g>`
}

function hostWords(host: HostView): string {
  return [`${host.name}: ${host.role}, ${stateWords(host)}`, host.peerId].filter(part => part !== null).join('\n')
}

/** All paths of one kind. What several share, on the way to a NAT's door say, is drawn once, so that dashes stay dashes. */
function together(paths: readonly PathView[], kind: PathView['path'], places: ReadonlyMap<string, PlacedHost>): Html {
  const curves = new Set(paths.filter(path => path.path === kind).flatMap(path => curvesOf(path, places)))
  return html`<path class="${kind}" d="${[...curves].join('')}"/>`
}

/** One path alone: unseen until somebody points at one of its hosts. */
function pathLine(path: PathView, places: ReadonlyMap<string, PlacedHost>): Html {
  const via = path.via === null ? '' : ` through ${path.via}`
  return html`<path class="${path.path}" data-a="${path.a}" data-b="${path.b}" d="${curvesOf(path, places).join('')}"><title>${path.a} – ${path.b}: ${path.path}${via}</title></path>`
}

/** A relayed path goes through its relay: that is where its bytes go. */
function curvesOf(path: PathView, places: ReadonlyMap<string, PlacedHost>): string[] {
  const [a, b] = [places.get(path.a), places.get(path.b)]
  if (a === undefined || b === undefined) return []
  const relay = path.via === null ? undefined : places.get(path.via)
  const stops = relay === undefined ? [a, b] : [a, relay, b]
  return stops.slice(1).flatMap((stop, index) => hop(stops[index] as PlacedHost, stop))
}

/** From host to host, out and in by the doors of their NATs. */
function hop(from: PlacedHost, to: PlacedHost): string[] {
  const doors = from.host.nat === to.host.nat ? [] : [from.door, to.door].filter(door => door !== null)
  const points = [middle(from), ...doors, middle(to)]
  return points.slice(1).map((point, index) => curve(points[index] as Point, point, from.width))
}

function middle(place: PlacedHost): Point {
  return { x: place.x + place.width / 2, y: place.y + place.height / 2 }
}

/** The same text for both directions. */
function curve(one: Point, other: Point, chipWidth: number): string {
  const [start, end] = one.x < other.x || (one.x === other.x && one.y < other.y) ? [one, other] : [other, one]
  const bend = (first: number, second: number) =>
    `M${n(start.x)} ${n(start.y)}C${n(first)} ${n(start.y)} ${n(second)} ${n(end.y)} ${n(end.x)} ${n(end.y)}`
  if (Math.abs(start.x - end.x) < 4) {
    // One above the other: a bow beside the hosts.
    const x = start.x + chipWidth / 2 + 14 + Math.abs(end.y - start.y) / 8
    return bend(x, x)
  }
  const pull = (end.x - start.x) * 0.45
  return bend(start.x + pull, end.x - pull)
}

function n(value: number): string {
  return value.toFixed(1)
}

function short(text: string, maxChars: number): string {
  return text.length <= maxChars ? text : `${text.slice(0, maxChars - 1)}…`
}
