/** How a NAT chooses the outer port of a new mapping, as nftables says it. Pure. */
import type { NatBehaviour } from './nat-kinds.ts'
import { key, map, type Protocol } from './nat-text.ts'

/** Ports that a NAT gives out, RFC 4787 REQ-3: none of the well-known ones. */
const FIRST_PORT = 1024
const LAST_PORT = 65_535
/** Where `sequential` and `deterministic` begin, and how many ports they go round; each is an element of a map. */
const RING_FIRST_PORT = 20_000
const RING_PORTS = 4096
const RING_SEED = '0x57415252'
/** The statement that lets the kernel choose a port for a new flow. */
export function allocate(
  { mapping, allocation, blockPorts }: NatBehaviour,
  protocol: Protocol,
  address: string
): string {
  switch (allocation) {
    case 'preserving':
      return `snat to ${address}`
    case 'random':
      return anyPort(address)
    case 'sequential':
      return `snat to ${address} : numgen inc mod ${RING_PORTS} map @ring`
    case 'deterministic': {
      const hashed = key(mapping, `ip saddr . ${protocol} sport`, 'ip daddr', `${protocol} dport`)
      return `snat to ${address} : jhash ${hashed} mod ${RING_PORTS} seed ${RING_SEED} map @ring`
    }
    case 'block':
      return `snat ip to ip saddr & ${blockMask(blockPorts)} map @blocks fully-random`
  }
}

/** What `allocate` looks ports up in. */
export function choices({ allocation, blockPorts }: NatBehaviour, address: string): string[] {
  switch (allocation) {
    case 'sequential':
    case 'deterministic':
      // Through a map, because nft 1.0.6 hands numbers it generated to NAT in the machine's byte order.
      return map('ring', `typeof numgen inc mod ${RING_PORTS} : udp dport`, ring())
    case 'block':
      // Address and ports together: with ports alone nft 1.0.6 loses the range's end.
      return map('blocks', 'type ipv4_addr : interval ipv4_addr . inet_service', blocks(blockPorts, address))
    default:
      return []
  }
}

function ring(): string[] {
  return Array.from({ length: RING_PORTS }, (_, n) => `${n} : ${RING_FIRST_PORT + n}`)
}

/** Any port, drawn. */
export const anyPort = (address: string): string => `snat to ${address} : ${FIRST_PORT}-${LAST_PORT} fully-random`

/** The ports that a NAT with blocks gives to one inner address, both included. Subscribers beyond the last block share. */
export function portBlock(innerAddress: string, blockPorts: number): { first: number; last: number } {
  const number = innerAddress.split('.').reduce((value, octet) => value * 256 + Number(octet), 0)
  const first = FIRST_PORT + (number % subscribers(blockPorts)) * blockPorts
  return { first, last: first + blockPorts - 1 }
}

/** Subscribers share blocks beyond this many; a power of two, taken from the end of the inner address. */
function subscribers(blockPorts: number): number {
  return 2 ** Math.floor(Math.log2((LAST_PORT + 1 - FIRST_PORT) / blockPorts))
}

function blockMask(blockPorts: number): string {
  const mask = subscribers(blockPorts) - 1
  return [24, 16, 8, 0].map(shift => (mask >> shift) & 255).join('.')
}

function blocks(blockPorts: number, address: string): string[] {
  return Array.from({ length: subscribers(blockPorts) }, (_, n) => {
    const { first, last } = portBlock(`0.0.${n >> 8}.${n & 255}`, blockPorts)
    return `0.0.${n >> 8}.${n & 255} : ${address} . ${first}-${last}`
  })
}
