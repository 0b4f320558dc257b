/** Environment of the leg program (`dist/leg.js`): a router, or the leg of a host with a network of its own. */
import type { PlannedHost, PlannedLink, PlannedRouter } from '../netem/index.ts'

const links = (list: Array<{ address: string; link: PlannedLink }>): string =>
  JSON.stringify(
    list
      .filter(({ link }) => link.up !== null || link.down !== null)
      .map(({ address, link }) => ({ address, up: link.up, down: link.down }))
  )

/** A router: its NAT kind, its two attachments, and the impairments of its access line. */
export function routerEnv(router: PlannedRouter): Record<string, string> {
  const env: Record<string, string> = {
    NAT_KIND: router.kind,
    NAT_INSIDE: `${router.inside.address}/${router.inside.prefixLength}`,
    NAT_OUTSIDE: `${router.outside.address}/${router.outside.prefixLength}`,
    NAT_GATEWAY: `${router.insideGateway}/${router.inside.prefixLength}`,
    LINKS: links([{ address: router.outside.address, link: router.link }])
  }
  return env
}

/** A host's leg: the impairments of its own attachment. */
export function legEnv(host: PlannedHost): Record<string, string> {
  return { LINKS: links([{ address: host.attachment.address, link: host.link }]) }
}
