/** Every impaired link of a testnet measured by what crosses it, each direction by itself, with user-space clocks. */
import { isShaped, linkProbeArgv, type StreamSeen } from '../../netem/index.ts'
import { isImpaired, type LinkRow, linkRows, reflectorsFor, streamsFor, type Way, waysOf } from './expect-links.ts'
import type { Host, Testnet } from './runtime.ts'

/** A port that no role uses. */
const PORT = 46_021
const REFLECT_FOR_MS = 300_000
const ATTEMPTS = 3
/** Streams with fewer packets may run side by side: they measure no machine. */
const LIGHT_PACKETS = 200
const AT_ONCE = 4

/**
 * Measure from one host behind each impaired access line and from every host with a link of its own. What does not agree
 * is measured again: noise of a crowded machine passes, a lab that is not what it claims stays so.
 */
export async function proveLinks(testnet: Testnet, signal: AbortSignal): Promise<LinkRow[]> {
  const { plan } = testnet
  // Reflectors are not probed themselves, so those without a link of their own come first.
  const reflectors = testnet
    .hosts()
    .filter(({ planned }) => planned.nat === null && planned.role !== 'chain' && planned.isIpv6Only !== true)
    .sort((a, b) => Number(isShaped(a.planned.link)) - Number(isShaped(b.planned.link)))
  const [first] = reflectors
  const probers = testnet.hosts().filter((host, index, all) => {
    const { planned } = host
    if (!isImpaired(plan, planned) || host === first) return false
    return isShaped(planned.link) || all.findIndex(other => other.planned.nat === planned.nat) === index
  })
  const claimed = testnet.hosts().some(({ planned }) => isImpaired(plan, planned))
  if (!claimed) return []
  if (first === undefined || probers.length === 0) return [unprovable()]
  const chosen = probers.map(host => {
    const others = reflectors.filter(each => each !== host).map(({ planned }) => planned)
    return { host, reflectors: reflectorsFor(plan, host.planned, others) }
  })
  const needed = new Set(chosen.flatMap(each => each.reflectors.map(({ name }) => name)))
  const ending = new AbortController()
  const argv = linkProbeArgv({ reflect: { port: PORT, forMs: REFLECT_FOR_MS } })
  const reflecting = [...needed].map(name =>
    testnet
      .host(name)
      .exec(argv, { signal: AbortSignal.any([signal, ending.signal]) })
      .catch(() => undefined)
  )
  try {
    const asked = chosen.flatMap(({ host, reflectors: to }) =>
      to.map(reflector => ({ host, others: to.length - 1, ways: waysOf(plan, host.planned, reflector) }))
    )
    const isLight = ({ ways }: Asked): boolean =>
      ways.every(way => streamsFor(way).every(({ packets }) => packets <= LIGHT_PACKETS))
    const rows = new Map<Asked, LinkRow[]>()
    const prove = async (one: Asked): Promise<void> => void rows.set(one, await rowsOf(one, signal))
    await inTurns(asked.filter(isLight), prove)
    // One after another: many packets side by side would measure the machine.
    for (const one of asked.filter(each => !isLight(each))) await prove(one)
    return asked.flatMap(one => rows.get(one) ?? [])
  } finally {
    ending.abort()
    await Promise.all(reflecting)
  }
}

interface Asked {
  host: Host
  /** Other reflectors that this host is measured with. */
  others: number
  ways: Way[]
}

/** Something that nobody can look at is not proved. */
function unprovable(): LinkRow {
  const got = 'no host on the internet, from where they could be measured'
  return { link: 'every impaired link', what: 'delay', asked: 'to be measured', got, ok: false }
}

async function rowsOf({ host, others, ways }: Asked, signal: AbortSignal): Promise<LinkRow[]> {
  const rows: LinkRow[] = []
  let left = ways
  for (let attempt = 1; left.length > 0; attempt++) {
    const seen = await probe(host, left, signal)
    const judged = left.map((way, index) => linkRows(way, streamsFor(way), seen[index]!, others))
    const isDone = (own: LinkRow[]): boolean => attempt === ATTEMPTS || own.every(({ ok }) => ok)
    rows.push(...judged.filter(isDone).flat())
    left = left.filter((_, index) => !isDone(judged[index]!))
  }
  return rows
}

/** What each way's streams showed, in their order. */
async function probe(host: Host, ways: Way[], signal: AbortSignal): Promise<StreamSeen[][]> {
  const streams = ways.map(streamsFor)
  const { address } = ways[0]!
  const argv = linkProbeArgv({ probe: { address, port: PORT, streams: streams.flat() } })
  const { code, stdout, stderr } = await host.exec(argv, { signal })
  if (code !== 0) throw new Error(`the link probe in ${host.planned.name} ended with ${code}: ${stderr}`)
  const seen = JSON.parse(stdout) as StreamSeen[]
  return streams.map(own => seen.splice(0, own.length))
}

async function inTurns<T>(items: T[], act: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  const turns = async (): Promise<void> => {
    for (const item of rest) await act(item)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, turns))
}
