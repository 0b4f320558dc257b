/**
 * Packet captures and tables as evidence: which interfaces there are to look at, and the commands that look. Pure; the
 * runtimes run them inside each owner's network. The only caller of tcpdump and conntrack.
 */
import { HOST_INTERFACE, ROUTER_INTERFACES } from './namespaces.ts'
import type { Plan, PlannedNetwork } from './plan.types.ts'

/** Programs that captures need, each in the Debian package of its name. */
export const CAPTURE_TOOLS = ['tcpdump', 'conntrack'] as const

/**
 * A shell command that fails, saying why, where nobody can record. tcpdump sets its groups before it writes, which a user
 * namespace that an ordinary user made does not allow.
 */
export const CAPTURE_PROBE = [
  ...CAPTURE_TOOLS.map(name => `command -v ${name} || { echo '${name} is not installed' >&2; exit 1; }`),
  "grep -q allow /proc/self/setgroups || { echo 'tcpdump works as root only, not in the user namespace of another' >&2; exit 1; }"
].join('\n')

/** One ring: so many files of so many million bytes for each interface, the oldest overwritten. */
export const CAPTURE_FILES = 8
export const CAPTURE_FILE_MB = 2
/** What is kept of each packet, bytes: all headers and the first words. */
export const CAPTURE_SNAP_BYTES = 256
/** A short look keeps so many packets of an interface at most. */
export const LOOK_PACKETS = 20_000
/** What tcpdump says, once an interface, when nothing is missed any more. */
export const CAPTURE_READY = 'listening on '

const MS_PER_S = 1000

/** Someone with a network of its own. */
export interface CaptureOwner {
  owner: string
  interfaces: Array<{
    /** As files are named: `eth0` of a host, `inside` and `outside` of a router. */
    name: string
    /** CIDR in which it has an address, by which it is found; null: it has the name. */
    subnet: string | null
    /** Whose packets are none of the lab's: Docker's bridge, through which control traffic comes. */
    ignored: string
  }>
}

/** Routers first: they see the most. */
export function captureOwners(plan: Plan): CaptureOwner[] {
  const networkOf = (network: string) => plan.networks.find(({ name }) => name === network)!
  const facing = (name: string, { subnet, bridgeAddress }: PlannedNetwork) => ({ name, subnet, ignored: bridgeAddress })
  return [
    ...plan.routers.map(({ name, inside, outside }) => ({
      owner: name,
      interfaces: [
        facing(ROUTER_INTERFACES.inside, networkOf(inside.network)),
        facing(ROUTER_INTERFACES.outside, networkOf(outside.network))
      ]
    })),
    ...plan.hosts.map(({ name, attachment }) => ({
      owner: name,
      interfaces: [{ name: HOST_INTERFACE, subnet: null, ignored: networkOf(attachment.network).bridgeAddress }]
    }))
  ]
}

/** `ring`: until it is ended. `lookMs`: so long, rounded up to whole seconds. */
export type CaptureMode = 'ring' | { lookMs: number }

/**
 * A shell command that records every interface of one owner to `<folder>/<owner>-<interface>.pcap…`; each life of a
 * network has files of its own (`-2`, `-3`). Every packet is handed over and written at once: a kill or the end of a look
 * loses none that had come.
 */
export function captureArgv({ owner, interfaces }: CaptureOwner, folder: string, mode: CaptureMode): string[] {
  const bound =
    mode === 'ring'
      ? { before: '', limit: `-C ${CAPTURE_FILE_MB} -W ${CAPTURE_FILES}` }
      : {
          before: `timeout --preserve-status --signal=INT ${Math.ceil(mode.lookMs / MS_PER_S)} `,
          limit: `-c ${LOOK_PACKETS}`
        }
  const lines = interfaces.flatMap(({ name, subnet, ignored }) => [
    subnet === null ? `device=${name}` : `device=$(ip -o -4 address show to ${subnet} | head -n 1 | cut -d' ' -f2)`,
    `file='${folder}/${owner}-${name}' life=1`,
    `while ls "$file".pcap* >/dev/null 2>&1; do life=$((life + 1)); file='${folder}/${owner}-${name}'-$life; done`,
    // Its own user may not exist here; what it may do was taken away before.
    `${bound.before}tcpdump -Z root -i "$device" --immediate-mode -n -U -s ${CAPTURE_SNAP_BYTES} ${bound.limit} -w "$file.pcap" 'not host ${ignored}' &`
  ])
  return ['sh', '-c', [...lines, 'wait'].join('\n')]
}

/** A router's tables: file names, and the commands that print them in its network. */
export function tableDumps(router: string): Array<{ file: string; argv: string[] }> {
  return [
    { file: `${router}.conntrack.txt`, argv: ['conntrack', '-L'] },
    { file: `${router}.nft.txt`, argv: ['nft', 'list', 'ruleset'] }
  ]
}
