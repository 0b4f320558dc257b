/** The part of a leg's environment that says how its router maps ports. Pure. */
import { z } from 'zod'
import type { NatKind } from './nat-kinds.ts'
import {
  type PlannedPortMapping,
  type PortMappingFault,
  type PortMappingProtocol,
  type PortMappingSpec,
  plannedPortMapping
} from './port-mapping.ts'
import { checkPortMappingWords, checkTranslates } from './validate-port-mapping.ts'

export const PORT_MAPPING_ENV = {
  PORT_MAPPING: z
    .string()
    .transform(text => text.split(',').map(word => word.trim()))
    .optional(),
  PORT_MAPPING_FAULT: z.string().optional(),
  PORT_MAPPING_LEASE_S: z.coerce.number().optional()
}

interface PortMappingEnvironment {
  NAT_KIND?: NatKind | undefined
  PORT_MAPPING?: string[] | undefined
  PORT_MAPPING_FAULT?: string | undefined
  PORT_MAPPING_LEASE_S?: number | undefined
  PORT_MAPPING_SAYS?: string | undefined
}

/** The environment's port mapping as a topology would write it; not checked yet. */
function portMappingSpec(env: PortMappingEnvironment): PortMappingSpec {
  return {
    protocols: env.PORT_MAPPING as PortMappingProtocol[],
    ...(env.PORT_MAPPING_FAULT === undefined ? {} : { fault: env.PORT_MAPPING_FAULT as PortMappingFault }),
    ...(env.PORT_MAPPING_LEASE_S === undefined ? {} : { leaseS: env.PORT_MAPPING_LEASE_S })
  }
}

/** Reports what is wrong with it, by name. */
export function checkPortMappingEnv(
  env: PortMappingEnvironment,
  report: (path: string, message: string) => void
): void {
  const { NAT_KIND, PORT_MAPPING, PORT_MAPPING_FAULT: fault, PORT_MAPPING_SAYS: says } = env
  if (PORT_MAPPING === undefined) {
    const names = ['PORT_MAPPING_FAULT', 'PORT_MAPPING_LEASE_S', 'PORT_MAPPING_SAYS'] as const
    for (const name of names.filter(name => env[name] !== undefined)) {
      report(name, 'goes with PORT_MAPPING, the protocols that are spoken')
    }
    return
  }
  checkPortMappingWords(portMappingSpec(env), 'PORT_MAPPING', (path, _code, message) => report(path, message))
  checkTranslates(NAT_KIND, 'PORT_MAPPING', (path, _code, message) => report(path, message))
  if (NAT_KIND === undefined) report('PORT_MAPPING', 'only a router maps ports; give NAT_KIND and its kin')
  if ((fault === 'lying-address') !== (says !== undefined)) {
    report(
      'PORT_MAPPING_SAYS',
      "is the outer address that a router with fault 'lying-address' names, and goes with that"
    )
  }
}

/** The router's port mapping worked out; null: it maps none. */
export function portMappingOf(env: PortMappingEnvironment): PlannedPortMapping | null {
  return env.PORT_MAPPING === undefined ? null : plannedPortMapping(portMappingSpec(env), env.PORT_MAPPING_SAYS ?? '')
}
