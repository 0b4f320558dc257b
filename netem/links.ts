/** Reading a link as an author may write it. Pure. */
import { LINK_PRESETS } from './link-presets.ts'
import type { PlannedLink, PlannedPeer } from './plan.types.ts'
import type { Directions, Impairment, Link, LinkSpec } from './topology.ts'

/** Whether a link was written per direction. */
export function isLinkSpec(link: object): link is LinkSpec {
  return 'up' in link || 'down' in link || 'peers' in link
}

/** Words that change packets by themselves; the others only say how. */
const ACTING = ['delayMs', 'jitterMs', 'lossPct', 'rateKbit', 'reorderPct', 'duplicatePct', 'corruptPct'] as const

/** Whether an impairment changes anything at all. */
export function impairs(impairment: Impairment | null | undefined): impairment is Impairment {
  return impairment !== null && impairment !== undefined && ACTING.some(word => (impairment[word] ?? 0) > 0)
}

/** Whether anything of a link is impaired. */
export function isShaped({ up, down, peers = [] }: PlannedLink): boolean {
  return [up, down, ...peers.flatMap(peer => [peer.up, peer.down])].some(impairment => impairment !== null)
}

/** Every impairment of one direction, those of peers behind the link's own. */
export function impairmentsOf(link: PlannedLink, direction: 'up' | 'down'): Impairment[] {
  return [link[direction], ...(link.peers ?? []).map(peer => peer[direction])].filter(each => each !== null)
}

/** Presets filled in: what each direction is asked, and peers. */
export function directionsOf(link: Link): LinkSpec {
  if (typeof link === 'string') return LINK_PRESETS[link]
  if (!('preset' in link)) return isLinkSpec(link) ? link : { up: link, down: link }
  const { preset, ...changes } = link
  const base = LINK_PRESETS[preset]
  const { up, down, peers } = isLinkSpec(changes) ? changes : { up: changes, down: changes, peers: undefined }
  return { up: { ...base.up, ...up }, down: { ...base.down, ...down }, ...(peers === undefined ? {} : { peers }) }
}

/** The link per direction, null where it is perfect. A plain impairment counts for both directions. */
export function readLink(link: Link | undefined): PlannedLink {
  if (link === undefined) return { up: null, down: null }
  const own = directionsOf(link)
  const peers = Object.entries(own.peers ?? {})
    .map(([prefix, peer]) => readPeer(prefix, peer, own))
    .sort((a, b) => lengthOf(b) - lengthOf(a) || (a.prefix < b.prefix ? -1 : 1))
  return { up: tidy(own.up), down: tidy(own.down), ...(peers.length === 0 ? {} : { peers }) }
}

function readPeer(prefix: string, peer: Impairment | Directions, own: Directions): PlannedPeer {
  const { up, down }: Directions = isLinkSpec(peer) ? peer : { up: peer as Impairment, down: peer as Impairment }
  return { prefix, up: tidy(up ?? own.up), down: tidy(down ?? own.down) }
}

const lengthOf = ({ prefix }: PlannedPeer): number => Number(prefix.split('/')[1])

/** Keys in one order and without those that do nothing, so that the same link is the same bytes. */
function tidy(impairment: Impairment | undefined): Impairment | null {
  if (!impairs(impairment)) return null
  const { delayMs, jitterMs, distribution, lossPct, lossBurst, rateKbit } = impairment
  const { reorderPct, duplicatePct, corruptPct, limitPackets } = impairment
  return {
    ...(delayMs ? { delayMs } : {}),
    ...(jitterMs ? { jitterMs } : {}),
    ...(jitterMs && distribution && distribution !== 'uniform' ? { distribution } : {}),
    ...(lossPct ? { lossPct } : {}),
    ...(lossPct && lossBurst ? { lossBurst } : {}),
    ...(rateKbit ? { rateKbit } : {}),
    ...(reorderPct ? { reorderPct } : {}),
    ...(duplicatePct ? { duplicatePct } : {}),
    ...(corruptPct ? { corruptPct } : {}),
    ...(limitPackets ? { limitPackets } : {})
  }
}
