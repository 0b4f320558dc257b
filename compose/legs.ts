/** Environment of the leg program (`dist/leg.js`): a router, or the leg of a host with a network of its own. */
import { LOOP_SYSCTLS, type PlannedHost, type PlannedLink, type PlannedRouter } from '../netem/index.ts'

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
    ROUTES: JSON.stringify(router.routes),
    LINKS: links([{ address: router.outside.address, link: router.link }])
  }
  if (router.outsideGateway !== null) env.NAT_UPLINK = router.outsideGateway
  return env
}

/** A host's leg: the impairments of its own attachment and the ways it needs. */
export function legEnv(host: PlannedHost): Record<string, string> {
  return {
    ROUTES: JSON.stringify(host.routes),
    LINKS: JSON.stringify([{ address: host.attachment.address, up: host.link.up, down: host.link.down }])
  }
}

/** What a leg's network must be set to before it starts: it cannot do so itself. */
export const routerSysctls: Readonly<Record<string, string>> = { 'net.ipv4.ip_forward': '1' }

/** The same for a host's leg: what it sends is shaped on a detour through its own loopback. */
export const legSysctls = (host: PlannedHost): Record<string, string> =>
  host.link.up === null ? {} : { ...LOOP_SYSCTLS }
