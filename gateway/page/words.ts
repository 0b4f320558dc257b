/** How the page says things. Pure. */
import type { HostView, NetworkView } from '../network/hosts.types.ts'

/** A NAT's kind for a person. */
export function kindWords(kind: string | null): string {
  if (kind === null) return 'NAT'
  if (kind === 'none') return 'router, no NAT'
  return /nat$/i.test(kind) ? kind : `${kind} NAT`
}

export function placeWords(host: HostView): string {
  if (host.nat === null) return host.site === null ? 'the internet' : `${host.site}, no NAT`
  const place = host.site === null || host.site === host.nat ? host.nat : `${host.site}, ${host.nat}`
  return `${place} (${kindWords(host.natKind)})`
}

/** Times are UTC, to the second. */
export function stateWords(host: HostView): string {
  const since = host.since === null ? '' : ` since ${timeWords(host.since)}`
  if (host.state === 'unknown') return host.reason === null ? 'unknown' : `unknown: ${host.reason}`
  return `${host.state}${since}${host.reason === null ? '' : `: ${host.reason}`}`
}

export function timeWords(iso: string): string {
  return `${iso.slice(11, 19)} UTC`
}

export function storedWords(host: Pick<HostView, 'storedBlobs'>): string | null {
  if (host.storedBlobs === null) return null
  return `${host.storedBlobs} blob${host.storedBlobs === 1 ? '' : 's'}`
}

/** Bytes in the unit a person would pick. */
export function sizeWords(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`
}

/** Paths of each host, counted in one go. */
export function pathCounts(view: NetworkView): Map<string, { direct: number; relayed: number }> {
  const counts = new Map<string, { direct: number; relayed: number }>()
  for (const { a, b, path } of view.paths) {
    for (const name of [a, b]) {
      const count = counts.get(name) ?? { direct: 0, relayed: 0 }
      count[path] += 1
      counts.set(name, count)
    }
  }
  return counts
}
