/** Words of nftables that every part of a router's rule set is written with. Pure. */
import type { Dependence } from './nat-kinds.ts'

export type Protocol = 'tcp' | 'udp'
export const PROTOCOLS: readonly Protocol[] = ['udp', 'tcp']

/** Maps are written with so many elements on a line. */
const ELEMENTS_PER_LINE = 16

/** What a mapping is remembered by, or computed from. */
export function key(mapping: Dependence, source: string, address: string, port: string): string {
  return {
    'endpoint-independent': source,
    'address-dependent': `${source} . ${address}`,
    'address-and-port-dependent': `${source} . ${address} . ${port}`
  }[mapping]
}

export function map(name: string, type: string, elements: string[]): string[] {
  const lines = Array.from({ length: Math.ceil(elements.length / ELEMENTS_PER_LINE) }, (_, line) =>
    elements.slice(line * ELEMENTS_PER_LINE, (line + 1) * ELEMENTS_PER_LINE).join(', ')
  )
  return [`  map ${name} {`, `    ${type}; elements = {`, `      ${lines.join(',\n      ')}`, '    }', '  }']
}

export function chain(
  name: string,
  type: string,
  hook: string,
  priority: string,
  policy: string,
  rules: string[]
): string[] {
  return [
    `  chain ${name} {`,
    `    type ${type} hook ${hook} priority ${priority}; policy ${policy};`,
    ...rules.map(rule => `    ${rule}`),
    '  }'
  ]
}
