/** Notices that this machine's own addresses changed: another uplink, a new lease, a moved network. */
import { networkInterfaces } from 'node:os'

/** Reading the interfaces takes a fraction of a millisecond. */
export const INTERFACE_POLL_MS = 500

/** Addresses of the machine's own that others could send to, without link-local ones. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap(list => list ?? [])
    .filter(({ internal, address }) => !internal && !/^fe80:/i.test(address))
    .map(({ address }) => address)
    .sort()
}

/**
 * Calls `onChange` with what is there and what went, from the first change on.
 * @param options.read for tests: where the addresses come from
 * @returns ends it
 */
export function watchInterfaces(options: {
  onChange: (now: string[], gone: string[]) => void
  read?: () => string[]
  pollMs?: number
}): () => void {
  const { onChange, read = ownAddresses, pollMs = INTERFACE_POLL_MS } = options
  let before = read()
  const timer = setInterval(() => {
    const now = read()
    if (now.length === before.length && now.every((address, index) => address === before[index])) return
    const gone = before.filter(address => !now.includes(address))
    before = now
    onChange(now, gone)
  }, pollMs)
  timer.unref()
  return () => clearInterval(timer)
}
