/** The lab proves itself before anything is judged in it: every NAT has its kind, every impairment its size. */
import { isImpaired, type LinkRow, linkRows, loses, rateRow, ratesOf } from './expect.ts'
import type { NatRow } from './expect-nats.ts'
import { nodeProgram, type ProbeResult, probeUdp, reflectUdp } from './probe-programs.ts'
import { proveIpv6 } from './prove-ipv6.ts'
import { proveNats } from './prove-nats.ts'
import { probeBursts, type RateResult, reflectBursts } from './rate-programs.ts'
import type { Host, Testnet } from './runtime.ts'

export interface Proof {
  ok: boolean
  nats: NatRow[]
  links: LinkRow[]
}

/** Ports that no role uses. */
const REFLECTOR_PORTS = [46_001, 46_002]
const BURST_PORT = 46_003
const ATTEMPTS = 3
const REFLECTORS = 2
const REFLECT_FOR_MS = 60_000
const FIRST_ANSWER_WITHIN_MS = 20_000
const ANSWER_WITHIN_MS = 1000
const ROUNDS = 12
const ROUNDS_WITH_LOSS = 200
/** A burst lasts about this long at the rate asked for, and slower rates would take too long to measure. */
const BURST_MS = 120
const SLOWEST_MEASURED_KBIT = 1000
const BURST_ROUNDS = 3
const BURST_PACKETS_MAX = 3000
const PACKET_BITS = 1242 * 8

/** NATs first, then links: what measures time wants the machine for itself. */
export async function proveLab(testnet: Testnet, signal: AbortSignal): Promise<Proof> {
  const nats = [...(await proveNats(testnet, signal)), ...(await proveIpv6(testnet, signal))]
  const links = await proveLinks(testnet, signal)
  return { ok: links.ok && nats.every(({ proved }) => proved), nats, links: links.rows }
}

interface LinkProof {
  ok: boolean
  rows: LinkRow[]
}

/**
 * Measure from one host behind each impaired access line and from every host with a link of its own. What does not agree
 * is measured again: noise of a crowded machine passes, a lab that is not what it claims stays so.
 */
async function proveLinks(testnet: Testnet, signal: AbortSignal): Promise<LinkProof> {
  let proof = await linksOnce(testnet, signal)
  for (let attempt = 2; attempt <= ATTEMPTS && !proof.ok; attempt++) proof = await linksOnce(testnet, signal)
  return proof
}

async function linksOnce(testnet: Testnet, signal: AbortSignal): Promise<LinkProof> {
  const { plan } = testnet
  const impaired = ({ planned }: Host): boolean => planned.link.up !== null || planned.link.down !== null
  // Reflectors are not probed themselves, so those without a link of their own come first.
  const reflectors = testnet
    .hosts()
    .filter(({ planned }) => planned.nat === null && planned.role !== 'chain')
    .sort((a, b) => Number(impaired(a)) - Number(impaired(b)))
    .slice(0, REFLECTORS)
  const probers = testnet.hosts().filter((host, index, all) => {
    const { planned } = host
    if (!isImpaired(plan, planned)) return false
    const firstBehind = planned.nat !== null && all.findIndex(host => host.planned.nat === planned.nat) === index
    return firstBehind || (impaired(host) && !reflectors.includes(host))
  })
  // Nothing to prove is proved; something that nobody can look at is not.
  if (probers.length === 0 || reflectors.length === 0)
    return { ok: probers.length === 0 && !testnet.hosts().some(impaired), rows: [] }
  const ending = new AbortController()
  const [first] = reflectors
  const programs = reflectors.map(host => ({ host, argv: nodeProgram(reflectUdp, REFLECTOR_PORTS, REFLECT_FOR_MS) }))
  programs.push({ host: first!, argv: nodeProgram(reflectBursts, BURST_PORT, REFLECT_FOR_MS) })
  const reflecting = programs.map(({ host, argv }) =>
    host.exec(argv, { signal: AbortSignal.any([signal, ending.signal]) }).catch(() => undefined)
  )
  try {
    const targets = reflectors.flatMap(({ planned }) =>
      REFLECTOR_PORTS.map(port => `${planned.attachment.address}:${port}`)
    )
    const proofs = await Promise.all(probers.map(async host => await probe(testnet, host, targets, signal)))
    const rows = proofs.flatMap(({ planned, result }) => linkRows(plan, planned, reflectors[0]!.planned, result))
    // One after another: bursts side by side would measure the machine.
    for (const host of probers) rows.push(...(await rates(testnet, host, first!, signal)))
    return { ok: rows.every(({ ok }) => ok), rows }
  } finally {
    ending.abort()
    await Promise.all(reflecting)
  }
}

async function probe(
  { plan }: Testnet,
  host: Host,
  targets: string[],
  signal: AbortSignal
): Promise<{ planned: Host['planned']; result: ProbeResult }> {
  const rounds = loses(plan, host.planned) ? ROUNDS_WITH_LOSS : ROUNDS
  const { code, stdout, stderr } = await host.exec(
    nodeProgram(probeUdp, targets, rounds, FIRST_ANSWER_WITHIN_MS, ANSWER_WITHIN_MS),
    { signal }
  )
  if (code !== 0) throw new Error(`the probe in ${host.planned.name} ended with ${code}: ${stderr}`)
  return { planned: host.planned, result: JSON.parse(stdout) as ProbeResult }
}

/** Rows of the rate limits between a host and the reflector; those too slow to be measured in time have none. */
async function rates({ plan }: Testnet, host: Host, reflector: Host, signal: AbortSignal): Promise<LinkRow[]> {
  const asked = ratesOf(plan, host.planned)
  const isMeasured = (kbit: number | null): kbit is number => kbit !== null && kbit >= SLOWEST_MEASURED_KBIT
  if (!isMeasured(asked.up) && !isMeasured(asked.down)) return []
  const packets = (kbit: number | null): number =>
    isMeasured(kbit) ? Math.min(BURST_PACKETS_MAX, Math.ceil((kbit * BURST_MS) / PACKET_BITS)) : 0
  const argv = nodeProgram(
    probeBursts,
    reflector.planned.attachment.address,
    BURST_PORT,
    packets(asked.up),
    packets(asked.down),
    BURST_ROUNDS
  )
  const { code, stdout, stderr } = await host.exec(argv, { signal })
  if (code !== 0) throw new Error(`the rate probe in ${host.planned.name} ended with ${code}: ${stderr}`)
  const measured = JSON.parse(stdout) as RateResult
  return (['up', 'down'] as const).flatMap(direction => {
    const kbit = asked[direction]
    return isMeasured(kbit) ? [rateRow(host.planned, direction, kbit, measured[`${direction}Kbit`])] : []
  })
}
