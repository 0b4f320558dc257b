/** The control puncher at work: pairs of hosts, one rendezvous on the internet, what came of each pair. */
import { nodeProgram } from './probe-programs.ts'
import { type PunchPair, type PunchResult, puncher, rendezvous } from './punch-programs.ts'
import type { Testnet } from './runtime.ts'

/** A port that no role and no proof uses. */
const RENDEZVOUS_PORT = 46_071
const PUNCH_FOR_MS = 900_000
const GATHER_WITHIN_MS = 60_000
/** TCP sends its SYN again after 1 s; longer than that nothing changes any more. */
const TRY_FOR_MS = { udp: 800, tcp: 1800 }
const PAIRS_AT_ONCE = 10

export interface PunchOptions {
  signal: AbortSignal
  /** Longer than usual, for a second look at what came out otherwise than expected. */
  patience?: number
}

/** Try pairs of hosts, both sides at once. @throws when a host cannot be reached at all */
export async function controlPunch(
  testnet: Testnet,
  pairs: PunchPair[],
  { signal, patience = 1 }: PunchOptions
): Promise<PunchResult[]> {
  const meeting = testnet.hosts().find(({ planned }) => planned.nat === null)
  if (meeting === undefined) throw new Error('no host is on the internet, where two others could meet')
  const hosts = [...new Set(pairs.flatMap(({ a, b }) => [a, b]))]
  const { address } = meeting.planned.attachment
  const ending = new AbortController()
  const either = AbortSignal.any([signal, ending.signal])
  const punching = hosts.map(async host => {
    const argv = nodeProgram(puncher, { host, address, port: RENDEZVOUS_PORT, forMs: PUNCH_FOR_MS })
    await testnet
      .host(host)
      .exec(argv, { signal: either })
      .catch(() => undefined)
  })
  try {
    const argv = nodeProgram(rendezvous, {
      port: RENDEZVOUS_PORT,
      hosts,
      pairs,
      atOnce: Math.max(1, Math.floor(PAIRS_AT_ONCE / patience)),
      tryForMs: { udp: TRY_FOR_MS.udp * patience, tcp: TRY_FOR_MS.tcp * patience },
      gatherWithinMs: GATHER_WITHIN_MS
    })
    const { code, stdout, stderr } = await meeting.exec(argv, { signal })
    if (code !== 0) throw new Error(`the rendezvous ended with ${code}: ${stderr}`)
    return JSON.parse(stdout) as PunchResult[]
  } finally {
    ending.abort()
    await Promise.all(punching)
  }
}
