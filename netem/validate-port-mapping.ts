/** What is wrong with a router's port mapping. Pure. */
import { shown } from './names.ts'
import { NAT_PRESETS, type NatSpec } from './nat-kinds.ts'
import { LEASE_LIMITS, PORT_MAPPING_FAULTS, PORT_MAPPING_PROTOCOLS } from './port-mapping.ts'
import type { NetworkSpec } from './topology.ts'
import type { Report } from './validate.ts'

const WORDS = ['protocols', 'fault', 'leaseS']

/** Reports every problem of one network's `portMapping`. */
export function checkPortMapping(network: NetworkSpec, path: string, report: Report): void {
  if (network.portMapping === undefined) return
  if (network.behind === undefined) {
    report(path, 'PORT_MAPPING_WITHOUT_NAT', 'only a network behind a NAT has a router that maps ports; leave it out')
  } else checkTranslates(network.nat, path, report)
  if (network.ipv6 === 'only') {
    report(path, 'PORT_MAPPING_CONTRADICTION', 'hosts with IPv6 alone have no IPv4 port to map; leave it out')
  }
  checkPortMappingWords(network.portMapping, path, report)
}

/** There must be ports to map. */
export function checkTranslates(nat: NatSpec | undefined, path: string, report: Report): void {
  const kind = typeof nat === 'object' && nat !== null ? nat.kind : nat
  if (typeof kind !== 'string' || !Object.hasOwn(NAT_PRESETS, kind)) return
  if (NAT_PRESETS[kind].translation === 'napt') return
  report(path, 'PORT_MAPPING_CONTRADICTION', `'${kind}' translates no ports; leave it out, or take another kind`)
}

/** The same for the words alone, wherever they stand. */
export function checkPortMappingWords(spec: unknown, path: string, report: Report): void {
  if (typeof spec !== 'object' || spec === null || Array.isArray(spec)) {
    report(path, 'BAD_PORT_MAPPING', "is an object such as { protocols: ['upnp', 'nat-pmp', 'pcp'] }")
    return
  }
  const { protocols, fault, leaseS, ...others } = spec as Record<string, unknown>
  for (const word of Object.keys(others)) {
    report(`${path}.${word}`, 'UNKNOWN_KEY', `is not a word of a port mapping; the words are ${WORDS.join(', ')}`)
  }
  checkProtocols(protocols, `${path}.protocols`, report)
  if (fault !== undefined && !PORT_MAPPING_FAULTS.some(known => known === fault)) {
    report(`${path}.fault`, 'BAD_PORT_MAPPING', `${shown(fault)} is none of ${PORT_MAPPING_FAULTS.join(', ')}`)
  }
  if (leaseS === undefined) return
  const { min, max } = LEASE_LIMITS
  if (!(Number.isInteger(leaseS) && (leaseS as number) >= min && (leaseS as number) <= max)) {
    report(`${path}.leaseS`, 'OUT_OF_RANGE', `${shown(leaseS)} is not a whole number from ${min} to ${max}`)
  }
  if (fault !== 'short-lease') {
    const why = "a sound router grants what is asked; add fault 'short-lease', or leave it out"
    report(`${path}.leaseS`, 'PORT_MAPPING_CONTRADICTION', why)
  }
}

function checkProtocols(protocols: unknown, path: string, report: Report): void {
  if (!Array.isArray(protocols) || protocols.length === 0) {
    report(path, 'BAD_PORT_MAPPING', `is a list of at least one of ${PORT_MAPPING_PROTOCOLS.join(', ')}`)
    return
  }
  protocols.forEach((protocol, index) => {
    if (!PORT_MAPPING_PROTOCOLS.some(known => known === protocol)) {
      report(
        `${path}.${index}`,
        'BAD_PORT_MAPPING',
        `${shown(protocol)} is none of ${PORT_MAPPING_PROTOCOLS.join(', ')}`
      )
    } else if (protocols.indexOf(protocol) < index) {
      report(`${path}.${index}`, 'BAD_PORT_MAPPING', `${shown(protocol)} is there already; name it once`)
    }
  })
}
