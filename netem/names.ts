/** How networks, routers, hosts and volumes may be called. Pure. */

/** Longest name: with a router's `-nat` it still fits a DNS label and a namespace's name with room to spare. */
const MAX_NAME_LENGTH = 24
const NAME = /^[a-z](?:[a-z0-9-]*[a-z0-9])?$/

export const NAME_RULE = `lower-case letters, digits and dashes, a letter first, no dash last, at most ${MAX_NAME_LENGTH} characters`

export function isName(name: unknown): name is string {
  return typeof name === 'string' && name.length <= MAX_NAME_LENGTH && NAME.test(name)
}

/** Name of the router at a network's edge. */
export function routerNameOf(network: string): string {
  return `${network}-nat`
}

/** Whether a group of a topology has something of that name. */
export function has(group: Record<string, unknown>, name: unknown): name is string {
  return typeof name === 'string' && Object.hasOwn(group, name)
}

/** What an author wrote, whatever it was. */
export function shown(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? 'nothing')
}
