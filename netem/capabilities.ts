/** What this machine can do for a network lab, and the one command that gets what is missing. */
import { CAPTURE_PROBE, CAPTURE_TOOLS } from './capture.ts'
import { CommandFailedError, type Run, run as runCommand } from './exec.ts'
import { PORT_MAPPER } from './port-mapper.ts'
import type { ShapingMeans } from './shape.ts'

/** Things probed, by name. */
export type CapabilityName =
  | 'iproute2'
  | 'nftables'
  | 'user-namespaces'
  | 'network-namespaces'
  | 'nat'
  | 'netem'
  | 'koffi'
  | 'nfqueue'
  | 'port-mapping'
  | 'captures'

export interface CapabilityReport {
  what: CapabilityName
  has: boolean
  /** Why not, in one sentence; empty when it is there. */
  why: string
  /** The one command that mends it; empty when it is there or nothing mends it here. */
  fix: string
}

const PROBE_TIMEOUT_MS = 10_000
const INSTALL = 'apt-get install --yes --no-install-recommends'
/** A network of its own for each probe, so that nothing of the machine is touched. Root needs no user namespace. */
const isRoot = () => process.getuid?.() === 0
const scratch = (script: string) => [
  'unshare',
  ...(isRoot() ? [] : ['--user', '--map-root-user']),
  '--net',
  'sh',
  '-c',
  script
]

/** Every capability, in a fixed order. Probes run in scratch namespaces and leave nothing behind. */
export async function capabilities({ run = runCommand }: { run?: Run } = {}): Promise<CapabilityReport[]> {
  const probes: Array<[CapabilityName, string, () => Promise<unknown>]> = [
    [
      'iproute2',
      `${INSTALL} iproute2 util-linux`,
      () => attempt(run, ['sh', '-c', 'command -v ip && command -v tc && command -v nsenter'])
    ],
    [
      'nftables',
      `${INSTALL} nftables iptables conntrack`,
      () => attempt(run, ['sh', '-c', 'command -v nft && command -v iptables-restore && command -v conntrack'])
    ],
    [
      'user-namespaces',
      USER_NAMESPACES_FIX,
      () => attempt(run, ['unshare', '--user', '--map-root-user', '--net', 'true'])
    ],
    ['network-namespaces', USER_NAMESPACES_FIX, () => attempt(run, scratch('ip link set lo up'))],
    ['nat', 'modprobe --all nft_masq nf_nat', () => attempt(run, scratch(NAT_PROBE))],
    ['netem', 'modprobe sch_netem', () => attempt(run, scratch('tc qdisc add dev lo root netem delay 1ms'))],
    ['koffi', 'npm install --no-save --ignore-scripts koffi', () => import('koffi')],
    ['nfqueue', 'modprobe --all nfnetlink_queue xt_NFQUEUE', () => attempt(run, scratch(NFQUEUE_PROBE))],
    ['port-mapping', `${INSTALL} ${PORT_MAPPER.package}`, () => attempt(run, ['sh', '-c', PORT_MAPPER_PROBE])],
    [
      'captures',
      `${INSTALL} ${CAPTURE_TOOLS.join(' ')}${isRoot() ? '' : ', then run it as root'}`,
      () => attempt(run, scratch(CAPTURE_PROBE))
    ]
  ]
  return Promise.all(
    probes.map(async ([what, fix, probe]) => {
      try {
        await probe()
        return { what, has: true, why: '', fix: '' }
      } catch (error) {
        return { what, has: false, why: reasonOf(error), fix: isRoot() || what === 'koffi' ? fix : `sudo ${fix}` }
      }
    })
  )
}

/** Debian's and Ubuntu's switches against user namespaces; the one that a system does not have does no harm. */
const USER_NAMESPACES_FIX =
  'sysctl --ignore --write kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=65536'

const NAT_PROBE = `nft -f - <<'EOF'
table ip probe {
  chain translate {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "lo" masquerade fully-random
  }
}
EOF`

const NFQUEUE_PROBE = `iptables-restore -n <<'EOF'
*raw
-A PREROUTING -i lo -j NFQUEUE --queue-num 1
COMMIT
EOF`

/** Not all topologies need it, so it is not among the tools that are always here. */
const PORT_MAPPER_PROBE = `command -v ${PORT_MAPPER.program} || { echo '${PORT_MAPPER.program} is not installed' >&2; exit 1; }`

/** What shapes links here, or null when nothing can: then a plan with impairments must be refused. */
export function shapingMeans(reports: CapabilityReport[]): ShapingMeans | null {
  const has = (what: CapabilityName) => reports.some(report => report.what === what && report.has)
  if (has('netem')) return 'netem'
  return has('koffi') && has('nfqueue') ? 'nfqueue' : null
}

function attempt(run: Run, argv: string[]): Promise<unknown> {
  return run(argv, { timeoutMs: PROBE_TIMEOUT_MS })
}

function reasonOf(error: unknown): string {
  if (error instanceof CommandFailedError) return error.stderr.trim().split('\n')[0] || error.message
  return error instanceof Error ? error.message : String(error)
}
